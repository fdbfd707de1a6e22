//! Who is on this node, counted: the engine only hears of the first and the last connection of a user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Watched;
use crate::limits;

#[derive(Default)]
pub(super) struct Here {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: HashMap<Arc<str>, u32>,
    watching: HashMap<i64, HashMap<Arc<str>, u32>>,
    /// When a large channel was last told of watchers.
    told: HashMap<i64, Instant>,
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
        let watching = counts.watching.entry(channel).or_default().entry(user.into()).or_default();
        *watching += 1;
        *watching == 1
    }

    /// True if none of the user's connections watches the channel any more.
    pub(super) fn unwatch(&self, channel: i64, user: &str) -> bool {
        let mut counts = self.counts();
        let Some(users) = counts.watching.get_mut(&channel) else {
            return false;
        };
        let Some(watching) = users.get_mut(user) else {
            return false;
        };
        *watching -= 1;
        let last = *watching == 0;
        if last {
            users.remove(user);
        }
        if users.is_empty() {
            counts.watching.remove(&channel);
            counts.told.remove(&channel);
        }
        last
    }

    pub(super) fn may_tell_watching(&self, watched: &Watched) -> bool {
        if watched.watcher_count <= limits::LARGE_CHANNEL_WATCHERS as i64 {
            return true;
        }
        let now = Instant::now();
        let mut counts = self.counts();
        let due =
            counts.told.get(&watched.channel).is_none_or(|told| now - *told >= limits::LARGE_CHANNEL_WATCHING_EVERY);
        // Forgotten with the last watcher here.
        if due && counts.watching.contains_key(&watched.channel) {
            counts.told.insert(watched.channel, now);
        }
        due
    }
}
