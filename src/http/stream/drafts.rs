//! Drafts.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use wire::app::Empty;
use wire::draft::{DraftResponse, QueryDraftsRequest, QueryDraftsResponse, SaveDraftRequest};

use crate::chat::drafts;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::{Auth, Body, CidPath, Params};
use crate::http::reply::Reply;

/// Which draft.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DraftParams {
    /// The thread that it is for, if it is for one.
    parent_id: Option<String>,
}

/// Saves what the caller has begun to write.
#[utoipa::path(post, path = "/channels/{type}/{id}/draft/", operation_id = "CreateDraft", tag = "drafts",
    request_body = SaveDraftRequest, responses((status = 201, body = DraftResponse)))]
pub async fn create_draft(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Body(request): Body<SaveDraftRequest>,
) -> Result<Reply<DraftResponse>> {
    let user_id = request.user_id.as_deref().or(request.message.user_id.as_deref());
    let caller = caller.acting_as(&ctx, user_id, request.user.as_ref().or(request.message.user.as_ref())).await?;
    Ok(Reply(DraftResponse { draft: drafts::save_draft(&ctx, &caller, &cid, request.message).await? }))
}

/// The caller's draft.
#[utoipa::path(get, path = "/channels/{type}/{id}/draft/", operation_id = "GetDraft", tag = "drafts", params(DraftParams),
    responses((status = 200, body = DraftResponse)))]
pub async fn get_draft(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Params(params): Params<DraftParams>,
) -> Result<Reply<DraftResponse>> {
    Ok(Reply(DraftResponse { draft: drafts::get_draft(&ctx, &caller, &cid, params.parent_id.as_deref()).await? }))
}

/// Deletes the caller's draft.
#[utoipa::path(delete, path = "/channels/{type}/{id}/draft/", operation_id = "DeleteDraft", tag = "drafts", params(DraftParams),
    responses((status = 200, body = Empty)))]
pub async fn delete_draft(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Params(params): Params<DraftParams>,
) -> Result<Reply<Empty>> {
    drafts::delete_draft(&ctx, &caller, &cid, params.parent_id.as_deref()).await?;
    Ok(Reply(Empty {}))
}

/// The caller's drafts, newest first.
#[utoipa::path(post, path = "/drafts/query/", operation_id = "QueryDrafts", tag = "drafts", request_body = QueryDraftsRequest,
    responses((status = 201, body = QueryDraftsResponse)))]
pub async fn query_drafts(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<QueryDraftsRequest>,
) -> Result<Reply<QueryDraftsResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let (drafts, next) = drafts::query_drafts(&ctx, &caller, request).await?;
    Ok(Reply(QueryDraftsResponse { drafts, next }))
}
