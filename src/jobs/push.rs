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
//!
//! A push is sent twice only if a node dies between sending and noting it. Its topic is the message, so that a push service
//! that still has the first one replaces it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
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
use crate::store::messages::{Message, Reader};
use crate::store::push::Delivery;

/// This reader's name beside its place in the log.
const READER: &str = "push";

/// Runs until it is dropped. A node that is leaving takes no more.
pub async fn run(ctx: Arc<Ctx>) {
    let mut tick = interval(limits::PUSH_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut begun = false;
    let mut sends = JoinSet::new();
    let mut more = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                match timeout(limits::TURN_TIME, read(&ctx, &mut begun)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(?error, "messages to push could not be read from the log"),
                    Err(_) => tracing::warn!("messages to push could not be read from the log in time"),
                }
                more = true;
            }
            Some(_) = sends.join_next() => {}
        }
        let free = limits::PUSH_SENDS_MAX - sends.len();
        if more && free > 0 && !ctx.draining.is_cancelled() {
            match claim(&ctx, free).await {
                Ok(taken) => {
                    more = taken.len() == free;
                    for (delivery, message) in taken {
                        sends.spawn(deliver(ctx.clone(), delivery, message));
                    }
                }
                Err(error) => {
                    more = false;
                    tracing::warn!(?error, "pushes that are due could not be read");
                }
            }
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
        write.insert_deliveries(&wanted, ctx.clock.now()).await?;
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

/// Takes deliveries that are due, with their messages; a message that is gone is nothing.
async fn claim(ctx: &Ctx, most: usize) -> Result<Vec<(Delivery, Option<Message>)>> {
    let now = ctx.clock.now();
    let lease_ends = now.plus_seconds(limits::PUSH_LEASE_SECONDS);
    let deliveries = ctx.store.claim_deliveries(now, lease_ends, most as i64).await?;
    if deliveries.is_empty() {
        return Ok(Vec::new());
    }
    let ids: HashSet<String> = deliveries.iter().map(|delivery| delivery.message_id.clone()).collect();
    let messages = ctx.store.messages_by_ids(&ids.into_iter().collect::<Vec<_>>()).await?;
    let messages: HashMap<String, Message> =
        messages.into_iter().map(|message| (message.id.clone(), message)).collect();
    let with_message = |delivery: Delivery| {
        let message = messages.get(&delivery.message_id).cloned();
        (delivery, message)
    };
    Ok(deliveries.into_iter().map(with_message).collect())
}

/// One attempt, and what follows from it.
async fn deliver(ctx: Arc<Ctx>, delivery: Delivery, message: Option<Message>) {
    let done = match attempt(&ctx, &delivery, message.as_ref()).await {
        Ok(Some(outcome)) => settle(&ctx, &delivery, outcome).await,
        Ok(None) => ctx.store.delete_delivery(&delivery).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    if let Err(error) = done {
        // It is still there: whoever finds it after the lease tries again.
        tracing::warn!(?error, "a push could not be settled");
    }
}

/// Sends a push; nothing, if it is too late, or what it was to tell is no longer there or no longer for this user.
async fn attempt(ctx: &Ctx, delivery: &Delivery, message: Option<&Message>) -> Result<Option<Outcome>> {
    // Nodes that died while they were sending have not counted to the end.
    if delivery.attempts > limits::PUSH_ATTEMPTS_MAX || ctx.clock.now() >= end_of(delivery) {
        count("expired");
        return Ok(None);
    }
    let Some(message) = message.filter(|message| is_pushed(message)) else {
        return Ok(None);
    };
    let channel = ctx.caches.channel_by_key(message.channel_id).await?;
    let Some((channel, user)) = channel.zip(ctx.caches.user(&delivery.user_id).await?) else {
        return Ok(None);
    };
    // Members only: a public channel is pushed to nobody who has left it.
    let is_member = ctx.caches.membership(message.channel_id, &user.id).await?.is_some();
    if !is_member || which_are_readable(ctx, &[(channel.clone(), user.clone())]).await? != [true] {
        return Ok(None);
    }
    if ctx.store.message_seen_by(Reader::User(&user.id), &message.id).await?.is_none() {
        return Ok(None);
    }
    let author = ctx.caches.user(&message.user_id).await?;
    let plaintext = payload(message, &channel, author.as_deref(), &delivery.user_id)?;
    let receiver = Receiver { endpoint: &delivery.endpoint, p256dh: &delivery.p256dh, auth: &delivery.auth };
    Ok(Some(ctx.pusher.send(receiver, &topic(&message.id), plaintext).await))
}

/// A word of 32 characters for the message, as RFC 8030 (section 5.4) wants it.
fn topic(message_id: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(message_id)[..24])
}

async fn settle(ctx: &Ctx, delivery: &Delivery, outcome: Outcome) -> Result<()> {
    match outcome {
        Outcome::Sent => {
            count("sent");
            ctx.store.delete_delivery(delivery).await?;
        }
        // Its other deliveries go with it.
        Outcome::Gone => {
            count("gone");
            ctx.store.delete_subscription(delivery.subscription_id).await?;
        }
        Outcome::Refused(status) => {
            count("failed");
            tracing::warn!(status, "a push service refused a push");
            ctx.store.delete_delivery(delivery).await?;
        }
        Outcome::Later { status, after } => {
            if let Some(at) = next_attempt(delivery, ctx.clock.now(), after) {
                count("retried");
                ctx.store.postpone_delivery(delivery, at).await?;
            } else {
                count("expired");
                tracing::warn!(status, attempts = delivery.attempts, "a push was given up");
                ctx.store.delete_delivery(delivery).await?;
            }
        }
    }
    Ok(())
}

fn count(outcome: &'static str) {
    metrics::counter!("millrace_pushes_total", "outcome" => outcome).increment(1);
}

/// When to try again: twice as late as the last time, and not before the push service wants it. Nothing if that is too often
/// or too late.
fn next_attempt(delivery: &Delivery, now: Timestamp, after: Option<Timestamp>) -> Option<Timestamp> {
    if delivery.attempts >= limits::PUSH_ATTEMPTS_MAX {
        return None;
    }
    let doublings = u32::try_from(delivery.attempts - 1).unwrap_or(0);
    let backoff = limits::PUSH_BACKOFF_SECONDS.saturating_mul(1 << doublings);
    let at = now.plus_seconds(backoff).max(after.unwrap_or(now));
    (at < end_of(delivery)).then_some(at)
}

/// From when on nobody wants to hear it.
fn end_of(delivery: &Delivery) -> Timestamp {
    delivery.created_at.plus_seconds(limits::PUSH_AGE_MAX_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(attempts: i32) -> Delivery {
        Delivery {
            subscription_id: 1,
            message_id: "m".into(),
            attempts,
            created_at: Timestamp::from_seconds(0),
            user_id: "ada".into(),
            endpoint: String::new(),
            p256dh: Vec::new(),
            auth: Vec::new(),
        }
    }

    #[test]
    fn each_wait_is_twice_as_long_until_it_is_enough() {
        let now = Timestamp::from_seconds(10);
        let wait = |attempts| next_attempt(&delivery(attempts), now, None).map(|at| at.seconds() - 10);
        assert_eq!((wait(1), wait(2), wait(7), wait(8)), (Some(20), Some(40), Some(1_280), None));
    }

    #[test]
    fn the_push_services_wish_is_kept_within_reason() {
        let now = Timestamp::from_seconds(10);
        let at = |after| next_attempt(&delivery(1), now, Some(Timestamp::from_seconds(after)));
        assert_eq!(at(5), Some(Timestamp::from_seconds(30)), "it may not hurry us");
        assert_eq!(at(100), Some(Timestamp::from_seconds(100)));
        assert_eq!(at(limits::PUSH_AGE_MAX_SECONDS), None);
    }

    #[test]
    fn a_topic_has_the_length_and_letters_of_the_rfc() {
        let topic = topic(&"ü".repeat(255));
        assert!(topic.len() == 32 && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
}
