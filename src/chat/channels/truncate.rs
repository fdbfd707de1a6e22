//! Truncating: the messages so far are hidden from everybody, or removed.

use std::sync::Arc;

use wire::Cid;
use wire::channel::{Channel as Shown, TruncateChannelRequest};
use wire::message::Message as ShownMessage;

use super::update::{add_message, parse_message};
use super::{event_with_channel, lock, people_at_hand};
use crate::access::caches::LoadedChannel;
use crate::access::{self, Action, Caller};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::{Audience, Event};

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
    let draft = parse_message(ctx, caller, &access, request.message).await?;
    let missing = || Error::not_found(format!("Can't find channel with id {cid}"));
    let mut write = lock(ctx, &access.channel, caller.user_id().map(Into::into)).await?.ok_or_else(missing)?;
    let (up_to, at) = match request.truncated_at {
        Some(at) if at < write.now() => (write.message_seq_at(at).await?, at),
        _ => (write.head.message_seq, write.now()),
    };
    write.truncate_messages(up_to, request.hard_delete == Some(true)).await?;
    let mut row = write.channel().await?;
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
        Some((draft, author)) => Some(add_message(ctx, &mut write, &channel, &draft, &author).await?),
        None => None,
    };
    ctx.announcer.tell(write.commit().await?).await;
    let shown = event.channel.ok_or_else(|| Error::internal("the event was made with its channel"))?;
    Ok((shown, message))
}
