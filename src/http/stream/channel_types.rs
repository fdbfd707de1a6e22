//! Channel types. For servers.

use std::sync::Arc;

use axum::extract::State;
use serde_json::{Map, Value};
use wire::app::{ChannelTypeInfo, Empty, ListChannelTypesResponse};

use crate::chat::channel_types;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::{Auth, Body, Segments};
use crate::http::reply::Reply;

/// All channel types by name.
#[utoipa::path(get, path = "/channeltypes/", operation_id = "ListChannelTypes", tag = "channel types",
    responses((status = 200, body = ListChannelTypesResponse)))]
pub async fn list_channel_types(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
) -> Result<Reply<ListChannelTypesResponse>> {
    Ok(Reply(ListChannelTypesResponse { channel_types: channel_types::list(&ctx, &caller)? }))
}

/// Makes a channel type.
#[utoipa::path(post, path = "/channeltypes/", operation_id = "CreateChannelType", tag = "channel types", request_body = Object,
    responses((status = 201, body = ChannelTypeInfo)))]
pub async fn create_channel_type(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<Map<String, Value>>,
) -> Result<Reply<ChannelTypeInfo>> {
    Ok(Reply(channel_types::create(&ctx, &caller, request).await?))
}

/// One channel type.
#[utoipa::path(get, path = "/channeltypes/{name}/", operation_id = "GetChannelType", tag = "channel types",
    responses((status = 200, body = ChannelTypeInfo)))]
pub async fn get_channel_type(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([name]): Segments<1>,
) -> Result<Reply<ChannelTypeInfo>> {
    Ok(Reply(channel_types::get(&ctx, &caller, &name)?))
}

/// Changes the named settings of a channel type, and the grants of the named roles.
#[utoipa::path(put, path = "/channeltypes/{name}/", operation_id = "UpdateChannelType", tag = "channel types", request_body = Object,
    responses((status = 200, body = ChannelTypeInfo)))]
pub async fn update_channel_type(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([name]): Segments<1>,
    Body(request): Body<Map<String, Value>>,
) -> Result<Reply<ChannelTypeInfo>> {
    Ok(Reply(channel_types::update(&ctx, &caller, &name, request).await?))
}

/// Deletes a channel type that no channel has.
#[utoipa::path(delete, path = "/channeltypes/{name}/", operation_id = "DeleteChannelType", tag = "channel types",
    responses((status = 200, body = Empty)))]
pub async fn delete_channel_type(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([name]): Segments<1>,
) -> Result<Reply<Empty>> {
    channel_types::delete(&ctx, &caller, &name).await?;
    Ok(Reply(Empty {}))
}
