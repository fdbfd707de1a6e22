//! Phones that users have registered.

use wire::Timestamp;

use super::{Result, Store};

/// A device (`devices`).
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Device {
    pub user_id: String,
    pub id: String,
    pub push_provider: String,
    pub hardware_id: Option<String>,
    pub voip: Option<bool>,
    pub created_at: Timestamp,
}

impl Store {
    /// Adds a device, unless the user has it, and drops the user's oldest ones beyond `most`.
    ///
    /// # Errors
    /// Postgres.
    pub async fn insert_device(&self, device: &Device, most: i64) -> Result<()> {
        // The deletion does not see the row that the same statement inserts: it leaves room for it.
        sqlx::query(
            "WITH added AS (
                 INSERT INTO devices (user_id, id, push_provider, hardware_id, voip) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT DO NOTHING RETURNING id)
             DELETE FROM devices WHERE user_id = $1 AND EXISTS (SELECT FROM added) AND id IN (
                 SELECT id FROM devices WHERE user_id = $1 ORDER BY created_at DESC, id OFFSET $6 - 1)",
        )
        .bind(&device.user_id)
        .bind(&device.id)
        .bind(&device.push_provider)
        .bind(&device.hardware_id)
        .bind(device.voip)
        .bind(most)
        .execute(self.change())
        .await?;
        Ok(())
    }

    /// The devices of users, the oldest first.
    ///
    /// # Errors
    /// Postgres.
    pub async fn devices(&self, user_ids: &[String]) -> Result<Vec<Device>> {
        let devices = sqlx::query_as("SELECT * FROM devices WHERE user_id = ANY($1) ORDER BY created_at, id")
            .bind(user_ids)
            .fetch_all(self.pool())
            .await?;
        Ok(devices)
    }

    /// # Errors
    /// Postgres.
    pub async fn delete_device(&self, user_id: &str, id: &str) -> Result<()> {
        sqlx::query("DELETE FROM devices WHERE user_id = $1 AND id = $2")
            .bind(user_id)
            .bind(id)
            .execute(self.change())
            .await?;
        Ok(())
    }
}
