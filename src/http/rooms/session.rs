//! Tokens, sessions, and who one is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wire::user::{QueryUsersRequest, UserRequest};

use super::auth::{self, RoomAuth, Session, renew_session};
use super::{ok, shape};
use crate::chat::rooms::things::{self, ThingKind};
use crate::chat::users::connect::connecting_user;
use crate::chat::users::query::query_users;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::http::extract::Body;
use crate::http::public_url;
use crate::limits;

/// A URL for a socket, with a token in it that is good for five minutes.
pub async fn ws_auth(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, headers: HeaderMap) -> Result<Json<Value>> {
    let now = ctx.clock.now().seconds();
    let expires = auth.end_of(now, limits::WS_AUTH_SECONDS);
    let token = ctx.room_tokens.for_socket(&auth.user.id, auth.issued_at(), expires, auth.end())?;
    let base = public_url::base(&ctx, &headers).replacen("http", "ws", 1);
    let expires = OffsetDateTime::from_unix_timestamp(expires).map_err(Error::internal)?;
    let expires = expires.format(&Rfc3339).map_err(Error::internal)?.replace('Z', "+00:00");
    Ok(Json(json!({"auth": format!("{base}/ws/?token={token}"), "expires": expires})))
}

/// The id of the browser's session.
pub async fn connection_id(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, headers: HeaderMap) -> Result<Response> {
    in_session(&ctx, &auth, &headers, |session| json!({"connection_id": session.to_string()})).await
}

/// A word for the browser's session that is no number.
pub async fn client_id(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, headers: HeaderMap) -> Result<Response> {
    let name = |session: u64| hex::encode(&Sha256::digest(session.to_be_bytes())[..16]);
    in_session(&ctx, &auth, &headers, |session| json!({"client_id": name(session)})).await
}

/// Answers something about the session and gives it a sign of life.
async fn in_session(
    ctx: &Ctx,
    auth: &RoomAuth,
    headers: &HeaderMap,
    answer: impl FnOnce(u64) -> Value,
) -> Result<Response> {
    let session = Session::of(ctx, &auth.user, headers).await?;
    renew_session(ctx, session.id, &auth.user.id).await;
    let mut response = Json(answer(session.id)).into_response();
    if let Some(cookie) = session.cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Ends the browser's session.
pub async fn end_session(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, headers: HeaderMap) -> Result<StatusCode> {
    if let Some(session) = Session::existing(&ctx, &auth.user, &headers) {
        auth::end_session(&ctx, session).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Has the session, or if there is none the user, given no sign of life?
pub async fn disconnected(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, headers: HeaderMap) -> Json<Value> {
    Json(json!({"disconnected": !is_alive(&ctx, &auth, &headers).await}))
}

/// The opposite of [`disconnected`].
pub async fn initialized(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, headers: HeaderMap) -> Json<Value> {
    Json(json!({"initialized": is_alive(&ctx, &auth, &headers).await}))
}

async fn is_alive(ctx: &Ctx, auth: &RoomAuth, headers: &HeaderMap) -> bool {
    match Session::existing(ctx, &auth.user, headers) {
        Some(id) => auth::is_session_alive(ctx, id).await,
        None => ctx.engine.presence.online(std::slice::from_ref(&auth.user.id)).await.contains(&auth.user.id),
    }
}

/// Who one is for the Stream surface, and the token to show there.
pub async fn token(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Json<Value>> {
    let end = auth.end_of(ctx.clock.now().seconds(), limits::ROOM_TOKEN_SECONDS);
    let token = ctx.tokens.for_user(&auth.user.id, auth.issued_at(), Some(end))?;
    Ok(Json(json!({"userID": auth.user.id, "userToken": token})))
}

/// Another token for this surface. It ends when the one that was shown ends, if that ends at all: only the issuer gives more time.
pub async fn refresh_token(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Json<Value>> {
    let end = auth.end_of(ctx.clock.now().seconds(), limits::ROOM_TOKEN_SECONDS);
    let token = ctx.room_tokens.for_user(&auth.user.id, auth.issued_at(), Some(end))?;
    Ok(Json(json!({"token": token})))
}

/// What a browser knows about its user.
#[derive(Debug, Default, Deserialize)]
pub struct SyncUser {
    username: Option<String>,
    name: Option<String>,
    image: Option<String>,
}

/// Makes the user known, with what the browser says about it.
pub async fn sync_user(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Body(request): Body<SyncUser>,
) -> Result<Json<Value>> {
    let mut details = json!({"id": auth.user.id});
    for (key, value) in [("name", request.name.or(request.username)), ("image", request.image)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            details[key] = value.into();
        }
    }
    let details: UserRequest = serde_json::from_value(details)?;
    let user = Box::pin(connecting_user(&ctx, &auth.user.id, Some(details), auth.issued_at())).await?;
    Ok(Json(shape::user(&user)))
}

/// Who one is.
pub async fn user(auth: RoomAuth) -> Json<Value> {
    Json(shape::user(&auth.user))
}

/// Everybody, the newest hundred.
pub async fn users(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Json<Value>> {
    let request = QueryUsersRequest { limit: Some(limits::ROOM_LIST_MAX), ..QueryUsersRequest::default() };
    let users = query_users(&ctx, &auth.caller, request).await?;
    let users = users.iter().map(|user| shape::person(&user.user.id, user.user.name.as_deref()));
    Ok(Json(users.collect()))
}

/// What the browser calls itself.
#[derive(Debug, Default, Deserialize)]
pub struct UserAgent {
    user_agent: Option<String>,
}

pub async fn put_user_agent(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Body(request): Body<UserAgent>,
) -> Result<Json<Value>> {
    put_agent(&ctx, &auth, ThingKind::UserAgent, request).await
}

pub async fn get_user_agent(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Json<Value>> {
    get_agent(&ctx, &auth, ThingKind::UserAgent).await
}

pub async fn put_core_user_agent(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Body(request): Body<UserAgent>,
) -> Result<Json<Value>> {
    put_agent(&ctx, &auth, ThingKind::CoreUserAgent, request).await
}

pub async fn get_core_user_agent(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Json<Value>> {
    get_agent(&ctx, &auth, ThingKind::CoreUserAgent).await
}

async fn put_agent(ctx: &Ctx, auth: &RoomAuth, kind: ThingKind, request: UserAgent) -> Result<Json<Value>> {
    things::keep(ctx, &auth.caller, kind, "", &request.user_agent.unwrap_or_default(), None).await?;
    Ok(ok())
}

async fn get_agent(ctx: &Ctx, auth: &RoomAuth, kind: ThingKind) -> Result<Json<Value>> {
    let newest = things::list(ctx, &auth.caller, kind).await?.into_iter().next();
    Ok(Json(json!({"user_agent": newest.map(|thing| thing.text)})))
}

/// What the app can do.
pub async fn app_settings(_: RoomAuth) -> Json<Value> {
    Json(json!({"file_uploads": true}))
}
