//! Watching: a connection hears everything of a channel until it stops or is gone.

use std::sync::Arc;

use wire::Cid;
use wire::event::ChannelFields;

use crate::access::caches::LoadedChannel;
use crate::access::channel::which_are_readable;
use crate::access::{self, Action, Caller};
use crate::chat::render;
use crate::chat::users::query::{no_connection, require_connection};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::{Audience, Event};
use crate::realtime::Watched;
use crate::realtime::remote::Wish;
use crate::store::users::User;

/// Makes the caller's connection watch channels that it may read. Returns when it will hear every later event: read the state
/// after that.
///
/// # Errors
/// No connection was named, there is no such connection of the caller, or the caller has lost the right in the meantime.
pub async fn watch(
    ctx: &Ctx,
    caller: &Caller,
    connection_id: Option<&str>,
    channels: &[Arc<LoadedChannel>],
) -> Result<()> {
    let (connection, user) = require_connection(caller, connection_id)?;
    let keys: Vec<i64> = channels.iter().map(|channel| channel.row.id).collect();
    let wish = Wish::Watch { channels: keys.clone() };
    let watched = ctx.remote.fulfil(&ctx.realtime, &*ctx.engine.bus, connection, &user.id, wish).await;
    for watched in watched.map_err(|_| no_connection())? {
        tell(ctx, user, &watched).await;
    }
    // Who closes doors looks at those who watch. Whoever began to watch while that happened has to look for itself; so that nobody
    // watches by what was true once, whatever led here, everybody does.
    if caller.is_server() {
        return Ok(());
    }
    let refused = match are_readable(ctx, user, &keys).await {
        Ok(true) => return Ok(()),
        Ok(false) => Error::not_allowed("what may be read here has just changed"),
        Err(error) => error,
    };
    let wish = Wish::Unwatch { channels: keys };
    let stopped = ctx.remote.fulfil(&ctx.realtime, &*ctx.engine.bus, connection, &user.id, wish).await;
    for watched in stopped.unwrap_or_default() {
        tell(ctx, user, &watched).await;
    }
    Err(refused)
}

/// May the user read all of these channels, as everything is now?
async fn are_readable(ctx: &Ctx, user: &User, keys: &[i64]) -> Result<bool> {
    let now = ctx.caches.channels_by_keys(keys).await?;
    // Somebody anonymous is in no table.
    let user = ctx.caches.user(&user.id).await?.unwrap_or_else(|| Arc::new(user.clone()));
    let pairs: Vec<_> = now.into_values().map(|channel| (channel, user.clone())).collect();
    Ok(pairs.len() == keys.len() && !which_are_readable(ctx, &pairs).await?.contains(&false))
}

/// Makes the caller's connection stop watching a channel.
///
/// # Errors
/// As [`watch`], and a channel that the caller may not read.
pub async fn stop_watching(ctx: &Ctx, caller: &Caller, connection_id: Option<&str>, cid: &Cid) -> Result<()> {
    let access = access::channel(ctx, caller, cid, Action::ReadChannel).await?;
    let (connection, user) = require_connection(caller, connection_id)?;
    let wish = Wish::Unwatch { channels: vec![access.key()] };
    let stopped = ctx.remote.fulfil(&ctx.realtime, &*ctx.engine.bus, connection, &user.id, wish).await;
    for watched in stopped.map_err(|_| no_connection())? {
        tell(ctx, user, &watched).await;
    }
    Ok(())
}

/// Tells of channels that a user no longer watches on this node: the engine, and others where something is new.
pub async fn stopped(ctx: &Ctx, user: &User, channels: &[i64]) {
    for watched in ctx.realtime.settle_watching(&user.id, channels).await {
        tell(ctx, user, &watched).await;
    }
}

/// `user.watching.start` and `user.watching.stop`, where the channel wants them.
pub async fn tell(ctx: &Ctx, user: &User, watched: &Watched) {
    let Ok(Some(channel)) = ctx.caches.channel_by_key(watched.channel).await else { return };
    if user.invisible || !channel.config.connect_events || !ctx.realtime.may_tell_watching(watched) {
        return;
    }
    let kind = if watched.watching { "user.watching.start" } else { "user.watching.stop" };
    let mut event = wire::Event::new(kind, ctx.clock.now());
    event.channel_fields = Some(ChannelFields::new(&channel.row.cid, channel.row.team.as_deref()));
    event.user = Some(Arc::new(render::users::public(user, true)));
    event.watcher_count = Some(watched.watcher_count);
    match Event::ephemeral(&event, Some(watched.channel), Audience::CHANNEL) {
        Ok(event) => ctx.announcer.tell(vec![event.as_of(&user.id, watched.at)]).await,
        Err(error) => tracing::error!(%error, "an event does not serialise"),
    }
}
