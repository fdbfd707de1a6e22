//! `GET /unread` and `POST /unread_batch`: unread numbers without a socket.

use std::collections::{BTreeMap, HashMap};

use wire::read::{UnreadChannel, UnreadChannelType, UnreadCounts, UnreadThread};

use crate::access::Caller;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;

/// Unread numbers of the caller.
///
/// # Errors
/// Postgres.
pub async fn unread_counts(ctx: &Ctx, caller: &Caller) -> Result<UnreadCounts> {
    let user = caller.acting()?.id.clone();
    Ok(counts(ctx, std::slice::from_ref(&user)).await?.remove(&user).unwrap_or_default())
}

/// Unread numbers of users; unknown ones are left out.
///
/// # Errors
/// Too many users, or a caller that is no server.
pub async fn unread_counts_batch(
    ctx: &Ctx,
    caller: &Caller,
    user_ids: &[String],
) -> Result<HashMap<String, UnreadCounts>> {
    caller.require_server()?;
    if user_ids.is_empty() || user_ids.len() > limits::UNREAD_BATCH_USERS_MAX {
        return Err(Error::input(format!("user_ids must name 1 to {} users", limits::UNREAD_BATCH_USERS_MAX)));
    }
    let known = ctx.caches.users(user_ids).await?;
    let ids: Vec<String> = known.into_keys().collect();
    counts(ctx, &ids).await
}

async fn counts(ctx: &Ctx, ids: &[String]) -> Result<HashMap<String, UnreadCounts>> {
    let (totals, channels, threads) = tokio::try_join!(
        ctx.store.unread_totals(ids),
        ctx.store.unread_channels(ids, limits::UNREAD_CHANNELS_MAX),
        ctx.store.unread_threads(ids, limits::UNREAD_THREADS_MAX),
    )?;
    let mut counts: HashMap<String, UnreadCounts> =
        ids.iter().map(|id| (id.clone(), UnreadCounts::default())).collect();
    for total in totals {
        if let Some(counts) = counts.get_mut(&total.user_id) {
            counts.total_unread_count = total.messages;
            counts.total_unread_threads_count = total.threads;
        }
    }
    for channel in channels {
        if let Some(counts) = counts.get_mut(&channel.user_id) {
            counts.channels.push(UnreadChannel {
                channel_id: channel.cid,
                unread_count: channel.unread,
                last_read: channel.last_read_at,
            });
        }
    }
    for thread in threads {
        if let Some(counts) = counts.get_mut(&thread.user_id) {
            counts.threads.push(UnreadThread {
                parent_message_id: thread.parent_id,
                unread_count: thread.unread,
                last_read: thread.last_read_at,
                last_read_message_id: thread.last_read_message_id,
            });
        }
    }
    for counts in counts.values_mut() {
        counts.channel_type = by_type(&counts.channels);
    }
    Ok(counts)
}

fn by_type(channels: &[UnreadChannel]) -> Vec<UnreadChannelType> {
    let mut types: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for channel in channels {
        let name = channel.channel_id.split(':').next().unwrap_or_default();
        let (count, unread) = types.entry(name).or_default();
        *count += 1;
        *unread += channel.unread_count;
    }
    let entry = |(name, (channel_count, unread_count)): (&str, (i64, i64))| UnreadChannelType {
        channel_type: name.into(),
        channel_count,
        unread_count,
    };
    types.into_iter().map(entry).collect()
}
