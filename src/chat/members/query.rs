//! `GET /members`.

use query::{parse_filter, parse_sort};
use serde_json::Value;
use wire::Cid;
use wire::member::{Member as Shown, QueryMembersRequest};

use crate::access::{self, Action, Caller};
use crate::chat::messages::history::checked_limit;
use crate::chat::render::{self, People};
use crate::chat::users::query::checked_offset;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::limits;
use crate::store::query::members::{MEMBER_SCHEMA, MemberBound, MemberQuery};

/// Finds members of a channel.
///
/// # Errors
/// A channel that the caller may not look into, or a filter, sort or page that cannot be.
pub async fn query_members(ctx: &Ctx, caller: &Caller, cid: &Cid, request: QueryMembersRequest) -> Result<Vec<Shown>> {
    let access = access::channel(ctx, caller, cid, Action::ReadChannelMembers).await?;
    let filter = parse_filter(
        request.filter_conditions.as_ref().unwrap_or(&Value::Null),
        &MEMBER_SCHEMA,
        limits::FILTER_BOUNDS,
    )?;
    let sort = parse_sort(request.sort.as_ref().unwrap_or(&Value::Null), &MEMBER_SCHEMA)?;
    let ids = [
        ("< ", request.user_id_lt),
        ("<= ", request.user_id_lte),
        ("> ", request.user_id_gt),
        (">= ", request.user_id_gte),
    ];
    let times = [
        ("< ", request.created_at_before),
        ("<= ", request.created_at_before_or_equal),
        ("> ", request.created_at_after),
        (">= ", request.created_at_after_or_equal),
    ];
    let ids = ids
        .into_iter()
        .filter_map(|(operator, id)| Some(MemberBound::UserId(operator, id.filter(|id| !id.is_empty())?)));
    let times = times.into_iter().filter_map(|(operator, at)| Some(MemberBound::CreatedAt(operator, at?)));
    let bounds: Vec<MemberBound> = ids.chain(times).collect();
    let query = MemberQuery {
        channel_id: access.key(),
        filter: &filter,
        sort: &sort,
        bounds: &bounds,
        limit: checked_limit(request.limit, limits::QUERY_MEMBERS_LIMIT_MAX, limits::QUERY_MEMBERS_LIMIT_MAX)?,
        offset: checked_offset(request.offset, limits::QUERY_OFFSET_MAX)?,
    };
    let rows = ctx.store.query_members(&query).await?;
    let people = People::load(ctx, rows.iter().map(|row| row.user_id.clone())).await?;
    Ok(rows.iter().map(|row| render::members::member(row, &access.channel, &people, ctx.clock.now())).collect())
}
