//! Channels: making, finding, watching, changing, deleting them.

pub mod delete;
pub mod get_or_create;
pub mod hide;
pub mod mute;
pub mod query;
pub mod state;
pub mod truncate;
pub mod update;
pub mod watch;

use wire::Timestamp;
use wire::event::ChannelFields;

use crate::access::caches::LoadedChannel;
use crate::chat::render::{self, People};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::store::write::Head;

/// An event that carries the whole channel.
///
/// # Errors
/// Postgres.
pub(in crate::chat) async fn event_with_channel(
    ctx: &Ctx,
    kind: &str,
    channel: &LoadedChannel,
    head: &Head,
    at: Timestamp,
) -> Result<wire::Event> {
    let people = People::for_event(ctx, render::channels::people_of(channel)).await?;
    let mut event = wire::Event::new(kind, at);
    event.channel_fields = Some(ChannelFields::new(&channel.row.cid, channel.row.team.as_deref()));
    event.channel = Some(render::channels::channel(channel, Some(head), &people, None));
    Ok(event)
}
