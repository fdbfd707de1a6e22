//! Unread numbers and read positions.
//!
//! Nothing is written per member and message. A channel counts its messages that count (`channel_heads.counted`), a
//! member remembers the count up to which it has read, and the difference, less what was deleted since, is the number
//! of unread messages. Deleted ones are found by a partial index that holds nothing else.

use wire::Timestamp;

use super::members::Member;
use super::messages::Message;
use super::threads::unread_threads;
use super::{Result, Store, StoreError, Write};
use crate::limits;

/// How far one member of one channel has read.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ReadState {
    pub channel_id: i64,
    pub user_id: String,
    pub last_read_at: Timestamp,
    pub last_read_message_id: Option<String>,
    pub last_delivered_at: Option<Timestamp>,
    pub last_delivered_message_id: Option<String>,
    pub unread: i64,
}

/// Unread numbers of one user over all channels.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Totals {
    pub user_id: String,
    pub messages: i64,
    pub channels: i64,
    pub threads: i64,
}

/// One unread channel of one user.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct UnreadChannel {
    pub user_id: String,
    pub cid: String,
    pub last_read_at: Timestamp,
    pub unread: i64,
}

/// Unread messages of a member `m` in a channel with head `h`.
macro_rules! unread {
    () => {
        "(h.counted - greatest(m.last_read_counted, h.floor_counted) - (
             SELECT count(*) FROM messages x WHERE x.channel_id = m.channel_id AND x.counts AND x.deleted_at IS NOT NULL
               AND x.seq > greatest(m.last_read_seq, h.floor_seq)))"
    };
}

/// Memberships `m` that count for a user's totals: not muted, neither pending nor refused, not hidden, neither deleted nor disabled.
macro_rules! counting_memberships {
    () => {
        "FROM members m
         JOIN channel_heads h ON h.channel_id = m.channel_id
         JOIN channels c ON c.id = m.channel_id
         WHERE m.user_id = ANY($1) AND h.counted > greatest(m.last_read_counted, h.floor_counted)
           AND coalesce(m.invite, '') NOT IN ('pending', 'rejected') AND c.deleted_at IS NULL AND NOT c.disabled
           AND m.hidden_at_seq IS DISTINCT FROM h.shown_seq
           AND NOT EXISTS (SELECT FROM channel_mutes q WHERE q.user_id = m.user_id AND q.channel_id = m.channel_id
                           AND (q.expires IS NULL OR q.expires > now()))"
    };
}

impl Store {
    /// Read states of the named members of channels, for pairs of both.
    ///
    /// # Errors
    /// Postgres.
    pub async fn read_states(&self, channel_ids: &[i64], user_ids: &[String]) -> Result<Vec<ReadState>> {
        let states = sqlx::query_as(concat!(
            "SELECT m.channel_id, m.user_id, m.last_read_at, m.last_read_message_id, m.last_delivered_at,
                 m.last_delivered_message_id,
                 CASE WHEN h.counted > greatest(m.last_read_counted, h.floor_counted) THEN ",
            unread!(),
            " ELSE 0 END AS unread
             FROM unnest($1::bigint[], $2::text[]) AS p (channel_id, user_id)
             JOIN members m ON m.channel_id = p.channel_id AND m.user_id = p.user_id
             JOIN channel_heads h ON h.channel_id = m.channel_id"
        ))
        .bind(channel_ids)
        .bind(user_ids)
        .fetch_all(self.pool())
        .await?;
        Ok(states)
    }

    /// Unread totals of users; those with nothing unread are left out.
    ///
    /// # Errors
    /// Postgres.
    pub async fn unread_totals(&self, user_ids: &[String]) -> Result<Vec<Totals>> {
        let totals = sqlx::query_as(concat!(
            "SELECT user_id, coalesce(messages, 0) AS messages, coalesce(channels, 0) AS channels,
                 coalesce(threads, 0) AS threads
             FROM (SELECT user_id, sum(unread)::bigint AS messages, count(*) FILTER (WHERE unread > 0) AS channels
                   FROM (SELECT m.user_id, ",
            unread!(),
            " AS unread ",
            counting_memberships!(),
            ") u GROUP BY user_id) in_channels FULL JOIN (",
            unread_threads!(),
            ") in_threads USING (user_id)"
        ))
        .bind(user_ids)
        .fetch_all(self.pool())
        .await?;
        Ok(totals)
    }

    /// Unread channels of users, the most recently active first within each user.
    ///
    /// # Errors
    /// Postgres.
    pub async fn unread_channels(&self, user_ids: &[String], limit: i64) -> Result<Vec<UnreadChannel>> {
        let channels = sqlx::query_as(concat!(
            "SELECT user_id, cid, last_read_at, unread FROM (
                 SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY last_message_at DESC NULLS LAST) AS place FROM (
                     SELECT m.user_id, c.cid, m.last_read_at, h.last_message_at, ", unread!(), " AS unread ",
            counting_memberships!(), ") u WHERE unread > 0) ranked
             WHERE place <= $2 ORDER BY user_id, place"
        ))
        .bind(user_ids)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        Ok(channels)
    }

    /// The read state of one member.
    ///
    /// # Errors
    /// Postgres, or no such member.
    pub async fn read_state(&self, channel_id: i64, user_id: &str) -> Result<ReadState> {
        let states = self.read_states(&[channel_id], &[user_id.to_owned()]).await?;
        states.into_iter().next().ok_or(StoreError::Inconsistent("a member without a read state"))
    }
}

impl Write {
    /// Moves a member's read position forward to a message, or to the newest one. Gives back the membership, or nothing
    /// if there is none or it is further already.
    ///
    /// # Errors
    /// Postgres.
    pub async fn mark_read(
        &mut self,
        channel_id: i64,
        user_id: &str,
        up_to: Option<&Message>,
    ) -> Result<Option<Member>> {
        let member = sqlx::query_as(
            "UPDATE members m SET last_read_at = clock_timestamp(), last_read_seq = t.seq, last_read_counted = t.counted,
                 last_read_message_id = t.id
             FROM (SELECT coalesce($3, h.message_seq) AS seq, coalesce($4, h.counted) AS counted, coalesce($5, (
                       SELECT x.id FROM messages x WHERE x.channel_id = $1 AND x.id IS NOT NULL AND x.seq > h.floor_seq
                         AND (x.parent_id IS NULL OR x.show_in_channel) ORDER BY x.seq DESC LIMIT 1)) AS id
                   FROM channel_heads h WHERE h.channel_id = $1) t
             WHERE m.channel_id = $1 AND m.user_id = $2 AND t.seq >= m.last_read_seq RETURNING m.*",
        )
        .bind(channel_id)
        .bind(user_id)
        .bind(up_to.map(|message| message.seq))
        .bind(up_to.map(|message| message.counted))
        .bind(up_to.map(|message| &message.id))
        .fetch_optional(self.connection())
        .await?;
        Ok(member)
    }

    /// Moves a member's read position to just before a message. Gives back the membership, or nothing if there is none.
    ///
    /// # Errors
    /// Postgres.
    pub async fn mark_unread(&mut self, channel_id: i64, user_id: &str, from: &Message) -> Result<Option<Member>> {
        let member = sqlx::query_as(
            "UPDATE members m SET last_read_seq = $3 - 1, last_read_counted = $4, last_read_message_id = before.id,
                 last_read_at = coalesce(before.created_at, $5)
             FROM (SELECT 1) one LEFT JOIN LATERAL (
                 SELECT id, created_at FROM messages WHERE channel_id = $1 AND seq < $3 AND id IS NOT NULL
                   AND (parent_id IS NULL OR show_in_channel) ORDER BY seq DESC LIMIT 1) before ON true
             WHERE m.channel_id = $1 AND m.user_id = $2 RETURNING m.*",
        )
        .bind(channel_id)
        .bind(user_id)
        .bind(from.seq)
        .bind(from.counted - i64::from(from.counts))
        .bind(from.created_at.plus_micros(-1))
        .fetch_optional(self.connection())
        .await?;
        Ok(member)
    }

    /// Marks those of a user's channels as read in which anything is unread: the next [`limits::READS_PER_PIECE`] whose keys come
    /// after one. They are locked in the order of keys, in which they come back.
    ///
    /// # Errors
    /// Postgres.
    pub async fn mark_some_read(&mut self, user_id: &str, after: i64) -> Result<Vec<Member>> {
        let members = sqlx::query_as(
            "WITH unread AS MATERIALIZED (
                 SELECT h.channel_id, h.message_seq, h.counted FROM members o JOIN channel_heads h USING (channel_id)
                 WHERE o.user_id = $1 AND o.channel_id > $2 AND h.counted > o.last_read_counted AND o.invite IS DISTINCT FROM 'rejected'
                 ORDER BY o.channel_id LIMIT $3 FOR UPDATE OF o),
             read AS (UPDATE members m SET last_read_at = clock_timestamp(), last_read_seq = h.message_seq,
                 last_read_counted = h.counted, last_read_message_id = coalesce((
                     SELECT x.id FROM messages x WHERE x.channel_id = h.channel_id AND x.id IS NOT NULL
                       AND (x.parent_id IS NULL OR x.show_in_channel) ORDER BY x.seq DESC LIMIT 1), last_read_message_id)
             FROM unread h WHERE m.user_id = $1 AND h.channel_id = m.channel_id RETURNING m.*)
             SELECT * FROM read ORDER BY channel_id",
        )
        .bind(user_id)
        .bind(after)
        .bind(limits::READS_PER_PIECE)
        .fetch_all(self.connection())
        .await?;
        Ok(members)
    }
}
