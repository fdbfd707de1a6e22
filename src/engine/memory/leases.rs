//! Leases among the parts of one process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use wire::Timestamp;

use crate::clock::Clock;
use crate::engine::{Hold, Leases};

/// Who holds which number.
pub struct Leasing {
    clock: Clock,
    /// Numbers from here on are always taken.
    numbers: u16,
    held: Mutex<HashMap<u16, Held>>,
}

struct Held {
    holder: String,
    until: Timestamp,
    ceiling: i64,
}

impl Leasing {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, numbers: u16::MAX, held: Mutex::default() }
    }

    /// With so few numbers that holders get in each other's way.
    #[cfg(test)]
    pub fn with_numbers(clock: Clock, numbers: u16) -> Self {
        Self { numbers, ..Self::new(clock) }
    }
}

#[async_trait]
impl Leases for Leasing {
    async fn hold(&self, number: u16, holder: &str, from: i64, life: Duration) -> Hold {
        if number >= self.numbers {
            return Hold::Taken;
        }
        let now = self.clock.now();
        let millis = life.as_millis() as i64;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (floor, mine) = match held.get(&number) {
            Some(other) if other.until > now && other.holder != holder => return Hold::Taken,
            Some(before) => (before.ceiling, before.until > now),
            None => (0, false),
        };
        let ceiling = if mine { floor.max(from + millis) } else { floor.max(from) + millis };
        let until = now.plus_micros(millis * 1_000);
        held.insert(number, Held { holder: holder.into(), until, ceiling });
        Hold::Mine { floor, ceiling }
    }
}
