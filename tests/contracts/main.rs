//! The contract of the Stream surface: what clients may rely on, over real HTTP and WebSockets, on both engines.
//!
//! Every answer and event that these tests see is also held against the wire facts (crates/testkit/facts).

mod messages;
