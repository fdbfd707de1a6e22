//! Who is on this node, counted: the engine only hears of the first and the last connection of a user.
//!
//! These counts are the truth, and they change without waiting. What the engine is told comes later and is read from them when it
//! is told, one at a time for each user and each watch ([`Realtime`](super::Realtime)): whatever came in between, it ends with
//! what is true.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Watched;
use crate::engine::Present;
use crate::limits;

#[derive(Default)]
pub(super) struct Here {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: HashMap<Arc<str>, u32>,
    watching: HashMap<i64, Watching>,
    /// How often a connection began to watch.
    begun: u64,
}

/// Who watches a channel.
#[derive(Default)]
struct Watching {
    connections: HashMap<Arc<str>, u32>,
    /// Of [`Counts::begun`], the last one here.
    begun: u64,
    /// When a large channel was last told of watchers.
    told: Option<Instant>,
}

impl Here {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True for a user's first connection.
    pub(super) fn connect(&self, user: &Arc<str>) -> bool {
        let mut counts = self.counts();
        let connections = counts.connections.entry(user.clone()).or_default();
        *connections += 1;
        *connections == 1
    }

    /// True for a user's last connection.
    pub(super) fn disconnect(&self, user: &str) -> bool {
        let mut counts = self.counts();
        let Some(connections) = counts.connections.get_mut(user) else {
            return false;
        };
        *connections -= 1;
        let last = *connections == 0;
        if last {
            counts.connections.remove(user);
        }
        last
    }

    pub(super) fn is_connected(&self, user: &str) -> bool {
        self.counts().connections.contains_key(user)
    }

    pub(super) fn users(&self) -> Vec<String> {
        self.counts().connections.keys().map(ToString::to_string).collect()
    }

    /// True if none of the user's connections watched the channel.
    pub(super) fn watch(&self, channel: i64, user: &str) -> bool {
        let mut counts = self.counts();
        counts.begun += 1;
        let begun = counts.begun;
        let watching = counts.watching.entry(channel).or_default();
        watching.begun = begun;
        let connections = watching.connections.entry(user.into()).or_default();
        *connections += 1;
        *connections == 1
    }

    /// True if none of the user's connections watches the channel any more.
    pub(super) fn unwatch(&self, channel: i64, user: &str) -> bool {
        let mut counts = self.counts();
        let Some(watching) = counts.watching.get_mut(&channel) else {
            return false;
        };
        let Some(connections) = watching.connections.get_mut(user) else {
            return false;
        };
        *connections -= 1;
        let last = *connections == 0;
        if last {
            watching.connections.remove(user);
        }
        if watching.connections.is_empty() {
            counts.watching.remove(&channel);
        }
        last
    }

    pub(super) fn is_watching(&self, channel: i64, user: &str) -> bool {
        self.counts().watching.get(&channel).is_some_and(|watching| watching.connections.contains_key(user))
    }

    /// A number that is another one whenever a connection has begun to watch the channel, if anybody watches it.
    pub(super) fn watch_begun(&self, channel: i64) -> Option<u64> {
        Some(self.counts().watching.get(&channel)?.begun)
    }

    /// The same for all channels.
    pub(super) fn watches_begun(&self) -> u64 {
        self.counts().begun
    }

    /// Channels that a connection has begun to watch after [`Here::watches_begun`] was this.
    pub(super) fn watched_since(&self, begun: u64) -> Vec<i64> {
        let counts = self.counts();
        counts.watching.iter().filter(|(_, watching)| watching.begun > begun).map(|(channel, _)| *channel).collect()
    }

    pub(super) fn present(&self) -> Present {
        let counts = self.counts();
        let names = |users: &HashMap<Arc<str>, u32>| users.keys().map(ToString::to_string).collect();
        Present {
            online: names(&counts.connections),
            watching: counts.watching.iter().map(|(key, watching)| (*key, names(&watching.connections))).collect(),
        }
    }

    pub(super) fn may_tell_watching(&self, watched: &Watched) -> bool {
        if watched.watcher_count <= limits::LARGE_CHANNEL_WATCHERS as i64 {
            return true;
        }
        let now = Instant::now();
        let mut counts = self.counts();
        // Where nobody watches here, nothing is remembered.
        let Some(watching) = counts.watching.get_mut(&watched.channel) else { return true };
        let due = watching.told.is_none_or(|told| now - told >= limits::LARGE_CHANNEL_WATCHING_EVERY);
        if due {
            watching.told = Some(now);
        }
        due
    }
}
