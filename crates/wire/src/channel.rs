//! Channels, their settings, and the state that clients load.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::draft::Draft;
use crate::member::{Member, MemberRequest};
use crate::message::{Message, MessagePage, MessageRequest};
use crate::read::Read;
use crate::user::{User, UserRequest};
use crate::{Cid, Custom, RawObject, Timestamp, lenient};

/// A slash command that a channel offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Command {
    pub name: String,
    pub description: String,
    pub args: String,
    pub set: String,
}

/// The settings of a channel: its type's, with the channel's own overrides (`ChannelConfigWithInfo`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ChannelConfig {
    pub name: String,
    pub typing_events: bool,
    pub read_events: bool,
    pub connect_events: bool,
    pub delivery_events: bool,
    pub custom_events: bool,
    pub search: bool,
    pub reactions: bool,
    pub replies: bool,
    pub quotes: bool,
    pub mutes: bool,
    pub uploads: bool,
    pub url_enrichment: bool,
    pub polls: bool,
    pub reminders: bool,
    pub user_message_reminders: bool,
    pub shared_locations: bool,
    pub push_notifications: bool,
    pub mark_messages_pending: bool,
    pub count_messages: bool,
    pub skip_last_msg_update_for_system_msgs: bool,
    /// `infinite`, or a number of days.
    pub message_retention: String,
    pub max_message_length: i64,
    pub automod: String,
    pub automod_behavior: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocklist: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocklist_behavior: Option<String>,
    #[serde(deserialize_with = "lenient::list")]
    pub commands: Vec<Command>,
    /// Grants that the channel changes, by role; only where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<BTreeMap<String, Vec<String>>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Default for ChannelConfig {
    /// What a channel type has when nobody said otherwise (wire-protocol facts, section 10).
    fn default() -> Self {
        Self {
            name: String::new(),
            typing_events: true,
            read_events: true,
            connect_events: true,
            delivery_events: false,
            custom_events: true,
            search: true,
            reactions: true,
            replies: true,
            quotes: true,
            mutes: true,
            uploads: true,
            url_enrichment: true,
            polls: false,
            reminders: false,
            user_message_reminders: false,
            shared_locations: false,
            push_notifications: true,
            mark_messages_pending: false,
            count_messages: false,
            skip_last_msg_update_for_system_msgs: false,
            message_retention: "infinite".into(),
            max_message_length: 5_000,
            automod: "disabled".into(),
            automod_behavior: "flag".into(),
            blocklist: None,
            blocklist_behavior: None,
            commands: Vec::new(),
            grants: None,
            created_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(0),
        }
    }
}

/// A channel as it is shown (`ChannelResponse`).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Channel {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[schema(value_type = String)]
    pub cid: Cid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Arc<User>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated_by: Option<Arc<User>>,
    pub frozen: bool,
    pub disabled: bool,
    pub member_count: i64,
    /// Only where the channel counts its messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_count: Option<i64>,
    /// Slow mode, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filter_tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Arc<ChannelConfig>>,
    #[serde(flatten)]
    pub viewer: Option<ChannelForViewer>,
    #[serde(flatten)]
    pub custom: RawObject,
}

/// The part of a channel that depends on who looks. Never in an event for many.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct ChannelForViewer {
    pub own_capabilities: Vec<&'static str>,
    pub hidden: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hide_messages_before: Option<Timestamp>,
    pub muted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mute_expires_at: Option<Timestamp>,
}

/// Keys of a channel that custom data cannot take.
pub const CHANNEL_KEYS: &[&str] = &[
    "id",
    "type",
    "cid",
    "team",
    "created_by",
    "created_by_id",
    "created_at",
    "updated_at",
    "deleted_at",
    "last_message_at",
    "truncated_at",
    "truncated_by",
    "truncated_by_id",
    "frozen",
    "disabled",
    "member_count",
    "message_count",
    "cooldown",
    "filter_tags",
    "config",
    "config_overrides",
    "own_capabilities",
    "hidden",
    "hide_messages_before",
    "muted",
    "mute_expires_at",
    "blocked",
    "members",
    "invites",
    "auto_translation_enabled",
    "auto_translation_language",
];

/// A channel with all that a screen needs (`ChannelStateResponse`).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChannelState {
    pub channel: Channel,
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Newest pin first, at most ten.
    pub pinned_messages: Vec<Message>,
    /// Newest member first.
    pub members: Vec<Member>,
    pub read: Vec<Read>,
    /// The viewer's own membership, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membership: Option<Member>,
    /// What the viewer has begun to write.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub draft: Option<Draft>,
    pub watcher_count: i64,
    pub watchers: Vec<Arc<User>>,
    pub hidden: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hide_messages_before: Option<Timestamp>,
    /// Always empty: kept for the clients that require the key.
    #[schema(value_type = Vec<Object>)]
    pub threads: Vec<Value>,
    /// Always empty until pending messages exist.
    #[schema(value_type = Vec<Object>)]
    pub pending_messages: Vec<Value>,
}

/// A mute of a channel by a user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChannelMute {
    pub user: Arc<User>,
    pub channel: Channel,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A channel as clients write it: on creation, and in a full update.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct ChannelRequest {
    pub created_by_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub created_by: Option<UserRequest>,
    pub team: Option<String>,
    pub frozen: Option<bool>,
    pub disabled: Option<bool>,
    pub cooldown: Option<i64>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub members: Vec<MemberRequest>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub invites: Vec<MemberRequest>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub filter_tags: Vec<String>,
    pub config_overrides: Option<Custom>,
    #[serde(flatten)]
    pub custom: Custom,
}

/// Pages of members or watchers inside a channel query.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct Page {
    pub limit: Option<i64>,
    pub offset: Option<i64>,
}

/// `POST /channels/{type}/{id}/query`: read the channel, create it if there is none.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct GetOrCreateChannelRequest {
    #[serde(default, deserialize_with = "lenient::object")]
    pub data: Option<ChannelRequest>,
    pub state: Option<bool>,
    pub watch: Option<bool>,
    pub presence: Option<bool>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub messages: Option<MessagePage>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub members: Option<Page>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub watchers: Option<Page>,
    pub hide_for_creator: Option<bool>,
    pub connection_id: Option<String>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// `POST /channels`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct QueryChannelsRequest {
    #[schema(value_type = Object)]
    pub filter_conditions: Option<Value>,
    #[schema(value_type = Object)]
    pub sort: Option<Value>,
    pub limit: Option<i64>,
    pub offset: Option<i64>,
    pub message_limit: Option<i64>,
    pub member_limit: Option<i64>,
    pub state: Option<bool>,
    pub watch: Option<bool>,
    pub presence: Option<bool>,
    pub connection_id: Option<String>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// Answer to `POST /channels`.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueryChannelsResponse {
    pub channels: Vec<ChannelState>,
}

/// `POST /channels/{type}/{id}`: replaces the data, or changes members, or answers an invite; with a message about it.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct UpdateChannelRequest {
    #[serde(default, deserialize_with = "lenient::object")]
    pub data: Option<ChannelRequest>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub message: Option<MessageRequest>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub add_members: Vec<MemberRequest>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub remove_members: Vec<MemberRequest>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub add_moderators: Vec<MemberRequest>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub demote_moderators: Vec<MemberRequest>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub assign_roles: Vec<MemberRequest>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub invites: Vec<MemberRequest>,
    pub accept_invite: Option<bool>,
    pub reject_invite: Option<bool>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub add_filter_tags: Vec<String>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub remove_filter_tags: Vec<String>,
    /// Slow mode in seconds; 0 ends it.
    pub cooldown: Option<i64>,
    /// New members do not see what was before them.
    pub hide_history: Option<bool>,
    pub hide_history_before: Option<Timestamp>,
    pub skip_push: Option<bool>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// Answer to `POST /channels/{type}/{id}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct UpdateChannelResponse {
    pub channel: Channel,
    /// All members after the change, at most 100, newest first.
    pub members: Vec<Member>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
}

/// `PATCH /channels/{type}/{id}`. Keys may be dotted paths into custom data.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct UpdateChannelPartialRequest {
    #[serde(default)]
    pub set: Custom,
    #[serde(default, deserialize_with = "lenient::list")]
    pub unset: Vec<String>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// Answer to `PATCH /channels/{type}/{id}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct UpdateChannelPartialResponse {
    pub channel: Channel,
    pub members: Vec<Member>,
}

/// Answer to `DELETE /channels/{type}/{id}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeleteChannelResponse {
    pub channel: Channel,
}

/// `POST /channels/{type}/{id}/truncate`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct TruncateChannelRequest {
    /// Remove the messages, not only hide them.
    pub hard_delete: Option<bool>,
    pub skip_push: Option<bool>,
    /// Only messages older than this.
    pub truncated_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub message: Option<MessageRequest>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// Answer to `POST /channels/{type}/{id}/truncate`.
#[derive(Debug, Serialize, ToSchema)]
pub struct TruncateChannelResponse {
    pub channel: Channel,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
}

/// `POST /channels/{type}/{id}/hide`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct HideChannelRequest {
    pub clear_history: Option<bool>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// `POST …/show`, `POST …/stop-watching` and others that name only the acting user.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct ActingUserRequest {
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
    pub connection_id: Option<String>,
}

/// `POST /moderation/mute/channel` and `/moderation/unmute/channel`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct MuteChannelRequest {
    pub channel_cid: Option<String>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub channel_cids: Vec<String>,
    /// Milliseconds until the mute ends.
    pub expiration: Option<i64>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// Answer to muting channels.
#[derive(Debug, Serialize, ToSchema)]
pub struct MuteChannelResponse {
    pub channel_mute: ChannelMute,
    pub channel_mutes: Vec<ChannelMute>,
}

/// `POST /channels/delete`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct DeleteChannelsRequest {
    #[serde(default, deserialize_with = "lenient::list")]
    pub cids: Vec<String>,
    pub hard_delete: Option<bool>,
}
