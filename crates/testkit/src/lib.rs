//! What tests need to act out a story: nodes, people, what they hear, and the facts that every answer is held against.
//!
//! - [`App`]: one node or several, in this process, on a database of its own.
//! - [`Person`]: somebody who calls; [`Ear`]: what that person's WebSocket says.
//! - [`facts`]: field-level facts about the protocol. Every answer and event that passes through here is checked.
//! - [`Proxy`]: a way to a service that can be slow, or stand still.
//! - [`services`]: the Postgres and the Redis beneath.
//!
//! Nothing here waits by sleeping: what has happened is heard, and what has not happened is shown by something that
//! happened after it.

pub mod app;
pub mod facts;
pub mod person;
pub mod process;
pub mod proxy;
pub mod services;

pub use app::{App, Engine, run};
pub use client;
pub use client::Refused;
pub use person::{Ear, Person, Reply};
pub use process::{Deployment, Process};
pub use proxy::Proxy;

/// Longest wait for anything that is bound to happen. Only a failing test ever waits this long.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// Makes each function a test on the memory engine and a test on Redis. A function that is left out is dead code, which the
/// compiler complains about.
#[macro_export]
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                $crate::run($crate::Engine::Memory, super::$name).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                $crate::run($crate::Engine::Redis, super::$name).await;
            })*
        }
    };
}
