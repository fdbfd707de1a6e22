//! What a node remembers of users, channels, memberships and the app.
//!
//! A cache makes an answer fast, never wrong. Every change is an event, every event names what it makes stale
//! ([`crate::events::touched`]), and nodes forget when they hear of it: at once through the bus, within half a second
//! through the relay when the bus is away. Entries live for seconds anyway. Before somebody is refused, facts are read
//! afresh.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use wire::channel::ChannelConfig;
use wire::{Cid, Timestamp};

use super::app::{self, App, ChannelType};
use super::grants::Grants;
use super::weight;
use crate::asker::for_everybody;
use crate::engine::Presence;
use crate::error::{Error, Result};
use crate::events::Touched;
use crate::limits;
use crate::store::Store;
use crate::store::channels::Channel;
use crate::store::members::{Member, Standing};
use crate::store::users::User;

/// A channel with all that access asks of it.
#[derive(Debug)]
pub struct LoadedChannel {
    pub row: Channel,
    pub kind: Arc<ChannelType>,
    /// The type's settings with the channel's own.
    pub config: Arc<ChannelConfig>,
    /// The type's grants with the channel's own; `None` if it has none of its own.
    own_grants: Option<Grants>,
}

impl LoadedChannel {
    pub fn new(row: Channel, app: &App) -> Self {
        let kind = app.types.get(row.cid.channel_type()).or_else(|| app.types.get("messaging"));
        let kind = kind.expect("messaging is never deleted").clone();
        let (config, own_grants) = match &row.config_overrides {
            Some(overrides) if !overrides.is_empty() => {
                // What was kept as JSON is JSON.
                let overrides = overrides.parse().unwrap_or_default();
                let modifiers = app::grant_modifiers(&overrides);
                let mut config = app::overridden(&kind.config, &overrides);
                config.grants.clone_from(&modifiers);
                (Arc::new(config), modifiers.map(|modifiers| kind.grants.modified(&modifiers)))
            }
            _ => (kind.config.clone(), None),
        };
        Self { row, kind, config, own_grants }
    }

    pub fn grants(&self) -> &Grants {
        self.own_grants.as_ref().unwrap_or(&self.kind.grants)
    }

    /// Does the same decide who may do what here, beside the members and their users?
    pub(super) fn has_the_rules_of(&self, other: &Self) -> bool {
        let settings = |channel: &Channel| (channel.frozen, channel.disabled, channel.deleted_at.is_some());
        self.grants() == other.grants()
            && settings(&self.row) == settings(&other.row)
            && self.row.created_by == other.row.created_by
    }
}

/// A membership as far as access and sending ask for it. Read positions change with every message and are never cached.
#[derive(Clone, Debug, PartialEq)]
pub struct Membership {
    /// It has ended, and something in it still binds whose it was: a ban.
    pub has_left: bool,
    pub channel_role: String,
    pub pending: bool,
    pub banned: bool,
    pub shadow_banned: bool,
    pub ban_expires: Option<Timestamp>,
    pub muted: bool,
    pub muted_until: Option<Timestamp>,
    pub cleared_seq: i64,
}

impl Membership {
    /// What decides what a member may do.
    pub(super) fn rights(&self) -> (&str, bool, bool, Option<Timestamp>) {
        (&self.channel_role, self.banned, self.shadow_banned, self.ban_expires)
    }
}

impl From<Standing> for Membership {
    fn from(member: Standing) -> Self {
        Self {
            has_left: member.has_left,
            channel_role: member.channel_role,
            pending: member.pending,
            banned: member.banned,
            shadow_banned: member.shadow_banned,
            ban_expires: member.ban_expires,
            muted: member.notifications_muted,
            muted_until: member.notifications_muted_until,
            cleared_seq: member.cleared_seq,
        }
    }
}

impl From<&Member> for Membership {
    fn from(member: &Member) -> Self {
        Self {
            has_left: member.has_rejected(),
            channel_role: member.channel_role.clone(),
            pending: member.is_pending(),
            banned: member.banned,
            shadow_banned: member.shadow_banned,
            ban_expires: member.ban_expires,
            muted: member.notifications_muted,
            muted_until: member.notifications_muted_until,
            cleared_seq: member.cleared_seq,
        }
    }
}

impl Membership {
    pub fn is_banned(&self, now: Timestamp) -> bool {
        self.banned && self.ban_expires.is_none_or(|end| end > now)
    }

    pub fn is_shadow_banned(&self, now: Timestamp) -> bool {
        self.shadow_banned && self.ban_expires.is_none_or(|end| end > now)
    }

    pub fn is_muted(&self, now: Timestamp) -> bool {
        self.muted && self.muted_until.is_none_or(|end| end > now)
    }
}

/// What Postgres said of a membership when the channel's number of rights was this one or a later one.
#[derive(Clone, Debug)]
struct Known {
    rights: i64,
    membership: Option<Arc<Membership>>,
}

/// A cache whose loads cannot outlive a change: a load that began before the change is not kept.
struct Cached<K, V> {
    values: moka::future::Cache<K, V>,
    changes: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// Changes are noted for this many groups of keys.
const CHANGE_GROUPS: usize = 256;

impl<K: Hash + Eq + Clone + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Cached<K, V> {
    /// Holds so many bytes, as far as `weigh` knows.
    fn new(bytes_max: u64, weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static) -> Self {
        let weigher = move |key: &K, value: &V| weigh(key, value).try_into().unwrap_or(u32::MAX);
        let values = moka::future::Cache::builder().max_capacity(bytes_max).weigher(weigher);
        Self {
            values: values.time_to_live(limits::CACHE_LIFE).build(),
            changes: (0..CHANGE_GROUPS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    fn changes_of(&self, key: &K) -> &AtomicU64 {
        &self.changes[self.hasher.hash_one(key) as usize % CHANGE_GROUPS]
    }

    async fn get(&self, key: &K) -> Option<V> {
        self.values.get(key).await
    }

    /// The remembered value, or the loaded one; many who ask at once load once.
    async fn get_or_load(&self, key: &K, load: impl Future<Output = Result<V>>) -> Result<V> {
        if let Some(value) = self.values.get(key).await {
            return Ok(value);
        }
        let before = self.changes_of(key).load(Ordering::Acquire);
        let value = self.values.try_get_with_by_ref(key, for_everybody(load)).await;
        let value = value.map_err(|error: Arc<Error>| (*error).clone())?;
        self.drop_if_changed(key, before).await;
        Ok(value)
    }

    async fn insert(&self, key: K, value: V, before: u64) {
        self.values.insert(key.clone(), value).await;
        self.drop_if_changed(&key, before).await;
    }

    async fn drop_if_changed(&self, key: &K, before: u64) {
        if self.changes_of(key).load(Ordering::Acquire) != before {
            self.values.invalidate(key).await;
        }
    }

    async fn forget(&self, key: &K) {
        self.changes_of(key).fetch_add(1, Ordering::AcqRel);
        self.values.invalidate(key).await;
    }

    fn forget_all(&self) {
        for changes in &self.changes {
            changes.fetch_add(1, Ordering::AcqRel);
        }
        self.values.invalidate_all();
    }
}

/// The caches of a node.
pub struct Caches {
    store: Store,
    app: RwLock<Arc<App>>,
    /// How often the app has changed, and which of these changes are known here.
    app_changes: AtomicU64,
    app_known: AtomicU64,
    app_loading: tokio::sync::Mutex<()>,
    /// How often anything was forgotten.
    forgotten: AtomicU64,
    users: Cached<String, Arc<User>>,
    /// Keys of channels. A cid comes to name another channel after a deletion: a key is believed if its channel still has the cid.
    keys: Cached<Cid, i64>,
    channels: Cached<i64, Arc<LoadedChannel>>,
    memberships: Cached<(i64, String), Known>,
    online: moka::future::Cache<String, bool>,
}

impl Caches {
    /// Empty caches, with the app loaded.
    ///
    /// # Errors
    /// Postgres.
    pub async fn load(store: Store) -> Result<Self> {
        let (row, types) = store.app().await?;
        Ok(Self {
            store,
            app: RwLock::new(Arc::new(App::new(row, types))),
            app_changes: AtomicU64::new(0),
            app_known: AtomicU64::new(0),
            app_loading: tokio::sync::Mutex::default(),
            forgotten: AtomicU64::new(0),
            users: Cached::new(limits::CACHED_USERS_BYTES_MAX, |id: &String, user: &Arc<User>| weight::user(id, user)),
            keys: Cached::new(limits::CACHED_KEYS_BYTES_MAX, |cid, _| weight::key(cid)),
            channels: Cached::new(limits::CACHED_CHANNELS_BYTES_MAX, |_, channel: &Arc<LoadedChannel>| {
                weight::channel(channel)
            }),
            memberships: Cached::new(
                limits::CACHED_MEMBERSHIPS_BYTES_MAX,
                |(_, user): &(i64, String), known: &Known| weight::membership(user, known.membership.as_deref()),
            ),
            online: moka::future::Cache::builder()
                .max_capacity(limits::CACHED_ONLINE_MAX)
                .time_to_live(limits::ONLINE_CACHE_LIFE)
                .build(),
        })
    }

    pub fn app(&self) -> Arc<App> {
        self.app.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns when the newest settings are in force. After a change they are read again by the first who asks (jobs/doorkeeper.rs
    /// does at once), and until that succeeds nobody is let in by settings that are known to be old.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn settle_app(&self) -> Result<()> {
        if self.app_known.load(Ordering::Acquire) >= self.app_changes.load(Ordering::Acquire) {
            return Ok(());
        }
        let _turn = self.app_loading.lock().await;
        let changes = self.app_changes.load(Ordering::Acquire);
        if self.app_known.load(Ordering::Acquire) >= changes {
            return Ok(());
        }
        let (row, types) = for_everybody(self.store.app()).await.map_err(Error::unavailable)?;
        *self.app.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(App::new(row, types));
        self.channels.forget_all();
        self.app_known.store(changes, Ordering::Release);
        Ok(())
    }

    /// A number that has changed if anything has been forgotten since it was asked for.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Acquire)
    }

    /// A user who exists, deleted or not.
    ///
    /// # Errors
    /// Postgres.
    pub async fn user(&self, id: &str) -> Result<Option<Arc<User>>> {
        Ok(self.users(std::slice::from_ref(&id.to_owned())).await?.remove(id))
    }

    /// Users by their ids; unknown ones are left out.
    ///
    /// # Errors
    /// Postgres.
    pub async fn users(&self, ids: &[String]) -> Result<HashMap<String, Arc<User>>> {
        let mut found = HashMap::with_capacity(ids.len());
        let mut missing = Vec::new();
        for id in ids {
            if found.contains_key(id) {
                continue;
            }
            match self.users.get(id).await {
                Some(user) => {
                    found.insert(id.clone(), user);
                }
                None => missing.push((id.clone(), self.users.changes_of(id).load(Ordering::Acquire))),
            }
        }
        if !missing.is_empty() {
            let ids: Vec<String> = missing.iter().map(|(id, _)| id.clone()).collect();
            let before: HashMap<String, u64> = missing.into_iter().collect();
            for user in self.store.users(&ids).await? {
                let (id, user) = (user.id.clone(), Arc::new(user));
                self.users.insert(id.clone(), user.clone(), before[&id]).await;
                found.insert(id, user);
            }
        }
        Ok(found)
    }

    /// Those of the users who are remembered, for whoever must not wait.
    pub async fn users_at_hand(&self, ids: &[String]) -> HashMap<String, Arc<User>> {
        let mut found = HashMap::with_capacity(ids.len());
        for id in ids {
            if let Some(user) = self.users.get(id).await {
                found.insert(id.clone(), user);
            }
        }
        found
    }

    /// A channel by its cid, deleted or not.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channel(&self, cid: &Cid) -> Result<Option<Arc<LoadedChannel>>> {
        if let Some(key) = self.keys.get(cid).await
            && let Some(channel) = self.channel_by_key(key).await?
            && channel.row.cid == *cid
        {
            return Ok(Some(channel));
        }
        let before = self.keys.changes_of(cid).load(Ordering::Acquire);
        let Some(row) = self.store.channel_by_cid(cid).await? else {
            return Ok(None);
        };
        let key = row.id;
        let changes = self.channels.changes_of(&key).load(Ordering::Acquire);
        let channel = Arc::new(LoadedChannel::new(row, &self.app()));
        self.keys.insert(cid.clone(), key, before).await;
        self.channels.insert(key, channel.clone(), changes).await;
        Ok(Some(channel))
    }

    /// A channel by its key, deleted or not.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channel_by_key(&self, key: i64) -> Result<Option<Arc<LoadedChannel>>> {
        if let Some(channel) = self.channels.get(&key).await {
            return Ok(Some(channel));
        }
        let before = self.channels.changes_of(&key).load(Ordering::Acquire);
        let Some(row) = self.store.channel_by_id(key).await? else {
            return Ok(None);
        };
        let channel = Arc::new(LoadedChannel::new(row, &self.app()));
        self.channels.insert(key, channel.clone(), before).await;
        Ok(Some(channel))
    }

    /// Channels by their keys; unknown ones are left out.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channels_by_keys(&self, keys: &[i64]) -> Result<HashMap<i64, Arc<LoadedChannel>>> {
        let mut found = HashMap::with_capacity(keys.len());
        let mut missing = Vec::new();
        let mut before = HashMap::new();
        for key in keys {
            if let Some(channel) = self.channels.get(key).await {
                found.insert(*key, channel);
            } else {
                missing.push(*key);
                before.insert(*key, self.channels.changes_of(key).load(Ordering::Acquire));
            }
        }
        if !missing.is_empty() {
            let app = self.app();
            for row in self.store.channels_by_ids(&missing).await? {
                let (key, channel) = (row.id, Arc::new(LoadedChannel::new(row, &app)));
                self.channels.insert(key, channel.clone(), before[&key]).await;
                found.insert(key, channel);
            }
        }
        Ok(found)
    }

    /// A membership, if there is one.
    ///
    /// # Errors
    /// Postgres.
    pub async fn membership(&self, channel: i64, user: &str) -> Result<Option<Arc<Membership>>> {
        Ok(self.standing(channel, user, 0).await?.filter(|membership| !membership.has_left))
    }

    /// A membership, or one that has ended and still binds, not older than the channel's number of rights.
    ///
    /// # Errors
    /// Postgres.
    pub(super) async fn standing(&self, channel: i64, user: &str, rights: i64) -> Result<Option<Arc<Membership>>> {
        let key = (channel, user.to_owned());
        loop {
            let load = async {
                let standing = self.store.standing(channel, user).await?;
                Ok(Known { rights, membership: standing.map(|standing| Arc::new(Membership::from(standing))) })
            };
            let known = self.memberships.get_or_load(&key, load).await?;
            if known.rights >= rights {
                return Ok(known.membership);
            }
            self.memberships.forget(&key).await;
        }
    }

    /// Forgets a channel of which nothing newer is known than this number of rights.
    pub(super) async fn outgrow(&self, channel: i64, rights: i64) {
        if self.channels.get(&channel).await.is_some_and(|known| known.row.rights <= rights) {
            self.channels.forget(&channel).await;
        }
    }

    /// The memberships of pairs of channel and user, in their order.
    ///
    /// # Errors
    /// Postgres.
    pub async fn memberships(&self, keys: &[(i64, String)]) -> Result<Vec<Option<Arc<Membership>>>> {
        let mut found = Vec::with_capacity(keys.len());
        let mut missing = Vec::new();
        for key in keys {
            let known = self.memberships.get(key).await.map(|known| known.membership);
            if known.is_none() {
                missing.push((key, self.memberships.changes_of(key).load(Ordering::Acquire)));
            }
            found.push(known);
        }
        let mut loaded: HashMap<(i64, String), Arc<Membership>> = HashMap::new();
        if !missing.is_empty() {
            let (channels, users): (Vec<i64>, Vec<String>) = missing.iter().map(|(key, _)| (*key).clone()).unzip();
            for standing in self.store.standings(&channels, &users).await? {
                let key = (standing.channel_id, standing.user_id.clone());
                loaded.insert(key, Arc::new(Membership::from(standing)));
            }
            for (key, before) in missing {
                let known = Known { rights: 0, membership: loaded.get(key).cloned() };
                self.memberships.insert(key.clone(), known, before).await;
            }
        }
        let known = keys.iter().zip(found).map(|(key, known)| known.unwrap_or_else(|| loaded.get(key).cloned()));
        Ok(known.map(|known| known.filter(|membership| !membership.has_left)).collect())
    }

    /// Those of the users who were online some seconds ago. For the small print of events, where asking each time would cost
    /// too much; who is not remembered is asked for with one question.
    pub async fn lately_online(&self, ids: &[String], presence: &dyn Presence) -> HashSet<String> {
        let mut online = HashSet::new();
        let mut unknown = Vec::new();
        for id in ids {
            match self.online.get(id).await {
                Some(true) => drop(online.insert(id.clone())),
                Some(false) => {}
                None => unknown.push(id.clone()),
            }
        }
        if !unknown.is_empty() {
            let found = presence.online(&unknown).await;
            for id in unknown {
                self.online.insert(id.clone(), found.contains(&id)).await;
            }
            online.extend(found);
        }
        online
    }

    /// The same as far as it is remembered, for whoever must not wait.
    pub async fn was_online_at_hand(&self, id: &str) -> bool {
        self.online.get(id).await.unwrap_or(false)
    }

    /// Forgets what a change has made stale. Waits for nothing.
    pub async fn forget(&self, touched: Touched<'_>) {
        match touched {
            Touched::User(id) => self.users.forget(&id.to_owned()).await,
            Touched::Membership(channel, user) => {
                self.memberships.forget(&(channel, user.to_owned())).await;
                self.forget_channel(channel).await;
            }
            Touched::Channel(key) => self.forget_channel(key).await,
            Touched::App => drop(self.app_changes.fetch_add(1, Ordering::AcqRel)),
        }
        // Afterwards: whoever asks from now on has not been given what is forgotten.
        self.forgotten.fetch_add(1, Ordering::AcqRel);
    }

    async fn forget_channel(&self, key: i64) {
        if let Some(channel) = self.channels.get(&key).await {
            self.keys.forget(&channel.row.cid).await;
        }
        self.channels.forget(&key).await;
    }

    /// Forgets everything about one user in one channel, so that a refusal rests on what Postgres says now.
    pub async fn doubt(&self, channel: i64, user: &str) {
        self.forget(Touched::Membership(channel, user)).await;
        self.forget(Touched::User(user)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cache_is_as_large_as_what_is_in_it() {
        let cache: Cached<i64, Arc<str>> = Cached::new(10_000, |_, text: &Arc<str>| text.len());
        for key in 0..1_000 {
            cache.insert(key, "x".repeat(1_000).into(), cache.changes_of(&key).load(Ordering::Acquire)).await;
        }
        cache.values.run_pending_tasks().await;
        assert!((1..=10).contains(&cache.values.entry_count()), "{}", cache.values.entry_count());
    }
}
