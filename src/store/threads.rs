//! Threads: what a parent and its replies make together, and how far those who take part have read.

use wire::Timestamp;

use super::messages::Message;
use super::{ChannelWrite, Result, Store, Write};

/// How far one user has read one thread, and how much is left.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ThreadRead {
    pub parent_id: String,
    pub user_id: String,
    pub last_read_at: Timestamp,
    pub last_read_message_id: String,
    pub unread: i64,
}

/// When a thread began and was last written in.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ThreadSpan {
    /// Author of the first reply.
    pub created_by: String,
    pub created_at: Timestamp,
    pub last_reply_at: Timestamp,
}

/// Replies `r` of a thread that its reader `t` has not read, in a channel with head `h`.
macro_rules! unread_replies {
    () => {
        "FROM messages r WHERE r.parent_id = t.parent_id AND r.seq > greatest(t.last_read_seq, h.floor_seq)
           AND r.user_id <> t.user_id AND r.deleted_at IS NULL AND NOT r.shadowed"
    };
}
pub(super) use unread_replies;

/// Numbers of unread threads of the users `$1`; those with none are left out.
macro_rules! unread_threads {
    () => {
        concat!(
            "SELECT t.user_id, count(*) AS threads FROM thread_reads t
             JOIN channel_heads h ON h.channel_id = t.channel_id
             JOIN channels c ON c.id = t.channel_id AND c.deleted_at IS NULL AND NOT c.disabled
             WHERE t.user_id = ANY($1) AND EXISTS (SELECT ",
            $crate::store::threads::unread_replies!(),
            ") GROUP BY t.user_id"
        )
    };
}
pub(super) use unread_threads;

impl Store {
    /// Unread threads of users, the most recently written in first within each user.
    ///
    /// # Errors
    /// Postgres.
    pub async fn unread_threads(&self, user_ids: &[String], limit: i64) -> Result<Vec<ThreadRead>> {
        let threads = sqlx::query_as(concat!(
            "SELECT parent_id, user_id, last_read_at, last_read_message_id, unread FROM (
                 SELECT t.*, u.unread, row_number() OVER (PARTITION BY t.user_id ORDER BY u.newest DESC) AS place
                 FROM thread_reads t
                 JOIN channel_heads h ON h.channel_id = t.channel_id
                 JOIN channels c ON c.id = t.channel_id AND c.deleted_at IS NULL
                 CROSS JOIN LATERAL (SELECT count(*) AS unread, max(r.created_at) AS newest ",
            unread_replies!(),
            ") u WHERE t.user_id = ANY($1) AND u.unread > 0) ranked
             WHERE place <= $2 ORDER BY user_id, place"
        ))
        .bind(user_ids)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        Ok(threads)
    }

    /// How many replies a user has not read in a thread; 0 for one who takes no part.
    ///
    /// # Errors
    /// Postgres.
    pub async fn unread_in_thread(&self, parent_id: &str, user_id: &str) -> Result<i64> {
        let unread = sqlx::query_scalar(concat!(
            "SELECT coalesce((SELECT (SELECT count(*) ",
            unread_replies!(),
            ") FROM thread_reads t JOIN channel_heads h ON h.channel_id = t.channel_id
             WHERE t.parent_id = $1 AND t.user_id = $2), 0)"
        ))
        .bind(parent_id)
        .bind(user_id)
        .fetch_one(self.pool())
        .await?;
        Ok(unread)
    }

    /// When a thread began; `None` for a message without replies.
    ///
    /// # Errors
    /// Postgres.
    pub async fn thread_span(&self, parent_id: &str) -> Result<Option<ThreadSpan>> {
        let span = sqlx::query_as(
            "SELECT first.user_id AS created_by, first.created_at, last.created_at AS last_reply_at
             FROM (SELECT user_id, created_at FROM messages WHERE parent_id = $1 ORDER BY seq LIMIT 1) first,
                  (SELECT created_at FROM messages WHERE parent_id = $1 ORDER BY seq DESC LIMIT 1) last",
        )
        .bind(parent_id)
        .fetch_optional(self.pool())
        .await?;
        Ok(span)
    }
}

impl ChannelWrite {
    /// Makes the authors of a thread's first message and of a new reply take part in it: both have read what they wrote.
    ///
    /// # Errors
    /// Postgres.
    pub async fn follow_thread(&mut self, parent_id: &str, reply: &Message) -> Result<()> {
        sqlx::query(
            "INSERT INTO thread_reads (parent_id, user_id, channel_id, last_read_seq, last_read_at, last_read_message_id)
             SELECT DISTINCT ON (user_id) $1, user_id, channel_id, seq, created_at, id
             FROM messages WHERE channel_id = $2 AND id IN ($1, $3) ORDER BY user_id, seq DESC
             ON CONFLICT (parent_id, user_id) DO UPDATE SET last_read_seq = excluded.last_read_seq,
                 last_read_at = excluded.last_read_at, last_read_message_id = excluded.last_read_message_id
             WHERE thread_reads.last_read_seq < excluded.last_read_seq",
        )
        .bind(parent_id)
        .bind(reply.channel_id)
        .bind(&reply.id)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

impl Write {
    /// Moves a reader of a thread to its newest reply. Nobody is made to take part by reading.
    ///
    /// # Errors
    /// Postgres.
    pub async fn mark_thread_read(&mut self, parent_id: &str, user_id: &str) -> Result<()> {
        sqlx::query(
            "UPDATE thread_reads SET last_read_seq = r.seq, last_read_at = clock_timestamp(), last_read_message_id = r.id
             FROM (SELECT seq, id FROM messages WHERE parent_id = $1 ORDER BY seq DESC LIMIT 1) r
             WHERE thread_reads.parent_id = $1 AND user_id = $2 AND last_read_seq <= r.seq",
        )
        .bind(parent_id)
        .bind(user_id)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Moves a reader of a thread back to its first message: all of the replies are unread again.
    ///
    /// # Errors
    /// Postgres.
    pub async fn mark_thread_unread(&mut self, parent: &Message, user_id: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO thread_reads (parent_id, user_id, channel_id, last_read_seq, last_read_at, last_read_message_id)
             VALUES ($1, $2, $3, $4, $5, $1)
             ON CONFLICT (parent_id, user_id) DO UPDATE SET last_read_seq = excluded.last_read_seq,
                 last_read_at = excluded.last_read_at, last_read_message_id = excluded.last_read_message_id",
        )
        .bind(&parent.id)
        .bind(user_id)
        .bind(parent.channel_id)
        .bind(parent.seq)
        .bind(parent.created_at)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
