//! One statement on a connection of the pool, which ends with whoever waits for it.
//!
//! The pool itself would take the connection back and wait until the statement is done: somebody who asks and hangs up, again
//! and again, would hold all of it. Here a connection that is left in the middle of a statement is closed, and Postgres stops
//! the statement when it notices.
//!
//! Of the pool that everybody reads from one asker has a few connections at a time, and all for whom nobody vouches have half: the
//! statement waits for its asker's turn before it takes a connection, and for nothing while it has one.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryFutureExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::asker;
use crate::lanes::{Crowded, Lanes};
use crate::limits::{LANE_WAIT, STATEMENT_PATIENCE};

/// See the head of this file.
pub(super) struct Statement<'p> {
    pool: &'p PgPool,
    shared: Option<Shared<'p>>,
}

/// How a pool is shared out.
#[derive(Clone, Copy)]
pub(super) struct Shared<'p> {
    pub lanes: &'p Arc<Lanes>,
    /// Turns of those for whom nobody vouches: they may come from any number of addresses.
    pub strangers: &'p Semaphore,
}

impl<'p> Statement<'p> {
    /// On a pool that askers share.
    pub(super) fn shared(pool: &'p PgPool, shared: Shared<'p>) -> Self {
        Self { pool, shared: Some(shared) }
    }

    /// Of somebody whose turn it is already.
    pub(super) fn unshared(pool: &'p PgPool) -> Self {
        Self { pool, shared: None }
    }

    async fn acquire(&self) -> Result<Busy<'p>, Error> {
        let (turn, stranger) = match self.shared {
            Some(shared) => shared.turn().await.map_err(std::io::Error::other)?,
            None => (None, None),
        };
        Ok(Busy { connection: Some(self.pool.acquire().await?), _turn: turn, _stranger: stranger })
    }
}

impl<'p> Shared<'p> {
    async fn turn(self) -> Result<(Option<OwnedSemaphorePermit>, Option<SemaphorePermit<'p>>), Crowded> {
        let own = asker::turn_to_read(self.lanes).await?;
        if own.is_none() || !asker::is_stranger() {
            return Ok((own, None));
        }
        let among = timeout(LANE_WAIT, self.strangers.acquire()).await;
        Ok((own, Some(among.map_err(|_| Crowded)?.map_err(|_| Crowded)?)))
    }
}

impl std::fmt::Debug for Statement<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Statement").field(self.pool).finish()
    }
}

/// A connection in the middle of a statement, until it is [settled](Busy::settle).
struct Busy<'p> {
    connection: Option<PoolConnection<Postgres>>,
    _turn: Option<OwnedSemaphorePermit>,
    _stranger: Option<SemaphorePermit<'p>>,
}

impl Busy<'_> {
    fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is there until it is dropped")
    }

    /// Gives the connection back if it has answered; one that has not is closed.
    fn settle<T>(mut self, answer: Result<Result<T, Error>, Elapsed>) -> Result<T, Error> {
        let answer = answer.map_err(|_| Error::Io(std::io::ErrorKind::TimedOut.into()))?;
        drop(self.connection.take());
        answer
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

/// What comes back is read whole before it is handed on, as every caller wants it.
impl<'p> Executor<'p> for Statement<'p> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let all = async move {
            let mut busy = self.acquire().await?;
            let all = timeout(STATEMENT_PATIENCE, busy.connection().fetch_many(query).try_collect::<Vec<_>>()).await;
            busy.settle(all).map(|all| stream::iter(all.into_iter().map(Ok)))
        };
        all.try_flatten_stream().boxed()
    }

    fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Vec<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let mut busy = self.acquire().await?;
            let found = timeout(STATEMENT_PATIENCE, busy.connection().fetch_all(query)).await;
            busy.settle(found)
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let mut busy = self.acquire().await?;
            let found = timeout(STATEMENT_PATIENCE, busy.connection().fetch_optional(query)).await;
            busy.settle(found)
        })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut busy = self.acquire().await?;
            let prepared = timeout(STATEMENT_PATIENCE, busy.connection().prepare_with(sql, parameters)).await;
            busy.settle(prepared)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut busy = self.acquire().await?;
            let described = timeout(STATEMENT_PATIENCE, busy.connection().describe(sql)).await;
            busy.settle(described)
        })
    }
}
