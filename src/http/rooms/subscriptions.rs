//! Browsers that want to be pushed to.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use wire::push::RegisterSubscriptionsRequest;

use super::auth::RoomAuth;
use crate::chat::push;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::Body;

/// Registers browsers. Answers what was registered; nothing, for the early clients that only knock.
pub async fn register_subscriptions(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Body(request): Body<RegisterSubscriptionsRequest>,
) -> Result<(StatusCode, Json<Value>)> {
    push::subscribe(&ctx, &auth.caller, request.clone()).await?;
    Ok((StatusCode::CREATED, Json(serde_json::to_value(request)?)))
}

/// What a browser needs to subscribe (`applicationServerKey`).
pub async fn vapid_public_key(State(ctx): State<Arc<Ctx>>, _: RoomAuth) -> Json<Value> {
    Json(json!({"public_key": push::vapid_public_key(&ctx)}))
}
