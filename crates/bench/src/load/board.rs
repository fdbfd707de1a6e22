//! Where publishers and watchers meet: when was a message published, and who does not have it yet?

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::sync::Notify;

/// Messages that are on their way at once, at most.
pub const WINDOW: usize = 256;
/// A message that not everybody has after this long was lost.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Board {
    started: Instant,
    /// From 1, so that every message counts in [`Board::sum_of_numbers`].
    next: AtomicU64,
    slots: Vec<Slot>,
    readers: usize,
    /// Are delivery times wanted? They cost the reader a little.
    timed: AtomicBool,
    /// Delivery times in microseconds.
    times: Mutex<Histogram<u64>>,
    /// Bytes of the last message.
    pub payload_bytes: AtomicUsize,
    /// Sockets that ended.
    pub lost: AtomicUsize,
}

struct Slot {
    /// Nanoseconds after `started`.
    published: AtomicU64,
    readers_left: AtomicUsize,
    everybody_has_it: Notify,
}

impl Board {
    pub fn new(readers: usize) -> Self {
        let slot = || Slot {
            published: AtomicU64::new(0),
            readers_left: AtomicUsize::new(0),
            everybody_has_it: Notify::new(),
        };
        Self {
            started: Instant::now(),
            next: AtomicU64::new(1),
            slots: std::iter::repeat_with(slot).take(WINDOW).collect(),
            readers,
            timed: AtomicBool::new(false),
            times: Mutex::new(new_histogram()),
            payload_bytes: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        }
    }

    fn slot(&self, number: u64) -> &Slot {
        &self.slots[number as usize % WINDOW]
    }

    /// The number for a message that is published now.
    pub fn publish(&self) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = self.slot(number);
        slot.published.store(self.started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        slot.readers_left.store(self.readers, Ordering::Release);
        number
    }

    /// Sum of the numbers of all messages so far.
    pub fn sum_of_numbers(&self) -> u64 {
        (1..self.next.load(Ordering::Relaxed)).sum()
    }

    /// Waits until all watchers have a message.
    pub async fn wait(&self, number: u64) -> Result<()> {
        let slot = self.slot(number);
        tokio::time::timeout(PATIENCE, slot.everybody_has_it.notified()).await.with_context(|| {
            let lost = self.lost.load(Ordering::Relaxed);
            format!("a message did not reach everybody; {lost} sockets were closed")
        })
    }

    /// A reader's sockets all have a message.
    pub fn finish(&self, number: u64) {
        let slot = self.slot(number);
        if slot.readers_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            slot.everybody_has_it.notify_one();
        }
    }

    /// A socket has a message.
    pub fn deliver(&self, number: u64) {
        if self.timed.load(Ordering::Relaxed) {
            let published = Duration::from_nanos(self.slot(number).published.load(Ordering::Relaxed));
            let time = self.started.elapsed().saturating_sub(published);
            self.times.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(time.as_micros() as u64);
        }
    }

    /// From now on delivery times are taken.
    pub fn take_times(&self) {
        self.timed.store(true, Ordering::Relaxed);
    }

    /// The delivery times that were taken.
    pub fn times(&self) -> Histogram<u64> {
        self.timed.store(false, Ordering::Relaxed);
        std::mem::replace(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner), new_histogram())
    }
}

/// Microseconds up to a minute, to three digits.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}
