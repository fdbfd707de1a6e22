//! The app's one row, and the channel types.

use serde_json::{Map, Value};
use sqlx::types::Json;
use wire::Timestamp;

use super::{Result, Store, Write};

/// The app (`app`).
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AppRow {
    #[sqlx(json)]
    pub settings: Map<String, Value>,
    pub revoke_tokens_issued_before: Option<Timestamp>,
}

/// A channel type (`channel_types`): what differs from the defaults in code.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ChannelTypeRow {
    pub name: String,
    #[sqlx(json)]
    pub config: Map<String, Value>,
    #[sqlx(json)]
    pub grants: Map<String, Value>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Store {
    /// The app and its channel types.
    ///
    /// # Errors
    /// Postgres.
    pub async fn app(&self) -> Result<(AppRow, Vec<ChannelTypeRow>)> {
        let app =
            sqlx::query_as("SELECT settings, revoke_tokens_issued_before FROM app").fetch_one(self.pool()).await?;
        let types =
            sqlx::query_as("SELECT name, config, grants, created_at, updated_at FROM channel_types ORDER BY name")
                .fetch_all(self.pool())
                .await?;
        Ok((app, types))
    }
}

impl Write {
    /// The app's row, locked until the commit.
    ///
    /// # Errors
    /// Postgres.
    pub async fn lock_app(&mut self) -> Result<AppRow> {
        let app = sqlx::query_as("SELECT settings, revoke_tokens_issued_before FROM app FOR UPDATE")
            .fetch_one(self.connection())
            .await?;
        Ok(app)
    }

    /// A channel type as it is now.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channel_type(&mut self, name: &str) -> Result<Option<ChannelTypeRow>> {
        let row =
            sqlx::query_as("SELECT name, config, grants, created_at, updated_at FROM channel_types WHERE name = $1")
                .bind(name)
                .fetch_optional(self.connection())
                .await?;
        Ok(row)
    }

    /// # Errors
    /// Postgres.
    pub async fn update_app(&mut self, app: &AppRow) -> Result<()> {
        sqlx::query("UPDATE app SET settings = $1, revoke_tokens_issued_before = $2, updated_at = clock_timestamp()")
            .bind(Json(&app.settings))
            .bind(app.revoke_tokens_issued_before)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Creates or replaces a channel type.
    ///
    /// # Errors
    /// Postgres.
    pub async fn put_channel_type(
        &mut self,
        name: &str,
        config: &Map<String, Value>,
        grants: &Map<String, Value>,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO channel_types (name, config, grants) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET config = $2, grants = $3, updated_at = clock_timestamp()",
        )
        .bind(name)
        .bind(Json(config))
        .bind(Json(grants))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Deletes a channel type, unless a channel uses it. Says whether it did.
    ///
    /// # Errors
    /// Postgres.
    pub async fn delete_channel_type(&mut self, name: &str) -> Result<bool> {
        let done = sqlx::query(
            "DELETE FROM channel_types t WHERE name = $1
             AND NOT EXISTS (SELECT FROM channels c WHERE c.type = t.name AND c.deleted_at IS NULL)",
        )
        .bind(name)
        .execute(self.connection())
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
