//! What runs beside the requests: readers of the event log, and housekeeping.

pub mod doorkeeper;
pub mod housekeeping;
pub mod push;
