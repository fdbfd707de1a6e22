//! What only the rooms surface asks for.

use wire::Timestamp;

use super::{ChannelWrite, Result, Store};
use crate::limits;

/// A flag, poll, reminder or the like (`room_things`).
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Thing {
    pub id: i64,
    pub kind: String,
    pub user_id: String,
    /// The message or thing that it belongs to; empty for none.
    pub about: String,
    pub text: String,
    pub due_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl Store {
    /// Ends a session for as long as its cookie lasts.
    ///
    /// # Errors
    /// Postgres.
    pub async fn end_session(&self, id: u64) -> Result<()> {
        sqlx::query("INSERT INTO ended_sessions (id) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(id as i64)
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// # Errors
    /// Postgres.
    pub async fn is_session_ended(&self, id: u64) -> Result<bool> {
        let ended = sqlx::query_scalar("SELECT EXISTS (SELECT FROM ended_sessions WHERE id = $1)")
            .bind(id as i64)
            .fetch_one(self.pool())
            .await?;
        Ok(ended)
    }

    /// Forgets ended sessions whose cookies are over.
    ///
    /// # Errors
    /// Postgres.
    pub async fn forget_ended_sessions(&self) -> Result<()> {
        sqlx::query("DELETE FROM ended_sessions WHERE ended_at < clock_timestamp() - make_interval(secs => $1)")
            .bind(limits::SESSION_COOKIE_SECONDS as f64)
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// Keeps a thing, and of its owner's others of the kind only the newest: `most` all in all.
    ///
    /// # Errors
    /// Postgres.
    pub async fn insert_thing(&self, thing: &Thing, most: i64) -> Result<()> {
        sqlx::query(
            "WITH kept AS (INSERT INTO room_things (id, kind, user_id, about, text, due_at, created_at)
                           VALUES ($1, $2, $3, $4, $5, $6, $7))
             DELETE FROM room_things WHERE user_id = $3 AND kind = $2 AND id <= (
                 SELECT id FROM room_things WHERE user_id = $3 AND kind = $2 ORDER BY id DESC OFFSET $8 LIMIT 1)",
        )
        .bind(thing.id)
        .bind(&thing.kind)
        .bind(&thing.user_id)
        .bind(&thing.about)
        .bind(&thing.text)
        .bind(thing.due_at)
        .bind(thing.created_at)
        .bind(most - 1)
        .execute(self.change())
        .await?;
        Ok(())
    }

    /// Somebody's newest things of a kind, the newest first; of those with a due time only what is due at `due`, if that is given.
    ///
    /// # Errors
    /// Postgres.
    pub async fn things(&self, user_id: &str, kind: &str, due: Option<Timestamp>, limit: i64) -> Result<Vec<Thing>> {
        let things = sqlx::query_as(
            "SELECT * FROM room_things WHERE user_id = $1 AND kind = $2 AND ($3::timestamptz IS NULL OR due_at <= $3)
             ORDER BY id DESC LIMIT $4",
        )
        .bind(user_id)
        .bind(kind)
        .bind(due)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        Ok(things)
    }

    /// # Errors
    /// Postgres.
    pub async fn thing(&self, id: i64, kind: &str) -> Result<Option<Thing>> {
        let thing = sqlx::query_as("SELECT * FROM room_things WHERE id = $1 AND kind = $2")
            .bind(id)
            .bind(kind)
            .fetch_optional(self.pool())
            .await?;
        Ok(thing)
    }

    /// Deletes a thing and what belongs to it.
    ///
    /// # Errors
    /// Postgres.
    pub async fn delete_thing(&self, id: i64) -> Result<()> {
        sqlx::query("DELETE FROM room_things WHERE id = $1 OR (kind = 'poll_option' AND about = $1::text)")
            .bind(id)
            .execute(self.change())
            .await?;
        Ok(())
    }

    /// The first messages of threads that a user takes part in, the most recently read first: their channels and ids.
    ///
    /// # Errors
    /// Postgres.
    pub async fn threads_of(&self, user_id: &str, limit: i64) -> Result<Vec<(i64, String)>> {
        let parents = sqlx::query_as(
            "SELECT m.channel_id, m.id FROM thread_reads t JOIN messages m ON m.id = t.parent_id AND m.deleted_at IS NULL
             WHERE t.user_id = $1 ORDER BY t.last_read_at DESC, m.id LIMIT $2",
        )
        .bind(user_id)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        Ok(parents)
    }
}

impl ChannelWrite {
    /// Has somebody else removed any of these users from the channel?
    ///
    /// # Errors
    /// Postgres.
    pub async fn are_shut_out(&mut self, user_ids: &[String]) -> Result<bool> {
        if user_ids.is_empty() {
            return Ok(false);
        }
        let id = self.head.channel_id;
        let shut_out =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM shut_out WHERE channel_id = $1 AND user_id = ANY ($2))")
                .bind(id)
                .bind(user_ids)
                .fetch_one(self.connection())
                .await?;
        Ok(shut_out)
    }

    /// Users who were removed by others do not come back by themselves, nor write what they have begun to. That they had gone a moment
    /// before is no way round it.
    ///
    /// # Errors
    /// Postgres.
    pub async fn shut_out(&mut self, user_ids: &[String]) -> Result<()> {
        if user_ids.is_empty() {
            return Ok(());
        }
        let id = self.head.channel_id;
        sqlx::query("INSERT INTO shut_out (channel_id, user_id) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING")
            .bind(id)
            .bind(user_ids)
            .execute(self.connection())
            .await?;
        self.take_rights().await
    }

    /// Users who were added by others come and go as they like again.
    ///
    /// # Errors
    /// Postgres.
    pub async fn let_in(&mut self, user_ids: &[String]) -> Result<()> {
        if user_ids.is_empty() {
            return Ok(());
        }
        let id = self.head.channel_id;
        sqlx::query("DELETE FROM shut_out WHERE channel_id = $1 AND user_id = ANY ($2)")
            .bind(id)
            .bind(user_ids)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
