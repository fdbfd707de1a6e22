//! What those hear who are connected but do not watch: the `notification.*` twins of events, which are the event with the
//! channel, and for new messages with the member's own unread numbers; and of replies the participants of their thread, with
//! their own unread threads.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;

use crate::access::channel::which_are_readable;
use crate::chat::render::{self, People};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::events::{Audience, Event, size};
use crate::limits;
use crate::realtime::notify::{Twin, Twins};
use crate::store::unread::Totals;

/// Makes twins with the parts of a node, which exists only after what needs this.
pub struct Notifications {
    pub ctx: std::sync::OnceLock<Weak<Ctx>>,
}

#[async_trait]
impl Twins for Notifications {
    async fn twins(&self, events: &[(&Event, Vec<Arc<str>>)]) -> Vec<Twin> {
        let Some(ctx) = self.ctx.get().and_then(Weak::upgrade) else {
            return Vec::new();
        };
        twins(&ctx, events).await.unwrap_or_else(|error| {
            tracing::warn!(?error, "notifications could not be made");
            Vec::new()
        })
    }
}

async fn twins(ctx: &Ctx, events: &[(&Event, Vec<Arc<str>>)]) -> Result<Vec<Twin>> {
    let channels = channels_json(ctx, events).await?;
    let events = &readers_only(ctx, events).await?[..];
    let totals = totals(ctx, events).await?;
    let none = Totals::default();
    let twins = events.iter().map(|(event, users)| {
        let of = |user: &Arc<str>| totals.get(&**user).unwrap_or(&none);
        let (parts, end): (_, fn(&Totals) -> String) = match event.audience {
            Audience::AbsentUsers(_) => (open(event), unread_threads),
            _ => match event.channel_id.and_then(|id| channels.get(&id)).filter(|_| event.kind == "message.new") {
                Some(channel) => (twin(event, Some(channel)), unread_messages),
                // The event itself carries the channel, or it is deleted for good.
                None => (twin(event, None), |_| "}".to_owned()),
            },
        };
        let Some(parts) = parts else { return Twin::default() };
        Twin { parts, ends: users.iter().map(|user| (user.clone(), end(of(user)))).collect() }
    });
    Ok(twins.collect())
}

/// The events with those of their users who may read what they say: a member may have lost the right, or its channel be disabled.
async fn readers_only<'a>(ctx: &Ctx, events: &[(&'a Event, Vec<Arc<str>>)]) -> Result<Vec<(&'a Event, Vec<Arc<str>>)>> {
    let ids: HashSet<String> = events.iter().flat_map(|(_, users)| users).map(ToString::to_string).collect();
    let known = ctx.caches.users(&ids.into_iter().collect::<Vec<_>>()).await?;
    let keys: HashSet<i64> = events.iter().filter_map(|(event, _)| event.channel_id).collect();
    let channels = ctx.caches.channels_by_keys(&keys.into_iter().collect::<Vec<_>>()).await?;
    let mut allowed = Vec::with_capacity(events.len());
    for (event, users) in events {
        let tells_a_message = event.kind == "message.new" || matches!(event.audience, Audience::AbsentUsers(_));
        let channel = event.channel_id.and_then(|key| channels.get(&key)).filter(|_| tells_a_message);
        let Some(channel) = channel else {
            allowed.push((*event, users.clone()));
            continue;
        };
        let here = users.iter().filter_map(|user| Some((user, known.get(&**user)?)));
        let (names, pairs): (Vec<_>, Vec<_>) = here.map(|(name, user)| (name, (channel.clone(), user.clone()))).unzip();
        let readable = which_are_readable(ctx, &pairs).await?;
        let readers = names.into_iter().zip(readable).filter(|(_, readable)| *readable);
        allowed.push((*event, readers.map(|(name, _)| name.clone()).collect()));
    }
    Ok(allowed)
}

/// `{"type":"message.new",…}` becomes `{"type":"notification.message_new",…,"channel":…`, to be ended for each reader.
fn twin(event: &Event, channel: Option<&Bytes>) -> Option<Vec<Bytes>> {
    let rest = event.body.strip_prefix(b"{\"type\":\"")?.strip_prefix(event.kind.as_bytes())?.strip_suffix(b"}")?;
    let kind = format!("{{\"type\":\"notification.{}", event.kind.replace('.', "_"));
    let mut parts = vec![kind.into(), event.body.slice_ref(rest)];
    if let Some(channel) = channel {
        parts.extend([Bytes::from_static(b",\"channel\":"), channel.clone()]);
    }
    Some(parts)
}

/// The event as it is, to be ended for each reader.
fn open(event: &Event) -> Option<Vec<Bytes>> {
    Some(vec![event.body.slice_ref(event.body.strip_suffix(b"}")?)])
}

fn unread_messages(Totals { messages, channels, .. }: &Totals) -> String {
    format!(",\"total_unread_count\":{messages},\"unread_count\":{messages},\"unread_channels\":{channels}}}")
}

fn unread_threads(Totals { threads, .. }: &Totals) -> String {
    format!(",\"unread_threads\":{threads}}}")
}

async fn channels_json(ctx: &Ctx, events: &[(&Event, Vec<Arc<str>>)]) -> Result<HashMap<i64, Bytes>> {
    // An event for absent users has its channel in it.
    let with_twins = events.iter().filter(|(event, _)| !matches!(event.audience, Audience::AbsentUsers(_)));
    let keys: HashSet<i64> = with_twins.filter_map(|(event, _)| event.channel_id).collect();
    let keys: Vec<i64> = keys.into_iter().collect();
    let channels = ctx.caches.channels_by_keys(&keys).await?;
    let heads: HashMap<i64, _> =
        ctx.store.heads(&keys).await?.into_iter().map(|head| (head.channel_id, head)).collect();
    let people =
        People::for_event(ctx, channels.values().flat_map(|channel| render::channels::people_of(channel))).await?;
    let json = |(key, channel): (&i64, &Arc<crate::access::caches::LoadedChannel>)| {
        let shown = render::channels::channel(channel, heads.get(key), &people, None);
        Ok((*key, size::encode_channel(shown, limits::TWIN_CHANNEL_BYTES_MAX)?.into()))
    };
    channels.iter().map(json).collect()
}

async fn totals(ctx: &Ctx, events: &[(&Event, Vec<Arc<str>>)]) -> Result<HashMap<String, Totals>> {
    let counted = events
        .iter()
        .filter(|(event, _)| event.kind == "message.new" || matches!(event.audience, Audience::AbsentUsers(_)));
    let users: Vec<String> = counted
        .flat_map(|(_, users)| users.iter().map(ToString::to_string))
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    let totals = ctx.store.unread_totals(&users).await?;
    Ok(totals.into_iter().map(|totals| (totals.user_id.clone(), totals)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Timestamp;

    #[test]
    fn a_twin_is_the_event_under_another_name_with_more() {
        let mut event = Event::internal("message.new", Timestamp::from_micros(0));
        event.audience = Audience::CHANNEL;
        event.body = Bytes::from_static(b"{\"type\":\"message.new\",\"cid\":\"a:b\",\"watcher_count\":2}");
        let totals = Totals { user_id: "ada".into(), messages: 3, channels: 1, threads: 2 };
        let mut parts = twin(&event, Some(&Bytes::from_static(b"{\"id\":\"b\"}"))).unwrap();
        parts.push(unread_messages(&totals).into());
        let value: serde_json::Value = serde_json::from_slice(&parts.concat()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "type": "notification.message_new", "cid": "a:b", "watcher_count": 2, "channel": {"id": "b"},
                "total_unread_count": 3, "unread_count": 3, "unread_channels": 1,
            })
        );
    }
}
