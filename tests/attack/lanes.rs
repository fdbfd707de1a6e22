//! Who waits for whom: one slow channel, one bad row, one open reader must not hold what others need.
