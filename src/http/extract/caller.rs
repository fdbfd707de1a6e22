//! Who is calling, from the request: API key, token or none, and whether the rate limits let it through.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::Uri;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::proof::{Proof, Surface};
use super::{form_pairs, query_param};
use crate::access::Caller;
use crate::access::caller::{check_revoked, check_user_id};
use crate::access::token::Claims;
use crate::asker;
use crate::chat::users::connect::check_active;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::http::{peer, rate_limits};
use crate::store::users::User;

/// What somebody anonymous is called that gives itself no name.
pub const NAMELESS: &str = "nameless";

/// The authenticated caller. A server that names `user_id` in the query acts as that user.
pub struct Auth(pub Caller);

impl FromRequestParts<Arc<Ctx>> for Auth {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Ctx>) -> Result<Self> {
        let caller = authenticated(ctx, &parts.uri, &parts.headers).await?;
        rate_limits::check(ctx, parts, &caller)?;
        asker::tell(peer::asker(ctx, parts, &caller), !caller.is_anonymous());
        Proof::note(parts, Surface::Stream, &caller);
        let acting = query_param(&parts.uri, "user_id").filter(|id| caller.is_server() && !id.is_empty());
        Ok(Self(match acting {
            Some(id) => caller.acting_as(ctx, Some(&id), None).await?,
            None => caller,
        }))
    }
}

/// Who a request is: before anybody is named whom a server acts for.
///
/// # Errors
/// With the code of what is wrong.
pub async fn authenticated(ctx: &Ctx, uri: &Uri, headers: &HeaderMap) -> Result<Caller> {
    let as_of = ctx.caches.forgotten();
    let credentials = Credentials::of(uri, headers);
    let caller = match authenticate(ctx, &credentials).await? {
        Identity::Server => Caller::server(),
        Identity::Anonymous => Caller::anonymous(credentials.user_id.as_deref().unwrap_or(NAMELESS), ctx.clock.now())?,
        Identity::User { user, .. } => Caller::client(user),
    };
    Ok(caller.as_of(as_of))
}

/// What a request brings to say who it is.
#[derive(Debug, Default)]
pub struct Credentials {
    pub api_key: Option<String>,
    pub token: Option<String>,
    pub anonymous: bool,
    pub user_id: Option<String>,
}

impl Credentials {
    /// Headers first, then the query: browsers cannot set headers on a WebSocket.
    pub fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let mut credentials = Self {
            api_key: header("x-api-key"),
            token: headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned),
            anonymous: header("stream-auth-type").as_deref() == Some("anonymous"),
            user_id: None,
        };
        for (name, value) in form_pairs(uri.query().unwrap_or_default()) {
            match name.as_str() {
                "api_key" => credentials.api_key = Some(value),
                "authorization" => credentials.token = credentials.token.or(Some(value)),
                "stream-auth-type" => credentials.anonymous |= value == "anonymous",
                "user_id" => credentials.user_id = Some(value).filter(|id| !id.is_empty()),
                _ => {}
            }
        }
        credentials.token = credentials
            .token
            .map(|token| token.strip_prefix("Bearer ").map(ToOwned::to_owned).unwrap_or(token))
            .filter(|token| !token.is_empty());
        credentials
    }
}

/// Who a request is.
pub enum Identity {
    Server,
    User { user: Arc<User>, issued_at: Option<i64> },
    Anonymous,
}

/// Checks key and token of a request. Its user must exist.
///
/// # Errors
/// With the code of what is wrong.
pub async fn authenticate(ctx: &Ctx, credentials: &Credentials) -> Result<Identity> {
    ctx.caches.settle_app().await?;
    match claims(ctx, credentials)? {
        None => Ok(Identity::Anonymous),
        Some(claims) if claims.server => Ok(Identity::Server),
        Some(claims) => {
            let id = user_of(&claims)?;
            let user = ctx.caches.user(&id).await?;
            let user = user
                .ok_or_else(|| Error::new(Kind::Authentication, format!("user {id} does not exist: connect first")))?;
            check_active(&user)?;
            check_revoked(ctx, &user, claims.iat)?;
            Ok(Identity::User { user, issued_at: claims.iat })
        }
    }
}

/// Checks key and token. `None` for somebody anonymous.
///
/// # Errors
/// With the code of what is wrong.
pub fn claims(ctx: &Ctx, credentials: &Credentials) -> Result<Option<Claims>> {
    match credentials.api_key.as_deref() {
        None | Some("") => return Err(Error::new(Kind::ApiKey, "api_key not provided")),
        Some(key) if key != ctx.config.api_key => return Err(Error::new(Kind::ApiKey, "api_key not valid")),
        Some(_) => {}
    }
    if credentials.anonymous {
        return Ok(None);
    }
    let token = credentials.token.as_deref();
    let token = token
        .ok_or_else(|| Error::new(Kind::Authentication, "stream-auth-type is not provided or the token is missing"))?;
    let now = ctx.clock.now();
    match ctx.tokens.read(token, now, true) {
        Ok(claims) => Ok(Some(claims)),
        // Development: a user's token need not be signed. A server's must: it could do everything.
        Err(error) if ctx.caches.app().disable_auth_checks => match ctx.tokens.read(token, now, false) {
            Ok(claims) if !claims.server => Ok(Some(claims)),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// The user whom a token names.
///
/// # Errors
/// It names none, or one that cannot be.
pub fn user_of(claims: &Claims) -> Result<String> {
    let id = claims.user_id.clone().ok_or_else(|| Error::new(Kind::Authentication, "the token names no user_id"))?;
    check_user_id(&id).map_err(|error| Error::new(Kind::Authentication, error.message))?;
    Ok(id)
}

/// The connection that a request names, in the query.
pub fn connection_id(uri: &Uri) -> Option<String> {
    query_param(uri, "connection_id").filter(|id| !id.is_empty())
}
