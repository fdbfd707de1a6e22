//! Messages of a room, and what one does with a message.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use wire::message::{MessagePage, SendMessageRequest, UpdateMessagePartialRequest};
use wire::reaction::SendReactionRequest;

use super::auth::RoomAuth;
use super::room::Room;
use super::shape::{self, Shown};
use crate::access::{self, Action};
use crate::chat::messages::{self, delete, history, restore, send, update};
use crate::chat::reactions;
use crate::chat::rooms::enter::enter;
use crate::chat::rooms::things::{self, ThingKind};
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::http::extract::{Body, Params, Segments};
use crate::limits;

/// Which part of a list. As text, because what is wrong with it is answered in this surface's words.
#[derive(Debug, Default, Deserialize)]
pub struct Page {
    limit: Option<String>,
    before: Option<String>,
    pub(super) offset: Option<String>,
}

impl Page {
    /// How many, within bounds whatever is asked for.
    ///
    /// # Errors
    /// Something that is no number.
    pub(super) fn limit(&self, default: i64) -> Result<i64> {
        match self.limit.as_deref() {
            None => Ok(default),
            Some(limit) => {
                let limit: i64 = limit.parse().map_err(|_| Error::input("Invalid limit"))?;
                Ok(limit.clamp(1, limits::ROOM_PAGE_MAX))
            }
        }
    }
}

/// Newest first with a cursor; for a room named by its id alone a plain list, oldest first.
pub async fn list(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    room: Room,
    Params(page): Params<Page>,
) -> Result<Response> {
    let limit = page.limit(if room.bare { limits::ROOM_PAGE_MAX } else { limits::ROOM_PAGE_DEFAULT })?;
    enter(&ctx, &auth.caller, &room.cid).await?;
    let access = access::channel(&ctx, &auth.caller, &room.cid, Action::ReadChannel).await?;
    // One more, to know whether there are more.
    let request = MessagePage { limit: Some(limit + 1), id_lt: page.before, ..MessagePage::default() };
    let mut found = match history::channel_page(&ctx, &auth.caller, &access, &request).await {
        Ok(found) => found,
        // Before a message that is not there, there is nothing.
        Err(error) if error.kind == Kind::Input && request.id_lt.is_some() => Vec::new(),
        Err(error) => return Err(error),
    };
    let more = found.len() as i64 > limit;
    if more {
        found.remove(0);
    }
    let mut messages = shape::messages(&found);
    if room.bare {
        return Ok(Json(messages).into_response());
    }
    let next = found.first().filter(|_| more).map(|oldest| oldest.id.as_str());
    messages.reverse();
    Ok(Json(Listed { messages, next }).into_response())
}

/// A page of messages, and where the one before it ends.
#[derive(Serialize)]
struct Listed<'a> {
    messages: Vec<Shown<'a>>,
    next: Option<&'a str>,
}

/// A message as this surface's clients write it.
#[derive(Debug, Default, Deserialize)]
pub struct NewMessage {
    pub id: Option<String>,
    pub text: Option<String>,
    pub custom_data: Option<Map<String, Value>>,
    /// The id of a poll.
    pub poll: Option<Value>,
    /// The first message of the thread that it belongs to.
    pub reply_to: Option<String>,
    pub show_in_channel: Option<bool>,
    pub attachments: Option<Vec<Value>>,
}

impl NewMessage {
    /// The same as a Stream client would send it.
    ///
    /// # Errors
    /// There is nothing in it.
    pub fn into_request(self) -> Result<SendMessageRequest> {
        let attachments = self.attachments.unwrap_or_default();
        if self.text.is_none() && attachments.is_empty() {
            return Err(Error::input("text is missing").field("text", "This field is required."));
        }
        let mut message = json!({
            "id": self.id,
            "text": self.text,
            "attachments": attachments,
            "parent_id": self.reply_to,
            "show_in_channel": self.show_in_channel,
        });
        let mut data = self.custom_data.unwrap_or_default();
        data.extend(self.poll.filter(|poll| !poll.is_null()).map(|poll| ("poll".to_owned(), poll)));
        if !data.is_empty() {
            message["custom_data"] = data.into();
        }
        serde_json::from_value(json!({"message": message})).map_err(|error| Error::input(error.to_string()))
    }
}

pub async fn send(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    room: Room,
    Body(message): Body<NewMessage>,
) -> Result<(StatusCode, Response)> {
    let request = message.into_request()?;
    enter(&ctx, &auth.caller, &room.cid).await?;
    let sent = Box::pin(send::send_message(&ctx, &auth.caller, &room.cid, request)).await?;
    Ok((StatusCode::CREATED, shown(&sent)))
}

fn shown(message: &wire::message::Message) -> Response {
    Json(Shown(message)).into_response()
}

pub async fn get(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, Segments([id]): Segments<1>) -> Result<Response> {
    Ok(shown(&history::get_message(&ctx, &auth.caller, &id, false).await?.message))
}

#[derive(Debug, Default, Deserialize)]
pub struct NewText {
    text: Option<String>,
}

pub async fn put(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Segments([id]): Segments<1>,
    Body(new): Body<NewText>,
) -> Result<Response> {
    let text = new.text.ok_or_else(|| Error::input("text is missing").field("text", "This field is required."))?;
    Ok(shown(&set(&ctx, &auth, &id, json!({"text": text})).await?))
}

async fn set(ctx: &Ctx, auth: &RoomAuth, id: &str, keys: Value) -> Result<wire::message::Message> {
    let request: UpdateMessagePartialRequest = serde_json::from_value(json!({"set": keys}))?;
    update::update_message_partial(ctx, &auth.caller, id, request).await
}

pub async fn delete(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, Segments([id]): Segments<1>) -> Result<Response> {
    Ok(shown(&delete::delete_message(&ctx, &auth.caller, &id, false).await?))
}

pub async fn restore(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, Segments([id]): Segments<1>) -> Result<Response> {
    Ok(shown(&restore::restore_message(&ctx, &auth.caller, &id).await?))
}

pub async fn replies(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, Segments([id]): Segments<1>) -> Result<Response> {
    let page = MessagePage { limit: Some(limits::ROOM_PAGE_MAX), ..MessagePage::default() };
    let replies = history::get_replies(&ctx, &auth.caller, &id, &page).await?;
    Ok(Json(shape::messages(&replies)).into_response())
}

pub async fn reactions(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Segments([id]): Segments<1>,
) -> Result<Json<Value>> {
    let found = reactions::get_reactions(&ctx, &auth.caller, &id, Some(limits::ROOM_LIST_MAX), None).await?;
    Ok(Json(found.iter().map(|reaction| shape::reaction(&shape::json_of(reaction))).collect()))
}

#[derive(Debug, Default, Deserialize)]
pub struct NewReaction {
    #[serde(rename = "type")]
    kind: Option<String>,
}

pub async fn react(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Segments([id]): Segments<1>,
    Body(new): Body<NewReaction>,
) -> Result<(StatusCode, Json<Value>)> {
    let kind = new.kind.ok_or_else(|| Error::input("type is missing").field("type", "This field is required."))?;
    let request: SendReactionRequest = serde_json::from_value(json!({"reaction": {"type": kind}}))?;
    let (_, reaction) = Box::pin(reactions::send_reaction(&ctx, &auth.caller, &id, request)).await?;
    Ok((StatusCode::CREATED, Json(shape::reaction(&shape::json_of(&reaction)))))
}

pub async fn unreact(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Path((id, reaction)): Path<(String, String)>,
) -> Result<StatusCode> {
    let missing = || Error::not_found(format!("there is no reaction {reaction}"));
    let (user, kind) = reaction.split_once(':').ok_or_else(missing)?;
    if user != auth.user.id {
        return Err(Error::not_allowed("a reaction is its author's to take back"));
    }
    reactions::delete_reaction(&ctx, &auth.caller, &id, kind).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn pin(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Segments([id]): Segments<1>,
) -> Result<(StatusCode, Json<Value>)> {
    let message = set(&ctx, &auth, &id, json!({"pinned": true})).await?;
    let by = message.pinned_by.as_ref().map(|user| user.id.clone());
    let pin = json!({"id": message.id, "message_id": message.id, "user_id": by, "created_at": message.pinned_at});
    Ok((StatusCode::CREATED, Json(json!({"pin": pin}))))
}

pub async fn unpin(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, Segments([id]): Segments<1>) -> Result<StatusCode> {
    set(&ctx, &auth, &id, json!({"pinned": false})).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Notes that the caller objects to a message.
pub async fn flag(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Segments([id]): Segments<1>,
) -> Result<(StatusCode, Json<Value>)> {
    let (_, message) = messages::load(&ctx, &auth.caller, &id, Action::FlagMessage).await?;
    let flag = things::keep(&ctx, &auth.caller, ThingKind::Flag, &message.id, "", None).await?;
    Ok((StatusCode::CREATED, Json(json!({"flag": shape::thing(&flag, None, Some("message_id"))}))))
}

/// Notes what the caller did with the buttons of a message.
pub async fn act(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Segments([id]): Segments<1>,
    Body(action): Body<Map<String, Value>>,
) -> Result<(StatusCode, Json<Value>)> {
    let (_, message) = messages::load(&ctx, &auth.caller, &id, Action::RunMessageAction).await?;
    let text = serde_json::to_string(&action)?;
    let kept = things::keep(&ctx, &auth.caller, ThingKind::Action, &message.id, &text, None).await?;
    let mut shown = shape::thing(&kept, None, Some("message_id"));
    shown["data"] = action.into();
    Ok((StatusCode::CREATED, Json(json!({"action": shown}))))
}
