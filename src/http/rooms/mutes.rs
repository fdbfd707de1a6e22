//! Whom the caller does not want to hear.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::auth::RoomAuth;
use super::{ok, shape};
use crate::chat::users::full::own_user;
use crate::chat::users::mute;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::Segments;

async fn muted_by(ctx: &Ctx, auth: &RoomAuth) -> Result<Vec<Arc<wire::user::User>>> {
    let me = own_user(ctx, &auth.user).await?;
    Ok(me.mutes.into_iter().map(|mute| mute.target).collect())
}

pub async fn muted_users(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Json<Value>> {
    let muted = muted_by(&ctx, &auth).await?;
    Ok(Json(muted.iter().map(|user| shape::person(&user.id, user.name.as_deref())).collect()))
}

pub async fn mute_status(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Segments([id]): Segments<1>,
) -> Result<Json<Value>> {
    let muted = muted_by(&ctx, &auth).await?;
    Ok(Json(json!({"muted": muted.iter().any(|user| user.id == id)})))
}

pub async fn mute(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, Segments([id]): Segments<1>) -> Result<Json<Value>> {
    mute::mute_users(&ctx, &auth.caller, &[id], None).await?;
    Ok(ok())
}

pub async fn unmute(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, Segments([id]): Segments<1>) -> Result<Json<Value>> {
    mute::unmute_users(&ctx, &auth.caller, &[id]).await?;
    Ok(ok())
}
