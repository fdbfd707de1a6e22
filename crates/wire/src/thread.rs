//! Threads: a message and its replies.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::user::User;
use crate::{Cid, Timestamp};

/// A thread without its messages (`ThreadResponse`).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Thread {
    #[schema(value_type = String)]
    pub channel_cid: Cid,
    pub parent_message_id: String,
    /// The text of the first message.
    pub title: String,
    /// Author of the first reply.
    pub created_by_user_id: String,
    pub created_by: Arc<User>,
    pub participant_count: i64,
    pub active_participant_count: i64,
    pub reply_count: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_message_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}
