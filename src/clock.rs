//! The time of this node.
//!
//! Tests move it instead of sleeping. Times that order what happens in a channel come from Postgres, under the channel's
//! lock (store/write.rs), so no node's clock can put an event into the past.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use wire::Timestamp;

/// Now, and a hand to turn it. Clones share the hand.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_micros: Arc<AtomicI64>,
}

impl Clock {
    pub fn now(&self) -> Timestamp {
        let system = time::OffsetDateTime::now_utc();
        Timestamp::from(system).plus_micros(self.offset_micros.load(Ordering::Relaxed))
    }

    /// Moves the time of everybody who holds this clock.
    pub fn advance_seconds(&self, seconds: i64) {
        self.offset_micros.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}
