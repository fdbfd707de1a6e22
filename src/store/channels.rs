//! Channels: what people set about them (`channels`) and where their logs stand (`channel_heads`).

use serde_json::{Map, Value};
use sqlx::types::Json;
use wire::{Cid, Timestamp};

use super::write::Head;
use super::{ChannelWrite, Result, Store, Write};

/// A channel as people set it (`channels`). Cached in every node; what changes with each message is in [`Head`].
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Channel {
    pub id: i64,
    #[sqlx(try_from = "String")]
    pub cid: Cid,
    pub team: Option<String>,
    pub created_by: Option<String>,
    #[sqlx(json)]
    pub custom: Map<String, Value>,
    pub frozen: bool,
    pub disabled: bool,
    pub cooldown: i32,
    pub filter_tags: Vec<String>,
    #[sqlx(json(nullable))]
    pub config_overrides: Option<Map<String, Value>>,
    pub member_count: i64,
    pub truncated_at: Option<Timestamp>,
    pub truncated_by: Option<String>,
    pub deleted_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What a new channel begins with.
#[derive(Clone, Debug)]
pub struct NewChannel {
    pub cid: Cid,
    pub team: Option<String>,
    pub created_by: Option<String>,
    pub custom: Map<String, Value>,
    pub frozen: bool,
    pub disabled: bool,
    pub cooldown: i32,
    pub filter_tags: Vec<String>,
    pub config_overrides: Option<Map<String, Value>>,
}

impl Store {
    /// # Errors
    /// Postgres.
    pub async fn channel_by_cid(&self, cid: &Cid) -> Result<Option<Channel>> {
        let channel = sqlx::query_as("SELECT * FROM channels WHERE cid = $1")
            .bind(cid.as_str())
            .fetch_optional(self.pool())
            .await?;
        Ok(channel)
    }

    /// # Errors
    /// Postgres.
    pub async fn channel_by_id(&self, id: i64) -> Result<Option<Channel>> {
        let channel =
            sqlx::query_as("SELECT * FROM channels WHERE id = $1").bind(id).fetch_optional(self.pool()).await?;
        Ok(channel)
    }

    /// Channels by their keys, in no order.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channels_by_ids(&self, ids: &[i64]) -> Result<Vec<Channel>> {
        let channels =
            sqlx::query_as("SELECT * FROM channels WHERE id = ANY($1)").bind(ids).fetch_all(self.pool()).await?;
        Ok(channels)
    }

    /// Channels by their cids, in no order; deleted ones are left out.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channels_by_cids(&self, cids: &[String]) -> Result<Vec<Channel>> {
        let channels = sqlx::query_as("SELECT * FROM channels WHERE cid = ANY($1) AND deleted_at IS NULL")
            .bind(cids)
            .fetch_all(self.pool())
            .await?;
        Ok(channels)
    }

    /// Where the logs of channels stand, in no order.
    ///
    /// # Errors
    /// Postgres.
    pub async fn heads(&self, channel_ids: &[i64]) -> Result<Vec<Head>> {
        let heads = sqlx::query_as("SELECT * FROM channel_heads WHERE channel_id = ANY($1)")
            .bind(channel_ids)
            .fetch_all(self.pool())
            .await?;
        Ok(heads)
    }
}

impl Write {
    /// Channels by their keys, in no order.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channels(&mut self, ids: &[i64]) -> Result<Vec<Channel>> {
        let channels =
            sqlx::query_as("SELECT * FROM channels WHERE id = ANY($1)").bind(ids).fetch_all(self.connection()).await?;
        Ok(channels)
    }

    /// Creates a channel and takes its lock, or takes the lock of the one that exists. Says which it was.
    ///
    /// # Errors
    /// Postgres.
    pub(super) async fn create_channel(mut self, new: &NewChannel) -> Result<(ChannelWrite, Channel, bool)> {
        let created: Option<Channel> = sqlx::query_as(
            "INSERT INTO channels (cid, type, team, created_by, custom, frozen, disabled, cooldown, filter_tags, config_overrides)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (cid) DO NOTHING RETURNING *",
        )
        .bind(new.cid.as_str())
        .bind(new.cid.channel_type())
        .bind(&new.team)
        .bind(&new.created_by)
        .bind(Json(&new.custom))
        .bind(new.frozen)
        .bind(new.disabled)
        .bind(new.cooldown)
        .bind(&new.filter_tags)
        .bind(new.config_overrides.as_ref().map(Json))
        .fetch_optional(self.connection())
        .await?;
        let is_new = created.is_some();
        let channel = match created {
            Some(channel) => {
                sqlx::query("INSERT INTO channel_heads (channel_id) VALUES ($1)")
                    .bind(channel.id)
                    .execute(self.connection())
                    .await?;
                channel
            }
            None => {
                sqlx::query_as("SELECT * FROM channels WHERE cid = $1")
                    .bind(new.cid.as_str())
                    .fetch_one(self.connection())
                    .await?
            }
        };
        let write = self.lock_channel(channel.id).await?;
        Ok((write.ok_or(super::StoreError::Inconsistent("a channel without a head"))?, channel, is_new))
    }
}

impl ChannelWrite {
    /// The channel's row as it is under the lock.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channel(&mut self) -> Result<Channel> {
        let id = self.head.channel_id;
        let channel =
            sqlx::query_as("SELECT * FROM channels WHERE id = $1").bind(id).fetch_one(self.connection()).await?;
        Ok(channel)
    }

    /// Replaces the channel's row but for its key, cid, birth and member count.
    ///
    /// # Errors
    /// Postgres.
    pub async fn put_channel(&mut self, channel: &Channel) -> Result<Channel> {
        let now = self.now();
        let row = sqlx::query_as(
            "UPDATE channels SET team = $2, created_by = $3, custom = $4, frozen = $5, disabled = $6, cooldown = $7,
                 filter_tags = $8, config_overrides = $9, truncated_at = $10, truncated_by = $11, deleted_at = $12,
                 updated_at = $13
             WHERE id = $1 RETURNING *",
        )
        .bind(channel.id)
        .bind(&channel.team)
        .bind(&channel.created_by)
        .bind(Json(&channel.custom))
        .bind(channel.frozen)
        .bind(channel.disabled)
        .bind(channel.cooldown)
        .bind(&channel.filter_tags)
        .bind(channel.config_overrides.as_ref().map(Json))
        .bind(channel.truncated_at)
        .bind(&channel.truncated_by)
        .bind(channel.deleted_at)
        .bind(now)
        .fetch_one(self.connection())
        .await?;
        Ok(row)
    }

    /// Counts members who came and went.
    ///
    /// # Errors
    /// Postgres.
    pub async fn change_member_count(&mut self, by: i64) -> Result<Channel> {
        let id = self.head.channel_id;
        let row = sqlx::query_as("UPDATE channels SET member_count = member_count + $2 WHERE id = $1 RETURNING *")
            .bind(id)
            .bind(by)
            .fetch_one(self.connection())
            .await?;
        Ok(row)
    }

    /// Forgets messages up to a number: they are hidden, and removed if `remove`. Unread numbers and counts follow.
    ///
    /// # Errors
    /// Postgres.
    pub async fn truncate_messages(&mut self, up_to_seq: i64, remove: bool) -> Result<()> {
        let id = self.head.channel_id;
        let counted: Option<i64> = sqlx::query_scalar(
            "SELECT counted FROM messages WHERE channel_id = $1 AND seq <= $2 ORDER BY seq DESC LIMIT 1",
        )
        .bind(id)
        .bind(up_to_seq)
        .fetch_optional(self.connection())
        .await?;
        self.head.floor_counted = counted.unwrap_or(0).max(self.head.floor_counted);
        self.head.floor_seq = up_to_seq.max(self.head.floor_seq);
        if remove {
            sqlx::query(
                "DELETE FROM reactions WHERE message_id IN (SELECT id FROM messages WHERE channel_id = $1 AND seq <= $2)",
            )
            .bind(id)
            .bind(up_to_seq)
            .execute(self.connection())
            .await?;
            sqlx::query("DELETE FROM messages WHERE channel_id = $1 AND seq <= $2")
                .bind(id)
                .bind(up_to_seq)
                .execute(self.connection())
                .await?;
        }
        let (left, last): (i64, Option<Timestamp>) = sqlx::query_as(
            "SELECT count(*), max(created_at) FROM messages
             WHERE channel_id = $1 AND seq > $2 AND id IS NOT NULL AND deleted_at IS NULL",
        )
        .bind(id)
        .bind(self.head.floor_seq)
        .fetch_one(self.connection())
        .await?;
        self.head.message_count = left;
        self.head.last_message_at = last;
        Ok(())
    }

    /// Number of the newest message at a point in time.
    ///
    /// # Errors
    /// Postgres.
    pub async fn message_seq_at(&mut self, at: Timestamp) -> Result<i64> {
        let id = self.head.channel_id;
        let seq = sqlx::query_scalar("SELECT message_seq_at($1, $2, false)")
            .bind(id)
            .bind(at)
            .fetch_one(self.connection())
            .await?;
        Ok(seq)
    }

    /// Removes every member, for a channel that is deleted or begins anew.
    ///
    /// # Errors
    /// Postgres.
    pub async fn clear_members(&mut self) -> Result<()> {
        let id = self.head.channel_id;
        for statement in [
            "DELETE FROM members WHERE channel_id = $1",
            "DELETE FROM channel_mutes WHERE channel_id = $1",
            "DELETE FROM thread_reads WHERE channel_id = $1",
            "UPDATE channels SET member_count = 0 WHERE id = $1",
        ] {
            sqlx::query(statement).bind(id).execute(self.connection()).await?;
        }
        Ok(())
    }

    /// Removes the channel and everything in it but its log, commits, and gives back what is now to be announced.
    ///
    /// # Errors
    /// Postgres.
    pub async fn delete_for_good(mut self) -> Result<Vec<crate::events::Event>> {
        let id = self.head.channel_id;
        for statement in [
            "DELETE FROM reactions WHERE message_id IN (SELECT id FROM messages WHERE channel_id = $1)",
            "DELETE FROM messages WHERE channel_id = $1",
            "DELETE FROM channels WHERE id = $1",
        ] {
            sqlx::query(statement).bind(id).execute(self.connection()).await?;
        }
        self.commit().await
    }
}
