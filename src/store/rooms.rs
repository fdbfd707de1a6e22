//! What only the rooms surface asks for.

use wire::Timestamp;

use super::messages::Message;
use super::{Result, Store};

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
    /// # Errors
    /// Postgres.
    pub async fn insert_thing(&self, thing: &Thing) -> Result<()> {
        sqlx::query(
            "INSERT INTO room_things (id, kind, user_id, about, text, due_at, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(thing.id)
        .bind(&thing.kind)
        .bind(&thing.user_id)
        .bind(&thing.about)
        .bind(&thing.text)
        .bind(thing.due_at)
        .bind(thing.created_at)
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
        sqlx::query("DELETE FROM room_things WHERE id = $1 OR about = $1::text")
            .bind(id)
            .execute(self.change())
            .await?;
        Ok(())
    }

    /// Deletes somebody's things of a kind, but for the newest.
    ///
    /// # Errors
    /// Postgres.
    pub async fn keep_newest_thing(&self, user_id: &str, kind: &str) -> Result<()> {
        sqlx::query(
            "DELETE FROM room_things WHERE user_id = $1 AND kind = $2
             AND id < (SELECT max(id) FROM room_things WHERE user_id = $1 AND kind = $2)",
        )
        .bind(user_id)
        .bind(kind)
        .execute(self.change())
        .await?;
        Ok(())
    }

    /// The first messages of threads that a user takes part in, the most recently read first.
    ///
    /// # Errors
    /// Postgres.
    pub async fn threads_of(&self, user_id: &str, limit: i64) -> Result<Vec<Message>> {
        let parents = sqlx::query_as(
            "SELECT m.* FROM thread_reads t JOIN messages m ON m.id = t.parent_id AND m.deleted_at IS NULL
             WHERE t.user_id = $1 ORDER BY t.last_read_at DESC, m.id LIMIT $2",
        )
        .bind(user_id)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        Ok(parents)
    }
}
