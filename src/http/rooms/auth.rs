//! Who is calling: a bearer token, signed with the secret of this surface; and the browser's session, in a cookie.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use crate::access::Caller;
use crate::access::caller::{check_revoked, check_user_id};
use crate::access::token::Claims;
use crate::asker;
use crate::chat::users::connect::{check_active, connecting_user};
use crate::ctx::Ctx;
use crate::engine::Note;
use crate::error::{Error, Kind, Result};
use crate::http::extract::proof::{Proof, Surface};
use crate::http::{peer, public_url, rate_limits};
use crate::limits;
use crate::store::users::User;

const SESSION_COOKIE: &str = "millrace_session";

/// The authenticated caller of this surface, always a user.
pub struct RoomAuth {
    pub caller: Caller,
    pub user: Arc<User>,
    token: Claims,
}

impl RoomAuth {
    /// The end of something that is given for the caller's token and good for so long: never later than the token's own end. What
    /// was made short stays short, whatever it is exchanged for.
    pub fn end_of(&self, now: i64, seconds: i64) -> i64 {
        let end = now + seconds;
        self.token.exp.map_or(end, |own| own.min(end))
    }

    /// The end of the caller's token, if it has one.
    pub fn end(&self) -> Option<i64> {
        self.token.exp
    }

    /// When the caller's token was issued. What is given for it says the same, so that a revocation takes both.
    pub fn issued_at(&self) -> Option<i64> {
        self.token.iat
    }
}

impl FromRequestParts<Arc<Ctx>> for RoomAuth {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Ctx>) -> Result<Self> {
        let (caller, token) = authenticated(ctx, &parts.headers).await?;
        rate_limits::check(ctx, parts, &caller)?;
        asker::tell(peer::asker(ctx, parts, &caller), !caller.is_anonymous());
        Proof::note(parts, Surface::Rooms, &caller);
        let user = caller.acting()?.clone();
        Ok(Self { caller, user, token })
    }
}

/// Who a request is, and what its token says.
///
/// # Errors
/// A token that is not good, or a user who is gone.
pub async fn authenticated(ctx: &Ctx, headers: &HeaderMap) -> Result<(Caller, Claims)> {
    let as_of = ctx.caches.forgotten();
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|header| header.strip_prefix("Bearer "));
    let token =
        token.ok_or_else(|| Error::new(Kind::Authentication, "Authentication credentials were not provided."))?;
    let token = claims_of(ctx, token).await?;
    let id = token.user_id.as_deref().or(token.sub.as_deref());
    let user = user_named(ctx, id, &token).await?;
    Ok((Caller::client(user).as_of(as_of), token))
}

/// When a token was issued and when it ends, in Unix seconds, as far as it says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenTimes {
    pub issued_at: Option<i64>,
    pub expires_at: Option<i64>,
}

/// The user who opens a socket, with a token or with a ticket, and the times of that.
///
/// # Errors
/// A token that is not good, or a user who is gone.
pub async fn socket_user_of(ctx: &Ctx, token: &str) -> Result<(Arc<User>, TokenTimes)> {
    let claims = claims_of(ctx, token).await?;
    let id = claims.socket_of.as_deref().or(claims.user_id.as_deref()).or(claims.sub.as_deref());
    let user = user_named(ctx, id, &claims).await?;
    // A ticket ends long before the socket that it opens.
    let end = if claims.socket_of.is_some() { claims.until } else { claims.exp };
    let expires_at = end.map(|end| end.saturating_add(limits::ROOM_TOKEN_LEEWAY_SECONDS));
    Ok((user, TokenTimes { issued_at: claims.iat, expires_at }))
}

async fn claims_of(ctx: &Ctx, token: &str) -> Result<Claims> {
    ctx.caches.settle_app().await?;
    let now = ctx.clock.now();
    match ctx.room_tokens.read(token, now, true) {
        Err(_) if ctx.caches.app().disable_auth_checks => ctx.room_tokens.read(token, now, false),
        claims => claims,
    }
}

/// The user whom a token names. Somebody new is welcome: the issuer vouches for it.
async fn user_named(ctx: &Ctx, id: Option<&str>, claims: &Claims) -> Result<Arc<User>> {
    let id = id.filter(|_| !claims.server);
    let id = id.ok_or_else(|| Error::new(Kind::Authentication, "the token names no user"))?;
    check_user_id(id).map_err(|error| Error::new(Kind::Authentication, error.message))?;
    let user = match ctx.caches.user(id).await? {
        Some(user) => user,
        None => Box::pin(connecting_user(ctx, id, None, claims.iat)).await?,
    };
    check_active(&user)?;
    check_revoked(ctx, &user, claims.iat)?;
    Ok(user)
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
        if let Some(id) = Self::existing(ctx, user, headers)
            && !ctx.store.is_session_ended(id).await?
        {
            return Ok(Self { id, cookie: None });
        }
        let id = ctx.snowflakes.next().await?;
        let life = limits::SESSION_COOKIE_SECONDS;
        let value = ctx.room_tokens.for_session(&user.id, id, ctx.clock.now().seconds() + life)?;
        let secure = if public_url::is_https(ctx, headers) { "; Secure" } else { "" };
        let cookie = format!("{SESSION_COOKIE}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Lax{secure}");
        Ok(Self { id, cookie: Some(HeaderValue::from_str(&cookie).map_err(Error::internal)?) })
    }

    /// The session that the request's cookie names, if that is this user's; it may have ended.
    pub fn existing(ctx: &Ctx, user: &User, headers: &HeaderMap) -> Option<u64> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
        let mut pairs = cookies.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, token) = pairs.find(|(name, _)| *name == SESSION_COOKIE)?;
        ctx.room_tokens.read_session(token, &user.id, ctx.clock.now())
    }
}

/// What is noted of a session that has ended, in place of its user: sockets of it that are still open give no more signs of life.
const ENDED: &[u8] = b"";

/// Gives a sign of life of a session, unless it has just ended. Says whether it lives.
pub async fn renew_session(ctx: &Ctx, session: u64, user_id: &str) -> bool {
    let note = Note::Session { id: session };
    let lives = ctx.engine.notes.get(note).await.is_none_or(|noted| noted != ENDED);
    if lives {
        ctx.engine.notes.put(note, user_id.as_bytes(), limits::SESSION_LIFE).await;
    }
    lives
}

/// Ends a session: its cookie begins a new one from now on.
///
/// # Errors
/// Postgres.
pub async fn end_session(ctx: &Ctx, session: u64) -> Result<()> {
    ctx.store.end_session(session).await?;
    ctx.engine.notes.put(Note::Session { id: session }, ENDED, limits::SESSION_LIFE).await;
    Ok(())
}

/// Has the session given a sign of life?
pub async fn is_session_alive(ctx: &Ctx, session: u64) -> bool {
    ctx.engine.notes.get(Note::Session { id: session }).await.is_some_and(|noted| noted != ENDED)
}
