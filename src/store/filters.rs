//! The connections on which clients' filters run (docs/adr/0019).
//!
//! Nobody knows beforehand what a filter costs. So each is tried for a moment, and one that takes longer begins anew among the slow
//! ones, on connections of their own: few slow filters, and many, make those that are not wait for a moment at most.

use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::query::Sql;
use super::statement::Statement;
use super::{Result, Store, StoreError};
use crate::asker;
use crate::lanes::Lane;
use crate::{limits, telemetry};

/// Connections for filters, of which those for whom nobody vouches have half at most: they may come from any number of addresses.
#[derive(Debug)]
pub(super) struct Filters {
    pool: PgPool,
    strangers: Semaphore,
}

impl Filters {
    pub(super) fn new(connections: u32, pool: impl FnOnce(u32) -> PgPool) -> Self {
        let connections = connections.max(1);
        Self { pool: pool(connections), strangers: Semaphore::new((connections as usize / 2).max(1)) }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    async fn run<T>(&self, mut sql: Sql, by_stranger: bool) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let turn = by_stranger.then(|| timeout(limits::LANE_WAIT, self.strangers.acquire()));
        let _turn = match turn {
            Some(turn) => Some(turn.await.map_err(|_| StoreError::Crowded)?),
            None => None,
        };
        telemetry::count_query();
        sql.build_query_as().fetch_all(Statement::unshared(&self.pool)).await.map_err(|error| {
            let is_stopped = error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("57014"));
            // Its time was over, and that is its author's.
            if is_stopped { StoreError::TooLong(error) } else { error.into() }
        })
    }
}

impl Store {
    /// Runs a statement that a client's filter is in, as soon as it is its asker's turn.
    ///
    /// # Errors
    /// Postgres, a filter that takes too long, or too many of the asker's at once.
    pub(super) async fn filtered<T>(&self, sql: impl Fn() -> Sql) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        telemetry::expect_no_transaction();
        let by_stranger = asker::is_stranger();
        let _turn = match asker::current() {
            Some(asker) => Some(self.lanes.enter(Lane::Filters(asker)).await.map_err(|_| StoreError::Crowded)?),
            None => None,
        };
        match self.filters.run(sql(), by_stranger).await {
            Err(StoreError::TooLong(_)) => self.slow_filters.run(sql(), by_stranger).await,
            done => done,
        }
    }
}
