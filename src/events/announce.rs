//! Telling of what happened: here at once, on other nodes through the bus.
//!
//! The one path of every event. Wherever it comes from (a commit of this node, the bus, the relay) the same three things
//! happen: caches forget what it made stale, connections whose wishes it changes are changed, sockets hear it. None of them waits for
//! Postgres or Redis, so what takes a right away never stands behind what gives one. Who tells of an event of its own waits for what
//! that has begun here ([`Begun`]); whoever hears of another node's does not.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use wire::Timestamp;

use super::{Audience, Event, State, Touched};
use crate::access::Caches;
use crate::access::revocation::{Doubt, Doubts};
use crate::engine::{Engine, Topic};
use crate::error::Result;
use crate::limits;
use crate::realtime::Realtime;
use crate::store::appender::Announce;
use crate::store::events::LogEntry;

pub struct Announcer {
    caches: Arc<Caches>,
    realtime: Realtime,
    engine: Engine,
    leaving: UnboundedSender<Left>,
    doubts: Arc<Doubts>,
}

/// A user who watches the channel here is no member of it any more. `done` is dropped when that is taken care of: whatever is
/// said in the channel after it is not heard. Whoever announces waits for it, so it must not wait for other nodes.
#[derive(Debug)]
pub struct Left {
    pub user: String,
    pub channel: i64,
    pub done: oneshot::Sender<()>,
}

/// What hearing an event has begun here and only the one who tells of it waits for.
pub enum Begun {
    /// Nobody hears the channel any more who has left it: set when that is so.
    Leaving(oneshot::Receiver<()>),
    /// Somebody belongs to the channel now, and hears all of it once the node does.
    Joining(i64),
}

/// An event as it travels between nodes: this in one line of JSON, then the body as it is.
#[derive(Serialize, Deserialize)]
struct Envelope {
    kind: String,
    audience: Audience,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watcher_count: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<Box<State>>,
    at: i64,
}

impl Announcer {
    /// The second part says who has left, and `doubts` what else may have changed for connections, for whoever closes doors
    /// (jobs/doorkeeper.rs).
    pub fn new(
        caches: Arc<Caches>,
        realtime: Realtime,
        engine: Engine,
        doubts: Arc<Doubts>,
    ) -> (Self, UnboundedReceiver<Left>) {
        let (leaving, left) = unbounded_channel();
        (Self { caches, realtime, engine, leaving, doubts }, left)
    }

    /// Tells of events of this node, in their order. Here first: the sender's own node does not wait for an echo. What is said
    /// after it is heard here by those who belong to a channel since, and not by those who do no more.
    pub async fn tell(&self, events: Vec<Event>) {
        let mut joining = Vec::new();
        for event in events {
            self.publish(&event);
            match self.hear(event).await {
                Some(Begun::Leaving(done)) => drop(done.await),
                Some(Begun::Joining(channel)) => joining.push(channel),
                None => {}
            }
        }
        if !joining.is_empty() {
            self.realtime.heard(&joining).await;
        }
    }

    fn publish(&self, event: &Event) {
        if !self.engine.bus.has_others() {
            return;
        }
        let topic = match (&event.audience, event.channel_id) {
            // Absent users belong to the channel, most of them; the relay tells those who do not.
            (Audience::Channel { .. } | Audience::AbsentUsers(_), Some(channel)) => Some(Topic::Channel(channel)),
            (Audience::User(user) | Audience::AbsentUser(user), _) => Some(Topic::User(user.clone())),
            (Audience::Presence(user), _) => Some(Topic::Presence(user.clone())),
            _ => None,
        };
        let letter = seal(event);
        if let Some(topic) = topic {
            self.engine.bus.publish(topic, letter.clone());
        }
        // Every node may have cached it, whether or not its clients hear the event.
        if event.touches().is_some() {
            self.engine.bus.publish(Topic::Everyone, letter);
        }
    }

    /// Takes an event that came over the bus.
    pub async fn receive(&self, topic: &Topic, payload: Bytes) {
        let Some(event) = open(payload) else {
            tracing::warn!("an event from another node cannot be read");
            return;
        };
        if *topic == Topic::Everyone {
            self.forget(&event).await;
        } else {
            self.hear(event).await;
        }
    }

    /// Does on this node what an event means. Changes of a membership come in any order: one that is known to be past changes nothing,
    /// and what is true now is looked up after each. It waits for the node's own workers only: what an event takes away is gone when this
    /// returns or is looked into already, and what it gives to somebody comes when it comes.
    pub async fn hear(&self, event: Event) -> Option<Begun> {
        self.forget(&event).await;
        let membership = event.channel_id.zip(event.subject.clone());
        match (event.kind.as_str(), membership) {
            ("notification.added_to_channel" | "notification.invited" | "member.added", Some((channel, user)))
                if self.realtime.is_here(&user) =>
            {
                let is_past = self.realtime.fanout.is_past(&event).await;
                if !is_past {
                    self.realtime.join(&user, channel).await;
                }
                self.realtime.fanout.deliver(event).await;
                self.doubts.raise(Doubt::Belonging(channel, user));
                (!is_past).then_some(Begun::Joining(channel))
            }
            ("member.removed" | "notification.invite_rejected", Some((channel, user)))
                if self.realtime.is_here(&user) =>
            {
                let is_past = self.realtime.fanout.is_past(&event).await;
                self.realtime.fanout.deliver(event).await;
                self.doubts.raise(Doubt::Belonging(channel, user.clone()));
                if is_past {
                    self.doubts.raise(Doubt::Membership(channel, user));
                    return None;
                }
                self.realtime.leave(&user, channel).await;
                // Who begins to watch only now sees that something has changed (chat/channels/watch.rs).
                self.realtime.watches(&user, channel).then(|| {
                    let (done, wait) = oneshot::channel();
                    let _ = self.leaving.send(Left { user, channel, done });
                    Begun::Leaving(wait)
                })
            }
            _ => {
                let doubt = self.doubt_of(&event);
                self.realtime.fanout.deliver(event).await;
                // Once it is on its way: who may not hear what follows hears why.
                if let Some(doubt) = doubt {
                    self.doubts.raise(doubt);
                }
                None
            }
        }
    }

    /// Whose watching here an event of a channel may end.
    fn doubt_of(&self, event: &Event) -> Option<Doubt> {
        match event.touches()? {
            Touched::Channel(channel) if self.realtime.watch_begun(channel).is_some() => Some(Doubt::Channel(channel)),
            Touched::Membership(channel, user)
                if event.kind.starts_with("member.") && self.realtime.watches(user, channel) =>
            {
                Some(Doubt::Membership(channel, user.into()))
            }
            _ => None,
        }
    }

    /// Waits for nothing: what is forgotten is read again by whoever needs it.
    async fn forget(&self, event: &Event) {
        let Some(touched) = event.touches() else { return };
        self.caches.forget(touched).await;
        match touched {
            Touched::User(user) if self.realtime.is_here(user) => {
                self.doubts.raise(Doubt::User(user.into()));
            }
            Touched::App => self.doubts.raise(Doubt::App),
            _ => {}
        }
    }

    /// Forgets what an entry of the log made stale, without delivering anything.
    pub async fn forget_touched(&self, entry: &LogEntry) {
        self.forget(&unheard(entry)).await;
    }

    /// Sees to what entries of the log mean for the sockets here. Their events may have come by as some that were missing between
    /// others (realtime/fanout.rs), and then nobody else has. It goes by what is true now, so it may be done again.
    ///
    /// # Errors
    /// Postgres.
    pub async fn settle(&self, entries: &[LogEntry]) -> Result<()> {
        let moved = entries.iter().filter(|entry| matches!(&*entry.kind, "member.added" | "member.removed"));
        let moved = moved.filter_map(|entry| Some((&*entry.kind, (entry.channel_id?, entry.subject.clone()?))));
        let here: Vec<(&str, (i64, String))> = moved.filter(|(_, (_, user))| self.realtime.is_here(user)).collect();
        for some in here.chunks(limits::RECHECK_BATCH) {
            let keys: Vec<(i64, String)> = some.iter().map(|(_, key)| key.clone()).collect();
            let memberships = self.caches.memberships(&keys).await?;
            for ((kind, (channel, user)), membership) in some.iter().zip(memberships) {
                match (*kind, membership) {
                    ("member.added", Some(_)) => self.realtime.join(user, *channel).await,
                    ("member.removed", None) => self.realtime.leave(user, *channel).await,
                    _ => {}
                }
            }
        }
        let touching =
            |entry: &&LogEntry| super::touched(&entry.kind, entry.channel_id, entry.subject.as_deref()).is_some();
        for doubt in entries.iter().filter(touching).filter_map(|entry| self.doubt_of(&unheard(entry))) {
            self.doubts.raise(doubt);
        }
        Ok(())
    }
}

/// An entry of the log as an event that nobody hears.
fn unheard(entry: &LogEntry) -> Event {
    let mut event = Event::internal(&entry.kind, Timestamp::from_micros(0));
    event.channel_id = entry.channel_id;
    event.subject.clone_from(&entry.subject);
    event
}

#[async_trait]
impl Announce for Announcer {
    async fn announce(&self, events: Vec<Event>) {
        self.tell(events).await;
    }
}

fn seal(event: &Event) -> Bytes {
    let envelope = Envelope {
        kind: event.kind.clone(),
        audience: event.audience.clone(),
        channel_id: event.channel_id,
        number: event.number,
        id: event.id,
        subject: event.subject.clone(),
        watcher_count: event.watcher_count,
        state: event.state.clone(),
        at: event.created_at.micros(),
    };
    let head = serde_json::to_vec(&envelope).unwrap_or_default();
    let mut letter = BytesMut::with_capacity(head.len() + 1 + event.body.len());
    letter.extend_from_slice(&head);
    letter.extend_from_slice(b"\n");
    letter.extend_from_slice(&event.body);
    letter.freeze()
}

fn open(letter: Bytes) -> Option<Event> {
    let end = letter.iter().position(|byte| *byte == b'\n')?;
    let envelope: Envelope = serde_json::from_slice(&letter[..end]).ok()?;
    Some(Event {
        kind: envelope.kind,
        audience: envelope.audience,
        channel_id: envelope.channel_id,
        number: envelope.number,
        id: envelope.id,
        subject: envelope.subject,
        watcher_count: envelope.watcher_count,
        state: envelope.state,
        created_at: Timestamp::from_micros(envelope.at),
        body: letter.slice(end + 1..),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_travels_unchanged() {
        let event = Event {
            kind: "message.new".into(),
            audience: Audience::Channel { only: Some(["ada".to_owned()].into()) },
            channel_id: Some(7),
            number: Some(3),
            id: None,
            subject: Some("grace".into()),
            watcher_count: None,
            state: Some(Box::new(State { user: "ada".into(), at: 9 })),
            created_at: Timestamp::from_micros(5),
            body: Bytes::from_static(b"{\"text\":\"a\\nb\"}"),
        };
        let there = open(seal(&event)).unwrap();
        assert_eq!(
            (there.kind, there.audience, there.channel_id, there.number),
            (event.kind, event.audience, Some(7), Some(3))
        );
        assert_eq!((there.body, there.subject, there.created_at), (event.body, event.subject, event.created_at));
        assert_eq!(there.state, event.state);
    }
}
