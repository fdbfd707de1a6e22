//! Ids that are numbers: 64 bits, ordered by time, unique over all nodes.
//!
//! From the top: a sign that is never set, 41 bits of milliseconds since 2024 (42 with the sign: until 2093), 10 bits that name the
//! node, 12 bits that count within a millisecond. The node's number is leased from the engine ([`Leases`]), and with it a span of
//! milliseconds that nobody who had the number before has used or may still use. So two ids are never the same, whatever
//! clocks do and however long a node sleeps: not the clock keeps holders of a number apart, but their spans (docs/adr/0012).

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::engine::{Hold, Leases};
use crate::error::{Error, Result};
use crate::limits;

/// 2024-01-01T00:00:00Z, in milliseconds since the Unix epoch.
pub const EPOCH_MILLIS: i64 = 1_704_067_200_000;

const NODE_BITS: u32 = 10;
const COUNT_BITS: u32 = 12;
const NODES: u16 = 1 << NODE_BITS;
const COUNT_MAX: u16 = (1 << COUNT_BITS) - 1;

/// Makes ids. One per node.
pub struct Snowflakes {
    leases: Arc<dyn Leases>,
    clock: Clock,
    /// What the engine knows this maker by.
    holder: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    /// The last id's millisecond and count.
    millis: i64,
    count: u16,
}

#[derive(Clone, Copy)]
struct Lease {
    number: u16,
    /// The last millisecond that may be used.
    ceiling: i64,
}

impl Snowflakes {
    pub fn new(leases: Arc<dyn Leases>, clock: Clock) -> Self {
        Self { leases, clock, holder: crate::ids::unguessable(), state: Mutex::default() }
    }

    /// A new id. While the lease has run out and the engine does not answer, 22 random bits stand for the number and the count:
    /// rather an id that is another's in one of four million milliseconds than nobody who comes in.
    ///
    /// # Errors
    /// All numbers are taken.
    pub async fn next(&self) -> Result<u64> {
        let mut state = self.state.lock().await;
        loop {
            if let Some(id) = state.make(self.now()) {
                return Ok(id);
            }
            if !self.hold(&mut state).await? {
                return Ok(state.make_at_random(self.now()));
            }
        }
    }

    fn now(&self) -> i64 {
        self.clock.now().micros().div_euclid(1_000)
    }

    /// Takes the lease again, or another one. Not if the engine is away.
    async fn hold(&self, state: &mut State) -> Result<bool> {
        let from = self.now().max(state.millis + 1);
        let last = state.lease.map(|lease| lease.number);
        let first = last.unwrap_or_else(|| rand::random::<u16>() % NODES);
        for number in (0..NODES).map(|step| (first + step) % NODES) {
            match self.leases.hold(number, &self.holder, from, limits::SNOWFLAKE_LEASE).await {
                Hold::Mine { floor, ceiling } => {
                    let own = state.lease.is_some_and(|lease| lease.number == number && lease.ceiling == floor);
                    if !own && floor > state.millis {
                        (state.millis, state.count) = (floor, COUNT_MAX);
                    }
                    state.lease = Some(Lease { number, ceiling });
                    return Ok(true);
                }
                Hold::Taken => {}
                Hold::Away => return Ok(false),
            }
        }
        Err(Error::unavailable("no node number: all are taken"))
    }
}

impl State {
    /// The next id, if the lease reaches so far.
    fn make(&mut self, now: i64) -> Option<u64> {
        let lease = self.lease?;
        let (millis, count) = match now {
            now if now > self.millis => (now, 0),
            _ if self.count < COUNT_MAX => (self.millis, self.count + 1),
            // The millisecond is full, or the clock stands: borrow from the next one.
            _ => (self.millis + 1, 0),
        };
        if millis > lease.ceiling || millis < EPOCH_MILLIS {
            return None;
        }
        (self.millis, self.count) = (millis, count);
        Some(after_millis(millis) | u64::from(lease.number) << COUNT_BITS | u64::from(count))
    }

    /// An id that no lease covers, of a millisecond of its own.
    fn make_at_random(&mut self, now: i64) -> u64 {
        (self.millis, self.count) = (now.max(self.millis + 1).max(EPOCH_MILLIS), COUNT_MAX);
        after_millis(self.millis) | rand::random_range(0..1 << (NODE_BITS + COUNT_BITS))
    }
}

/// The upper bits of an id.
fn after_millis(millis: i64) -> u64 {
    ((millis - EPOCH_MILLIS) as u64) << (NODE_BITS + COUNT_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::memory;

    fn millis_of(id: u64) -> i64 {
        (id >> 22) as i64 + EPOCH_MILLIS
    }

    #[tokio::test]
    async fn an_id_says_when_it_was_made() {
        let clock = Clock::default();
        let ids = Snowflakes::new(memory::engine(clock.clone()).leases, clock.clone());
        let before = clock.now().micros() / 1_000;
        let id = ids.next().await.unwrap();
        assert!((before..before + 1_000).contains(&millis_of(id)), "{id}");
        assert!(id < 1 << 63);
    }

    #[tokio::test]
    async fn two_nodes_that_start_at_once_are_two() {
        let clock = Clock::default();
        let leases = memory::engine(clock.clone()).leases;
        let nodes: Vec<_> = (0..50).map(|_| Snowflakes::new(leases.clone(), clock.clone())).collect();
        let ids = futures_util::future::join_all(nodes.iter().map(Snowflakes::next)).await;
        let numbers: HashSet<u64> = ids.into_iter().map(|id| id.unwrap() >> 12 & 0x3FF).collect();
        assert_eq!(numbers.len(), nodes.len());
    }

    #[tokio::test]
    async fn an_engine_that_is_away_keeps_nobody_out() {
        struct Away;
        #[async_trait::async_trait]
        impl Leases for Away {
            async fn hold(&self, _: u16, _: &str, _: i64, _: Duration) -> Hold {
                Hold::Away
            }
        }
        let ids = Snowflakes::new(Arc::new(Away), Clock::default());
        let mut made = Vec::new();
        for _ in 0..100 {
            made.push(ids.next().await.unwrap());
        }
        assert!(made.is_sorted_by(|a, b| a < b) && made.iter().all(|id| *id < 1 << 63));
    }

    /// What may happen to a node, and to the lease it holds.
    #[derive(Clone, Debug)]
    enum Act {
        Make {
            node: usize,
            count: u16,
        },
        StepClock {
            node: usize,
            seconds: i64,
        },
        Restart {
            node: usize,
        },
        /// The engine's time passes: leases that nobody renews end.
        Wait {
            seconds: i64,
        },
    }

    const MAKERS: usize = 4;

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0..MAKERS, 1..6_000_u16).prop_map(|(node, count)| Act::Make { node, count }),
            2 => (0..MAKERS, -100_000..100_000_i64).prop_map(|(node, seconds)| Act::StepClock { node, seconds }),
            1 => (0..MAKERS).prop_map(|node| Act::Restart { node }),
            2 => (0..120_i64).prop_map(|seconds| Act::Wait { seconds }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_id_is_made_twice(acts in proptest::collection::vec(act(), 1..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let engine_clock = Clock::default();
                let leases = memory::Leasing::with_numbers(engine_clock.clone(), 3);
                let leases: Arc<dyn Leases> = Arc::new(leases);
                let clocks: Vec<Clock> = (0..MAKERS).map(|_| Clock::default()).collect();
                let start = |node: usize| Snowflakes::new(leases.clone(), clocks[node].clone());
                let mut nodes: Vec<Snowflakes> = (0..MAKERS).map(start).collect();
                let mut last = [0_u64; MAKERS];
                let mut seen = HashSet::new();
                for act in acts {
                    match act {
                        Act::Make { node, count } => for _ in 0..count {
                            // More nodes than numbers: one may have to wait.
                            let Ok(id) = nodes[node].next().await else { break };
                            assert!(seen.insert(id), "{id} was made twice");
                            assert!(id < 1 << 63);
                            assert!(id > last[node] || id >> 12 & 0x3FF != last[node] >> 12 & 0x3FF, "{id} is out of order");
                            last[node] = id;
                        },
                        Act::StepClock { node, seconds } => clocks[node].advance_seconds(seconds),
                        Act::Restart { node } => {
                            nodes[node] = start(node);
                            last[node] = 0;
                        }
                        Act::Wait { seconds } => engine_clock.advance_seconds(seconds),
                    }
                }
            });
        }
    }
}
