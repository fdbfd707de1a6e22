//! The composition root: a configuration in, a running node out.
//!
//! Start order: Postgres, migrations, caches, engine, delivery, writers, jobs, and last the door. Leaving goes the other way
//! round: the door closes, sockets are told to come back elsewhere, requests finish, and then there is nothing left to lose.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::access::Caches;
use crate::access::revocation::Doubts;
use crate::access::token::Tokens;
use crate::chat::notifications::Notifications;
use crate::clock::Clock;
use crate::config::{Config, Database};
use crate::ctx::Ctx;
use crate::engine::redis::Incoming;
use crate::engine::{self, Topic, memory};
use crate::events::announce::Announcer;
use crate::events::relay::Relay;
use crate::http::{demo, router, server};
use crate::outside::embedded_postgres::EmbeddedPostgres;
use crate::outside::object_store;
use crate::outside::push::Pusher;
use crate::realtime::remote::Remote;
use crate::realtime::{CloseReason, Dialect, Realtime, notify};
use crate::snowflakes::Snowflakes;
use crate::store::appender::Appender;
use crate::store::{Address, Store};
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
                address.create_database().await.map_err(|error| StartError(error.to_string()))?;
                Ok(Self { address, embedded: Some(postgres), _lock: Some(lock) })
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
    background: JoinSet<()>,
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
        let name = crate::ids::unguessable()[..12].to_owned();
        let (engine, incoming) = match &config.redis {
            None => (memory::engine(clock.clone()), None),
            Some(redis_config) => {
                let (engine, incoming) = engine::redis::engine(redis_config, &name)
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
            Realtime::start(&name, store.clone(), engine.clone(), dialects.clone(), notify, workers, clock.clone());
        let doubts = Arc::<Doubts>::default();
        let (announcer, leaving) = Announcer::new(caches.clone(), realtime.clone(), engine.clone(), doubts.clone());
        let announcer = Arc::new(announcer);
        let (appender, mut background) = Appender::start(&store, config.writers, announcer.clone());
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
            pusher,
            draining: CancellationToken::new(),
            config,
        });
        let twins = Arc::new(Notifications { ctx: OnceLock::from(Arc::downgrade(&ctx)) });
        background.spawn(notify::run(absences, twins, dialects));
        background.spawn(jobs::doorkeeper::run(ctx.clone(), leaving, doubts));
        background.spawn(jobs::housekeeping::run(ctx.clone()));
        background.spawn(jobs::push::run(ctx.clone()));
        if let Some(incoming) = incoming {
            background.spawn(hear(ctx.clone(), incoming));
        }
        let relay = Relay::new(store, realtime, announcer).await.map_err(|error| StartError(error.to_string()))?;
        background.spawn(relay.run());
        if ctx.config.demo {
            demo::seed(&ctx).await.map_err(|error| StartError(format!("{error:?}")))?;
        }
        let listener = TcpListener::bind(ctx.config.listen)
            .await
            .map_err(|error| StartError(format!("cannot listen on {}: {error}", ctx.config.listen)))?;
        let listen = listener.local_addr().map_err(|error| StartError(error.to_string()))?;
        let server = tokio::spawn(server::serve(listener, router::service(ctx.clone()), ctx.draining.clone()));
        Ok(Self { ctx, listen, server, background })
    }

    /// Leaves: no new work, sockets told to come back elsewhere, requests finished.
    pub async fn drain(mut self) {
        tracing::info!(connections = self.ctx.realtime.connections(), "draining");
        self.ctx.draining.cancel();
        tokio::join!(close_sockets(&self.ctx), async {
            let _ = (&mut self.server).await;
        });
        // Sockets that said goodbye are still telling others that their users are gone.
        let empty = async {
            while self.ctx.realtime.connections() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), empty).await;
        self.background.shutdown().await;
        self.ctx.store.close().await;
    }

    /// Dies like a process that was killed: nobody is told anything.
    pub async fn kill(mut self) {
        self.server.abort();
        self.background.shutdown().await;
        self.ctx.store.close().await;
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
    Ok(store)
}

/// Takes what other nodes send.
async fn hear(ctx: Arc<Ctx>, mut incoming: Incoming) {
    while let Some((topic, payload)) = incoming.recv().await {
        match topic {
            Topic::Node(_) => Remote::receive(&ctx.remote, &ctx.realtime, ctx.engine.bus.clone(), &payload),
            topic => ctx.announcer.receive(&topic, payload).await,
        }
    }
}

/// Closes all sockets, spread over some seconds: their clients come back at once, all to the nodes that are left.
async fn close_sockets(ctx: &Ctx) {
    let connections = ctx.realtime.find(None).await;
    let count = connections.len() as u32;
    for connection in connections {
        connection.socket.close(CloseReason::Draining);
        tokio::time::sleep(limits::DRAIN_SPREAD / count.max(500)).await;
    }
}
