//! What may it still: content that is hidden, and rights that are gone, on every path and every node.
