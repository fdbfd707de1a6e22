//! Loading a channel and authorising the caller, in one call.

use std::sync::Arc;

use wire::{Cid, Timestamp};

use super::caches::{LoadedChannel, Membership};
use super::{Action, Caller};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::Touched;
use crate::store::users::User;

/// A channel that the caller has been allowed to use.
#[derive(Clone, Debug)]
pub struct ChannelAccess {
    pub channel: Arc<LoadedChannel>,
    /// The caller's membership, if it is a user and a member.
    pub membership: Option<Arc<Membership>>,
    /// What binds the caller who was a member.
    former: Option<Arc<Membership>>,
    caller: Caller,
    /// Nothing is checked: a server, or an app without permission checks.
    unchecked: bool,
    /// What the caches had forgotten before all this was known.
    as_of: u64,
}

/// Loads a channel in which the caller may do this.
///
/// # Errors
/// There is no such channel (16), or the caller may not (17).
pub async fn channel(ctx: &Ctx, caller: &Caller, cid: &Cid, action: Action) -> Result<ChannelAccess> {
    let found = find_channel(ctx, cid).await?;
    authorise(ctx, caller, found, action, || cid.to_string()).await
}

/// A channel by its cid, deleted or not, before anything is allowed. That it is deleted rests on what Postgres says now: it may have
/// been made anew since, as another channel of this name.
///
/// # Errors
/// Postgres.
pub async fn find_channel(ctx: &Ctx, cid: &Cid) -> Result<Option<Arc<LoadedChannel>>> {
    let found = ctx.caches.channel(cid).await?;
    let Some(deleted) = found.as_ref().filter(|channel| channel.row.deleted_at.is_some()) else { return Ok(found) };
    ctx.caches.forget(Touched::Channel(deleted.row.id)).await;
    ctx.caches.channel(cid).await
}

/// The same by key.
///
/// # Errors
/// There is no such channel (16), or the caller may not (17).
pub async fn channel_by_key(ctx: &Ctx, caller: &Caller, key: i64, action: Action) -> Result<ChannelAccess> {
    let found = ctx.caches.channel_by_key(key).await?;
    authorise(ctx, caller, found, action, || "of this message".into()).await
}

async fn authorise(
    ctx: &Ctx,
    caller: &Caller,
    found: Option<Arc<LoadedChannel>>,
    action: Action,
    name: impl Fn() -> String,
) -> Result<ChannelAccess> {
    let missing = || Error::not_found(format!("Can't find channel with id {}", name()));
    let channel = found.filter(|channel| channel.row.deleted_at.is_none()).ok_or_else(missing)?;
    let access = ChannelAccess::load(ctx, caller, channel).await?;
    if access.check(action).is_ok() {
        return Ok(access);
    }
    // A refusal rests on what Postgres says now.
    let key = access.channel.row.id;
    ctx.caches.doubt(key, caller.user_id().unwrap_or_default()).await;
    let channel =
        ctx.caches.channel_by_key(key).await?.filter(|channel| channel.row.deleted_at.is_none()).ok_or_else(missing)?;
    let user = match caller.user_id() {
        Some(id) => ctx.caches.user(id).await?,
        None => None,
    };
    let caller = user.map_or_else(|| caller.clone(), |user| caller.with_user(user));
    let access = ChannelAccess::load(ctx, &caller, channel).await?;
    access.check(action)?;
    Ok(access)
}

impl ChannelAccess {
    /// The same channel for a caller, before anything is allowed. For results of queries, and for channels just created.
    ///
    /// # Errors
    /// Postgres.
    pub async fn load(ctx: &Ctx, caller: &Caller, channel: Arc<LoadedChannel>) -> Result<Self> {
        let as_of = ctx.caches.forgotten();
        let standing = match caller.user_id() {
            Some(user) => ctx.caches.standing(channel.row.id, user, channel.row.rights).await?,
            None => None,
        };
        let (former, membership) = match standing {
            Some(standing) if standing.has_left => (Some(standing), None),
            membership => (None, membership),
        };
        Ok(Self { former, as_of, ..Self::of(ctx, caller, channel, membership) })
    }

    /// The same when the membership is known.
    pub fn of(ctx: &Ctx, caller: &Caller, channel: Arc<LoadedChannel>, membership: Option<Arc<Membership>>) -> Self {
        let membership = membership.filter(|membership| !membership.has_left);
        let unchecked = caller.is_server() || ctx.caches.app().disable_permissions_checks;
        Self { channel, membership, former: None, caller: caller.clone(), unchecked, as_of: ctx.caches.forgotten() }
    }

    /// Does what the caller was allowed rest on what is still so? For whoever has waited meanwhile.
    ///
    /// # Errors
    /// The channel is gone, or something has changed that decides what the caller may do: asked again, it is answered by what is so
    /// now.
    pub async fn check_again(&self, ctx: &Ctx) -> Result<()> {
        if self.caller.is_server() || (ctx.caches.forgotten() == self.as_of && !self.caller.may_have_changed(ctx)) {
            return Ok(());
        }
        self.as_it_is(ctx).await.map(drop)
    }

    /// The same for whoever was to write, and found that rights have been taken away in the channel since they had this number.
    /// Gives back the number by which it may write now.
    ///
    /// # Errors
    /// As [`ChannelAccess::check_again`].
    pub async fn renew(&self, ctx: &Ctx, rights: i64) -> Result<i64> {
        ctx.caches.outgrow(self.key(), rights).await;
        Ok(self.as_it_is(ctx).await?.row.rights)
    }

    /// The channel, if the caller may in it what it might before.
    async fn as_it_is(&self, ctx: &Ctx) -> Result<Arc<LoadedChannel>> {
        let missing = || Error::not_found(format!("Can't find channel with id {}", self.cid()));
        let channel = ctx.caches.channel_by_key(self.key()).await?;
        let channel = channel.filter(|channel| channel.row.deleted_at.is_none()).ok_or_else(missing)?;
        if self.caller.is_server() {
            return Ok(channel);
        }
        let user = match self.user_id() {
            Some(id) => ctx.caches.user(id).await?,
            None => None,
        };
        let caller = user.map_or_else(|| self.caller.clone(), |user| self.caller.with_user(user));
        let now = Self::load(ctx, &caller, channel).await?;
        if now.channel.has_the_rules_of(&self.channel)
            && now.membership.is_some() == self.membership.is_some()
            && now.binding().map(Membership::rights) == self.binding().map(Membership::rights)
            && caller.has_the_rights_of(&self.caller)
        {
            return Ok(now.channel);
        }
        Err(Error::not_allowed("what may be done here has just changed: try again"))
    }

    /// The channel's number of rights on which this rests: while it is the same, nothing has been taken from anybody.
    pub fn rights(&self) -> i64 {
        self.channel.row.rights
    }

    /// The membership that binds the caller: its own, or the one that it had.
    fn binding(&self) -> Option<&Membership> {
        self.membership.as_deref().or(self.former.as_deref())
    }

    /// Is the caller banned from this channel? Leaving ends no ban.
    pub fn is_banned(&self, now: Timestamp) -> bool {
        self.binding().is_some_and(|membership| membership.is_banned(now))
    }

    /// Is what the caller does here shown to nobody else, because of this channel?
    pub fn is_shadow_banned(&self, now: Timestamp) -> bool {
        self.binding().is_some_and(|membership| membership.is_shadow_banned(now))
    }

    pub fn key(&self) -> i64 {
        self.channel.row.id
    }

    pub fn cid(&self) -> &Cid {
        &self.channel.row.cid
    }

    pub fn user_id(&self) -> Option<&str> {
        self.caller.user_id()
    }

    /// Are permissions not checked at all?
    pub fn is_unchecked(&self) -> bool {
        self.unchecked
    }

    /// May the caller do this with the channel?
    pub fn allows(&self, action: Action) -> bool {
        let owner = self.user_id().is_some_and(|user| self.channel.row.created_by.as_deref() == Some(user));
        self.allows_with(action, owner)
    }

    /// May the caller do this with something in the channel that somebody wrote?
    pub fn allows_with_thing_of(&self, action: Action, author: &str) -> bool {
        let owner = self.user_id() == Some(author);
        self.allows_with(action, owner)
    }

    fn allows_with(&self, action: Action, owner: bool) -> bool {
        if self.caller.is_anonymous() && !action.only_reads() {
            return false;
        }
        if self.unchecked {
            return true;
        }
        let user_role = self.caller.user().map(|user| user.role.as_str());
        let channel_role = self.membership.as_ref().map(|membership| membership.channel_role.as_str());
        self.channel.grants().allow(user_role.into_iter().chain(channel_role), action, owner)
    }

    /// # Errors
    /// The caller may not do this with the channel.
    pub fn require(&self, action: Action) -> Result<()> {
        if self.allows(action) { Ok(()) } else { Err(self.refusal(action)) }
    }

    /// # Errors
    /// The caller may not do this with something that `author` wrote.
    pub fn require_with_thing_of(&self, action: Action, author: &str) -> Result<()> {
        if self.allows_with_thing_of(action, author) { Ok(()) } else { Err(self.refusal(action)) }
    }

    /// # Errors
    /// The channel is disabled, or the caller may not do this.
    pub fn check(&self, action: Action) -> Result<()> {
        if self.channel.row.disabled && !self.unchecked && !self.allows(Action::ReadDisabledChannel) {
            return Err(Error::not_allowed("this channel is disabled"));
        }
        // Whether somebody's own message may be changed is asked again when the message is known.
        match action {
            Action::UpdateMessage | Action::DeleteMessage => self.require(Action::ReadChannel),
            action => self.require(action),
        }
    }

    fn refusal(&self, action: Action) -> Error {
        let user = self.caller.user();
        Error::not_allowed(format!(
            "User '{}' with role {} is not allowed to perform action {} in scope '{}'",
            user.map_or("", |user| &user.id),
            user.map_or("none", |user| &user.role),
            action.name(),
            self.channel.kind.name,
        ))
    }
}

/// Which of these channels may be read by the user beside each? For many at once: memberships are asked for only where the
/// user's own role does not decide, and then together.
///
/// # Errors
/// Postgres.
pub async fn which_are_readable(ctx: &Ctx, pairs: &[(Arc<LoadedChannel>, Arc<User>)]) -> Result<Vec<bool>> {
    let allowed = |(channel, user): &(Arc<LoadedChannel>, Arc<User>), membership| {
        let access = ChannelAccess::of(ctx, &Caller::client(user.clone()), channel.clone(), membership);
        access.check(Action::ReadChannel).is_ok()
    };
    let exists = |pair: &(Arc<LoadedChannel>, Arc<User>)| pair.0.row.deleted_at.is_none();
    let mut readable: Vec<bool> = pairs.iter().map(|pair| exists(pair) && allowed(pair, None)).collect();
    let unsure: Vec<usize> = (0..pairs.len()).filter(|index| !readable[*index] && exists(&pairs[*index])).collect();
    let keys: Vec<(i64, String)> =
        unsure.iter().map(|index| (pairs[*index].0.row.id, pairs[*index].1.id.clone())).collect();
    let memberships = ctx.caches.memberships(&keys).await?;
    for (index, membership) in unsure.into_iter().zip(memberships) {
        readable[index] = membership.is_some() && allowed(&pairs[index], membership);
    }
    Ok(readable)
}
