//! Who is calling: a bearer token, signed with the secret of this surface; and the browser's session, in a cookie.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use crate::access::Caller;
use crate::access::caller::{check_revoked, check_user_id};
use crate::chat::users::connect::{check_active, connecting_user};
use crate::ctx::Ctx;
use crate::engine::Note;
use crate::error::{Error, Kind, Result};
use crate::http::middleware::observe::Facts;
use crate::http::{public_url, rate_limits};
use crate::limits;
use crate::store::users::User;

const SESSION_COOKIE: &str = "millrace_session";

/// The authenticated caller of this surface, always a user.
pub struct RoomAuth {
    pub caller: Caller,
    pub user: Arc<User>,
}

impl FromRequestParts<Arc<Ctx>> for RoomAuth {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Ctx>) -> Result<Self> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let token =
            token.ok_or_else(|| Error::new(Kind::Authentication, "Authentication credentials were not provided."))?;
        let (user, _) = user_of(ctx, token).await?;
        let caller = Caller::client(user.clone());
        if let Some(facts) = parts.extensions.get::<Arc<Facts>>() {
            rate_limits::check(ctx, facts, &caller, &parts.headers)?;
        }
        Ok(Self { caller, user })
    }
}

/// When a token was issued and when it ends, in Unix seconds, as far as it says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenTimes {
    pub issued_at: Option<i64>,
    pub expires_at: Option<i64>,
}

/// The user whom a token names, and the token's times. Somebody new is welcome: the issuer vouches for it.
///
/// # Errors
/// A token that is not good, or a user who is gone.
pub async fn user_of(ctx: &Ctx, token: &str) -> Result<(Arc<User>, TokenTimes)> {
    ctx.caches.settle_app().await?;
    let now = ctx.clock.now();
    let claims = match ctx.room_tokens.read(token, now, true) {
        Err(_) if ctx.caches.app().disable_auth_checks => ctx.room_tokens.read(token, now, false)?,
        claims => claims?,
    };
    let id = claims.user_id.or(claims.sub).filter(|_| !claims.server);
    let id = id.ok_or_else(|| Error::new(Kind::Authentication, "the token names no user"))?;
    check_user_id(&id).map_err(|error| Error::new(Kind::Authentication, error.message))?;
    let user = if let Some(user) = ctx.caches.user(&id).await? {
        user
    } else {
        // What the issuer knows it by is a better name than an id.
        let details = claims.email.map(|email| serde_json::json!({"id": id, "name": email}));
        let details = details.and_then(|details| serde_json::from_value(details).ok());
        Box::pin(connecting_user(ctx, &id, details)).await?
    };
    check_active(&user)?;
    check_revoked(ctx, &user, claims.iat)?;
    let expires_at = claims.exp.map(|end| end + limits::ROOM_TOKEN_LEEWAY_SECONDS);
    Ok((user, TokenTimes { issued_at: claims.iat, expires_at }))
}

/// A browser's session: the id that the cookie carries, or a new one.
pub struct Session {
    pub id: u64,
    /// For a session that is new.
    pub cookie: Option<HeaderValue>,
}

impl Session {
    /// The session of a request, begun if there is none.
    ///
    /// # Errors
    /// No id can be made: the engine does not answer.
    pub async fn of(ctx: &Ctx, user: &User, headers: &HeaderMap) -> Result<Self> {
        if let Some(id) = Self::existing(ctx, user, headers) {
            return Ok(Self { id, cookie: None });
        }
        let id = ctx.snowflakes.next().await?;
        let value = ctx.room_tokens.for_session(&user.id, id)?;
        let secure = if public_url::is_https(ctx, headers) { "; Secure" } else { "" };
        let cookie = format!("{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{secure}");
        Ok(Self { id, cookie: Some(HeaderValue::from_str(&cookie).map_err(Error::internal)?) })
    }

    /// The session that the request's cookie names, if that is this user's.
    pub fn existing(ctx: &Ctx, user: &User, headers: &HeaderMap) -> Option<u64> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
        let mut pairs = cookies.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, token) = pairs.find(|(name, _)| *name == SESSION_COOKIE)?;
        ctx.room_tokens.read_session(token, &user.id)
    }
}

/// Gives a sign of life of a session.
pub async fn renew_session(ctx: &Ctx, session: u64, user_id: &str) {
    ctx.engine.notes.put(Note::Session { id: session }, user_id.as_bytes(), limits::SESSION_LIFE).await;
}
