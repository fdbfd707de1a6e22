//! The Stream surface, v1 paths: one handler per operation, in files by noun.
//!
//! `acting_as` in a handler is where a server's request names the user for whom it acts.

pub mod app;
pub mod channel_types;
pub mod channels;
pub mod drafts;
pub mod events;
pub mod members;
pub mod messages;
pub mod moderation;
pub mod push;
pub mod reactions;
pub mod reads;
pub mod sync;
pub mod uploads;
pub mod users;
