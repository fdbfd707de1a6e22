//! Hiding a channel from one's own list, until the next message, and showing it again.

use wire::Cid;

use super::{event_with_channel, lock, people_at_hand};
use crate::access::{self, Action, Caller};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::{Audience, Event};

/// Hides a channel for the caller; with `clear_history` also what has been said in it so far.
///
/// # Errors
/// The caller is no member.
pub async fn hide_channel(ctx: &Ctx, caller: &Caller, cid: &Cid, clear_history: bool) -> Result<()> {
    set_hidden(ctx, caller, cid, true, clear_history).await
}

/// Shows a hidden channel again.
///
/// # Errors
/// The caller is no member.
pub async fn show_channel(ctx: &Ctx, caller: &Caller, cid: &Cid) -> Result<()> {
    set_hidden(ctx, caller, cid, false, false).await
}

async fn set_hidden(ctx: &Ctx, caller: &Caller, cid: &Cid, hidden: bool, clear_history: bool) -> Result<()> {
    let user = caller.acting()?.id.clone();
    let access = access::channel(ctx, caller, cid, Action::ReadChannel).await?;
    let missing = || Error::input(format!("user {user} is not a member of {cid}"));
    let mut write = lock(ctx, &access, [user.clone()]).await?.ok_or_else(missing)?;
    let mut member = write.members(std::slice::from_ref(&user)).await?.pop().ok_or_else(missing)?;
    member.hidden_at_seq = hidden.then_some(write.head.shown_seq);
    if clear_history {
        member.cleared_seq = write.head.message_seq;
        member.hide_messages_before = Some(write.now());
    }
    write.put_member(&member).await?;
    let kind = if hidden { "channel.hidden" } else { "channel.visible" };
    let people = people_at_hand(ctx, &mut write, &access.channel, [user.clone()]).await?;
    let mut event = event_with_channel(kind, &access.channel, &write.head, &people, write.now());
    event.user = Some(people.get(&user));
    event.clear_history = hidden.then_some(clear_history);
    write.unnumbered_event(Event::new(&event, Audience::user(&user))?.about(&user));
    ctx.announcer.tell(write.commit().await?).await;
    Ok(())
}
