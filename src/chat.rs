//! The domain: users, channels, members, messages, reactions, reads. A folder per noun, a file per verb.
//!
//! Operations take a [`crate::ctx::Ctx`], the caller and a request of the wire, and give back what the answer shows. They
//! check first and write then; everything a write causes beyond its own rows is a reader of the event log. The domain
//! knows no HTTP, no SQL and no Redis.

pub mod app;
pub mod channel_types;
pub mod channels;
pub mod custom;
pub mod devices;
pub mod drafts;
pub mod events;
pub mod members;
pub mod messages;
pub mod notifications;
pub mod push;
pub mod reactions;
pub mod reads;
pub mod render;
pub mod rooms;
pub mod sync;
pub mod threads;
pub mod unread;
pub mod uploads;
pub mod users;
