//! The relay: delivers what nobody announced to this node.
//!
//! Announcing may fail: a node dies between commit and announcement, Redis is away, a subscription comes too late. The log
//! has it all. Twice a second every node reads the log's new entries (numbers and types, no bodies), drops what it has
//! delivered or does not care for, and delivers the rest. So an event that was committed is late by half a second at worst
//! and never lost, and caches learn of changes even when the bus is silent.
//!
//! Ordering: entries come in the order of their transactions, and only of transactions older than every open one, so none
//! is skipped (store/events.rs). Within a channel the numbers decide, as everywhere (realtime/fanout.rs).
//!
//! It must never be the fast path: `millrace_relay_repeated_total` grows only when something is wrong.

use std::sync::Arc;

use super::Touched;
use super::announce::Announcer;
use crate::engine::Topic;
use crate::limits;
use crate::realtime::Realtime;
use crate::store::connection::within;
use crate::store::events::{LogEntry, LogPosition};
use crate::store::{Result, Store};

pub struct Relay {
    store: Store,
    realtime: Realtime,
    announcer: Arc<Announcer>,
    position: LogPosition,
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
    pub async fn new(store: Store, realtime: Realtime, announcer: Arc<Announcer>) -> Result<Self> {
        let position = store.log_end().await?;
        Ok(Self { store, realtime, announcer, position })
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval(limits::RELAY_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            // A full page means that there is more.
            loop {
                match tokio::time::timeout(limits::TURN_TIME, self.step()).await {
                    Ok(Ok(count)) if count < limits::RELAY_ROWS_MAX as usize => break,
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the relay could not read the log");
                        break;
                    }
                    Err(_) => {
                        tracing::warn!("the relay could not read the log in time");
                        break;
                    }
                }
            }
        }
    }

    async fn step(&mut self) -> Result<usize> {
        let page = self.store.log_after(self.position, limits::RELAY_ROWS_MAX);
        let entries = within(limits::RELAY_READ_TIME, page).await?;
        let mut missed: Vec<LogEntry> = Vec::new();
        for entry in &entries {
            if touches_rights(entry) {
                self.announcer.forget_touched(entry).await;
            }
            if self.is_wanted(entry) && self.realtime.fanout.is_news(entry.channel_id, entry.number, entry.id).await {
                missed.push(entry.clone());
            }
        }
        if !missed.is_empty() {
            let (ids, transactions): (Vec<i64>, Vec<i64>) = missed.iter().map(|entry| (entry.id, entry.tx)).unzip();
            let events = within(limits::RELAY_READ_TIME, self.store.events_by_id(&ids, &transactions)).await?;
            metrics::counter!("millrace_relay_repeated_total").increment(events.len() as u64);
            for event in events {
                self.announcer.hear(event).await;
            }
        }
        for entry in entries.iter().filter(|entry| touches_rights(entry)) {
            self.announcer.settle(entry).await;
        }
        if let Some(last) = entries.last() {
            self.position = LogPosition { tx: last.tx, id: last.id };
        }
        Ok(entries.len())
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
