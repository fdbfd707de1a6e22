//! The app.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};
use wire::app::{AppResponse, Empty, RateLimitsResponse};

use crate::chat;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::{Auth, Body, Params};
use crate::http::platform::Platform;
use crate::http::rate_limits;
use crate::http::reply::Reply;

/// The app's settings.
#[utoipa::path(get, path = "/app/", operation_id = "GetApp", tag = "app", responses((status = 200, body = AppResponse)))]
pub async fn get_app(State(ctx): State<Arc<Ctx>>, Auth(caller): Auth) -> Reply<AppResponse> {
    Reply(AppResponse { app: chat::app::get_app(&ctx, &caller) })
}

/// Changes the app's settings. For servers.
#[utoipa::path(patch, path = "/app/", operation_id = "UpdateApp", tag = "app", request_body = Object,
    responses((status = 200, body = Empty)))]
pub async fn update_app(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(changes): Body<Map<String, Value>>,
) -> Result<Reply<Empty>> {
    chat::app::update_app(&ctx, &caller, changes).await?;
    Ok(Reply(Empty {}))
}

/// Which limits to show. Nothing means all of them.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RateLimitParams {
    #[serde(default)]
    server_side: bool,
    #[serde(default)]
    android: bool,
    #[serde(default)]
    ios: bool,
    #[serde(default)]
    web: bool,
    /// Operation names, separated by commas.
    endpoints: Option<String>,
}

/// What is left of the rate limits. For servers.
#[utoipa::path(get, path = "/rate_limits/", operation_id = "GetRateLimits", tag = "app", params(RateLimitParams),
    responses((status = 200, body = RateLimitsResponse)))]
pub async fn get_rate_limits(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Params(params): Params<RateLimitParams>,
) -> Result<Reply<RateLimitsResponse>> {
    caller.require_server()?;
    let asked = [
        (params.server_side, Platform::ServerSide),
        (params.android, Platform::Android),
        (params.ios, Platform::Ios),
        (params.web, Platform::Web),
    ];
    let platforms: Vec<Platform> =
        asked.into_iter().filter(|(asked, _)| *asked).map(|(_, platform)| platform).collect();
    let endpoints: Vec<String> =
        params.endpoints.unwrap_or_default().split(',').filter(|name| !name.is_empty()).map(Into::into).collect();
    Ok(Reply(rate_limits::remaining(&ctx, &platforms, &endpoints)))
}
