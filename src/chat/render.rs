//! Rows as clients see them.
//!
//! What is shown to many (events) is rendered without a viewer; what one caller is answered has the viewer's own parts
//! filled in. The users that an answer names are loaded once, together ([`People`]).

pub mod channels;
pub mod html;
pub mod members;
pub mod messages;
pub mod people;
pub mod users;
pub mod weight;

pub use people::People;
