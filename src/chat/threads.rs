//! Threads: a message with its replies, and how far those who take part have read them.

use std::sync::Arc;

use wire::event::{ChannelFields, ReadFields};
use wire::thread::Thread;
use wire::user::User;

use crate::access::{Caller, ChannelAccess};
use crate::chat::messages::visibility;
use crate::chat::render::People;
use crate::chat::users::full::unread_totals;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::{Audience, Event};
use crate::store::messages::Message;

/// Marks a thread as read for those who take part in it. Gives back the event that watchers hear.
///
/// # Errors
/// The message has no replies, or is not in the channel.
pub(super) async fn mark_read(
    ctx: &Ctx,
    caller: &Caller,
    access: &ChannelAccess,
    parent_id: &str,
) -> Result<wire::Event> {
    let user = &caller.acting()?.id;
    let parent = visibility::find_in(ctx, caller, access, parent_id).await?;
    let thread = shown(ctx, access, &parent).await?;
    let mut write = ctx.store.write().await?;
    write.mark_thread_read(&parent.id, user).await?;
    ctx.announcer.tell(write.commit().await?).await;
    let mut event = thread_event(ctx, "message.read", access, user).await?;
    event.thread_id = Some(parent.id);
    event.thread = Some(thread);
    Ok(event)
}

/// Marks all replies of a thread as unread.
///
/// # Errors
/// The message has no replies, or is not in the channel.
pub(super) async fn mark_unread(ctx: &Ctx, caller: &Caller, access: &ChannelAccess, parent_id: &str) -> Result<()> {
    let user = &caller.acting()?.id;
    let parent = visibility::find_in(ctx, caller, access, parent_id).await?;
    shown(ctx, access, &parent).await?;
    let mut write = ctx.store.write().await?;
    write.mark_thread_unread(&parent, user).await?;
    ctx.announcer.tell(write.commit().await?).await;
    let mut event = thread_event(ctx, "notification.mark_unread", access, user).await?;
    event.thread_id = Some(parent.id.clone());
    event.unread = Some(unread_totals(ctx, user).await?);
    event.read = Some(ReadFields {
        last_read_message_id: Some(parent.id.clone()),
        last_read_at: Some(parent.created_at),
        unread_thread_messages: Some(ctx.store.unread_in_thread(&parent.id, user).await?),
        ..ReadFields::default()
    });
    ctx.announcer.tell(vec![Event::ephemeral(&event, None, Audience::user(user))?]).await;
    Ok(())
}

async fn thread_event(ctx: &Ctx, kind: &str, access: &ChannelAccess, user: &str) -> Result<wire::Event> {
    let mut event = wire::Event::new(kind, ctx.clock.now());
    event.channel_fields = Some(ChannelFields::new(access.cid(), access.channel.row.team.as_deref()));
    event.user = Some(person(ctx, user).await?);
    Ok(event)
}

/// A thread as clients see it.
async fn shown(ctx: &Ctx, access: &ChannelAccess, parent: &Message) -> Result<Thread> {
    let span = ctx.store.thread_span(&parent.id).await?;
    let span = span.ok_or_else(|| Error::input(format!("thread_id: message {} has no replies", parent.id)))?;
    let title_is_shown = parent.deleted_at.is_none() && parent.is_for_everybody();
    Ok(Thread {
        channel_cid: access.cid().clone(),
        parent_message_id: parent.id.clone(),
        // Every watcher hears it.
        title: if title_is_shown { parent.text.clone() } else { String::new() },
        created_by: person(ctx, &span.created_by).await?,
        created_by_user_id: span.created_by,
        participant_count: parent.participants.len() as i64,
        active_participant_count: parent.participants.len() as i64,
        reply_count: i64::from(parent.reply_count),
        created_at: span.created_at,
        updated_at: span.last_reply_at,
        last_message_at: span.last_reply_at,
        deleted_at: parent.deleted_at,
    })
}

async fn person(ctx: &Ctx, id: &str) -> Result<Arc<User>> {
    Ok(People::for_event(ctx, [id.to_owned()]).await?.get(id))
}
