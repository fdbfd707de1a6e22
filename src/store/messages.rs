//! Messages. Lists of them are read in pages.rs, within bounds of bytes.

mod pages;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueRef, Postgres};
use sqlx::types::Json;
use sqlx::{Decode, Type};
use wire::{RawList, RawObject, Timestamp};

use super::reactions::Aggregates;
use super::{Result, Store};
pub use pages::{Bound, HistoryPage, LatestOf, Within};
pub use write::{Effects, NewMessage};

/// What a message holds that no query needs as a column (`messages.data`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageData {
    #[serde(skip_serializing_if = "RawList::is_empty")]
    pub attachments: RawList,
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
    #[serde(skip_serializing_if = "RawObject::is_empty")]
    pub custom: RawObject,
}

impl MessageData {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Columns that are `jsonb` where a row is read as it is, and `text` where they were measured (pages.rs).
macro_rules! json_columns {
    ($($column:ty),*) => {$(
        impl Type<Postgres> for $column {
            fn type_info() -> PgTypeInfo {
                <Json<Self> as Type<Postgres>>::type_info()
            }

            fn compatible(given: &PgTypeInfo) -> bool {
                <Json<Self> as Type<Postgres>>::compatible(given) || <str as Type<Postgres>>::compatible(given)
            }
        }

        impl<'r> Decode<'r, Postgres> for $column {
            fn decode(value: PgValueRef<'r>) -> std::result::Result<Self, BoxDynError> {
                Ok(Json::decode(value)?.0)
            }
        }
    )*};
}
json_columns!(MessageData, Aggregates);

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
    pub data: Option<MessageData>,
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

/// May the reader `$2` (null: a server) see the message `m`, as far as the message itself decides?
macro_rules! visible {
    () => {
        "($2::text IS NULL OR m.user_id = $2 OR (NOT m.shadowed AND (m.data->'restricted_visibility' IS NULL
            OR m.data->'restricted_visibility' ? $2)))"
    };
}
use visible;

/// What [`is_seen`] needs beside a message `m`.
macro_rules! seen {
    () => {
        "JOIN channel_heads h ON h.channel_id = m.channel_id
         LEFT JOIN members r ON r.channel_id = m.channel_id AND r.user_id = $2"
    };
}
use seen;

/// May the reader `$2` see the message `m`, as far as the message and the history of its channel decide?
macro_rules! is_seen {
    () => {
        concat!("m.seq > greatest(h.floor_seq, r.cleared_seq) AND ", $crate::store::messages::visible!())
    };
}
use is_seen;

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

    /// A message, if a reader may see it: neither truncated nor hidden from it with its history (`hide_history`,
    /// `clear_history`), neither shadowed nor restricted to others. Whether it may read its channel is another question.
    ///
    /// # Errors
    /// Postgres.
    pub async fn message_seen_by(&self, reader: Reader<'_>, id: &str) -> Result<Option<Message>> {
        let message =
            sqlx::query_as(concat!("SELECT m.* FROM messages m ", seen!(), " WHERE m.id = $1 AND ", is_seen!()))
                .bind(id)
                .bind(reader.column())
                .fetch_optional(self.pool())
                .await?;
        Ok(message)
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
