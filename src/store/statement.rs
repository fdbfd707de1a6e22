//! One statement on a connection of the pool, which ends with whoever waits for it.
//!
//! The pool itself would take the connection back and wait until the statement is done: somebody who asks and hangs up, again
//! and again, would hold all of it. Here a connection that is left in the middle of a statement is closed, and Postgres stops
//! the statement when it notices.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryFutureExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::limits::STATEMENT_PATIENCE;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Statement<'p>(pub(super) &'p PgPool);

/// A connection in the middle of a statement, until it is [settled](Busy::settle).
struct Busy(Option<PoolConnection<Postgres>>);

impl Busy {
    async fn acquire(pool: &PgPool) -> Result<Self, Error> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    fn connection(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("it is there until it is dropped")
    }

    /// Gives the connection back if it has answered; one that has not is closed.
    fn settle<T>(mut self, answer: Result<Result<T, Error>, Elapsed>) -> Result<T, Error> {
        let answer = answer.map_err(|_| Error::Io(std::io::ErrorKind::TimedOut.into()))?;
        drop(self.0.take());
        answer
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
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
            let mut busy = Busy::acquire(self.0).await?;
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
            let mut busy = Busy::acquire(self.0).await?;
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
            let mut busy = Busy::acquire(self.0).await?;
            let found = timeout(STATEMENT_PATIENCE, busy.connection().fetch_optional(query)).await;
            busy.settle(found)
        })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut busy = Busy::acquire(self.0).await?;
            let prepared = timeout(STATEMENT_PATIENCE, busy.connection().prepare_with(sql, parameters)).await;
            busy.settle(prepared)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut busy = Busy::acquire(self.0).await?;
            let described = timeout(STATEMENT_PATIENCE, busy.connection().describe(sql)).await;
            busy.settle(described)
        })
    }
}
