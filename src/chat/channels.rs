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

use serde_json::{Map, Value};
use wire::Timestamp;
use wire::event::ChannelFields;

use crate::access::caches::LoadedChannel;
use crate::chat::custom;
use crate::chat::render::{self, People};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;
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

/// The team that a request names; the empty one is none.
fn checked_team(team: Option<String>) -> Result<Option<String>> {
    match team.filter(|team| !team.is_empty()) {
        Some(team) if team.len() > limits::TEAM_BYTES_MAX => {
            Err(Error::input(format!("a team has a name of 1 to {} bytes", limits::TEAM_BYTES_MAX)))
        }
        team => Ok(team),
    }
}

/// The tags of a channel, each once, in their order.
fn checked_tags(mut tags: Vec<String>) -> Result<Vec<String>> {
    tags.sort_unstable();
    tags.dedup();
    let wrong = |tag: &String| tag.len() > limits::FILTER_TAG_BYTES_MAX;
    if tags.len() > limits::FILTER_TAGS_MAX || tags.iter().any(wrong) {
        return Err(Error::input(format!(
            "a channel may have {} filter tags of up to {} bytes",
            limits::FILTER_TAGS_MAX,
            limits::FILTER_TAG_BYTES_MAX
        )));
    }
    Ok(tags)
}

/// The settings that a channel changes for itself; none are none.
fn checked_overrides(overrides: Map<String, Value>) -> Result<Option<Map<String, Value>>> {
    custom::check(&overrides, limits::CUSTOM_BYTES_MAX, "channel's config_overrides")?;
    Ok(Some(overrides).filter(|overrides| !overrides.is_empty()))
}
