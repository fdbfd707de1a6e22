//! Members.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use wire::Cid;
use wire::member::{MemberResponse, MembersResponse, QueryMembersRequest, UpdateMemberPartialRequest};

use crate::chat::channels::get_or_create::distinct_cid_of;
use crate::chat::members;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::http::extract::{Auth, Body, CidPath, Payload};
use crate::http::reply::Reply;

/// Finds members of a channel. The query is JSON in the parameter `payload`.
#[utoipa::path(get, path = "/members/", operation_id = "QueryMembers", tag = "members",
    params(("payload" = String, Query, description = "QueryMembersRequest as JSON.")),
    responses((status = 200, body = MembersResponse)))]
pub async fn query_members(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Payload(request): Payload<QueryMembersRequest>,
) -> Result<Reply<MembersResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let cid = match request.id.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => Cid::new(&request.channel_type, id)?,
        None => distinct_cid_of(&request.channel_type, &request.members)?,
    };
    Ok(Reply(MembersResponse { members: members::query::query_members(&ctx, &caller, &cid, request).await? }))
}

/// Changes parts of the caller's own membership, or of the user's that a server names in the query.
#[utoipa::path(patch, path = "/channels/{type}/{id}/member/", operation_id = "UpdateOwnMemberPartial", tag = "members",
    request_body = UpdateMemberPartialRequest, responses((status = 200, body = MemberResponse)))]
pub async fn update_own_member_partial(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Body(request): Body<UpdateMemberPartialRequest>,
) -> Result<Reply<MemberResponse>> {
    let user = caller.acting()?.id.clone();
    let channel_member = members::partial::update_member_partial(&ctx, &caller, &cid, &user, request).await?;
    Ok(Reply(MemberResponse { channel_member }))
}

/// Changes parts of a membership.
#[utoipa::path(patch, path = "/channels/{type}/{id}/member/{user_id}/", operation_id = "UpdateMemberPartial", tag = "members",
    request_body = UpdateMemberPartialRequest, responses((status = 200, body = MemberResponse)))]
pub async fn update_member_partial(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Path(path): Path<HashMap<String, String>>,
    Body(request): Body<UpdateMemberPartialRequest>,
) -> Result<Reply<MemberResponse>> {
    let user = path.get("user_id").ok_or_else(|| Error::input("the path names no user"))?;
    let channel_member = members::partial::update_member_partial(&ctx, &caller, &cid, user, request).await?;
    Ok(Reply(MemberResponse { channel_member }))
}
