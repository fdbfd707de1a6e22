//! Users with what is theirs alone: mutes, devices, unread numbers.

use std::collections::HashMap;

use wire::user::{FullUser, UnreadTotals, UserMute as ShownMute};

use crate::access::Caller;
use crate::chat::channels::mute::channel_mutes_of;
use crate::chat::devices::devices_of;
use crate::chat::push::preferences::push_preferences_of;
use crate::chat::render::{self, People};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::events::size;
use crate::limits;
use crate::store::mutes::UserMute;
use crate::store::unread::Totals;
use crate::store::users::User;

/// Users as a caller may see them: with everything for servers and for oneself, without what is private for others.
///
/// # Errors
/// Postgres.
pub async fn full_users(ctx: &Ctx, caller: &Caller, rows: &[User]) -> Result<Vec<FullUser>> {
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let online = ctx.engine.presence.online(&ids).await;
    let open = |id: &String| caller.is_server() || caller.user_id() == Some(id);
    let open: Vec<String> = ids.into_iter().filter(open).collect();
    let (mut mutes, mut channel_mutes, mut unread, mut devices, mut push_preferences) = tokio::try_join!(
        mutes_of(ctx, &open),
        channel_mutes_of(ctx, &open),
        unread_totals_of(ctx, &open),
        devices_of(ctx, &open),
        push_preferences_of(ctx, &open)
    )?;
    let mut full: Vec<FullUser> = Vec::with_capacity(rows.len());
    for row in rows {
        let mut user = FullUser {
            user: render::users::public(row, online.contains(&row.id)),
            devices: devices.remove(&row.id).unwrap_or_default(),
            mutes: mutes.remove(&row.id).unwrap_or_default(),
            channel_mutes: channel_mutes.remove(&row.id).unwrap_or_default(),
            push_preferences: push_preferences.remove(&row.id),
            unread: unread.remove(&row.id).unwrap_or_default(),
        };
        if !(user.mutes.is_empty() && user.channel_mutes.is_empty()) {
            size::fit(&mut user, limits::ME_BYTES_MAX)?;
        }
        full.push(user);
    }
    Ok(full)
}

/// `me`: a connected user, to itself.
///
/// # Errors
/// Postgres.
pub async fn own_user(ctx: &Ctx, row: &User) -> Result<FullUser> {
    let id = std::slice::from_ref(&row.id);
    let (mut mutes, mut channel_mutes, mut unread, mut devices, mut push_preferences) = tokio::try_join!(
        mutes_of(ctx, id),
        channel_mutes_of(ctx, id),
        unread_totals_of(ctx, id),
        devices_of(ctx, id),
        push_preferences_of(ctx, id)
    )?;
    let mut user = render::users::public(row, true);
    user.last_active = Some(user.last_active.unwrap_or_else(|| ctx.clock.now()));
    Ok(FullUser {
        user,
        devices: devices.remove(&row.id).unwrap_or_default(),
        mutes: mutes.remove(&row.id).unwrap_or_default(),
        channel_mutes: channel_mutes.remove(&row.id).unwrap_or_default(),
        push_preferences: push_preferences.remove(&row.id),
        unread: unread.remove(&row.id).unwrap_or_default(),
    })
}

/// Unread numbers of one user.
///
/// # Errors
/// Postgres.
pub async fn unread_totals(ctx: &Ctx, user_id: &str) -> Result<UnreadTotals> {
    Ok(unread_totals_of(ctx, &[user_id.to_owned()]).await?.remove(user_id).unwrap_or_default())
}

async fn unread_totals_of(ctx: &Ctx, user_ids: &[String]) -> Result<HashMap<String, UnreadTotals>> {
    if user_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let totals = ctx.store.unread_totals(user_ids).await?;
    Ok(totals.into_iter().map(|total| (total.user_id.clone(), shown_totals(&total))).collect())
}

/// Unread numbers as the protocol names them.
pub fn shown_totals(totals: &Totals) -> UnreadTotals {
    UnreadTotals {
        total_unread_count: totals.messages,
        unread_count: totals.messages,
        unread_channels: totals.channels,
        unread_threads: totals.threads,
    }
}

/// The users whom users have muted.
///
/// # Errors
/// Postgres.
pub async fn mutes_of(ctx: &Ctx, user_ids: &[String]) -> Result<HashMap<String, Vec<ShownMute>>> {
    if user_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = ctx.store.user_mutes(user_ids).await?;
    let people = People::load(ctx, rows.iter().flat_map(|mute| [mute.user_id.clone(), mute.target_id.clone()])).await?;
    let mut mutes: HashMap<String, Vec<ShownMute>> = HashMap::new();
    for row in &rows {
        mutes.entry(row.user_id.clone()).or_default().push(shown_mute(row, &people));
    }
    Ok(mutes)
}

fn shown_mute(row: &UserMute, people: &People) -> ShownMute {
    ShownMute {
        user: people.get(&row.user_id),
        target: people.get(&row.target_id),
        expires: row.expires,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}
