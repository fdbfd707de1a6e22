//! The app: its settings as clients and servers see them, errors, and small answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lenient;

/// What may be uploaded. Empty lists allow everything that is not blocked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UploadConfig {
    #[serde(deserialize_with = "lenient::list")]
    pub allowed_file_extensions: Vec<String>,
    #[serde(deserialize_with = "lenient::list")]
    pub blocked_file_extensions: Vec<String>,
    #[serde(deserialize_with = "lenient::list")]
    pub allowed_mime_types: Vec<String>,
    #[serde(deserialize_with = "lenient::list")]
    pub blocked_mime_types: Vec<String>,
    /// Bytes; 0 means the default.
    #[serde(deserialize_with = "lenient::default")]
    pub size_limit: i64,
}

/// The error that every refused call answers (`APIError`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    pub code: i32,
    pub message: String,
    #[serde(rename = "StatusCode")]
    pub status_code: u16,
    pub more_info: String,
    #[schema(value_type = Vec<Object>)]
    pub details: Vec<serde_json::Value>,
    /// What was wrong, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exception_fields: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub duration: String,
}

/// An error on the socket: the one frame of a refused connection.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorFrame {
    pub error: ApiError,
}

/// An answer that says nothing but how long it took.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Empty {}

/// Answer to an upload.
#[derive(Debug, Serialize, ToSchema)]
pub struct FileUploadResponse {
    /// Absolute URL.
    pub file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumb_url: Option<String>,
}

/// Answer that names a task.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskIdResponse {
    pub task_id: String,
}

/// The settings that Millrace acts on, inside the shape that clients know (`AppResponseFields`). What belongs to features
/// that do not exist here is present and empty.
#[derive(Debug, Serialize, ToSchema)]
pub struct AppSettings {
    pub id: i64,
    pub name: String,
    pub organization: String,
    pub placement: String,
    pub disable_auth_checks: bool,
    pub disable_permissions_checks: bool,
    pub guest_user_creation_disabled: bool,
    pub enforce_unique_usernames: &'static str,
    pub multi_tenant_enabled: bool,
    pub permission_version: &'static str,
    pub suspended: bool,
    pub suspended_explanation: &'static str,
    pub async_url_enrich_enabled: bool,
    pub auto_translation_enabled: bool,
    pub feed_audit_logs_enabled: bool,
    pub image_moderation_enabled: bool,
    pub max_aggregated_activities_length: i64,
    pub member_custom_on_messages_enabled: bool,
    pub moderation_audio_call_moderation_enabled: bool,
    pub moderation_enabled: bool,
    pub moderation_llm_configurability_enabled: bool,
    pub moderation_multitenant_blocklist_enabled: bool,
    pub moderation_video_call_moderation_enabled: bool,
    pub moderation_webhook_url: &'static str,
    pub use_hook_v2: bool,
    pub campaign_enabled: bool,
    pub allow_multi_user_devices: bool,
    pub user_response_time_enabled: bool,
    pub cdn_expiration_seconds: i64,
    pub reminders_interval: i64,
    pub custom_action_handler_url: &'static str,
    pub webhook_url: &'static str,
    pub webhook_events: Vec<String>,
    #[schema(value_type = Vec<Object>)]
    pub event_hooks: Vec<serde_json::Value>,
    pub sqs_url: &'static str,
    pub sqs_key: &'static str,
    pub sqs_secret: &'static str,
    pub sns_topic_arn: &'static str,
    pub sns_key: &'static str,
    pub sns_secret: &'static str,
    pub user_search_disallowed_roles: Vec<String>,
    pub file_upload_config: UploadConfig,
    pub image_upload_config: UploadConfig,
    /// Shown to servers.
    pub grants: BTreeMap<String, Vec<String>>,
    #[schema(value_type = Object)]
    pub channel_configs: BTreeMap<String, std::sync::Arc<crate::channel::ChannelConfig>>,
    #[schema(value_type = Object)]
    pub policies: BTreeMap<String, serde_json::Value>,
    pub push_notifications: PushSettings,
    #[schema(value_type = Object)]
    pub call_types: BTreeMap<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke_tokens_issued_before: Option<crate::Timestamp>,
}

/// Push providers for phones: there are none.
#[derive(Debug, Serialize, ToSchema)]
pub struct PushSettings {
    pub offline_only: bool,
    pub version: &'static str,
    pub apn: PushProviderOff,
    pub firebase: PushProviderOff,
    pub huawei: PushProviderOff,
    pub xiaomi: PushProviderOff,
}

/// A push provider that is not configured.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct PushProviderOff {
    pub enabled: bool,
    pub development: bool,
}

/// Answer to `GET /app`.
#[derive(Debug, Serialize, ToSchema)]
pub struct AppResponse {
    pub app: AppSettings,
}

/// A channel type as servers see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelTypeInfo {
    #[serde(flatten)]
    pub config: crate::channel::ChannelConfig,
    /// Legacy, always empty: grants replaced it.
    #[schema(value_type = Vec<Object>)]
    pub permissions: Vec<serde_json::Value>,
    pub grants: BTreeMap<String, Vec<String>>,
}

/// Answer to `GET /channeltypes`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListChannelTypesResponse {
    pub channel_types: BTreeMap<String, ChannelTypeInfo>,
}

/// What is left of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LimitInfo {
    pub limit: u64,
    pub remaining: u64,
    /// Unix time in seconds.
    pub reset: i64,
}

/// Answer to `GET /rate_limits`: by endpoint, for each platform that was asked for.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct RateLimitsResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_side: Option<BTreeMap<String, LimitInfo>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub android: Option<BTreeMap<String, LimitInfo>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ios: Option<BTreeMap<String, LimitInfo>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<BTreeMap<String, LimitInfo>>,
}
