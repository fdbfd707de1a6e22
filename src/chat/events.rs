//! Events that clients send: typing, and events of their own. Nothing is stored.

use wire::Cid;
use wire::event::{ChannelFields, EVENT_KEYS, EventRequest};

use crate::access::{self, Action, Caller};
use crate::chat::custom;
use crate::chat::messages::draft::checked_id;
use crate::chat::messages::policy;
use crate::chat::render::People;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::{Audience, Event};
use crate::limits;

/// Families of types that are the server's to tell.
const RESERVED_FAMILIES: &[&str] = &[
    "app",
    "appeal",
    "campaign",
    "channel",
    "channel_batch_update",
    "channel_type",
    "connection",
    "draft",
    "export",
    "flag",
    "health",
    "member",
    "message",
    "moderation",
    "notification",
    "poll",
    "reaction",
    "reminder",
    "review_queue_item",
    "thread",
    "typing",
    "user",
    "user_group",
];

/// What agents are doing, which rooms have a word for too.
const AI_INDICATORS: &[&str] = &["ai_indicator.update", "ai_indicator.clear"];

/// Longest event type.
const TYPE_CHARS_MAX: usize = 255;

/// Sends an event to everybody who watches a channel.
///
/// # Errors
/// A type that is the server's (18), a kind of event that is switched off (19), or a caller who may not.
pub async fn send_event(ctx: &Ctx, caller: &Caller, cid: &Cid, request: EventRequest) -> Result<wire::Event> {
    let typing = matches!(request.kind.as_str(), "typing.start" | "typing.stop");
    if !typing {
        check_kind(&request.kind)?;
    }
    let action = if typing { Action::ReadChannel } else { Action::SendCustomEvent };
    let access = access::channel(ctx, caller, cid, action).await?;
    let config = &access.channel.config;
    if !typing && !config.custom_events {
        return Err(Error::new(Kind::FeatureOff, "custom events are switched off in this channel"));
    }
    let user = caller.acting()?.clone();
    let mut event = wire::Event::new(request.kind, ctx.clock.now());
    event.channel_fields = Some(ChannelFields::new(cid, access.channel.row.team.as_deref()));
    event.user = Some(People::for_event(ctx, [user.id.clone()]).await?.get(&user.id));
    event.parent_id = request.parent_id.filter(|id| !id.is_empty()).map(checked_id).transpose()?;
    // Typing says that somebody types: what else is to be said is an event of its own, with a grant of its own.
    if !typing {
        event.custom = custom::checked(&request.custom.without(EVENT_KEYS).0, limits::CUSTOM_BYTES_MAX, "event")?;
    }
    let may_write = policy::check_author(&access, caller, event.created_at);
    // Typing that nobody is to see is answered like typing that everybody sees.
    let shows = config.typing_events && may_write.is_ok() && user.shows(|settings| settings.typing_indicators);
    let silent = typing && !shows;
    if !typing {
        may_write?;
    }
    if !silent {
        let audience = policy::audience(&access, caller, event.created_at);
        // What nodes and rooms take for a word of ours is said by servers only, typing apart.
        let ours = typing || (caller.is_server() && AI_INDICATORS.contains(&event.kind.as_str()));
        let make = if ours { Event::ephemeral } else { Event::custom };
        ctx.announcer.tell(vec![make(&event, Some(access.key()), audience)?]).await;
    }
    Ok(event)
}

/// Sends an event to every connection of a user. For servers.
///
/// # Errors
/// An unknown user, a type with a dot, or a caller that is no server.
pub async fn send_user_event(ctx: &Ctx, caller: &Caller, user_id: &str, request: EventRequest) -> Result<()> {
    caller.require_server()?;
    if request.kind.contains('.') {
        return Err(Error::input("the type of an event to a user has no dot: dots are for built-in events"));
    }
    check_kind(&request.kind)?;
    if ctx.caches.user(user_id).await?.is_none() {
        return Err(Error::not_found(format!("user {user_id} does not exist")));
    }
    let mut event = wire::Event::new(request.kind, ctx.clock.now());
    event.custom = custom::checked(&request.custom.without(EVENT_KEYS).0, limits::CUSTOM_BYTES_MAX, "event")?;
    ctx.announcer.tell(vec![Event::custom(&event, None, Audience::user(user_id))?]).await;
    Ok(())
}

fn check_kind(kind: &str) -> Result<()> {
    if kind.is_empty() || kind.chars().count() > TYPE_CHARS_MAX || kind.chars().any(char::is_control) {
        return Err(Error::input(format!("event.type has 1 to {TYPE_CHARS_MAX} characters")));
    }
    match kind.split_once('.') {
        Some((family, _)) if RESERVED_FAMILIES.contains(&family) => {
            Err(Error::new(Kind::EventNotSupported, format!("events of type {kind} are not sent by clients")))
        }
        _ => Ok(()),
    }
}
