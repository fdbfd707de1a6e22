//! `GET /connect`: from a request to an open connection of a user.
//!
//! The upgrade is always made, also for somebody who may not come in: a browser cannot read the body of a refused
//! handshake, but it can read a frame. Then the one frame is the error and the socket closes with 1000, which tells clients
//! not to try again as they are.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::net::TcpStream;
use wire::app::ErrorFrame;
use wire::event::HealthCheck;
use wire::user::ConnectRequest;

use super::connection::{self, Attendance, Listener, SharedSocket, place_for_socket};
use super::frame::{Decoder, Incoming};
use super::queue::SocketQueue;
use crate::access::Caller;
use crate::asker::{self, Asker};
use crate::chat::users::connect::{connected, connecting_user, still_welcome};
use crate::chat::users::full::own_user;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::size;
use crate::http::error::envelope;
use crate::http::extract::caller::{Credentials, claims, user_of};
use crate::http::extract::query_param;
use crate::http::peer::Peer;
use crate::http::server::Socket;
use crate::http::{peer, rate_limits};
use crate::lanes::Place;
use crate::limits;
use crate::realtime::frame::{self, Opcode};
use crate::realtime::{CloseReason, Connection, Dialect, DialectIndex};
use crate::store::users::User;

/// Place of the Stream dialect in the node's table (app.rs).
pub const STREAM: DialectIndex = 0;

/// How Stream's sockets speak: an event is its JSON in a text frame.
pub struct StreamDialect;

impl Dialect for StreamDialect {
    fn encode(&self, event: &crate::events::Event) -> Option<Bytes> {
        Some(frame::text(&event.body))
    }

    fn encode_twin(&self, parts: &[&[u8]]) -> Option<Bytes> {
        Some(frame::encode_parts(Opcode::Text, parts))
    }

    /// `health.check` for clients that wait for it, and a ping, whose answer shows us that the peer lives.
    fn heartbeat(&self, connection: &Connection, now: wire::Timestamp) -> Vec<Bytes> {
        let check = serde_json::to_vec(&HealthCheck::new(&connection.id, now, None)).unwrap_or_default();
        vec![frame::text(&check), frame::encode(Opcode::Ping, b"")]
    }
}

/// Opens a WebSocket for events. Query: `json`, `api_key`, `authorization`, `stream-auth-type`.
#[utoipa::path(get, path = "/connect/", operation_id = "Connect", tag = "connection",
    params(("json" = String, Query, description = "ConnectRequest as JSON."), ("authorization" = String, Query),
           ("stream-auth-type" = String, Query)),
    responses((status = 101, description = "The first frame is health.check with connection_id and me, or an error.")))]
pub async fn connect(State(ctx): State<Arc<Ctx>>, request: Request) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    let accept = accept_key(&parts.headers)?;
    let upgrade = Upgrade::of(&mut parts)?;
    let visitor = enter(&ctx, &parts).await;
    if let Err(error) = &visitor {
        tracing::info!(kind = error.kind.entry().name, reason = %error.message, "a connection was refused");
    }
    tokio::spawn(serve(ctx, upgrade, visitor, asker::current()));
    Ok(switching_protocols(accept))
}

pub(crate) fn switching_protocols(accept: HeaderValue) -> Response {
    let [upgrade, websocket] = ["upgrade", "websocket"].map(HeaderValue::from_static);
    (StatusCode::SWITCHING_PROTOCOLS, [(CONNECTION, upgrade), (UPGRADE, websocket), (SEC_WEBSOCKET_ACCEPT, accept)])
        .into_response()
}

/// Checks the handshake (RFC 6455, 4.2.1) and gives back what proves that it was understood.
///
/// # Errors
/// It is none.
pub(crate) fn accept_key(headers: &HeaderMap) -> Result<HeaderValue> {
    let has = |name, word: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    if !has(&CONNECTION, "upgrade") || !has(&UPGRADE, "websocket") || !has(&SEC_WEBSOCKET_VERSION, "13") {
        return Err(Error::input("this is a WebSocket: connect with the websocket upgrade, version 13"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| Error::input("Sec-WebSocket-Key is missing"))?;
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64::engine::general_purpose::STANDARD.encode(hash.finalize());
    HeaderValue::from_str(&accept).map_err(Error::internal)
}

/// Somebody who may come in: a user, or somebody anonymous.
struct Visitor {
    caller: Caller,
    place: Option<Place>,
    token_issued_at: Option<i64>,
    token_expires_at: Option<i64>,
}

async fn enter(ctx: &Arc<Ctx>, request: &Parts) -> Result<Visitor> {
    if request.uri.query().is_some_and(|query| query.len() > limits::CONNECT_QUERY_BYTES_MAX) {
        return Err(Error::input(format!("the query of /connect may have {} bytes", limits::CONNECT_QUERY_BYTES_MAX)));
    }
    let json = query_param(&request.uri, "json").unwrap_or_default();
    let connect: ConnectRequest = crate::http::extract::body::parse(json.as_bytes())
        .map_err(|_| Error::input("the query parameter json cannot be read"))?;
    let mut credentials = Credentials::of(&request.uri, &request.headers);
    credentials.token = credentials.token.or(connect.user_token);
    let details = connect.user_details;
    let named = connect.user_id.or_else(|| details.as_ref().map(|user| user.id.clone())).filter(|id| !id.is_empty());
    ctx.caches.settle_app().await?;
    let visitor = match claims(ctx, &credentials)? {
        None => {
            let name = named.unwrap_or_else(crate::ids::connection_id);
            let caller = Caller::anonymous(&name, ctx.clock.now())?;
            Visitor { caller, place: None, token_issued_at: None, token_expires_at: None }
        }
        Some(claims) if claims.server => {
            return Err(Error::new(Kind::Authentication, "a WebSocket is for users: connect with a user token"));
        }
        Some(claims) => {
            let id = user_of(&claims)?;
            if named.is_some_and(|named| named != id) {
                return Err(Error::new(Kind::Authentication, "the token is for another user"));
            }
            let user = connecting_user(ctx, &id, details, claims.iat).await?;
            let caller = Caller::client(user);
            Visitor { caller, place: None, token_issued_at: claims.iat, token_expires_at: claims.exp }
        }
    };
    rate_limits::check(ctx, request, &visitor.caller)?;
    asker::tell(peer::asker(ctx, request, &visitor.caller), !visitor.caller.is_anonymous());
    Ok(Visitor { place: place_for_socket(ctx)?, ..visitor })
}

/// A request that becomes a socket.
pub(crate) struct Upgrade {
    upgrade: OnUpgrade,
    peer: Option<Peer>,
}

impl Upgrade {
    /// # Errors
    /// The connection cannot become one.
    pub(crate) fn of(parts: &mut Parts) -> Result<Self> {
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or_else(|| Error::input("this connection cannot be upgraded"))?;
        Ok(Self { upgrade, peer: parts.extensions.get().cloned() })
    }

    /// The socket beneath; what came with it too early, a copy, because even an empty part of hyper's buffer keeps all of its
    /// 8 KiB; and the peer, whose place the socket has until it is dropped.
    pub(crate) async fn finish(self) -> Option<(TcpStream, Vec<u8>, Option<Peer>)> {
        let upgraded: Upgraded = self.upgrade.await.ok()?;
        let parts = upgraded.downcast::<TokioIo<Socket>>().ok()?;
        Some((parts.io.into_inner().into_inner(), parts.read_buf.to_vec(), self.peer))
    }
}

/// The whole life of a socket. What happens once is boxed, so that ten thousand idle sockets do not each hold room for it.
async fn serve(ctx: Arc<Ctx>, upgrade: Upgrade, visitor: Result<Visitor>, asker: Option<Asker>) {
    let Some((stream, early, _peer)) = upgrade.finish().await else { return };
    let queue = Arc::new(SocketQueue::new(stream));
    let entered = match visitor {
        Ok(visitor) => Box::pin(asker::on_behalf(asker, greet(&ctx, &queue, visitor))).await,
        Err(error) => Err(error),
    };
    let _attendance = match entered {
        Ok(attendance) => attendance,
        Err(error) => return Box::pin(refuse(&queue, &error)).await,
    };
    let mut decoder = Decoder::default();
    // Clients may talk before they are greeted; what they say means nothing here.
    let heard = decoder.feed(&early);
    drop(early);
    match heard {
        Ok(_) => drop(connection::run(&queue, decoder, Silence).await),
        Err(_) => Box::pin(connection::say_goodbye(&queue, CloseReason::Protocol)).await,
    }
}

/// The error as the one frame, then the end.
async fn refuse(queue: &SocketQueue, error: &Error) {
    queue.open(error_frame(error));
    // A server that is not well is worth another try.
    let reason = if error.kind.entry().status >= 500 { CloseReason::Draining } else { CloseReason::Revoked };
    connection::say_goodbye(queue, reason).await;
}

fn error_frame(error: &Error) -> Bytes {
    let frame = ErrorFrame { error: envelope(error, "Connect", "0.00ms") };
    frame::text(&serde_json::to_vec(&frame).unwrap_or_default())
}

/// Takes a visitor in and tells it about itself.
async fn greet(ctx: &Arc<Ctx>, queue: &Arc<SocketQueue>, visitor: Visitor) -> Result<Attendance> {
    let user = visitor.caller.user().ok_or_else(|| Error::internal("a visitor is no server"))?;
    let connection = Arc::new(Connection {
        id: ctx.realtime.connection_id(),
        user_id: user.id.as_str().into(),
        dialect: STREAM,
        token_issued_at: visitor.token_issued_at,
        token_expires_at: visitor.token_expires_at,
        counts_as_presence: !visitor.caller.is_anonymous(),
        socket: Box::new(SharedSocket(queue.clone())),
    });
    let attendance = Attendance { ctx: ctx.clone(), connection: connection.clone(), place: visitor.place };
    let enter = async {
        // In, and then read: what happens from here on waits behind the first frame.
        connected(ctx, connection.clone(), user).await?;
        // Whoever closes doors looks at those who are in: what was taken before that has to be seen here.
        if connection.counts_as_presence {
            still_welcome(ctx, &connection).await?;
        }
        first_frame(ctx, &connection, user).await
    };
    let frame = tokio::time::timeout(limits::REQUEST_TIMEOUT, enter).await;
    queue.open(frame.map_err(|_| Error::new(Kind::Timeout, "connecting took too long"))??);
    Ok(attendance)
}

async fn first_frame(ctx: &Ctx, connection: &Connection, user: &User) -> Result<Bytes> {
    let mut me = own_user(ctx, user).await?;
    size::fit(&mut me, limits::ME_BYTES_MAX)?;
    Ok(frame::text(&serde_json::to_vec(&HealthCheck::new(&connection.id, ctx.clock.now(), Some(&me)))?))
}

/// Clients of this dialect only say that they are there: `health.check` as text, `ping` as binary.
struct Silence;

impl Listener for Silence {
    async fn hear(&mut self, _: Incoming) -> Option<CloseReason> {
        None
    }

    /// That the token has ended clients read from the error, and then ask for another.
    fn farewell(&self, reason: CloseReason) -> Option<Bytes> {
        let expired = || Error::new(Kind::TokenExpired, "Token is expired");
        (reason == CloseReason::Expired).then(|| error_frame(&expired()))
    }
}
