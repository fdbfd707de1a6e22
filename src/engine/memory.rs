//! The engine of a single node: everything is here, nobody else has to hear of it.

mod leases;
mod notes;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Clock;
use crate::limits;

use super::{Bus, Engine, Limits, Presence, Present, Refreshed, Settled, Topic, Usage, window_end};

pub use leases::Leasing;

/// A memory engine.
pub fn engine(clock: Clock) -> Engine {
    let memory = Arc::new(Memory::default());
    Engine {
        bus: memory.clone(),
        presence: memory.clone(),
        limits: Arc::new(Counters::default()),
        notes: Arc::new(notes::MemoryNotes::new(clock.clone())),
        leases: Arc::new(Leasing::new(clock)),
    }
}

#[derive(Default)]
struct Memory {
    online: Mutex<HashSet<String>>,
    watchers: Mutex<HashMap<i64, HashSet<String>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Bus for Memory {
    fn publish(&self, _topic: Topic, _payload: Bytes) {}

    fn subscribe(&self, _topics: &[Topic]) {}

    fn unsubscribe(&self, _topics: &[Topic]) {}

    async fn subscribed(&self) {}

    fn has_others(&self) -> bool {
        false
    }

    fn is_connected(&self) -> bool {
        true
    }
}

#[async_trait]
impl Presence for Memory {
    async fn connect(&self, user: &str) -> Settled {
        Settled { is_news: lock(&self.online).insert(user.into()), ..Settled::default() }
    }

    async fn disconnect(&self, user: &str) -> Settled {
        Settled { is_news: lock(&self.online).remove(user), ..Settled::default() }
    }

    async fn online(&self, users: &[String]) -> HashSet<String> {
        let online = lock(&self.online);
        users.iter().filter(|user| online.contains(*user)).cloned().collect()
    }

    async fn watch(&self, channel: i64, user: &str) -> Settled {
        let mut watchers = lock(&self.watchers);
        let users = watchers.entry(channel).or_default();
        let is_news = users.insert(user.into());
        Settled { is_news, watcher_count: users.len() as i64, at: None }
    }

    async fn unwatch(&self, channel: i64, user: &str) -> Settled {
        let mut watchers = lock(&self.watchers);
        let Some(users) = watchers.get_mut(&channel) else {
            return Settled::default();
        };
        let is_news = users.remove(user);
        let watcher_count = users.len() as i64;
        if users.is_empty() {
            watchers.remove(&channel);
        }
        Settled { is_news, watcher_count, at: None }
    }

    async fn watcher_counts(&self, channels: &[i64]) -> Vec<i64> {
        let watchers = lock(&self.watchers);
        channels.iter().map(|channel| watchers.get(channel).map_or(0, |users| users.len() as i64)).collect()
    }

    async fn watched(&self, user: &str, channels: &[i64]) -> Vec<i64> {
        let watchers = lock(&self.watchers);
        let watches = |channel: &&i64| watchers.get(*channel).is_some_and(|users| users.contains(user));
        channels.iter().filter(watches).copied().collect()
    }

    async fn watchers(&self, channel: i64, limit: usize, offset: usize) -> Vec<String> {
        let watchers = lock(&self.watchers);
        let users = watchers.get(&channel).into_iter().flatten();
        users.skip(offset).take(limit).cloned().collect()
    }

    async fn refresh(&self, _present: &Present) -> Refreshed {
        Refreshed::default()
    }

    async fn forgotten(&self) {
        std::future::pending::<()>().await;
    }
}

/// Counters of this node's requests. The Redis engine adds what other nodes counted.
#[derive(Default)]
pub(super) struct Counters {
    windows: Mutex<Windows>,
}

#[derive(Default)]
struct Windows {
    /// End of the window that the counts belong to.
    end: i64,
    counts: HashMap<String, Count>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    here: u64,
    /// Of `here`, what other nodes have been told.
    told: u64,
    elsewhere: u64,
}

impl Windows {
    fn at(&mut self, now_seconds: i64) -> &mut HashMap<String, Count> {
        let end = window_end(now_seconds);
        if self.end != end {
            self.end = end;
            // Not cleared: a busy minute does not hold memory for ever.
            self.counts = HashMap::new();
        }
        &mut self.counts
    }
}

impl Limits for Counters {
    fn hit(&self, key: &str, now_seconds: i64) -> Usage {
        let mut windows = lock(&self.windows);
        let counts = windows.at(now_seconds);
        let reset = window_end(now_seconds);
        if let Some(count) = counts.get_mut(key) {
            count.here += 1;
            return Usage { used: count.here + count.elsewhere, reset };
        }
        // When there is no room, whoever comes new is let through: what the app has used up is counted since the first request.
        if counts.len() < limits::RATE_LIMIT_KEYS_MAX {
            counts.insert(key.into(), Count { here: 1, ..Count::default() });
        }
        Usage { used: 1, reset }
    }

    fn peek(&self, key: &str, now_seconds: i64) -> Usage {
        let mut windows = lock(&self.windows);
        let count = windows.at(now_seconds).get(key).copied().unwrap_or_default();
        Usage { used: count.here + count.elsewhere, reset: window_end(now_seconds) }
    }
}

impl Counters {
    /// What other nodes have not been told yet: window end, and how much to add to which key.
    pub(super) fn untold(&self) -> (i64, Vec<(String, u64)>) {
        let mut windows = lock(&self.windows);
        let end = windows.end;
        let untold = windows.counts.iter_mut().filter(|(_, count)| count.here > count.told).map(|(key, count)| {
            let more = count.here - count.told;
            count.told = count.here;
            (key.clone(), more)
        });
        (end, untold.collect())
    }

    /// The count over all nodes, as of the last time this one told its share.
    pub(super) fn learn(&self, window: i64, key: &str, everywhere: u64) {
        let mut windows = lock(&self.windows);
        if windows.end == window
            && let Some(count) = windows.counts.get_mut(key)
        {
            count.elsewhere = everywhere.saturating_sub(count.told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_limits_are_bounded_and_known_ones_go_on_counting() {
        let counters = Counters::default();
        counters.hit("web:SendMessage", 0);
        for number in 0..2 * limits::RATE_LIMIT_KEYS_MAX {
            assert_eq!(counters.hit(&format!("u:{number}:SendMessage"), 0).used, 1);
        }
        assert_eq!(lock(&counters.windows).counts.len(), limits::RATE_LIMIT_KEYS_MAX);
        assert_eq!(counters.hit("web:SendMessage", 0).used, 2);
        assert_eq!(counters.hit("u:1:SendMessage", 60).used, 1);
        assert_eq!(lock(&counters.windows).counts.len(), 1, "a new minute begins with nothing");
    }
}
