//! Catching up: the events of channels since a point in time, for a client that was away (`POST /sync`).

use serde_json::value::RawValue;
use wire::{Cid, Timestamp};

use super::{Audience, Event};
use crate::access::{self, Action, Caller};
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// What a client missed.
pub struct Missed {
    /// Oldest first, as JSON.
    pub events: Vec<Box<RawValue>>,
    /// Channels that do not exist, or that the caller may not read.
    pub inaccessible: Vec<String>,
}

/// The events that the caller missed in these channels.
///
/// # Errors
/// Too many channels or events, or a time that the log does not reach back to.
pub async fn missed_events(ctx: &Ctx, caller: &Caller, cids: &[String], since: Timestamp) -> Result<Missed> {
    if cids.is_empty() || cids.len() > limits::SYNC_CHANNELS_MAX {
        return Err(Error::input(format!("channel_cids must name 1 to {} channels", limits::SYNC_CHANNELS_MAX)));
    }
    if since < ctx.clock.now().plus_seconds(-limits::EVENT_LOG_DAYS * 86_400) {
        return Err(Error::input(format!("Too old last_sync_at time, the limit is {} days", limits::EVENT_LOG_DAYS)));
    }
    let mut keys = Vec::with_capacity(cids.len());
    let mut inaccessible = Vec::new();
    for name in cids {
        let cid: Cid = name.parse()?;
        match access::channel(ctx, caller, &cid, Action::ReadChannel).await {
            Ok(access) => keys.push(access.key()),
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::NotAllowed) => inaccessible.push(name.clone()),
            Err(error) => return Err(error),
        }
    }
    keys.sort_unstable();
    keys.dedup();
    let events = ctx.store.channel_events_since(&keys, since, limits::SYNC_EVENTS_MAX + 1).await?;
    if events.len() > limits::SYNC_EVENTS_MAX {
        return Err(Error::input(format!(
            "Too many events to sync, the limit is {}: query the channels again",
            limits::SYNC_EVENTS_MAX
        )));
    }
    let heard = events.into_iter().filter(|event| hears(event, caller));
    let events = heard.map(|event| whole(&event).ok_or_else(|| Error::internal("an event in the log is not JSON")));
    Ok(Missed { events: events.collect::<Result<_>>()?, inaccessible })
}

/// Would the caller have heard the event, had it been watching?
fn hears(event: &Event, caller: &Caller) -> bool {
    match &event.audience {
        Audience::Channel { only: None } => true,
        Audience::Channel { only: Some(only) } => caller.user_id().is_none_or(|id| only.iter().any(|name| name == id)),
        Audience::User(user) | Audience::AbsentUser(user) => caller.user_id() == Some(user),
        Audience::AbsentUsers(users) => caller.user_id().is_some_and(|id| users.iter().any(|user| user == id)),
        Audience::Presence(_) | Audience::Nobody => false,
    }
}

/// The event's JSON. Who watched back then is not in the log; clients want the key.
fn whole(event: &Event) -> Option<Box<RawValue>> {
    let mut body = std::str::from_utf8(&event.body).ok()?.to_owned();
    if event.kind == "message.new" {
        body.truncate(body.len() - 1);
        body.push_str(",\"watcher_count\":0}");
    }
    RawValue::from_string(body).ok()
}
