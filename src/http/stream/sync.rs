//! Catching up.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wire::event::SyncRequest;

use crate::chat::sync::missed_events;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::http::extract::{Auth, Body};
use crate::http::reply::Reply;

/// Answer to `POST /sync`.
#[derive(Debug, Serialize, ToSchema)]
pub struct SyncResponse {
    /// Oldest first.
    #[schema(value_type = Vec<wire::Event>)]
    events: Vec<Box<RawValue>>,
    /// Channels that do not exist, or that the caller may not read.
    inaccessible_cids: Vec<String>,
}

/// The events of channels since a point in time.
#[utoipa::path(post, path = "/sync/", operation_id = "Sync", tag = "events", request_body = SyncRequest,
    responses((status = 201, body = SyncResponse)))]
pub async fn sync(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<SyncRequest>,
) -> Result<Reply<SyncResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let since = request.last_sync_at.ok_or_else(|| Error::input("last_sync_at is required"))?;
    let missed = missed_events(&ctx, &caller, &request.channel_cids, since).await?;
    Ok(Reply(SyncResponse { events: missed.events, inaccessible_cids: missed.inaccessible }))
}
