//! Truncating: the messages so far are hidden from everybody; what is to be removed is taken away afterwards, in pieces
//! (store/removals.rs).

use std::sync::Arc;

use wire::channel::{Channel as Shown, TruncateChannelRequest};
use wire::message::Message as ShownMessage;
use wire::{Cid, Timestamp};

use super::update::{add_message, parse_message};
use super::{event_with_channel, lock, people_at_hand};
use crate::access::caches::LoadedChannel;
use crate::access::{self, Action, Caller, ChannelAccess};
use crate::chat::messages::policy;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::{Audience, Event};
use crate::store::ChannelWrite;

/// Truncates a channel up to a time, or whole.
///
/// # Errors
/// The caller may not.
pub async fn truncate_channel(
    ctx: &Ctx,
    caller: &Caller,
    cid: &Cid,
    request: TruncateChannelRequest,
) -> Result<(Shown, Option<ShownMessage>)> {
    let access = access::channel(ctx, caller, cid, Action::TruncateChannel).await?;
    policy::check_changes(&access, caller, ctx.clock.now())?;
    let draft = parse_message(ctx, caller, &access, request.message).await?;
    let missing = || Error::not_found(format!("Can't find channel with id {cid}"));
    let at = request.truncated_at.filter(|at| *at < ctx.clock.now());
    let locked = match at {
        Some(at) => locked_and_counted(ctx, &access, caller, at).await?,
        None => lock(ctx, &access, caller.user_id().map(Into::into)).await?.map(|write| (write, 0)),
    };
    let (mut write, left) = locked.ok_or_else(missing)?;
    let (up_to, at) = match at {
        Some(at) => (write.message_seq_at(at).await?, at.min(write.now())),
        None => (write.head.message_seq, write.now()),
    };
    write.truncate_messages(up_to, left, request.hard_delete == Some(true)).await?;
    let mut row = write.channel().await?;
    if row.deleted_at.is_some() {
        return Err(missing());
    }
    row.truncated_at = Some(at);
    row.truncated_by = caller.user_id().map(Into::into);
    let row = write.put_channel(&row).await?;
    let channel = Arc::new(LoadedChannel::new(row, &ctx.caches.app()));
    let people = people_at_hand(ctx, &mut write, &channel, caller.user_id().map(Into::into)).await?;
    let mut event = event_with_channel("channel.truncated", &channel, &write.head, &people, write.now());
    event.user = caller.user_id().map(|id| people.get(id));
    // Clients empty their lists when they hear of it, so the message comes after.
    write.event(Event::new(&event, Audience::CHANNEL)?);
    let message = match draft {
        Some(said) => Some(add_message(ctx, &mut write, &channel, said).await?),
        None => None,
    };
    ctx.announcer.tell(write.commit().await?).await;
    let shown = event.channel.ok_or_else(|| Error::internal("the event was made with its channel"))?;
    Ok((shown, message))
}

/// How often messages are counted again because some were deleted meanwhile. Then what was counted has to do.
const COUNTS_MAX: usize = 3;

/// The channel's lock, and how many of its messages are younger than `at`. They are counted before the lock is taken: that may be
/// a million, and nobody is to wait for it.
async fn locked_and_counted(
    ctx: &Ctx,
    access: &ChannelAccess,
    caller: &Caller,
    at: Timestamp,
) -> Result<Option<(ChannelWrite, i64)>> {
    let mut attempts = 0;
    loop {
        let Some(remainder) = ctx.store.messages_after(access.key(), at).await? else { return Ok(None) };
        let Some(write) = lock(ctx, access, caller.user_id().map(Into::into)).await? else { return Ok(None) };
        attempts += 1;
        let left = remainder.under(&write.head);
        if let Some(left) = left.or((attempts == COUNTS_MAX).then(|| remainder.about(&write.head))) {
            return Ok(Some((write, left)));
        }
    }
}
