//! What the nodes of a cluster share besides Postgres: a bus, presence, rate limits, notes, leases.
//!
//! Five narrow traits with two implementations each: [`memory`] for one node, [`redis`] for many. One conformance suite
//! runs on both (`conformance`). Nothing here is the truth about anything that was acknowledged: when Redis is away, the
//! engine answers with what this node knows, messages arrive through the relay, and nothing is lost.

#[cfg(test)]
mod conformance;
pub mod memory;
pub mod redis;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// A stream of messages on the bus. Sharded by channel and user, so that no cluster node carries everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What happens in a channel, by key.
    Channel(i64),
    /// What one user hears.
    User(String),
    /// What followers of a user hear.
    Presence(String),
    /// What one node is asked by others.
    Node(String),
    /// What every node hears.
    Everyone,
}

/// Carries what one node tells the others.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Hands a message to the other nodes, without waiting. What cannot be carried is dropped: the relay makes up for it.
    fn publish(&self, topic: Topic, payload: Bytes);

    /// Asks for messages on these topics, without waiting.
    fn subscribe(&self, topics: &[Topic]);

    /// The opposite, without waiting. The last word on a topic counts.
    fn unsubscribe(&self, topics: &[Topic]);

    /// Returns when what was asked for until now will reach this node; at once while nothing can be carried.
    async fn subscribed(&self);

    /// Are there other nodes at all?
    fn has_others(&self) -> bool;

    /// Can messages be carried right now?
    fn is_connected(&self) -> bool;
}

/// Who is on a node, and what they watch there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub online: Vec<String>,
    pub watching: HashMap<i64, Vec<String>>,
}

/// What became of what a node said of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// No other node has the user there as well: others are to be told.
    pub is_news: bool,
    /// Users who watch the channel now, if it was about one.
    pub watcher_count: i64,
    /// When it came to be so, in microseconds of a clock that all nodes share: who is told of two changes knows which was the last.
    /// `None` if no other node says anything, or none can.
    pub at: Option<i64>,
}

/// What a node finds when it says who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Of those present, who was not known to be: it was lost, or has not been said yet. It is left to be said in its turn.
    pub unknown: Present,
    /// Users of nodes that have died, who are on no other one.
    pub gone: Vec<Gone>,
}

/// A user who is offline, or watches a channel no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    pub user: String,
    /// The channel, and how many users still watch it.
    pub stopped: Option<(i64, i64)>,
    /// As [`Settled::at`].
    pub at: Option<i64>,
}

/// Who is online, and who watches what. Users of a node that dies expire. What is said of a user here, or of a user and a
/// channel, is said by one at a time ([`Realtime`](crate::realtime::Realtime)): the last word counts.
#[async_trait]
pub trait Presence: Send + Sync {
    /// A user has its first connection on this node.
    async fn connect(&self, user: &str) -> Settled;

    /// A user's last connection on this node is gone.
    async fn disconnect(&self, user: &str) -> Settled;

    /// Those of the users who are online.
    async fn online(&self, users: &[String]) -> HashSet<String>;

    /// A user's first connection on this node begins to watch a channel.
    async fn watch(&self, channel: i64, user: &str) -> Settled;

    /// A user's last connection on this node stops watching.
    async fn unwatch(&self, channel: i64, user: &str) -> Settled;

    /// How many users watch each channel. Those of a node that has died are counted until they expire.
    async fn watcher_counts(&self, channels: &[i64]) -> Vec<i64>;

    /// Those of the channels that a user watches, on any node.
    async fn watched(&self, user: &str, channels: &[i64]) -> Vec<i64>;

    /// A page of the users who watch a channel, in no order that means anything.
    async fn watchers(&self, channel: i64, limit: usize, offset: usize) -> Vec<String>;

    /// Says that those are still there who are on this node, and finds those whose nodes have died. Each of these is found once.
    async fn refresh(&self, present: &Present) -> Refreshed;

    /// Returns when what this node said may be lost, and [`Presence::refresh`] is due before its time.
    async fn forgotten(&self);
}

/// How much of a limit is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub used: u64,
    /// Unix time, in seconds, at which counting starts anew.
    pub reset: i64,
}

/// Counts requests in fixed windows of a minute.
pub trait Limits: Send + Sync {
    /// Counts one and says how many there were in this window, over all nodes as far as this one knows.
    fn hit(&self, key: &str, now_seconds: i64) -> Usage;

    /// The same without counting.
    fn peek(&self, key: &str, now_seconds: i64) -> Usage;
}

/// Something small that the cluster remembers for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note<'a> {
    /// A draft, in front of its table. `room` is a cid.
    Draft { user: &'a str, room: &'a str, thread: Option<&'a str> },
    /// A session of the rooms surface whose user is there, by the session's id.
    Session { id: u64 },
}

impl Note<'_> {
    /// The name under which it is kept.
    fn name(self) -> String {
        match self {
            Self::Draft { user, room, thread: None } => format!("draft:{user}:{room}"),
            Self::Draft { user, room, thread: Some(thread) } => format!("draft:{user}:{room}:{thread}"),
            Self::Session { id } => format!("cid:{id}"),
        }
    }
}

/// Remembers notes until they are taken away or their time is over. One that cannot be reached is not there, and one that could
/// not be taken away stays for its time: nobody may rest on a note what Postgres can say.
#[async_trait]
pub trait Notes: Send + Sync {
    /// Keeps a note in place of the one before. One that is too large ([`limits::NOTE_BYTES_MAX`](crate::limits::NOTE_BYTES_MAX)) is
    /// not kept, and neither is the one before.
    async fn put(&self, note: Note<'_>, value: &[u8], life: Duration);

    async fn get(&self, note: Note<'_>) -> Option<Bytes>;

    async fn remove(&self, note: Note<'_>);
}

/// What became of a wish to hold a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is the holder's, for milliseconds after `floor` and up to `ceiling`. Nobody else has or will have any of them with this
    /// number. If `floor` is the ceiling that the holder had before, nobody held the number in between.
    Mine {
        floor: i64,
        ceiling: i64,
    },
    Taken,
    /// Nobody knows: the engine does not answer.
    Away,
}

/// Lends numbers of nodes, each to one holder at a time.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes a number, or keeps it. `from` is the Unix time in milliseconds from which on the holder wants to use it. A number that
    /// is not held again within its life is free.
    async fn hold(&self, number: u16, holder: &str, from: i64, life: Duration) -> Hold;
}

/// An engine, as a set of its parts.
#[derive(Clone)]
pub struct Engine {
    pub bus: Arc<dyn Bus>,
    pub presence: Arc<dyn Presence>,
    pub limits: Arc<dyn Limits>,
    pub notes: Arc<dyn Notes>,
    pub leases: Arc<dyn Leases>,
}

/// Length of a rate limit window, in seconds.
pub const LIMIT_WINDOW_SECONDS: i64 = 60;

/// The end of the window in which a time lies, in Unix seconds.
fn window_end(now_seconds: i64) -> i64 {
    (now_seconds.div_euclid(LIMIT_WINDOW_SECONDS) + 1) * LIMIT_WINDOW_SECONDS
}
