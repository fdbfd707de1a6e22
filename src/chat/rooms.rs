//! Rooms, as the rooms surface (founding document 003) knows them: channels of type `messaging` that open when somebody comes.
//!
//! Everything else about a room is the channel that it is. What stands here is what that surface does differently: its doors
//! ([`enter`]), typing on many fields at once ([`editing`]), and things that chat has no noun for ([`things`]).

pub mod editing;
pub mod enter;
pub mod things;
pub mod threads;
