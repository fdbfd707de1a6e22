//! Deleting a channel: softly (its name stays its maker's, who can make an empty one of that name) or for good.
//!
//! For good means that nobody finds it any more when the call returns; its rows are taken away afterwards, in pieces
//! (store/removals.rs).

use std::sync::Arc;

use wire::Cid;
use wire::channel::Channel as Shown;

use super::{event_with_channel, lock, people_at_hand};
use crate::access::caches::LoadedChannel;
use crate::access::{self, Action, Caller};
use crate::chat::messages::policy;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::{Audience, Event};

/// Deletes a channel.
///
/// # Errors
/// There is none, or the caller may not; for good only servers may.
pub async fn delete_channel(ctx: &Ctx, caller: &Caller, cid: &Cid, hard: bool) -> Result<Shown> {
    let access = access::channel(ctx, caller, cid, Action::DeleteChannel).await?;
    policy::check_changes(&access, caller, ctx.clock.now())?;
    if hard {
        caller.require_server()?;
    }
    let missing = || Error::not_found(format!("Can't find channel with id {cid}"));
    let mut write = lock(ctx, &access, caller.user_id().map(Into::into)).await?.ok_or_else(missing)?;
    let mut row = write.channel().await?;
    if row.deleted_at.is_some() && !hard {
        return Err(missing());
    }
    row.deleted_at = Some(write.now());
    write.take_rights().await?;
    let row = write.put_channel(&row).await?;
    let channel = Arc::new(LoadedChannel::new(row, &ctx.caches.app()));
    let people = people_at_hand(ctx, &mut write, &channel, caller.user_id().map(Into::into)).await?;
    let mut event = event_with_channel("channel.deleted", &channel, &write.head, &people, write.now());
    event.user = caller.user_id().map(|id| people.get(id));
    write.event(Event::new(&event, Audience::CHANNEL)?);
    if hard {
        write.bury().await?;
    }
    ctx.announcer.tell(write.commit().await?).await;
    event.channel.ok_or_else(|| Error::internal("the event was made with its channel"))
}
