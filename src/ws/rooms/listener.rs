//! What clients of this surface say on their sockets, and what is done about it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use wire::Cid;
use wire::channel::ChannelState;
use wire::event::EventRequest;
use wire::read::{MarkReadRequest, MarkUnreadRequest};

use super::{error_frame, text_frame};
use crate::access::Caller;
use crate::asker::{self, Asker};
use crate::chat::channels::state::{Wanted, states};
use crate::chat::channels::watch::watch;
use crate::chat::messages::send::send_message;
use crate::chat::rooms::enter::enter;
use crate::chat::users::connect::still_welcome;
use crate::chat::{events, reads};
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::http::rooms::messages::NewMessage;
use crate::http::rooms::room::Room;
use crate::http::rooms::shape;
use crate::limits;
use crate::realtime::{CloseReason, Connection};
use crate::store::members::MemberPage;
use crate::ws::bucket::Bucket;
use crate::ws::connection::Listener;
use crate::ws::frame::Incoming;

/// The ears of one socket.
pub(super) struct RoomListener {
    ctx: Arc<Ctx>,
    connection: Arc<Connection>,
    caller: Caller,
    asker: Option<Asker>,
    /// The room of a socket that is for one.
    only: Option<Cid>,
    /// Rooms that the socket watches.
    watched: Vec<Cid>,
    /// Where the caller types, and what ends it after a silence.
    typing: HashMap<Cid, AbortHandle>,
    bucket: Bucket,
}

/// A frame of a client.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type", default)]
    kind: String,
    cid: Option<String>,
    message_id: Option<String>,
    #[serde(flatten)]
    message: NewMessage,
}

/// Why a frame was not obeyed, for the peer.
enum Refusal {
    Code(&'static str, &'static str),
    Error(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Refusal {
    fn frame(&self) -> Bytes {
        match self {
            Self::Code(code, detail) => text_frame(&json!({"type": "error", "code": code, "detail": detail})),
            Self::Error(error) => error_frame(error),
        }
    }
}

impl RoomListener {
    pub(super) fn new(
        ctx: Arc<Ctx>,
        connection: Arc<Connection>,
        caller: Caller,
        asker: Option<Asker>,
        only: Option<Cid>,
    ) -> Self {
        let bucket = Bucket::new(limits::ROOM_FRAMES_BURST, limits::ROOM_FRAMES_PER_SECOND, Instant::now());
        Self { ctx, connection, caller, asker, only, watched: Vec::new(), typing: HashMap::new(), bucket }
    }

    /// Enters a room and hears it from now on; then reads it, so that nothing falls between.
    ///
    /// # Errors
    /// The caller may not enter, or watches too much.
    pub(super) async fn watch(&mut self, cid: &Cid) -> Result<ChannelState> {
        let channel = Box::pin(enter(&self.ctx, &self.caller, cid)).await?;
        let is_new = !self.watched.contains(cid);
        if is_new && self.watched.len() >= limits::ROOMS_PER_SOCKET_MAX {
            return Err(Error::input(format!("a socket watches at most {} rooms", limits::ROOMS_PER_SOCKET_MAX)));
        }
        // Also what it has watched before: it may have been made to stop, or the room may have been made anew.
        watch(&self.ctx, &self.caller, Some(&self.connection.id), std::slice::from_ref(&channel)).await?;
        if is_new {
            self.watched.push(cid.clone());
        }
        let members = MemberPage { limit: limits::STATE_MEMBERS_DEFAULT, offset: 0 };
        let wanted = Wanted { messages: limits::ROOM_PAGE_DEFAULT + 1, members, watchers: None, bare: false };
        let state = states(&self.ctx, &self.caller, std::slice::from_ref(&channel), wanted).await?.pop();
        state.ok_or_else(|| Error::internal("a channel without a state"))
    }

    /// Everything that came at once. What it gives back ends the socket.
    pub(super) async fn hear_all(&mut self, messages: Vec<Incoming>) -> Option<CloseReason> {
        for message in messages {
            if let Some(reason) = self.hear(message).await {
                return Some(reason);
            }
        }
        None
    }

    /// The socket is gone: nobody types on it any more.
    pub(super) async fn leave(&mut self) {
        for (cid, timer) in std::mem::take(&mut self.typing) {
            timer.abort();
            stop_typing(&self.ctx, &self.connection, &cid).await;
        }
    }

    async fn obey(&mut self, said: Said) -> std::result::Result<Option<Value>, Refusal> {
        match said.kind.as_str() {
            "channel.watch" => {
                let cid = parse(said.cid.as_deref())?.ok_or(NO_CID)?;
                if self.only.as_ref().is_some_and(|only| *only != cid) {
                    return Err(Refusal::Code("cid_mismatch", "this socket is for another room"));
                }
                Ok(Some(initialized(&cid, &self.watch(&cid).await?)))
            }
            "message.new" => {
                let cid = self.room(said.cid.as_deref())?;
                let request = said.message.into_request()?;
                self.stop_timer(&cid);
                Box::pin(send_message(&self.ctx, &self.caller, &cid, request)).await?;
                Ok(None)
            }
            kind @ ("typing.start" | "typing.stop") => {
                let cid = self.room(said.cid.as_deref())?;
                self.stop_timer(&cid);
                say_typing(&self.ctx, &self.caller, &cid, kind).await?;
                if kind == "typing.start" {
                    self.start_timer(cid);
                }
                Ok(None)
            }
            "mark.read" => {
                let cid = self.room(said.cid.as_deref())?;
                let request = MarkReadRequest { message_id: said.message_id, ..MarkReadRequest::default() };
                let event = reads::mark_read(&self.ctx, &self.caller, &cid, request).await?;
                let at = event.map_or_else(|| self.ctx.clock.now(), |event| event.created_at);
                Ok(Some(json!({"type": "read", "cid": cid, "user": self.caller.user_id(), "last_read": at})))
            }
            "mark.unread" => {
                let cid = self.room(said.cid.as_deref())?;
                let request = MarkUnreadRequest { message_id: said.message_id, ..MarkUnreadRequest::default() };
                reads::mark_unread(&self.ctx, &self.caller, &cid, request).await?;
                Ok(Some(json!({"type": "unread", "cid": cid, "user": self.caller.user_id()})))
            }
            "ping" => Ok(Some(json!({"type": "pong"}))),
            _ => Err(Refusal::Code("unknown_type", "this type is not understood here")),
        }
    }

    /// The room that a frame is about: the one it names, else the only one there is.
    fn room(&self, cid: Option<&str>) -> std::result::Result<Cid, Refusal> {
        match (parse(cid)?, &self.only) {
            (Some(cid), Some(only)) if cid != *only => {
                Err(Refusal::Code("cid_mismatch", "this socket is for another room"))
            }
            (Some(cid), _) if !self.watched.contains(&cid) => {
                Err(Refusal::Code("not_watched", "watch the room first: channel.watch"))
            }
            (Some(cid), _) => Ok(cid),
            (None, Some(only)) => Ok(only.clone()),
            (None, None) => match &self.watched[..] {
                [cid] => Ok(cid.clone()),
                [] => Err(Refusal::Code("not_watched", "watch a room first: channel.watch")),
                _ => Err(NO_CID),
            },
        }
    }

    fn stop_timer(&mut self, cid: &Cid) {
        if let Some(timer) = self.typing.remove(cid) {
            timer.abort();
        }
    }

    /// Who says nothing more has stopped typing.
    fn start_timer(&mut self, cid: Cid) {
        let (ctx, connection, room) = (self.ctx.clone(), self.connection.clone(), cid.clone());
        let timer = tokio::spawn(async move {
            tokio::time::sleep(limits::TYPING_LIFE).await;
            stop_typing(&ctx, &connection, &room).await;
        });
        self.typing.insert(cid, timer.abort_handle());
    }
}

const NO_CID: Refusal = Refusal::Code("invalid_cid", "say which room: cid");

fn parse(cid: Option<&str>) -> std::result::Result<Option<Cid>, Refusal> {
    match cid.map(Room::parse) {
        None => Ok(None),
        Some(Ok(room)) => Ok(Some(room.cid)),
        Some(Err(_)) => Err(Refusal::Code("invalid_cid", "Invalid cid")),
    }
}

async fn say_typing(ctx: &Ctx, caller: &Caller, cid: &Cid, kind: &str) -> Result<()> {
    let request = EventRequest { kind: kind.into(), ..EventRequest::default() };
    events::send_event(ctx, caller, cid, request).await.map(drop)
}

/// Says that the user has stopped typing, if it is still there to say something.
async fn stop_typing(ctx: &Ctx, connection: &Connection, cid: &Cid) {
    if let Ok(user) = still_welcome(ctx, connection).await {
        let _ = say_typing(ctx, &Caller::client(user), cid, "typing.stop").await;
    }
}

/// The answer to `channel.watch`: the newest page, as far as the socket can take it at once, where the one before it begins,
/// and who is a member.
fn initialized(cid: &Cid, state: &ChannelState) -> Value {
    let mut room = limits::ROOM_PAGE_BYTES_MAX;
    let newest = state.messages.iter().rev().take(limits::ROOM_PAGE_DEFAULT as usize);
    let newest = newest.map(|message| shape::json_of(&shape::Shown(message)));
    let messages: Vec<Value> = newest
        .take_while(|message| {
            let size = message.to_string().len();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        })
        .collect();
    let more = messages.len() < state.messages.len();
    let next = messages.last().filter(|_| more).map(|oldest| &oldest["id"]);
    let members: Vec<Value> = state.members.iter().map(shape::member).collect();
    json!({
        "type": "initialized", "cid": cid, "initialized": true, "messages": messages, "next": next, "members": members,
    })
}

impl Listener for &mut RoomListener {
    async fn hear(&mut self, message: Incoming) -> Option<CloseReason> {
        RoomListener::hear(self, message).await
    }
}

impl RoomListener {
    async fn hear(&mut self, message: Incoming) -> Option<CloseReason> {
        let text = match message {
            Incoming::Text(text) => text,
            Incoming::Close => return Some(CloseReason::Goodbye),
            Incoming::Binary(_) | Incoming::Ping(_) | Incoming::Pong => return None,
        };
        if !self.bucket.takes(1.0, Instant::now()) {
            return Some(CloseReason::RateLimited);
        }
        // Each frame is said by the user as it is now.
        let as_of = self.ctx.caches.forgotten();
        match still_welcome(&self.ctx, &self.connection).await {
            Ok(user) => self.caller = Caller::client(user).as_of(as_of),
            Err(error) if error.kind == Kind::TokenExpired => return Some(CloseReason::Expired),
            Err(error) if error.kind.entry().status < 500 => return Some(CloseReason::Revoked),
            Err(error) => {
                self.connection.socket.send(&[super::dialect::for_all(Refusal::Error(error).frame())]);
                return None;
            }
        }
        let answer = match crate::http::extract::body::parse::<Said>(text.as_bytes()) {
            // Boxed: an idle socket does not hold room for it.
            Ok(said) => Box::pin(asker::on_behalf(self.asker.clone(), self.obey(said)))
                .await
                .map_or_else(|refusal| Some(refusal.frame()), |value| value.as_ref().map(text_frame)),
            Err(_) => Some(Refusal::Code("invalid_json", "a frame is a JSON object with a type").frame()),
        };
        if let Some(frame) = answer {
            self.connection.socket.send(&[super::dialect::for_all(frame)]);
        }
        None
    }
}
