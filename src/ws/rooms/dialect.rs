//! How the sockets of this surface speak: Stream's events in the words of founding document 003.
//!
//! Two things are not for everybody in a room: who types or edits does not hear of itself, and the older form of a message
//! (`{"type":"message"}`) is for everybody but its author. So what this dialect encodes is a parcel for [`RoomSocket`], which
//! knows whose socket it is: the author, the frames for all, the frames for the others.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use wire::Timestamp;

use super::text_frame;
use crate::events::Event;
use crate::http::rooms::shape::{self, Message, StreamMessage};
use crate::realtime::frame::{self, Opcode};
use crate::realtime::{CloseReason, Connection, Dialect, Socket};
use crate::ws::connection::SharedSocket;
use crate::ws::queue::SocketQueue;

pub struct RoomsDialect;

impl Dialect for RoomsDialect {
    fn encode(&self, event: &Event) -> Option<Bytes> {
        match &*event.kind {
            "message.new" | "message.updated" | "message.deleted" | "message.undeleted" => {
                Some(of_message(&event.kind, serde_json::from_slice(&event.body).ok()?))
            }
            kind => {
                let heard: Value = serde_json::from_slice(&event.body).ok()?;
                let Words { all, others } = words(kind, &heard)?;
                let author = heard["user"]["id"].as_str().unwrap_or_default();
                Some(parcel(author, all.as_ref().map(text_frame), others.as_ref().map(text_frame)))
            }
        }
    }

    /// This surface has no notifications.
    fn encode_twin(&self, _: &[&[u8]]) -> Option<Bytes> {
        None
    }

    /// A ping, whose answer shows us that the peer lives. This surface has no heartbeat of its own.
    fn heartbeat(&self, _: &Connection, _: Timestamp) -> Vec<Bytes> {
        vec![for_all(frame::encode(Opcode::Ping, b""))]
    }
}

/// An event of a message. What clients made up stays text.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Told<'a> {
    cid: Option<&'a RawValue>,
    user: Teller<'a>,
    message: StreamMessage<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Teller<'a> {
    id: Cow<'a, str>,
}

fn of_message(kind: &str, told: Told<'_>) -> Bytes {
    #[derive(Serialize)]
    struct New<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        cid: Option<&'a RawValue>,
        id: Option<&'a RawValue>,
        text: Option<&'a RawValue>,
        user: &'a str,
        created_at: Option<&'a RawValue>,
        message: &'a Message<'a>,
    }
    #[derive(Serialize)]
    struct Older<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        data: &'a Message<'a>,
    }
    #[derive(Serialize)]
    struct Changed<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        cid: Option<&'a RawValue>,
        id: Option<&'a RawValue>,
        message: &'a Message<'a>,
    }
    let (cid, user, message) = (told.cid, &*told.user.id, &Message::from(told.message));
    let (id, text, created_at) = (message.id, message.text, message.created_at);
    if kind == "message.new" {
        let new = text_frame(&New { kind, cid, id, text, user, created_at, message });
        parcel(user, Some(new), Some(text_frame(&Older { kind: "message", data: message })))
    } else {
        parcel(user, Some(text_frame(&Changed { kind, cid, id, message })), None)
    }
}

/// What is said of an event.
struct Words {
    all: Option<Value>,
    others: Option<Value>,
}

fn words(kind: &str, event: &Value) -> Option<Words> {
    let (cid, user) = (&event["cid"], &event["user"]["id"]);
    let all = |value: Value| Words { all: Some(value), others: None };
    let others = |value: Value| Words { all: None, others: Some(value) };
    Some(match kind {
        "message.read" => others(json!({"type": "read", "cid": cid, "user": user, "last_read": event["created_at"]})),
        "reaction.new" | "reaction.updated" | "reaction.deleted" => all(json!({
            "type": kind, "cid": cid, "message_id": event["message"]["id"], "user": user, "reaction": shape::reaction(&event["reaction"]),
        })),
        "typing.start" | "typing.stop" => others(json!({"type": kind, "user_id": user, "cid": cid})),
        "user.watching.start" => all(json!({"type": "user.join", "user": user, "cid": cid})),
        "user.watching.stop" => all(json!({"type": "user.leave", "user": user, "cid": cid})),
        "editing.state" => {
            let mut state = json!({
                "type": kind, "cid": cid, "user_id": user,
                "draft_update": event["draft_update"], "state_update": event["state_update"],
            });
            if let Some(cursor) = event.get("cursor") {
                state["cursor"] = cursor.clone();
            }
            others(state)
        }
        "push.subscription.registered" => {
            all(json!({"type": kind, "user": user, "client_id": event["client_id"], "platform": event["platform"]}))
        }
        "ai_indicator.update" | "ai_indicator.clear" => {
            let ids = (&event["message_id"], &event["ai_state"]);
            all(json!({"type": kind, "cid": cid, "user": user, "message_id": ids.0, "ai_state": ids.1}))
        }
        "channel.updated" | "channel.truncated" | "channel.deleted" | "member.added" | "member.removed"
        | "member.updated" => all(json!({"type": kind, "cid": cid, "user": event["member"]["user_id"]})),
        _ => return None,
    })
}

/// Packs frames: length of the author's id, the id, length of the first frame, both frames.
fn parcel(author: &str, all: Option<Bytes>, others: Option<Bytes>) -> Bytes {
    let (all, others) = (all.unwrap_or_default(), others.unwrap_or_default());
    let mut parcel = BytesMut::with_capacity(6 + author.len() + all.len() + others.len());
    parcel.put_u16(author.len() as u16);
    parcel.put_slice(author.as_bytes());
    parcel.put_u32(all.len() as u32);
    parcel.put_slice(&all);
    parcel.put_slice(&others);
    parcel.freeze()
}

/// A frame that nobody else has said.
pub(super) fn for_all(frame: Bytes) -> Bytes {
    parcel("", Some(frame), None)
}

/// The author of a parcel, and its frames.
fn unpack(parcel: &Bytes) -> Option<(&[u8], Bytes, Bytes)> {
    let author_end = 2 + usize::from(u16::from_be_bytes(parcel.get(..2)?.try_into().ok()?));
    let length = parcel.get(author_end..author_end + 4)?.try_into().ok()?;
    let all_end = author_end + 4 + u32::from_be_bytes(length) as usize;
    let author = parcel.get(2..author_end)?;
    (parcel.len() >= all_end).then(|| (author, parcel.slice(author_end + 4..all_end), parcel.slice(all_end..)))
}

/// A socket that takes parcels.
pub(super) struct RoomSocket {
    socket: SharedSocket,
    user_id: Arc<str>,
}

impl RoomSocket {
    pub(super) fn new(queue: Arc<SocketQueue>, user_id: &str) -> Self {
        Self { socket: SharedSocket(queue), user_id: user_id.into() }
    }
}

impl Socket for RoomSocket {
    fn send(&self, parcels: &[Bytes]) {
        let mut frames = Vec::with_capacity(2 * parcels.len());
        for (author, all, others) in parcels.iter().filter_map(unpack) {
            let is_own = author == self.user_id.as_bytes();
            frames.extend([Some(all), Some(others).filter(|_| !is_own)].into_iter().flatten());
        }
        frames.retain(|frame| !frame.is_empty());
        if !frames.is_empty() {
            self.socket.send(&frames);
        }
    }

    fn close(&self, reason: CloseReason) {
        self.socket.close(reason);
    }

    fn silent_for(&self) -> Duration {
        self.socket.silent_for()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parcels_open_as_they_were_packed() {
        for (author, all, others) in [("ada", "all", "others"), ("", "all", ""), ("ada", "", "others"), ("", "", "")] {
            let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes())).filter(|bytes| !bytes.is_empty());
            let packed = parcel(author, bytes(all), bytes(others));
            let (from, first, second) = unpack(&packed).unwrap();
            assert_eq!((from, &first[..], &second[..]), (author.as_bytes(), all.as_bytes(), others.as_bytes()));
        }
        assert!(unpack(&Bytes::from_static(b"\0")).is_none());
        assert!(unpack(&Bytes::from_static(b"\0\0\0\0\0\x09x")).is_none());
    }

    #[test]
    fn what_the_surface_has_no_word_for_is_not_said() {
        for kind in ["notification.message_new", "draft.updated", "health.check", "user.presence.changed", "custom"] {
            assert!(words(kind, &json!({"type": kind})).is_none(), "{kind}");
        }
    }
}
