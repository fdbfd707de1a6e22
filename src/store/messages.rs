//! Messages, and reading pages of them.

mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wire::Timestamp;

use super::reactions::Aggregates;
use super::{Result, Store};
pub use write::{Effects, NewMessage};

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
