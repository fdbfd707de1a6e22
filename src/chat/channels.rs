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
use wire::event::ChannelFields;
use wire::{RawObject, Timestamp};

use crate::access::caches::LoadedChannel;
use crate::access::{Caller, ChannelAccess};
use crate::chat::custom;
use crate::chat::render::{self, People};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::store::write::Head;
use crate::store::{ChannelWrite, StoreError};
use crate::{asker, limits};

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
/// Postgres, or the caller has lost what it was allowed while it waited for its turn or for the lock.
pub(in crate::chat) async fn lock(
    ctx: &Ctx,
    access: &ChannelAccess,
    named: impl IntoIterator<Item = String>,
) -> Result<Option<ChannelWrite>> {
    People::for_event(ctx, render::channels::people_of(&access.channel).chain(named)).await?;
    let mut rights = access.rights();
    for _ in 0..limits::RIGHTS_LOOKS_MAX {
        let turn = ctx.store.turn_to_write(access.key()).await?;
        // Others wait for this turn: it waits for none of the asker's own.
        asker::for_everybody(access.check_again(ctx)).await?;
        match ctx.store.write_channel(access.key(), turn).await? {
            // A removal that was committed on another node, of which this one has not heard.
            Some(write) if write.head.rights != rights => drop(write),
            free => return Ok(free),
        }
        rights = asker::for_everybody(access.renew(ctx, rights)).await?;
    }
    Err(StoreError::Locked.into())
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

/// The team that a request names; the empty one is none.
fn checked_team(team: Option<String>) -> Result<Option<String>> {
    match team.filter(|team| !team.is_empty()) {
        Some(team) if team.len() > limits::TEAM_BYTES_MAX || team.chars().any(char::is_control) => {
            Err(Error::input(format!("a team has a name of 1 to {} bytes", limits::TEAM_BYTES_MAX)))
        }
        team => Ok(team),
    }
}

/// A channel is given to one of the caller's own teams, or stays where it is; servers give it to any.
fn check_own_team(caller: &Caller, before: Option<&str>, team: Option<&str>, unchecked: bool) -> Result<()> {
    let Some(team) = team.filter(|team| *team != before.unwrap_or_default()) else { return Ok(()) };
    let is_own = caller.user().is_some_and(|user| user.teams.iter().any(|own| own == team));
    if is_own || unchecked || caller.is_server() {
        return Ok(());
    }
    Err(Error::not_allowed(format!("you are not in team {team:?}")))
}

/// The tags of a channel, each once, in their order.
fn checked_tags(mut tags: Vec<String>) -> Result<Vec<String>> {
    tags.sort_unstable();
    tags.dedup();
    let wrong = |tag: &String| tag.len() > limits::FILTER_TAG_BYTES_MAX || tag.chars().any(char::is_control);
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
fn checked_overrides(overrides: &Map<String, Value>) -> Result<Option<RawObject>> {
    let overrides = custom::checked(overrides, limits::CUSTOM_BYTES_MAX, "channel's config_overrides")?;
    Ok(Some(overrides).filter(|overrides| !overrides.is_empty()))
}
