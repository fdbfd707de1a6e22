//! Muting channels: no unread numbers, no push, for one user.

use std::sync::Arc;

use wire::Cid;
use wire::Timestamp;
use wire::channel::ChannelMute as Shown;

use crate::access::{self, Action, Caller};
use crate::chat::render::{self, People};
use crate::chat::users::connect::own_user;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::{Audience, Event};
use crate::limits;

/// Mutes channels for the caller, until a time or until further notice. Gives back all of the caller's mutes of channels.
///
/// # Errors
/// No channel named, or one that the caller may not mute.
pub async fn mute_channels(
    ctx: &Ctx,
    caller: &Caller,
    cids: &[String],
    expires: Option<Timestamp>,
) -> Result<Vec<Shown>> {
    let keys = keys(ctx, caller, cids).await?;
    let user = caller.acting()?.id.clone();
    let mut write = ctx.store.write().await?;
    write.mute_channels(&user, &keys, expires).await?;
    ctx.announcer.tell(write.commit().await?).await;
    tell_mutes(ctx, &user).await?;
    channel_mutes_of(ctx, caller).await
}

/// Takes mutes back.
///
/// # Errors
/// As [`mute_channels`].
pub async fn unmute_channels(ctx: &Ctx, caller: &Caller, cids: &[String]) -> Result<()> {
    let keys = keys(ctx, caller, cids).await?;
    let user = caller.acting()?.id.clone();
    let mut write = ctx.store.write().await?;
    write.unmute_channels(&user, &keys).await?;
    ctx.announcer.tell(write.commit().await?).await;
    tell_mutes(ctx, &user).await
}

async fn keys(ctx: &Ctx, caller: &Caller, cids: &[String]) -> Result<Vec<i64>> {
    caller.acting()?;
    if cids.is_empty() || cids.len() > limits::MEMBERS_PER_CALL_MAX {
        return Err(Error::input(format!("channel_cids must name 1 to {} channels", limits::MEMBERS_PER_CALL_MAX)));
    }
    let mut keys = Vec::with_capacity(cids.len());
    for cid in cids {
        let cid: Cid = cid.parse()?;
        let access = access::channel(ctx, caller, &cid, Action::MuteChannel).await?;
        if !access.channel.config.mutes {
            return Err(Error::new(Kind::FeatureOff, "mutes are switched off in this channel"));
        }
        keys.push(access.key());
    }
    Ok(keys)
}

/// The channels that the caller has muted.
///
/// # Errors
/// Postgres.
pub async fn channel_mutes_of(ctx: &Ctx, caller: &Caller) -> Result<Vec<Shown>> {
    let user = caller.acting()?.id.clone();
    let rows = ctx.store.channel_mutes(&user).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<i64> = rows.iter().map(|row| row.channel_id).collect();
    let channels = ctx.caches.channels_by_keys(&keys).await?;
    let people = channels.values().flat_map(|channel| render::channels::people_of(channel)).chain([user.clone()]);
    let people = People::load(ctx, people).await?;
    let shown = rows.iter().filter_map(|row| {
        Some(Shown {
            user: people.get(&user),
            channel: render::channels::channel(channels.get(&row.channel_id)?, None, &people, None),
            expires: row.expires,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    });
    Ok(shown.collect())
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
