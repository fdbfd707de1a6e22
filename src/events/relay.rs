//! The relay: delivers what nobody announced to this node.
//!
//! Announcing may fail: a node dies between commit and announcement, Redis is away, a subscription comes too late. The log
//! has it all. Twice a second every node reads the log's new entries (numbers and types, no bodies), drops what it has
//! delivered or does not care for, and delivers the rest. So an event that was committed is late by half a second at worst
//! and never lost, and caches learn of changes even when the bus is silent.
//!
//! It reads in pieces that have a bound in bytes, and its place moves with each of them: what is done is done, whatever takes too
//! long after it. Then the next page is smaller, until one succeeds.
//!
//! Ordering: entries come in the order of their transactions, and only of transactions older than every open one, so none
//! is skipped (store/events.rs). Within a channel the numbers decide, as everywhere (realtime/fanout.rs).
//!
//! It must never be the fast path: `millrace_relay_repeated_total` grows only when something is wrong.

use std::sync::Arc;

use super::Touched;
use super::announce::Announcer;
use crate::engine::Topic;
use crate::error::Result;
use crate::limits;
use crate::realtime::Realtime;
use crate::store::connection::within;
use crate::store::events::{LogEntry, LogPage, LogPosition};
use crate::store::{self, Store};

pub struct Relay {
    store: Store,
    realtime: Realtime,
    announcer: Arc<Announcer>,
    position: LogPosition,
    /// Entries that it takes at once.
    rows: i64,
}

/// Does it change what nodes remember, and what sockets may hear? (The app's settings are heard by every node anyway.)
fn touches_rights(entry: &LogEntry) -> bool {
    let touched = super::touched(&entry.kind, entry.channel_id, entry.subject.as_deref());
    touched.is_some_and(|touched| touched != Touched::App)
}

impl Relay {
    /// A relay that begins at the log's end.
    ///
    /// # Errors
    /// Postgres.
    pub async fn new(store: Store, realtime: Realtime, announcer: Arc<Announcer>) -> store::Result<Self> {
        let position = store.log_end().await?;
        Ok(Self { store, realtime, announcer, position, rows: limits::RELAY_ROWS_MAX })
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval(limits::RELAY_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            while self.step_in_time().await {}
        }
    }

    /// Takes a page, of another size than before. Is there more?
    async fn step_in_time(&mut self) -> bool {
        match tokio::time::timeout(limits::TURN_TIME, self.step()).await {
            Ok(Ok(more)) => {
                self.rows = (self.rows * 2).min(limits::RELAY_ROWS_MAX);
                return more;
            }
            Ok(Err(error)) => tracing::warn!(?error, rows = self.rows, "the relay could not read the log"),
            Err(_) => tracing::warn!(rows = self.rows, "the relay could not read the log in time"),
        }
        self.rows = (self.rows / 2).max(limits::RELAY_ROWS_MIN);
        false
    }

    async fn step(&mut self) -> Result<bool> {
        let page = self.store.log_after(self.position, self.rows);
        let LogPage { entries, more } = within(limits::RELAY_READ_TIME, page).await?;
        let mut missed = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            if touches_rights(entry) {
                self.announcer.forget_touched(entry).await;
            }
            if self.is_wanted(entry) && self.realtime.fanout.is_news(entry.channel_id, entry.number, entry.id).await {
                missed.push((index, entry.position()));
            }
        }
        let (mut done, mut missed) = (0, &missed[..]);
        while done < entries.len() {
            missed = &missed[self.hear(missed).await?..];
            let next = missed.first().map_or(entries.len(), |(index, _)| *index);
            self.announcer.settle(&entries[done..next]).await?;
            self.position = entries[next - 1].position();
            done = next;
        }
        Ok(more)
    }

    /// Hears of the first of what was missed, and says how many that is.
    async fn hear(&self, missed: &[(usize, LogPosition)]) -> Result<usize> {
        if missed.is_empty() {
            return Ok(0);
        }
        let places: Vec<LogPosition> =
            missed.iter().take(limits::LOG_READ_EVENTS_MAX).map(|(_, place)| *place).collect();
        let (events, read) = within(limits::RELAY_READ_TIME, self.store.events_at(&places)).await?;
        metrics::counter!("millrace_relay_repeated_total").increment(events.len() as u64);
        for event in events {
            self.announcer.hear(event).await;
        }
        Ok(read)
    }

    /// Would anybody on this node hear it?
    fn is_wanted(&self, entry: &LogEntry) -> bool {
        match (entry.audience.as_str(), entry.channel_id, &entry.subject) {
            ("channel", Some(channel), _) => self.realtime.wants(&Topic::Channel(channel)),
            ("absent_users", ..) => entry.only_for.iter().flatten().any(|user| self.realtime.is_here(user)),
            ("presence", _, Some(user)) => self.realtime.wants(&Topic::Presence(user.clone())),
            (_, _, Some(user)) => self.realtime.is_here(user),
            // The app's settings have no subject and concern every node.
            _ => true,
        }
    }
}
