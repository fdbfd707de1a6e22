//! Taking a soft deletion back.

use wire::message::{Message as Shown, MessageType};

use super::{load, policy, show};
use crate::access::{Action, Caller};
use crate::chat::channels::lock;
use crate::chat::render;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::Event;

/// Brings a message back that was deleted, but not for good. One that is there stays as it is. Servers bring back any, others
/// what they deleted themselves and could send now.
///
/// # Errors
/// There is none, it is a reply, somebody else deleted it, or the caller may not.
pub async fn restore_message(ctx: &Ctx, caller: &Caller, id: &str) -> Result<Shown> {
    let (access, row) = load(ctx, caller, id, Action::DeleteMessage).await?;
    access.require_with_thing_of(Action::DeleteMessage, &row.user_id)?;
    if row.parent_id.is_some() {
        return Err(Error::input("a reply cannot be restored: its thread has been counted without it"));
    }
    let missing = || Error::not_found(format!("message with id {id} doesn't exist"));
    let mut write = lock(ctx, &access, render::messages::people_of(&row)).await?.ok_or_else(missing)?;
    let mut message = write.message(id).await?.ok_or_else(missing)?;
    if message.deleted_at.take().is_none() {
        return show(ctx, caller, &access, &message).await;
    }
    let mut data = message.data.take().unwrap_or_default();
    let deleted_by = data.deleted_by.take();
    if !caller.is_server() {
        if caller.user_id() != deleted_by.as_deref() {
            return Err(Error::not_allowed("a message is restored by who deleted it, or by a server"));
        }
        access.require(Action::CreateMessage)?;
        policy::check_author(&access, caller, write.now())?;
        policy::check_content(&access, &message.text, &data)?;
    }
    message.data = (!data.is_empty()).then_some(data);
    message.kind = MessageType::Regular.as_str().into();
    message.updated_at = write.now();
    message.shadowed |= policy::is_shadowed(&access, caller, write.now());
    let row = write.put_message(&message).await?;
    let shown = render::messages::at_hand(ctx, &mut write, &row, access.cid()).await?;
    let mut event = super::body("message.undeleted", &access.channel, shown.clone(), write.now());
    event.user = Some(shown.user);
    write.event(Event::new(&event, super::audience_of(&row))?.about(&row.user_id));
    ctx.announcer.tell(write.commit().await?).await;
    show(ctx, caller, &access, &row).await
}
