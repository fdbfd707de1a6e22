//! Events that clients and servers send.

use std::sync::Arc;

use axum::extract::State;
use wire::app::Empty;
use wire::event::{EventResponse, SendEventRequest};

use crate::chat::events;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::{Auth, Body, CidPath, Segments};
use crate::http::reply::Reply;

/// Sends typing or a custom event to everybody who watches a channel.
#[utoipa::path(post, path = "/channels/{type}/{id}/event/", operation_id = "SendEvent", tag = "events",
    request_body = SendEventRequest, responses((status = 201, body = EventResponse)))]
pub async fn send_event(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Body(request): Body<SendEventRequest>,
) -> Result<Reply<EventResponse>> {
    let caller = caller.acting_as(&ctx, request.event.user_id.as_deref(), request.event.user.as_ref()).await?;
    Ok(Reply(EventResponse { event: events::send_event(&ctx, &caller, &cid, request.event).await? }))
}

/// Sends a custom event to every connection of a user. For servers.
#[utoipa::path(post, path = "/users/{user_id}/event/", operation_id = "SendUserCustomEvent", tag = "events",
    request_body = SendEventRequest, responses((status = 201, body = Empty)))]
pub async fn send_user_event(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([user_id]): Segments<1>,
    Body(request): Body<SendEventRequest>,
) -> Result<Reply<Empty>> {
    events::send_user_event(&ctx, &caller, &user_id, request.event).await?;
    Ok(Reply(Empty {}))
}
