//! The users that one answer or event names, loaded together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use wire::{RawObject, Timestamp};

use super::{users, weight};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::limits;
use crate::store::Write;
use crate::store::users::User;

/// Users by id, as everybody sees them.
#[derive(Clone, Debug, Default)]
pub struct People(HashMap<String, Arc<wire::user::User>>);

impl People {
    /// Loads users for an answer: who is online is asked for now. `ids` has each of them as often as the answer shows it, so
    /// that a large answer shows less of them ([`limits::ANSWER_PEOPLE_BYTES_MAX`]).
    ///
    /// # Errors
    /// Postgres.
    pub async fn load(ctx: &Ctx, ids: impl IntoIterator<Item = String>) -> Result<Self> {
        Self::load_within(ctx, ids, limits::ANSWER_PEOPLE_BYTES_MAX).await
    }

    /// The same within a bound of its own.
    ///
    /// # Errors
    /// Postgres.
    pub async fn load_within(ctx: &Ctx, ids: impl IntoIterator<Item = String>, bytes_max: usize) -> Result<Self> {
        let times = times_of(ids);
        let ids: Vec<String> = times.keys().cloned().collect();
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let rows = ctx.caches.users(&ids).await?;
        let online = ctx.engine.presence.online(&ids).await;
        Ok(Self::of(rows.into_values(), |id| online.contains(id)).within(&times, bytes_max))
    }

    /// Loads users for an event, and for the answer to who caused it: who is online may be some seconds old, so that an event
    /// costs no question. They are within what an event may have.
    ///
    /// # Errors
    /// Postgres.
    pub async fn for_event(ctx: &Ctx, ids: impl IntoIterator<Item = String>) -> Result<Self> {
        let times = times_of(ids);
        let ids: Vec<String> = times.keys().cloned().collect();
        let rows = ctx.caches.users(&ids).await?;
        let elsewhere: Vec<String> = ids.into_iter().filter(|id| !ctx.realtime.is_here(id)).collect();
        let online = ctx.caches.lately_online(&elsewhere, &*ctx.engine.presence).await;
        let people = Self::of(rows.into_values(), |id| ctx.realtime.is_here(id) || online.contains(id));
        Ok(people.within(&times, limits::EVENT_BYTES_MAX))
    }

    /// The same while a transaction is open: users are those at hand, or asked for by the transaction itself, and who is
    /// online is what is known.
    ///
    /// # Errors
    /// Postgres.
    pub async fn at_hand(ctx: &Ctx, write: &mut Write, ids: impl IntoIterator<Item = String>) -> Result<Self> {
        let times = times_of(ids);
        let ids: Vec<String> = times.keys().cloned().collect();
        let mut rows = ctx.caches.users_at_hand(&ids).await;
        let missing: Vec<String> = ids.iter().filter(|id| !rows.contains_key(*id)).cloned().collect();
        if !missing.is_empty() {
            rows.extend(write.users(&missing).await?.into_iter().map(|row| (row.id.clone(), Arc::new(row))));
        }
        let mut online = HashSet::new();
        for id in ids {
            if ctx.realtime.is_here(&id) || ctx.caches.was_online_at_hand(&id).await {
                online.insert(id);
            }
        }
        let people = Self::of(rows.into_values(), |id| online.contains(id));
        Ok(people.within(&times, limits::EVENT_BYTES_MAX))
    }

    /// With less of everybody, if they would have more bytes when each is shown as often as `times` says.
    fn within(mut self, times: &HashMap<String, usize>, bytes_max: usize) -> Self {
        for show in [plain, bare] {
            let weight = |(id, user): (&String, &Arc<_>)| times.get(id).map_or(0, |times| times * weight::user(user));
            if self.0.iter().map(weight).sum::<usize>() <= bytes_max {
                break;
            }
            self.0.values_mut().for_each(|user| show(Arc::make_mut(user)));
        }
        self
    }

    /// With nothing of anybody but what is small: for events that are many.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.0.values_mut().for_each(|user| plain(Arc::make_mut(user)));
        self
    }

    fn of(rows: impl Iterator<Item = Arc<User>>, online: impl Fn(&str) -> bool) -> Self {
        Self(rows.map(|row| (row.id.clone(), Arc::new(users::public(&row, online(&row.id))))).collect())
    }

    /// The user, or somebody of that name of whom nothing is known: a user may be deleted and their messages stay.
    pub fn get(&self, id: &str) -> Arc<wire::user::User> {
        self.0.get(id).cloned().unwrap_or_else(|| {
            Arc::new(users::public(&User::new(id, crate::access::caller::USER_ROLE, Timestamp::from_micros(0)), false))
        })
    }

    /// The user, if there is one.
    pub fn find(&self, id: &str) -> Option<Arc<wire::user::User>> {
        self.0.get(id).cloned()
    }
}

/// How often each is named.
fn times_of(ids: impl IntoIterator<Item = String>) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for id in ids {
        *times.entry(id).or_default() += 1;
    }
    times
}

/// The user without what it, or a server, can fill at will; with its name and image.
fn plain(user: &mut wire::user::User) {
    user.teams = Vec::new();
    user.teams_role = None;
    user.custom = RawObject::default();
}

/// The user's id, and the keys that clients rely on.
fn bare(user: &mut wire::user::User) {
    plain(user);
    (user.name, user.image) = (None, None);
}
