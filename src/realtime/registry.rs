//! A worker and the connections that live in it.
//!
//! A worker owns what it knows: nobody else reads it, so there are no locks, and a command is done when the next one
//! begins. With what its connections want it changes, in the same step, what the node counts (interest.rs, presence.rs): whoever
//! asked may be gone before the answer, and the counts are right all the same. It takes all that waits in its inbox; events of one channel that wait together become one write per socket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use slab::Slab;
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};

use super::delivery::Delivery;
use super::interest::{Interest, WishForNow};
use super::presence::Here;
use super::{CloseReason, Connection, Dialect, notify, user_topics};
use crate::clock::Clock;
use crate::engine::Topic;
use crate::events::Audience;
use crate::limits;

/// What a worker is asked to do. Answers of `None` mean: no such connection of this user.
pub enum Command {
    /// What it wants to hear is counted already. Its channels are sorted, each of them once.
    Open {
        connection: Arc<Connection>,
        member_channels: Vec<i64>,
    },
    /// Answers with the channels that the user no longer watches on this node.
    Close {
        id: Arc<str>,
        done: oneshot::Sender<Option<Vec<i64>>>,
    },
    /// Answers with the channels that the user did not watch before on this node.
    Watch {
        id: Arc<str>,
        user: Arc<str>,
        channels: Vec<i64>,
        done: oneshot::Sender<Option<Vec<i64>>>,
    },
    /// Answers with the channels that the user no longer watches on this node.
    Unwatch {
        id: Arc<str>,
        user: Arc<str>,
        channels: Vec<i64>,
        done: oneshot::Sender<Option<Vec<i64>>>,
    },
    Follow {
        id: Arc<str>,
        user: Arc<str>,
        users: Vec<String>,
        done: oneshot::Sender<Option<()>>,
    },
    /// What the user's connections want to hear from now on is wished for until all workers have counted it.
    Join {
        user: Arc<str>,
        channel: i64,
        wish: Arc<WishForNow>,
    },
    Leave {
        user: Arc<str>,
        channel: i64,
    },
    /// Answers with the channels that the connection watches.
    Watched {
        id: Arc<str>,
        done: oneshot::Sender<Vec<i64>>,
    },
    /// Answers with the connections that watch the channel.
    Watchers {
        channel: i64,
        done: oneshot::Sender<Vec<Arc<Connection>>>,
    },
    Find {
        user: Option<Arc<str>>,
        done: oneshot::Sender<Vec<Arc<Connection>>>,
    },
    Deliver(Arc<Delivery>),
}

/// What a connection wants to hear.
#[derive(Debug, Default)]
struct Wants {
    /// Sorted.
    watched: Vec<i64>,
    /// Sorted.
    member_of: Vec<i64>,
    follows: Vec<Arc<str>>,
}

struct Entry {
    connection: Arc<Connection>,
    wants: Wants,
}

/// A channel as far as this worker's connections care.
#[derive(Default)]
struct Room {
    watchers: Vec<usize>,
    members: Vec<usize>,
}

/// Events on their way to sockets: their frames by dialect, encoded for dialects that somebody here speaks.
struct Run<'a> {
    events: &'a [Arc<Delivery>],
    dialects: &'a [Arc<dyn Dialect>],
    frames: SmallVec<[Option<Vec<Bytes>>; 4]>,
}

impl<'a> Run<'a> {
    fn new(events: &'a [Arc<Delivery>], dialects: &'a [Arc<dyn Dialect>]) -> Self {
        Self { events, dialects, frames: dialects.iter().map(|_| None).collect() }
    }

    fn send(&mut self, connection: &Connection) {
        let (index, events, dialects) = (connection.dialect, self.events, self.dialects);
        let frames = self.frames[index]
            .get_or_insert_with(|| events.iter().filter_map(|event| event.frame(index, dialects)).collect());
        if !frames.is_empty() {
            connection.socket.send(frames);
        }
    }
}

pub struct Worker {
    dialects: Arc<[Arc<dyn Dialect>]>,
    notify: notify::Sender,
    clock: Clock,
    interest: Arc<Interest>,
    here: Arc<Here>,
    entries: Slab<Entry>,
    by_id: HashMap<Arc<str>, usize>,
    by_user: HashMap<Arc<str>, SmallVec<[usize; 2]>>,
    rooms: HashMap<i64, Room>,
    followers: HashMap<Arc<str>, Vec<usize>>,
    /// Sockets served since others last had a turn.
    served: usize,
    beat: usize,
}

/// Connections get their heartbeat in turns, one part of them each second.
const BEATS: usize = limits::HEARTBEAT.as_secs() as usize;

impl Worker {
    pub(super) fn new(
        dialects: Arc<[Arc<dyn Dialect>]>,
        notify: notify::Sender,
        clock: Clock,
        interest: Arc<Interest>,
        here: Arc<Here>,
    ) -> Self {
        Self {
            dialects,
            notify,
            clock,
            interest,
            here,
            entries: Slab::new(),
            by_id: HashMap::new(),
            by_user: HashMap::new(),
            rooms: HashMap::new(),
            followers: HashMap::new(),
            served: 0,
            beat: 0,
        }
    }

    pub async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut commands = Vec::with_capacity(limits::FANOUT_BATCH_MAX);
        loop {
            tokio::select! {
                biased;
                _ = beat.tick() => self.heartbeat(),
                count = inbox.recv_many(&mut commands, limits::FANOUT_BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    self.gather(&mut inbox, &mut commands).await;
                    self.obey(&mut commands).await;
                }
            }
        }
    }

    /// Lets those speak who are about to: a round of writes costs nearly the same for one frame as for several.
    async fn gather(&self, inbox: &mut mpsc::Receiver<Command>, commands: &mut Vec<Command>) {
        tokio::task::yield_now().await;
        while commands.len() < limits::FANOUT_BATCH_MAX
            && let Ok(command) = inbox.try_recv()
        {
            commands.push(command);
        }
    }

    /// Obeys in order; events for whole channels that follow each other are gathered by channel first.
    async fn obey(&mut self, commands: &mut Vec<Command>) {
        let mut gathered: SmallVec<[(i64, Vec<Arc<Delivery>>); 4]> = SmallVec::new();
        for command in commands.drain(..) {
            if let Command::Deliver(delivery) = &command
                && let (Audience::Channel { only: None }, Some(channel)) =
                    (&delivery.event.audience, delivery.event.channel_id)
            {
                match gathered.iter_mut().find(|(key, _)| *key == channel) {
                    Some((_, run)) => run.push(delivery.clone()),
                    None => gathered.push((channel, vec![delivery.clone()])),
                }
                continue;
            }
            for (channel, run) in gathered.drain(..) {
                self.deliver_to_channel(channel, &run).await;
            }
            self.obey_one(command);
        }
        for (channel, run) in gathered.drain(..) {
            self.deliver_to_channel(channel, &run).await;
        }
    }

    fn obey_one(&mut self, command: Command) {
        match command {
            Command::Open { connection, member_channels } => self.open(connection, member_channels),
            Command::Close { id, done } => drop(done.send(self.close(&id))),
            Command::Watch { id, user, channels, done } => drop(done.send(self.watch(&id, &user, &channels))),
            Command::Unwatch { id, user, channels, done } => drop(done.send(self.unwatch(&id, &user, &channels))),
            Command::Follow { id, user, users, done } => drop(done.send(self.follow(&id, &user, &users))),
            Command::Join { user, channel, wish } => {
                self.join(&user, channel);
                drop(wish);
            }
            Command::Leave { user, channel } => self.leave(&user, channel),
            Command::Watched { id, done } => drop(done.send(self.watched(&id))),
            Command::Watchers { channel, done } => drop(done.send(self.watchers(channel))),
            Command::Find { user, done } => drop(done.send(self.find(user.as_deref()))),
            Command::Deliver(delivery) => self.deliver(&delivery),
        }
    }

    fn open(&mut self, connection: Arc<Connection>, member_channels: Vec<i64>) {
        let (id, user) = (connection.id.clone(), connection.user_id.clone());
        let wants = Wants { member_of: member_channels, ..Wants::default() };
        let index = self.entries.insert(Entry { connection, wants });
        self.by_id.insert(id, index);
        self.by_user.entry(user).or_default().push(index);
        for channel in &self.entries[index].wants.member_of {
            self.rooms.entry(*channel).or_default().members.push(index);
        }
    }

    fn close(&mut self, id: &str) -> Option<Vec<i64>> {
        let index = self.by_id.remove(id)?;
        let entry = self.entries.remove(index);
        if let Some(own) = self.by_user.get_mut(&entry.connection.user_id) {
            own.retain(|other| *other != index);
            if own.is_empty() {
                self.by_user.remove(&entry.connection.user_id);
            }
        }
        for channel in &entry.wants.watched {
            self.change_room(*channel, |room| remove(&mut room.watchers, index));
        }
        for channel in &entry.wants.member_of {
            self.change_room(*channel, |room| remove(&mut room.members, index));
        }
        for user in &entry.wants.follows {
            if let Some(followers) = self.followers.get_mut(user) {
                remove(followers, index);
                if followers.is_empty() {
                    self.followers.remove(user);
                }
            }
        }
        let user = &entry.connection.user_id;
        let channels = entry.wants.watched.iter().chain(&entry.wants.member_of).copied().map(Topic::Channel);
        let follows = entry.wants.follows.iter().map(|user| Topic::Presence(user.to_string()));
        self.interest.release(channels.chain(follows).chain(user_topics(user)));
        Some(entry.wants.watched.into_iter().filter(|channel| self.here.unwatch(*channel, user)).collect())
    }

    fn change_room(&mut self, channel: i64, change: impl FnOnce(&mut Room)) {
        let room = self.rooms.entry(channel).or_default();
        change(room);
        if room.watchers.is_empty() && room.members.is_empty() {
            self.rooms.remove(&channel);
        }
    }

    /// The connection, if it is there and the user's.
    fn own(&self, id: &str, user: &str) -> Option<usize> {
        let index = *self.by_id.get(id)?;
        (*self.entries[index].connection.user_id == *user).then_some(index)
    }

    fn watch(&mut self, id: &str, user: &str, channels: &[i64]) -> Option<Vec<i64>> {
        let index = self.own(id, user)?;
        let watched = &mut self.entries[index].wants.watched;
        let mut new = Vec::new();
        for channel in channels {
            if let Err(place) = watched.binary_search(channel)
                && watched.len() < limits::WATCHED_CHANNELS_MAX
            {
                watched.insert(place, *channel);
                new.push(*channel);
            }
        }
        for channel in &new {
            self.change_room(*channel, |room| room.watchers.push(index));
        }
        self.interest.wish(new.iter().copied().map(Topic::Channel));
        Some(new.into_iter().filter(|channel| self.here.watch(*channel, user)).collect())
    }

    fn unwatch(&mut self, id: &str, user: &str, channels: &[i64]) -> Option<Vec<i64>> {
        let index = self.own(id, user)?;
        let watched = &mut self.entries[index].wants.watched;
        let mut stopped = Vec::new();
        for channel in channels {
            if let Ok(place) = watched.binary_search(channel) {
                watched.remove(place);
                stopped.push(*channel);
            }
        }
        for channel in &stopped {
            self.change_room(*channel, |room| remove(&mut room.watchers, index));
        }
        self.interest.release(stopped.iter().copied().map(Topic::Channel));
        Some(stopped.into_iter().filter(|channel| self.here.unwatch(*channel, user)).collect())
    }

    fn follow(&mut self, id: &str, user: &str, users: &[String]) -> Option<()> {
        let index = self.own(id, user)?;
        let follows = &mut self.entries[index].wants.follows;
        let mut new = Vec::new();
        for user in users {
            if follows.len() < limits::FOLLOWED_USERS_MAX && !follows.iter().any(|known| **known == **user) {
                follows.push(user.as_str().into());
                new.push(user.clone());
            }
        }
        for user in &new {
            self.followers.entry(user.as_str().into()).or_default().push(index);
        }
        self.interest.wish(new.into_iter().map(Topic::Presence));
        Some(())
    }

    fn join(&mut self, user: &str, channel: i64) {
        let own = self.by_user.get(user).cloned().unwrap_or_default();
        for index in own {
            let member_of = &mut self.entries[index].wants.member_of;
            if let Err(place) = member_of.binary_search(&channel)
                && (member_of.len() as i64) < limits::MEMBER_CHANNELS_MAX
            {
                member_of.insert(place, channel);
                self.change_room(channel, |room| room.members.push(index));
                self.interest.wish([Topic::Channel(channel)]);
            }
        }
    }

    fn leave(&mut self, user: &str, channel: i64) {
        let own = self.by_user.get(user).cloned().unwrap_or_default();
        for index in own {
            let member_of = &mut self.entries[index].wants.member_of;
            if let Ok(place) = member_of.binary_search(&channel) {
                member_of.remove(place);
                self.change_room(channel, |room| remove(&mut room.members, index));
                self.interest.release([Topic::Channel(channel)]);
            }
        }
    }

    fn watched(&self, id: &str) -> Vec<i64> {
        self.by_id.get(id).map(|index| self.entries[*index].wants.watched.clone()).unwrap_or_default()
    }

    fn watchers(&self, channel: i64) -> Vec<Arc<Connection>> {
        let watchers = self.rooms.get(&channel).into_iter().flat_map(|room| &room.watchers);
        watchers.map(|index| self.entries[*index].connection.clone()).collect()
    }

    fn find(&self, user: Option<&str>) -> Vec<Arc<Connection>> {
        match user {
            Some(user) => {
                let own = self.by_user.get(user).into_iter().flatten();
                own.map(|index| self.entries[*index].connection.clone()).collect()
            }
            None => self.entries.iter().map(|(_, entry)| entry.connection.clone()).collect(),
        }
    }

    async fn deliver_to_channel(&mut self, channel: i64, events: &[Arc<Delivery>]) {
        let Some(room) = self.rooms.get(&channel) else { return };
        let started = Instant::now();
        let mut run = Run::new(events, &self.dialects);
        for index in &room.watchers {
            run.send(&self.entries[*index].connection);
            self.served += 1;
            if self.served >= limits::FANOUT_SOCKETS_PER_TURN {
                self.served = 0;
                tokio::task::yield_now().await;
            }
        }
        metrics::counter!("millrace_fanout_frames_total").increment((room.watchers.len() * events.len()) as u64);
        if !room.members.is_empty() {
            for delivery in events.iter().filter(|delivery| notify::has_twin(&delivery.event)) {
                let absent = room.members.iter().map(|index| &self.entries[*index]);
                let absent = absent.filter(|entry| entry.wants.watched.binary_search(&channel).is_err());
                self.notify.send(delivery, absent.map(|entry| entry.connection.clone()).collect());
            }
        }
        metrics::histogram!("millrace_fanout_seconds").record(started.elapsed());
    }

    fn deliver(&mut self, delivery: &Arc<Delivery>) {
        let event = &delivery.event;
        let channel = event.channel_id;
        let watches =
            |entry: &Entry| channel.is_some_and(|channel| entry.wants.watched.binary_search(&channel).is_ok());
        let targets: SmallVec<[usize; 8]> = match &event.audience {
            Audience::Channel { only } => {
                let Some(room) = channel.and_then(|channel| self.rooms.get(&channel)) else { return };
                let chosen = |index: &&usize| {
                    let user = &self.entries[**index].connection.user_id;
                    only.as_ref().is_none_or(|only| only.iter().any(|name| **name == **user))
                };
                if notify::has_twin(event) {
                    let absent = room.members.iter().filter(chosen).map(|index| &self.entries[*index]);
                    let absent = absent.filter(|entry| !watches(entry)).map(|entry| entry.connection.clone());
                    self.notify.send(delivery, absent.collect());
                }
                room.watchers.iter().filter(chosen).copied().collect()
            }
            Audience::User(user) => self.by_user.get(user.as_str()).into_iter().flatten().copied().collect(),
            Audience::AbsentUser(user) => {
                let own = self.by_user.get(user.as_str()).into_iter().flatten();
                own.filter(|index| !watches(&self.entries[**index])).copied().collect()
            }
            Audience::AbsentUsers(users) => {
                let own = users.iter().flat_map(|user| self.by_user.get(user.as_str()).into_iter().flatten());
                let absent = own.map(|index| &self.entries[*index]).filter(|entry| !watches(entry));
                return self.notify.send(delivery, absent.map(|entry| entry.connection.clone()).collect());
            }
            Audience::Presence(user) => {
                let followers = self.followers.get(user.as_str()).into_iter().flatten();
                let mut targets: SmallVec<[usize; 8]> = followers.copied().collect();
                // Who changes hears of it on every own connection; that one came online one knows oneself.
                if event.kind != "user.presence.changed" {
                    targets.extend(self.by_user.get(user.as_str()).into_iter().flatten().copied());
                    targets.sort_unstable();
                    targets.dedup();
                }
                targets
            }
            Audience::Nobody => return,
        };
        let mut run = Run::new(std::slice::from_ref(delivery), &self.dialects);
        for index in targets {
            run.send(&self.entries[index].connection);
        }
    }

    /// Closes sockets whose token has ended. And one part of the connections: says that this node lives, and looks whether the
    /// peers do.
    fn heartbeat(&mut self) {
        self.beat = (self.beat + 1) % BEATS;
        let now = self.clock.now();
        for (index, entry) in &self.entries {
            let connection = &entry.connection;
            if connection.has_expired(now) {
                connection.socket.close(CloseReason::Expired);
            }
            if index % BEATS != self.beat {
                continue;
            }
            if connection.socket.silent_for() > limits::SILENT_PEER {
                connection.socket.close(CloseReason::Silent);
            } else {
                connection.socket.send(&self.dialects[connection.dialect].heartbeat(connection, now));
            }
        }
    }
}

fn remove(list: &mut Vec<usize>, index: usize) {
    if let Some(place) = list.iter().position(|other| *other == index) {
        list.swap_remove(place);
    }
}
