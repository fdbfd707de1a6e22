//! Reading messages: one, some, a page of a channel, a page of a thread.

use std::collections::HashMap;

use wire::Cid;
use wire::message::{Message as Shown, MessagePage, MessageWithChannel};

use super::load;
use super::visibility::{self, floor_seq};
use crate::access::{self, Action, Caller, ChannelAccess};
use crate::chat::render::messages::{Options, that_fit};
use crate::chat::render::{self, People};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::store::messages::{Bound, HistoryPage, Message};
use crate::{asker, limits};

/// One message, with its channel.
///
/// # Errors
/// There is none, or the caller may not read it.
pub async fn get_message(ctx: &Ctx, caller: &Caller, id: &str, show_deleted: bool) -> Result<MessageWithChannel> {
    let (access, row) = load(ctx, caller, id, Action::ReadChannel).await?;
    let options = Options { show_deleted: show_deleted && caller.is_server(), ..Options::of(ctx, caller) };
    let head = ctx.store.heads(&[access.key()]).await?.pop();
    let people = People::load(ctx, render::channels::people_of(&access.channel)).await?;
    Ok(MessageWithChannel {
        message: render::messages::one(ctx, &row, access.cid(), options).await?,
        channel: render::channels::channel(&access.channel, head.as_ref(), &people, None),
    })
}

/// Messages of one channel by their ids; unknown ones are left out.
///
/// # Errors
/// Too many ids, or a channel that the caller may not read.
pub async fn get_many_messages(ctx: &Ctx, caller: &Caller, cid: &Cid, ids: &[String]) -> Result<Vec<Shown>> {
    if ids.is_empty() || ids.len() > limits::MESSAGES_BY_ID_MAX {
        return Err(Error::input(format!("ids must name 1 to {} messages", limits::MESSAGES_BY_ID_MAX)));
    }
    let access = access::channel(ctx, caller, cid, Action::ReadChannel).await?;
    let mut rows = visibility::find_all(ctx, caller, ids).await?.messages;
    rows.retain(|row| row.channel_id == access.key());
    rows.sort_unstable_by_key(|row| row.seq);
    let cids = HashMap::from([(access.key(), cid.clone())]);
    render::messages::messages(ctx, &rows, &cids, Options::of(ctx, caller)).await
}

/// A page of a thread's replies, oldest first.
///
/// # Errors
/// There is no such parent, or the caller may not read it.
pub async fn get_replies(ctx: &Ctx, caller: &Caller, parent_id: &str, page: &MessagePage) -> Result<Vec<Shown>> {
    let (access, parent) = load(ctx, caller, parent_id, Action::ReadChannel).await?;
    let page = history_page(ctx, &access, caller, page).await?;
    let mut rows = ctx.store.replies(&parent.id, &page).await?;
    shorten(&mut rows, page.bound);
    let cids = HashMap::from([(access.key(), access.cid().clone())]);
    render::messages::messages(ctx, &rows, &cids, Options::of(ctx, caller)).await
}

/// A page of a channel's messages, oldest first.
///
/// # Errors
/// A page that cannot be.
pub async fn channel_page(
    ctx: &Ctx,
    caller: &Caller,
    access: &ChannelAccess,
    page: &MessagePage,
) -> Result<Vec<Shown>> {
    let page = history_page(ctx, access, caller, page).await?;
    let mut rows = ctx.store.history(access.key(), &page).await?;
    shorten(&mut rows, page.bound);
    let cids = HashMap::from([(access.key(), access.cid().clone())]);
    render::messages::messages(ctx, &rows, &cids, Options::of(ctx, caller)).await
}

/// Leaves what one answer has room for, from where the page begins; the next page begins where it ends.
fn shorten(rows: &mut Vec<Message>, bound: Bound) {
    match bound {
        Bound::Latest | Bound::Before { .. } => {
            let fit = that_fit(rows.iter().rev(), limits::ANSWER_BYTES_MAX);
            rows.drain(..rows.len() - fit);
        }
        Bound::After { .. } => rows.truncate(that_fit(rows.iter(), limits::ANSWER_BYTES_MAX)),
        // Each side has half of the room, the message itself among the older.
        Bound::Around(seq) => {
            let middle = rows.partition_point(|row| row.seq <= seq);
            let (older, newer) = rows.split_at(middle);
            let most = limits::ANSWER_BYTES_MAX / 2;
            let (before, after) = (that_fit(older.iter().rev(), most), that_fit(newer.iter(), most));
            rows.truncate(middle + after);
            rows.drain(..middle - before);
        }
    }
}

/// A limit within its bounds.
///
/// # Errors
/// A limit that is negative or too large.
pub fn checked_limit(limit: Option<i64>, default: i64, most: i64) -> Result<i64> {
    match limit {
        None | Some(0) => Ok(default),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(limit) => {
            Err(Error::input(format!("limit {limit} is not between 1 and {most}")).field("limit", "out of range"))
        }
    }
}

/// Like [`checked_limit`], but 0 is a wish of its own: none.
///
/// # Errors
/// A limit that is negative or too large.
pub fn page_size(limit: Option<i64>, default: i64, most: i64) -> Result<i64> {
    if limit == Some(0) { Ok(0) } else { checked_limit(limit, default, most) }
}

async fn history_page<'a>(
    ctx: &Ctx,
    access: &ChannelAccess,
    caller: &'a Caller,
    page: &MessagePage,
) -> Result<HistoryPage<'a>> {
    let limit = checked_limit(page.limit, limits::MESSAGE_LIMIT_DEFAULT, limits::MESSAGE_LIMIT_MAX)?;
    if limit > limits::ANSWER_ROWS_SMALL {
        asker::turn_to_answer(&ctx.lanes).await?;
    }
    Ok(HistoryPage {
        limit,
        bound: bound(ctx, access, caller, page).await?,
        floor_seq: floor_seq(ctx, access).await?,
        viewer: caller.user_id().filter(|_| !access.is_unchecked()),
    })
}

/// A bound at the sequence number of a message.
type BoundAt = fn(i64) -> Bound;

/// The first bound that is set. A message that the caller may not see bounds nothing.
async fn bound(ctx: &Ctx, access: &ChannelAccess, caller: &Caller, page: &MessagePage) -> Result<Bound> {
    let given = |id: &Option<String>| id.clone().filter(|id| !id.is_empty());
    let by_id: [(Option<String>, BoundAt); 5] = [
        (given(&page.id_lt), |seq| Bound::Before { seq, inclusive: false }),
        (given(&page.id_lte), |seq| Bound::Before { seq, inclusive: true }),
        (given(&page.id_gt), |seq| Bound::After { seq, inclusive: false }),
        (given(&page.id_gte), |seq| Bound::After { seq, inclusive: true }),
        (given(&page.id_around), Bound::Around),
    ];
    for (id, bound) in by_id {
        let Some(id) = id else { continue };
        return Ok(bound(visibility::find_in(ctx, caller, access, &id).await?.seq));
    }
    let at = async |time, before| ctx.store.message_seq_at(access.key(), time, before).await;
    Ok(if let Some(time) = page.created_at_before {
        Bound::Before { seq: at(time, true).await?, inclusive: true }
    } else if let Some(time) = page.created_at_before_or_equal {
        Bound::Before { seq: at(time, false).await?, inclusive: true }
    } else if let Some(time) = page.created_at_after {
        Bound::After { seq: at(time, false).await?, inclusive: false }
    } else if let Some(time) = page.created_at_after_or_equal {
        Bound::After { seq: at(time, true).await?, inclusive: false }
    } else if let Some(time) = page.created_at_around {
        Bound::Around(at(time, false).await?)
    } else {
        Bound::Latest
    })
}
