//! Muting channels: no unread numbers, no push, for one user.

use std::collections::HashMap;
use std::sync::Arc;

use wire::Cid;
use wire::Timestamp;
use wire::channel::ChannelMute as Shown;

use crate::access::caches::LoadedChannel;
use crate::access::channel::which_are_readable;
use crate::access::{self, Action, Caller};
use crate::chat::render::{self, People};
use crate::chat::users::full::own_user;
use crate::chat::users::mute::check_count;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::{Audience, Event};
use crate::limits;
use crate::store::Write;
use crate::store::mutes::ChannelMute;

/// What the caller has muted now.
pub struct Muted {
    /// The mute of one of the channels that were named.
    pub named: Shown,
    pub all: Vec<Shown>,
}

/// Mutes channels for the caller, until a time or until further notice.
///
/// # Errors
/// No channel named, or one that the caller may not mute.
pub async fn mute_channels(ctx: &Ctx, caller: &Caller, cids: &[String], expires: Option<Timestamp>) -> Result<Muted> {
    let channels = channels(ctx, caller, cids).await?;
    let keys: Vec<i64> = channels.keys().copied().collect();
    let user = caller.acting()?.id.clone();
    let mut write = ctx.store.write().await?;
    let named = write.mute_channels(&user, &keys, expires).await?;
    check_count(&mut write, &user).await?;
    log(ctx, &mut write, "channel.muted", &user, &keys);
    ctx.announcer.tell(write.commit().await?).await;
    tell_mutes(ctx, &user).await?;
    let all = channel_mutes_of(ctx, std::slice::from_ref(&user)).await?.remove(&user).unwrap_or_default();
    // As it was written: by the time that all are read somebody may have taken it back.
    let named = shown(ctx, &channels, named).await?.pop();
    Ok(Muted { named: named.ok_or_else(|| Error::internal("no channel was muted"))?, all })
}

/// Takes mutes back.
///
/// # Errors
/// As [`mute_channels`].
pub async fn unmute_channels(ctx: &Ctx, caller: &Caller, cids: &[String]) -> Result<()> {
    let keys: Vec<i64> = channels(ctx, caller, cids).await?.into_keys().collect();
    let user = caller.acting()?.id.clone();
    let mut write = ctx.store.write().await?;
    write.unmute_channels(&user, &keys).await?;
    log(ctx, &mut write, "channel.unmuted", &user, &keys);
    ctx.announcer.tell(write.commit().await?).await;
    tell_mutes(ctx, &user).await
}

/// For the caches of all nodes: members show whether they have muted a channel.
fn log(ctx: &Ctx, write: &mut Write, kind: &str, user: &str, keys: &[i64]) {
    for key in keys {
        let mut event = Event::internal(kind, ctx.clock.now()).about(user);
        event.channel_id = Some(*key);
        write.event(event);
    }
}

/// The channels that are named, each once, by their keys.
async fn channels(ctx: &Ctx, caller: &Caller, cids: &[String]) -> Result<HashMap<i64, Arc<LoadedChannel>>> {
    caller.acting()?;
    if cids.is_empty() || cids.len() > limits::MEMBERS_PER_CALL_MAX {
        return Err(Error::input(format!("channel_cids must name 1 to {} channels", limits::MEMBERS_PER_CALL_MAX)));
    }
    let mut channels = HashMap::with_capacity(cids.len());
    for cid in cids {
        let cid: Cid = cid.parse()?;
        let access = access::channel(ctx, caller, &cid, Action::MuteChannel).await?;
        if !access.channel.config.mutes {
            return Err(Error::new(Kind::FeatureOff, "mutes are switched off in this channel"));
        }
        channels.insert(access.key(), access.channel);
    }
    Ok(channels)
}

/// The channels that users have muted, as far as they may read them.
///
/// # Errors
/// Postgres.
pub async fn channel_mutes_of(ctx: &Ctx, user_ids: &[String]) -> Result<HashMap<String, Vec<Shown>>> {
    if user_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = ctx.store.channel_mutes(user_ids).await?;
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<i64> = rows.iter().map(|row| row.channel_id).collect();
    let channels = ctx.caches.channels_by_keys(&keys).await?;
    let users = ctx.caches.users(user_ids).await?;
    let pair = |row: ChannelMute| {
        let pair = (channels.get(&row.channel_id)?.clone(), users.get(&row.user_id)?.clone());
        Some((row, pair))
    };
    let (mut rows, pairs): (Vec<_>, Vec<_>) = rows.into_iter().filter_map(pair).unzip();
    let mut readable = which_are_readable(ctx, &pairs).await?.into_iter();
    rows.retain(|_| readable.next() == Some(true));
    let mut mutes: HashMap<String, Vec<Shown>> = HashMap::new();
    for mute in shown(ctx, &channels, rows).await? {
        mutes.entry(mute.user.id.clone()).or_default().push(mute);
    }
    Ok(mutes)
}

/// Mutes of these channels, as their users see them.
async fn shown(ctx: &Ctx, channels: &HashMap<i64, Arc<LoadedChannel>>, rows: Vec<ChannelMute>) -> Result<Vec<Shown>> {
    let people = channels.values().flat_map(|channel| render::channels::people_of(channel));
    let people = People::load(ctx, people.chain(rows.iter().map(|row| row.user_id.clone()))).await?;
    let show = |row: ChannelMute| {
        Some(Shown {
            user: people.get(&row.user_id),
            channel: render::channels::channel(channels.get(&row.channel_id)?, None, &people, None),
            expires: row.expires,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    };
    Ok(rows.into_iter().filter_map(show).collect())
}

/// `notification.channel_mutes_updated`, with the whole list.
async fn tell_mutes(ctx: &Ctx, user_id: &str) -> Result<()> {
    let Some(row) = ctx.caches.user(user_id).await? else {
        return Ok(());
    };
    let mut event = wire::Event::new("notification.channel_mutes_updated", ctx.clock.now());
    event.user = Some(Arc::new(render::users::public(&row, ctx.realtime.is_here(user_id))));
    event.me = Some(Box::new(own_user(ctx, &row).await?));
    ctx.announcer.tell(vec![Event::ephemeral(&event, None, Audience::user(user_id))?]).await;
    Ok(())
}
