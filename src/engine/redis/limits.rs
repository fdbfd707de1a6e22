//! Rate limits over all nodes: counted here, told to Redis four times a second, learned back in the same call.
//!
//! No request waits for Redis. The price is that a burst over many nodes may pass a limit by what they count in a quarter
//! of a second; when Redis is away each node counts alone, never not at all.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::client::Client;
use crate::engine::memory::Counters;
use crate::engine::{LIMIT_WINDOW_SECONDS, Limits, Usage};

const TELL_EVERY: Duration = Duration::from_millis(250);

pub(super) struct RedisLimits {
    counters: Arc<Counters>,
}

impl RedisLimits {
    pub(super) fn start(client: Client, prefix: String) -> Self {
        let counters = Arc::new(Counters::default());
        tokio::spawn(tell(Arc::downgrade(&counters), client, prefix));
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
        for (key, more) in untold {
            let name = format!("{prefix}:limit:{window}:{key}");
            let increment: redis::RedisResult<u64> = client.command(redis::cmd("INCRBY").arg(&name).arg(more)).await;
            let Ok(everywhere) = increment else { break };
            if everywhere == more {
                let expire = redis::cmd("EXPIRE").arg(&name).arg(2 * LIMIT_WINDOW_SECONDS).to_owned();
                let _ = client.send_all(vec![expire]).await;
            }
            counters.learn(window, &key, everywhere);
        }
    }
}
