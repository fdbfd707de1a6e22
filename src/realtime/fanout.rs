//! Every event once, and those of a channel in their order.
//!
//! Events reach a node from its own commits, from the bus and from the relay, in any order and more than once. Those of a
//! channel carry consecutive numbers: what was seen is dropped, what comes next goes on to the workers, and what comes too
//! early waits. A gap that does not close within [`limits::GAP_PATIENCE`] is read from the log. A number that the log does not
//! have was never committed: numbers are given under the channel's lock, so once a later one is visible, it never will be.
//!
//! Events without a number (for one user, or ephemeral) are only kept from being delivered twice. Those of the log wait as well
//! until it is known where their channel stands: whoever hears that it belongs to a channel hears all that follows.
//!
//! Of events that tell a passing state the newest counts: one that another node told earlier and that comes later is dropped.
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
use serde_json::Value;
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
    /// Events without a number that came before the channel was heard, in their order; `None` once it is.
    unheard: Option<Vec<Early>>,
    /// The highest number of one that came too early, whether it waits or there was no room for it.
    known: i64,
    repairing: bool,
    /// Users who watch the channel, over all nodes, as last heard, and when it was so.
    watchers: i64,
    counted_at: Option<i64>,
}

impl Progress {
    /// Learns from an event how many watch. One that comes too late says what is known instead.
    fn count_watchers(&mut self, event: &mut Event) {
        let Some(watchers) = event.watcher_count else { return };
        let at = event.state.as_ref().map(|state| state.at);
        if at.zip(self.counted_at).is_some_and(|(at, known)| is_late(at, known)) {
            event.body = with_other_count(&event.body, self.watchers);
        } else {
            (self.watchers, self.counted_at) = (watchers, at);
        }
    }
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
    newest: Mutex<Newest>,
    workers: Arc<[mpsc::Sender<Command>]>,
    store: Store,
    dialects: usize,
}

impl Fanout {
    pub(super) fn new(store: Store, workers: Arc<[mpsc::Sender<Command>]>, dialects: usize) -> Self {
        let channels = (0..SHARDS).map(|_| AsyncMutex::default()).collect();
        let (under_way, early) = (Budget::new(limits::FANOUT_BYTES_MAX), Budget::new(limits::GAP_BYTES_MAX));
        let (recent, newest) = (Mutex::default(), Mutex::default());
        Self { channels, under_way, early, recent, newest, workers, store, dialects }
    }

    fn shard(&self, channel: i64) -> &AsyncMutex<HashMap<i64, Progress>> {
        &self.channels[channel as usize % SHARDS]
    }

    /// Somebody here wants to hear of a channel, unless it is not wanted any more; its events wait until it is known where it stands.
    pub(super) async fn open(&self, channel: i64, is_wanted: impl FnOnce() -> bool) {
        let mut shard = self.shard(channel).lock().await;
        if is_wanted() {
            let new = || Progress { unheard: Some(Vec::new()), ..Progress::default() };
            shard.entry(channel).or_insert_with(new);
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
            for Early { event, .. } in progress.unheard.take().into_iter().flatten() {
                self.hand_over(self.room(&event).await, event);
            }
            self.advance(*channel, progress).await;
        }
    }

    /// Forgets a channel that nobody here wants to hear of any more, unless somebody wants it again meanwhile.
    pub(super) async fn end(&self, channel: i64, is_wanted: impl FnOnce() -> bool) {
        let mut shard = self.shard(channel).lock().await;
        if is_wanted() {
            return;
        }
        let unheard = shard.remove(&channel).and_then(|progress| progress.unheard);
        for Early { event, .. } in unheard.into_iter().flatten() {
            self.hand_over(self.room(&event).await, event);
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

    /// Has it, or a later one of its channel, gone on from here before?
    pub async fn is_past(&self, event: &Event) -> bool {
        match (event.channel_id, event.number) {
            (Some(channel), Some(number)) => {
                let shard = self.shard(channel).lock().await;
                shard.get(&channel).and_then(|progress| progress.seen).is_some_and(|seen| number <= seen)
            }
            _ => event.id.is_some_and(|id| self.recent().contains(id)),
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

    /// Takes room last: whoever has some must not wait for who waits for some.
    async fn deliver_unnumbered(&self, mut event: Event) {
        if event.id.is_some_and(|id| self.recent().contains(id)) {
            return;
        }
        if let Some(channel) = event.channel_id
            && let Some(progress) = self.shard(channel).lock().await.get_mut(&channel)
        {
            progress.count_watchers(&mut event);
            if progress.watchers > limits::LARGE_CHANNEL_WATCHERS as i64 && is_small_talk(&event.kind) {
                return;
            }
            if event.id.is_some()
                && let Some(unheard) =
                    progress.unheard.as_mut().filter(|unheard| unheard.len() < limits::GAP_EVENTS_MAX)
                && let Some(share) = self.early.take(event.body.len())
            {
                return unheard.push(Early { event, _share: Some(share) });
            }
        }
        self.hand_over(self.room(&event).await, event);
    }

    /// Hands over an event without a number, if it is news. Does not wait.
    fn hand_over(&self, room: Room<'_>, event: Event) {
        if event.id.is_some_and(|id| !self.recent().insert(id)) {
            return;
        }
        let Some(state) = &event.state else { return room.take(event, 0, self.dialects) };
        // Until it is on its way: what is newer comes after it.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.learn((event.channel_id, state.user.clone()), state.at) {
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

/// A body in which the number of watchers is another one.
fn with_other_count(body: &Bytes, watchers: i64) -> Bytes {
    let Ok(mut body) = serde_json::from_slice::<serde_json::Map<String, Value>>(body) else { return body.clone() };
    body.insert("watcher_count".into(), watchers.into());
    serde_json::to_vec(&body).unwrap_or_default().into()
}

/// Was it so before what is known? In microseconds.
fn is_late(at: i64, known: i64) -> bool {
    at < known && known - at < limits::STATE_LATE_MAX.as_micros() as i64
}

/// When the newest of the states was so that were told lately, by channel and user.
#[derive(Default)]
struct Newest {
    known: HashMap<(Option<i64>, String), i64>,
    order: VecDeque<(Option<i64>, String)>,
}

impl Newest {
    /// False if something newer is known.
    fn learn(&mut self, of: (Option<i64>, String), at: i64) -> bool {
        if let Some(known) = self.known.get_mut(&of) {
            let is_new = !is_late(at, *known);
            *known = if is_new { at } else { *known };
            return is_new;
        }
        self.known.insert(of.clone(), at);
        self.order.push_back(of);
        if self.order.len() > limits::NEWEST_STATES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn of(user: usize) -> (Option<i64>, String) {
        (None, user.to_string())
    }

    #[test]
    fn nothing_older_is_told_unless_the_clock_was_set_back() {
        let mut newest = Newest::default();
        assert!(newest.learn(of(1), 2 * MINUTE));
        assert!(!newest.learn(of(1), 2 * MINUTE - 1));
        assert!(newest.learn((Some(7), "1".into()), 2 * MINUTE - 1), "what is watched is another thing");
        assert!(newest.learn(of(1), 2 * MINUTE));
        assert!(newest.learn(of(1), MINUTE), "nothing comes as late as that");
        assert!(newest.learn(of(1), MINUTE + 1));
        for user in 2..2 + limits::NEWEST_STATES_MAX {
            assert!(newest.learn(of(user), MINUTE));
        }
        assert_eq!((newest.known.len(), newest.order.len()), (limits::NEWEST_STATES_MAX, limits::NEWEST_STATES_MAX));
        assert!(newest.learn(of(1), MINUTE), "it is forgotten");
    }

    #[test]
    fn a_late_event_says_how_many_watch_now() {
        let mut progress = Progress::default();
        let event = |count: i64, at: i64| {
            let mut event =
                Event::internal("user.watching.start", wire::Timestamp::from_micros(0)).as_of("ada", Some(at));
            event.watcher_count = Some(count);
            event.body = format!(r#"{{"type":"user.watching.start","watcher_count":{count},"z":1}}"#).into();
            event
        };
        let mut newer = event(3, 20);
        progress.count_watchers(&mut newer);
        let mut late = event(2, 10);
        progress.count_watchers(&mut late);
        assert_eq!(progress.watchers, 3);
        assert!(String::from_utf8_lossy(&newer.body).contains("\"watcher_count\":3"));
        assert!(String::from_utf8_lossy(&late.body).contains("\"watcher_count\":3"));
        let mut next = event(1, 30);
        progress.count_watchers(&mut next);
        assert_eq!(progress.watchers, 1);
    }
}
