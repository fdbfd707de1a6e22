//! The caller's draft in a room. None is an empty one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::message::MessageRequest;

use super::auth::RoomAuth;
use super::ok;
use super::room::Room;
use crate::chat::drafts;
use crate::chat::rooms::enter::enter;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::http::extract::Body;

#[derive(Debug, Default, Deserialize)]
pub struct DraftText {
    text: Option<String>,
}

pub async fn save(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    room: Room,
    Body(draft): Body<DraftText>,
) -> Result<Json<Value>> {
    let text = draft.text.ok_or_else(|| Error::input("text is missing").field("text", "This field is required."))?;
    enter(&ctx, &auth.caller, &room.cid).await?;
    if text.is_empty() {
        drafts::delete_draft(&ctx, &auth.caller, &room.cid, None).await?;
    } else {
        let request = MessageRequest { text: Some(text), ..MessageRequest::default() };
        Box::pin(drafts::save_draft(&ctx, &auth.caller, &room.cid, request)).await?;
    }
    Ok(ok())
}

pub async fn get(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    enter(&ctx, &auth.caller, &room.cid).await?;
    let text = match drafts::get_draft(&ctx, &auth.caller, &room.cid, None).await {
        Ok(draft) => draft.message.text,
        Err(error) if error.kind == Kind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    Ok(Json(json!({"text": text})))
}

pub async fn delete(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    enter(&ctx, &auth.caller, &room.cid).await?;
    drafts::delete_draft(&ctx, &auth.caller, &room.cid, None).await?;
    Ok(ok())
}
