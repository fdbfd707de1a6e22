//! Catching up: the events of channels since a point in time, for a client that was away (`POST /sync`).
//!
//! The log says what happened; what the caller may see of it is asked of the messages as they are now
//! (messages/visibility.rs). So an answer never holds what a `GET` would hide: events of messages that are hidden from the caller,
//! truncated or gone are left out, and a message that has been deleted since is shown as deleted.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use wire::{Cid, Timestamp};

use crate::access::{self, Action, Caller};
use crate::chat::messages::visibility;
use crate::chat::render::messages::{Options, messages};
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::{Audience, Event};
use crate::store::messages::Message;
use crate::{asker, limits};

/// What a client missed.
pub struct Missed {
    /// Oldest first, as JSON.
    pub events: Vec<Box<RawValue>>,
    /// Channels that do not exist, or that the caller may not read.
    pub inaccessible: Vec<String>,
}

/// The events that the caller missed in these channels. Some may be told again that it has heard: what was being written at
/// `since` may have come later than what it heard last ([`limits::SYNC_OVERLAP`]).
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
    let mut channels = HashMap::with_capacity(cids.len());
    let mut inaccessible = Vec::new();
    for name in cids {
        let cid: Cid = name.parse()?;
        match access::channel(ctx, caller, &cid, Action::ReadChannel).await {
            Ok(access) => drop(channels.insert(access.key(), cid)),
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::NotAllowed) => inaccessible.push(name.clone()),
            Err(error) => return Err(error),
        }
    }
    let keys: Vec<i64> = channels.keys().copied().collect();
    let hidden = hidden_before(ctx, caller, &keys).await?;
    let too_many = || {
        Error::input(format!(
            "Too many events to sync, the limit is {}: query the channels again",
            limits::SYNC_EVENTS_MAX
        ))
    };
    asker::turn_to_answer(&ctx.lanes).await?;
    let events = ctx.store.channel_events_since(&keys, since, limits::SYNC_EVENTS_MAX, limits::ANSWER_BYTES_MAX);
    let events = events.await?.ok_or_else(too_many)?;
    let heard: Vec<Event> = events.into_iter().filter(|event| hears(event, caller)).collect();
    Ok(Missed { events: shown(ctx, caller, &channels, &hidden, &heard).await?.ok_or_else(too_many)?, inaccessible })
}

/// Up to when channels hide their history from the caller.
async fn hidden_before(ctx: &Ctx, caller: &Caller, keys: &[i64]) -> Result<HashMap<i64, Timestamp>> {
    let Some(user) = caller.user_id().filter(|_| !caller.is_server()) else { return Ok(HashMap::new()) };
    let members = ctx.store.memberships(keys, user).await?;
    Ok(members.iter().filter_map(|member| Some((member.channel_id, member.hide_messages_before?))).collect())
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

/// What an entry of the log says of a message.
#[derive(Deserialize)]
struct Told {
    message: Option<ToldMessage>,
    #[serde(default)]
    hard_delete: bool,
}

/// Its name is not flattened into it: serde would hold all the rest of the message in memory to find it.
#[derive(Deserialize)]
struct ToldMessage {
    id: String,
    created_at: Option<Timestamp>,
    deleted_at: Option<Timestamp>,
    quoted_message: Option<ToldQuote>,
}

#[derive(Deserialize)]
struct ToldQuote {
    id: String,
    created_at: Option<Timestamp>,
}

/// The messages that the caller may see, by id.
struct Seen<'a>(HashMap<&'a str, &'a Message>);

impl Seen<'_> {
    /// An id alone says not which: when a message is gone for good, its id is free, and somebody else may take it.
    fn find(&self, channel: Option<i64>, id: &str, created_at: Option<Timestamp>) -> Option<&Message> {
        let row = self.0.get(id).copied();
        row.filter(|row| Some(row.channel_id) == channel && Some(row.created_at) == created_at)
    }
}

/// What has become of an entry of the log.
enum Fate {
    AsItWas,
    /// The message has to be shown as it is now.
    Anew(String),
    /// The event is about something else, and goes without its message.
    Without,
    Hidden,
}

/// The events as the caller may see them now. `None` if an answer has no room for them: little may have been said of what is large.
async fn shown(
    ctx: &Ctx,
    caller: &Caller,
    channels: &HashMap<i64, Cid>,
    hidden: &HashMap<i64, Timestamp>,
    events: &[Event],
) -> Result<Option<Vec<Box<RawValue>>>> {
    let told = events.iter().map(|event| serde_json::from_slice::<Told>(&event.body));
    let told = told.collect::<std::result::Result<Vec<_>, _>>()?;
    let messages_told = told.iter().filter_map(|told| told.message.as_ref());
    let ids = messages_told.flat_map(|told| [Some(&told.id), told.quoted_message.as_ref().map(|quoted| &quoted.id)]);
    let ids: Vec<String> = ids.flatten().collect::<HashSet<_>>().into_iter().cloned().collect();
    let found = visibility::find_all(ctx, caller, &ids).await?;
    if !found.whole {
        return Ok(None);
    }
    let seen = Seen(found.messages.iter().map(|row| (row.id.as_str(), row)).collect());
    let fates: Vec<Fate> = events.iter().zip(told).map(|(event, told)| fate(event, told, &seen, hidden)).collect();
    let changed: HashSet<&str> =
        fates.iter().filter_map(|fate| if let Fate::Anew(id) = fate { Some(id.as_str()) } else { None }).collect();
    let changed: Vec<Message> = changed.into_iter().filter_map(|id| seen.0.get(id).copied()).cloned().collect();
    // As in an event: nothing in it is the caller's own.
    let options = Options { viewer: None, ..Options::of(ctx, caller) };
    let now = messages(ctx, &changed, channels, options).await?;
    let now: HashMap<&str, &wire::message::Message> =
        now.iter().map(|message| (message.id.as_str(), message)).collect();
    let mut shown = Vec::with_capacity(events.len());
    let mut bytes = 0;
    for (event, fate) in events.iter().zip(&fates) {
        let body = match fate {
            Fate::Hidden => continue,
            Fate::AsItWas => std::str::from_utf8(&event.body).map_err(Error::internal)?.to_owned(),
            Fate::Without => with_message(event, None)?,
            Fate::Anew(id) => with_message(event, now.get(id.as_str()).copied())?,
        };
        bytes += body.len();
        if bytes > limits::ANSWER_BYTES_MAX {
            return Ok(None);
        }
        shown.push(RawValue::from_string(with_watcher_count(&event.kind, body))?);
    }
    Ok(Some(shown))
}

fn fate(event: &Event, told: Told, seen: &Seen<'_>, hidden: &HashMap<i64, Timestamp>) -> Fate {
    let Some(message) = told.message else { return Fate::AsItWas };
    let Some(row) = seen.find(event.channel_id, &message.id, message.created_at) else {
        let hidden = event.channel_id.and_then(|channel| hidden.get(&channel));
        let was_hidden = hidden.is_some_and(|before| message.created_at.is_none_or(|at| at <= *before));
        // That it is gone for good is all that this says, and those who have it must hear it.
        return match event.kind.split('.').next() {
            Some("message") if told.hard_delete && !was_hidden => Fate::AsItWas,
            Some("message" | "reaction" | "notification") => Fate::Hidden,
            _ => Fate::Without,
        };
    };
    let is_gone = |quoted: ToldQuote| {
        seen.find(event.channel_id, &quoted.id, quoted.created_at).is_none_or(|row| row.deleted_at.is_some())
    };
    let deleted_since = row.deleted_at.is_some() && message.deleted_at.is_none();
    if deleted_since || message.quoted_message.is_some_and(is_gone) {
        return Fate::Anew(message.id);
    }
    Fate::AsItWas
}

/// The event with another message, or none. The rest stays the text that it is.
fn with_message(event: &Event, message: Option<&wire::message::Message>) -> Result<String> {
    let mut body: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&event.body)?;
    match message {
        Some(message) => drop(body.insert("message".into(), to_raw_value(message)?)),
        None => drop(body.remove("message")),
    }
    Ok(serde_json::to_string(&body)?)
}

/// Who watched back then is not in the log; clients want the key.
fn with_watcher_count(kind: &str, mut body: String) -> String {
    if kind == "message.new" && body.ends_with('}') {
        body.truncate(body.len() - 1);
        body.push_str(",\"watcher_count\":0}");
    }
    body
}
