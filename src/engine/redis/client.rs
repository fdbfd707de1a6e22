//! One connection for commands, to a single server or to a cluster, and what to do while there is none.
//!
//! A server that stands still answers nobody, and everybody who asks would wait for the time-out once more. So whoever waited
//! for one in vain takes the connection away: all who wait on it, and all who come after, are told at once that Redis is away,
//! and do with what this node knows. One task tries again, with growing pauses, until a new connection answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Script};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{config, telemetry};

/// Longest wait for an answer. A request must never hang on Redis.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a connection was lost; each one after it is twice as long.
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(100);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A connection that lasted for so long was a good one: the pauses begin anew.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// A connection that is made again when it is lost. Clones share it.
#[derive(Clone)]
pub(super) struct Client(Arc<Inner>);

struct Inner {
    config: config::Redis,
    current: Mutex<Current>,
    /// Connections that were made so far, the first one not counted.
    made: watch::Sender<u64>,
}

/// The connection, or none while Redis is away.
struct Current {
    connection: Option<Open>,
    since: Instant,
    pause: Duration,
}

#[derive(Clone)]
struct Open {
    line: Line,
    /// Cancelled when somebody waited in vain.
    lost: CancellationToken,
}

#[derive(Clone)]
enum Line {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Line {
    /// A new one that answers.
    async fn open(config: &config::Redis) -> RedisResult<Self> {
        let line = if config.cluster {
            let urls: Vec<&str> = config.urls.iter().map(config::Secret::reveal).collect();
            let client = ClusterClientBuilder::new(urls)
                .connection_timeout(RESPONSE_TIMEOUT)
                .response_timeout(RESPONSE_TIMEOUT)
                .build()?;
            Self::Cluster(client.get_async_connection().await?)
        } else {
            let settings = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(RESPONSE_TIMEOUT))
                .set_response_timeout(Some(RESPONSE_TIMEOUT));
            let client = redis::Client::open(config.urls[0].reveal())?;
            Self::Single(client.get_multiplexed_async_connection_with_config(&settings).await?)
        };
        line.command::<()>(&redis::cmd("PING")).await?;
        Ok(line)
    }

    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Single(connection) => command.query_async(&mut connection.clone()).await,
            Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }

    async fn send_all(&self, commands: Vec<Cmd>) -> RedisResult<()> {
        match self {
            Self::Single(connection) => {
                let mut pipeline = Pipeline::with_capacity(commands.len());
                for command in commands {
                    pipeline.add_command(command).ignore();
                }
                pipeline.exec_async(&mut connection.clone()).await
            }
            Self::Cluster(connection) => {
                let sends = commands.iter().map(|command| {
                    let mut connection = connection.clone();
                    async move { command.exec_async(&mut connection).await }
                });
                futures_util::future::try_join_all(sends).await.map(|_| ())
            }
        }
    }
}

impl Client {
    pub(super) async fn connect(config: &config::Redis) -> RedisResult<Self> {
        let open = Open { line: Line::open(config).await?, lost: CancellationToken::new() };
        let current = Current { connection: Some(open), since: Instant::now(), pause: RECONNECT_PAUSE_MIN };
        tell(true);
        Ok(Self(Arc::new(Inner { config: config.clone(), current: Mutex::new(current), made: watch::Sender::new(0) })))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is Redis away, as far as is known?
    pub(super) fn is_away(&self) -> bool {
        self.current().connection.is_none()
    }

    /// Changes whenever Redis is back after it was away.
    pub(super) fn returns(&self) -> watch::Receiver<u64> {
        self.0.made.subscribe()
    }

    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        self.ask(async |line| line.command(command).await).await
    }

    /// Several commands whose answers nobody needs. A cluster takes them one by one, each to its slot.
    pub(super) async fn send_all(&self, commands: Vec<Cmd>) -> RedisResult<()> {
        self.ask(async |line| line.send_all(commands).await).await
    }

    pub(super) async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[String],
    ) -> RedisResult<T> {
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(*key);
        }
        for argument in arguments {
            invocation.arg(argument);
        }
        let invocation = &invocation;
        self.ask(async |line| match line {
            Line::Single(connection) => invocation.invoke_async(&mut connection.clone()).await,
            Line::Cluster(connection) => invocation.invoke_async(&mut connection.clone()).await,
        })
        .await
    }

    /// Asks Redis, if it is there. Who waits in vain speaks for all.
    async fn ask<T>(&self, question: impl AsyncFnOnce(&Line) -> RedisResult<T>) -> RedisResult<T> {
        telemetry::expect_no_transaction();
        let open = self.current().connection.clone().ok_or_else(away)?;
        let answer = tokio::select! {
            answer = tokio::time::timeout(RESPONSE_TIMEOUT, question(&open.line)) => answer,
            () = open.lost.cancelled() => return Err(away()),
        };
        match answer {
            Ok(Err(error)) if is_silence(&error) => {
                self.lose(&open, &error);
                Err(error)
            }
            Ok(answer) => answer,
            Err(_) => {
                metrics::counter!("millrace_redis_timeouts_total").increment(1);
                let error = away();
                self.lose(&open, &error);
                Err(error)
            }
        }
    }

    /// Takes a connection away from everybody and begins to look for a new one.
    fn lose(&self, open: &Open, error: &RedisError) {
        let pause = {
            let mut current = self.current();
            if open.lost.is_cancelled() {
                return;
            }
            open.lost.cancel();
            current.connection = None;
            current.pause = if current.since.elapsed() > GOOD_CONNECTION { RECONNECT_PAUSE_MIN } else { current.pause };
            current.pause
        };
        tell(false);
        tracing::warn!(%error, "redis does not answer: this node goes on with what it knows itself");
        tokio::spawn(find(Arc::downgrade(&self.0), pause));
    }
}

/// Tries until there is a connection again, or nobody wants one any more.
async fn find(client: std::sync::Weak<Inner>, mut pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
        let Some(inner) = client.upgrade() else { return };
        match tokio::time::timeout(2 * RESPONSE_TIMEOUT, Line::open(&inner.config)).await {
            Ok(Ok(line)) => {
                let open = Open { line, lost: CancellationToken::new() };
                let mut current = inner.current.lock().unwrap_or_else(PoisonError::into_inner);
                *current = Current { connection: Some(open), since: Instant::now(), pause };
                drop(current);
                tell(true);
                tracing::info!("redis answers again");
                inner.made.send_modify(|made| *made += 1);
                return;
            }
            Ok(Err(error)) => tracing::debug!(%error, "redis is still away"),
            Err(_) => tracing::debug!("redis is still silent"),
        }
    }
}

fn tell(is_there: bool) {
    metrics::gauge!("millrace_redis_connected").set(if is_there { 1.0 } else { 0.0 });
}

fn away() -> RedisError {
    (ErrorKind::Io, "redis is away").into()
}

/// Is it an answer, though a bad one, or none?
fn is_silence(error: &RedisError) -> bool {
    error.is_timeout() || error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal()
}
