//! Users: how they are shown, and how they are written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::lenient;
use crate::{Custom, RawObject, Timestamp};

/// Whether a user lets others see one kind of sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Switch {
    pub enabled: bool,
}

/// What a user lets others see. A kind that is left out is visible.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrivacySettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typing_indicators: Option<Switch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_receipts: Option<Switch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_receipts: Option<Switch>,
}

/// A user as everybody sees it (`UserResponse`).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct User {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    pub role: String,
    /// ISO 639-1 code, or empty.
    pub language: String,
    pub online: bool,
    pub invisible: bool,
    pub banned: bool,
    pub shadow_banned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban_expires: Option<Timestamp>,
    pub teams: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teams_role: Option<BTreeMap<String, String>>,
    /// Whom this user has blocked: shown to the user and to servers, empty for everybody else.
    pub blocked_user_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy_settings: Option<PrivacySettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_active: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke_tokens_issued_before: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(flatten)]
    pub custom: RawObject,
}

/// A mute of one user by another.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UserMute {
    pub user: Arc<User>,
    pub target: Arc<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A device that takes push notifications.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Device {
    pub id: String,
    pub push_provider: String,
    pub user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voip: Option<bool>,
    pub created_at: Timestamp,
}

/// A user with what is shown to itself and to servers only: `me` (`OwnUserResponse`), and users in answers
/// (`FullUserResponse`), where it is empty for everybody else.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FullUser {
    #[serde(flatten)]
    pub user: User,
    pub devices: Vec<Device>,
    pub mutes: Vec<UserMute>,
    pub channel_mutes: Vec<crate::channel::ChannelMute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_preferences: Option<crate::push::PushPreferences>,
    #[serde(flatten)]
    pub unread: UnreadTotals,
}

/// Unread numbers over all channels of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct UnreadTotals {
    pub total_unread_count: i64,
    /// The same number under its older name.
    pub unread_count: i64,
    pub unread_channels: i64,
    pub unread_threads: i64,
}

/// A user as clients write it: in `POST /users`, in `/connect`, and wherever a server names the acting user.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct UserRequest {
    #[serde(default, deserialize_with = "lenient::default")]
    pub id: String,
    pub name: Option<String>,
    pub image: Option<String>,
    pub role: Option<String>,
    pub language: Option<String>,
    pub invisible: Option<bool>,
    pub teams: Option<Vec<String>>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub teams_role: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub privacy_settings: Option<PrivacySettings>,
    #[serde(flatten)]
    pub custom: Custom,
}

/// Keys of a user object that custom data cannot take: the server's own.
pub const USER_KEYS: &[&str] = &[
    "id",
    "name",
    "image",
    "role",
    "language",
    "online",
    "invisible",
    "banned",
    "shadow_banned",
    "ban_expires",
    "teams",
    "teams_role",
    "blocked_user_ids",
    "privacy_settings",
    "last_active",
    "deactivated_at",
    "deleted_at",
    "revoke_tokens_issued_before",
    "created_at",
    "updated_at",
    "mutes",
    "channel_mutes",
    "devices",
    "total_unread_count",
    "unread_count",
    "unread_channels",
    "unread_threads",
    "avg_response_time",
    "push_notifications",
    "push_preferences",
    "latest_hidden_channels",
    "anon",
];

/// `POST /users`: each user is replaced whole.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UpdateUsersRequest {
    #[serde(default, deserialize_with = "lenient::map")]
    pub users: HashMap<String, UserRequest>,
}

/// One user's change in `PATCH /users`. Keys may be dotted paths into custom data.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PartialUserUpdate {
    pub id: String,
    #[serde(default)]
    pub set: Custom,
    #[serde(default, deserialize_with = "lenient::list")]
    pub unset: Vec<String>,
}

/// `PATCH /users`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UpdateUsersPartialRequest {
    #[serde(default, deserialize_with = "lenient::list")]
    pub users: Vec<PartialUserUpdate>,
}

/// Answer to `POST /users` and `PATCH /users`.
#[derive(Debug, Serialize, ToSchema)]
pub struct UpdateUsersResponse {
    pub users: BTreeMap<String, FullUser>,
    /// Always empty: kept for the clients that read it.
    pub membership_deletion_task_id: &'static str,
}

/// The `payload` of `GET /users`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct QueryUsersRequest {
    #[schema(value_type = Object)]
    pub filter_conditions: Option<Value>,
    #[schema(value_type = Object)]
    pub sort: Option<Value>,
    pub limit: Option<i64>,
    pub offset: Option<i64>,
    pub presence: Option<bool>,
    pub include_deactivated_users: Option<bool>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
    pub connection_id: Option<String>,
}

/// Answer to `GET /users`.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueryUsersResponse {
    pub users: Vec<FullUser>,
}

/// `POST /guest`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CreateGuestRequest {
    pub user: UserRequest,
}

/// Answer to `POST /guest`.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreateGuestResponse {
    pub user: User,
    pub access_token: String,
}

/// The `json` query parameter of `GET /connect`.
///
/// `user_id` is missing in older clients, which send it inside `user_details`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct ConnectRequest {
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user_details: Option<UserRequest>,
    /// Some clients send the token here and not in the query.
    pub user_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_sent_back_whole_keeps_only_its_own_custom_data() {
        let json = r#"{"id":"ada","name":"Ada","online":true,"created_at":"2026-01-01T00:00:00Z","teams":null,
                       "privacy_settings":[],"teams_role":null,"city":"London","mutes":[]}"#;
        let user: UserRequest = serde_json::from_str(json).unwrap();
        assert_eq!((user.id.as_str(), user.name.as_deref(), user.teams), ("ada", Some("Ada"), None));
        let custom = user.custom.without(USER_KEYS);
        assert_eq!(serde_json::to_string(&custom).unwrap(), r#"{"city":"London"}"#);
    }

    #[test]
    fn php_sends_lists_for_objects() {
        let request: UpdateUsersRequest = serde_json::from_str(r#"{"users":[]}"#).unwrap();
        assert!(request.users.is_empty());
        let request: ConnectRequest = serde_json::from_str(r#"{"user_details":[],"user_id":null}"#).unwrap();
        assert!(request.user_details.is_none());
    }
}
