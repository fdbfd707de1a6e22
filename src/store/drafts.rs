//! Drafts. One that is sent is deleted by the statement that writes its message (appender.rs, and [`Write::delete_draft`] for
//! replies).

use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use wire::Timestamp;
use wire::message::MessageType;

use super::messages::MessageData;
use super::{Result, Store, Write};
use crate::limits;

/// A draft (`drafts`). As JSON it is also what the cluster keeps of it in front of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Draft {
    pub user_id: String,
    pub channel_id: i64,
    /// The thread that it is for; empty for the channel itself.
    pub parent_id: String,
    #[sqlx(json)]
    pub message: DraftMessage,
    /// When it was last saved.
    pub created_at: Timestamp,
}

/// The message in a draft (`drafts.message`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DraftMessage {
    pub id: String,
    pub text: String,
    pub kind: MessageType,
    #[serde(default)]
    pub show_in_channel: bool,
    #[serde(default)]
    pub quoted_id: Option<String>,
    #[serde(default)]
    pub silent: bool,
    #[serde(default)]
    pub data: MessageData,
}

impl Store {
    /// Saves a draft in place of the one before. The author's oldest ones beyond [`limits::DRAFTS_MAX`] are dropped: gives back
    /// the channels and threads that they were for.
    ///
    /// # Errors
    /// Postgres.
    pub async fn put_draft(&self, draft: &Draft) -> Result<Vec<(String, String)>> {
        let dropped: Vec<(String, String)> = sqlx::query_as(
            "WITH saved AS (
                 INSERT INTO drafts (user_id, channel_id, parent_id, message, created_at) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (user_id, channel_id, parent_id) DO UPDATE SET message = $4, created_at = $5)
             DELETE FROM drafts d USING channels c WHERE c.id = d.channel_id AND d.ctid = ANY (ARRAY(
                 SELECT ctid FROM drafts WHERE user_id = $1 AND (channel_id, parent_id) <> ($2, $3)
                 ORDER BY created_at DESC OFFSET $6))
             RETURNING c.cid, d.parent_id",
        )
        .bind(&draft.user_id)
        .bind(draft.channel_id)
        .bind(&draft.parent_id)
        .bind(Json(&draft.message))
        .bind(draft.created_at)
        .bind(limits::DRAFTS_MAX - 1)
        .fetch_all(self.change())
        .await?;
        Ok(dropped)
    }

    /// # Errors
    /// Postgres.
    pub async fn draft(&self, user_id: &str, channel_id: i64, parent_id: &str) -> Result<Option<Draft>> {
        let draft = sqlx::query_as("SELECT * FROM drafts WHERE user_id = $1 AND channel_id = $2 AND parent_id = $3")
            .bind(user_id)
            .bind(channel_id)
            .bind(parent_id)
            .fetch_optional(self.pool())
            .await?;
        Ok(draft)
    }

    /// A user's drafts for channels themselves, not for their threads.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channel_drafts(&self, user_id: &str, channel_ids: &[i64]) -> Result<Vec<Draft>> {
        let drafts =
            sqlx::query_as("SELECT * FROM drafts WHERE user_id = $1 AND channel_id = ANY($2) AND parent_id = ''")
                .bind(user_id)
                .bind(channel_ids)
                .fetch_all(self.pool())
                .await?;
        Ok(drafts)
    }
}

impl Write {
    /// Deletes a draft; was there one?
    ///
    /// # Errors
    /// Postgres.
    pub async fn delete_draft(&mut self, user_id: &str, channel_id: i64, parent_id: &str) -> Result<bool> {
        let deleted = sqlx::query("DELETE FROM drafts WHERE user_id = $1 AND channel_id = $2 AND parent_id = $3")
            .bind(user_id)
            .bind(channel_id)
            .bind(parent_id)
            .execute(self.connection())
            .await?;
        Ok(deleted.rows_affected() > 0)
    }
}
