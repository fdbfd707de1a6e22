//! This node's delivery: which connections there are, what they want to hear, and how it reaches them.
//!
//! A connection lives in one worker ([`registry`]); events pass [`fanout`] (each once, in the order of their channel), go to
//! every worker, and are encoded once per dialect. Nothing here knows the domain: what an event says was decided before.
//!
//! The order in which a client begins to watch is find, watch, read: [`Realtime::watch`] returns when every later event
//! will reach the connection, and only then is the state read. What falls between is heard twice, never not at all.

mod delivery;
pub mod fanout;
pub mod frame;
mod interest;
pub mod notify;
mod presence;
pub mod registry;
pub mod remote;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use wire::Timestamp;

use crate::engine::{Engine, Topic};
use crate::events::Event;
use crate::limits;
use crate::store::Store;

use fanout::Fanout;
use interest::Interest;
use presence::Here;
use registry::Command;

/// Why this node closes a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The reader is too slow and its queue is full.
    TooSlow,
    /// Nothing was heard of the peer for too long.
    Silent,
    /// The token was revoked, or the user deactivated or deleted.
    Revoked,
    /// The node is going away; come back elsewhere.
    Draining,
    /// The peer broke the protocol, or sent more than it may.
    Protocol,
    /// The peer said goodbye.
    Goodbye,
    /// The connection broke.
    Lost,
    /// The client sent too much in too short a time.
    RateLimited,
    /// Nobody vouches for the client.
    Unauthenticated,
}

/// The writing half of a socket.
pub trait Socket: Send + Sync {
    /// Hands over whole frames, to be written in this order. What does not fit closes the socket.
    fn send(&self, frames: &[Bytes]);

    /// Ends the connection; what waits is dropped.
    fn close(&self, reason: CloseReason);

    /// How long ago the peer was last heard.
    fn silent_for(&self) -> std::time::Duration;
}

/// How a kind of socket speaks. Events are encoded once for all sockets of a dialect.
pub trait Dialect: Send + Sync {
    /// What the sockets of this dialect are sent for an event, or nothing if it has no word for it.
    fn encode(&self, event: &Event) -> Option<Bytes>;

    /// The frames that show the peer that the connection lives.
    fn heartbeat(&self, connection: &Connection, now: Timestamp) -> Vec<Bytes>;
}

/// Place of a dialect in the table that the node was started with.
pub type DialectIndex = usize;

/// An open connection of a user.
pub struct Connection {
    /// `node.random`: any node can tell where a connection lives.
    pub id: Arc<str>,
    pub user_id: Arc<str>,
    pub dialect: DialectIndex,
    /// When the token was issued, if it says so: for revocation.
    pub token_issued_at: Option<i64>,
    /// Servers and anonymous connections are not counted as somebody being there.
    pub counts_as_presence: bool,
    pub socket: Box<dyn Socket>,
}

/// What became of channels that a connection watches, or no longer does.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Watched {
    pub channel: i64,
    /// Users who watch it now, over all nodes.
    pub watcher_count: i64,
}

/// What closing a connection changed for others.
#[derive(Debug, Default)]
pub struct Closed {
    /// Channels that the user no longer watches on any connection of this node.
    pub unwatched: Vec<Watched>,
    /// The user is offline now, everywhere.
    pub went_offline: bool,
}

/// The connection is not there, or is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchConnection;

/// All of it. Clones share.
#[derive(Clone)]
pub struct Realtime {
    node: Arc<str>,
    workers: Arc<[mpsc::Sender<Command>]>,
    pub fanout: Arc<Fanout>,
    interest: Arc<Interest>,
    here: Arc<Here>,
    engine: Engine,
    connections: Arc<AtomicI64>,
}

impl Realtime {
    /// Starts the workers.
    pub fn start(
        node: &str,
        store: Store,
        engine: Engine,
        dialects: Vec<Arc<dyn Dialect>>,
        notify: notify::Sender,
        workers: usize,
        clock: crate::clock::Clock,
    ) -> Self {
        let dialects: Arc<[Arc<dyn Dialect>]> = dialects.into();
        let senders: Arc<[mpsc::Sender<Command>]> = (0..workers.max(1))
            .map(|_| {
                let (sender, inbox) = mpsc::channel(limits::FANOUT_INBOX_MAX);
                tokio::spawn(registry::Worker::new(dialects.clone(), notify.clone(), clock.clone()).run(inbox));
                sender
            })
            .collect();
        let fanout = Arc::new(Fanout::new(store.clone(), senders.clone(), dialects.len()));
        let interest = Arc::new(Interest::new(store, engine.clone(), fanout.clone()));
        Self {
            node: node.into(),
            workers: senders,
            fanout,
            interest,
            here: Arc::default(),
            engine,
            connections: Arc::default(),
        }
    }

    /// A new id for a connection of this node.
    pub fn connection_id(&self) -> Arc<str> {
        format!("{}.{}", self.node, crate::ids::connection_id()).into()
    }

    pub fn node(&self) -> &str {
        &self.node
    }

    /// The node on which a connection lives, if its id is one of ours.
    pub fn node_of(connection_id: &str) -> Option<&str> {
        let known = Some(connection_id).filter(|id| id.len() <= limits::CONNECTION_ID_BYTES_MAX);
        known?.split_once('.').map(|(node, _)| node)
    }

    pub fn connections(&self) -> i64 {
        self.connections.load(Ordering::Relaxed)
    }

    fn worker(&self, connection_id: &str) -> &mpsc::Sender<Command> {
        // The end of the id is random: its bytes spread connections evenly.
        let spread = connection_id.bytes().rev().take(8).fold(0_usize, |sum, byte| sum * 31 + usize::from(byte));
        &self.workers[spread % self.workers.len()]
    }

    /// Takes a connection in. From now on it hears what its user hears, and of the channels that the user belongs to.
    /// True if the user was offline before.
    pub async fn open(&self, connection: Arc<Connection>, member_channels: Vec<i64>) -> bool {
        let user = connection.user_id.clone();
        self.interest.acquire(user_topics(&user)).await;
        self.interest.acquire(member_channels.iter().copied().map(Topic::Channel)).await;
        let count = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::gauge!("millrace_connections").set(count as f64);
        let counts = connection.counts_as_presence;
        let _ =
            self.worker(&connection.id).send(Command::Open { connection: connection.clone(), member_channels }).await;
        counts && self.here.connect(&user) && self.engine.presence.connect(&user).await
    }

    /// Lets a connection go.
    pub async fn close(&self, connection: &Connection) -> Closed {
        let (done, wait) = oneshot::channel();
        let _ = self.worker(&connection.id).send(Command::Close { id: connection.id.clone(), done }).await;
        let Ok(Some(wants)) = wait.await else {
            return Closed::default();
        };
        let count = self.connections.fetch_sub(1, Ordering::Relaxed) - 1;
        metrics::gauge!("millrace_connections").set(count as f64);
        let unwatched = self.stopped_watching(&connection.user_id, &wants.watched).await;
        let channels = wants.watched.iter().chain(&wants.member_of).copied().map(Topic::Channel);
        let follows = wants.follows.iter().map(|user| Topic::Presence(user.to_string()));
        self.interest.release(channels.chain(follows).chain(user_topics(&connection.user_id)));
        let went_offline = connection.counts_as_presence
            && self.here.disconnect(&connection.user_id)
            && self.engine.presence.disconnect(&connection.user_id).await;
        Closed { unwatched, went_offline }
    }

    /// Makes a connection of this node watch channels. Gives back those that its user did not watch before on this node.
    ///
    /// # Errors
    /// There is no such connection of this user, or it watches too much.
    pub async fn watch(
        &self,
        connection_id: &str,
        user_id: &str,
        channels: &[i64],
    ) -> Result<Vec<Watched>, NoSuchConnection> {
        self.interest.acquire(channels.iter().copied().map(Topic::Channel)).await;
        let (done, wait) = oneshot::channel();
        let command =
            Command::Watch { id: connection_id.into(), user: user_id.into(), channels: channels.to_vec(), done };
        let _ = self.worker(connection_id).send(command).await;
        let Ok(Some(new)) = wait.await else {
            self.interest.release(channels.iter().copied().map(Topic::Channel));
            return Err(NoSuchConnection);
        };
        // What it watched before holds its interest already.
        self.interest.release(channels.iter().filter(|channel| !new.contains(channel)).copied().map(Topic::Channel));
        let mut watched = Vec::new();
        for channel in new {
            if self.here.watch(channel, user_id) {
                let watcher_count = self.engine.presence.watch(channel, user_id).await;
                watched.push(Watched { channel, watcher_count });
            }
        }
        Ok(watched)
    }

    /// Makes a connection of this node stop watching channels. Gives back those that its user now watches nowhere here.
    ///
    /// # Errors
    /// There is no such connection of this user.
    pub async fn unwatch(
        &self,
        connection_id: &str,
        user_id: &str,
        channels: &[i64],
    ) -> Result<Vec<Watched>, NoSuchConnection> {
        let (done, wait) = oneshot::channel();
        let command =
            Command::Unwatch { id: connection_id.into(), user: user_id.into(), channels: channels.to_vec(), done };
        let _ = self.worker(connection_id).send(command).await;
        let stopped = wait.await.ok().flatten().ok_or(NoSuchConnection)?;
        self.interest.release(stopped.iter().copied().map(Topic::Channel));
        Ok(self.stopped_watching(user_id, &stopped).await)
    }

    /// Makes a connection of this node follow the presence of users.
    ///
    /// # Errors
    /// There is no such connection of this user.
    pub async fn follow(&self, connection_id: &str, user_id: &str, users: &[String]) -> Result<(), NoSuchConnection> {
        let topics = |users: &[String]| users.iter().cloned().map(Topic::Presence).collect::<Vec<_>>();
        self.interest.acquire(topics(users)).await;
        let (done, wait) = oneshot::channel();
        let command = Command::Follow { id: connection_id.into(), user: user_id.into(), users: users.to_vec(), done };
        let _ = self.worker(connection_id).send(command).await;
        if let Some(new) = wait.await.ok().flatten() {
            let known: Vec<String> = users.iter().filter(|user| !new.contains(user)).cloned().collect();
            self.interest.release(topics(&known));
            Ok(())
        } else {
            self.interest.release(topics(users));
            Err(NoSuchConnection)
        }
    }

    /// A user's connections here hear of a channel from now on, because the user belongs to it.
    pub async fn join(&self, user_id: &str, channel: i64) {
        for worker in self.workers.iter() {
            let (done, wait) = oneshot::channel();
            let _ = worker.send(Command::Join { user: user_id.into(), channel, done }).await;
            if let Ok(joined @ 1..) = wait.await {
                self.interest.acquire(std::iter::repeat_n(Topic::Channel(channel), joined)).await;
            }
        }
    }

    /// The opposite of [`Realtime::join`].
    pub async fn leave(&self, user_id: &str, channel: i64) {
        for worker in self.workers.iter() {
            let (done, wait) = oneshot::channel();
            let _ = worker.send(Command::Leave { user: user_id.into(), channel, done }).await;
            if let Ok(left) = wait.await {
                self.interest.release(std::iter::repeat_n(Topic::Channel(channel), left));
            }
        }
    }

    /// Connections of a user on this node, or all connections.
    pub async fn find(&self, user_id: Option<&str>) -> Vec<Arc<Connection>> {
        let mut found = Vec::new();
        for worker in self.workers.iter() {
            let (done, wait) = oneshot::channel();
            let _ = worker.send(Command::Find { user: user_id.map(Into::into), done }).await;
            found.extend(wait.await.unwrap_or_default());
        }
        found
    }

    /// Does anybody here want to hear of this?
    pub fn wants(&self, topic: &Topic) -> bool {
        self.interest.wants(topic)
    }

    /// Is the user connected to this node?
    pub fn is_here(&self, user_id: &str) -> bool {
        self.here.is_connected(user_id)
    }

    /// Users connected to this node.
    pub fn users_here(&self) -> Vec<String> {
        self.here.users()
    }

    /// May `user.watching.*` be told now? In a large channel only every few seconds.
    pub fn may_tell_watching(&self, watched: &Watched) -> bool {
        self.here.may_tell_watching(watched)
    }

    async fn stopped_watching(&self, user_id: &str, channels: &[i64]) -> Vec<Watched> {
        let mut stopped = Vec::new();
        for channel in channels.iter().copied() {
            if self.here.unwatch(channel, user_id) {
                let watcher_count = self.engine.presence.unwatch(channel, user_id).await;
                stopped.push(Watched { channel, watcher_count });
            }
        }
        stopped
    }
}

fn user_topics(user: &str) -> [Topic; 2] {
    [Topic::User(user.to_owned()), Topic::Presence(user.to_owned())]
}
