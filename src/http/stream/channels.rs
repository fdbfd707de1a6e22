//! Channels.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use serde::Deserialize;
use wire::app::Empty;
use wire::channel::{
    ActingUserRequest, ChannelState, DeleteChannelResponse, GetOrCreateChannelRequest, HideChannelRequest,
    QueryChannelsRequest, QueryChannelsResponse, TruncateChannelRequest, TruncateChannelResponse,
    UpdateChannelPartialRequest, UpdateChannelPartialResponse, UpdateChannelRequest, UpdateChannelResponse,
};

use crate::chat::channels;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::caller::connection_id;
use crate::http::extract::{Auth, Body, CidPath, Params, Segments};
use crate::http::reply::Reply;

/// Finds channels and loads their states; the connection watches them if `watch` is set.
#[utoipa::path(post, path = "/channels/", operation_id = "QueryChannels", tag = "channels", request_body = QueryChannelsRequest,
    responses((status = 201, body = QueryChannelsResponse)))]
pub async fn query_channels(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    uri: Uri,
    Body(mut request): Body<QueryChannelsRequest>,
) -> Result<Reply<QueryChannelsResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    request.connection_id = request.connection_id.or_else(|| connection_id(&uri));
    Ok(Reply(QueryChannelsResponse { channels: channels::query::query_channels(&ctx, &caller, request).await? }))
}

/// Loads a channel, creates it if there is none, watches it if `watch` is set.
#[utoipa::path(post, path = "/channels/{type}/{id}/query/", operation_id = "GetOrCreateChannel", tag = "channels",
    request_body = GetOrCreateChannelRequest, responses((status = 201, body = ChannelState)))]
pub async fn get_or_create_channel(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    uri: Uri,
    CidPath(cid): CidPath,
    Body(request): Body<GetOrCreateChannelRequest>,
) -> Result<Reply<ChannelState>> {
    get_or_create(&ctx, caller, &uri, cid.channel_type(), Some(cid.id()), request).await
}

/// The same for a channel that is named by its members.
#[utoipa::path(post, path = "/channels/{type}/query/", operation_id = "GetOrCreateDistinctChannel", tag = "channels",
    request_body = GetOrCreateChannelRequest, responses((status = 201, body = ChannelState)))]
pub async fn get_or_create_distinct_channel(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    uri: Uri,
    Segments([channel_type]): Segments<1>,
    Body(request): Body<GetOrCreateChannelRequest>,
) -> Result<Reply<ChannelState>> {
    get_or_create(&ctx, caller, &uri, &channel_type, None, request).await
}

async fn get_or_create(
    ctx: &Ctx,
    caller: crate::access::Caller,
    uri: &Uri,
    channel_type: &str,
    id: Option<&str>,
    mut request: GetOrCreateChannelRequest,
) -> Result<Reply<ChannelState>> {
    let caller = caller.acting_as(ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    request.connection_id = request.connection_id.or_else(|| connection_id(uri));
    Ok(Reply(channels::get_or_create::get_or_create(ctx, &caller, channel_type, id, request).await?))
}

/// The connection stops watching the channel.
#[utoipa::path(post, path = "/channels/{type}/{id}/stop-watching/", operation_id = "StopWatchingChannel", tag = "channels",
    request_body = ActingUserRequest, responses((status = 201, body = Empty)))]
pub async fn stop_watching(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    uri: Uri,
    CidPath(cid): CidPath,
    Body(request): Body<ActingUserRequest>,
) -> Result<Reply<Empty>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let connection = request.connection_id.or_else(|| connection_id(&uri));
    channels::watch::stop_watching(&ctx, &caller, connection.as_deref(), &cid).await?;
    Ok(Reply(Empty {}))
}

/// Replaces a channel's data, or changes its members, or answers an invite.
#[utoipa::path(post, path = "/channels/{type}/{id}/", operation_id = "UpdateChannel", tag = "channels",
    request_body = UpdateChannelRequest, responses((status = 201, body = UpdateChannelResponse)))]
pub async fn update_channel(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Body(request): Body<UpdateChannelRequest>,
) -> Result<Reply<UpdateChannelResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let updated = channels::update::update_channel(&ctx, &caller, &cid, request).await?;
    Ok(Reply(UpdateChannelResponse { channel: updated.channel, members: updated.members, message: updated.message }))
}

/// Changes parts of a channel's data.
#[utoipa::path(patch, path = "/channels/{type}/{id}/", operation_id = "UpdateChannelPartial", tag = "channels",
    request_body = UpdateChannelPartialRequest, responses((status = 200, body = UpdateChannelPartialResponse)))]
pub async fn update_channel_partial(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Body(request): Body<UpdateChannelPartialRequest>,
) -> Result<Reply<UpdateChannelPartialResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let updated = channels::update::update_channel_partial(&ctx, &caller, &cid, request).await?;
    Ok(Reply(UpdateChannelPartialResponse { channel: updated.channel, members: updated.members }))
}

/// How to delete.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeleteChannelParams {
    /// For good. For servers.
    #[serde(default)]
    hard_delete: bool,
}

/// Deletes a channel.
#[utoipa::path(delete, path = "/channels/{type}/{id}/", operation_id = "DeleteChannel", tag = "channels",
    params(DeleteChannelParams), responses((status = 200, body = DeleteChannelResponse)))]
pub async fn delete_channel(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Params(params): Params<DeleteChannelParams>,
) -> Result<Reply<DeleteChannelResponse>> {
    let channel = channels::delete::delete_channel(&ctx, &caller, &cid, params.hard_delete).await?;
    Ok(Reply(DeleteChannelResponse { channel }))
}

/// Hides or removes the messages so far.
#[utoipa::path(post, path = "/channels/{type}/{id}/truncate/", operation_id = "TruncateChannel", tag = "channels",
    request_body = TruncateChannelRequest, responses((status = 201, body = TruncateChannelResponse)))]
pub async fn truncate_channel(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Body(request): Body<TruncateChannelRequest>,
) -> Result<Reply<TruncateChannelResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let (channel, message) = channels::truncate::truncate_channel(&ctx, &caller, &cid, request).await?;
    Ok(Reply(TruncateChannelResponse { channel, message }))
}

/// Hides a channel from one's own list, until the next message.
#[utoipa::path(post, path = "/channels/{type}/{id}/hide/", operation_id = "HideChannel", tag = "channels",
    request_body = HideChannelRequest, responses((status = 201, body = Empty)))]
pub async fn hide_channel(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Body(request): Body<HideChannelRequest>,
) -> Result<Reply<Empty>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    channels::hide::hide_channel(&ctx, &caller, &cid, request.clear_history == Some(true)).await?;
    Ok(Reply(Empty {}))
}

/// Shows a hidden channel again.
#[utoipa::path(post, path = "/channels/{type}/{id}/show/", operation_id = "ShowChannel", tag = "channels",
    request_body = ActingUserRequest, responses((status = 201, body = Empty)))]
pub async fn show_channel(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Body(request): Body<ActingUserRequest>,
) -> Result<Reply<Empty>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    channels::hide::show_channel(&ctx, &caller, &cid).await?;
    Ok(Reply(Empty {}))
}
