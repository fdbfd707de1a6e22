//! What every operation is given: the parts of the node, built once (app.rs).

use std::sync::Arc;

use object_store::ObjectStore;
use tokio_util::sync::CancellationToken;

use crate::access::Caches;
use crate::access::token::Tokens;
use crate::budget::Budget;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::events::announce::Announcer;
use crate::lanes::Lanes;
use crate::outside::push::Pusher;
use crate::realtime::Realtime;
use crate::realtime::remote::Remote;
use crate::snowflakes::Snowflakes;
use crate::store::Store;
use crate::store::appender::Appender;
use crate::tasks::Tasks;

pub struct Ctx {
    pub config: Config,
    pub clock: Clock,
    pub tokens: Tokens,
    /// Those of the rooms surface, which may have another issuer.
    pub room_tokens: Tokens,
    pub store: Store,
    pub appender: Appender,
    pub caches: Arc<Caches>,
    pub engine: Engine,
    pub snowflakes: Snowflakes,
    pub realtime: Realtime,
    pub remote: Arc<Remote>,
    pub announcer: Arc<Announcer>,
    pub objects: Arc<dyn ObjectStore>,
    /// For uploads and bodies; those of the store are its own.
    pub lanes: Arc<Lanes>,
    /// For answers that are large and not taken yet.
    pub unsent: Arc<Budget>,
    pub pusher: Pusher,
    pub tasks: Tasks,
    /// Cancelled when the node begins to leave.
    pub draining: CancellationToken,
}
