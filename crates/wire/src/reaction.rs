//! Reactions to messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::message::Message;
use crate::user::{User, UserRequest};
use crate::{Custom, RawObject, Timestamp, lenient};

/// One user's reaction of one type to one message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reaction {
    pub message_id: String,
    pub user_id: String,
    pub user: Arc<User>,
    #[serde(rename = "type")]
    pub kind: String,
    /// How often the user gave it (claps); 1 unless the client says otherwise.
    pub score: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(flatten)]
    pub custom: RawObject,
}

/// All reactions of one type to a message, in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ReactionGroup {
    pub count: i64,
    pub sum_scores: i64,
    pub first_reaction_at: Timestamp,
    pub last_reaction_at: Timestamp,
    pub latest_reactions_by: Vec<ReactionBy>,
}

/// Who reacted, inside a [`ReactionGroup`].
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ReactionBy {
    pub user_id: String,
    pub created_at: Timestamp,
}

/// The aggregates that a message carries.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct ReactionSummary {
    pub reaction_counts: BTreeMap<String, i64>,
    pub reaction_scores: BTreeMap<String, i64>,
    pub reaction_groups: BTreeMap<String, ReactionGroup>,
    /// At most ten, newest first.
    pub latest_reactions: Vec<Reaction>,
}

/// A reaction as clients write it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct ReactionRequest {
    #[serde(rename = "type", default, deserialize_with = "lenient::default")]
    pub kind: String,
    pub score: Option<i64>,
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    pub user: Option<UserRequest>,
    #[serde(flatten)]
    pub custom: Custom,
}

/// Keys of a reaction that custom data cannot take.
pub const REACTION_KEYS: &[&str] = &["message_id", "user_id", "user", "type", "score", "created_at", "updated_at"];

/// `POST /messages/{id}/reaction`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SendReactionRequest {
    pub reaction: ReactionRequest,
    /// Replace every other reaction of the user to this message.
    #[serde(default, deserialize_with = "lenient::default")]
    pub enforce_unique: bool,
    #[serde(default, deserialize_with = "lenient::default")]
    pub skip_push: bool,
}

/// Answer to sending and deleting a reaction.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReactionResponse {
    pub message: Message,
    pub reaction: Reaction,
}

/// Answer to `GET /messages/{id}/reactions`.
#[derive(Debug, Serialize, ToSchema)]
pub struct GetReactionsResponse {
    pub reactions: Vec<Reaction>,
}
