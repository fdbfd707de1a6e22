//! Channels: what people set about them (`channels`) and where their logs stand (`channel_heads`).

use sqlx::types::Json;
use tokio::time::Instant;
use wire::{Cid, RawObject, Timestamp};

use super::write::Head;
use super::{ChannelWrite, Result, Store, Write};
use crate::events::Event;
use crate::lanes::Turn;
use crate::limits;

/// A channel as people set it (`channels`). Cached in every node; what changes with each message is in [`Head`].
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Channel {
    pub id: i64,
    #[sqlx(try_from = "String")]
    pub cid: Cid,
    pub team: Option<String>,
    pub created_by: Option<String>,
    #[sqlx(json)]
    pub custom: RawObject,
    pub frozen: bool,
    pub disabled: bool,
    pub cooldown: i32,
    pub filter_tags: Vec<String>,
    #[sqlx(json(nullable))]
    pub config_overrides: Option<RawObject>,
    pub member_count: i64,
    /// How often rights have been taken away here, as in [`Head::rights`].
    pub rights: i64,
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
    pub custom: RawObject,
    pub frozen: bool,
    pub disabled: bool,
    pub cooldown: i32,
    pub filter_tags: Vec<String>,
    pub config_overrides: Option<RawObject>,
}

/// What became of a wish to create a channel.
pub struct Creation {
    pub write: ChannelWrite,
    /// As it is under the lock.
    pub channel: Channel,
    /// It was not there before.
    pub is_new: bool,
}

impl Creation {
    /// The same, which stays in its lane until it ends.
    pub(super) fn on(self, turn: Turn) -> Self {
        Self { write: self.write.on(turn), ..self }
    }
}

/// How many messages of a channel would be left behind a point in time, and what the channel's head said when they were counted.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub struct Remainder {
    left: i64,
    message_seq: i64,
    message_count: i64,
}

impl Remainder {
    /// How many are left now that the lock is held, if nothing but sending happened since they were counted.
    pub fn under(&self, head: &Head) -> Option<i64> {
        let sent = head.message_seq - self.message_seq;
        (head.message_count - self.message_count == sent).then_some(self.left + sent)
    }

    /// The same whatever happened: messages deleted meanwhile are taken for some that are left.
    pub fn about(&self, head: &Head) -> i64 {
        (self.left + head.message_count - self.message_count).max(0)
    }
}

impl Store {
    /// Counts what a truncation up to a time would leave, before the channel is locked for it: that may be a million.
    ///
    /// # Errors
    /// Postgres.
    pub async fn messages_after(&self, channel_id: i64, at: Timestamp) -> Result<Option<Remainder>> {
        let remainder = sqlx::query_as(
            "SELECT h.message_seq, h.message_count,
                 (SELECT count(*) FROM messages WHERE channel_id = $1 AND id IS NOT NULL AND deleted_at IS NULL
                      AND seq > greatest(h.floor_seq, message_seq_at($1, $2, false))) AS left
             FROM channel_heads h WHERE h.channel_id = $1",
        )
        .bind(channel_id)
        .bind(at)
        .fetch_optional(self.pool())
        .await?;
        Ok(remainder)
    }

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

    /// Creates a channel and takes its lock, or takes the lock of the one that has the name. Nothing, if that one lost the name
    /// meanwhile.
    ///
    /// # Errors
    /// Postgres.
    pub(super) async fn create_channel(mut self, new: &NewChannel, give_up: Instant) -> Result<Option<Creation>> {
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
        if let Some(channel) = created {
            sqlx::query("INSERT INTO channel_heads (channel_id) VALUES ($1)")
                .bind(channel.id)
                .execute(self.connection())
                .await?;
            let write = self.lock_channel(channel.id, give_up).await?;
            let write = write.ok_or(super::StoreError::Inconsistent("a channel without a head"))?;
            return Ok(Some(Creation { write, channel, is_new: true }));
        }
        let existing: Option<i64> = sqlx::query_scalar("SELECT id FROM channels WHERE cid = $1")
            .bind(new.cid.as_str())
            .fetch_optional(self.connection())
            .await?;
        let Some(id) = existing else { return Ok(None) };
        let Some(mut write) = self.lock_channel(id, give_up).await? else { return Ok(None) };
        let channel = write.channel().await?;
        let creation = Creation { write, channel, is_new: false };
        Ok(Some(creation).filter(|creation| creation.channel.cid == new.cid))
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

    /// Notes that this transaction takes rights away: from its commit on, nothing is written by what was allowed before
    /// (docs/adr/0022).
    ///
    /// # Errors
    /// Postgres.
    pub async fn take_rights(&mut self) -> Result<()> {
        self.head.rights += 1;
        let (id, rights) = (self.head.channel_id, self.head.rights);
        sqlx::query("UPDATE channels SET rights = $2 WHERE id = $1")
            .bind(id)
            .bind(rights)
            .execute(self.connection())
            .await?;
        Ok(())
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

    /// Forgets messages up to a number: they are hidden, and taken away afterwards if `remove`. Unread numbers and counts follow.
    /// `left` is how many remain.
    ///
    /// # Errors
    /// Postgres.
    pub async fn truncate_messages(&mut self, up_to_seq: i64, left: i64, remove: bool) -> Result<()> {
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
            self.remove_messages_later(up_to_seq).await?;
        }
        // Times grow with numbers, so the newest one that is left has the latest.
        self.head.last_message_at = sqlx::query_scalar(
            "SELECT created_at FROM messages
             WHERE channel_id = $1 AND seq > $2 AND id IS NOT NULL AND deleted_at IS NULL ORDER BY seq DESC LIMIT 1",
        )
        .bind(id)
        .bind(self.head.floor_seq)
        .fetch_optional(self.connection())
        .await?;
        self.head.message_count = left;
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

    /// Takes the channel's name away, so that another can have it, and everything in it but its log later. Nobody finds it any
    /// more: its row lasts until the rest is gone, under a name that no channel is given.
    ///
    /// # Errors
    /// Postgres.
    pub async fn bury(&mut self) -> Result<()> {
        let (id, now) = (self.head.channel_id, self.now());
        sqlx::query(
            "UPDATE channels SET cid = type || ':!deleted-' || id, deleted_at = coalesce(deleted_at, $2) WHERE id = $1",
        )
        .bind(id)
        .bind(now)
        .execute(self.connection())
        .await?;
        self.unnumbered_event(Event::internal("channel.buried", now));
        self.remove_channel_later().await
    }

    /// Makes another channel in the place of this one, which is deleted: a new row with a new key. Nothing that belongs to
    /// the old key (messages, members, the log, who listens) has to do with the new one.
    ///
    /// # Errors
    /// Postgres.
    pub async fn replace_channel(mut self, new: &NewChannel) -> Result<Option<Creation>> {
        self.bury().await?;
        let (write, turn) = self.into_parts();
        let give_up = turn.as_ref().map_or_else(|| Instant::now() + limits::LOCK_WAIT, |turn| turn.give_up);
        let creation = write.create_channel(new, give_up).await?;
        Ok(match turn {
            Some(turn) => creation.map(|creation| creation.on(turn)),
            None => creation,
        })
    }
}
