//! When the caller last changed what it is writing, told to those in the same rooms.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::RoomAuth;
use super::room::Room;
use crate::chat::rooms::editing::{EditingState, tell_editing};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::Body;

#[derive(Debug, Default, Deserialize)]
pub struct AuditState {
    /// Milliseconds since the Unix epoch.
    draft_update: Option<i64>,
    state_update: Option<i64>,
    /// Where; all rooms that the caller watches if it does not say so.
    cid: Option<String>,
    cursor: Option<Value>,
}

pub async fn editing_audit_state(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Body(request): Body<AuditState>,
) -> Result<Json<Value>> {
    let AuditState { draft_update, state_update, cid, cursor } = request;
    let room = cid.as_deref().map(Room::parse).transpose()?;
    let state = EditingState { draft_update, state_update, cursor };
    tell_editing(&ctx, &auth.caller, room.as_ref().map(|room| &room.cid), state).await?;
    Ok(Json(json!({"draft_update": draft_update, "state_update": state_update})))
}
