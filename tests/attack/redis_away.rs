//! Redis away, slow, or standing still: late, never wrong, and nobody waits for it twice.
