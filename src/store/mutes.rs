//! Mutes of channels and of users.

use wire::Timestamp;

use super::{Result, Store, Write};

/// A mute of a channel (`channel_mutes`).
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ChannelMute {
    pub user_id: String,
    pub channel_id: i64,
    pub expires: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A mute of a user (`user_mutes`).
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct UserMute {
    pub user_id: String,
    pub target_id: String,
    pub expires: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Store {
    /// The channels that users have muted now.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channel_mutes(&self, user_ids: &[String]) -> Result<Vec<ChannelMute>> {
        let mutes = sqlx::query_as(
            "SELECT * FROM channel_mutes WHERE user_id = ANY($1) AND (expires IS NULL OR expires > now()) ORDER BY created_at",
        )
        .bind(user_ids)
        .fetch_all(self.pool())
        .await?;
        Ok(mutes)
    }

    /// Of these channels, those that a user has muted now.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channel_mutes_among(&self, user_id: &str, channel_ids: &[i64]) -> Result<Vec<ChannelMute>> {
        let mutes = sqlx::query_as(
            "SELECT * FROM channel_mutes WHERE user_id = $1 AND channel_id = ANY($2) AND (expires IS NULL OR expires > now())",
        )
        .bind(user_id)
        .bind(channel_ids)
        .fetch_all(self.pool())
        .await?;
        Ok(mutes)
    }

    /// The users whom users have muted now.
    ///
    /// # Errors
    /// Postgres.
    pub async fn user_mutes(&self, user_ids: &[String]) -> Result<Vec<UserMute>> {
        let mutes = sqlx::query_as(
            "SELECT * FROM user_mutes WHERE user_id = ANY($1) AND (expires IS NULL OR expires > now()) ORDER BY created_at",
        )
        .bind(user_ids)
        .fetch_all(self.pool())
        .await?;
        Ok(mutes)
    }
}

impl Write {
    /// Mutes channels; one that is named twice, once. Gives the mutes back.
    ///
    /// # Errors
    /// Postgres.
    pub async fn mute_channels(
        &mut self,
        user_id: &str,
        channel_ids: &[i64],
        expires: Option<Timestamp>,
    ) -> Result<Vec<ChannelMute>> {
        // Memberships first, as those do who take mutes back.
        sqlx::query(
            "UPDATE members SET notifications_muted = true, notifications_muted_until = $3
             WHERE user_id = $1 AND channel_id = ANY($2)",
        )
        .bind(user_id)
        .bind(channel_ids)
        .bind(expires)
        .execute(self.connection())
        .await?;
        let mutes = sqlx::query_as(
            "INSERT INTO channel_mutes (user_id, channel_id, expires)
             SELECT DISTINCT $1, id, $3::timestamptz FROM unnest($2::bigint[]) AS c (id) ORDER BY id
             ON CONFLICT (user_id, channel_id) DO UPDATE SET expires = $3, updated_at = clock_timestamp() RETURNING *",
        )
        .bind(user_id)
        .bind(channel_ids)
        .bind(expires)
        .fetch_all(self.connection())
        .await?;
        Ok(mutes)
    }

    /// How many users and channels a user has muted, whichever are more.
    ///
    /// # Errors
    /// Postgres.
    pub async fn count_mutes(&mut self, user_id: &str) -> Result<i64> {
        let count = sqlx::query_scalar(
            "SELECT greatest((SELECT count(*) FROM user_mutes WHERE user_id = $1),
                             (SELECT count(*) FROM channel_mutes WHERE user_id = $1))",
        )
        .bind(user_id)
        .fetch_one(self.connection())
        .await?;
        Ok(count)
    }

    /// # Errors
    /// Postgres.
    pub async fn unmute_channels(&mut self, user_id: &str, channel_ids: &[i64]) -> Result<()> {
        sqlx::query(
            "WITH unmuted AS (DELETE FROM channel_mutes WHERE user_id = $1 AND channel_id = ANY($2))
             UPDATE members SET notifications_muted = false, notifications_muted_until = NULL
             WHERE user_id = $1 AND channel_id = ANY($2)",
        )
        .bind(user_id)
        .bind(channel_ids)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Mutes users; one that is named twice, once.
    ///
    /// # Errors
    /// Postgres.
    pub async fn mute_users(&mut self, user_id: &str, targets: &[String], expires: Option<Timestamp>) -> Result<()> {
        sqlx::query(
            "INSERT INTO user_mutes (user_id, target_id, expires)
             SELECT DISTINCT $1, id, $3::timestamptz FROM unnest($2::text[]) AS t (id) ORDER BY id
             ON CONFLICT (user_id, target_id) DO UPDATE SET expires = $3, updated_at = clock_timestamp()",
        )
        .bind(user_id)
        .bind(targets)
        .bind(expires)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// # Errors
    /// Postgres.
    pub async fn unmute_users(&mut self, user_id: &str, targets: &[String]) -> Result<()> {
        sqlx::query("DELETE FROM user_mutes WHERE user_id = $1 AND target_id = ANY($2)")
            .bind(user_id)
            .bind(targets)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
