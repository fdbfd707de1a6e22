//! Users.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::http::request::Parts;
use wire::user::{
    CreateGuestRequest, CreateGuestResponse, QueryUsersRequest, QueryUsersResponse, UpdateUsersPartialRequest,
    UpdateUsersRequest, UpdateUsersResponse,
};

use crate::access::Caller;
use crate::asker;
use crate::chat::users;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::http::extract::caller::{Credentials, NAMELESS, claims, connection_id};
use crate::http::extract::{Auth, Body, Payload};
use crate::http::reply::Reply;
use crate::http::{peer, rate_limits};

/// Creates or replaces users. A client may write itself.
#[utoipa::path(post, path = "/users/", operation_id = "UpdateUsers", tag = "users", request_body = UpdateUsersRequest,
    responses((status = 201, body = UpdateUsersResponse)))]
pub async fn update_users(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<UpdateUsersRequest>,
) -> Result<Reply<UpdateUsersResponse>> {
    let users = users::upsert::update_users(&ctx, &caller, request.users).await?;
    Ok(Reply(UpdateUsersResponse { users, membership_deletion_task_id: "" }))
}

/// Changes parts of users.
#[utoipa::path(patch, path = "/users/", operation_id = "UpdateUsersPartial", tag = "users", request_body = UpdateUsersPartialRequest,
    responses((status = 200, body = UpdateUsersResponse)))]
pub async fn update_users_partial(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Body(request): Body<UpdateUsersPartialRequest>,
) -> Result<Reply<UpdateUsersResponse>> {
    let users = users::upsert::update_users_partial(&ctx, &caller, request.users).await?;
    Ok(Reply(UpdateUsersResponse { users, membership_deletion_task_id: "" }))
}

/// Finds users. The query is JSON in the parameter `payload`.
#[utoipa::path(get, path = "/users/", operation_id = "QueryUsers", tag = "users",
    params(("payload" = String, Query, description = "QueryUsersRequest as JSON.")),
    responses((status = 200, body = QueryUsersResponse)))]
pub async fn query_users(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    uri: Uri,
    Payload(mut request): Payload<QueryUsersRequest>,
) -> Result<Reply<QueryUsersResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    request.connection_id = request.connection_id.or_else(|| connection_id(&uri));
    Ok(Reply(QueryUsersResponse { users: users::query::query_users(&ctx, &caller, request).await? }))
}

/// Creates a guest. Needs the API key and nothing else.
#[utoipa::path(post, path = "/guest/", operation_id = "CreateGuest", tag = "users", request_body = CreateGuestRequest,
    responses((status = 201, body = CreateGuestResponse)))]
pub async fn create_guest(
    State(ctx): State<Arc<Ctx>>,
    parts: Parts,
    Body(request): Body<CreateGuestRequest>,
) -> Result<Reply<CreateGuestResponse>> {
    let credentials = Credentials { anonymous: true, ..Credentials::of(&parts.uri, &parts.headers) };
    claims(&ctx, &credentials)?;
    let caller = Caller::anonymous(NAMELESS, ctx.clock.now())?;
    rate_limits::check(&ctx, &parts, &caller)?;
    asker::tell(peer::asker(&ctx, &parts, &caller), false);
    if ctx.caches.app().guest_user_creation_disabled {
        return Err(Error::not_allowed("guests are switched off"));
    }
    Ok(Reply(users::guest::create_guest(&ctx, request.user).await?))
}
