//! The composition root: a configuration in, a running node out.
//!
//! Start order: Postgres, migrations, caches, engine, delivery, writers, jobs, and last the door. Leaving goes the other way
//! round: the door closes, sockets are told to come back elsewhere, requests finish, and then there is nothing left to lose.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::Caches;
use crate::access::revocation::Doubts;
use crate::access::token::Tokens;
use crate::budget::Budget;
use crate::chat::notifications::Notifications;
use crate::clock::Clock;
use crate::config::{Config, Database};
use crate::ctx::Ctx;
use crate::engine::redis::Incoming;
use crate::engine::{self, Topic, memory};
use crate::events::announce::Announcer;
use crate::events::relay::Relay;
use crate::http::door::Door;
use crate::http::{demo, router, server};
use crate::outside::embedded_postgres::EmbeddedPostgres;
use crate::outside::object_store;
use crate::outside::push::Pusher;
use crate::realtime::remote::Remote;
use crate::realtime::{CloseReason, Dialect, Realtime, notify};
use crate::snowflakes::Snowflakes;
use crate::store::appender::Appender;
use crate::store::{Address, Store};
use crate::tasks::Tasks;
use crate::ws::connect::StreamDialect;
use crate::ws::rooms::RoomsDialect;
use crate::{jobs, limits, telemetry};

/// Why a node did not start, in words for whoever runs it.
#[derive(Debug)]
pub struct StartError(pub String);

impl std::fmt::Display for StartError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// The database of a configuration, started if it is the embedded one.
pub struct OpenDatabase {
    pub address: Address,
    embedded: Option<EmbeddedPostgres>,
    /// Held for as long as the embedded Postgres is ours.
    _lock: Option<std::fs::File>,
}

impl OpenDatabase {
    /// # Errors
    /// A URL that is none, an embedded Postgres that does not start or that another Millrace uses.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        match &config.database {
            Database::Url(url) => {
                Ok(Self { address: Address::parse(url).map_err(StartError)?, embedded: None, _lock: None })
            }
            Database::Embedded(directory) => {
                let lock = lock(&config.data_dir)?;
                let postgres = EmbeddedPostgres::start(directory, &[]).await.map_err(StartError)?;
                let address = postgres.address();
                let database = Self { address, embedded: Some(postgres), _lock: Some(lock) };
                match database.address.create_database().await {
                    Ok(()) => Ok(database),
                    Err(error) => {
                        database.close().await;
                        Err(StartError(error.to_string()))
                    }
                }
            }
        }
    }

    /// Stops the embedded Postgres, if it is one.
    pub async fn close(self) {
        if let Some(embedded) = self.embedded
            && let Err(error) = embedded.stop().await
        {
            tracing::warn!(error, "the embedded Postgres did not stop");
        }
    }
}

/// Two nodes on one embedded Postgres would not hear each other: the second one is told so.
fn lock(data_dir: &std::path::Path) -> Result<std::fs::File, StartError> {
    let path = data_dir.join("lock");
    let open = || {
        std::fs::create_dir_all(data_dir)?;
        std::fs::File::options().create(true).truncate(false).write(true).open(&path)
    };
    let file = open().map_err(|error| StartError(format!("{}: {error}", path.display())))?;
    file.try_lock().map_err(|_| {
        StartError(format!("another Millrace runs on {}: stop it, or choose another --data-dir", data_dir.display()))
    })?;
    Ok(file)
}

/// A running node.
pub struct Node {
    pub ctx: Arc<Ctx>,
    pub listen: SocketAddr,
    server: JoinHandle<()>,
}

impl Node {
    /// Starts a node on a database that is open.
    ///
    /// # Errors
    /// Whatever it needs is not there.
    pub async fn start(config: Config, address: &Address, clock: Clock) -> Result<Self, StartError> {
        telemetry::metrics();
        let store = open_store(&config, address).await?;
        let caches = Caches::load(store.clone()).await.map_err(|error| StartError(format!("{error:?}")))?;
        let caches = Arc::new(caches);
        let tasks = Tasks::default();
        let name = crate::ids::unguessable()[..12].to_owned();
        let (engine, incoming) = match &config.redis {
            None => (memory::engine(clock.clone()), None),
            Some(redis_config) => {
                let (engine, incoming) = engine::redis::engine(redis_config, &name, &tasks)
                    .await
                    .map_err(|error| StartError(format!("redis: {error}")))?;
                (engine, Some(incoming))
            }
        };
        let objects = object_store::open(&config.uploads).map_err(StartError)?;
        let vapid_key = store.vapid_key(&Pusher::new_key()).await.map_err(|error| StartError(error.to_string()))?;
        let pusher = Pusher::new(&config.push, &vapid_key, clock.clone()).map_err(StartError)?;
        let dialects: Vec<Arc<dyn Dialect>> = vec![Arc::new(StreamDialect), Arc::new(RoomsDialect)];
        let (notify, absences) = notify::channel();
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let realtime =
            Realtime::start(&name, store.clone(), engine.clone(), dialects.clone(), notify, workers, &clock, &tasks);
        let doubts = Arc::<Doubts>::default();
        let (announcer, leaving) = Announcer::new(caches.clone(), realtime.clone(), engine.clone(), doubts.clone());
        let announcer = Arc::new(announcer);
        let appender = Appender::start(&store, config.writers, announcer.clone(), &tasks);
        let ctx = Arc::new(Ctx {
            tokens: Tokens::new(&config.api_secret),
            room_tokens: Tokens::new(&config.rooms.jwt_secret).with_leeway(limits::ROOM_TOKEN_LEEWAY_SECONDS),
            snowflakes: Snowflakes::new(engine.leases.clone(), clock.clone()),
            clock,
            store: store.clone(),
            appender,
            caches,
            engine,
            realtime: realtime.clone(),
            remote: Arc::default(),
            announcer: announcer.clone(),
            objects,
            lanes: Arc::default(),
            unsent: Budget::new(limits::ANSWERS_UNSENT_BYTES_MAX),
            pusher,
            tasks: tasks.clone(),
            draining: CancellationToken::new(),
            config,
        });
        let twins = Arc::new(Notifications { ctx: OnceLock::from(Arc::downgrade(&ctx)) });
        tasks.run("notifications", notify::run(absences, twins, dialects));
        tasks.run("doorkeeper", jobs::doorkeeper::run(ctx.clone(), leaving, doubts));
        let (housekeeper, attendant, pusher) = (ctx.clone(), ctx.clone(), ctx.clone());
        tasks.restart("presence", move || jobs::housekeeping::keep_presence(attendant.clone()));
        tasks.restart("housekeeping", move || jobs::housekeeping::run(housekeeper.clone()));
        tasks.restart("push", move || jobs::push::run(pusher.clone()));
        if let Some(incoming) = incoming {
            tasks.run("hearing", hear(ctx.clone(), incoming));
        }
        let relay = Relay::new(store, realtime, announcer).await.map_err(|error| StartError(error.to_string()))?;
        tasks.run("relay", relay.run());
        if ctx.config.demo {
            demo::seed(&ctx).await.map_err(|error| StartError(format!("{error:?}")))?;
        }
        let listener = TcpListener::bind(ctx.config.listen)
            .await
            .map_err(|error| StartError(format!("cannot listen on {}: {error}", ctx.config.listen)))?;
        let listen = listener.local_addr().map_err(|error| StartError(error.to_string()))?;
        let door = Door::new(&ctx.config);
        let server = tokio::spawn(server::serve(listener, door, router::service(ctx.clone()), ctx.draining.clone()));
        Ok(Self { ctx, listen, server })
    }

    /// Leaves: no new work, sockets told to come back elsewhere, requests finished. Every step has a bound: what hangs is left
    /// behind.
    pub async fn drain(mut self) {
        tracing::info!(connections = self.ctx.realtime.connections(), "draining");
        self.ctx.draining.cancel();
        tokio::join!(close_sockets(&self.ctx), async {
            let _ = (&mut self.server).await;
        });
        // Sockets that said goodbye are still telling others that their users are gone.
        let empty = async {
            while self.ctx.realtime.connections() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            self.ctx.tasks.unfinished().await;
        };
        if tokio::time::timeout(limits::DRAIN_GOODBYES, empty).await.is_err() {
            tracing::warn!("not everything was finished");
        }
        self.end().await;
    }

    /// Dies like a process that was killed: nobody is told anything.
    pub async fn kill(self) {
        self.server.abort();
        self.end().await;
    }

    async fn end(self) {
        self.ctx.tasks.stop().await;
        // A statement that hangs keeps its connection.
        if tokio::time::timeout(limits::STOP_PATIENCE, self.ctx.store.close()).await.is_err() {
            tracing::warn!("connections to Postgres were left behind");
        }
    }

    /// Returns when a part of this node has ended that it cannot be without: its name.
    pub async fn failure(&self) -> &'static str {
        self.ctx.tasks.failure().await
    }
}

async fn open_store(config: &Config, address: &Address) -> Result<Store, StartError> {
    let failed = |error: crate::store::StoreError| StartError(error.to_string());
    let store = Store::connect(address, config.connections_max).await.map_err(failed)?;
    if let Err(reason) = store.check_migrations().await.map_err(failed)? {
        if !config.migrate_on_start {
            return Err(StartError(reason));
        }
        store.migrate().await.map_err(failed)?;
    }
    store.settle_restored_log().await.map_err(failed)?;
    if let Err(error) = store.keep_event_partitions().await {
        // What has no partition goes to the default one; housekeeping tries again.
        tracing::warn!(%error, "partitions of the event log could not be made now");
    }
    Ok(store)
}

/// Takes what other nodes send, in its order. It waits for the node's own workers only.
async fn hear(ctx: Arc<Ctx>, mut incoming: Incoming) {
    while let Some((topic, payload)) = incoming.recv().await {
        if let Topic::Node(_) = topic {
            Remote::receive(&ctx.remote, &ctx.realtime, ctx.engine.bus.clone(), &payload);
        } else {
            ctx.announcer.receive(&topic, payload).await;
        }
    }
}

/// Closes all sockets, spread over some seconds: their clients come back at once, all to the nodes that are left.
async fn close_sockets(ctx: &Ctx) {
    let connections = ctx.realtime.find(None).await;
    let (count, start) = (connections.len(), Instant::now());
    for (told, connection) in connections.into_iter().enumerate() {
        // A timer's tick is longer than the pause between two of very many: whoever is late is not waited for.
        tokio::time::sleep_until((start + pace(told, count)).into()).await;
        connection.socket.close(CloseReason::Draining);
    }
}

/// How long after the first of `count` sockets this one is closed.
fn pace(socket: usize, count: usize) -> Duration {
    limits::DRAIN_SPREAD.mul_f64(socket as f64 / count.max(500) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_sockets_there_are_they_are_closed_within_the_time() {
        for count in [500, 501, 9_000, 1_000_000] {
            assert_eq!(pace(0, count), Duration::ZERO);
            assert_eq!(pace(count / 2, count), limits::DRAIN_SPREAD.mul_f64((count / 2) as f64 / count as f64));
            assert!(pace(count - 1, count) < limits::DRAIN_SPREAD);
        }
        assert_eq!(pace(9, 10), Duration::from_millis(90), "few do not wait for the time to pass");
    }
}
