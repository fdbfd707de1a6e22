//! The log (`events`): written with every change, read by the relay, by `/sync` and gap repair, and by jobs.
//!
//! Partitioned by day; a day that is older than the log reaches back is dropped whole. Readers that follow the log take
//! rows in the order of their transactions and stop before the oldest transaction still open (`tx < xmin`), so a commit
//! that comes late is never skipped. The price: a transaction that stays open for long holds the readers back, anywhere in
//! the Postgres cluster. It is paid in delay, not in loss.

use sqlx::PgConnection;
use wire::Timestamp;

use super::{Result, Store};
use crate::events::{Audience, Event};
use crate::limits;

/// A row of the log as a follower sees it: enough to know whether it matters here, without the body.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct LogEntry {
    pub tx: i64,
    pub id: i64,
    pub channel_id: Option<i64>,
    pub number: Option<i64>,
    #[sqlx(rename = "type")]
    pub kind: String,
    pub audience: String,
    pub subject: Option<String>,
    /// Of absent users only: who they are.
    pub only_for: Option<Vec<String>>,
}

/// How far a follower has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    pub tx: i64,
    pub id: i64,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    id: i64,
    channel_id: Option<i64>,
    number: Option<i64>,
    #[sqlx(rename = "type")]
    kind: String,
    audience: String,
    subject: Option<String>,
    only_for: Option<Vec<String>>,
    body: String,
    created_at: Timestamp,
}

impl EventRow {
    fn into_event(self) -> Option<Event> {
        Some(Event {
            audience: Audience::from_columns(&self.audience, self.subject.as_deref(), self.only_for)?,
            kind: self.kind,
            channel_id: self.channel_id,
            number: self.number,
            id: Some(self.id),
            subject: self.subject,
            watcher_count: None,
            created_at: self.created_at,
            body: self.body.into(),
        })
    }
}

/// `SELECT` of whole events with the rest of the statement.
macro_rules! select_events {
    ($rest:literal) => {
        concat!(
            "SELECT id, channel_id, number, type, audience, subject, only_for, body, created_at FROM events ",
            $rest
        )
    };
}

/// Writes events in the order given and fills in their keys.
pub(super) async fn insert(connection: &mut PgConnection, events: &mut [Event]) -> Result<()> {
    let mut columns = Columns::default();
    for event in &*events {
        columns.push(event);
    }
    // By columns: rows times columns may be more than the 65,535 parameters that a statement can have.
    let ids: Vec<i64> = sqlx::query_scalar(
        "INSERT INTO events (channel_id, number, type, audience, subject, only_for, body, created_at)
         SELECT channel_id, number, type, audience, subject,
                CASE WHEN only_for IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(only_for::jsonb)) END, body, at
         FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
              WITH ORDINALITY AS i (channel_id, number, type, audience, subject, only_for, body, at, position)
         ORDER BY position RETURNING id",
    )
    .bind(columns.channel_id)
    .bind(columns.number)
    .bind(columns.kind)
    .bind(columns.audience)
    .bind(columns.subject)
    .bind(columns.only_for)
    .bind(columns.body)
    .bind(columns.created_at)
    .fetch_all(connection)
    .await?;
    for (event, id) in events.iter_mut().zip(ids) {
        event.id = Some(id);
    }
    Ok(())
}

/// Events by columns, as Postgres takes them.
#[derive(Default)]
struct Columns<'a> {
    channel_id: Vec<Option<i64>>,
    number: Vec<Option<i64>>,
    kind: Vec<&'a str>,
    audience: Vec<&'static str>,
    subject: Vec<Option<&'a str>>,
    /// Lists of different lengths make no array of arrays: as JSON.
    only_for: Vec<Option<String>>,
    body: Vec<&'a str>,
    created_at: Vec<Timestamp>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, event: &'a Event) {
        let (audience, user, only_for) = event.audience.columns();
        self.channel_id.push(event.channel_id);
        self.number.push(event.number);
        self.kind.push(&event.kind);
        self.audience.push(audience);
        self.subject.push(user.or(event.subject.as_deref()));
        self.only_for.push(only_for.and_then(|users| serde_json::to_string(users).ok()));
        self.body.push(std::str::from_utf8(&event.body).unwrap_or_default());
        self.created_at.push(event.created_at);
    }
}

impl Store {
    /// Where a follower that starts now begins.
    ///
    /// # Errors
    /// Postgres.
    pub async fn log_end(&self) -> Result<LogPosition> {
        let tx = sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1")
            .fetch_one(self.pool())
            .await?;
        Ok(LogPosition { tx, id: i64::MAX })
    }

    /// The next entries of the log, in the order of their transactions.
    ///
    /// # Errors
    /// Postgres.
    pub async fn log_after(&self, position: LogPosition, limit: i64) -> Result<Vec<LogEntry>> {
        let rows = sqlx::query_as(
            "SELECT tx, id, channel_id, number, type, audience, subject,
                 CASE WHEN audience = 'absent_users' THEN only_for END AS only_for FROM events
             WHERE (tx, id) > ($1, $2) AND tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
               AND created_at > now() - interval '1 day'
             ORDER BY tx, id LIMIT $3",
        )
        .bind(position.tx)
        .bind(position.id)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        Ok(rows)
    }

    /// Whole events by their keys, of the last day, in log order.
    ///
    /// # Errors
    /// Postgres.
    pub async fn events_by_id(&self, ids: &[i64], transactions: &[i64]) -> Result<Vec<Event>> {
        let rows: Vec<EventRow> = sqlx::query_as(select_events!(
            "WHERE tx = ANY($1) AND id = ANY($2) AND created_at > now() - interval '1 day' ORDER BY tx, id"
        ))
        .bind(transactions)
        .bind(ids)
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().filter_map(EventRow::into_event).collect())
    }

    /// A channel's numbered events after `after` and before `before`, of the last day.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channel_events_between(&self, channel_id: i64, after: i64, before: i64) -> Result<Vec<Event>> {
        let rows: Vec<EventRow> = sqlx::query_as(select_events!(
            "WHERE channel_id = $1 AND number > $2 AND number < $3 AND created_at > now() - interval '1 day'
             ORDER BY number LIMIT $4"
        ))
        .bind(channel_id)
        .bind(after)
        .bind(before)
        .bind(limits::SYNC_EVENTS_MAX as i64)
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().filter_map(EventRow::into_event).collect())
    }

    /// Events of channels after a point in time, oldest first, at most `limit`.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channel_events_since(
        &self,
        channel_ids: &[i64],
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<Event>> {
        let rows: Vec<EventRow> = sqlx::query_as(select_events!(
            "WHERE channel_id = ANY($1) AND created_at > $2 AND audience <> 'none'
             ORDER BY created_at, number LIMIT $3"
        ))
        .bind(channel_ids)
        .bind(since)
        .bind(limit as i64)
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().filter_map(EventRow::into_event).collect())
    }

    /// Number of the newest event of each channel.
    ///
    /// # Errors
    /// Postgres.
    pub async fn event_numbers(&self, channel_ids: &[i64]) -> Result<Vec<(i64, i64)>> {
        let rows = sqlx::query_as("SELECT channel_id, event_number FROM channel_heads WHERE channel_id = ANY($1)")
            .bind(channel_ids)
            .fetch_all(self.pool())
            .await?;
        Ok(rows)
    }

    /// Makes the log's partitions for today and the week ahead, and drops those that are too old. Any node may do it.
    ///
    /// # Errors
    /// Postgres.
    pub async fn create_event_partitions(&self) -> Result<()> {
        const DAYS_AHEAD: i64 = 7;
        let mut tx = self.writes.begin().await?;
        // One node at a time; the number has no meaning but must be the same everywhere.
        sqlx::query("SELECT pg_advisory_xact_lock(7164020801)").execute(&mut *tx).await?;
        let existing: Vec<String> = sqlx::query_scalar(
            "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'events'::regclass AND c.relname <> 'events_default' ORDER BY 1",
        )
        .fetch_all(&mut *tx)
        .await?;
        let today: Timestamp =
            sqlx::query_scalar("SELECT date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'")
                .fetch_one(&mut *tx)
                .await?;
        let name = |day: Timestamp| format!("events_{}", day.to_string()[..10].replace('-', ""));
        let day = |offset: i64| today.plus_seconds(offset * 86_400);
        for offset in 0..=DAYS_AHEAD {
            let partition = name(day(offset));
            if !existing.contains(&partition) {
                sqlx::query(sqlx::AssertSqlSafe(format!(
                    "CREATE TABLE {partition} PARTITION OF events FOR VALUES FROM ('{}') TO ('{}')",
                    day(offset),
                    day(offset + 1)
                )))
                .execute(&mut *tx)
                .await?;
            }
        }
        let oldest = name(day(-limits::EVENT_LOG_DAYS - 1));
        for partition in existing.iter().filter(|partition| **partition < oldest) {
            sqlx::query(sqlx::AssertSqlSafe(format!("DROP TABLE {partition}"))).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
