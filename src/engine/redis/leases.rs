//! Leases in Redis: a key that expires says who holds a number, another remembers how far its holders may have gone.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;

use super::client::Client;
use crate::engine::{Hold, Leases};

/// How long it is remembered how far the holders of a number went, in milliseconds: a day longer than any clock should be wrong.
const MEMORY_MILLIS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// Holds a number. KEYS: holder, ceiling. ARGV: holder, from, life, memory. Answers the ceiling before and the new one, or nothing.
static HOLD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local held = redis.call('GET', KEYS[1])
        if held and held ~= ARGV[1] then return false end
        local floor = tonumber(redis.call('GET', KEYS[2]) or '0')
        local from, life = tonumber(ARGV[2]), tonumber(ARGV[3])
        local ceiling = held and math.max(floor, from + life) or math.max(floor, from) + life
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
        redis.call('SET', KEYS[2], string.format('%.0f', ceiling), 'PX', ARGV[4])
        return {floor, ceiling}
        ",
    )
});

pub(super) struct RedisLeases {
    pub(super) client: Client,
    pub(super) prefix: String,
}

#[async_trait]
impl Leases for RedisLeases {
    async fn hold(&self, number: u16, holder: &str, from: i64, life: Duration) -> Hold {
        let key = format!("{{{}:node:{number}}}", self.prefix);
        let keys = [format!("{key}:holder"), format!("{key}:ceiling")];
        let arguments = [holder.to_owned(), from.to_string(), life.as_millis().to_string(), MEMORY_MILLIS.to_string()];
        let answer: redis::RedisResult<Option<(i64, i64)>> =
            self.client.script(&HOLD, &[&keys[0], &keys[1]], &arguments).await;
        match answer {
            Ok(Some((floor, ceiling))) => Hold::Mine { floor, ceiling },
            Ok(None) => Hold::Taken,
            Err(error) => {
                tracing::warn!(%error, "a node number cannot be leased");
                Hold::Away
            }
        }
    }
}
