//! Connections to Postgres, and the time limits that Postgres keeps on each of them.
//!
//! A statement, a wait for a lock, an idle transaction and a silent client all have an end (limits.rs), so whatever one request
//! or one dead node holds is free again soon. They are set by a statement on the open connection, not while it opens: poolers in front of
//! Postgres refuse startup options.

use std::time::Duration;

use sqlx::{ConnectOptions, PgConnection};

use super::{Address, Result, StoreError};
use crate::limits;

/// How long Postgres tries on behalf of a connection; zero is for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For one statement.
    pub statement: Duration,
    /// For any one lock in it.
    pub lock: Duration,
}

/// A connection outside of the pools, with more settings.
pub(super) async fn open(address: &Address, patience: Patience, more: &[(&str, &str)]) -> Result<PgConnection> {
    let open = async {
        let mut connection = address.options().connect().await?;
        set_up(&mut connection, patience, more).await?;
        Ok(connection)
    };
    within(limits::CONNECTION_WAIT, open).await
}

/// Tells a connection its limits. Settings that this Postgres does not have (13 cannot look for its client) are left out.
pub(super) async fn set_up(
    connection: &mut PgConnection,
    patience: Patience,
    more: &[(&str, &str)],
) -> sqlx::Result<()> {
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    let seconds = |time: Duration| time.as_secs().to_string();
    let bounds = [
        ("statement_timeout", millis(patience.statement)),
        ("lock_timeout", millis(patience.lock)),
        ("idle_in_transaction_session_timeout", millis(limits::IDLE_TRANSACTION)),
        ("client_connection_check_interval", millis(limits::CLIENT_CHECK_EVERY)),
        ("tcp_keepalives_idle", seconds(limits::KEEPALIVE_AFTER)),
        ("tcp_keepalives_interval", seconds(limits::KEEPALIVE_EVERY)),
        ("tcp_keepalives_count", limits::KEEPALIVES_MAX.to_string()),
        ("tcp_user_timeout", millis(limits::UNACKNOWLEDGED)),
    ];
    let all = bounds.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied());
    let (names, values): (Vec<&str>, Vec<&str>) = all.unzip();
    sqlx::query(
        "SELECT set_config(known.name, wanted.value, false)
         FROM unnest($1::text[], $2::text[]) AS wanted (name, value) JOIN pg_settings known ON known.name = wanted.name",
    )
    .persistent(false)
    .bind(names)
    .bind(values)
    .execute(connection)
    .await?;
    Ok(())
}

/// What a call to Postgres gives, or an error when its time is over. The connection is of no use then.
///
/// # Errors
/// Those of the call; `Unavailable` when its time is over.
pub async fn within<T>(time: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Err(StoreError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
    tokio::time::timeout(time, call).await.unwrap_or_else(late)
}
