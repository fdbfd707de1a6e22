//! Rights that may be gone: what has to be looked at again, and what it depends on.
//!
//! Whatever tells of a change raises a [`Doubt`] (events/announce.rs), and goes on; whoever closes doors takes the doubts and
//! looks (jobs/doorkeeper.rs). A doubt that waits already is not raised twice, so there are never more of them than there
//! are things to doubt, however many events there are.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
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
}

/// Doubts that wait to be looked into.
#[derive(Debug, Default)]
pub struct Doubts {
    waiting: Mutex<HashSet<Doubt>>,
    more: Notify,
}

impl Doubts {
    pub fn raise(&self, doubt: Doubt) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(doubt);
        self.more.notify_one();
    }

    /// All that wait, as soon as there are any.
    pub async fn take(&self) -> HashSet<Doubt> {
        loop {
            let taken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken;
            }
            self.more.notified().await;
        }
    }
}

/// What reading a channel depends on beside its type, its members and their users. While it is the same, a change of the channel
/// has taken nobody's rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    deleted: bool,
    disabled: bool,
    created_by: Option<String>,
    own_grants: Option<Value>,
}

impl Facts {
    pub fn of(channel: &LoadedChannel) -> Self {
        Self {
            deleted: channel.row.deleted_at.is_some(),
            disabled: channel.row.disabled,
            created_by: channel.row.created_by.clone(),
            own_grants: channel.row.config_overrides.as_ref().and_then(|overrides| overrides.get("grants").cloned()),
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
        assert_eq!(doubts.take().await, HashSet::from([Doubt::Channel(1), Doubt::App]));
        doubts.raise(Doubt::App);
        assert_eq!(doubts.take().await.len(), 1);
    }
}
