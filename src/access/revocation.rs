//! Rights that may be gone: what has to be looked at again, and what it depends on.
//!
//! Whatever tells of a change raises a [`Doubt`] (events/announce.rs), and goes on; whoever closes doors takes the doubts and
//! looks (jobs/doorkeeper.rs). A doubt that waits already is not raised twice, so there are never more of them than there
//! are things to doubt, however many events there are. What may take long waits apart from what may not.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::app::App;
use super::caches::LoadedChannel;

/// Somebody may have lost a right that an open socket rests on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// The app's settings or channel types have changed.
    App,
    User(String),
    Channel(i64),
    Membership(i64, String),
    /// Which of several changes of a membership was the last is not known.
    Belonging(i64, String),
}

/// Doubts that wait to be looked into, by what has to be looked at.
#[derive(Debug, Default)]
pub struct Doubts {
    /// May the sockets of this user, or of everybody, still be open?
    pub sockets: Waiting<Option<String>>,
    /// May those who watch this channel still do?
    pub channels: Waiting<i64>,
    /// May this user still watch this channel, or all that it watches?
    pub users: Waiting<(String, Option<i64>)>,
    /// Does this user belong to the channel, as its sockets have been told?
    pub belongings: Waiting<(i64, String)>,
    /// May everybody still watch what they watch?
    pub app: Waiting<()>,
}

impl Doubts {
    pub fn raise(&self, doubt: Doubt) {
        match doubt {
            Doubt::App => {
                self.sockets.add(None);
                self.app.add(());
            }
            Doubt::User(user) => {
                self.sockets.add(Some(user.clone()));
                self.users.add((user, None));
            }
            Doubt::Channel(channel) => self.channels.add(channel),
            Doubt::Membership(channel, user) => self.users.add((user, Some(channel))),
            Doubt::Belonging(channel, user) => self.belongings.add((channel, user)),
        }
    }
}

/// Things that wait, each of them once.
#[derive(Debug)]
pub struct Waiting<T> {
    things: Mutex<HashSet<T>>,
    more: Notify,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { things: Mutex::default(), more: Notify::new() }
    }
}

impl<T: Eq + Hash> Waiting<T> {
    pub fn add(&self, thing: T) {
        self.things.lock().unwrap_or_else(PoisonError::into_inner).insert(thing);
        self.more.notify_one();
    }

    /// All that wait, as soon as there are any.
    pub async fn take(&self) -> HashSet<T> {
        loop {
            let taken = std::mem::take(&mut *self.things.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken;
            }
            self.more.notified().await;
        }
    }
}

/// What reading a channel depends on beside its type, its members and their users. While it is the same, those who watched it
/// before have lost nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    deleted: bool,
    disabled: bool,
    created_by: Option<String>,
    own_grants: Option<String>,
}

impl Facts {
    pub fn of(channel: &LoadedChannel) -> Self {
        let overrides = channel.row.config_overrides.as_ref();
        let own_grants = overrides.and_then(|overrides| overrides.get::<&RawValue>("grants"));
        Self {
            deleted: channel.row.deleted_at.is_some(),
            disabled: channel.row.disabled,
            created_by: channel.row.created_by.clone(),
            own_grants: own_grants.map(|grants| grants.get().to_owned()),
        }
    }
}

/// Do both give the same rights in channels?
pub fn same_rights(one: &App, other: &App) -> bool {
    one.disable_permissions_checks == other.disable_permissions_checks
        && one.types.len() == other.types.len()
        && one
            .types
            .iter()
            .zip(&other.types)
            .all(|((name, one), (other_name, other))| name == other_name && one.grants == other.grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_doubt_is_raised_once_until_it_is_taken() {
        let doubts = Doubts::default();
        for _ in 0..3 {
            doubts.raise(Doubt::Channel(1));
        }
        doubts.raise(Doubt::App);
        assert_eq!(doubts.channels.take().await, HashSet::from([1]));
        assert_eq!(doubts.sockets.take().await, HashSet::from([None]));
        doubts.raise(Doubt::Channel(1));
        assert_eq!(doubts.channels.take().await.len(), 1);
    }
}
