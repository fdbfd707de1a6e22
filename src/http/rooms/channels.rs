//! Rooms: listing, making, and what one does with one as a whole.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wire::Cid;
use wire::channel::{ChannelState, QueryChannelsRequest, TruncateChannelRequest};
use wire::member::{QueryMembersRequest, UpdateMemberPartialRequest};
use wire::read::{MarkReadRequest, MarkUnreadRequest};

use super::auth::RoomAuth;
use super::config::state_of;
use super::messages::Page;
use super::room::Room;
use super::{ok, shape};
use crate::chat::channels::{hide, query, truncate};
use crate::chat::members;
use crate::chat::reads;
use crate::chat::rooms::enter::{ROOM_TYPE, enter, make};
use crate::chat::users::query::checked_offset;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::http::extract::{Body, Params};
use crate::limits;

/// The caller's rooms, the most recently active first.
pub async fn list(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Response> {
    Ok(Json(shape::rooms(&rooms_of(&ctx, &auth, json!({})).await?)).into_response())
}

/// Those of them that are not archived.
pub async fn active(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Response> {
    Ok(Json(shape::rooms(&rooms_of(&ctx, &auth, json!({"archived": false})).await?)).into_response())
}

/// Those of them that the caller has muted.
pub async fn muted(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Response> {
    Ok(Json(shape::rooms(&rooms_of(&ctx, &auth, json!({"muted": true})).await?)).into_response())
}

/// The caller's rooms that fit, as many as one page holds.
pub(super) async fn rooms_of(ctx: &Ctx, auth: &RoomAuth, mut filter: Value) -> Result<Vec<ChannelState>> {
    filter["type"] = ROOM_TYPE.into();
    filter["members"] = json!({"$in": [auth.user.id]});
    let request = QueryChannelsRequest {
        filter_conditions: Some(filter),
        limit: Some(limits::QUERY_CHANNELS_LIMIT_MAX),
        state: Some(true),
        ..QueryChannelsRequest::default()
    };
    Box::pin(query::query_channels(ctx, &auth.caller, request)).await
}

/// A room to be made.
#[derive(Debug, Default, Deserialize)]
pub struct NewRoom {
    name: Option<String>,
    /// Only for those whom its makers add.
    #[serde(default)]
    private: bool,
}

pub async fn create(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Body(request): Body<NewRoom>,
) -> Result<(StatusCode, Response)> {
    let cid = Cid::new(ROOM_TYPE, &crate::ids::message_id())?;
    make(&ctx, &auth.caller, &cid, request.name.as_deref(), !request.private).await?;
    Ok((StatusCode::CREATED, shown(&state_of(&ctx, &auth, &cid, limits::MESSAGE_LIMIT_DEFAULT).await?)))
}

pub async fn get(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Response> {
    Ok(shown(&state_of(&ctx, &auth, &room.cid, limits::MESSAGE_LIMIT_DEFAULT).await?))
}

fn shown(state: &ChannelState) -> Response {
    Json(shape::Room::from(state)).into_response()
}

/// Messages and members, in one call.
pub async fn query_room(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Response> {
    #[derive(Serialize)]
    struct Found<'a> {
        messages: Vec<shape::Shown<'a>>,
        members: Vec<Value>,
    }
    let state = state_of(&ctx, &auth, &room.cid, limits::MESSAGE_LIMIT_DEFAULT).await?;
    let members = state.members.iter().map(shape::member).collect();
    Ok(Json(Found { messages: shape::messages(&state.messages), members }).into_response())
}

/// A page of members, by id.
pub async fn members(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    room: Room,
    Params(page): Params<Page>,
) -> Result<Json<Value>> {
    enter(&ctx, &auth.caller, &room.cid).await?;
    let wrong = || Error::input("Invalid offset");
    let offset = page.offset.as_deref().unwrap_or("0").parse().map_err(|_| wrong())?;
    let request = QueryMembersRequest {
        sort: Some(json!({"user_id": 1})),
        limit: Some(page.limit(limits::ROOM_PAGE_DEFAULT)?),
        offset: Some(checked_offset(Some(offset), limits::QUERY_OFFSET_MAX).map_err(|_| wrong())?),
        ..QueryMembersRequest::default()
    };
    let found = members::query::query_members(&ctx, &auth.caller, &room.cid, request).await?;
    Ok(Json(found.iter().map(shape::member).collect()))
}

pub async fn mark_read(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    enter(&ctx, &auth.caller, &room.cid).await?;
    reads::mark_read(&ctx, &auth.caller, &room.cid, MarkReadRequest::default()).await?;
    Ok(ok())
}

/// From where on it is unread.
#[derive(Debug, Default, Deserialize)]
pub struct From {
    message_id: Option<String>,
}

/// From the message on that is named, else the newest one.
pub async fn mark_unread(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    room: Room,
    Body(from): Body<From>,
) -> Result<Json<Value>> {
    let mut message_id = from.message_id;
    if message_id.is_none() {
        let newest = state_of(&ctx, &auth, &room.cid, 1).await?.messages.pop();
        message_id = newest.map(|message| message.id);
    } else {
        enter(&ctx, &auth.caller, &room.cid).await?;
    }
    if message_id.is_some() {
        let request = MarkUnreadRequest { message_id, ..MarkUnreadRequest::default() };
        reads::mark_unread(&ctx, &auth.caller, &room.cid, request).await?;
    }
    Ok(ok())
}

pub async fn archive(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    set_archived(&ctx, &auth, &room, true).await
}

pub async fn unarchive(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    set_archived(&ctx, &auth, &room, false).await
}

async fn set_archived(ctx: &Ctx, auth: &RoomAuth, room: &Room, archived: bool) -> Result<Json<Value>> {
    enter(ctx, &auth.caller, &room.cid).await?;
    let request: UpdateMemberPartialRequest = serde_json::from_value(json!({"set": {"archived": archived}}))?;
    members::partial::update_member_partial(ctx, &auth.caller, &room.cid, &auth.user.id, request).await?;
    Ok(ok())
}

pub async fn hide(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    enter(&ctx, &auth.caller, &room.cid).await?;
    hide::hide_channel(&ctx, &auth.caller, &room.cid, false).await?;
    Ok(ok())
}

pub async fn show(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    enter(&ctx, &auth.caller, &room.cid).await?;
    hide::show_channel(&ctx, &auth.caller, &room.cid).await?;
    Ok(ok())
}

pub async fn truncate(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    enter(&ctx, &auth.caller, &room.cid).await?;
    truncate::truncate_channel(&ctx, &auth.caller, &room.cid, TruncateChannelRequest::default()).await?;
    Ok(ok())
}

/// The caller's read state in a channel's state.
fn own_read<'a>(state: &'a ChannelState, auth: &RoomAuth) -> Option<&'a wire::read::Read> {
    state.read.iter().find(|read| read.user.id == auth.user.id)
}

pub async fn count_unread(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    let state = state_of(&ctx, &auth, &room.cid, 0).await?;
    Ok(Json(json!({"unread": own_read(&state, &auth).map_or(0, |read| read.unread_messages)})))
}

pub async fn last_read(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    let state = state_of(&ctx, &auth, &room.cid, 0).await?;
    Ok(Json(json!({"last_read": own_read(&state, &auth).map(|read| read.last_read)})))
}

/// Who has read how far.
pub async fn read(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    let state = state_of(&ctx, &auth, &room.cid, 0).await?;
    let reads = state.read.iter().map(
        |read| json!({"user": read.user.id, "last_read": read.last_read, "unread_messages": read.unread_messages}),
    );
    Ok(Json(reads.collect()))
}

/// Seconds between two messages.
pub async fn cooldown(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Json<Value>> {
    let channel = enter(&ctx, &auth.caller, &room.cid).await?;
    Ok(Json(json!({"cooldown": channel.row.cooldown})))
}

pub async fn pinned(State(ctx): State<Arc<Ctx>>, auth: RoomAuth, room: Room) -> Result<Response> {
    let state = state_of(&ctx, &auth, &room.cid, 0).await?;
    Ok(Json(shape::messages(&state.pinned_messages)).into_response())
}

/// What a client needs after it was away.
pub async fn recover_state(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Response> {
    #[derive(Serialize)]
    struct Recovered<'a> {
        rooms: Vec<shape::Room<'a>>,
        notifications: Value,
    }
    let rooms = rooms_of(&ctx, &auth, json!({})).await?;
    let Json(notifications) = super::things::notifications(State(ctx), auth).await?;
    Ok(Json(Recovered { rooms: shape::rooms(&rooms), notifications }).into_response())
}

/// A room that has been named by its whole cid, where nothing else is understood.
///
/// # Errors
/// It was not.
pub(super) fn whole(room: Room) -> Result<Cid> {
    if room.bare { Err(Error::new(Kind::Input, "Invalid cid")) } else { Ok(room.cid) }
}
