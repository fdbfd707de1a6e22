//! What a room is, and what may be done in it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use wire::Cid;
use wire::channel::ChannelState;

use super::auth::RoomAuth;
use super::channels::whole;
use super::room::Room;
use crate::chat::channels::state::{Wanted, states};
use crate::chat::rooms::enter::enter;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;
use crate::store::members::MemberPage;

/// The state of a room that the caller may enter, with so many of its newest messages.
///
/// # Errors
/// It may not.
pub(super) async fn state_of(ctx: &Ctx, auth: &RoomAuth, cid: &Cid, messages: i64) -> Result<ChannelState> {
    let channel = enter(ctx, &auth.caller, cid).await?;
    let members = MemberPage { limit: limits::STATE_MEMBERS_DEFAULT, offset: 0 };
    let wanted = Wanted { messages, members, watchers: None, bare: false };
    let mut states = states(ctx, &auth.caller, std::slice::from_ref(&channel), wanted).await?;
    states.pop().ok_or_else(|| Error::internal("a channel without a state"))
}

/// Name, type, and whether the caller has muted it. Only by the whole cid.
pub async fn config(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    let state = state_of(&ctx, &auth, &whole(room)?, 0).await?;
    let channel = &state.channel;
    Ok(Json(json!({
        "name": channel.custom.get::<Value>("name"),
        "type": channel.kind,
        "muted": channel.viewer.as_ref().is_some_and(|viewer| viewer.muted),
    })))
}

/// What the composer may offer.
pub async fn config_state(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    let channel = enter(&ctx, &auth.caller, &room.cid).await?;
    let uploads = channel.config.uploads;
    Ok(Json(json!({
        "attachments": {"acceptedFiles": [], "maxNumberOfFilesPerMessage": 10},
        "text": {"enabled": !channel.row.frozen},
        "multipleUploads": uploads,
        "isUploadEnabled": uploads,
    })))
}
