//! Floors: the least that a server of the kind has to do. No login, no permissions, no state.

pub mod fanout_axum;
pub mod fanout_bare;
pub mod sends;

/// Where the floors of fan-out take what is to be delivered.
pub const PUBLISH_PATH: &str = "/publish";
