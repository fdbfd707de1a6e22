//! Transactions, and the place of what they write in the log.
//!
//! A change and the events that tell of it are committed together: nothing is announced that did not happen, and nothing
//! happens that the log does not know. [`ChannelWrite`] holds the channel's lock from its first statement to its commit, so
//! within a channel the order of numbers, of times and of commits is one order.
//!
//! An open transaction holds locks that others wait for. It waits for nobody: what it needs to know it asks by its own
//! connection or was told before it began. Caches are looked at, never loaded; Redis is not asked at all.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use wire::Timestamp;

use super::connection::within;
use super::{Result, Store};
use crate::events::Event;
use crate::lanes::Turn;
use crate::{limits, tasks, telemetry};

/// One transaction.
pub struct Write {
    tx: Transaction,
    events: Vec<Event>,
    /// While it lives, nobody else is waited for.
    _open: telemetry::InTransaction,
}

/// A transaction on a connection of the pool. One that is given up is rolled back, and a connection that does not answer to that
/// is closed: the pool would wait for it, and one after the other all of the pool would be gone.
struct Transaction(Option<PoolConnection<Postgres>>);

impl Transaction {
    async fn begin(pool: &PgPool, begin: String) -> Result<Self> {
        let mut transaction = Self(Some(pool.acquire().await?));
        transaction.say(begin).await?;
        Ok(transaction)
    }

    async fn commit(mut self) -> Result<()> {
        self.say("COMMIT".into()).await?;
        drop(self.0.take());
        Ok(())
    }

    async fn say(&mut self, statement: String) -> Result<()> {
        let said = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(self.connection());
        within(limits::STATEMENT_PATIENCE, async { Ok(said.await?) }).await?;
        Ok(())
    }

    fn connection(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(mut connection) = self.0.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return drop(connection.detach()) };
        runtime.spawn(async move {
            let undo = sqlx::raw_sql("ROLLBACK").execute(&mut *connection);
            if !matches!(timeout(limits::ROLLBACK_TIME, undo).await, Ok(Ok(_))) {
                drop(connection.detach());
            }
        });
    }
}

/// Where a channel's log stands (`channel_heads`).
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Head {
    pub channel_id: i64,
    pub message_seq: i64,
    pub message_count: i64,
    pub counted: i64,
    pub shown_seq: i64,
    pub floor_seq: i64,
    pub floor_counted: i64,
    pub event_number: i64,
    pub event_at: Timestamp,
    /// How often rights have been taken away in the channel ([`ChannelWrite::take_rights`]).
    pub rights: i64,
    pub last_message_at: Option<Timestamp>,
}

/// One transaction that holds a channel's lock.
pub struct ChannelWrite {
    write: Write,
    /// As it will be written on commit.
    pub head: Head,
    now: Timestamp,
    /// Its place in the channel's lane: the next writer gets it when this one is done.
    turn: Option<Turn>,
}

impl Write {
    pub(super) async fn begin(store: &Store) -> Result<Self> {
        Self::begin_with(store, "BEGIN".into()).await
    }

    /// One that waits for its first lock only for a moment ([`Write::lock_channel`] makes it wait like others from then on).
    pub(super) async fn begin_briefly(store: &Store) -> Result<Self> {
        let patience = limits::CHANNEL_LOCK_PATIENCE.as_millis();
        Self::begin_with(store, format!("BEGIN; SET LOCAL lock_timeout = {patience}")).await
    }

    async fn begin_with(store: &Store, begin: String) -> Result<Self> {
        telemetry::count_query();
        let open = telemetry::InTransaction::begin();
        tasks::begin();
        Ok(Self { tx: Transaction::begin(&store.writes, begin).await?, events: Vec::new(), _open: open })
    }

    /// The connection, for one statement; counted for the request's log line.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        telemetry::count_query();
        self.tx.connection()
    }

    /// Adds an event that is outside of any channel's numbering.
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Writes the events, commits, and gives back what is now to be announced.
    ///
    /// # Errors
    /// Nothing has happened then, unless the connection broke during the commit itself.
    pub async fn commit(mut self) -> Result<Vec<Event>> {
        let mut events = std::mem::take(&mut self.events);
        if !events.is_empty() {
            super::events::insert(self.connection(), &mut events).await?;
        }
        telemetry::count_query();
        self.tx.commit().await?;
        Ok(events)
    }
}

impl ChannelWrite {
    /// The same, which stays in its lane until it ends.
    pub(super) fn on(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }

    /// A time later than everything in the channel's log, the same for all that this transaction writes.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Adds an event with the channel's next number.
    pub fn event(&mut self, mut event: Event) {
        self.head.event_number += 1;
        event.place_in_channel(self.head.channel_id, self.head.event_number);
        self.write.event(event);
    }

    /// Adds an event that belongs to the channel but does not take a number: one for a single user, or a read.
    pub fn unnumbered_event(&mut self, mut event: Event) {
        event.channel_id = Some(self.head.channel_id);
        self.write.event(event);
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.write.connection()
    }

    /// The transaction, to go on with another channel, and the place in the lane. Nothing of this one's head may have changed.
    pub(super) fn into_parts(self) -> (Write, Option<Turn>) {
        (self.write, self.turn)
    }

    /// The transaction itself, for what is not of the channel.
    pub fn write(&mut self) -> &mut Write {
        &mut self.write
    }

    /// Writes the head and the events, commits, and gives back what is now to be announced.
    ///
    /// # Errors
    /// Nothing has happened then, unless the connection broke during the commit itself.
    pub async fn commit(mut self) -> Result<Vec<Event>> {
        let head = self.head.clone();
        sqlx::query(
            "UPDATE channel_heads SET message_seq = $2, message_count = $3, counted = $4, shown_seq = $5, floor_seq = $6,
                    floor_counted = $7, event_number = $8, event_at = $9, last_message_at = $10, rights = $11
             WHERE channel_id = $1",
        )
        .bind(head.channel_id)
        .bind(head.message_seq)
        .bind(head.message_count)
        .bind(head.counted)
        .bind(head.shown_seq)
        .bind(head.floor_seq)
        .bind(head.floor_counted)
        .bind(head.event_number)
        .bind(self.now)
        .bind(head.last_message_at)
        .bind(head.rights)
        .execute(self.connection())
        .await?;
        self.write.commit().await
    }
}

impl Write {
    /// Takes the lock of a channel within this transaction; `None` if there is no such channel. It waits for other locks for as long
    /// as its caller would still have waited for this one: what a writer waits for has one end.
    pub(super) async fn lock_channel(mut self, channel_id: i64, give_up: Instant) -> Result<Option<ChannelWrite>> {
        let head: Option<Head> = sqlx::query_as("SELECT * FROM channel_heads WHERE channel_id = $1 FOR UPDATE")
            .bind(channel_id)
            .fetch_optional(self.connection())
            .await?;
        let Some(head) = head else {
            return Ok(None);
        };
        let patience = give_up.saturating_duration_since(Instant::now()).max(limits::CHANNEL_LOCK_PATIENCE);
        // After the lock is held, in a statement of its own: the clock is read later than every earlier writer's.
        let clock: Timestamp = sqlx::query_scalar("SELECT clock_timestamp() FROM set_config('lock_timeout', $1, true)")
            .bind(patience.as_millis().to_string())
            .fetch_one(self.connection())
            .await?;
        let now = clock.max(head.event_at.plus_micros(1));
        Ok(Some(ChannelWrite { write: self, head, now, turn: None }))
    }
}
