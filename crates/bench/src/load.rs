//! The load. It has to be cheap, or it measures itself: requests are made before the trial and only numbered in it, answers
//! are read as far as status and length, frames as far as header and number.

mod board;
mod frame;
mod http;
mod publisher;
mod request;
mod senders;
mod watchers;

pub use frame::FRAME_HEADER_BYTES;
pub use http::Connection;
pub use publisher::{at_a_rate, in_flight};
pub use request::{NUMBER_PLACE, Template, request};
pub use senders::senders;
pub use watchers::{Socket, Watchers};
