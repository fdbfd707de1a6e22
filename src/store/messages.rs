//! Messages: reading pages of them, and changing single ones. New ones are written by the appender, replies here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::types::Json;
use wire::Timestamp;

use super::reactions::Aggregates;
use super::{ChannelWrite, Result, Store};
use crate::limits;

/// What a message holds that no query needs as a column (`messages.data`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageData {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Value>,
    /// User ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentioned_users: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mentioned_channel: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mentioned_here: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentioned_roles: Vec<String>,
    /// Set by a server; otherwise the HTML is made from the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mml: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub i18n: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// If not empty: only these users and the author see it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restricted_visibility: Vec<String>,
    /// The sender wants nobody to be pushed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_push: bool,
    /// Who deleted it, if that was no server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_by: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub custom: Map<String, Value>,
}

impl MessageData {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A message (`messages`).
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Message {
    pub channel_id: i64,
    pub seq: i64,
    pub id: String,
    pub user_id: String,
    #[sqlx(rename = "type")]
    pub kind: String,
    pub text: String,
    pub parent_id: Option<String>,
    pub show_in_channel: bool,
    pub quoted_id: Option<String>,
    pub silent: bool,
    pub shadowed: bool,
    pub counts: bool,
    pub counted: i64,
    #[sqlx(json(nullable))]
    pub data: Option<MessageData>,
    #[sqlx(json(nullable))]
    pub reactions: Option<Aggregates>,
    pub reply_count: i32,
    pub deleted_reply_count: i32,
    /// Who has replied, in the order of their first replies.
    pub participants: Vec<String>,
    pub pinned_at: Option<Timestamp>,
    pub pinned_by: Option<String>,
    pub pin_expires: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub text_updated_at: Option<Timestamp>,
    pub deleted_at: Option<Timestamp>,
}

impl Message {
    pub fn data(&self) -> std::borrow::Cow<'_, MessageData> {
        match &self.data {
            Some(data) => std::borrow::Cow::Borrowed(data),
            None => std::borrow::Cow::Owned(MessageData::default()),
        }
    }

    /// Is it pinned at this time? A pin that has run out needs nobody to take it off.
    pub fn is_pinned(&self, now: Timestamp) -> bool {
        self.pinned_at.is_some() && self.pin_expires.is_none_or(|end| end > now)
    }

    /// May everybody see it who may read the channel, as far as the message itself decides?
    pub fn is_for_everybody(&self) -> bool {
        !self.shadowed && self.data.as_ref().is_none_or(|data| data.restricted_visibility.is_empty())
    }

    /// May this user see it, as far as the message itself decides?
    pub fn is_visible_to(&self, user_id: &str) -> bool {
        let restricted = self.data.as_ref().map_or(&[][..], |data| &data.restricted_visibility);
        self.user_id == user_id
            || (!self.shadowed && (restricted.is_empty() || restricted.iter().any(|allowed| allowed == user_id)))
    }
}

/// With whose eyes messages are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reader<'a> {
    /// A server sees whatever is there.
    Server,
    User(&'a str),
    /// What any of a channel's watchers may see: for events, which are one frame for all of them.
    #[default]
    Everybody,
}

impl<'a> Reader<'a> {
    /// As the statements want it: null for a server, and for everybody an id that no user has.
    fn column(self) -> Option<&'a str> {
        match self {
            Self::Server => None,
            Self::User(id) => Some(id),
            Self::Everybody => Some(""),
        }
    }
}

/// Where a page of messages begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The newest.
    Latest,
    /// Before this number, or up to it.
    Before { seq: i64, inclusive: bool },
    /// After this number, or from it on.
    After { seq: i64, inclusive: bool },
    /// As many on both sides of this number.
    Around(i64),
}

/// Which messages to read.
#[derive(Clone, Debug)]
pub struct HistoryPage<'a> {
    pub bound: Bound,
    pub limit: i64,
    /// Messages up to this number are not shown.
    pub floor_seq: i64,
    /// Who reads; `None` for servers, who see everything.
    pub viewer: Option<&'a str>,
}

/// One channel in a read of several channels' newest messages.
#[derive(Clone, Copy, Debug)]
pub struct LatestOf {
    pub channel_id: i64,
    pub floor_seq: i64,
}

/// Messages that the reader `$2` (null: a server) may see, as far as the message itself decides.
macro_rules! visible {
    ($table:literal) => {
        concat!(
            "($2::text IS NULL OR ",
            $table,
            ".user_id = $2 OR (NOT ",
            $table,
            ".shadowed AND (",
            $table,
            ".data->'restricted_visibility' IS NULL OR ",
            $table,
            ".data->'restricted_visibility' ? $2)))"
        )
    };
}

impl Store {
    /// A message by its id, whatever its state.
    ///
    /// # Errors
    /// Postgres.
    pub async fn message(&self, id: &str) -> Result<Option<Message>> {
        let message =
            sqlx::query_as("SELECT * FROM messages WHERE id = $1").bind(id).fetch_optional(self.pool()).await?;
        Ok(message)
    }

    /// Messages by their ids, in no order.
    ///
    /// # Errors
    /// Postgres.
    pub async fn messages_by_ids(&self, ids: &[String]) -> Result<Vec<Message>> {
        let messages =
            sqlx::query_as("SELECT * FROM messages WHERE id = ANY($1)").bind(ids).fetch_all(self.pool()).await?;
        Ok(messages)
    }

    /// Of these messages those that a reader may see: neither truncated nor hidden from it with its history (`hide_history`,
    /// `clear_history`), neither shadowed nor restricted to others. Whether it may read their channels is another question.
    ///
    /// # Errors
    /// Postgres.
    pub async fn messages_seen_by(&self, reader: Reader<'_>, ids: &[String]) -> Result<Vec<Message>> {
        let messages = sqlx::query_as(concat!(
            "SELECT m.* FROM messages m JOIN channel_heads h ON h.channel_id = m.channel_id
             LEFT JOIN members r ON r.channel_id = m.channel_id AND r.user_id = $2
             WHERE m.id = ANY($1) AND m.seq > greatest(h.floor_seq, r.cleared_seq) AND ",
            visible!("m")
        ))
        .bind(ids)
        .bind(reader.column())
        .fetch_all(self.pool())
        .await?;
        Ok(messages)
    }

    /// A page of a channel, oldest first, without the replies that stay in their threads.
    ///
    /// # Errors
    /// Postgres.
    pub async fn history(&self, channel_id: i64, page: &HistoryPage<'_>) -> Result<Vec<Message>> {
        let older = concat!(
            "SELECT * FROM messages m WHERE channel_id = $1 AND seq < $4 AND seq > $3 AND id IS NOT NULL
             AND (parent_id IS NULL OR show_in_channel) AND ",
            visible!("m"),
            " ORDER BY seq DESC LIMIT $5"
        );
        let newer = concat!(
            "SELECT * FROM messages m WHERE channel_id = $1 AND seq > $4 AND seq > $3 AND id IS NOT NULL
             AND (parent_id IS NULL OR show_in_channel) AND ",
            visible!("m"),
            " ORDER BY seq LIMIT $5"
        );
        self.page(older, newer, page, |query| query.bind(channel_id)).await
    }

    /// A page of a thread, oldest first, without its parent.
    ///
    /// # Errors
    /// Postgres.
    pub async fn replies(&self, parent_id: &str, page: &HistoryPage<'_>) -> Result<Vec<Message>> {
        let older = concat!(
            "SELECT * FROM messages m WHERE parent_id = $1 AND seq < $4 AND seq > $3 AND id IS NOT NULL AND ",
            visible!("m"),
            " ORDER BY seq DESC LIMIT $5"
        );
        let newer = concat!(
            "SELECT * FROM messages m WHERE parent_id = $1 AND seq > $4 AND seq > $3 AND id IS NOT NULL AND ",
            visible!("m"),
            " ORDER BY seq LIMIT $5"
        );
        self.page(older, newer, page, |query| query.bind(parent_id.to_owned())).await
    }

    async fn page<'q>(
        &self,
        older: &'static str,
        newer: &'static str,
        page: &HistoryPage<'_>,
        bind_subject: impl Fn(QueryAs<'q>) -> QueryAs<'q>,
    ) -> Result<Vec<Message>> {
        let read = async |statement: &'static str, seq: i64, limit: i64| {
            bind_subject(sqlx::query_as(statement))
                .bind(page.viewer.map(ToOwned::to_owned))
                .bind(page.floor_seq)
                .bind(seq)
                .bind(limit)
                .fetch_all(self.pool())
                .await
        };
        let mut messages = match page.bound {
            Bound::Latest => read(older, i64::MAX, page.limit).await?,
            Bound::Before { seq, inclusive } => read(older, seq + i64::from(inclusive), page.limit).await?,
            Bound::After { seq, inclusive } => read(newer, seq - i64::from(inclusive), page.limit).await?,
            Bound::Around(seq) => {
                // Half of the page on each side, the message itself among the older; what one side lacks the other gives.
                let mut messages: Vec<Message> = read(older, seq + 1, page.limit).await?;
                let newer: Vec<Message> = read(newer, seq, page.limit).await?;
                let after = newer.len().min((page.limit / 2).max(page.limit - messages.len() as i64) as usize);
                messages.truncate(page.limit as usize - after);
                messages.extend(newer.into_iter().take(after));
                messages
            }
        };
        messages.sort_unstable_by_key(|message| message.seq);
        Ok(messages)
    }

    /// The newest messages of several channels, oldest first within each.
    ///
    /// # Errors
    /// Postgres.
    pub async fn latest_messages(
        &self,
        channels: &[LatestOf],
        viewer: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Message>> {
        let (ids, floors): (Vec<i64>, Vec<i64>) = channels.iter().map(|of| (of.channel_id, of.floor_seq)).unzip();
        let messages = sqlx::query_as(concat!(
            "SELECT m.* FROM unnest($1::bigint[], $3::bigint[]) AS c (id, floor), LATERAL (
                 SELECT * FROM messages m WHERE channel_id = c.id AND seq > c.floor AND m.id IS NOT NULL
                   AND (parent_id IS NULL OR show_in_channel) AND ",
            visible!("m"),
            "
                 ORDER BY seq DESC LIMIT $4) m ORDER BY m.channel_id, m.seq"
        ))
        .bind(ids)
        .bind(viewer)
        .bind(floors)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        Ok(messages)
    }

    /// The newest pins of several channels, newest first within each.
    ///
    /// # Errors
    /// Postgres.
    pub async fn pinned_messages(
        &self,
        channels: &[LatestOf],
        viewer: Option<&str>,
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<Message>> {
        let (ids, floors): (Vec<i64>, Vec<i64>) = channels.iter().map(|of| (of.channel_id, of.floor_seq)).unzip();
        let messages = sqlx::query_as(concat!(
            "SELECT m.* FROM unnest($1::bigint[], $3::bigint[]) AS c (id, floor), LATERAL (
                 SELECT * FROM messages m WHERE channel_id = c.id AND seq > c.floor AND pinned_at IS NOT NULL
                   AND (pin_expires IS NULL OR pin_expires > $5) AND deleted_at IS NULL AND ",
            visible!("m"),
            "
                 ORDER BY pinned_at DESC, seq DESC LIMIT $4) m ORDER BY m.channel_id, m.pinned_at DESC, m.seq DESC"
        ))
        .bind(ids)
        .bind(viewer)
        .bind(floors)
        .bind(limit)
        .bind(now)
        .fetch_all(self.pool())
        .await?;
        Ok(messages)
    }

    /// The number at which a page by time begins: the newest message at that time, or before it.
    ///
    /// # Errors
    /// Postgres.
    pub async fn message_seq_at(&self, channel_id: i64, at: Timestamp, before: bool) -> Result<i64> {
        let seq = sqlx::query_scalar("SELECT message_seq_at($1, $2, $3)")
            .bind(channel_id)
            .bind(at)
            .bind(before)
            .fetch_one(self.pool())
            .await?;
        Ok(seq)
    }
}

type QueryAs<'q> = sqlx::query::QueryAs<'q, sqlx::Postgres, Message, sqlx::postgres::PgArguments>;

/// A message that is about to be written under a channel's lock.
#[derive(Clone, Debug)]
pub struct NewMessage {
    pub id: String,
    pub user_id: String,
    pub kind: &'static str,
    pub text: String,
    pub parent_id: Option<String>,
    pub show_in_channel: bool,
    pub quoted_id: Option<String>,
    pub silent: bool,
    pub shadowed: bool,
    pub counts: bool,
    pub data: Option<MessageData>,
    pub pinned_by: Option<String>,
    pub pin_expires: Option<Timestamp>,
}

/// What a new message does to its channel besides being there.
#[derive(Clone, Copy, Debug)]
pub struct Effects {
    /// Brings the channel back for those who hid it.
    pub shows_channel: bool,
    /// Moves `last_message_at`.
    pub moves_last_message: bool,
}

impl ChannelWrite {
    /// Writes a message; `None` if its id is taken.
    ///
    /// # Errors
    /// Postgres.
    pub async fn insert_message(&mut self, new: &NewMessage, effects: Effects) -> Result<Option<Message>> {
        let now = self.now();
        let (id, seq) = (self.head.channel_id, self.head.message_seq + 1);
        let counted = self.head.counted + i64::from(new.counts);
        let message: Option<Message> = sqlx::query_as(
            "INSERT INTO messages (channel_id, seq, id, user_id, type, text, parent_id, show_in_channel, quoted_id, silent,
                 shadowed, counts, counted, data, pinned_at, pinned_by, pin_expires, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18)
             ON CONFLICT (id) DO NOTHING RETURNING *",
        )
        .bind(id)
        .bind(seq)
        .bind(&new.id)
        .bind(&new.user_id)
        .bind(new.kind)
        .bind(&new.text)
        .bind(&new.parent_id)
        .bind(new.show_in_channel)
        .bind(&new.quoted_id)
        .bind(new.silent)
        .bind(new.shadowed)
        .bind(new.counts)
        .bind(counted)
        .bind(new.data.as_ref().map(Json))
        .bind(new.pinned_by.as_ref().map(|_| now))
        .bind(&new.pinned_by)
        .bind(new.pin_expires)
        .bind(now)
        .fetch_optional(self.connection())
        .await?;
        let Some(message) = message else {
            return Ok(None);
        };
        self.head.message_seq = seq;
        self.head.counted = counted;
        self.head.message_count += 1;
        if effects.shows_channel {
            self.head.shown_seq = seq;
        }
        if effects.moves_last_message {
            self.head.last_message_at = Some(now);
        }
        if new.parent_id.is_none() || new.show_in_channel {
            self.read_up_to(&message).await?;
        }
        Ok(Some(message))
    }

    /// Whoever writes has read what was before.
    async fn read_up_to(&mut self, message: &Message) -> Result<()> {
        sqlx::query(
            "UPDATE members SET last_read_at = $3, last_read_seq = $4, last_read_counted = $5, last_read_message_id = $6
             WHERE channel_id = $1 AND user_id = $2",
        )
        .bind(message.channel_id)
        .bind(&message.user_id)
        .bind(message.created_at)
        .bind(message.seq)
        .bind(message.counted)
        .bind(&message.id)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Has the user written here since? For slow mode.
    ///
    /// # Errors
    /// Postgres.
    pub async fn has_message_since(&mut self, user_id: &str, since: Timestamp) -> Result<bool> {
        let channel_id = self.head.channel_id;
        let found = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM messages WHERE channel_id = $1 AND seq > message_seq_at($1, $3, false) AND user_id = $2)",
        )
        .bind(channel_id)
        .bind(user_id)
        .bind(since)
        .fetch_one(self.connection())
        .await?;
        Ok(found)
    }

    /// A message of this channel as it is under the lock.
    ///
    /// # Errors
    /// Postgres.
    pub async fn message(&mut self, id: &str) -> Result<Option<Message>> {
        let channel_id = self.head.channel_id;
        let message = sqlx::query_as("SELECT * FROM messages WHERE id = $1 AND channel_id = $2")
            .bind(id)
            .bind(channel_id)
            .fetch_optional(self.connection())
            .await?;
        Ok(message)
    }

    /// Replaces what can change in a message. `updated_at` is the callee's.
    ///
    /// # Errors
    /// Postgres.
    pub async fn put_message(&mut self, message: &Message) -> Result<Message> {
        let row = sqlx::query_as(
            "UPDATE messages SET type = $3, text = $4, quoted_id = $5, silent = $6, data = $7, pinned_at = $8, pinned_by = $9,
                 pin_expires = $10, updated_at = $11, text_updated_at = $12, deleted_at = $13, show_in_channel = $14
             WHERE channel_id = $1 AND seq = $2 RETURNING *",
        )
        .bind(message.channel_id)
        .bind(message.seq)
        .bind(&message.kind)
        .bind(&message.text)
        .bind(&message.quoted_id)
        .bind(message.silent)
        .bind(message.data.as_ref().map(Json))
        .bind(message.pinned_at)
        .bind(&message.pinned_by)
        .bind(message.pin_expires)
        .bind(message.updated_at)
        .bind(message.text_updated_at)
        .bind(message.deleted_at)
        .bind(message.show_in_channel)
        .fetch_one(self.connection())
        .await?;
        Ok(row)
    }

    /// Adds a reply's author to its parent, if there is room, and counts it. Gives back the parent, or nothing if it is gone.
    ///
    /// # Errors
    /// Postgres.
    pub async fn count_reply(&mut self, parent_id: &str, author: &str) -> Result<Option<Message>> {
        let (channel_id, now) = (self.head.channel_id, self.now());
        let parent = sqlx::query_as(
            "UPDATE messages SET reply_count = reply_count + 1, updated_at = $4,
                 participants = CASE WHEN $3 = ANY(participants) OR cardinality(participants) >= $5 THEN participants
                                     ELSE array_append(participants, $3) END
             WHERE channel_id = $1 AND id = $2 RETURNING *",
        )
        .bind(channel_id)
        .bind(parent_id)
        .bind(author)
        .bind(now)
        .bind(limits::THREAD_PARTICIPANTS_KEPT as i32)
        .fetch_optional(self.connection())
        .await?;
        Ok(parent)
    }

    /// Takes a deleted reply off its parent. Gives back the parent, or nothing if it is gone.
    ///
    /// # Errors
    /// Postgres.
    pub async fn uncount_reply(&mut self, reply: &Message, hard: bool) -> Result<Option<Message>> {
        let (channel_id, now) = (self.head.channel_id, self.now());
        let parent = sqlx::query_as(
            "UPDATE messages SET reply_count = reply_count - 1, updated_at = $3,
                 deleted_reply_count = deleted_reply_count + CASE WHEN $4 THEN 0 ELSE 1 END,
                 participants = ARRAY(SELECT p FROM unnest(participants) AS p WHERE p <> $5 OR EXISTS (
                     SELECT FROM messages r WHERE r.parent_id = $2 AND r.user_id = p AND r.deleted_at IS NULL))
             WHERE channel_id = $1 AND id = $2 RETURNING *",
        )
        .bind(channel_id)
        .bind(&reply.parent_id)
        .bind(now)
        .bind(hard)
        .bind(&reply.user_id)
        .fetch_optional(self.connection())
        .await?;
        Ok(parent)
    }

    /// Wipes a piece of what hangs on a message: of its replies, the newest first, of the reactions to it and to them, of how far
    /// they were read. True if nothing is left of it. What is wiped keeps its numbers and nothing else.
    ///
    /// # Errors
    /// Postgres.
    pub async fn wipe_some_of_thread(&mut self, parent: &Message) -> Result<bool> {
        let piece = limits::REMOVED_ROWS_PER_PIECE;
        let replies: Vec<(i64, String, bool)> = sqlx::query_as(
            "SELECT seq, id, deleted_at IS NULL FROM messages WHERE parent_id = $1 AND channel_id = $2 AND id IS NOT NULL
             ORDER BY seq DESC LIMIT $3",
        )
        .bind(&parent.id)
        .bind(parent.channel_id)
        .bind(piece)
        .fetch_all(self.connection())
        .await?;
        let ids: Vec<&str> = replies.iter().map(|(_, id, _)| id.as_str()).chain([parent.id.as_str()]).collect();
        for (some, of) in [
            (
                "DELETE FROM reactions
                 WHERE ctid = ANY (ARRAY(SELECT ctid FROM reactions WHERE message_id = ANY ($1) LIMIT $2))",
                &ids[..],
            ),
            (
                "DELETE FROM thread_reads
                 WHERE ctid = ANY (ARRAY(SELECT ctid FROM thread_reads WHERE parent_id = ANY ($1) LIMIT $2))",
                &[&parent.id],
            ),
        ] {
            let removed = sqlx::query(some).bind(of).bind(piece).execute(self.connection()).await?;
            if removed.rows_affected() as i64 >= piece {
                return Ok(false);
            }
        }
        if replies.is_empty() {
            return Ok(true);
        }
        let seqs: Vec<i64> = replies.iter().map(|(seq, ..)| *seq).collect();
        self.wipe_messages(&seqs).await?;
        sqlx::query(
            "UPDATE messages SET reply_count = greatest(reply_count - $3, 0) WHERE channel_id = $1 AND seq = $2",
        )
        .bind(parent.channel_id)
        .bind(parent.seq)
        .bind(replies.iter().filter(|(.., there)| *there).count() as i32)
        .execute(self.connection())
        .await?;
        Ok((replies.len() as i64) < piece)
    }

    /// Wipes messages: their numbers stay, nothing else does. Nothing may hang on them any more
    /// ([`ChannelWrite::wipe_some_of_thread`]).
    ///
    /// # Errors
    /// Postgres.
    pub async fn wipe_messages(&mut self, seqs: &[i64]) -> Result<()> {
        let (channel_id, now) = (self.head.channel_id, self.now());
        let wiped = sqlx::query(
            "UPDATE messages SET id = NULL, user_id = '', type = 'deleted', text = '', data = NULL, reactions = NULL,
                 parent_id = NULL, quoted_id = NULL, participants = '{}', pinned_at = NULL, pinned_by = NULL,
                 deleted_at = coalesce(deleted_at, $3)
             WHERE channel_id = $1 AND seq = ANY ($2)",
        )
        .bind(channel_id)
        .bind(seqs)
        .bind(now)
        .execute(self.connection())
        .await?;
        self.head.message_count = (self.head.message_count - wiped.rows_affected() as i64).max(0);
        Ok(())
    }
}
