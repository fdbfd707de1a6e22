//! Mutes of channels and users.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wire::app::Empty;
use wire::channel::{MuteChannelRequest, MuteChannelResponse};
use wire::user::{UserMute, UserRequest};

use crate::chat::channels::mute;
use crate::chat::users;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::http::extract::{Auth, Body};
use crate::http::reply::Reply;

/// Mutes channels for the caller.
#[utoipa::path(post, path = "/moderation/mute/channel/", operation_id = "MuteChannel", tag = "moderation",
    request_body = MuteChannelRequest, responses((status = 201, body = MuteChannelResponse)))]
pub async fn mute_channel(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<MuteChannelRequest>,
) -> Result<Reply<MuteChannelResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let cids = named(request.channel_cid, request.channel_cids);
    let expires = match request.expiration {
        None | Some(0) => None,
        Some(milliseconds) if milliseconds > 0 => Some(ctx.clock.now().plus_micros(milliseconds.saturating_mul(1_000))),
        Some(_) => return Err(Error::input("expiration is a number of milliseconds")),
    };
    let mute::Muted { named, all } = mute::mute_channels(&ctx, &caller, &cids, expires).await?;
    Ok(Reply(MuteChannelResponse { channel_mute: named, channel_mutes: all }))
}

/// Takes mutes of channels back.
#[utoipa::path(post, path = "/moderation/unmute/channel/", operation_id = "UnmuteChannel", tag = "moderation",
    request_body = MuteChannelRequest, responses((status = 201, body = Empty)))]
pub async fn unmute_channel(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<MuteChannelRequest>,
) -> Result<Reply<Empty>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    mute::unmute_channels(&ctx, &caller, &named(request.channel_cid, request.channel_cids)).await?;
    Ok(Reply(Empty {}))
}

fn named(one: Option<String>, many: Vec<String>) -> Vec<String> {
    many.into_iter().chain(one).filter(|name| !name.is_empty()).collect()
}

/// `POST /moderation/mute` and `/moderation/unmute`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct MuteRequest {
    target_id: Option<String>,
    target_ids: Option<Vec<String>>,
    /// Minutes until the mute ends.
    timeout: Option<i64>,
    user_id: Option<String>,
    user: Option<UserRequest>,
}

/// Answer to muting users.
#[derive(Debug, Serialize, ToSchema)]
pub struct MuteResponse {
    /// Present when exactly one user was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    mute: Option<UserMute>,
    mutes: Vec<UserMute>,
}

/// Mutes users for the caller.
#[utoipa::path(post, path = "/moderation/mute/", operation_id = "Mute", tag = "moderation", request_body = MuteRequest,
    responses((status = 201, body = MuteResponse)))]
pub async fn mute_user(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<MuteRequest>,
) -> Result<Reply<MuteResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let targets = named(request.target_id, request.target_ids.unwrap_or_default());
    let expires = match request.timeout {
        None | Some(0) => None,
        Some(minutes) if minutes > 0 => Some(ctx.clock.now().plus_seconds(minutes.saturating_mul(60))),
        Some(_) => return Err(Error::input("timeout is a number of minutes")),
    };
    users::mute::mute_users(&ctx, &caller, &targets, expires).await?;
    let user = caller.acting()?.id.clone();
    let all = users::full::mutes_of(&ctx, std::slice::from_ref(&user)).await?.remove(&user).unwrap_or_default();
    let mutes: Vec<UserMute> = all.into_iter().filter(|mute| targets.contains(&mute.target.id)).collect();
    Ok(Reply(MuteResponse { mute: mutes.first().filter(|_| mutes.len() == 1).cloned(), mutes }))
}

/// Takes mutes of users back.
#[utoipa::path(post, path = "/moderation/unmute/", operation_id = "Unmute", tag = "moderation", request_body = MuteRequest,
    responses((status = 201, body = Empty)))]
pub async fn unmute_user(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<MuteRequest>,
) -> Result<Reply<Empty>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let targets = named(request.target_id, request.target_ids.unwrap_or_default());
    users::mute::unmute_users(&ctx, &caller, &targets).await?;
    Ok(Reply(Empty {}))
}
