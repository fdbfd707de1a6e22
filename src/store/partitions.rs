//! The partitions of the log: one for each day, made a week ahead, dropped when the log no longer reaches back to them.
//!
//! Sends never wait for this work and never need it. A statement that waits for the lock of a table makes everybody wait who comes
//! after it, and behind an open reader (a dump) that would be every send. So each step is a short transaction that waits a
//! moment for its locks, and otherwise fails and is tried again later. A day that has no partition by then goes to `events_default`, and is
//! moved to a partition of its own.
//!
//! A table with the name of a day that is no partition is left over: a day that was not moved to its end, or one that was
//! taken out and not yet dropped. Nobody reads it, so it can go. (Postgres takes no partition out `CONCURRENTLY` beside a
//! default one. What is left is an exclusive lock for a blink.)

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use wire::Timestamp;

use super::connection::{self, Patience};
use super::events::{LogPosition, log_floor};
use super::{Result, Store, StoreError};
use crate::limits;

const DAYS_AHEAD: i64 = 7;
const DAY_SECONDS: i64 = 86_400;
/// Rows that are moved at once.
const ROWS_PER_PIECE: i64 = 10_000;

/// A day, in UTC, by its first moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
struct Day(Timestamp);

impl Day {
    fn plus(self, days: i64) -> Self {
        Self(self.0.plus_seconds(days * DAY_SECONDS))
    }

    /// The name of its table.
    fn table(self) -> String {
        format!("events_{}", self.0.to_string()[..10].replace('-', ""))
    }

    /// Its bounds, as SQL: from, and up to.
    fn bounds(self) -> (String, String) {
        (format!("'{}'", self.0), format!("'{}'", self.plus(1).0))
    }
}

/// A table with the name of a day.
#[derive(sqlx::FromRow)]
struct Table {
    name: String,
    is_partition: bool,
}

impl Store {
    /// Makes the log's partitions for today and the week ahead, empties the default one, and drops what is too old. Any node
    /// may do it at any time; one does.
    ///
    /// # Errors
    /// Postgres, or a lock that was not to be had: some of it is still to be done, and nothing waits for it.
    pub async fn keep_event_partitions(&self) -> Result<()> {
        let patience = Patience { statement: limits::PARTITION_STATEMENT_TIME, lock: limits::DDL_LOCK_WAIT };
        let mut connection = connection::open(&self.address, patience, &[]).await?;
        // Held by this connection; the number has no meaning but must be the same everywhere.
        let is_ours: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_lock(7164020801)").fetch_one(&mut connection).await?;
        let done = if is_ours { keep(&mut connection).await } else { Ok(()) };
        let _ = connection.close().await;
        done
    }
}

async fn keep(connection: &mut PgConnection) -> Result<()> {
    let today: Day =
        sqlx::query_scalar("SELECT date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'")
            .fetch_one(&mut *connection)
            .await?;
    let oldest = today.plus(-limits::EVENT_LOG_DAYS - 1);
    // Each does what it can, whatever became of the one before.
    let mut cleared = Ok(());
    for table in tables(connection).await?.iter().filter(|table| !table.is_partition) {
        cleared = run(connection, format!("DROP TABLE {}", table.name)).await.and(cleared);
    }
    let emptied = empty_default(connection, oldest).await;
    let made = make_ahead(connection, today).await;
    let dropped = drop_old(connection, oldest).await;
    cleared.and(emptied).and(made).and(dropped)
}

async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>> {
    let tables = sqlx::query_as(
        "SELECT c.relname::text AS name,
                EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) AS is_partition
         FROM pg_class c
         WHERE c.relkind = 'r' AND c.relname ~ '^events_[0-9]{8}$'
           AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'events'::regclass)
         ORDER BY 1",
    )
    .fetch_all(connection)
    .await?;
    Ok(tables)
}

async fn make_ahead(connection: &mut PgConnection, today: Day) -> Result<()> {
    let tables = tables(connection).await?;
    let mut done = Ok(());
    for day in (0..=DAYS_AHEAD).map(|offset| today.plus(offset)) {
        if !tables.iter().any(|table| table.name == day.table()) {
            done = make_one(connection, day).await.and(done);
        }
    }
    done
}

async fn make_one(connection: &mut PgConnection, day: Day) -> Result<()> {
    let mut tx = connection.begin().await?;
    make(&mut tx, day).await?;
    attach(&mut tx, day).await?;
    tx.commit().await?;
    Ok(())
}

/// A table like the log's others, outside of the log.
async fn make(connection: &mut PgConnection, day: Day) -> Result<()> {
    run(connection, format!("CREATE TABLE {} (LIKE events INCLUDING ALL)", day.table())).await
}

/// Makes a table part of the log. It locks the table and the default partition, not the log itself.
async fn attach(connection: &mut PgConnection, day: Day) -> Result<()> {
    let (from, to) = day.bounds();
    let table = day.table();
    run(connection, format!("ALTER TABLE events ATTACH PARTITION {table} FOR VALUES FROM ({from}) TO ({to})")).await
}

async fn drop_old(connection: &mut PgConnection, oldest: Day) -> Result<()> {
    for table in tables(connection).await?.iter().filter(|table| table.name < oldest.table()) {
        run(connection, format!("ALTER TABLE events DETACH PARTITION {}", table.name)).await?;
        // Files take their time to go: when nobody needs the log's lock for it.
        run(connection, format!("DROP TABLE {}", table.name)).await?;
    }
    Ok(())
}

/// Moves what has no partition into one of its own, day by day; what is older than the log reaches back is dropped.
///
/// Rows are copied while everybody goes on. At the end, in one transaction under the log's lock, the last ones are copied,
/// the default partition is emptied and the days are attached: no reader ever misses a row or sees it twice.
async fn empty_default(connection: &mut PgConnection, oldest: Day) -> Result<()> {
    let days = days_in_default(connection, oldest).await?;
    if days.is_empty() {
        return Ok(());
    }
    let mut copied = Vec::with_capacity(days.len());
    for day in &days {
        make(connection, *day).await?;
        // Spares a look at all of its rows when it is attached.
        let (from, to) = day.bounds();
        let check = format!("CHECK (created_at >= {from} AND created_at < {to})");
        run(connection, format!("ALTER TABLE {} ADD {check}", day.table())).await?;
        let mut position = LogPosition { tx: i64::MIN, id: i64::MIN };
        while let Some(further) = copy_piece(connection, *day, position).await? {
            position = further;
        }
        copied.push(position);
    }
    let mut tx = connection.begin().await?;
    run(&mut tx, "LOCK TABLE ONLY events, ONLY events_default IN ACCESS EXCLUSIVE MODE".into()).await?;
    if days_in_default(&mut tx, oldest).await? != days {
        return Err(StoreError::Inconsistent("another day began while the log's default partition was emptied"));
    }
    for (day, position) in days.iter().zip(copied) {
        copy_rest(&mut tx, *day, position).await?;
    }
    run(&mut tx, "TRUNCATE events_default".into()).await?;
    for day in &days {
        attach(&mut tx, *day).await?;
    }
    tx.commit().await?;
    tracing::info!(days = days.len(), "days of the log have got partitions of their own");
    Ok(())
}

async fn days_in_default(connection: &mut PgConnection, oldest: Day) -> Result<Vec<Day>> {
    let days = sqlx::query_scalar(
        "SELECT DISTINCT date_trunc('day', created_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' FROM events_default
         WHERE created_at >= $1 ORDER BY 1",
    )
    .bind(oldest)
    .fetch_all(connection)
    .await?;
    Ok(days)
}

/// Copies the next rows of a day, as a follower of the log reads them: none that may still be followed by an earlier one.
async fn copy_piece(connection: &mut PgConnection, day: Day, after: LogPosition) -> Result<Option<LogPosition>> {
    let last: Option<(i64, i64)> = sqlx::query_as(AssertSqlSafe(format!(
        "WITH piece AS (
             SELECT * FROM events_default
             WHERE (tx, id) > ($1, $2) AND tx < {} AND created_at >= $3 AND created_at < $4
             ORDER BY tx, id LIMIT $5
         ), copied AS (INSERT INTO {} SELECT * FROM piece)
         SELECT tx, id FROM piece ORDER BY tx DESC, id DESC LIMIT 1",
        log_floor!(),
        day.table()
    )))
    .bind(after.tx)
    .bind(after.id)
    .bind(day)
    .bind(day.plus(1))
    .bind(ROWS_PER_PIECE)
    .fetch_optional(connection)
    .await?;
    Ok(last.map(|(tx, id)| LogPosition { tx, id }))
}

/// Copies what has come since.
async fn copy_rest(connection: &mut PgConnection, day: Day, after: LogPosition) -> Result<()> {
    sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO {} SELECT * FROM events_default WHERE (tx, id) > ($1, $2) AND created_at >= $3 AND created_at < $4",
        day.table()
    )))
    .bind(after.tx)
    .bind(after.id)
    .bind(day)
    .bind(day.plus(1))
    .execute(connection)
    .await?;
    Ok(())
}

/// A statement about tables; they cannot be bound as values. All names are made here, of days.
async fn run(connection: &mut PgConnection, statement: String) -> Result<()> {
    sqlx::query(AssertSqlSafe(statement)).persistent(false).execute(connection).await?;
    Ok(())
}
