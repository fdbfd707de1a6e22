//! Devices, and what users want to be pushed.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use wire::app::Empty;
use wire::push::{
    CreateDeviceRequest, ListDevicesResponse, UpdatePushPreferencesRequest, UpsertPushPreferencesResponse,
};

use crate::chat::{devices, push};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::{Auth, Body, Params};
use crate::http::reply::Reply;

/// Registers a device.
#[utoipa::path(post, path = "/devices/", operation_id = "CreateDevice", tag = "push", request_body = CreateDeviceRequest,
    responses((status = 201, body = Empty)))]
pub async fn create_device(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<CreateDeviceRequest>,
) -> Result<Reply<Empty>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    devices::create_device(&ctx, &caller, request).await?;
    Ok(Reply(Empty {}))
}

/// Lists the caller's devices, or those of the user that a server names in the query.
#[utoipa::path(get, path = "/devices/", operation_id = "ListDevices", tag = "push",
    params(("user_id" = Option<String>, Query, description = "Whose; for servers.")),
    responses((status = 200, body = ListDevicesResponse)))]
pub async fn list_devices(State(ctx): State<Arc<Ctx>>, Auth(caller): Auth) -> Result<Reply<ListDevicesResponse>> {
    Ok(Reply(ListDevicesResponse { devices: devices::list_devices(&ctx, &caller).await? }))
}

/// The query of `DELETE /devices`.
#[derive(Debug, Deserialize)]
pub struct DeleteDeviceParams {
    #[serde(default)]
    id: String,
}

/// Takes a device away.
#[utoipa::path(delete, path = "/devices/", operation_id = "DeleteDevice", tag = "push",
    params(("id" = String, Query, description = "The device."), ("user_id" = Option<String>, Query, description = "Whose; for servers.")),
    responses((status = 200, body = Empty)))]
pub async fn delete_device(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Params(params): Params<DeleteDeviceParams>,
) -> Result<Reply<Empty>> {
    devices::delete_device(&ctx, &caller, &params.id).await?;
    Ok(Reply(Empty {}))
}

/// Changes what users want to be pushed, in all channels or in one.
#[utoipa::path(post, path = "/push_preferences/", operation_id = "UpdatePushNotificationPreferences", tag = "push",
    request_body = UpdatePushPreferencesRequest, responses((status = 201, body = UpsertPushPreferencesResponse)))]
pub async fn update_push_preferences(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<UpdatePushPreferencesRequest>,
) -> Result<Reply<UpsertPushPreferencesResponse>> {
    Ok(Reply(push::preferences::update_push_preferences(&ctx, &caller, request.preferences).await?))
}
