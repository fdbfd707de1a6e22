//! What stops half-way: hang-ups, time-outs, failed reads. Nothing may be stuck or lost after it.
