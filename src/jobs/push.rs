//! Pushes new messages to browsers that are not connected: a reader of the event log.
//!
//! Two steps, and Postgres between them, so that nothing is lost when a node dies:
//!
//! - *read*: new messages of the log become rows of `push_deliveries`, one for each browser that gets a push
//!   (chat/push/audience.rs). One node at a time: it holds the row with the reader's place in the log, and moves it in the
//!   transaction that writes the deliveries. So every message is looked at once, whatever happens to the node.
//! - *send*: deliveries that are due are taken, sent, and deleted or postponed. All nodes share this: each takes rows that no
//!   other is taking (`SKIP LOCKED`), for the length of a lease. A lock held while sending would hold a transaction open for as
//!   long as a slow push service likes, and an open transaction holds back every reader of the log (store/events.rs).
//!   Each node gives turns to users: one task for a user, some of the user's browsers at a time, one push at a time for a
//!   browser. A browser whose push service does not take a push rests, with everything that waits for it or comes meanwhile.
//!
//! A push is sent twice only if a node dies between sending and noting it. Its topic is the message, so that a push service
//! that still has the first one replaces it.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::ops::ControlFlow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::task::{self, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use wire::Timestamp;

use crate::access::channel::which_are_readable;
use crate::chat::push::audience::{audience, candidates, is_pushed};
use crate::chat::push::payload::payload;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::events::Event;
use crate::limits;
use crate::outside::push::{Outcome, Receiver};
use crate::store::events::{LogEntry, LogPage, LogPosition};
use crate::store::messages::Reader;
use crate::store::push::Delivery;

/// This reader's name beside its place in the log.
const READER: &str = "push";

/// The users whose turn it is on this node: one task for each, so that whoever's push service is slow waits for it alone.
#[derive(Default)]
struct Turns {
    tasks: JoinSet<()>,
    users: HashMap<task::Id, String>,
}

impl Turns {
    fn free(&self) -> usize {
        limits::PUSH_USERS_AT_ONCE_MAX - self.users.len()
    }

    /// Waits until a turn is over; for ever, if it is nobody's.
    async fn over(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(done) => self.users.remove(&done.map_or_else(|error| error.id(), |(id, ())| id)),
            None => pending().await,
        };
    }
}

/// Runs until it is dropped. A node that is leaving takes no more.
pub async fn run(ctx: Arc<Ctx>) {
    let mut tick = interval(limits::PUSH_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut begun = false;
    let mut turns = Turns::default();
    loop {
        tokio::select! {
            _ = tick.tick() => {
                match timeout(limits::TURN_TIME, read(&ctx, &mut begun)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(?error, "messages to push could not be read from the log"),
                    Err(_) => tracing::warn!("messages to push could not be read from the log in time"),
                }
            }
            () = turns.over() => {}
        }
        let mut more = true;
        while more && turns.free() > 0 && !ctx.draining.is_cancelled() {
            more = claim(&ctx, &mut turns).await.unwrap_or_else(|error| {
                tracing::warn!(?error, "pushes that are due could not be read");
                false
            });
        }
    }
}

/// Reads the log to its end, or to the end of its time.
async fn read(ctx: &Ctx, begun: &mut bool) -> Result<()> {
    if !*begun {
        ctx.store.create_log_cursor(READER).await?;
        *begun = true;
    }
    while read_page(ctx).await? {}
    Ok(())
}

/// Reads a page of it. Is there more?
async fn read_page(ctx: &Ctx) -> Result<bool> {
    let mut write = ctx.store.write().await?;
    let Some(position) = write.lock_log_cursor(READER).await? else {
        return Ok(false);
    };
    let LogPage { entries, more } = ctx.store.log_after(position, limits::PUSH_LOG_ROWS_MAX).await?;
    let Some(last) = entries.last() else {
        return Ok(false);
    };
    let wanted = wanted(ctx, &entries).await?;
    if !wanted.is_empty() {
        let dropped = write.insert_deliveries(&wanted, ctx.clock.now(), limits::PUSH_WAITING_MAX).await?;
        count("expired", dropped);
    }
    write.move_log_cursor(READER, last.position()).await?;
    write.commit().await?;
    Ok(more)
}

/// Who is to be pushed which of the new messages among entries of the log. What nobody wants is not read.
async fn wanted(ctx: &Ctx, entries: &[LogEntry]) -> Result<Vec<(String, String)>> {
    let new = || entries.iter().filter(|entry| entry.kind == "message.new");
    let channels: HashSet<i64> = new().filter_map(|entry| entry.channel_id).collect();
    let candidates = candidates(ctx, &channels.into_iter().collect::<Vec<_>>()).await?;
    let heard: HashSet<i64> = candidates.iter().map(|candidate| candidate.channel_id).collect();
    let here = new().filter(|entry| entry.channel_id.is_some_and(|channel| heard.contains(&channel)));
    let places: Vec<LogPosition> = here.map(LogEntry::position).collect();
    let (mut rest, mut wanted) = (&places[..], Vec::new());
    while !rest.is_empty() {
        let (events, read) = ctx.store.events_at(rest).await?;
        rest = &rest[read..];
        let oldest = ctx.clock.now().plus_seconds(-limits::PUSH_AGE_MAX_SECONDS);
        let recent = events.iter().filter(|event| event.created_at > oldest);
        // As they are now.
        let messages = ctx.store.messages_by_ids(&recent.filter_map(message_id).collect::<Vec<_>>()).await?;
        wanted.extend(audience(ctx, &candidates, &messages).await?);
    }
    Ok(wanted)
}

fn message_id(event: &Event) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        message_id: String,
    }
    serde_json::from_slice(&event.body).ok().map(|body: Body| body.message_id)
}

/// Takes deliveries that are due and gives their users a turn. May there be more? One user's can be all that was taken, and
/// others are waiting behind them.
async fn claim(ctx: &Arc<Ctx>, turns: &mut Turns) -> Result<bool> {
    let now = ctx.clock.now();
    let lease_ends = now.plus_seconds(limits::PUSH_LEASE_SECONDS);
    let begin_before = now.plus_seconds(limits::PUSH_LEASE_SECONDS / 2);
    // No more than there is room for, should each be another user's.
    let most = turns.free();
    let busy: Vec<&str> = turns.users.values().map(String::as_str).collect();
    let taken = ctx.store.claim_deliveries(now, lease_ends, most as i64, &busy).await?;
    let more = taken.len() == most;
    let mut by_user: HashMap<String, Vec<Delivery>> = HashMap::new();
    for delivery in taken {
        by_user.entry(delivery.user_id.clone()).or_default().push(delivery);
    }
    for (user, deliveries) in by_user {
        let task = turns.tasks.spawn(deliver_to_user(ctx.clone(), deliveries, begin_before));
        turns.users.insert(task.id(), user);
    }
    Ok(more)
}

/// A user's turn: some browsers at a time.
async fn deliver_to_user(ctx: Arc<Ctx>, deliveries: Vec<Delivery>, begin_before: Timestamp) {
    let mut by_browser: HashMap<i64, Vec<Delivery>> = HashMap::new();
    for delivery in deliveries {
        by_browser.entry(delivery.subscription_id).or_default().push(delivery);
    }
    stream::iter(by_browser.values())
        .for_each_concurrent(limits::PUSH_BROWSERS_AT_ONCE_MAX, |deliveries| {
            deliver_to_browser(&ctx, deliveries, begin_before)
        })
        .await;
}

/// One push after the other, until one is not taken or the time to begin is over.
async fn deliver_to_browser(ctx: &Ctx, mut rest: &[Delivery], begin_before: Timestamp) {
    let is_over = || ctx.draining.is_cancelled() || ctx.clock.now() >= begin_before;
    while let [delivery, not_begun @ ..] = rest
        && !is_over()
    {
        match deliver(ctx, delivery, not_begun).await {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return,
            // It is still there: whoever finds it after the lease tries again.
            Err(error) => tracing::warn!(?error, "a push could not be settled"),
        }
        rest = not_begun;
    }
    if let Err(error) = ctx.store.give_back_deliveries(rest, ctx.clock.now()).await {
        tracing::warn!(?error, "pushes that were not begun could not be given back");
    }
}

/// One attempt, and what follows from it. Goes on with the browser's next push, or not: it is gone, or it rests.
async fn deliver(ctx: &Ctx, delivery: &Delivery, not_begun: &[Delivery]) -> Result<ControlFlow<()>> {
    if let Some(outcome) = attempt(ctx, delivery).await? {
        return settle(ctx, delivery, not_begun, outcome).await;
    }
    ctx.store.delete_delivery(delivery).await?;
    Ok(ControlFlow::Continue(()))
}

/// Sends a push; nothing, if it is too late, or what it was to tell is no longer there or no longer for this user.
async fn attempt(ctx: &Ctx, delivery: &Delivery) -> Result<Option<Outcome>> {
    // Nodes that died while they were sending have not counted to the end.
    if delivery.attempts > limits::PUSH_ATTEMPTS_MAX || ctx.clock.now() >= end_of(delivery) {
        count("expired", 1);
        return Ok(None);
    }
    let Some(user) = ctx.caches.user(&delivery.user_id).await? else {
        return Ok(None);
    };
    let message = ctx.store.message_seen_by(Reader::User(&user.id), &delivery.message_id).await?;
    let Some(message) = message.filter(is_pushed) else {
        return Ok(None);
    };
    let Some(channel) = ctx.caches.channel_by_key(message.channel_id).await? else {
        return Ok(None);
    };
    // Members only: a public channel is pushed to nobody who has left it.
    let is_member = ctx.caches.membership(message.channel_id, &user.id).await?.is_some();
    if !is_member || which_are_readable(ctx, &[(channel.clone(), user.clone())]).await? != [true] {
        return Ok(None);
    }
    let author = ctx.caches.user(&message.user_id).await?;
    let plaintext = payload(&message, &channel, author.as_deref(), &delivery.user_id)?;
    let receiver = Receiver { endpoint: &delivery.endpoint, p256dh: &delivery.p256dh, auth: &delivery.auth };
    Ok(Some(ctx.pusher.send(receiver, &topic(&message.id), plaintext).await))
}

/// A word of 32 characters for the message, as RFC 8030 (section 5.4) wants it.
fn topic(message_id: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(message_id)[..24])
}

async fn settle(ctx: &Ctx, delivery: &Delivery, not_begun: &[Delivery], outcome: Outcome) -> Result<ControlFlow<()>> {
    match outcome {
        Outcome::Sent => {
            count("sent", 1);
            ctx.store.delete_delivery(delivery).await?;
        }
        // Its other deliveries go with it.
        Outcome::Gone => {
            count("gone", 1);
            ctx.store.delete_subscription(delivery.subscription_id).await?;
            return Ok(ControlFlow::Break(()));
        }
        Outcome::Refused(status) => {
            count("failed", 1);
            tracing::warn!(status, "a push service refused a push");
            ctx.store.delete_delivery(delivery).await?;
        }
        // A push service that did not take this one would not take the next, and each costs its time.
        Outcome::Later { status, after } => {
            let until = next_attempt(delivery.attempts, ctx.clock.now(), after);
            if delivery.attempts < limits::PUSH_ATTEMPTS_MAX && until < end_of(delivery) {
                count("retried", 1);
            } else {
                count("expired", 1);
                tracing::warn!(status, attempts = delivery.attempts, "a push was given up");
                ctx.store.delete_delivery(delivery).await?;
            }
            ctx.store.hold_subscription(delivery, not_begun, until).await?;
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn count(outcome: &'static str, pushes: u64) {
    metrics::counter!("millrace_pushes_total", "outcome" => outcome).increment(pushes);
}

/// When to try a browser again: twice as late as the last time, and not before the push service wants it, within reason.
fn next_attempt(attempts: i32, now: Timestamp, after: Option<Timestamp>) -> Timestamp {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0);
    let backoff = limits::PUSH_BACKOFF_SECONDS.saturating_mul(1 << doublings);
    now.plus_seconds(backoff).max(after.unwrap_or(now)).min(now.plus_seconds(limits::PUSH_AGE_MAX_SECONDS))
}

/// From when on nobody wants to hear it.
fn end_of(delivery: &Delivery) -> Timestamp {
    delivery.created_at.plus_seconds(limits::PUSH_AGE_MAX_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_as_long() {
        let now = Timestamp::from_seconds(10);
        let wait = |attempts| next_attempt(attempts, now, None).seconds() - 10;
        assert_eq!((wait(1), wait(2), wait(7), wait(8)), (20, 40, 1_280, 2_560));
    }

    #[test]
    fn the_push_services_wish_is_kept_within_reason() {
        let now = Timestamp::from_seconds(10);
        let at = |after| next_attempt(1, now, Some(Timestamp::from_seconds(after))).seconds();
        assert_eq!(at(5), 30, "it may not hurry us");
        assert_eq!(at(100), 100);
        assert_eq!(at(i64::from(u32::MAX)), 10 + limits::PUSH_AGE_MAX_SECONDS);
    }

    #[test]
    fn a_topic_has_the_length_and_letters_of_the_rfc() {
        let topic = topic(&"ü".repeat(255));
        assert!(topic.len() == 32 && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
}
