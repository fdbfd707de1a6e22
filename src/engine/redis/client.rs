//! One connection for commands, to a single server or to a cluster.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisResult, Script};

use crate::{config, telemetry};

/// Longest wait for an answer. A request must never hang on Redis.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that reconnects by itself. Clones share it.
#[derive(Clone)]
pub(super) enum Client {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Client {
    pub(super) async fn connect(config: &config::Redis) -> RedisResult<Self> {
        if config.cluster {
            let urls: Vec<&str> = config.urls.iter().map(config::Secret::reveal).collect();
            let client = ClusterClientBuilder::new(urls)
                .connection_timeout(RESPONSE_TIMEOUT)
                .response_timeout(RESPONSE_TIMEOUT)
                .build()?;
            return Ok(Self::Cluster(client.get_async_connection().await?));
        }
        let client = redis::Client::open(config.urls[0].reveal())?;
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(RESPONSE_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(1);
        Ok(Self::Single(client.get_connection_manager_with_config(settings).await?))
    }

    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        telemetry::expect_no_transaction();
        match self {
            Self::Single(connection) => command.query_async(&mut connection.clone()).await,
            Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }

    /// Several commands whose answers nobody needs. A cluster takes them one by one, each to its slot.
    pub(super) async fn send_all(&self, commands: Vec<Cmd>) -> RedisResult<()> {
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

    pub(super) async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[String],
    ) -> RedisResult<T> {
        telemetry::expect_no_transaction();
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(*key);
        }
        for argument in arguments {
            invocation.arg(argument);
        }
        match self {
            Self::Single(connection) => invocation.invoke_async(&mut connection.clone()).await,
            Self::Cluster(connection) => invocation.invoke_async(&mut connection.clone()).await,
        }
    }
}
