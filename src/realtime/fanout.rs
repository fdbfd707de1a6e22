//! Every event once, and those of a channel in their order.
//!
//! Events reach a node from its own commits, from the bus and from the relay, in any order and more than once. Those of a
//! channel carry consecutive numbers: what was seen is dropped, what comes next goes on to the workers, and what comes too
//! early waits. A gap that does not close within [`limits::GAP_PATIENCE`] is read from the log. A number that the log does not
//! have was never committed: numbers are given under the channel's lock, so once a later one is visible, it never will be.
//!
//! Events without a number (for one user, or ephemeral) are only kept from being delivered twice.
//!
//! What is on its way has a bound in bytes. Whoever brings more waits, as where an inbox is full. What waits for a gap has one of its
//! own, which keeps nothing from going on: of what does not fit only the number is kept, and it is read from the log.
//!
//! An event counts as seen in the same step in which the workers have it: first there is room for it everywhere ([`Room`]),
//! then it is marked and handed over, with no wait in between. Whoever stops half-way has lost nothing.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::delivery::Delivery;
use super::registry::Command;
use crate::budget::{Budget, Share};
use crate::events::Event;
use crate::limits;
use crate::store::Store;
use smallvec::SmallVec;

/// Channels are spread over so many locks.
const SHARDS: usize = 64;

/// How far a channel's events have gone on this node.
#[derive(Default)]
struct Progress {
    /// The last number that went on. `None` until it is known where the channel stands.
    seen: Option<i64>,
    /// Events that came too early.
    waiting: BTreeMap<i64, Early>,
    /// The highest number of one that came too early, whether it waits or there was no room for it.
    known: i64,
    repairing: bool,
    /// Users who watch the channel, over all nodes, as last heard.
    watchers: i64,
}

/// An event that came too early, with its share of what may wait; one that was read from the log goes on at once.
struct Early {
    event: Event,
    _share: Option<Share>,
}

pub struct Fanout {
    channels: Box<[AsyncMutex<HashMap<i64, Progress>>]>,
    /// For what is on its way, and for what waits for a gap to close.
    under_way: Arc<Budget>,
    early: Arc<Budget>,
    recent: Mutex<Recent>,
    workers: Arc<[mpsc::Sender<Command>]>,
    store: Store,
    dialects: usize,
}

impl Fanout {
    pub(super) fn new(store: Store, workers: Arc<[mpsc::Sender<Command>]>, dialects: usize) -> Self {
        let channels = (0..SHARDS).map(|_| AsyncMutex::default()).collect();
        let (under_way, early) = (Budget::new(limits::FANOUT_BYTES_MAX), Budget::new(limits::GAP_BYTES_MAX));
        Self { channels, under_way, early, recent: Mutex::default(), workers, store, dialects }
    }

    fn shard(&self, channel: i64) -> &AsyncMutex<HashMap<i64, Progress>> {
        &self.channels[channel as usize % SHARDS]
    }

    /// Somebody here wants to hear of these channels; their events wait until it is known where they stand.
    pub(super) async fn open(&self, channels: &[i64]) {
        for channel in channels {
            self.shard(*channel).lock().await.entry(*channel).or_default();
        }
    }

    /// Says where channels stand and how many watch them.
    pub(super) async fn begin(self: &Arc<Self>, numbers: &[(i64, i64)], channels: &[i64], watchers: &[i64]) {
        let numbers: HashMap<i64, i64> = numbers.iter().copied().collect();
        for (channel, watchers) in channels.iter().zip(watchers) {
            let mut shard = self.shard(*channel).lock().await;
            let Some(progress) = shard.get_mut(channel) else { continue };
            progress.watchers = *watchers;
            let first_waiting = progress.waiting.keys().next().map(|number| number - 1);
            progress.seen = progress.seen.max(numbers.get(channel).copied().or(first_waiting));
            self.advance(*channel, progress).await;
        }
    }

    /// Forgets a channel that nobody here wants to hear of any more, unless somebody wants it again meanwhile.
    pub(super) async fn end(&self, channel: i64, is_wanted: impl FnOnce() -> bool) {
        let mut shard = self.shard(channel).lock().await;
        if !is_wanted() {
            shard.remove(&channel);
        }
    }

    /// Would this entry of the log be news here?
    pub async fn is_news(&self, channel: Option<i64>, number: Option<i64>, id: i64) -> bool {
        match (channel, number) {
            (Some(channel), Some(number)) => {
                let shard = self.shard(channel).lock().await;
                // Where it is not known yet how far a channel has gone, everything may be news.
                shard.get(&channel).is_some_and(|progress| progress.seen.is_none_or(|seen| number > seen))
            }
            _ => !self.recent().contains(id),
        }
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event on its way to this node's sockets, if it is news.
    pub async fn deliver(self: &Arc<Self>, event: Event) {
        let (Some(channel), Some(number)) = (event.channel_id, event.number) else {
            return self.deliver_unnumbered(event).await;
        };
        let mut shard = self.shard(channel).lock().await;
        let Some(progress) = shard.get_mut(&channel) else { return };
        if progress.seen.is_some_and(|seen| number <= seen) {
            return;
        }
        if progress.seen.is_some_and(|seen| number == seen + 1) {
            let room = self.room(&event).await;
            progress.seen = Some(number);
            room.take(event, progress.watchers, self.dialects);
        } else {
            progress.known = progress.known.max(number);
            if let Some(share) = self.early.take(event.body.len()) {
                progress.waiting.insert(number, Early { event, _share: Some(share) });
            }
            if progress.waiting.len() > limits::GAP_EVENTS_MAX {
                // The gap is larger now, and the log has what is dropped.
                progress.waiting.pop_first();
            }
        }
        self.advance(channel, progress).await;
    }

    async fn deliver_unnumbered(&self, event: Event) {
        let room = self.room(&event).await;
        if event.id.is_some_and(|id| self.recent().contains(id)) {
            return;
        }
        if let Some(channel) = event.channel_id
            && let Some(progress) = self.shard(channel).lock().await.get_mut(&channel)
        {
            if let Some(watchers) = event.watcher_count {
                progress.watchers = watchers;
            }
            if progress.watchers > limits::LARGE_CHANNEL_WATCHERS as i64 && is_small_talk(&event.kind) {
                return;
            }
        }
        if event.id.is_none_or(|id| self.recent().insert(id)) {
            room.take(event, 0, self.dialects);
        }
    }

    /// Passes on what is due, and sees to it that a gap closes.
    async fn advance(self: &Arc<Self>, channel: i64, progress: &mut Progress) {
        let Some(mut seen) = progress.seen else { return };
        while let Some(entry) = progress.waiting.first_entry() {
            if *entry.key() > seen + 1 {
                break;
            }
            if *entry.key() <= seen {
                entry.remove();
                continue;
            }
            let room = self.room(&entry.get().event).await;
            let (number, Early { event, .. }) = entry.remove_entry();
            seen = number;
            progress.seen = Some(seen);
            room.take(event, progress.watchers, self.dialects);
        }
        if progress.known > seen && !progress.repairing {
            progress.repairing = true;
            self.spawn_repair(channel, progress.waiting.len() >= limits::GAP_EVENTS_MAX);
        }
    }

    fn spawn_repair(self: &Arc<Self>, channel: i64, at_once: bool) {
        let repair: BoxFuture<'static, ()> = Box::pin(self.clone().repair(channel, at_once));
        tokio::spawn(repair);
    }

    /// Waits a little for the missing events of a channel, then reads them from the log; again and again until it has them.
    async fn repair(self: Arc<Self>, channel: i64, at_once: bool) {
        if !at_once {
            tokio::time::sleep(limits::GAP_PATIENCE).await;
        }
        let mut pause = limits::READ_AGAIN_MIN;
        loop {
            let (seen, next) = {
                let mut shard = self.shard(channel).lock().await;
                let Some(progress) = shard.get_mut(&channel) else { return };
                let next = progress.waiting.keys().next().copied().unwrap_or(progress.known + 1);
                match progress.seen {
                    Some(seen) if seen + 1 < next => (seen, next),
                    _ => {
                        progress.repairing = false;
                        return;
                    }
                }
            };
            metrics::counter!("millrace_gaps_total").increment(1);
            match self.store.channel_events_between(channel, seen, next).await {
                Ok((missing, whole)) => return self.fill(channel, missing, whole, next).await,
                Err(error) => {
                    metrics::counter!("millrace_delivery_reads_failed_total").increment(1);
                    tracing::warn!(%error, "could not read missing events");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::READ_AGAIN_MAX);
        }
    }

    /// Takes what the log has of a channel's events before `next`.
    async fn fill(self: &Arc<Self>, channel: i64, missing: Vec<Event>, whole: bool, next: i64) {
        let mut shard = self.shard(channel).lock().await;
        let Some(progress) = shard.get_mut(&channel) else { return };
        progress.repairing = false;
        if progress.seen.is_none() {
            // It was forgotten meanwhile, and somebody wants it again.
            return;
        }
        // A long gap is read in parts: what lies behind this part is not known to be missing.
        let next = match missing.last().and_then(|event| event.number) {
            Some(last) if !whole => last + 1,
            _ => next,
        };
        progress
            .waiting
            .extend(missing.into_iter().filter_map(|event| Some((event.number?, Early { event, _share: None }))));
        while let Some(first) = progress.waiting.first_entry().filter(|first| *first.key() < next) {
            let room = self.room(&first.get().event).await;
            let (number, Early { event, .. }) = first.remove_entry();
            if progress.seen.is_none_or(|seen| number > seen) {
                progress.seen = Some(number);
                room.take(event, progress.watchers, self.dialects);
            }
        }
        // What is still missing before `next` was never committed.
        progress.seen = progress.seen.max(Some(next - 1));
        self.advance(channel, progress).await;
    }

    /// Waits until every worker can take this event.
    async fn room(&self, event: &Event) -> Room<'_> {
        let share = self.under_way.wait(event.body.len()).await;
        let mut places = SmallVec::new();
        for worker in self.workers.iter() {
            // A worker that has ended is the node's end (tasks.rs).
            places.extend(worker.reserve().await.ok());
        }
        Room { places, share }
    }
}

/// A place for one event in the inbox of every worker.
struct Room<'a> {
    places: SmallVec<[mpsc::Permit<'a, Command>; 8]>,
    share: Share,
}

impl Room<'_> {
    /// Hands an event over. Does not wait.
    fn take(self, mut event: Event, watchers: i64, dialects: usize) {
        if event.kind == "message.new" {
            event.body = with_watcher_count(&event.body, watchers);
        }
        let delivery = Arc::new(Delivery::new(event, self.share, dialects));
        for place in self.places {
            place.send(Command::Deliver(delivery.clone()));
        }
    }
}

/// What large channels do not hear: every watcher causes it, and every watcher would hear it.
fn is_small_talk(kind: &str) -> bool {
    matches!(kind, "typing.start" | "typing.stop" | "message.read" | "message.delivered")
}

/// The event with the one key that only the receiving node knows.
fn with_watcher_count(body: &Bytes, watchers: i64) -> Bytes {
    let Some(open) = body.strip_suffix(b"}") else {
        return body.clone();
    };
    let mut whole = BytesMut::with_capacity(body.len() + 32);
    whole.extend_from_slice(open);
    whole.extend_from_slice(format!(",\"watcher_count\":{watchers}}}").as_bytes());
    whole.freeze()
}

/// Keys of log rows that were delivered lately.
#[derive(Default)]
struct Recent {
    ids: HashSet<i64>,
    order: VecDeque<i64>,
}

impl Recent {
    fn contains(&self, id: i64) -> bool {
        self.ids.contains(&id)
    }

    /// False if it was there.
    fn insert(&mut self, id: i64) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > limits::RECENT_EVENTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
