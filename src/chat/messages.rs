//! Messages: sending, reading, changing, deleting.
//!
//! To follow a message on its way: send.rs, then policy.rs and draft.rs as its leaves, then store/appender.rs.

pub mod delete;
pub mod draft;
pub mod history;
pub mod policy;
pub mod restore;
pub mod send;
pub mod update;
pub mod visibility;

use wire::Timestamp;
use wire::event::ChannelFields;
use wire::message::Message as Shown;

use crate::access::caches::LoadedChannel;
use crate::access::{self, Action, Caller, ChannelAccess};
use crate::chat::render;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::{Audience, Event};
use crate::store::messages::Message;

/// Loads a message and authorises the caller for something with its channel.
///
/// # Errors
/// There is no such message, or the caller may not; a message that the caller may not see is not there, nor is one of a channel in
/// which it reads nothing and is nobody.
pub async fn load(ctx: &Ctx, caller: &Caller, id: &str, action: Action) -> Result<(ChannelAccess, Message)> {
    let missing = || Error::not_found(format!("message with id {id} doesn't exist"));
    let message = visibility::find(ctx, caller, id).await?.ok_or_else(missing)?;
    match access::channel_by_key(ctx, caller, message.channel_id, action).await {
        Ok(access) => Ok((access, message)),
        Err(error) if matches!(error.kind, Kind::NotAllowed | Kind::NotFound) => {
            let is_member = match caller.user_id() {
                Some(user) => ctx.caches.membership(message.channel_id, user).await?.is_some(),
                None => false,
            };
            let reads = access::channel_by_key(ctx, caller, message.channel_id, Action::ReadChannel).await.is_ok();
            Err(if is_member || reads { error } else { missing() })
        }
        Err(error) => Err(error),
    }
}

/// An event of a channel that tells of a message, for those who may see it.
///
/// # Errors
/// It is too large for those who would hear it.
pub fn event_of(kind: &str, channel: &LoadedChannel, row: &Message, shown: Shown, at: Timestamp) -> Result<Event> {
    let event = body(kind, channel, shown, at);
    Ok(Event::new(&event, audience_of(row))?.about(&row.user_id))
}

/// The event as clients hear it.
pub fn body(kind: &str, channel: &LoadedChannel, shown: Shown, at: Timestamp) -> wire::Event {
    let mut event = wire::Event::new(kind, at);
    event.channel_fields = Some(ChannelFields::new(&channel.row.cid, channel.row.team.as_deref()));
    event.message_id = Some(shown.id.clone());
    event.message = Some(shown);
    event
}

/// Who among a channel's watchers may see a message.
pub fn audience_of(row: &Message) -> Audience {
    Audience::Channel { only: only_for(&row.user_id, row.shadowed, &row.data().restricted_visibility).map(Into::into) }
}

/// The chosen few, if they are few.
pub fn only_for(author: &str, shadowed: bool, restricted_to: &[String]) -> Option<Vec<String>> {
    if shadowed {
        return Some(vec![author.into()]);
    }
    (!restricted_to.is_empty()).then(|| restricted_to.iter().cloned().chain([author.to_owned()]).collect())
}

/// A message for the caller who asked for it.
///
/// # Errors
/// Postgres.
pub async fn show(ctx: &Ctx, caller: &Caller, access: &ChannelAccess, row: &Message) -> Result<Shown> {
    render::messages::one(ctx, row, access.cid(), render::messages::Options::of(ctx, caller)).await
}
