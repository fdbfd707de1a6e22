//! Mutes of users by users.

use std::sync::Arc;

use wire::Timestamp;

use super::full::own_user;
use crate::access::{Action, Caller};
use crate::chat::render;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::{Audience, Event};
use crate::limits;
use crate::store::Write;

/// Mutes users for the caller, until a time or until further notice.
///
/// # Errors
/// Nobody named, somebody unknown, oneself, or a role that may not.
pub async fn mute_users(ctx: &Ctx, caller: &Caller, targets: &[String], expires: Option<Timestamp>) -> Result<()> {
    let user = caller.acting()?.clone();
    check(ctx, caller, targets).await?;
    let mut write = ctx.store.write().await?;
    write.mute_users(&user.id, targets, expires).await?;
    check_count(&mut write, &user.id).await?;
    ctx.announcer.tell(write.commit().await?).await;
    tell_mutes(ctx, &user.id).await
}

/// # Errors
/// The user has muted too many users or channels.
pub(in crate::chat) async fn check_count(write: &mut Write, user_id: &str) -> Result<()> {
    if write.count_mutes(user_id).await? > limits::MUTES_MAX {
        return Err(Error::input(format!("a user may mute {0} users and {0} channels", limits::MUTES_MAX)));
    }
    Ok(())
}

/// Takes mutes back.
///
/// # Errors
/// As [`mute_users`].
pub async fn unmute_users(ctx: &Ctx, caller: &Caller, targets: &[String]) -> Result<()> {
    let user = caller.acting()?.clone();
    check(ctx, caller, targets).await?;
    let mut write = ctx.store.write().await?;
    write.unmute_users(&user.id, targets).await?;
    ctx.announcer.tell(write.commit().await?).await;
    tell_mutes(ctx, &user.id).await
}

async fn check(ctx: &Ctx, caller: &Caller, targets: &[String]) -> Result<()> {
    let user = caller.acting()?;
    if targets.is_empty() || targets.len() > limits::USERS_PER_CALL_MAX {
        return Err(Error::input(format!("target_ids must name 1 to {} users", limits::USERS_PER_CALL_MAX)));
    }
    if targets.contains(&user.id) {
        return Err(Error::input("nobody can mute themselves"));
    }
    let app = ctx.caches.app();
    let free = caller.is_server() || app.disable_permissions_checks;
    if !free && !app.grants.allow([user.role.as_str()], Action::MuteUser, false) {
        return Err(Error::not_allowed(format!("role {} may not mute users", user.role)));
    }
    let known = ctx.caches.users(targets).await?;
    match targets.iter().find(|id| !known.contains_key(*id)) {
        Some(unknown) => Err(Error::input(format!("user {unknown} does not exist"))),
        None => Ok(()),
    }
}

/// `notification.mutes_updated`, with the whole list.
async fn tell_mutes(ctx: &Ctx, user_id: &str) -> Result<()> {
    let Some(row) = ctx.caches.user(user_id).await? else {
        return Ok(());
    };
    let mut event = wire::Event::new("notification.mutes_updated", ctx.clock.now());
    event.user = Some(Arc::new(render::users::public(&row, ctx.realtime.is_here(user_id))));
    event.me = Some(Box::new(own_user(ctx, &row).await?));
    ctx.announcer.tell(vec![Event::ephemeral(&event, None, Audience::user(user_id))?]).await;
    Ok(())
}
