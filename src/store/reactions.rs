//! Reactions, and the aggregates that each message carries (`messages.reactions`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use wire::{RawObject, Timestamp};

use super::messages::Message;
use super::{ChannelWrite, Result, Store};
use crate::limits;

/// One reaction (`reactions`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Reaction {
    pub message_id: String,
    pub user_id: String,
    #[sqlx(rename = "type")]
    #[serde(rename = "type")]
    pub kind: String,
    pub score: i64,
    #[sqlx(json)]
    pub custom: RawObject,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// All reactions of one type, in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub count: i64,
    pub sum_scores: i64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

/// What a message knows of its reactions without reading them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Aggregates {
    pub groups: BTreeMap<String, Group>,
    /// The newest, newest first.
    pub latest: Vec<Reaction>,
}

impl Store {
    /// A page of a message's reactions, newest first.
    ///
    /// # Errors
    /// Postgres.
    pub async fn reactions(&self, message_id: &str, limit: i64, offset: i64) -> Result<Vec<Reaction>> {
        let reactions = sqlx::query_as(
            "SELECT * FROM reactions WHERE message_id = $1 ORDER BY created_at DESC, user_id, type LIMIT $2 OFFSET $3",
        )
        .bind(message_id)
        .bind(limit)
        .bind(offset)
        .fetch_all(self.pool())
        .await?;
        Ok(reactions)
    }

    /// What one user did to several messages. `most` is how many these can be: where an answer has no room for all the custom data
    /// of so many, those with more than their share come without it ([`limits::ANSWER_REACTIONS_BYTES_MAX`]).
    ///
    /// # Errors
    /// Postgres.
    pub async fn own_reactions(&self, message_ids: &[String], user_id: &str, most: usize) -> Result<Vec<Reaction>> {
        let reactions = sqlx::query_as(
            "SELECT r.message_id, r.user_id, r.type, r.score, r.created_at, r.updated_at,
                 CASE WHEN octet_length(r.custom::text) <= $3 THEN r.custom ELSE '{}' END AS custom
             FROM unnest($1::text[]) AS m (id) JOIN reactions r ON r.message_id = m.id AND r.user_id = $2
             ORDER BY r.created_at DESC",
        )
        .bind(message_ids)
        .bind(user_id)
        .bind((limits::ANSWER_REACTIONS_BYTES_MAX / most.max(1)) as i64)
        .fetch_all(self.pool())
        .await?;
        Ok(reactions)
    }
}

impl ChannelWrite {
    /// Writes a reaction and says whether it is a new one; the birth of an existing one is kept.
    ///
    /// # Errors
    /// Postgres.
    pub async fn put_reaction(&mut self, reaction: &Reaction) -> Result<(Reaction, bool)> {
        let existed: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM reactions WHERE message_id = $1 AND user_id = $2 AND type = $3)",
        )
        .bind(&reaction.message_id)
        .bind(&reaction.user_id)
        .bind(&reaction.kind)
        .fetch_one(self.connection())
        .await?;
        let row = sqlx::query_as(
            "INSERT INTO reactions (message_id, user_id, type, score, custom, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6)
             ON CONFLICT (message_id, user_id, type) DO UPDATE SET score = $4, custom = $5, updated_at = $6 RETURNING *",
        )
        .bind(&reaction.message_id)
        .bind(&reaction.user_id)
        .bind(&reaction.kind)
        .bind(reaction.score)
        .bind(Json(&reaction.custom))
        .bind(reaction.updated_at)
        .fetch_one(self.connection())
        .await?;
        Ok((row, !existed))
    }

    /// Removes a user's reactions of one type, or of all types but one, and gives back those that there were.
    ///
    /// # Errors
    /// Postgres.
    pub async fn remove_reactions(
        &mut self,
        message_id: &str,
        user_id: &str,
        only: Option<&str>,
        but: Option<&str>,
    ) -> Result<Vec<Reaction>> {
        let removed = sqlx::query_as(
            "DELETE FROM reactions WHERE message_id = $1 AND user_id = $2
               AND ($3::text IS NULL OR type = $3) AND ($4::text IS NULL OR type <> $4) RETURNING *",
        )
        .bind(message_id)
        .bind(user_id)
        .bind(only)
        .bind(but)
        .fetch_all(self.connection())
        .await?;
        Ok(removed)
    }

    /// Counts a message's reactions anew and writes the result into the message.
    ///
    /// # Errors
    /// Postgres.
    pub async fn count_reactions(&mut self, message_id: &str) -> Result<Message> {
        let groups: Vec<(String, i64, i64, Timestamp, Timestamp)> = sqlx::query_as(
            "SELECT type, count(*), sum(score)::bigint, min(created_at), max(created_at) FROM reactions
             WHERE message_id = $1 GROUP BY type",
        )
        .bind(message_id)
        .fetch_all(self.connection())
        .await?;
        let latest: Vec<Reaction> = sqlx::query_as(
            "SELECT * FROM reactions WHERE message_id = $1 ORDER BY created_at DESC, user_id, type LIMIT $2",
        )
        .bind(message_id)
        .bind(limits::LATEST_REACTIONS as i64)
        .fetch_all(self.connection())
        .await?;
        let groups = groups
            .into_iter()
            .map(|(kind, count, sum_scores, first_at, last_at)| (kind, Group { count, sum_scores, first_at, last_at }))
            .collect();
        let aggregates = Aggregates { groups, latest };
        let message = sqlx::query_as("UPDATE messages SET reactions = $2 WHERE id = $1 RETURNING *")
            .bind(message_id)
            .bind((!aggregates.groups.is_empty()).then_some(Json(&aggregates)))
            .fetch_one(self.connection())
            .await?;
        Ok(message)
    }
}
