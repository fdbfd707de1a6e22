//! Events: what clients hear on their socket, and the frames of the socket itself.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::channel::Channel;
use crate::draft::Draft;
use crate::member::Member;
use crate::message::Message;
use crate::reaction::Reaction;
use crate::thread::Thread;
use crate::user::{FullUser, UnreadTotals, User, UserRequest};
use crate::{Cid, Custom, RawObject, Timestamp, lenient};

/// An event as it is sent (`WSEvent`): a type, a time, and what the type carries.
///
/// `type` stands first in the JSON and the closing brace last: fan-out relies on both when it adds the few keys that
/// only the receiving node knows.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: String,
    pub created_at: Timestamp,
    #[serde(flatten)]
    pub channel_fields: Option<ChannelFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<User>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Arc<User>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<Member>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reaction: Option<Reaction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<Box<Draft>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<Thread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_delete: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear_history: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watcher_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub me: Option<Box<FullUser>>,
    #[serde(flatten)]
    pub read: Option<ReadFields>,
    #[serde(flatten)]
    pub unread: Option<UnreadTotals>,
    #[serde(flatten)]
    pub custom: RawObject,
}

/// Where an event of a channel happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChannelFields {
    #[schema(value_type = String)]
    pub cid: Cid,
    pub channel_id: String,
    pub channel_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
}

impl ChannelFields {
    pub fn new(cid: &Cid, team: Option<&str>) -> Self {
        Self {
            channel_id: cid.id().into(),
            channel_type: cid.channel_type().into(),
            team: team.map(Into::into),
            cid: cid.clone(),
        }
    }
}

/// What events about reading carry.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct ReadFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_read_message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_read_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_unread_message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_messages: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivered_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivered_message_id: Option<String>,
    /// Of the thread that the event is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_thread_messages: Option<i64>,
    /// Where an event carries none of the other totals.
    #[serde(rename = "unread_threads", skip_serializing_if = "Option::is_none")]
    pub unread_threads_alone: Option<i64>,
}

impl Event {
    /// An event with a type and a time, and nothing else yet.
    pub fn new(kind: impl Into<String>, created_at: Timestamp) -> Self {
        Self {
            kind: kind.into(),
            created_at,
            channel_fields: None,
            channel: None,
            user: None,
            user_id: None,
            created_by: None,
            member: None,
            message_id: None,
            message: None,
            reaction: None,
            draft: None,
            parent_id: None,
            thread_id: None,
            thread: None,
            hard_delete: None,
            clear_history: None,
            watcher_count: None,
            me: None,
            read: None,
            unread: None,
            custom: RawObject::default(),
        }
    }
}

/// The heartbeat of a socket; the first one carries `me`.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthCheck<'a> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub connection_id: &'a str,
    pub cid: &'static str,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub me: Option<&'a FullUser>,
}

impl<'a> HealthCheck<'a> {
    pub fn new(connection_id: &'a str, created_at: Timestamp, me: Option<&'a FullUser>) -> Self {
        Self { kind: "health.check", connection_id, cid: "*", created_at, me }
    }
}

/// The event inside `POST /channels/{type}/{id}/event` and `POST /users/{id}/event`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct EventRequest {
    #[serde(rename = "type", default, deserialize_with = "lenient::default")]
    pub kind: String,
    pub parent_id: Option<String>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
    #[serde(flatten)]
    pub custom: Custom,
}

/// Keys of an event that custom data cannot take: those of [`Event`] and [`HealthCheck`], and of the frame that ends a socket.
pub const EVENT_KEYS: &[&str] = &[
    "error",
    "type",
    "created_at",
    "received_at",
    "cid",
    "channel_id",
    "channel_type",
    "channel",
    "team",
    "user",
    "user_id",
    "created_by",
    "member",
    "members",
    "message",
    "message_id",
    "reaction",
    "draft",
    "parent_id",
    "thread_id",
    "thread",
    "hard_delete",
    "clear_history",
    "watcher_count",
    "me",
    "connection_id",
    "last_read_message_id",
    "last_read_at",
    "first_unread_message_id",
    "unread_messages",
    "last_delivered_at",
    "last_delivered_message_id",
    "unread_thread_messages",
    "total_unread_count",
    "unread_count",
    "unread_channels",
    "unread_threads",
];

/// `POST /channels/{type}/{id}/event`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SendEventRequest {
    pub event: EventRequest,
}

/// Answer to a sent event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventResponse {
    pub event: Event,
}

/// `POST /sync`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct SyncRequest {
    #[serde(default, deserialize_with = "lenient::list")]
    pub channel_cids: Vec<String>,
    pub last_sync_at: Option<Timestamp>,
    pub connection_id: Option<String>,
    pub watch: Option<bool>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
    #[serde(default, deserialize_with = "lenient::map")]
    #[schema(value_type = Object)]
    pub client_ids: HashMap<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    /// The keys of a type as JSON, with those of what is flattened into it.
    fn keys(schema: &Value, named: &Map<String, Value>) -> Vec<String> {
        let own = schema["properties"].as_object().into_iter().flat_map(Map::keys).cloned();
        let flattened = schema["allOf"].as_array().into_iter().flatten();
        let flattened = flattened.chain(schema["oneOf"].as_array().into_iter().flatten());
        let named_by = schema["$ref"].as_str().and_then(|name| named.get(name.rsplit('/').next()?));
        own.chain(flattened.chain(named_by).flat_map(|part| keys(part, named))).collect()
    }

    fn keys_of<T: ToSchema>() -> Vec<String> {
        let mut named = Vec::new();
        T::schemas(&mut named);
        let named = named.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap())).collect();
        keys(&serde_json::to_value(T::schema()).unwrap(), &named)
    }

    #[test]
    fn custom_data_takes_no_key_of_ours() {
        let ours = [keys_of::<Event>(), keys_of::<HealthCheck<'_>>()].concat();
        for known in ["type", "cid", "last_read_at", "unread_count", "connection_id"] {
            assert!(ours.iter().any(|key| key == known), "{known} is not found: {ours:?}");
        }
        for key in ours {
            assert!(EVENT_KEYS.contains(&key.as_str()), "{key}");
        }
    }
}
