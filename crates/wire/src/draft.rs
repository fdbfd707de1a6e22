//! Drafts: messages that are not sent yet.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::channel::Channel;
use crate::message::{Message, MessageRequest, MessageType};
use crate::user::{User, UserRequest};
use crate::{Cid, RawList, RawObject, Timestamp, lenient};

/// A draft as its author sees it (`DraftResponse`). Nobody else does.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Draft {
    #[schema(value_type = String)]
    pub channel_cid: Cid,
    /// When it was last saved.
    pub created_at: Timestamp,
    pub message: DraftMessage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub channel: Option<Channel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub parent_message: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub quoted_message: Option<Message>,
}

/// The message in a draft (`DraftPayloadResponse`).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DraftMessage {
    pub id: String,
    pub text: String,
    #[serde(rename = "type")]
    pub kind: MessageType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show_in_channel: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quoted_message_id: Option<String>,
    pub silent: bool,
    #[schema(value_type = Vec<Object>)]
    pub attachments: RawList,
    pub mentioned_users: Vec<Arc<User>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mml: Option<String>,
    #[serde(flatten)]
    pub custom: RawObject,
}

/// `POST /channels/{type}/{id}/draft`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SaveDraftRequest {
    pub message: MessageRequest,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// Answer with one draft.
#[derive(Debug, Serialize, ToSchema)]
pub struct DraftResponse {
    pub draft: Draft,
}

/// `POST /drafts/query`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct QueryDraftsRequest {
    #[schema(value_type = Object)]
    pub filter: Option<Value>,
    #[schema(value_type = Object)]
    pub sort: Option<Value>,
    pub limit: Option<i64>,
    /// Where the page before ended.
    pub next: Option<String>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
}

/// Answer to `POST /drafts/query`.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueryDraftsResponse {
    pub drafts: Vec<Draft>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
