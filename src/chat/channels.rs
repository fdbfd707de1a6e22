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
use crate::store::ChannelWrite;
use crate::store::write::Head;

/// An event that carries the whole channel; `people` has those whom it names.
pub(in crate::chat) fn event_with_channel(
    kind: &str,
    channel: &LoadedChannel,
    head: &Head,
    people: &People,
    at: Timestamp,
) -> wire::Event {
    let mut event = wire::Event::new(kind, at);
    event.channel_fields = Some(ChannelFields::new(&channel.row.cid, channel.row.team.as_deref()));
    event.channel = Some(render::channels::channel(channel, Some(head), people, None));
    event
}

/// Takes a channel's lock for a change that names these people: what will be said of them is at hand while it is held.
/// `None` if there is no such channel any more.
///
/// # Errors
/// Postgres.
pub(in crate::chat) async fn lock(
    ctx: &Ctx,
    channel: &LoadedChannel,
    named: impl IntoIterator<Item = String>,
) -> Result<Option<ChannelWrite>> {
    People::for_event(ctx, render::channels::people_of(channel).chain(named)).await?;
    Ok(ctx.store.write_channel(channel.row.id).await?)
}

/// The people whom a channel and a change of it name, for an event that its transaction writes.
///
/// # Errors
/// Postgres.
pub(in crate::chat) async fn people_at_hand(
    ctx: &Ctx,
    write: &mut ChannelWrite,
    channel: &LoadedChannel,
    others: impl IntoIterator<Item = String>,
) -> Result<People> {
    People::at_hand(ctx, write.write(), render::channels::people_of(channel).chain(others)).await
}
