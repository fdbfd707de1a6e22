//! Reading a channel, and creating it if there is none.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use sha2::{Digest, Sha256};
use wire::Cid;
use wire::channel::{CHANNEL_KEYS, ChannelRequest, ChannelState, GetOrCreateChannelRequest};
use wire::member::MemberRequest;

use super::state::{self, Wanted};
use super::{check_own_team, checked_overrides, checked_tags, checked_team, event_with_channel, people_at_hand, watch};
use crate::access::caches::LoadedChannel;
use crate::access::{self, Action, Caller, ChannelAccess};
use crate::chat::custom;
use crate::chat::members::change::{self, NewMember};
use crate::chat::messages::history::{self, page_size};
use crate::chat::messages::policy;
use crate::chat::users::query::{checked_offset, follow};
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::{Audience, Event};
use crate::limits;
use crate::store::channels::{Channel, Creation, NewChannel};
use crate::store::members::MemberPage;

/// Answers a channel's state; creates the channel if there is none, makes the connection watch it if that is asked for.
/// Without an id the channel is named by its members.
///
/// # Errors
/// The caller may neither read nor create it, or the request cannot be.
pub async fn get_or_create(
    ctx: &Ctx,
    caller: &Caller,
    channel_type: &str,
    id: Option<&str>,
    request: GetOrCreateChannelRequest,
) -> Result<ChannelState> {
    if !ctx.caches.app().types.contains_key(channel_type) {
        return Err(Error::input(format!("channel type {channel_type} does not exist")));
    }
    let wanted = wanted_of(&request)?;
    let data = request.data.unwrap_or_default();
    let cid = match id {
        Some(id) => Cid::new(channel_type, id)?,
        None => distinct_cid_of(channel_type, &data.members)?,
    };
    let channel = match access::find_channel(ctx, &cid).await? {
        Some(channel) if channel.row.deleted_at.is_none() => {
            match access::channel(ctx, caller, &cid, Action::ReadChannel).await {
                Err(error) if error.kind == Kind::NotAllowed && is_named(caller, &cid, &data.members) => {
                    Box::pin(rejoin(ctx, caller, channel, error)).await?
                }
                access => access?.channel,
            }
        }
        _ => create(ctx, caller, &cid, data, request.hide_for_creator == Some(true)).await?,
    };
    let connection = request.connection_id.as_deref();
    if request.watch == Some(true) {
        watch::watch(ctx, caller, connection, std::slice::from_ref(&channel)).await?;
    }
    // The page of messages that is asked for, if one is, instead of the newest.
    let page = request.messages.filter(|_| !wanted.bare);
    let mut state = state::states(ctx, caller, std::slice::from_ref(&channel), wanted).await?.remove(0);
    if let Some(page) = page.filter(|page| page.limit != Some(0)) {
        let access = ChannelAccess::load(ctx, caller, channel).await?;
        state.messages = history::channel_page(ctx, caller, &access, &page).await?;
    }
    if request.presence == Some(true) {
        let users = state.members.iter().map(|member| member.user_id.clone());
        let users = users.chain(state.watchers.iter().map(|user| user.id.clone()));
        follow(ctx, caller, connection, users.collect()).await?;
    }
    Ok(state)
}

fn wanted_of(request: &GetOrCreateChannelRequest) -> Result<Wanted> {
    let members = request.members.clone().unwrap_or_default();
    let members = MemberPage {
        limit: page_size(members.limit, limits::STATE_MEMBERS_DEFAULT, limits::STATE_MEMBERS_MAX)?,
        offset: checked_offset(members.offset, limits::STATE_OFFSET_MAX)?,
    };
    let watchers = match &request.watchers {
        None => None,
        Some(page) => Some((
            page_size(page.limit, limits::STATE_WATCHERS_DEFAULT, limits::STATE_MEMBERS_MAX)? as usize,
            checked_offset(page.offset, limits::STATE_OFFSET_MAX)? as usize,
        )),
    };
    // A page of messages that is asked for by bounds is read apart.
    let messages = if request.messages.is_some() { 0 } else { limits::MESSAGE_LIMIT_DEFAULT };
    Ok(Wanted { messages, members, watchers, bare: request.state == Some(false) })
}

/// `!members-` and a hash of the members in order of their ids: the same people are the same channel.
///
/// # Errors
/// Nobody is named, too many are, or somebody without a name.
pub fn distinct_cid_of(channel_type: &str, members: &[MemberRequest]) -> Result<Cid> {
    if members.len() > limits::MEMBERS_PER_CALL_MAX {
        return Err(Error::input(format!("at most {} members can be named in one call", limits::MEMBERS_PER_CALL_MAX)));
    }
    let members: BTreeSet<&str> = members.iter().map(MemberRequest::user_id).collect();
    if members.is_empty() || members.contains("") {
        return Err(Error::input("a channel without an id is named by its members: data.members must list them"));
    }
    distinct_cid(channel_type, &members)
}

/// The channel of exactly these people.
///
/// # Errors
/// A type that cannot be.
pub(super) fn distinct_cid(channel_type: &str, members: &BTreeSet<&str>) -> Result<Cid> {
    let mut hash = Sha256::new();
    for member in members {
        hash.update(member.as_bytes());
        hash.update([0]);
    }
    let name = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash.finalize());
    Ok(Cid::new(channel_type, &format!("!members-{name}"))?)
}

/// Is the channel named by these members, and the caller one of them?
fn is_named(caller: &Caller, cid: &Cid, members: &[MemberRequest]) -> bool {
    cid.is_distinct()
        && members.iter().any(|member| caller.user_id() == Some(member.user_id()))
        && distinct_cid_of(cid.channel_type(), members).is_ok_and(|named| named == *cid)
}

/// Who has left a channel that is named by its members comes back by naming them, as nobody else could take the place. Whom a
/// server removed waits until somebody adds it.
async fn rejoin(ctx: &Ctx, caller: &Caller, channel: Arc<LoadedChannel>, refusal: Error) -> Result<Arc<LoadedChannel>> {
    change::come_in(ctx, caller, &channel, refusal).await?;
    Ok(access::channel(ctx, caller, &channel.row.cid, Action::ReadChannel).await?.channel)
}

/// What a request says about a channel, checked.
pub(super) fn new_channel(cid: &Cid, created_by: String, data: ChannelRequest) -> Result<NewChannel> {
    let custom = custom::checked(&data.custom.without(CHANNEL_KEYS).0, limits::CUSTOM_BYTES_MAX, "channel")?;
    let cooldown = data.cooldown.unwrap_or(0);
    if !(0..=limits::COOLDOWN_SECONDS_MAX).contains(&cooldown) {
        return Err(Error::input(format!("cooldown must be 0 to {} seconds", limits::COOLDOWN_SECONDS_MAX)));
    }
    Ok(NewChannel {
        cid: cid.clone(),
        team: checked_team(data.team)?,
        created_by: Some(created_by),
        custom,
        frozen: data.frozen.unwrap_or(false),
        disabled: data.disabled.unwrap_or(false),
        cooldown: cooldown as i32,
        filter_tags: checked_tags(data.filter_tags)?,
        config_overrides: data.config_overrides.map(|overrides| checked_overrides(&overrides.0)).transpose()?.flatten(),
    })
}

/// Creates the channel. In the place of a deleted one comes another, which has nothing of it but the name.
async fn create(
    ctx: &Ctx,
    caller: &Caller,
    cid: &Cid,
    mut data: ChannelRequest,
    hide_for_creator: bool,
) -> Result<Arc<LoadedChannel>> {
    check_name(cid, &data)?;
    let creator = creator(ctx, caller, &data).await?;
    let created_by = creator.acting()?.id.clone();
    let takes_part = data.members.iter().any(|member| member.user_id() == created_by);
    check_creation(ctx, caller, cid, takes_part)?;
    policy::check_makes(caller, ctx.clock.now())?;
    if !caller.is_server() {
        // Settings that a client may not change later it may not choose at birth either.
        (data.config_overrides, data.disabled) = (None, None);
        check_settings(ctx, caller, cid, &data)?;
    }
    let invites = std::mem::take(&mut data.invites);
    let members = NewMember::from_requests(caller, std::mem::take(&mut data.members), None)?;
    let invited = NewMember::from_requests(caller, invites, Some("pending"))?;
    let everybody = NewMember::merged(members, invited)?;
    change::check_users_exist(ctx, everybody.iter().map(|member| member.user_id.as_str())).await?;
    let new = new_channel(cid, created_by.clone(), data)?;
    let mut creation = ctx.store.create_channel(&new).await?;
    if let Some(deleted) = creation.take_if(|existing| !existing.is_new && existing.channel.deleted_at.is_some()) {
        check_recreation(ctx, caller, &deleted.channel, takes_part)?;
        creation = deleted.write.replace_channel(&new).await?;
    }
    let Some(Creation { mut write, channel: mut row, .. }) = creation.filter(|creation| creation.is_new) else {
        // Somebody else was faster.
        return Ok(access::channel(ctx, caller, cid, Action::ReadChannel).await?.channel);
    };
    let mut rows = Vec::with_capacity(everybody.len());
    for member in &everybody {
        let mut member = member.row(&write);
        if hide_for_creator && member.user_id == created_by {
            member.hidden_at_seq = Some(write.head.shown_seq);
        }
        rows.push(write.put_member(&member).await?);
    }
    if !rows.is_empty() {
        row = write.change_member_count(rows.len() as i64).await?;
    }
    let channel = Arc::new(LoadedChannel::new(row, &ctx.caches.app()));
    let people = people_at_hand(ctx, &mut write, &channel, None).await?;
    let created = event_with_channel("channel.created", &channel, &write.head, &people, write.now());
    write.event(Event::new(&created, Audience::CHANNEL)?);
    for member in &rows {
        change::tell_member(ctx, &mut write, &channel, member).await?;
    }
    ctx.announcer.tell(write.commit().await?).await;
    Ok(channel)
}

/// The user who makes the channel: the caller, or whom a server names.
async fn creator(ctx: &Ctx, caller: &Caller, data: &ChannelRequest) -> Result<Caller> {
    if !caller.is_server() {
        return Ok(caller.clone());
    }
    let named = caller.clone().acting_as(ctx, data.created_by_id.as_deref(), data.created_by.as_ref()).await?;
    named.acting().map_err(|_| {
        Error::input("either data.created_by or data.created_by_id must be provided when using server side auth.")
    })?;
    Ok(named)
}

/// Ids that begin with `!` are made here: of the members, for those who have no other name for what they share. Nobody takes one by
/// naming it, and nobody comes into one by another way than having been there.
fn check_name(cid: &Cid, data: &ChannelRequest) -> Result<()> {
    if !cid.id().starts_with('!') {
        return Ok(());
    }
    if distinct_cid_of(cid.channel_type(), &data.members).ok().as_ref() != Some(cid) {
        return Err(Error::not_allowed(format!(
            "the id {} is not one to be chosen: leave it out and name the members",
            cid.id()
        )));
    }
    let is_member = |invited: &MemberRequest| data.members.iter().any(|member| member.user_id() == invited.user_id());
    if !data.invites.iter().all(is_member) {
        return Err(Error::input("nobody else can be invited to a channel that is named by its members"));
    }
    Ok(())
}

/// `takes_part`: the creator is one of the members.
fn check_creation(ctx: &Ctx, caller: &Caller, cid: &Cid, takes_part: bool) -> Result<()> {
    // The creator will own it, so what owners may do counts.
    check_grant(ctx, caller, cid, Action::CreateChannel, true)?;
    if cid.is_distinct() && !takes_part {
        check_grant(ctx, caller, cid, Action::CreateDistinctChannelForOthers, true)?;
    }
    Ok(())
}

/// The name of a deleted channel is still its maker's; one that is made of the members is theirs.
fn check_recreation(ctx: &Ctx, caller: &Caller, deleted: &Channel, takes_part: bool) -> Result<()> {
    let is_maker = deleted.created_by.as_deref() == caller.user_id();
    let owner = is_maker || (deleted.cid.is_distinct() && takes_part);
    check_grant(ctx, caller, &deleted.cid, Action::RecreateChannel, owner)
}

/// Settings of a channel's birth that need what changing them later needs. The creator will own it.
fn check_settings(ctx: &Ctx, caller: &Caller, cid: &Cid, data: &ChannelRequest) -> Result<()> {
    if data.frozen == Some(true) {
        check_grant(ctx, caller, cid, Action::UpdateChannelFrozen, true)?;
    }
    if data.cooldown.is_some_and(|cooldown| cooldown != 0) {
        check_grant(ctx, caller, cid, Action::UpdateChannelCooldown, true)?;
    }
    if !data.filter_tags.is_empty() {
        check_grant(ctx, caller, cid, Action::UpdateChannel, true)?;
    }
    check_own_team(caller, None, data.team.as_deref(), ctx.caches.app().disable_permissions_checks)
}

fn check_grant(ctx: &Ctx, caller: &Caller, cid: &Cid, action: Action, owner: bool) -> Result<()> {
    let app = ctx.caches.app();
    if caller.is_server() || app.disable_permissions_checks {
        return Ok(());
    }
    let user = caller.acting()?;
    let kind = &app.types[cid.channel_type()];
    if kind.grants.allow([user.role.as_str()], action, owner) {
        return Ok(());
    }
    Err(Error::not_allowed(format!(
        "User '{}' with role {} is not allowed to perform action {} in scope '{}'",
        user.id,
        user.role,
        action.name(),
        kind.name
    )))
}
