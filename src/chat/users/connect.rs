//! What a connecting client is told about itself, and what others are told when it comes and goes.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use wire::user::UserRequest;

use super::change;
use super::updated_event;
use crate::access::caller::{ANONYMOUS_ROLE, USER_ROLE, check_revoked};
use crate::chat::channels::watch;
use crate::chat::render;
use crate::ctx::Ctx;
use crate::engine::{Gone, Present, Refreshed};
use crate::error::{Error, Kind, Result};
use crate::events::{Audience, Event};
use crate::limits;
use crate::realtime::{Closed, Connection, Watched};
use crate::store::users::User;

/// Finds or creates the user who connects and takes over what the client says about it.
///
/// # Errors
/// The user is deleted or deactivated, or the data is refused.
pub async fn connecting_user(
    ctx: &Ctx,
    user_id: &str,
    details: Option<UserRequest>,
    issued_at: Option<i64>,
) -> Result<Arc<User>> {
    let now = ctx.clock.now();
    let known = ctx.caches.user(user_id).await?;
    if let Some(user) = &known {
        check_active(user)?;
        check_revoked(ctx, user, issued_at)?;
        let mut changed = (**user).clone();
        if let Some(details) = details.clone() {
            change::merge(&mut changed, details)?;
        }
        if changed == **user {
            touch(ctx, user).await?;
            return Ok(user.clone());
        }
    }
    let mut write = ctx.store.write().await?;
    let existing = write.lock_users(&[user_id.to_owned()]).await?.pop();
    let existed = existing.is_some();
    let mut row = existing.unwrap_or_else(|| User::new(user_id, USER_ROLE, now));
    check_active(&row)?;
    check_revoked(ctx, &row, issued_at)?;
    if let Some(details) = details {
        change::merge(&mut row, details)?;
    }
    row.last_active = Some(now);
    let row = write.put_user(&row).await?;
    if existed {
        write.event(updated_event(ctx, &row)?);
    }
    ctx.announcer.tell(write.commit().await?).await;
    Ok(Arc::new(row))
}

/// # Errors
/// The user is deleted or deactivated.
pub fn check_active(user: &User) -> Result<()> {
    if user.deleted_at.is_some() {
        return Err(Error::not_allowed(format!("The account for user \"{}\" was deleted", user.id)));
    }
    if user.deactivated_at.is_some() {
        return Err(Error::not_allowed(format!("The account for user \"{}\" is deactivated", user.id)));
    }
    Ok(())
}

/// The user of a connection as it is now, if it may still be here.
///
/// # Errors
/// The user is gone, or its token was revoked or has ended.
pub async fn still_welcome(ctx: &Ctx, connection: &Connection) -> Result<Arc<User>> {
    ctx.caches.settle_app().await?;
    let user = ctx.caches.user(&connection.user_id).await?;
    let user = user.ok_or_else(|| Error::not_allowed(format!("user {} does not exist", connection.user_id)))?;
    check_active(&user)?;
    check_revoked(ctx, &user, connection.token_issued_at)?;
    if connection.has_expired(ctx.clock.now()) {
        return Err(Error::new(Kind::TokenExpired, "Token is expired"));
    }
    Ok(user)
}

async fn touch(ctx: &Ctx, user: &User) -> Result<()> {
    let old = ctx.clock.now().plus_seconds(-limits::LAST_ACTIVE_REFRESH_SECONDS);
    if user.last_active.is_none_or(|active| active < old) {
        ctx.store.touch_last_active(std::slice::from_ref(&user.id), limits::LAST_ACTIVE_REFRESH_SECONDS).await?;
        ctx.caches.forget(crate::events::Touched::User(&user.id)).await;
    }
    Ok(())
}

/// Takes a connection in and tells those who follow the user. The socket holds back what it hears until it is opened.
///
/// # Errors
/// Postgres.
pub async fn connected(ctx: &Ctx, connection: Arc<Connection>, user: &User) -> Result<()> {
    let channels = ctx.store.channels_of_user(&user.id, limits::MEMBER_CHANNELS_MAX).await?;
    if ctx.realtime.open(connection, channels).await {
        settle_online(ctx, user).await;
    }
    Ok(())
}

/// Lets a connection go and tells those who watched with it and who follow the user.
pub async fn disconnected(ctx: &Ctx, connection: &Connection) {
    let Closed { unwatched, was_last } = ctx.realtime.close(connection).await;
    // Somebody anonymous has no row; of a user whose row cannot be read no more is said than the id.
    let without_row = || {
        let role = if connection.counts_as_presence { USER_ROLE } else { ANONYMOUS_ROLE };
        Arc::new(User::new(&connection.user_id, role, ctx.clock.now()))
    };
    let user = ctx.caches.user(&connection.user_id).await.ok().flatten().unwrap_or_else(without_row);
    if was_last {
        settle_online(ctx, &user).await;
    }
    watch::stopped(ctx, &user, &unwatched).await;
}

/// Says that those are still here who are. Those whose nodes have died are handed to whoever tells of them ([`tell_of_gone`]).
pub async fn refresh_presence(ctx: &Arc<Ctx>, untold: &mpsc::Sender<Gone>) {
    let Refreshed { unknown, gone } = ctx.realtime.refresh_presence().await;
    let dropped = gone.into_iter().filter_map(|gone| untold.try_send(gone).err()).count();
    metrics::counter!("millrace_presence_untold_total").increment(dropped as u64);
    let settling = ctx.clone();
    // They may be many, and saying who is here must not be late because of them.
    ctx.tasks.see_through(async move { settle_unknown(&settling, unknown).await });
}

/// Tells of those whose nodes have died. Nothing finds them again, so while Postgres is away they wait; who has come back meanwhile
/// is not told to have gone.
pub async fn tell_of_gone(ctx: &Ctx, mut untold: mpsc::Receiver<Gone>) {
    let mut gone = Vec::with_capacity(limits::RECHECK_BATCH);
    while untold.recv_many(&mut gone, limits::RECHECK_BATCH).await > 0 {
        let ids: Vec<String> = gone.iter().map(|gone| gone.user.clone()).collect();
        let users = users_when_there(ctx, &ids).await;
        let online = ctx.engine.presence.online(&ids).await;
        let tell = async |Gone { user, stopped, at }: Gone| {
            let Some(row) = users.get(&user) else { return };
            let Some((channel, watcher_count)) = stopped else {
                if !online.contains(&user) {
                    tell_presence(ctx, row, false, at).await;
                }
                return;
            };
            if ctx.engine.presence.watched(&user, &[channel]).await.is_empty() {
                watch::tell(ctx, row, &Watched { channel, watching: false, watcher_count, at }).await;
            }
        };
        stream::iter(gone.drain(..)).for_each_concurrent(limits::REDIS_CALLS_MAX, tell).await;
    }
}

/// Users by their ids, as soon as Postgres gives them.
async fn users_when_there(ctx: &Ctx, ids: &[String]) -> HashMap<String, Arc<User>> {
    let mut pause = limits::READ_AGAIN_MIN;
    loop {
        match ctx.caches.users(ids).await {
            Ok(users) => return users,
            Err(error) => tracing::warn!(?error, "who has gone cannot be told yet"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(limits::READ_AGAIN_MAX);
    }
}

/// Says of those who are here and not known to be that they are. Who cannot be settled now is found again.
async fn settle_unknown(ctx: &Ctx, unknown: Present) {
    match ctx.caches.users(&unknown.online).await {
        Ok(users) => {
            let settle = stream::iter(users.values());
            settle.for_each_concurrent(limits::REDIS_CALLS_MAX, |user| settle_online(ctx, user)).await;
        }
        Err(error) => tracing::warn!(?error, "nobody was told who has come"),
    }
    let watches = unknown.watching.into_iter();
    let watches = watches.flat_map(|(channel, users)| users.into_iter().map(move |user| (channel, user)));
    let settle = async |(channel, user): (i64, String)| {
        ctx.realtime.settle_watching(&user, &[channel]).await;
    };
    stream::iter(watches).for_each_concurrent(limits::REDIS_CALLS_MAX, settle).await;
}

/// Tells whether a user is here, and others if that changes whether the user is online.
async fn settle_online(ctx: &Ctx, user: &User) {
    if let Some(change) = ctx.realtime.settle_online(&user.id).await {
        tell_presence(ctx, user, change.online, change.at).await;
    }
}

/// `user.presence.changed`. Of somebody invisible nobody hears.
async fn tell_presence(ctx: &Ctx, user: &User, online: bool, at: Option<i64>) {
    if user.invisible {
        return;
    }
    let mut event = wire::Event::new("user.presence.changed", ctx.clock.now());
    event.user = Some(Arc::new(render::users::public(user, online)));
    match Event::ephemeral(&event, None, Audience::Presence(user.id.clone())) {
        Ok(event) => ctx.announcer.tell(vec![event.as_of(&user.id, at)]).await,
        Err(error) => tracing::error!(%error, "an event does not serialise"),
    }
}
