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
use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use wire::Timestamp;

use crate::engine::{Engine, Refreshed, Topic};
use crate::events::Event;
use crate::lanes::{Lane, Lanes, Turn};
use crate::limits;
use crate::store::Store;
use crate::tasks::{self, Tasks};

use fanout::Fanout;
use interest::Interest;
use presence::Here;
use registry::{Command, Worker};

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
    /// The token has ended: come back with another.
    Expired,
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

    /// What those of them are sent who do not watch, from JSON in parts, or nothing if the dialect has no word for it.
    fn encode_twin(&self, parts: &[&[u8]]) -> Option<Bytes>;

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
    /// When the token ends, in Unix seconds, if it does; the connection ends with it.
    pub token_expires_at: Option<i64>,
    /// Servers and anonymous connections are not counted as somebody being there.
    pub counts_as_presence: bool,
    pub socket: Box<dyn Socket>,
}

impl Connection {
    /// Is the token over that it was opened with?
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.token_expires_at.is_some_and(|end| end <= now.seconds())
    }
}

/// What became of channels that a connection watches, or no longer does.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Watched {
    pub channel: i64,
    /// Does the user watch it now? Who comes and goes quickly may find that others have done what it was to do.
    pub watching: bool,
    /// Users who watch it now, over all nodes.
    pub watcher_count: i64,
    /// As [`Settled::at`](crate::engine::Settled::at).
    #[serde(default)]
    pub at: Option<i64>,
}

/// What a connection that is closed leaves to be told ([`Realtime::settle_online`], [`Realtime::settle_watching`]).
#[derive(Debug, Default)]
pub struct Closed {
    /// Channels that the user no longer watches on any connection of this node.
    pub unwatched: Vec<i64>,
    /// It was the user's last connection here.
    pub was_last: bool,
}

/// A user came or went. Nobody else tells of this user while it is there: drop it when others have been told.
pub struct Change {
    pub online: bool,
    /// As [`Settled::at`](crate::engine::Settled::at).
    pub at: Option<i64>,
    _turn: Turn,
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
    /// Where those wait who tell the engine of the same user or watch.
    telling: Arc<Lanes>,
    engine: Engine,
    connections: Arc<AtomicI64>,
}

impl Realtime {
    /// Starts the workers.
    #[allow(clippy::too_many_arguments, reason = "it is called once, where the node is put together")]
    pub fn start(
        node: &str,
        store: Store,
        engine: Engine,
        dialects: Vec<Arc<dyn Dialect>>,
        notify: notify::Sender,
        workers: usize,
        clock: &crate::clock::Clock,
        tasks: &Tasks,
    ) -> Self {
        let dialects: Arc<[Arc<dyn Dialect>]> = dialects.into();
        let (senders, inboxes): (Vec<_>, Vec<_>) =
            (0..workers.max(1)).map(|_| mpsc::channel(limits::FANOUT_INBOX_MAX)).unzip();
        let workers: Arc<[mpsc::Sender<Command>]> = senders.into();
        let fanout = Arc::new(Fanout::new(store.clone(), workers.clone(), dialects.len()));
        let interest = Arc::new(Interest::new(store, engine.clone(), fanout.clone()));
        let here: Arc<Here> = Arc::default();
        for inbox in inboxes {
            let worker = Worker::new(dialects.clone(), notify.clone(), clock.clone(), interest.clone(), here.clone());
            tasks.run("fan-out worker", worker.run(inbox));
        }
        Self {
            node: node.into(),
            workers,
            fanout,
            interest,
            here,
            telling: Arc::default(),
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
    /// True if it is the user's first connection here, which is to be told ([`Realtime::settle_online`]).
    pub async fn open(&self, connection: Arc<Connection>, mut member_channels: Vec<i64>) -> bool {
        tasks::begin();
        member_channels.sort_unstable();
        member_channels.dedup();
        let (user, counts) = (connection.user_id.clone(), connection.counts_as_presence);
        let topics = user_topics(&user).into_iter().chain(member_channels.iter().copied().map(Topic::Channel));
        let topics: Vec<Topic> = topics.collect();
        let Ok(place) = self.worker(&connection.id).reserve().await else { return false };
        // In one go: what is counted here is taken back when the connection is closed.
        self.interest.wish(topics.iter().cloned());
        let count = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::gauge!("millrace_connections").set(count as f64);
        let is_first = counts && self.here.connect(&user);
        place.send(Command::Open { connection, member_channels });
        self.interest.heard(topics).await;
        is_first
    }

    /// Lets a connection go. Returns as soon as the node has forgotten it; what it leaves to be told takes longer.
    pub async fn close(&self, connection: &Connection) -> Closed {
        let (done, wait) = oneshot::channel();
        let _ = self.worker(&connection.id).send(Command::Close { id: connection.id.clone(), done }).await;
        let Ok(Some(unwatched)) = wait.await else {
            return Closed::default();
        };
        let count = self.connections.fetch_sub(1, Ordering::Relaxed) - 1;
        metrics::gauge!("millrace_connections").set(count as f64);
        let was_last = connection.counts_as_presence && self.here.disconnect(&connection.user_id);
        Closed { unwatched, was_last }
    }

    /// Tells the engine whether a user is here, as it is when the turn comes: a user who has come back meanwhile never went.
    /// Gives back whether the user came or went by that, over all nodes.
    pub async fn settle_online(&self, user: &str) -> Option<Change> {
        // Whoever cannot wait leaves it to those who wait already, or to the next refresh.
        let turn = self.telling.enter(Lane::Presence(user.to_owned())).await.ok()?;
        let online = self.here.is_connected(user);
        let presence = &self.engine.presence;
        let settled = if online { presence.connect(user).await } else { presence.disconnect(user).await };
        settled.is_news.then_some(Change { online, at: settled.at, _turn: turn })
    }

    /// The same for channels that a user has begun to watch, or no longer watches. Gives back those of which what is so now was not so
    /// before over all nodes.
    pub async fn settle_watching(&self, user: &str, channels: &[i64]) -> Vec<Watched> {
        let settle = channels.iter().copied().map(|channel| self.settle_watch(user, channel));
        let settled = stream::iter(settle).buffered(limits::REDIS_CALLS_MAX);
        settled.filter_map(std::future::ready).collect().await
    }

    async fn settle_watch(&self, user: &str, channel: i64) -> Option<Watched> {
        let _turn = self.telling.enter(Lane::Watcher(channel, user.to_owned())).await.ok()?;
        let watching = self.here.is_watching(channel, user);
        let presence = &self.engine.presence;
        let settled =
            if watching { presence.watch(channel, user).await } else { presence.unwatch(channel, user).await };
        let watched = Watched { channel, watching, watcher_count: settled.watcher_count, at: settled.at };
        settled.is_news.then_some(watched)
    }

    /// Tells the engine that those are still here who are, and finds those whose nodes have died. Whom the engine does not know has
    /// to be settled.
    pub async fn refresh_presence(&self) -> Refreshed {
        self.engine.presence.refresh(&self.here.present()).await
    }

    /// Makes a connection of this node watch channels. Gives back those that its user did not watch before.
    ///
    /// # Errors
    /// There is no such connection of this user, or it watches too much.
    pub async fn watch(
        &self,
        connection_id: &str,
        user_id: &str,
        channels: &[i64],
    ) -> Result<Vec<Watched>, NoSuchConnection> {
        tasks::begin();
        let (done, wait) = oneshot::channel();
        let command =
            Command::Watch { id: connection_id.into(), user: user_id.into(), channels: channels.to_vec(), done };
        let _ = self.worker(connection_id).send(command).await;
        let new = wait.await.ok().flatten().ok_or(NoSuchConnection)?;
        self.interest.heard(channels.iter().copied().map(Topic::Channel)).await;
        Ok(self.settle_watching(user_id, &new).await)
    }

    /// Makes a connection of this node stop watching channels, for which it waits for nobody but a worker. Gives back those that
    /// its user now watches nowhere here, which is to be told ([`Realtime::settle_watching`]).
    ///
    /// # Errors
    /// There is no such connection of this user.
    pub async fn unwatch(
        &self,
        connection_id: &str,
        user_id: &str,
        channels: &[i64],
    ) -> Result<Vec<i64>, NoSuchConnection> {
        tasks::begin();
        let (done, wait) = oneshot::channel();
        let command =
            Command::Unwatch { id: connection_id.into(), user: user_id.into(), channels: channels.to_vec(), done };
        let _ = self.worker(connection_id).send(command).await;
        wait.await.ok().flatten().ok_or(NoSuchConnection)
    }

    /// Makes a connection of this node follow the presence of users.
    ///
    /// # Errors
    /// There is no such connection of this user.
    pub async fn follow(&self, connection_id: &str, user_id: &str, users: &[String]) -> Result<(), NoSuchConnection> {
        tasks::begin();
        let (done, wait) = oneshot::channel();
        let command = Command::Follow { id: connection_id.into(), user: user_id.into(), users: users.to_vec(), done };
        let _ = self.worker(connection_id).send(command).await;
        wait.await.ok().flatten().ok_or(NoSuchConnection)?;
        self.interest.heard(users.iter().cloned().map(Topic::Presence)).await;
        Ok(())
    }

    /// A user's connections here are to hear of a channel, because the user belongs to it. Returns before they do; what is delivered
    /// meanwhile waits where its order matters ([`fanout`]).
    pub async fn join(&self, user_id: &str, channel: i64) {
        let wish = self.interest.wish_for_now(channel).await;
        for worker in self.workers.iter() {
            let _ = worker.send(Command::Join { user: user_id.into(), channel, wish: wish.clone() }).await;
        }
    }

    /// The opposite of [`Realtime::join`], for all that is delivered from now on.
    pub async fn leave(&self, user_id: &str, channel: i64) {
        for worker in self.workers.iter() {
            let _ = worker.send(Command::Leave { user: user_id.into(), channel }).await;
        }
    }

    /// Returns when everything that happens from now on in these channels will reach those here who want it.
    pub async fn heard(&self, channels: &[i64]) {
        self.interest.heard(channels.iter().copied().map(Topic::Channel)).await;
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

    /// The channels that a connection of this node watches.
    pub async fn watched(&self, connection_id: &str) -> Vec<i64> {
        let (done, wait) = oneshot::channel();
        let _ = self.worker(connection_id).send(Command::Watched { id: connection_id.into(), done }).await;
        wait.await.unwrap_or_default()
    }

    /// The connections of this node that watch a channel.
    pub async fn watchers(&self, channel: i64) -> Vec<Arc<Connection>> {
        let mut found = Vec::new();
        for worker in self.workers.iter() {
            let (done, wait) = oneshot::channel();
            let _ = worker.send(Command::Watchers { channel, done }).await;
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

    /// Does the user watch the channel on this node?
    pub fn watches(&self, user_id: &str, channel: i64) -> bool {
        self.here.is_watching(channel, user_id)
    }

    /// A number that is another one whenever a connection has begun to watch the channel, if any of this node watches it.
    pub fn watch_begun(&self, channel: i64) -> Option<u64> {
        self.here.watch_begun(channel)
    }

    /// The same for all channels.
    pub fn watches_begun(&self) -> u64 {
        self.here.watches_begun()
    }

    /// Channels that a connection has begun to watch after [`Realtime::watches_begun`] was this.
    pub fn watched_since(&self, begun: u64) -> Vec<i64> {
        self.here.watched_since(begun)
    }

    /// Users connected to this node.
    pub fn users_here(&self) -> Vec<String> {
        self.here.users()
    }

    /// May `user.watching.*` be told now? In a large channel only every few seconds.
    pub fn may_tell_watching(&self, watched: &Watched) -> bool {
        self.here.may_tell_watching(watched)
    }

    /// Topics that connections here want to hear.
    pub fn topics(&self) -> usize {
        self.interest.topics()
    }
}

fn user_topics(user: &str) -> [Topic; 2] {
    [Topic::User(user.to_owned()), Topic::Presence(user.to_owned())]
}
