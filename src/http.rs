//! The HTTP edge: routes, extraction, envelopes. No SQL, no Redis, no rules of the domain.
//!
//! Read router.rs first: every route is there. A handler reads its request, calls one function of the domain and wraps the
//! answer; everything around that (ids, log line, metrics, duration, rate limits, CORS, the trailing slash) is middleware.

pub mod demo;
pub mod door;
pub mod error;
pub mod extract;
pub mod files;
pub mod health;
pub mod held;
pub mod host;
pub mod middleware;
pub mod openapi;
pub mod patience;
pub mod peer;
pub mod platform;
pub mod public_url;
pub mod rate_limits;
pub mod reply;
pub mod rooms;
pub mod router;
pub mod server;
pub mod stream;
