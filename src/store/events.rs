//! The log (`events`): written with every change, read by the relay, by `/sync` and gap repair, and by jobs.
//!
//! Partitioned by day (partitions.rs). Readers that follow the log take rows in the order of their transactions and stop
//! before the oldest one of this database that is still open (`log_floor!`), so a commit that comes late is never skipped. The
//! price: a transaction that writes here and stays open for long holds the readers back. It is paid in delay, not in loss. And
//! numbers of transactions mean nothing in another cluster, where a dump may be restored: see [`Store::settle_restored_log`].

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

impl LogEntry {
    pub fn position(&self) -> LogPosition {
        LogPosition { tx: self.tx, id: self.id }
    }

    /// What is long in it: the users whom alone it concerns.
    fn bytes(&self) -> usize {
        self.only_for.iter().flatten().map(String::len).sum()
    }
}

/// Entries of the log that follow each other.
#[derive(Debug)]
pub struct LogPage {
    pub entries: Vec<LogEntry>,
    /// There may be more behind them.
    pub more: bool,
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
            state: None,
            created_at: self.created_at,
            body: self.body.into(),
        })
    }
}

fn bytes_of(rows: &[EventRow]) -> usize {
    rows.iter().map(|row| row.body.len()).sum()
}

/// The first transaction that may still write to the log: all before it have ended, or are of other databases.
///
/// Numbers of transactions are the cluster's, and so is a snapshot's list of those that were open. One is left out of it only if
/// a connection to another database has it, and so it never writes here. Nothing else can look like that: the statement's
/// snapshot is taken before it looks at the connections, a connection keeps its place among them and its database for life, and
/// what is not known for certain (a prepared transaction, a worker without a database, what Postgres does not show) stays in.
/// So it may be lower for once than it was before: whoever reads on waits, and misses nothing.
macro_rules! log_floor {
    () => {
        "(SELECT least(min(open.xid::text::bigint), pg_snapshot_xmax(pg_current_snapshot())::text::bigint)
          FROM pg_snapshot_xip(pg_current_snapshot()) AS open (xid)
          WHERE NOT EXISTS (SELECT FROM pg_stat_activity other
              WHERE other.backend_xid = open.xid::xid AND other.datname <> current_database()))"
    };
}
pub(super) use log_floor;

/// The transaction up to which all have ended.
pub(super) const LOG_END: &str = concat!("SELECT ", log_floor!(), " - 1");

/// Whole events, in this order, up to the one with which they are more than `$1` bytes.
macro_rules! events_that_fit {
    ($order:literal, $which:literal) => {
        concat!(
            "SELECT * FROM (SELECT e.*, sum(octet_length(body)) OVER (ORDER BY ",
            $order,
            " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
              FROM (SELECT tx, id, channel_id, number, type, audience, subject, only_for, body, created_at FROM events ",
            $which,
            ") e) e WHERE coalesce(before, 0) <= $1 ORDER BY ",
            $order
        )
    };
}

/// The part of a channel's numbered events that somebody may have missed.
#[derive(sqlx::FromRow)]
struct Span {
    channel_id: i64,
    after: i64,
    last: i64,
    /// Something happened here at the very time: what was before it had been committed.
    known: bool,
}

/// Which numbers of channels `$1` are news since `$2`, or since `$3` where it is not known how far the channel was seen.
pub const EVENT_SPANS: &str = "SELECT c.id AS channel_id, h.event_number AS last, k.known,
        CASE WHEN k.known THEN s.number ELSE event_number_at(c.id, $3, $4) END AS after
    FROM unnest($1::bigint[]) AS c (id) JOIN channel_heads h ON h.channel_id = c.id
    CROSS JOIN LATERAL event_number_at(c.id, $2, $4) AS s (number)
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM events e
        WHERE e.channel_id = c.id AND e.number = s.number AND e.created_at = $2) AS known) k";

/// The events of those numbers, as far as they fit into `$6` bytes. The time leaves older partitions alone.
pub const NUMBERED_EVENTS: &str = "SELECT * FROM (
    SELECT e.*, sum(octet_length(e.body)) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS s (channel_id, after, last)
    CROSS JOIN LATERAL (SELECT id, channel_id, number, type, audience, subject, only_for, body, created_at FROM events
        WHERE channel_id = s.channel_id AND number > s.after AND number <= s.last AND created_at > $4
          AND audience <> 'none' LIMIT $5) e) e WHERE coalesce(before, 0) <= $6";

/// The events without a number. Notifications are written together with numbered events: known with them.
pub const UNNUMBERED_EVENTS: &str = "SELECT * FROM (
    SELECT e.*, sum(octet_length(e.body)) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM unnest($1::bigint[], $2::boolean[]) AS c (id, known)
    CROSS JOIN LATERAL (SELECT id, channel_id, number, type, audience, subject, only_for, body, created_at FROM events
        WHERE channel_id = c.id AND number IS NULL AND created_at > $4 AND audience <> 'none'
          AND (created_at > $3 OR NOT c.known OR audience <> 'absent_user') LIMIT $5) e LIMIT $5) e
    WHERE coalesce(before, 0) <= $6";

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
        let tx = sqlx::query_scalar(LOG_END).fetch_one(self.pool()).await?;
        Ok(LogPosition { tx, id: i64::MAX })
    }

    /// Makes rows that came from another Postgres cluster, in a dump, older than everything that happens from now on. Readers
    /// of the log would wait for their transactions, which may come in years, and then tell it all again.
    ///
    /// # Errors
    /// Postgres.
    pub async fn settle_restored_log(&self) -> Result<()> {
        const ROWS_PER_PIECE: u64 = 10_000;
        loop {
            // What a snapshot shows was written by transactions before its end, if it was written here.
            let settled = sqlx::query(
                "UPDATE events SET tx = 0 WHERE (tableoid, ctid) IN (
                     SELECT tableoid, ctid FROM events
                     WHERE tx >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                       AND created_at > now() - interval '1 day' LIMIT $1)",
            )
            .bind(ROWS_PER_PIECE as i64)
            .execute(self.pool())
            .await?
            .rows_affected();
            if settled > 0 {
                tracing::info!(events = settled, "events from another database cluster were settled");
            }
            if settled < ROWS_PER_PIECE {
                return Ok(());
            }
        }
    }

    /// The next entries of the log, in the order of their transactions: as far as they fit.
    ///
    /// # Errors
    /// Postgres.
    pub async fn log_after(&self, position: LogPosition, limit: i64) -> Result<LogPage> {
        let entries: Vec<LogEntry> = sqlx::query_as(concat!(
            "SELECT * FROM (
                 SELECT e.*, sum(octet_length(array_to_string(only_for, '')))
                     OVER (ORDER BY tx, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                 FROM (SELECT tx, id, channel_id, number, type, audience, subject,
                           CASE WHEN audience = 'absent_users' THEN only_for END AS only_for FROM events
                       WHERE (tx, id) > ($1, $2) AND tx < ",
            log_floor!(),
            "   AND created_at > now() - interval '1 day' ORDER BY tx, id LIMIT $3) e) e
             WHERE coalesce(before, 0) <= $4 ORDER BY tx, id",
        ))
        .bind(position.tx)
        .bind(position.id)
        .bind(limit)
        .bind(limits::LOG_READ_BYTES_MAX as i64)
        .fetch_all(self.pool())
        .await?;
        let bytes: usize = entries.iter().map(LogEntry::bytes).sum();
        let more = entries.len() as i64 == limit || bytes > limits::LOG_READ_BYTES_MAX;
        Ok(LogPage { entries, more })
    }

    /// Whole events by their places in the log, of the last day and in its order, as far as they fit. And how many of the places
    /// that are: one at least.
    ///
    /// # Errors
    /// Postgres.
    pub async fn events_at(&self, places: &[LogPosition]) -> Result<(Vec<Event>, usize)> {
        let places = &places[..places.len().min(limits::LOG_READ_EVENTS_MAX)];
        let (transactions, ids): (Vec<i64>, Vec<i64>) = places.iter().map(|place| (place.tx, place.id)).unzip();
        let rows: Vec<EventRow> = sqlx::query_as(events_that_fit!(
            "tx, id",
            "WHERE tx = ANY($2) AND id = ANY($3) AND created_at > now() - interval '1 day'"
        ))
        .bind(limits::LOG_READ_BYTES_MAX as i64)
        .bind(transactions)
        .bind(ids)
        .fetch_all(self.pool())
        .await?;
        // What is there no more is not waited for.
        let last = rows.last().filter(|_| bytes_of(&rows) > limits::LOG_READ_BYTES_MAX).map(|row| row.id);
        let read = last.and_then(|last| places.iter().position(|place| place.id == last));
        let read = read.map_or(places.len(), |index| index + 1);
        Ok((rows.into_iter().filter_map(EventRow::into_event).collect(), read))
    }

    /// A channel's numbered events after `after` and before `before`, of the last day, as far as they fit. And whether that is
    /// all of them.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channel_events_between(&self, channel_id: i64, after: i64, before: i64) -> Result<(Vec<Event>, bool)> {
        let rows: Vec<EventRow> = sqlx::query_as(events_that_fit!(
            "number",
            "WHERE channel_id = $2 AND number > $3 AND number < $4 AND created_at > now() - interval '1 day'
             ORDER BY number LIMIT $5"
        ))
        .bind(limits::LOG_READ_BYTES_MAX as i64)
        .bind(channel_id)
        .bind(after)
        .bind(before)
        .bind(limits::LOG_READ_EVENTS_MAX as i64)
        .fetch_all(self.pool())
        .await?;
        let whole = rows.len() < limits::LOG_READ_EVENTS_MAX && bytes_of(&rows) <= limits::LOG_READ_BYTES_MAX;
        Ok((rows.into_iter().filter_map(EventRow::into_event).collect(), whole))
    }

    /// Events of channels that somebody has not heard who heard something that happened at `since`, oldest first. `None` if they
    /// are more than `most`, or than `bytes_max`.
    ///
    /// An event's time is taken before its commit, so one of another channel may be older and yet have been seen by nobody
    /// then. Within a channel that cannot be: its numbers are the order of its commits. So a channel with an event of that very
    /// time is read from there on, and of any other one also the last [`limits::SYNC_OVERLAP`] before it.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channel_events_since(
        &self,
        channel_ids: &[i64],
        since: Timestamp,
        most: usize,
        bytes_max: usize,
    ) -> Result<Option<Vec<Event>>> {
        let most = most as i64;
        let from = since.plus_micros(-(limits::SYNC_OVERLAP.as_micros() as i64));
        let spans: Vec<Span> = sqlx::query_as(EVENT_SPANS)
            .bind(channel_ids)
            .bind(since)
            .bind(from)
            .bind(most + 1)
            .fetch_all(self.pool())
            .await?;
        if spans.iter().map(|span| span.last - span.after).sum::<i64>() > most {
            return Ok(None);
        }
        let channels: Vec<i64> = spans.iter().map(|span| span.channel_id).collect();
        let (after, last): (Vec<i64>, Vec<i64>) = spans.iter().map(|span| (span.after, span.last)).unzip();
        let mut rows: Vec<EventRow> = sqlx::query_as(NUMBERED_EVENTS)
            .bind(&channels)
            .bind(after)
            .bind(last)
            .bind(from)
            .bind(most)
            .bind(bytes_max as i64)
            .fetch_all(self.pool())
            .await?;
        let room = bytes_max.saturating_sub(bytes_of(&rows));
        let unnumbered: Vec<EventRow> = sqlx::query_as(UNNUMBERED_EVENTS)
            .bind(&channels)
            .bind(spans.iter().map(|span| span.known).collect::<Vec<_>>())
            .bind(since)
            .bind(from)
            .bind(most + 1)
            .bind(room as i64)
            .fetch_all(self.pool())
            .await?;
        rows.extend(unnumbered);
        // What does not fit any more was sent up to the first row too many.
        if rows.len() as i64 > most || bytes_of(&rows) > bytes_max {
            return Ok(None);
        }
        rows.sort_by_key(|row| (row.created_at, row.number));
        Ok(Some(rows.into_iter().filter_map(EventRow::into_event).collect()))
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
}
