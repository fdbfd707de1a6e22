//! Writing messages under a channel's lock: replies, pinned ones, changes of single ones. All others are written by the appender.

use sqlx::types::Json;
use wire::Timestamp;

use super::{Message, MessageData};
use crate::limits;
use crate::store::{ChannelWrite, Result};

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

    /// Has the user written here since? For slow mode. A message of a time that is still to come says only that Postgres's clock
    /// was ahead once, and not for how long.
    ///
    /// # Errors
    /// Postgres.
    pub async fn has_message_since(&mut self, user_id: &str, since: Timestamp) -> Result<bool> {
        let channel_id = self.head.channel_id;
        let found = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM messages WHERE channel_id = $1 AND seq > message_seq_at($1, $3, false) AND user_id = $2
                 AND created_at <= clock_timestamp())",
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
                 pin_expires = $10, updated_at = $11, text_updated_at = $12, deleted_at = $13, show_in_channel = $14,
                 shadowed = $15
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
        .bind(message.shadowed)
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
