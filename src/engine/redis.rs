//! The engine of a cluster: Redis 7 or Valkey, standalone or clustered.
//!
//! One connection for commands and one for subscriptions per node, never one per socket. Keys and topics of one thing share
//! a hash tag, so that each script touches one slot. When Redis is away, calls come back at once with what this node
//! knows (client.rs); the subscriber reconnects with growing pauses and subscribes to everything again.

mod bus;
mod client;
mod leases;
mod limits;
mod notes;
mod presence;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Engine, Topic};
use crate::config;
use crate::tasks::Tasks;

/// A message from another node.
pub type Incoming = mpsc::Receiver<(Topic, Bytes)>;

/// Connects to Redis and starts what runs in the background. Messages from other nodes come out of the second part.
///
/// # Errors
/// A URL that cannot be used, or no Redis there: a node starts only when it can do its work.
pub async fn engine(config: &config::Redis, node: &str, tasks: &Tasks) -> redis::RedisResult<(Engine, Incoming)> {
    let client = client::Client::connect(config).await?;
    let (bus, incoming) = bus::RedisBus::start(config, client.clone(), node, tasks).await?;
    let presence = presence::RedisPresence::new(client.clone(), config.prefix.clone(), node.to_owned());
    let limits = limits::RedisLimits::start(client.clone(), config.prefix.clone(), tasks);
    let notes = notes::RedisNotes::new(client.clone(), &config.prefix);
    let leases = leases::RedisLeases { client, prefix: config.prefix.clone() };
    let engine = Engine {
        bus: Arc::new(bus),
        presence: Arc::new(presence),
        limits: Arc::new(limits),
        notes: Arc::new(notes),
        leases: Arc::new(leases),
    };
    Ok((engine, incoming))
}
