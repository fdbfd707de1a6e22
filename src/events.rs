//! What happened, and who hears of it.
//!
//! An [`Event`] is written to the log in the transaction of what it tells (`store::write`), announced after the commit
//! (`announce`), and read again from the log by whoever missed it (`relay`, and `chat::sync` for clients). Events that only tell a passing state
//! (typing, watching, presence, heartbeats) are made with [`Event::ephemeral`] and skip the log.
//!
//! Read next: docs/subsystems/events.md, then announce.rs.

pub mod announce;
pub mod audience;
pub mod relay;
pub mod size;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::Timestamp;

use crate::error::Result;

pub use audience::Audience;

/// The kind of events whose wire type is not ours.
pub const CUSTOM: &str = "custom";

/// Something that happened, ready to be sent: the JSON that clients hear is part of it and is never made twice.
#[derive(Clone, Debug)]
pub struct Event {
    /// The wire type, `message.new`; [`CUSTOM`] for one that a client or a server made up, whatever it calls it.
    pub kind: String,
    pub audience: Audience,
    /// The channel in which it happened, by key.
    pub channel_id: Option<i64>,
    /// Position in the channel's log. Consecutive, so that a hole shows that something is missing.
    pub number: Option<i64>,
    /// Key in the log; `None` before it is written, and for ephemeral events.
    pub id: Option<i64>,
    /// The user whom it is about, where caches hold something about that user.
    pub subject: Option<String>,
    /// Told by `user.watching.*`: every node remembers it, for the events that carry it.
    pub watcher_count: Option<i64>,
    /// Of which state it tells, where another node may tell of a later one at the same time.
    pub state: Option<Box<State>>,
    pub created_at: Timestamp,
    /// `{"type":"message.new",…}`
    pub body: Bytes,
}

/// A state of a user that passes: whether it is online, or watches the channel of the event. Nodes tell of it in any order; nobody
/// hears an earlier one after a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub user: String,
    /// As [`Settled::at`](crate::engine::Settled::at).
    pub at: i64,
}

impl Event {
    /// An event for the log.
    ///
    /// # Errors
    /// It is too large for those who would hear it (size.rs).
    pub fn new(event: &wire::Event, audience: Audience) -> Result<Self> {
        Ok(Self {
            kind: event.kind.clone(),
            audience,
            channel_id: None,
            number: None,
            id: None,
            subject: None,
            watcher_count: event.watcher_count,
            state: None,
            created_at: event.created_at,
            body: size::encode(event)?.into(),
        })
    }

    /// An event that skips the log: it tells a state that has passed when somebody would read it there.
    ///
    /// # Errors
    /// As [`Event::new`].
    pub fn ephemeral(event: &wire::Event, channel_id: Option<i64>, audience: Audience) -> Result<Self> {
        Ok(Self { channel_id, ..Self::new(event, audience)? })
    }

    /// An event in the words of whoever sent it. It skips the log. Nodes and dialects act on the kind of an event, so no word of
    /// a client ever is one: the body has it, and the kind says only that somebody made it up.
    ///
    /// # Errors
    /// None in practice: our own types always serialise.
    pub fn custom(event: &wire::Event, channel_id: Option<i64>, audience: Audience) -> Result<Self> {
        Ok(Self { kind: CUSTOM.into(), ..Self::ephemeral(event, channel_id, audience)? })
    }

    /// An entry of the log that no client hears, only the nodes' caches: what it is about has changed.
    pub fn internal(kind: &str, created_at: Timestamp) -> Self {
        Self {
            kind: kind.into(),
            audience: Audience::Nobody,
            channel_id: None,
            number: None,
            id: None,
            subject: None,
            watcher_count: None,
            state: None,
            created_at,
            body: Bytes::from_static(b"{}"),
        }
    }

    /// The same as something that was so at a time, if that is known.
    pub fn as_of(mut self, user: &str, at: Option<i64>) -> Self {
        self.state = at.map(|at| Box::new(State { user: user.into(), at }));
        self
    }

    pub fn about(mut self, user_id: &str) -> Self {
        self.subject = Some(user_id.into());
        self
    }

    pub fn place_in_channel(&mut self, channel_id: i64, number: i64) {
        self.channel_id = Some(channel_id);
        self.number = Some(number);
    }

    /// What nodes hold in their caches and must forget because of this event.
    pub fn touches(&self) -> Option<Touched<'_>> {
        touched(&self.kind, self.channel_id, self.subject.as_deref())
    }
}

/// Something cached that an event makes stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched<'a> {
    App,
    User(&'a str),
    Channel(i64),
    /// And with it the channel, which counts its members.
    Membership(i64, &'a str),
}

/// Derived from the type of an event, so that a change can never be logged without being noticed.
pub fn touched<'a>(kind: &str, channel_id: Option<i64>, subject: Option<&'a str>) -> Option<Touched<'a>> {
    let family = kind.split('.').next().unwrap_or_default();
    match (family, channel_id, subject) {
        ("app" | "channel_type", _, _) => Some(Touched::App),
        // What one user does to a channel for itself (hiding), and a ban in one channel (user.banned with the channel
        // beside it), are facts of the membership.
        ("channel" | "member" | "user", Some(channel_id), Some(user)) => Some(Touched::Membership(channel_id, user)),
        ("channel", Some(channel_id), None) => Some(Touched::Channel(channel_id)),
        ("user", None, Some(user)) => Some(Touched::User(user)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_make_up_touches_nothing() {
        for kind in
            ["app", "app.updated", "channel_type", "member", "member.removed", "user", "user.updated", "editing.state"]
        {
            let event = wire::Event::new(kind, Timestamp::from_micros(0));
            let made_up = Event::custom(&event, Some(1), Audience::CHANNEL).unwrap().about("ada");
            assert_eq!((made_up.kind.as_str(), made_up.touches()), (CUSTOM, None), "{kind}");
            assert!(std::str::from_utf8(&made_up.body).unwrap().contains(kind));
        }
    }

    #[test]
    fn changes_are_noticed_and_messages_are_not() {
        assert_eq!(touched("message.new", Some(1), Some("ada")), None);
        assert_eq!(touched("channel.updated", Some(1), None), Some(Touched::Channel(1)));
        assert_eq!(touched("member.removed", Some(1), Some("ada")), Some(Touched::Membership(1, "ada")));
        assert_eq!(touched("user.updated", None, Some("ada")), Some(Touched::User("ada")));
        assert_eq!(touched("user.banned", Some(1), Some("ada")), Some(Touched::Membership(1, "ada")));
        assert_eq!(touched("app.updated", None, None), Some(Touched::App));
    }
}
