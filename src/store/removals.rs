//! Taking away what nobody sees any more: messages of truncated channels, deleted channels with everything in them.
//!
//! Whoever truncates or deletes hides it first, in one short transaction that also notes it here (`removals`). The rows go
//! afterwards, a piece in each transaction, by whichever node comes by (jobs/housekeeping.rs): a million of them hold nobody
//! up, and a node that dies between two pieces leaves nothing half done.

use super::{ChannelWrite, Result, Store, Write};
use crate::limits;

/// A removal that is not finished.
#[derive(sqlx::FromRow)]
struct Pending {
    channel_id: i64,
    done_seq: i64,
    up_to_seq: i64,
    whole: bool,
}

impl ChannelWrite {
    /// Notes that messages up to a number, which are hidden, are to be taken away.
    pub(super) async fn remove_messages_later(&mut self, up_to_seq: i64) -> Result<()> {
        self.remove_later(up_to_seq, false).await
    }

    /// Notes that the channel, which nobody finds any more, is to be taken away with everything in it but its log.
    pub(super) async fn remove_channel_later(&mut self) -> Result<()> {
        self.remove_later(i64::MAX, true).await
    }

    async fn remove_later(&mut self, up_to_seq: i64, whole: bool) -> Result<()> {
        let id = self.head.channel_id;
        sqlx::query(
            "INSERT INTO removals (channel_id, up_to_seq, whole) VALUES ($1, $2, $3)
             ON CONFLICT (channel_id) DO UPDATE SET up_to_seq = greatest(removals.up_to_seq, excluded.up_to_seq),
                 whole = removals.whole OR excluded.whole",
        )
        .bind(id)
        .bind(up_to_seq)
        .bind(whole)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

impl Store {
    /// Takes one piece of what is to be removed away. False if there is nothing, or other nodes are at it. Which removal it is is
    /// left to chance, so that one that fails does not stop the others.
    ///
    /// # Errors
    /// Postgres.
    pub async fn remove_piece(&self) -> Result<bool> {
        let mut write = self.write().await?;
        let pending: Option<Pending> = sqlx::query_as(
            "SELECT channel_id, done_seq, up_to_seq, whole FROM removals ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED",
        )
        .fetch_optional(write.connection())
        .await?;
        let Some(pending) = pending else { return Ok(false) };
        let gone = write.remove_some_messages(&pending).await?
            && (!pending.whole || write.remove_rest_of_channel(pending.channel_id).await?);
        if gone {
            sqlx::query("DELETE FROM removals WHERE channel_id = $1")
                .bind(pending.channel_id)
                .execute(write.connection())
                .await?;
        }
        write.commit().await?;
        Ok(true)
    }
}

impl Write {
    /// True when none is left.
    async fn remove_some_messages(&mut self, pending: &Pending) -> Result<bool> {
        let piece: Vec<(i64, Option<String>)> = sqlx::query_as(
            "SELECT seq, id FROM messages WHERE channel_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4",
        )
        .bind(pending.channel_id)
        .bind(pending.done_seq)
        .bind(pending.up_to_seq)
        .bind(limits::REMOVED_ROWS_PER_PIECE)
        .fetch_all(self.connection())
        .await?;
        let Some((last, _)) = piece.last() else { return Ok(true) };
        let (last, ids): (i64, Vec<&str>) = (*last, piece.iter().filter_map(|(_, id)| id.as_deref()).collect());
        let of_them = |some: &'static str| sqlx::query(some).bind(ids.clone()).bind(limits::REMOVED_ROWS_PER_PIECE);
        for some in [
            of_them(
                "DELETE FROM reactions
                 WHERE ctid = ANY (ARRAY(SELECT ctid FROM reactions WHERE message_id = ANY ($1) LIMIT $2))",
            ),
            of_them(
                "DELETE FROM thread_reads
                 WHERE ctid = ANY (ARRAY(SELECT ctid FROM thread_reads WHERE parent_id = ANY ($1) LIMIT $2))",
            ),
            of_them(
                "DELETE FROM drafts
                 WHERE ctid = ANY (ARRAY(SELECT ctid FROM drafts WHERE parent_id = ANY ($1) AND channel_id = $3 LIMIT $2))",
            )
            .bind(pending.channel_id),
        ] {
            let removed = some.execute(self.connection()).await?;
            if is_full(&removed) {
                return Ok(false);
            }
        }
        sqlx::query("DELETE FROM messages WHERE channel_id = $1 AND seq > $2 AND seq <= $3")
            .bind(pending.channel_id)
            .bind(pending.done_seq)
            .bind(last)
            .execute(self.connection())
            .await?;
        sqlx::query("UPDATE removals SET done_seq = $2 WHERE channel_id = $1")
            .bind(pending.channel_id)
            .bind(last)
            .execute(self.connection())
            .await?;
        Ok((piece.len() as i64) < limits::REMOVED_ROWS_PER_PIECE)
    }

    /// True when the channel itself is gone. What there are few rows of goes with it.
    async fn remove_rest_of_channel(&mut self, channel_id: i64) -> Result<bool> {
        for some in [
            "DELETE FROM members WHERE ctid = ANY (ARRAY(SELECT ctid FROM members WHERE channel_id = $1 LIMIT $2))",
            "DELETE FROM thread_reads WHERE ctid = ANY (ARRAY(SELECT ctid FROM thread_reads WHERE channel_id = $1 LIMIT $2))",
            "DELETE FROM drafts WHERE ctid = ANY (ARRAY(SELECT ctid FROM drafts WHERE channel_id = $1 LIMIT $2))",
        ] {
            let removed = sqlx::query(some)
                .bind(channel_id)
                .bind(limits::REMOVED_ROWS_PER_PIECE)
                .execute(self.connection())
                .await?;
            if is_full(&removed) {
                return Ok(false);
            }
        }
        // Behind the lock nobody writes to it any more; what came until now goes with the next piece.
        sqlx::query("SELECT FROM channel_heads WHERE channel_id = $1 FOR UPDATE")
            .bind(channel_id)
            .execute(self.connection())
            .await?;
        let removed = sqlx::query(
            "DELETE FROM channels WHERE id = $1 AND NOT EXISTS (SELECT FROM messages WHERE channel_id = $1)",
        )
        .bind(channel_id)
        .execute(self.connection())
        .await?;
        Ok(removed.rows_affected() == 1)
    }
}

fn is_full(removed: &sqlx::postgres::PgQueryResult) -> bool {
    removed.rows_affected() as i64 >= limits::REMOVED_ROWS_PER_PIECE
}
