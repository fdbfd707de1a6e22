//! For whoever runs the node: is it alive, is it ready, what does it measure, what does it speak.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use sha2::{Digest, Sha256};

use super::middleware::own_machine;
use super::openapi;
use crate::config::is_loopback;
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

/// Prometheus metrics: for whoever shows the configured token; without one for programs of this machine, from a node that
/// nobody else reaches.
pub async fn metrics(State(ctx): State<Arc<Ctx>>, headers: HeaderMap) -> Response {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let welcome = match &ctx.config.metrics.token {
        // Compared as digests: how long that takes says nothing about the token.
        Some(token) => shown.is_some_and(|shown| Sha256::digest(shown) == Sha256::digest(token.reveal())),
        None => is_loopback(ctx.config.listen.ip()) && own_machine::is_welcome(&headers),
    };
    if !welcome {
        return (
            StatusCode::UNAUTHORIZED,
            [(WWW_AUTHENTICATE, "Bearer")],
            "metrics are for whoever has metrics.token\n",
        )
            .into_response();
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], telemetry::metrics().render()).into_response()
}

/// The OpenAPI document.
pub async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi::json()).into_response()
}
