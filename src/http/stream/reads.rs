//! Read state and unread numbers.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use wire::app::Empty;
use wire::read::{
    MarkChannelsReadRequest, MarkReadRequest, MarkReadResponse, MarkUnreadRequest, UnreadCounts,
    UnreadCountsBatchRequest, UnreadCountsBatchResponse,
};
use wire::user::UserRequest;

use crate::chat::{reads, unread};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::{Auth, Body, CidPath};
use crate::http::reply::Reply;

/// Marks a channel as read.
#[utoipa::path(post, path = "/channels/{type}/{id}/read/", operation_id = "MarkRead", tag = "reads", request_body = MarkReadRequest,
    responses((status = 201, body = MarkReadResponse)))]
pub async fn mark_read(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Body(request): Body<MarkReadRequest>,
) -> Result<Reply<MarkReadResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    Ok(Reply(MarkReadResponse { event: reads::mark_read(&ctx, &caller, &cid, request).await? }))
}

/// Marks a message and everything after it as unread.
#[utoipa::path(post, path = "/channels/{type}/{id}/unread/", operation_id = "MarkUnread", tag = "reads",
    request_body = MarkUnreadRequest, responses((status = 201, body = Empty)))]
pub async fn mark_unread(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Body(request): Body<MarkUnreadRequest>,
) -> Result<Reply<Empty>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    reads::mark_unread(&ctx, &caller, &cid, request).await?;
    Ok(Reply(Empty {}))
}

/// Marks all channels as read, or the named ones up to a message each.
#[utoipa::path(post, path = "/channels/read/", operation_id = "MarkChannelsRead", tag = "reads",
    request_body = MarkChannelsReadRequest, responses((status = 201, body = MarkReadResponse)))]
pub async fn mark_channels_read(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<MarkChannelsReadRequest>,
) -> Result<Reply<MarkReadResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    Ok(Reply(MarkReadResponse {
        event: Box::pin(reads::mark_channels_read(&ctx, &caller, request.read_by_channel)).await?,
    }))
}

/// `POST /channels/delivered`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct MarkDeliveredRequest {
    latest_delivered_messages: Option<Vec<DeliveredMessage>>,
    user_id: Option<String>,
    user: Option<UserRequest>,
}

/// The newest message of a channel that reached a device.
#[derive(Debug, Deserialize, ToSchema)]
pub struct DeliveredMessage {
    cid: String,
    id: String,
}

/// Notes which messages have reached the caller's device.
#[utoipa::path(post, path = "/channels/delivered/", operation_id = "MarkDelivered", tag = "reads", request_body = MarkDeliveredRequest,
    responses((status = 201, body = Empty)))]
pub async fn mark_delivered(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<MarkDeliveredRequest>,
) -> Result<Reply<Empty>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let delivered = request.latest_delivered_messages.unwrap_or_default();
    let delivered: Vec<(String, String)> = delivered.into_iter().map(|message| (message.cid, message.id)).collect();
    reads::mark_delivered(&ctx, &caller, &delivered).await?;
    Ok(Reply(Empty {}))
}

/// Unread numbers of the caller.
#[utoipa::path(get, path = "/unread/", operation_id = "UnreadCounts", tag = "reads", responses((status = 200, body = UnreadCounts)))]
pub async fn unread_counts(State(ctx): State<Arc<Ctx>>, Auth(caller): Auth) -> Result<Reply<UnreadCounts>> {
    Ok(Reply(unread::unread_counts(&ctx, &caller).await?))
}

/// Unread numbers of several users. For servers.
#[utoipa::path(post, path = "/unread_batch/", operation_id = "UnreadCountsBatch", tag = "reads",
    request_body = UnreadCountsBatchRequest, responses((status = 201, body = UnreadCountsBatchResponse)))]
pub async fn unread_counts_batch(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<UnreadCountsBatchRequest>,
) -> Result<Reply<UnreadCountsBatchResponse>> {
    Ok(Reply(UnreadCountsBatchResponse {
        counts_by_user: unread::unread_counts_batch(&ctx, &caller, &request.user_ids).await?,
    }))
}
