//! Web push: who gets one, and what it says. That somebody gets one is decided by a reader of the log (jobs/push.rs), never
//! by whoever sends a message.
//!
//! Read next: docs/subsystems/push.md, then audience.rs.

pub mod audience;
pub mod payload;
pub mod preferences;
pub mod subscribe;

pub use subscribe::{subscribe, unsubscribe, vapid_public_key};
