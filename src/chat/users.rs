//! Users: writing them, finding them, and the connected user's view of itself.

pub mod change;
pub mod connect;
pub mod full;
pub mod guest;
pub mod mute;
pub mod query;
pub mod upsert;

use crate::chat::render;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::events::{Audience, Event};
use crate::store::users::User;

/// `user.updated`, for those who follow the user.
///
/// # Errors
/// None in practice: our own types always serialise.
pub(in crate::chat) fn updated_event(ctx: &Ctx, row: &User) -> Result<Event> {
    let mut event = wire::Event::new("user.updated", row.updated_at);
    event.user = Some(std::sync::Arc::new(render::users::public(row, ctx.realtime.is_here(&row.id))));
    Ok(Event::new(&event, Audience::Presence(row.id.clone()))?.about(&row.id))
}
