//! The sockets of the rooms surface: `/ws/<cid>/` is one room, `/ws/?token=` as many as it asks for.
//!
//! A connection here is a connection like any other: it watches channels, counts as presence and hears the same events, in
//! words of its own (rooms/dialect.rs). What its clients say is done by the same verbs (rooms/listener.rs).

mod dialect;
mod listener;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use wire::Cid;

pub use dialect::RoomsDialect;

use super::connect::{Upgrade, accept_key, switching_protocols};
use super::connection::{self, Attendance, place_for_socket};
use super::frame::Decoder;
use super::queue::SocketQueue;
use crate::access::Caller;
use crate::asker::{self, Asker};
use crate::chat::users::connect::{connected, connecting_user, still_welcome};
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::http::extract::query_param;
use crate::http::rooms::auth::{Session, TokenTimes, renew_session, socket_user_of};
use crate::http::rooms::room::{Room, invalid_cid};
use crate::http::{peer, rate_limits};
use crate::lanes::Place;
use crate::limits;
use crate::realtime::frame;
use crate::realtime::{CloseReason, Connection, DialectIndex};
use crate::store::users::User;
use dialect::RoomSocket;
use listener::RoomListener;

/// Place of the dialect in the node's table (app.rs).
pub const ROOMS: DialectIndex = 1;

/// Who sits behind sockets without a good token, where that is allowed.
const ANONYMOUS: &str = "anonymous";

/// A socket for one room.
pub async fn room(State(ctx): State<Arc<Ctx>>, Path(room): Path<String>, request: Request) -> Result<Response> {
    open(ctx, Some(Room::parse(&room)), request).await
}

/// A socket for any rooms.
pub async fn rooms(State(ctx): State<Arc<Ctx>>, request: Request) -> Result<Response> {
    open(ctx, None, request).await
}

async fn open(ctx: Arc<Ctx>, room: Option<Result<Room>>, request: Request) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    let accept = accept_key(&parts.headers)?;
    let upgrade = Upgrade::of(&mut parts)?;
    // Refusals are told after the upgrade: a browser cannot read the body of a refused handshake, but it can read a close code.
    let visitor = visitor(&ctx, &parts).await;
    tokio::spawn(serve(ctx, upgrade, visitor, room.map(|room| room.map(|room| room.cid))));
    Ok(switching_protocols(accept))
}

/// Somebody who may come in.
struct Visitor {
    user: Arc<User>,
    asker: Option<Asker>,
    place: Option<Place>,
    token: TokenTimes,
    session: u64,
}

async fn visitor(ctx: &Arc<Ctx>, parts: &Parts) -> Result<Visitor> {
    let token = query_param(&parts.uri as &Uri, "token").unwrap_or_default();
    let (user, token) = match socket_user_of(ctx, &token).await {
        Ok(known) => known,
        // In development; pages of others do not come this far (http/middleware/own_machine.rs).
        Err(error) if error.kind.entry().status == 401 && ctx.config.rooms.anonymous => {
            (Box::pin(connecting_user(ctx, ANONYMOUS, None, Some(i64::MAX))).await?, TokenTimes::default())
        }
        Err(error) => return Err(error),
    };
    let caller = Caller::client(user.clone());
    rate_limits::check(ctx, parts, &caller)?;
    let asker = peer::asker(ctx, parts, &caller);
    asker::tell(asker.clone(), true);
    let place = place_for_socket(ctx)?;
    let session = Session::of(ctx, &user, &parts.headers).await?.id;
    Ok(Visitor { user, asker, place, token, session })
}

async fn serve(ctx: Arc<Ctx>, upgrade: Upgrade, visitor: Result<Visitor>, room: Option<Result<Cid>>) {
    let Some((stream, early, _peer)) = upgrade.finish().await else { return };
    let queue = Arc::new(SocketQueue::new(stream));
    let outcome = match (visitor, room.transpose()) {
        (Ok(visitor), Ok(room)) => attend(&ctx, &queue, visitor, room, &early).await,
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    if let Err(error) = outcome {
        tracing::info!(kind = error.kind.entry().name, reason = %error.message, "a room was not entered");
        queue.open(error_frame(&error));
        let reason = match error.kind.entry().status {
            401 => CloseReason::Unauthenticated,
            429 => CloseReason::RateLimited,
            // A server that is not well is worth another try.
            500.. => CloseReason::Draining,
            _ => CloseReason::Revoked,
        };
        connection::say_goodbye(&queue, reason).await;
    }
}

/// Takes a visitor in and stays until it leaves.
async fn attend(
    ctx: &Arc<Ctx>,
    queue: &Arc<SocketQueue>,
    visitor: Visitor,
    room: Option<Cid>,
    early: &[u8],
) -> Result<()> {
    let Visitor { user, asker, place, token, session } = visitor;
    let connection = Arc::new(Connection {
        id: ctx.realtime.connection_id(),
        user_id: user.id.as_str().into(),
        dialect: ROOMS,
        token_issued_at: token.issued_at,
        token_expires_at: token.expires_at,
        counts_as_presence: true,
        socket: Box::new(RoomSocket::new(queue.clone(), &user.id)),
    });
    let _attendance = Attendance { ctx: ctx.clone(), connection: connection.clone(), place };
    asker::on_behalf(asker.clone(), connected(ctx, connection.clone(), &user)).await?;
    // Whoever closes doors looks at those who are in: what was taken before that has to be seen here.
    still_welcome(ctx, &connection).await?;
    renew_session(ctx, session, &user.id).await;
    let caller = Caller::client(user.clone());
    let mut listener = RoomListener::new(ctx.clone(), connection.clone(), caller, asker.clone(), room.clone());
    let outcome = match room {
        Some(cid) => asker::on_behalf(asker, listener.watch(&cid)).await.map(drop),
        None => Ok(()),
    };
    if outcome.is_ok() {
        // Nothing to say first: what the room has said since the socket was taken in goes out now.
        queue.open(Bytes::new());
        let mut decoder = Decoder::default();
        match decoder.feed(early) {
            Ok(messages) => {
                if let Some(reason) = listener.hear_all(messages).await {
                    connection::say_goodbye(queue, reason).await;
                } else {
                    tokio::select! {
                        _ = connection::run(queue, decoder, &mut listener) => {}
                        () = keep_alive(ctx, queue, session, &user.id) => {}
                    }
                }
            }
            Err(_) => connection::say_goodbye(queue, CloseReason::Protocol).await,
        }
    }
    listener.leave().await;
    outcome
}

/// Gives signs of life of the session for as long as the peer gives them and the session has not ended.
async fn keep_alive(ctx: &Ctx, queue: &SocketQueue, session: u64, user: &str) {
    let mut tick = tokio::time::interval(limits::SESSION_RENEWAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        if queue.silent_for() <= limits::SESSION_LIFE && !renew_session(ctx, session, user).await {
            break;
        }
    }
    // What says that it has ended is forgotten sooner than the socket goes.
    std::future::pending::<()>().await;
}

/// An error as a frame.
fn error_frame(error: &Error) -> Bytes {
    let code = match error.kind {
        Kind::NotAllowed | Kind::NotFound => "forbidden",
        Kind::Input if error.message == invalid_cid().message => "invalid_cid",
        kind => kind.entry().name,
    };
    text_frame(&json!({"type": "error", "code": code, "detail": error.message}))
}

fn text_frame(frame: &impl Serialize) -> Bytes {
    frame::text(&serde_json::to_vec(frame).unwrap_or_default())
}
