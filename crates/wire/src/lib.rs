//! The Stream wire protocol, v1 form, as types: what clients send and what they are answered.
//!
//! Only serde here: no behaviour, no IO, no server. The rest of Millrace speaks in these types at its edges and in its
//! events; `client` reads them from the other side. Field facts come from BSD-3-Clause client libraries (see NOTICE).
//!
//! Three rules hold in every file:
//! - a request type takes what clients send, so a missing key, `null` and the PHP client's `[]` for `{}` are one thing
//!   (`lenient`), unknown keys are ignored or kept as custom data, and ids may come as an id or as a whole object;
//! - a response type always carries the keys that clients rely on (lists `[]`, maps `{}`), and leaves the optional ones out;
//! - custom data is flattened into its parent, as v1 clients expect; in responses it is text (`raw`).

pub mod app;
pub mod channel;
pub mod cid;
pub mod draft;
pub mod event;
mod lenient;
pub mod member;
pub mod message;
pub mod push;
mod raw;
pub mod reaction;
pub mod read;
pub mod thread;
pub mod timestamp;
pub mod user;

pub use cid::Cid;
pub use event::Event;
pub use lenient::Custom;
pub use raw::{RawList, RawObject};
pub use timestamp::Timestamp;
