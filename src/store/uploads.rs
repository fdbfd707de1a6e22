//! What was uploaded: who may delete it, and how it is served. The bytes are in the object store.

use super::{Result, Store};

/// An upload (`uploads`).
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Upload {
    /// Path in the object store and in the URL.
    pub key: String,
    pub channel_id: Option<i64>,
    pub user_id: String,
    pub name: String,
    pub mime_type: String,
    pub size_bytes: i64,
}

impl Store {
    /// # Errors
    /// Postgres.
    pub async fn insert_upload(&self, upload: &Upload) -> Result<()> {
        sqlx::query(
            "INSERT INTO uploads (key, channel_id, user_id, name, mime_type, size_bytes) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&upload.key)
        .bind(upload.channel_id)
        .bind(&upload.user_id)
        .bind(&upload.name)
        .bind(&upload.mime_type)
        .bind(upload.size_bytes)
        .execute(self.change())
        .await?;
        Ok(())
    }

    /// # Errors
    /// Postgres.
    pub async fn upload(&self, key: &str) -> Result<Option<Upload>> {
        let upload =
            sqlx::query_as("SELECT key, channel_id, user_id, name, mime_type, size_bytes FROM uploads WHERE key = $1")
                .bind(key)
                .fetch_optional(self.pool())
                .await?;
        Ok(upload)
    }

    /// # Errors
    /// Postgres.
    pub async fn delete_upload(&self, key: &str) -> Result<()> {
        sqlx::query("DELETE FROM uploads WHERE key = $1").bind(key).execute(self.change()).await?;
        Ok(())
    }
}
