//! `POST /drafts/query`.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use query::{parse_filter, parse_sort};
use serde_json::Value;
use wire::Timestamp;
use wire::draft::{Draft as Shown, QueryDraftsRequest};

use super::shown;
use crate::access::{Action, Caller, ChannelAccess};
use crate::chat::messages::history::checked_limit;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;
use crate::store::drafts::Draft;
use crate::store::query::drafts::{DRAFT_SCHEMA, DraftPlace, DraftQuery};

/// A page of the caller's drafts, the newest first unless asked otherwise, and where the next page begins. Drafts in channels
/// that the caller may no longer read are left out.
///
/// # Errors
/// A filter, sort or page that cannot be.
pub async fn query_drafts(
    ctx: &Ctx,
    caller: &Caller,
    request: QueryDraftsRequest,
) -> Result<(Vec<Shown>, Option<String>)> {
    let user = caller.acting()?;
    let filter = parse_filter(request.filter.as_ref().unwrap_or(&Value::Null), &DRAFT_SCHEMA, limits::FILTER_BOUNDS)?;
    let sort = parse_sort(request.sort.as_ref().unwrap_or(&Value::Null), &DRAFT_SCHEMA)?;
    let query = DraftQuery {
        user_id: &user.id,
        filter: &filter,
        oldest_first: sort.first().is_some_and(|key| !key.descending),
        after: request.next.as_deref().filter(|next| !next.is_empty()).map(read_place).transpose()?,
        limit: checked_limit(request.limit, limits::DRAFTS_LIMIT_DEFAULT, limits::DRAFTS_LIMIT_MAX)?,
    };
    let rows = ctx.store.query_drafts(&query).await?;
    let next = rows.last().filter(|_| rows.len() as i64 == query.limit).map(write_place);
    let keys: Vec<i64> = rows.iter().map(|row| row.channel_id).collect();
    let mut channels = HashMap::new();
    for (key, channel) in ctx.caches.channels_by_keys(&keys).await? {
        let access = ChannelAccess::load(ctx, caller, channel).await?;
        if access.check(Action::ReadChannel).is_ok() {
            channels.insert(key, access.channel);
        }
    }
    Ok((shown(ctx, &rows, &channels).await?, next))
}

fn write_place(row: &Draft) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {} {}", row.created_at.micros(), row.channel_id, row.parent_id))
}

fn read_place(text: &str) -> Result<DraftPlace> {
    let place = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.splitn(3, ' ');
        let created_at = parts.next()?.parse().ok().map(Timestamp::from_micros)?;
        let channel_id = parts.next()?.parse().ok()?;
        let parent_id = parts.next().filter(|id| !id.contains('\0'))?.to_owned();
        let holds = (Timestamp::MIN..=Timestamp::MAX).contains(&created_at);
        holds.then_some(DraftPlace { created_at, channel_id, parent_id })
    };
    place().ok_or_else(|| Error::input("next is not where a page of drafts ended"))
}
