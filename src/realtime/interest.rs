//! What anybody on this node wants to hear, counted: the first wish subscribes the node, the last one to go unsubscribes it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fanout::Fanout;
use crate::engine::{Engine, Topic};
use crate::store::Store;

pub(super) struct Interest {
    wishes: Mutex<Wishes>,
    /// Held while the node subscribes or unsubscribes, so that the two never overtake each other.
    changing: tokio::sync::Mutex<()>,
    store: Store,
    engine: Engine,
    fanout: Arc<Fanout>,
}

#[derive(Default)]
struct Wishes {
    counts: HashMap<Topic, u32>,
    /// Wished for, but not subscribed yet.
    pending: HashSet<Topic>,
}

impl Interest {
    pub(super) fn new(store: Store, engine: Engine, fanout: Arc<Fanout>) -> Self {
        Self { wishes: Mutex::default(), changing: tokio::sync::Mutex::default(), store, engine, fanout }
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wants(&self, topic: &Topic) -> bool {
        self.wishes().counts.contains_key(topic)
    }

    /// Counts a wish for each topic and returns when everything after now will be heard.
    pub(super) async fn acquire(&self, topics: impl IntoIterator<Item = Topic>) {
        let topics: Vec<Topic> = topics.into_iter().collect();
        let mut new = Vec::new();
        {
            let mut wishes = self.wishes();
            for topic in &topics {
                let count = wishes.counts.entry(topic.clone()).or_default();
                *count += 1;
                if *count == 1 {
                    wishes.pending.insert(topic.clone());
                    new.push(topic.clone());
                }
            }
        }
        if !new.is_empty() {
            let _turn = self.changing.lock().await;
            self.subscribe(&new).await;
            let mut wishes = self.wishes();
            for topic in &new {
                wishes.pending.remove(topic);
            }
        }
        // Somebody else may be about to subscribe to one of them.
        while topics.iter().any(|topic| self.wishes().pending.contains(topic)) {
            drop(self.changing.lock().await);
            tokio::task::yield_now().await;
        }
    }

    async fn subscribe(&self, topics: &[Topic]) {
        let channels: Vec<i64> = topics
            .iter()
            .filter_map(|topic| if let Topic::Channel(channel) = topic { Some(*channel) } else { None })
            .collect();
        self.fanout.open(&channels).await;
        futures_util::future::join_all(topics.iter().map(|topic| self.engine.bus.subscribe(topic.clone()))).await;
        if channels.is_empty() {
            return;
        }
        let watcher_counts = self.engine.presence.watcher_counts(&channels).await;
        // Read after the subscription: whatever comes later has a higher number, and is heard or visibly missing.
        let numbers = self.store.event_numbers(&channels).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "could not read where channels stand; their next events decide");
            Vec::new()
        });
        self.fanout.begin(&numbers, &channels, &watcher_counts).await;
    }

    /// Takes one wish for each topic back.
    pub(super) fn release(self: &Arc<Self>, topics: impl IntoIterator<Item = Topic>) {
        let gone: Vec<Topic> = {
            let mut wishes = self.wishes();
            let mut gone = Vec::new();
            for topic in topics {
                if let Some(count) = wishes.counts.get_mut(&topic) {
                    *count -= 1;
                    if *count == 0 {
                        wishes.counts.remove(&topic);
                        gone.push(topic);
                    }
                }
            }
            gone
        };
        if gone.is_empty() {
            return;
        }
        let interest = self.clone();
        tokio::spawn(async move {
            let _turn = interest.changing.lock().await;
            for topic in gone {
                if interest.wishes().counts.contains_key(&topic) {
                    continue;
                }
                if let Topic::Channel(channel) = topic {
                    interest.fanout.end(channel).await;
                }
                interest.engine.bus.unsubscribe(topic).await;
            }
        });
    }
}
