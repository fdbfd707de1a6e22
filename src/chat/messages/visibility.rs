//! May this caller see this message now?
//!
//! The one place that answers it. Whoever is named a message by its id (to quote it, to reply to it, to mark it as read, to
//! begin a page there) asks here, so that what a `GET` hides no other call shows. A message that the caller may not see
//! is not there: nobody learns that it exists.
//!
//! What decides is in the row and beside it: truncation, the history that is hidden from a member, shadowing, restricted
//! visibility ([`crate::store::Store::message_seen_by`]). Pages of history ask the same with a floor and a viewer. What a
//! deleted message said is left out when it is rendered (render/messages.rs).

use crate::access::{Caller, ChannelAccess};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;
use crate::store::messages::{Message, Reader, Within};

/// The caller as a reader of messages.
pub fn reader<'a>(ctx: &Ctx, caller: &'a Caller) -> Reader<'a> {
    if caller.is_server() || ctx.caches.app().disable_permissions_checks {
        return Reader::Server;
    }
    caller.user_id().map_or(Reader::Everybody, Reader::User)
}

/// A message that the caller may see, of any channel: whether the caller may read that is asked elsewhere.
///
/// # Errors
/// Postgres.
pub async fn find(ctx: &Ctx, caller: &Caller, id: &str) -> Result<Option<Message>> {
    Ok(ctx.store.message_seen_by(reader(ctx, caller), id).await?)
}

/// Those of several, in the order of their ids, as far as an answer has room for them.
///
/// # Errors
/// Postgres.
pub async fn find_all(ctx: &Ctx, caller: &Caller, ids: &[String]) -> Result<Within> {
    Ok(ctx.store.messages_seen_by(reader(ctx, caller), ids, limits::ANSWER_BYTES_MAX).await?)
}

/// A message of this channel that the caller may see.
///
/// # Errors
/// There is none.
pub async fn find_in(ctx: &Ctx, caller: &Caller, access: &ChannelAccess, id: &str) -> Result<Message> {
    let message = find(ctx, caller, id).await?.filter(|message| message.channel_id == access.key());
    message.ok_or_else(|| Error::input(format!("message {id} is not in this channel")))
}

/// Messages up to this number are not shown to the caller: for pages.
///
/// # Errors
/// Postgres.
pub async fn floor_seq(ctx: &Ctx, access: &ChannelAccess) -> Result<i64> {
    let head = ctx.store.heads(&[access.key()]).await?.pop();
    let cleared = access.membership.as_ref().filter(|_| !access.is_unchecked()).map_or(0, |member| member.cleared_seq);
    Ok(head.map_or(0, |head| head.floor_seq).max(cleared))
}
