//! The WebSocket edge: a socket of our own on the upgraded TCP stream.
//!
//! Frames from the server are not masked, so one encoded frame serves every receiver, and a fan-out worker writes it
//! straight into the socket (queue.rs): no task is woken for a reader who keeps up. That is why there is no WebSocket library
//! between us and TCP (docs/adr/0003).

mod bucket;
pub mod close;
pub mod connect;
pub mod connection;
pub mod frame;
pub mod queue;
pub mod rooms;
