//! The door of a room.
//!
//! A room is made when somebody first comes, and is open: whoever comes becomes a member, but for those whom others have removed;
//! they come back when they are added. A channel that was made elsewhere with members of its own is as closed as it was
//! made: only `open_room` in a channel's data opens it, and only those who may change the channel set that.

use std::sync::Arc;

use serde_json::json;
use wire::Cid;
use wire::channel::GetOrCreateChannelRequest;

use crate::access::caches::LoadedChannel;
use crate::access::{self, Action, Caller};
use crate::chat::channels::get_or_create;
use crate::chat::members::change;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};

/// The key in a channel's data that opens it.
const OPEN: &str = "open_room";
/// The channel type of rooms.
pub const ROOM_TYPE: &str = "messaging";

/// Lets the caller into a room, which is made if there is none.
///
/// # Errors
/// A channel that is not open to the caller, or one of another type that does not exist.
pub async fn enter(ctx: &Ctx, caller: &Caller, cid: &Cid) -> Result<Arc<LoadedChannel>> {
    match access::channel(ctx, caller, cid, Action::ReadChannel).await {
        Ok(access) => return Ok(access.channel),
        Err(error) if error.kind == Kind::NotFound && cid.channel_type() == ROOM_TYPE => {
            match make(ctx, caller, cid, None, true).await {
                // Somebody else may have made it at the same time.
                Err(error) if error.kind == Kind::NotAllowed => {}
                other => return other,
            }
        }
        Err(error) if error.kind == Kind::NotAllowed => {}
        Err(error) => return Err(error),
    }
    join(ctx, caller, cid).await
}

/// Makes a room with the caller as its first member.
///
/// # Errors
/// The caller may not make channels.
pub async fn make(ctx: &Ctx, caller: &Caller, cid: &Cid, name: Option<&str>, open: bool) -> Result<Arc<LoadedChannel>> {
    let mut data = json!({"members": [caller.acting()?.id], OPEN: open});
    if let Some(name) = name {
        data["name"] = name.into();
    }
    let request: GetOrCreateChannelRequest = serde_json::from_value(json!({"data": data, "state": false}))?;
    get_or_create::get_or_create(ctx, caller, cid.channel_type(), Some(cid.id()), request).await?;
    Ok(access::channel(ctx, caller, cid, Action::ReadChannel).await?.channel)
}

/// Makes the caller a member of an open room.
async fn join(ctx: &Ctx, caller: &Caller, cid: &Cid) -> Result<Arc<LoadedChannel>> {
    let refused = || Error::not_allowed(format!("{cid} is not open to you"));
    let channel = access::find_channel(ctx, cid).await?.ok_or_else(refused)?;
    // Whose a channel is that is named by its members, its name says.
    let is_open = channel.row.custom.get(OPEN) == Some(true) && !cid.is_distinct();
    if !is_open {
        return Err(refused());
    }
    // Nobody may add oneself to a channel; the room does that.
    Box::pin(change::come_in(ctx, caller, &channel, refused())).await?;
    Ok(access::channel(ctx, caller, cid, Action::ReadChannel).await?.channel)
}
