//! Lists of messages, read within a bound of bytes: Postgres sends no more than an answer has room for.
//!
//! Rows are small or large, and nobody knows before they are read: compressed they are all small, and a number of four
//! characters may be written with three hundred. So the JSON of a row is made once, measured, and sent only if it fits, the
//! rows next to where a page begins first. One row is always there.

use std::cmp::Reverse;

use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use wire::Timestamp;

use super::{Message, Reader, is_seen, seen, visible};
use crate::limits;
use crate::store::{Result, Store};

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

/// Messages as far as they fit.
#[derive(Debug)]
pub struct Within {
    pub messages: Vec<Message>,
    /// Nothing was left out for its size.
    pub whole: bool,
}

/// Rows of messages `m`, each with its `size`: what is large in it, in bytes as they are sent. Of those who take part in a thread
/// as many as are shown ([`limits::THREAD_PARTICIPANTS_MAX`]).
macro_rules! sized {
    ($rest:expr) => {
        sized!("", $rest)
    };
    ($more:literal, $rest:expr) => {
        concat!(
            "(SELECT *, octet_length(text) + coalesce(octet_length(data), 0) + coalesce(octet_length(reactions), 0) AS size
              FROM (SELECT m.channel_id, m.seq, m.id, m.user_id, m.type, m.text, m.parent_id, m.show_in_channel, m.quoted_id,
                        m.silent, m.shadowed, m.counts, m.counted, m.data::text AS data, m.reactions::text AS reactions,
                        m.reply_count, m.deleted_reply_count, m.participants[:10] AS participants, m.pinned_at, m.pinned_by,
                        m.pin_expires, m.created_at, m.updated_at, m.text_updated_at, m.deleted_at ",
            $more,
            " FROM ",
            $rest,
            ") m)"
        )
    };
}

const _: () = assert!(limits::THREAD_PARTICIPANTS_MAX == 10);

/// Of [`sized`] rows those that fit into `$bytes` in this order, which is also theirs.
macro_rules! first_that_fit {
    ($bytes:literal, $order:literal, $rows:expr) => {
        concat!(
            "(SELECT * FROM (SELECT *, sum(size) OVER (ORDER BY ",
            $order,
            " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM ",
            $rows,
            " m) m WHERE coalesce(before, 0) < ",
            $bytes,
            ")"
        )
    };
}

/// Of [`sized`] rows all; without what is in them if they are larger than `$bytes`.
macro_rules! small_ones {
    ($bytes:literal, $rows:expr) => {
        concat!(
            "(SELECT channel_id, seq, id, user_id, type, parent_id, show_in_channel, quoted_id, silent, shadowed, counts, counted,
                 reply_count, deleted_reply_count, participants, pinned_at, pinned_by, pin_expires, created_at, updated_at,
                 text_updated_at, deleted_at, size, CASE WHEN size <= ",
            $bytes,
            " THEN text ELSE '' END AS text, CASE WHEN size <= ",
            $bytes,
            " THEN data END AS data, CASE WHEN size <= ",
            $bytes,
            " THEN reactions END AS reactions FROM ",
            $rows,
            " m)"
        )
    };
}

/// Rows of each of the channels `$1`, which are truncated or cleared up to `$3`.
macro_rules! of_each {
    ($rows:expr) => {
        concat!("SELECT m.* FROM unnest($1::bigint[], $3::bigint[]) AS c (key, floor), LATERAL ", $rows, " m")
    };
}

/// The newest of a channel.
macro_rules! newest {
    () => {
        sized!(concat!(
            "messages m WHERE m.channel_id = c.key AND m.seq > c.floor AND m.id IS NOT NULL
               AND (m.parent_id IS NULL OR m.show_in_channel) AND ",
            visible!(),
            " ORDER BY m.seq DESC LIMIT $4"
        ))
    };
}

/// The newest pins of a channel.
macro_rules! newest_pins {
    () => {
        sized!(concat!(
            "messages m WHERE m.channel_id = c.key AND m.seq > c.floor AND m.pinned_at IS NOT NULL
               AND (m.pin_expires IS NULL OR m.pin_expires > $6) AND m.deleted_at IS NULL AND ",
            visible!(),
            " ORDER BY m.pinned_at DESC, m.seq DESC LIMIT $4"
        ))
    };
}

/// How the newest of several channels are read.
struct Newest {
    /// All at once, where none is larger than its share: what most pages are.
    small: &'static str,
    /// Otherwise each channel has its share.
    within: &'static str,
}

const LATEST: Newest = Newest {
    small: of_each!(small_ones!("$5", newest!())),
    within: of_each!(first_that_fit!("$5", "seq DESC", newest!())),
};

const PINNED: Newest = Newest {
    small: of_each!(small_ones!("$5", newest_pins!())),
    within: of_each!(first_that_fit!("$5", "pinned_at DESC, seq DESC", newest_pins!())),
};

/// Both sides of a number: of a channel, and of a thread.
struct Sides {
    older: &'static str,
    newer: &'static str,
}

macro_rules! side {
    ($subject:literal, $compared:literal, $order:literal) => {
        first_that_fit!(
            "$6",
            $order,
            sized!(concat!(
                "messages m WHERE ",
                $subject,
                " AND m.seq ",
                $compared,
                " $4 AND m.seq > $3 AND m.id IS NOT NULL AND ",
                visible!(),
                " ORDER BY m.",
                $order,
                " LIMIT $5"
            ))
        )
    };
}

const OF_CHANNEL: Sides = Sides {
    older: side!("m.channel_id = $1 AND (m.parent_id IS NULL OR m.show_in_channel)", "<", "seq DESC"),
    newer: side!("m.channel_id = $1 AND (m.parent_id IS NULL OR m.show_in_channel)", ">", "seq"),
};

const OF_THREAD: Sides =
    Sides { older: side!("m.parent_id = $1", "<", "seq DESC"), newer: side!("m.parent_id = $1", ">", "seq") };

impl Store {
    /// Those of these messages that a reader may see ([`Store::message_seen_by`]), in the order of their ids and as far as they
    /// fit.
    ///
    /// # Errors
    /// Postgres.
    pub async fn messages_seen_by(&self, reader: Reader<'_>, ids: &[String], bytes_max: usize) -> Result<Within> {
        let rows = sqlx::query(first_that_fit!(
            "$3",
            "place",
            sized!(
                ", q.place",
                concat!(
                    "(SELECT id, min(place) AS place FROM unnest($1::text[]) WITH ORDINALITY AS q (id, place) GROUP BY id) q
                     JOIN messages m ON m.id = q.id ",
                    seen!(),
                    " WHERE ",
                    is_seen!()
                )
            )
        ))
        .bind(ids)
        .bind(reader.column())
        .bind(bytes_max as i64)
        .fetch_all(self.pool())
        .await?;
        let bytes = rows.iter().map(size).sum::<Result<i64>>()?;
        Ok(Within { messages: decoded(rows).await?, whole: bytes < bytes_max as i64 })
    }

    /// A page of a channel, oldest first, without the replies that stay in their threads.
    ///
    /// # Errors
    /// Postgres.
    pub async fn history(&self, channel_id: i64, page: &HistoryPage<'_>) -> Result<Vec<Message>> {
        self.page(OF_CHANNEL, page, |query| query.bind(channel_id)).await
    }

    /// A page of a thread, oldest first, without its parent.
    ///
    /// # Errors
    /// Postgres.
    pub async fn replies(&self, parent_id: &str, page: &HistoryPage<'_>) -> Result<Vec<Message>> {
        self.page(OF_THREAD, page, |query| query.bind(parent_id.to_owned())).await
    }

    async fn page<'q>(
        &self,
        sides: Sides,
        page: &HistoryPage<'_>,
        bind_subject: impl Fn(Query<'q>) -> Query<'q>,
    ) -> Result<Vec<Message>> {
        let read = async |statement: &'static str, seq: i64, bytes_max: usize| {
            let rows = bind_subject(sqlx::query(statement))
                .bind(page.viewer.map(ToOwned::to_owned))
                .bind(page.floor_seq)
                .bind(seq)
                .bind(page.limit)
                .bind(bytes_max as i64)
                .fetch_all(self.pool())
                .await?;
            decoded(rows).await
        };
        let most = limits::ANSWER_BYTES_MAX;
        let mut messages = match page.bound {
            Bound::Latest => read(sides.older, i64::MAX, most).await?,
            Bound::Before { seq, inclusive } => read(sides.older, seq + i64::from(inclusive), most).await?,
            Bound::After { seq, inclusive } => read(sides.newer, seq - i64::from(inclusive), most).await?,
            Bound::Around(seq) => {
                // Half of the page on each side, the message itself among the older; what one side lacks the other gives.
                let mut messages = read(sides.older, seq + 1, most / 2).await?;
                let newer = read(sides.newer, seq, most / 2).await?;
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
        let mut messages =
            self.newest(LATEST, channels, viewer, limit, limits::ANSWER_BYTES_MAX, |query| query).await?;
        messages.sort_unstable_by_key(|message| (message.channel_id, message.seq));
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
        let most = limits::ANSWER_PINS_BYTES_MAX;
        let mut messages = self.newest(PINNED, channels, viewer, limit, most, |query| query.bind(now)).await?;
        messages.sort_unstable_by_key(|message| (message.channel_id, Reverse((message.pinned_at, message.seq))));
        Ok(messages)
    }

    async fn newest<'q>(
        &self,
        statements: Newest,
        channels: &[LatestOf],
        viewer: Option<&str>,
        limit: i64,
        bytes_max: usize,
        bind_more: impl Fn(Query<'q>) -> Query<'q>,
    ) -> Result<Vec<Message>> {
        let (keys, floors): (Vec<i64>, Vec<i64>) = channels.iter().map(|of| (of.channel_id, of.floor_seq)).unzip();
        let read = async |statement: &'static str, share: i64| {
            let query = sqlx::query(statement)
                .bind(keys.clone())
                .bind(viewer.map(ToOwned::to_owned))
                .bind(floors.clone())
                .bind(limit)
                .bind(share);
            bind_more(query).fetch_all(self.pool()).await
        };
        let (bytes_max, channels) = (bytes_max as i64, channels.len() as i64);
        if channels * limit <= limits::ROWS_READ_AT_ONCE {
            let share = bytes_max / (channels * limit).max(1);
            let rows = read(statements.small, share).await?;
            let largest = rows.iter().map(size).try_fold(0, |largest, size| size.map(|size| largest.max(size)))?;
            if largest <= share {
                return decoded(rows).await;
            }
        }
        decoded(read(statements.within, bytes_max / channels.max(1)).await?).await
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn size(row: &PgRow) -> Result<i64> {
    Ok(row.try_get::<i32, _>("size")?.into())
}

/// Takes rows apart, and lets others run in between.
async fn decoded(rows: Vec<PgRow>) -> Result<Vec<Message>> {
    let mut messages = Vec::with_capacity(rows.len());
    let mut bytes = 0;
    for row in rows {
        bytes += size(&row)?;
        messages.push(Message::from_row(&row)?);
        if bytes > limits::DECODED_BYTES_PER_TURN {
            bytes = 0;
            tokio::task::yield_now().await;
        }
    }
    Ok(messages)
}
