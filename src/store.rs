//! Postgres: the truth, and the only place with SQL.
//!
//! A file per family of tables. Reads are methods of [`Store`], writes of [`Write`] (one transaction) or [`ChannelWrite`]
//! (one transaction that holds a channel's lock and its place in the log). Rows come back as plain structs; rendering them
//! is the domain's work. Statements are fixed texts with bound values; filters are compiled in `query`, values bound too.
//! They are checked by the tests that run every one of them on a real Postgres (docs/adr/0005), not at compile time.
//!
//! Lock order, everywhere: `channel_heads` first, in the order of ids, then anything else.

pub mod app;
pub mod appender;
pub mod channels;
pub mod connection;
pub mod devices;
pub mod drafts;
pub mod events;
mod filters;
pub mod members;
pub mod messages;
pub mod mutes;
mod partitions;
pub mod push;
pub mod query;
pub mod reactions;
pub mod removals;
pub mod rooms;
mod statement;
pub mod threads;
pub mod unread;
pub mod uploads;
pub mod users;
pub mod write;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::Secret;
use crate::error::{Error, Kind};
use crate::lanes::{Crowded, Lane, Lanes, Turn};
use crate::{limits, tasks, telemetry};

use channels::{Creation, NewChannel};
use connection::Patience;
use filters::Filters;
use statement::{Shared, Statement};
pub use write::{ChannelWrite, Write};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// What can go wrong below the domain.
#[derive(Debug)]
pub enum StoreError {
    /// Postgres is away, overloaded or shutting down; the same call may work later.
    Unavailable(sqlx::Error),
    /// Somebody else held a lock for too long. Nothing was written; the same call may work later.
    Locked,
    /// The same asker has too much running already. It may ask again when some of it is done.
    Crowded,
    /// A unique constraint of this name refused the row.
    Conflict(String),
    /// What a client asked for takes longer than it may.
    TooLong(sqlx::Error),
    /// A row that should not exist, or should.
    Inconsistent(&'static str),
    Migration(Box<sqlx::migrate::MigrateError>),
    Other(sqlx::Error),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unavailable(error) => write!(out, "postgres is not available: {error}"),
            Self::Locked => out.write_str("a lock was not to be had in time"),
            Self::Crowded => out.write_str("too much of one asker at once"),
            Self::Conflict(constraint) => write!(out, "refused by {constraint}"),
            Self::TooLong(error) => write!(out, "a client's filter took too long: {error}"),
            Self::Inconsistent(what) => write!(out, "inconsistent data: {what}"),
            Self::Migration(error) => write!(out, "migration: {error}"),
            Self::Other(error) => write!(out, "postgres: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(error)
                if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Crowded>) =>
            {
                Self::Crowded
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Unavailable(error),
            sqlx::Error::Database(database) => match database.code().as_deref() {
                Some("55P03") => Self::Locked,
                Some("23505") => Self::Conflict(database.constraint().unwrap_or_default().into()),
                // The transaction was idle for too long, and Postgres ended it.
                Some("25P03") => Self::Unavailable(error),
                // Connection exceptions, insufficient resources, operator intervention, serialisation and deadlock.
                Some(code) if ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class)) => {
                    Self::Unavailable(error)
                }
                _ => Self::Other(error),
            },
            _ => Self::Other(error),
        }
    }
}

impl From<StoreError> for Error {
    #[track_caller]
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Locked => Self::unavailable(error),
            StoreError::Crowded => {
                Self::new(Kind::RateLimited, "too many of your queries run at once: wait for their answers")
                    .because(error)
            }
            StoreError::TooLong(_) => Self::new(Kind::Timeout, "the filter takes too long: narrow it").because(error),
            _ => Self::internal(error),
        }
    }
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// How to reach Postgres.
#[derive(Clone, Debug)]
pub struct Address(PgConnectOptions);

impl Address {
    /// # Errors
    /// A text that is not a Postgres URL; the text itself is not repeated, it may hold a password.
    pub fn parse(url: &Secret) -> std::result::Result<Self, String> {
        PgConnectOptions::from_str(url.reveal())
            .map(|options| Self(options.application_name("millrace")))
            .map_err(|_| "DATABASE_URL is not a URL of the form postgres://user:password@host:port/database".into())
    }

    /// A Postgres that listens on a socket in this directory and trusts whoever reaches it.
    pub fn socket(directory: &std::path::Path, user: &str, database: &str) -> Self {
        let options = PgConnectOptions::new_without_pgpass().socket(directory).username(user).database(database);
        Self(options.application_name("millrace"))
    }

    /// Makes the database if the server does not have it yet.
    ///
    /// # Errors
    /// Postgres.
    pub async fn create_database(&self) -> Result<()> {
        let name = self.0.get_database().unwrap_or("postgres").to_owned();
        let mut connection = self.0.clone().database("postgres").connect().await?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&name)
            .fetch_one(&mut connection)
            .await?;
        if !exists {
            let quoted = name.replace('"', "\"\"");
            let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE \"{quoted}\""));
            sqlx::query(create).execute(&mut connection).await?;
        }
        Ok(())
    }

    /// Another database of the same server.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        Self(self.0.clone().database(name))
    }

    /// For whoever wants a plain connection.
    pub fn options(&self) -> PgConnectOptions {
        self.0.clone()
    }
}

/// The database.
///
/// Transactions have connections of their own. While one is open its caller may read what has been committed, and a pool
/// that both shared could be full of transactions that all wait for one more connection. What clients' filters have become has
/// connections of its own too, with less time: nobody knows beforehand what one costs, and others go on reading (filters.rs).
/// Of those for reads one asker has a few at a time, and strangers have half (statement.rs).
#[derive(Clone)]
pub struct Store {
    reads: PgPool,
    /// Turns to read of those for whom nobody vouches.
    strangers: Arc<Semaphore>,
    filters: Arc<Filters>,
    slow_filters: Arc<Filters>,
    writes: PgPool,
    lanes: Arc<Lanes>,
    address: Address,
}

impl Store {
    /// Opens the pools and one connection, to fail early. `connections_max` is for all pools together.
    ///
    /// # Errors
    /// Postgres cannot be reached or refuses the login.
    pub async fn connect(address: &Address, connections_max: u32) -> Result<Self> {
        let pool = |most: u32, statement: Duration| {
            let patience = Patience { statement, lock: limits::LOCK_WAIT };
            PgPoolOptions::new()
                .max_connections(most.max(1))
                .acquire_timeout(limits::CONNECTION_WAIT)
                .test_before_acquire(false)
                .before_acquire(|connection, known| {
                    Box::pin(async move {
                        // Postgres may have been started anew meanwhile. Then there is another one, and no request fails.
                        if known.idle_for >= limits::CONNECTION_RESTED {
                            connection.ping().await?;
                        }
                        Ok(true)
                    })
                })
                .after_connect(move |connection, _| Box::pin(connection::set_up(connection, patience, &[])))
        };
        let for_writes = connections_max * 2 / 5;
        let for_filters = connections_max / 5;
        let for_reads = connections_max - for_writes - for_filters;
        let reads = pool(for_reads, limits::STATEMENT_TIME).connect_with(address.options()).await?;
        let strangers = Arc::new(Semaphore::new((for_reads as usize / 2).max(1)));
        let filters = |connections, time| {
            Arc::new(Filters::new(connections, |most| pool(most, time).connect_lazy_with(address.options())))
        };
        let slow_filters = filters(for_filters / 2, limits::FILTER_TIME);
        let filters = filters(for_filters.div_ceil(2), limits::FILTER_TRIAL);
        let writes = pool(for_writes, limits::STATEMENT_TIME).connect_lazy_with(address.options());
        Ok(Self { reads, strangers, filters, slow_filters, writes, lanes: Arc::default(), address: address.clone() })
    }

    /// Applies the migrations that are missing, one node at a time.
    ///
    /// What waits for a table's lock holds up everybody who comes after it. So a migration waits a moment only, and comes back
    /// while somebody else (a dump, another node's migration) has the table.
    ///
    /// # Errors
    /// A migration fails, the database is newer than this program, or a table is locked for too long.
    pub async fn migrate(&self) -> Result<()> {
        let give_up = Instant::now() + limits::MIGRATION_WAIT;
        let patience = Patience { statement: Duration::ZERO, lock: limits::DDL_LOCK_WAIT };
        loop {
            // A connection of its own for each attempt: one that failed still holds the lock against other nodes.
            let mut connection = connection::open(&self.address, patience, &[]).await?;
            match MIGRATIONS.run(&mut connection).await {
                Err(error) if is_locked(&error) && Instant::now() < give_up => {
                    tracing::warn!(%error, "a migration waits for a lock");
                    tokio::time::sleep(limits::DDL_PAUSE).await;
                }
                done => return done.map_err(|error| StoreError::Migration(Box::new(error))),
            }
        }
    }

    /// Does the database have exactly the migrations of this program?
    ///
    /// # Errors
    /// It has none, lacks some, or has others; the text says which.
    pub async fn check_migrations(&self) -> Result<std::result::Result<(), String>> {
        telemetry::count_query();
        let applied: Option<i64> = match sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(&self.reads)
            .await
        {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => None,
            other => other?,
        };
        let newest = MIGRATIONS.iter().map(|migration| migration.version).max();
        Ok(if applied == newest {
            Ok(())
        } else {
            Err(format!(
                "the database is at migration {applied:?}, this program needs {newest:?}: run `millrace migrate`"
            ))
        })
    }

    /// Is Postgres there?
    ///
    /// # Errors
    /// It is not.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.reads).await?;
        Ok(())
    }

    /// A transaction that writes outside of any one channel.
    ///
    /// # Errors
    /// No connection.
    pub async fn write(&self) -> Result<Write> {
        Write::begin(self).await
    }

    /// A turn among the writers of a channel.
    ///
    /// # Errors
    /// There are too many, or it took too long.
    pub async fn turn_to_write(&self, channel_id: i64) -> Result<Turn> {
        self.lanes.enter(Lane::Channel(channel_id)).await.map_err(|_| StoreError::Locked)
    }

    /// A transaction that holds the lock of a channel, for whoever has its turn; `None` if there is no such channel.
    ///
    /// # Errors
    /// No connection, or the lock was not to be had in time.
    pub async fn write_channel(&self, channel_id: i64, turn: Turn) -> Result<Option<ChannelWrite>> {
        let give_up = turn.give_up;
        let lock = || async move { Write::begin_briefly(self).await?.lock_channel(channel_id, give_up).await };
        let write = when_free(&turn, lock).await?;
        Ok(write.map(|write| write.on(turn)))
    }

    /// Creates a channel in a transaction that holds its lock, or takes the lock of the one that has the name. Nothing, if that one
    /// lost the name meanwhile.
    ///
    /// # Errors
    /// No connection, or the lock was not to be had in time.
    pub async fn create_channel(&self, new: &NewChannel) -> Result<Option<Creation>> {
        let turn = self.lanes.enter(Lane::New(new.cid.to_string())).await.map_err(|_| StoreError::Locked)?;
        let give_up = turn.give_up;
        let create = || async move { Write::begin_briefly(self).await?.create_channel(new, give_up).await };
        let creation = Box::pin(when_free(&turn, create)).await?;
        Ok(creation.map(|creation| creation.on(turn)))
    }

    pub async fn close(&self) {
        self.writes.close().await;
        self.filters.close().await;
        self.slow_filters.close().await;
        self.reads.close().await;
    }

    /// For one statement, at its asker's turn; counted for the request's log line. It ends with whoever waits for it.
    fn pool(&self) -> Statement<'_> {
        telemetry::expect_no_transaction();
        telemetry::count_query();
        Statement::shared(&self.reads, Shared { lanes: &self.lanes, strangers: &self.strangers })
    }

    /// The same for a statement that changes something: whoever asked for it is not let go before it is done.
    fn change(&self) -> Statement<'_> {
        tasks::begin();
        self.pool()
    }
}

/// Tries to get a channel's lock, each time with a connection for a moment only, until it is free.
///
/// # Errors
/// Whatever else went wrong, or it took too long.
async fn when_free<T, F>(turn: &Turn, lock: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    loop {
        match lock().await {
            Err(StoreError::Locked) if Instant::now() < turn.give_up => {
                tokio::time::sleep(limits::CHANNEL_LOCK_PAUSE).await;
            }
            done => return done,
        }
    }
}

fn is_locked(error: &sqlx::migrate::MigrateError) -> bool {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    let (Execute(error) | ExecuteMigration(error, _)) = error else { return false };
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
}
