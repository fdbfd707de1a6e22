//! Read state and unread numbers.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::user::{User, UserRequest};
use crate::{Event, Timestamp, lenient};

/// How far one member has read (`ReadStateResponse`).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Read {
    pub user: Arc<User>,
    pub last_read: Timestamp,
    pub unread_messages: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_read_message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivered_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivered_message_id: Option<String>,
}

/// `POST /channels/{type}/{id}/read`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct MarkReadRequest {
    /// Read up to this message; all when left out.
    pub message_id: Option<String>,
    /// Read a thread, named by its parent message.
    pub thread_id: Option<String>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// Answer to marking as read: the event that watchers hear. None where read events are off, and for several channels.
#[derive(Debug, Serialize, ToSchema)]
pub struct MarkReadResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
}

/// `POST /channels/{type}/{id}/unread`: the message and all after it become unread.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct MarkUnreadRequest {
    pub message_id: Option<String>,
    pub thread_id: Option<String>,
    /// Instead of a message: the time from which on.
    pub message_timestamp: Option<Timestamp>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// `POST /channels/read`: marks all channels, or the named ones, as read.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct MarkChannelsReadRequest {
    /// cid to last read message id; empty text for the newest.
    #[serde(default, deserialize_with = "lenient::map")]
    pub read_by_channel: HashMap<String, String>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// One unread channel in `GET /unread`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UnreadChannel {
    /// The full cid, whatever the name says.
    pub channel_id: String,
    pub unread_count: i64,
    pub last_read: Timestamp,
}

/// Unread numbers of one channel type in `GET /unread`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UnreadChannelType {
    pub channel_type: String,
    pub channel_count: i64,
    pub unread_count: i64,
}

/// One unread thread in `GET /unread`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UnreadThread {
    pub parent_message_id: String,
    pub unread_count: i64,
    pub last_read: Timestamp,
    pub last_read_message_id: String,
}

/// Answer to `GET /unread`: at most 100 channels, the most recent first.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct UnreadCounts {
    pub total_unread_count: i64,
    pub total_unread_threads_count: i64,
    pub channels: Vec<UnreadChannel>,
    pub channel_type: Vec<UnreadChannelType>,
    pub threads: Vec<UnreadThread>,
}

/// `POST /unread_batch`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct UnreadCountsBatchRequest {
    #[serde(default, deserialize_with = "lenient::list")]
    pub user_ids: Vec<String>,
}

/// Answer to `POST /unread_batch`; unknown users are left out.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnreadCountsBatchResponse {
    pub counts_by_user: HashMap<String, UnreadCounts>,
}
