//! For whoever runs the node: is it alive, is it ready, what does it measure, what does it speak.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::openapi;
use crate::ctx::Ctx;
use crate::telemetry;

/// The process runs. Nothing else is asked, so that a database that is away does not get nodes killed.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// The node can answer requests: all of it runs, Postgres answers, and the node is not about to leave. Redis may be away; then events are
/// late and nothing is lost.
pub async fn readyz(State(ctx): State<Arc<Ctx>>) -> Response {
    if ctx.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    if let Some(part) = ctx.tasks.failed() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("a part of the node has ended: {part}\n")).into_response();
    }
    match ctx.store.ping().await {
        Ok(()) if ctx.engine.bus.is_connected() => "ready\n".into_response(),
        Ok(()) => "ready, without redis\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "postgres does not answer\n").into_response()
        }
    }
}

/// Prometheus metrics.
pub async fn metrics() -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], telemetry::metrics().render()).into_response()
}

/// The OpenAPI document.
pub async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi::json()).into_response()
}
