//! Rate limits over all nodes: counted here, told to Redis four times a second, learned back in the same call.
//!
//! No request waits for Redis. The price is that a burst over many nodes may pass a limit by what they count in a quarter
//! of a second; when Redis is away each node counts alone, never not at all.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::client::Client;
use crate::engine::memory::Counters;
use crate::engine::{LIMIT_WINDOW_SECONDS, Limits, Usage};
use crate::limits;
use crate::tasks::Tasks;

const TELL_EVERY: Duration = Duration::from_millis(250);

pub(super) struct RedisLimits {
    counters: Arc<Counters>,
}

impl RedisLimits {
    pub(super) fn start(client: Client, prefix: String, tasks: &Tasks) -> Self {
        let counters = Arc::new(Counters::default());
        tasks.run("limits", tell(Arc::downgrade(&counters), client, prefix));
        Self { counters }
    }
}

impl Limits for RedisLimits {
    fn hit(&self, key: &str, now_seconds: i64) -> Usage {
        self.counters.hit(key, now_seconds)
    }

    fn peek(&self, key: &str, now_seconds: i64) -> Usage {
        self.counters.peek(key, now_seconds)
    }
}

/// Runs until the engine is dropped.
async fn tell(counters: Weak<Counters>, client: Client, prefix: String) {
    let mut tick = tokio::time::interval(TELL_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(counters) = counters.upgrade() else { return };
        let (window, untold) = counters.untold();
        let told = stream::iter(untold).map(|(key, more)| tell_one(&client, &prefix, window, key, more));
        let mut told = told.buffer_unordered(limits::REDIS_CALLS_MAX);
        while let Some(learnt) = told.next().await {
            if let Some((key, everywhere)) = learnt {
                counters.learn(window, &key, everywhere);
            }
        }
    }
}

/// Adds to a count; nothing, if Redis is away.
async fn tell_one(client: &Client, prefix: &str, window: i64, key: String, more: u64) -> Option<(String, u64)> {
    let name = format!("{prefix}:limit:{window}:{key}");
    let everywhere: u64 = client.command(redis::cmd("INCRBY").arg(&name).arg(more)).await.ok()?;
    if everywhere == more {
        let expire = redis::cmd("EXPIRE").arg(&name).arg(2 * LIMIT_WINDOW_SECONDS).to_owned();
        let _ = client.send_all(vec![expire]).await;
    }
    Some((key, everywhere))
}
