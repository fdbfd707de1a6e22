//! Deleting a message: softly (it stays as a place where something was) or for good.

use wire::message::{Message as Shown, MessageType};

use super::{load, policy};
use crate::access::{Action, Caller};
use crate::chat::channels::lock;
use crate::chat::render;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::store::messages::MessageData;

/// Deletes a message. For good, its replies and reactions go with it.
///
/// # Errors
/// There is none, or the caller may not.
pub async fn delete_message(ctx: &Ctx, caller: &Caller, id: &str, hard: bool) -> Result<Shown> {
    let (access, row) = load(ctx, caller, id, Action::DeleteMessage).await?;
    access.require_with_thing_of(Action::DeleteMessage, &row.user_id)?;
    if hard {
        // What cannot be undone is for servers and for those who may delete anybody's messages.
        access.require_with_thing_of(Action::DeleteMessage, "")?;
    }
    if caller.user_id() != Some(&row.user_id) {
        policy::check_changes(&access, caller, ctx.clock.now())?;
    }
    let missing = || Error::not_found(format!("message with id {id} doesn't exist"));
    let mut write = lock(ctx, &access, render::messages::people_of(&row)).await?.ok_or_else(missing)?;
    // A long thread goes in pieces, and others write to the channel between them. The message itself goes last: until then all
    // that is left of its thread is in its place, and whoever is stopped half-way deletes it again.
    while hard && !write.wipe_some_of_thread(&row).await? {
        write.commit().await?;
        write = lock(ctx, &access, render::messages::people_of(&row)).await?.ok_or_else(missing)?;
    }
    let mut message = write.message(id).await?.ok_or_else(missing)?;
    let was_deleted = message.deleted_at.is_some();
    let now = write.now();
    if !was_deleted {
        message.deleted_at = Some(now);
        message.updated_at = now;
    }
    // Who may take it back: a deletion by somebody else is not undone by the author's deleting it too.
    let by = caller.user_id().filter(|_| !caller.is_server());
    if !was_deleted || by != Some(row.user_id.as_str()) {
        let data = MessageData { deleted_by: by.map(Into::into), ..message.data.take().unwrap_or_default() };
        message.data = (!data.is_empty()).then_some(data);
    }
    message.kind = MessageType::Deleted.as_str().into();
    let row = if hard {
        write.wipe_messages(&[message.seq]).await?;
        message
    } else {
        write.put_message(&message).await?
    };
    // A shadowed reply was never counted.
    let counts = row.parent_id.is_some() && !was_deleted && !row.shadowed;
    let parent = if counts { write.uncount_reply(&row, hard).await? } else { None };
    let mut shown = render::messages::at_hand(ctx, &mut write, &row, access.cid()).await?;
    shown.kind = MessageType::Deleted;
    let mut event = super::body("message.deleted", &access.channel, shown.clone(), now);
    event.hard_delete = Some(hard);
    event.user = caller.user().map(|_| shown.user.clone());
    write.event(Event::new(&event, super::audience_of(&row))?.about(&row.user_id));
    if let Some(parent) = parent {
        let shown = render::messages::at_hand(ctx, &mut write, &parent, access.cid()).await?;
        write.event(super::event_of("message.updated", &access.channel, &parent, shown, now)?);
    }
    ctx.announcer.tell(write.commit().await?).await;
    Ok(shown)
}
