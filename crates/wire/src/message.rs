//! Messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::channel::Channel;
use crate::member::MemberInMessage;
use crate::reaction::{Reaction, ReactionSummary};
use crate::user::{User, UserRequest};
use crate::{Cid, Custom, RawList, RawObject, Timestamp, lenient};

/// What kind of message it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageType {
    #[default]
    Regular,
    /// Shown to its author only and never stored in the channel.
    Ephemeral,
    Error,
    Reply,
    System,
    Deleted,
}

impl MessageType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Ephemeral => "ephemeral",
            Self::Error => "error",
            Self::Reply => "reply",
            Self::System => "system",
            Self::Deleted => "deleted",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Regular, Self::Ephemeral, Self::Error, Self::Reply, Self::System, Self::Deleted]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// A message as it is shown (`MessageResponse`).
///
/// `own_reactions` is what the reader did: empty in every event, because an event is one frame for all.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Message {
    pub id: String,
    pub text: String,
    /// Safe HTML of the Markdown in `text`.
    pub html: String,
    #[serde(rename = "type")]
    pub kind: MessageType,
    #[schema(value_type = String)]
    pub cid: Cid,
    pub user: Arc<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberInMessage>,
    #[schema(value_type = Vec<Object>)]
    pub attachments: RawList,
    #[serde(flatten)]
    pub reactions: ReactionSummary,
    pub own_reactions: Vec<Reaction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show_in_channel: Option<bool>,
    pub reply_count: i64,
    pub deleted_reply_count: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thread_participants: Vec<Arc<User>>,
    pub mentioned_users: Vec<Arc<User>>,
    pub mentioned_channel: bool,
    pub mentioned_here: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentioned_roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quoted_message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub quoted_message: Option<Box<Message>>,
    pub silent: bool,
    pub shadowed: bool,
    pub pinned: bool,
    /// Null when not pinned: v1 clients look for the key.
    pub pinned_at: Option<Timestamp>,
    pub pinned_by: Option<Arc<User>>,
    pub pin_expires: Option<Timestamp>,
    pub restricted_visibility: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mml: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub i18n: Option<BTreeMap<String, String>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_text_updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    #[serde(flatten)]
    pub custom: RawObject,
}

/// Keys of a message that custom data cannot take.
pub const MESSAGE_KEYS: &[&str] = &[
    "id",
    "text",
    "html",
    "type",
    "cid",
    "channel",
    "user",
    "user_id",
    "member",
    "attachments",
    "reaction_counts",
    "reaction_scores",
    "reaction_groups",
    "latest_reactions",
    "own_reactions",
    "parent_id",
    "show_in_channel",
    "reply_count",
    "deleted_reply_count",
    "thread_participants",
    "mentioned_users",
    "mentioned_channel",
    "mentioned_here",
    "mentioned_roles",
    "mentioned_group_ids",
    "mentioned_groups",
    "quoted_message_id",
    "quoted_message",
    "silent",
    "shadowed",
    "pinned",
    "pinned_at",
    "pinned_by",
    "pin_expires",
    "restricted_visibility",
    "command",
    "args",
    "mml",
    "i18n",
    "created_at",
    "updated_at",
    "message_text_updated_at",
    "deleted_at",
    "deleted_for_me",
    "poll",
    "poll_id",
    "draft",
    "reminder",
    "shared_location",
    "moderation",
    "image_labels",
    "status",
];

/// Someone named in `mentioned_users`: an id, or the whole user.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum UserReference {
    Id(String),
    User(UserRequest),
}

impl UserReference {
    pub fn into_id(self) -> String {
        match self {
            Self::Id(id) => id,
            Self::User(user) => user.id,
        }
    }
}

/// A message as clients write it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct MessageRequest {
    pub id: Option<String>,
    pub text: Option<String>,
    /// Kept as it is when a server sends it, ignored from clients.
    pub html: Option<String>,
    pub mml: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(default, deserialize_with = "lenient::list")]
    #[schema(value_type = Vec<Object>)]
    pub attachments: Vec<Value>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub mentioned_users: Vec<UserReference>,
    #[serde(default, deserialize_with = "lenient::default")]
    pub mentioned_channel: bool,
    #[serde(default, deserialize_with = "lenient::default")]
    pub mentioned_here: bool,
    #[serde(default, deserialize_with = "lenient::list")]
    pub mentioned_roles: Vec<String>,
    pub parent_id: Option<String>,
    pub show_in_channel: Option<bool>,
    pub quoted_message_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::default")]
    pub silent: bool,
    #[serde(default, deserialize_with = "lenient::default")]
    pub pinned: bool,
    pub pin_expires: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient::list")]
    pub restricted_visibility: Vec<String>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
    #[serde(flatten)]
    pub custom: Custom,
}

/// `POST /channels/{type}/{id}/message`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SendMessageRequest {
    pub message: MessageRequest,
    #[serde(default, deserialize_with = "lenient::default")]
    pub skip_push: bool,
    #[serde(default, deserialize_with = "lenient::default")]
    pub skip_enrich_url: bool,
    /// A hidden channel stays hidden for those who hid it.
    #[serde(default, deserialize_with = "lenient::default")]
    pub keep_channel_hidden: bool,
}

/// Answer with one message.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageResponse {
    pub message: Message,
}

/// A message with its channel (`MessageWithChannelResponse`).
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageWithChannel {
    #[serde(flatten)]
    pub message: Message,
    pub channel: Channel,
}

/// Answer to `GET /messages/{id}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct GetMessageResponse {
    pub message: MessageWithChannel,
}

/// Answer with a list of messages.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessagesResponse {
    pub messages: Vec<Message>,
}

/// `POST /messages/{id}`: replaces the message.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UpdateMessageRequest {
    pub message: MessageRequest,
    #[serde(default, deserialize_with = "lenient::default")]
    pub skip_enrich_url: bool,
}

/// `PUT /messages/{id}`: changes some keys. They may be dotted paths into custom data.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct UpdateMessagePartialRequest {
    #[serde(default)]
    pub set: Custom,
    #[serde(default, deserialize_with = "lenient::list")]
    pub unset: Vec<String>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
    pub skip_enrich_url: Option<bool>,
}

/// Which messages of a channel or thread to read.
///
/// At most one of the bounds is used: the first that is set, in the order of the fields.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct MessagePage {
    pub limit: Option<i64>,
    pub id_lt: Option<String>,
    pub id_lte: Option<String>,
    pub id_gt: Option<String>,
    pub id_gte: Option<String>,
    pub id_around: Option<String>,
    pub created_at_before: Option<Timestamp>,
    pub created_at_before_or_equal: Option<Timestamp>,
    pub created_at_after: Option<Timestamp>,
    pub created_at_after_or_equal: Option<Timestamp>,
    pub created_at_around: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_nulls_and_whole_users() {
        let json = r#"{"id":null,"text":"hi","attachments":null,"mentioned_users":["ada",{"id":"grace","name":"Grace"}],
                       "silent":null,"restricted_visibility":null,"color":"red"}"#;
        let message: MessageRequest = serde_json::from_str(json).unwrap();
        let mentioned: Vec<_> = message.mentioned_users.into_iter().map(UserReference::into_id).collect();
        assert_eq!(mentioned, ["ada", "grace"]);
        assert_eq!(message.custom.without(MESSAGE_KEYS).0["color"], "red");
    }
}
