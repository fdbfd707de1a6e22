//! Millrace: a chat backend for people and agents that anyone can run themselves.
//!
//! The map (ARCHITECTURE.md has the walk-throughs):
//!
//! - edges: [`http`] and [`ws`] speak the protocols, and know neither SQL nor Redis;
//! - domain: [`chat`] decides what happens;
//! - beneath it: [`access`] (who may what), [`events`] (what happened and who hears of it), [`realtime`] (this node's
//!   sockets), [`engine`] (what nodes share), [`store`] (Postgres, the only place with SQL), [`outside`] (other systems),
//!   [`jobs`] (what runs beside the requests);
//! - base: [`error`], [`clock`], [`ids`], [`snowflakes`], [`limits`], [`config`], [`telemetry`], [`tasks`],
//!   [`asker`], [`lanes`], [`budget`], [`descriptors`], [`ctx`].
//!
//! Dependencies point down. [`app`] puts the parts together and is the only one that knows all of them.

pub mod access;
pub mod app;
pub mod asker;
pub mod budget;
pub mod chat;
pub mod clock;
pub mod config;
pub mod ctx;
pub mod descriptors;
pub mod engine;
pub mod error;
pub mod events;
pub mod http;
pub mod ids;
pub mod jobs;
pub mod lanes;
pub mod limits;
pub mod outside;
pub mod realtime;
pub mod snowflakes;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod ws;

#[cfg(test)]
mod walls;
