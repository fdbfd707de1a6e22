//! What anybody on this node wants to hear, counted: the first wish subscribes the node, the last one to go unsubscribes it.
//!
//! Wishes come and go without waiting, in one go with what they are for (registry.rs), and the bus is told under the same lock:
//! whatever stops half-way, counts and subscriptions agree. What takes time (that the bus listens, where the channels stand)
//! is done by a task of its own for each set of new wishes; whoever needs it waits for that task and for no other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::SetOnce;

use super::fanout::Fanout;
use crate::engine::{Engine, Topic};
use crate::limits;
use crate::store::Store;

pub(super) struct Interest {
    wishes: Mutex<HashMap<Topic, Wish>>,
    store: Store,
    engine: Engine,
    fanout: Arc<Fanout>,
}

struct Wish {
    count: u32,
    /// Set when everything that happens from then on will be heard.
    heard: Arc<SetOnce<()>>,
}

/// Sets it, also when the task that it belongs to panics: nobody waits for ever.
struct Heard(Arc<SetOnce<()>>);

impl Drop for Heard {
    fn drop(&mut self) {
        let _ = self.0.set(());
    }
}

/// A wish for a channel that is taken back when it is dropped: others have begun to want it by then, or nobody does.
pub struct WishForNow {
    interest: Arc<Interest>,
    channel: i64,
}

impl Drop for WishForNow {
    fn drop(&mut self) {
        self.interest.release([Topic::Channel(self.channel)]);
    }
}

impl Interest {
    pub(super) fn new(store: Store, engine: Engine, fanout: Arc<Fanout>) -> Self {
        Self { wishes: Mutex::default(), store, engine, fanout }
    }

    fn wishes(&self) -> MutexGuard<'_, HashMap<Topic, Wish>> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wants(&self, topic: &Topic) -> bool {
        self.wishes().contains_key(topic)
    }

    /// Topics that somebody here wants to hear.
    pub(super) fn topics(&self) -> usize {
        self.wishes().len()
    }

    /// Counts a wish for each topic.
    pub(super) fn wish(self: &Arc<Self>, topics: impl IntoIterator<Item = Topic>) {
        let heard = Heard(Arc::default());
        let mut new = Vec::new();
        {
            let mut wishes = self.wishes();
            for topic in topics {
                match wishes.entry(topic) {
                    Entry::Occupied(mut known) => known.get_mut().count += 1,
                    Entry::Vacant(place) => {
                        new.push(place.key().clone());
                        place.insert(Wish { count: 1, heard: heard.0.clone() });
                    }
                }
            }
            if !new.is_empty() {
                self.engine.bus.subscribe(&new);
            }
        }
        if !new.is_empty() {
            tokio::spawn(self.clone().begin(new, heard));
        }
    }

    /// Wishes for a channel until others do. What is delivered from now on waits, if the channel is not heard yet.
    pub(super) async fn wish_for_now(self: &Arc<Self>, channel: i64) -> Arc<WishForNow> {
        self.wish([Topic::Channel(channel)]);
        let wish = Arc::new(WishForNow { interest: self.clone(), channel });
        self.open(&[channel]).await;
        wish
    }

    /// Lets events of channels wait until it is known where these stand, if anybody still wants them.
    async fn open(&self, channels: &[i64]) {
        for channel in channels {
            self.fanout.open(*channel, || self.wants(&Topic::Channel(*channel))).await;
        }
    }

    /// Returns when everything that happens from now on with these topics, which somebody wishes for, will be heard.
    pub(super) async fn heard(&self, topics: impl IntoIterator<Item = Topic>) {
        let mut waits: Vec<Arc<SetOnce<()>>> = {
            let wishes = self.wishes();
            let waits = topics.into_iter().filter_map(|topic| Some(wishes.get(&topic)?.heard.clone()));
            waits.filter(|heard| !heard.initialized()).collect()
        };
        // Most of them were wished for together.
        waits.dedup_by(|one, other| Arc::ptr_eq(one, other));
        for heard in waits {
            heard.wait().await;
        }
    }

    async fn begin(self: Arc<Self>, topics: Vec<Topic>, heard: Heard) {
        let channels: Vec<i64> = topics.iter().filter_map(channel_of).collect();
        self.open(&channels).await;
        self.engine.bus.subscribed().await;
        if !channels.is_empty() {
            let watchers = self.engine.presence.watcher_counts(&channels).await;
            // Read after the subscription: whatever comes later has a higher number, and is heard or visibly missing.
            let numbers = self.numbers(&channels).await;
            self.fanout.begin(&numbers, &channels, &watchers).await;
        }
        drop(heard);
    }

    /// Where channels stand. Until that is known their events wait, and so does whoever watches: there is no other answer.
    async fn numbers(&self, channels: &[i64]) -> Vec<(i64, i64)> {
        let mut pause = limits::READ_AGAIN_MIN;
        loop {
            match self.store.event_numbers(channels).await {
                Ok(numbers) => return numbers,
                Err(error) => {
                    metrics::counter!("millrace_delivery_reads_failed_total").increment(1);
                    tracing::warn!(%error, "could not read where channels stand");
                }
            }
            if !channels.iter().any(|channel| self.wants(&Topic::Channel(*channel))) {
                return Vec::new();
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::READ_AGAIN_MAX);
        }
    }

    /// Takes one wish for each topic back.
    pub(super) fn release(self: &Arc<Self>, topics: impl IntoIterator<Item = Topic>) {
        let mut gone = Vec::new();
        {
            let mut wishes = self.wishes();
            for topic in topics {
                if let Entry::Occupied(mut wish) = wishes.entry(topic) {
                    wish.get_mut().count -= 1;
                    if wish.get().count == 0 {
                        gone.push(wish.remove_entry().0);
                    }
                }
            }
            if !gone.is_empty() {
                self.engine.bus.unsubscribe(&gone);
            }
        }
        let channels: Vec<i64> = gone.iter().filter_map(channel_of).collect();
        if !channels.is_empty() {
            let interest = self.clone();
            tokio::spawn(async move {
                for channel in channels {
                    interest.fanout.end(channel, || interest.wants(&Topic::Channel(channel))).await;
                }
            });
        }
    }
}

fn channel_of(topic: &Topic) -> Option<i64> {
    if let Topic::Channel(channel) = topic { Some(*channel) } else { None }
}
