//! Members of channels.

pub mod change;
pub mod partial;
pub mod query;
