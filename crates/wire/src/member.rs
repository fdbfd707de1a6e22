//! Members of channels.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::user::{User, UserRequest};
use crate::{Custom, RawObject, Timestamp, lenient};

/// A membership as it is shown (`ChannelMemberResponse`).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Member {
    pub user_id: String,
    pub user: Arc<User>,
    pub channel_role: String,
    /// The older name of the role: `owner` (the channel's creator), `moderator` or `member`.
    pub role: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    pub is_moderator: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub invited: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite_accepted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite_rejected_at: Option<Timestamp>,
    /// `member`, `pending` or `rejected`.
    pub status: &'static str,
    pub banned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban_expires: Option<Timestamp>,
    pub shadow_banned: bool,
    pub notifications_muted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(flatten)]
    pub custom: RawObject,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The author's membership inside a message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MemberInMessage {
    pub channel_role: String,
    pub notifications_muted: bool,
}

/// Keys of a member that custom data cannot take.
pub const MEMBER_KEYS: &[&str] = &[
    "user_id",
    "user",
    "channel_role",
    "role",
    "is_moderator",
    "invited",
    "invite_accepted_at",
    "invite_rejected_at",
    "status",
    "banned",
    "ban_expires",
    "ban_from_future_channels",
    "shadow_banned",
    "notifications_muted",
    "pinned_at",
    "archived_at",
    "created_at",
    "updated_at",
    "deleted_at",
    "deleted_messages",
];

/// A member as clients write it: an id, or an object with a role and custom data.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum MemberRequest {
    Id(String),
    Member(Box<MemberFields>),
}

/// The object form of [`MemberRequest`].
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct MemberFields {
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
    pub channel_role: Option<String>,
    #[serde(flatten)]
    pub custom: Custom,
}

impl MemberRequest {
    /// Empty when the client gave none.
    pub fn user_id(&self) -> &str {
        match self {
            Self::Id(id) => id,
            Self::Member(member) => match (&member.user_id, &member.user) {
                (Some(id), _) => id,
                (None, Some(user)) => &user.id,
                (None, None) => "",
            },
        }
    }

    /// The user's id, role and custom data; the id is empty when the client gave none.
    pub fn into_parts(self) -> (String, Option<String>, Custom) {
        match self {
            Self::Id(id) => (id, None, Custom::default()),
            Self::Member(member) => {
                let member = *member;
                let id = member.user_id.or(member.user.map(|user| user.id)).unwrap_or_default();
                let role = member.channel_role.filter(|role| !role.is_empty());
                (id, role, member.custom.without(MEMBER_KEYS))
            }
        }
    }
}

/// The `payload` of `GET /members`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct QueryMembersRequest {
    #[serde(rename = "type", default)]
    pub channel_type: String,
    pub id: Option<String>,
    /// Names a distinct channel by its members.
    #[serde(default, deserialize_with = "lenient::list")]
    pub members: Vec<MemberRequest>,
    #[schema(value_type = Object)]
    pub filter_conditions: Option<Value>,
    #[schema(value_type = Object)]
    pub sort: Option<Value>,
    pub limit: Option<i64>,
    pub offset: Option<i64>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
    pub user_id_lt: Option<String>,
    pub user_id_lte: Option<String>,
    pub user_id_gt: Option<String>,
    pub user_id_gte: Option<String>,
    pub created_at_before: Option<Timestamp>,
    pub created_at_before_or_equal: Option<Timestamp>,
    pub created_at_after: Option<Timestamp>,
    pub created_at_after_or_equal: Option<Timestamp>,
}

/// Answer to `GET /members`.
#[derive(Debug, Serialize, ToSchema)]
pub struct MembersResponse {
    pub members: Vec<Member>,
}

/// `PATCH /channels/{type}/{id}/member/{user_id}`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct UpdateMemberPartialRequest {
    #[serde(default)]
    pub set: Custom,
    #[serde(default, deserialize_with = "lenient::list")]
    pub unset: Vec<String>,
}

/// Answer to a change of one member.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberResponse {
    pub channel_member: Member,
}
