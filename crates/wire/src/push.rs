//! Push: devices, what users want to be pushed, and the subscriptions of browsers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::user::{Device, UserRequest};
use crate::{Timestamp, lenient};

/// `POST /devices`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CreateDeviceRequest {
    #[serde(default, deserialize_with = "lenient::default")]
    pub id: String,
    #[serde(default, deserialize_with = "lenient::default")]
    pub push_provider: String,
    pub push_provider_name: Option<String>,
    pub hardware_id: Option<String>,
    /// Is the id a token for calls?
    pub voip_token: Option<bool>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// Answer to `GET /devices`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListDevicesResponse {
    pub devices: Vec<Device>,
}

/// What a user wants to be pushed, in one channel or in all (`PushPreferencesResponse`, `ChannelPushPreferencesResponse`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PushPreferences {
    /// `all`, `mentions`, `direct_mentions`, `all_mentions` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_until: Option<Timestamp>,
}

/// One change of `POST /push_preferences`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PushPreferenceInput {
    pub user_id: Option<String>,
    /// Left out: for all channels.
    pub channel_cid: Option<String>,
    /// `default` takes the level away.
    pub chat_level: Option<String>,
    pub disabled_until: Option<Timestamp>,
    pub remove_disable: Option<bool>,
    #[schema(value_type = Object)]
    pub chat_preferences: Option<Value>,
}

/// `POST /push_preferences`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UpdatePushPreferencesRequest {
    #[serde(default, deserialize_with = "lenient::list")]
    pub preferences: Vec<PushPreferenceInput>,
}

/// Answer to `POST /push_preferences`: what was changed, by user, and by user and channel.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct UpsertPushPreferencesResponse {
    pub user_preferences: BTreeMap<String, PushPreferences>,
    pub user_channel_preferences: BTreeMap<String, BTreeMap<String, PushPreferences>>,
}

/// A browser's subscription, as `PushSubscription.toJSON()` writes it.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct PushSubscription {
    pub endpoint: String,
    /// Milliseconds since the Unix epoch.
    #[serde(rename = "expirationTime", default)]
    pub expiration_time: Option<f64>,
    pub keys: PushKeys,
}

/// The keys of a browser's subscription, in base64url.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct PushKeys {
    pub p256dh: String,
    pub auth: String,
}

/// Browsers that want to be pushed to, all of one client.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct RegisterSubscriptionsRequest {
    #[serde(default, deserialize_with = "lenient::list")]
    pub subscriptions: Vec<PushSubscription>,
    pub client_id: Option<String>,
    pub platform: Option<String>,
}
