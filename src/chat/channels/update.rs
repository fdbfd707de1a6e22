//! Changing a channel: its data, whole (`POST`) or in part (`PATCH`), and its members.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value};
use wire::Cid;
use wire::channel::{CHANNEL_KEYS, ChannelRequest, UpdateChannelPartialRequest, UpdateChannelRequest};
use wire::member::{Member as ShownMember, MemberRequest};
use wire::message::{Message as ShownMessage, MessageRequest, MessageType};

use super::get_or_create::distinct_cid;
use super::{check_own_team, checked_overrides, checked_tags, checked_team, event_with_channel, lock, people_at_hand};
use crate::access::caches::LoadedChannel;
use crate::access::caller::check_user_id;
use crate::access::{self, Action, Caller, ChannelAccess};
use crate::chat::members::change::{self, Hiding, MODERATOR_ROLE, NewMember};
use crate::chat::messages::draft::Draft;
use crate::chat::messages::policy;
use crate::chat::messages::send::{check_cooldown, new_message};
use crate::chat::render::{self, People};
use crate::chat::{custom, messages};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::{Audience, Event};
use crate::limits;
use crate::store::ChannelWrite;
use crate::store::channels::Channel;
use crate::store::members::{MEMBER_ROLE, MemberPage};
use crate::store::messages::Effects;

/// What a change answers.
pub struct Updated {
    pub channel: wire::channel::Channel,
    pub members: Vec<ShownMember>,
    pub message: Option<ShownMessage>,
}

/// Replaces the data, or changes members, or answers an invite; with a message about it if one is given.
///
/// # Errors
/// The caller may not, or something named cannot be.
pub async fn update_channel(ctx: &Ctx, caller: &Caller, cid: &Cid, request: UpdateChannelRequest) -> Result<Updated> {
    let access = access::channel(ctx, caller, cid, Action::ReadChannel).await?;
    check_allowed(caller, &access, &request)?;
    if changes_for_others(caller, &request) {
        policy::check_changes(&access, caller, ctx.clock.now())?;
    }
    let hiding = match (request.hide_history_before, request.hide_history) {
        (Some(before), _) => Hiding::Before(before),
        (None, Some(true)) => Hiding::Before(wire::Timestamp::MAX),
        (None, Some(false)) if access.allows(Action::UpdateChannelMembers) => Hiding::Nothing,
        _ => Hiding::AsBefore,
    };
    let added = NewMember::merged(
        NewMember::from_requests(caller, request.add_members, None)?,
        NewMember::from_requests(caller, request.invites, Some("pending"))?,
    )?;
    let moderators = roles(request.add_moderators, Some(MODERATOR_ROLE))?;
    let demoted = roles(request.demote_moderators, Some(MEMBER_ROLE))?;
    let assigned = roles(request.assign_roles, None)?;
    let removed: Vec<String> = request.remove_members.into_iter().map(|member| member.into_parts().0).collect();
    if removed.len() > limits::MEMBERS_PER_CALL_MAX {
        return Err(Error::input(format!("at most {} members can be named in one call", limits::MEMBERS_PER_CALL_MAX)));
    }
    removed.iter().try_for_each(|id| check_user_id(id))?;
    let joining: Vec<String> =
        added.iter().map(|member| &member.user_id).chain(moderators.iter().map(|(id, _)| id)).cloned().collect();
    change::check_users_exist(ctx, joining.iter().map(String::as_str)).await?;
    let known = ctx.caches.users(&removed).await?;
    let mut draft = parse_message(ctx, caller, &access, request.message).await?;

    let named: Vec<String> = added
        .iter()
        .map(|member| member.user_id.clone())
        .chain(moderators.iter().chain(&demoted).chain(&assigned).map(|(id, _)| id.clone()))
        .chain(removed.iter().cloned())
        .chain(caller.user_id().map(Into::into))
        .chain(draft.iter().map(|along| along.author.clone()))
        .collect();
    let missing = || Error::not_found(format!("Can't find channel with id {cid}"));
    let mut write = lock(ctx, &access, named).await?.ok_or_else(missing)?;
    if !access.allows(Action::UpdateChannelMembers) && write.are_shut_out(&joining).await? {
        return Err(Error::not_allowed("who has been removed is added by those who may change the members"));
    }
    if cid.is_distinct() && !joining.is_empty() {
        check_named(cid, &write.member_ids().await?, &joining)?;
    }
    let told = write.head.event_number;
    let mut row = write.channel().await?;
    let before = row.clone();
    if let Some(data) = request.data {
        replace(&mut row, data, caller.is_server())?;
    }
    if let Some(cooldown) = request.cooldown {
        row.cooldown = checked_cooldown(cooldown)?;
    }
    let removed_tags: HashSet<String> = request.remove_filter_tags.into_iter().collect();
    row.filter_tags.retain(|tag| !removed_tags.contains(tag));
    row.filter_tags.extend(request.add_filter_tags);
    row.filter_tags = checked_tags(row.filter_tags)?;
    let data_changed = row != before;
    if data_changed {
        row = put(&mut write, &before, &row).await?;
    }
    let mut channel = Arc::new(LoadedChannel::new(row, &ctx.caches.app()));
    let hiding = hiding.until(write.now());
    let mut more = change::add(ctx, &mut write, &channel, &added, change::Joining::Added { hiding }).await?;
    more += change::assign(ctx, &mut write, &channel, &moderators, true, hiding).await?;
    change::assign(ctx, &mut write, &channel, &demoted, false, hiding).await?;
    change::assign(ctx, &mut write, &channel, &assigned, false, hiding).await?;
    let answer = request.accept_invite == Some(true);
    if answer || request.reject_invite == Some(true) {
        let is_news = change::answer_invite(ctx, &mut write, &channel, &caller.acting()?.id, answer).await?;
        // Who answers again has already said what there was to say.
        draft = draft.filter(|_| is_news);
    }
    more -= change::remove(ctx, &mut write, &channel, &removed).await?;
    // Who goes by itself may come back by itself.
    let is_other = |id: &String| caller.user_id() != Some(id);
    let joined = added.into_iter().map(|member| member.user_id).chain(moderators.into_iter().map(|(id, _)| id));
    write.let_in(&joined.filter(is_other).collect::<Vec<_>>()).await?;
    let shut_out = removed.into_iter().filter(|id| is_other(id) && known.contains_key(id));
    write.shut_out(&shut_out.collect::<Vec<_>>()).await?;
    if more != 0 {
        let row = write.change_member_count(more).await?;
        channel = Arc::new(LoadedChannel::new(row, &ctx.caches.app()));
    }
    // A message that goes with a change needs no grant of its own; where nothing changes it goes with nothing.
    if draft.is_some() && !data_changed && write.head.event_number == told {
        access.require(Action::CreateSystemMessage)?;
    }
    let message = match draft {
        Some(said) => Some(add_message(ctx, &mut write, &channel, said).await?),
        None => None,
    };
    if data_changed || message.is_some() {
        tell_updated(ctx, caller, &mut write, &channel, message.clone()).await?;
    }
    let head = write.head.clone();
    ctx.announcer.tell(write.commit().await?).await;
    updated(ctx, &access, &channel, &head, message).await
}

/// Changes parts of a channel's data.
///
/// # Errors
/// The caller may not, or a key cannot be set.
pub async fn update_channel_partial(
    ctx: &Ctx,
    caller: &Caller,
    cid: &Cid,
    request: UpdateChannelPartialRequest,
) -> Result<Updated> {
    let access = access::channel(ctx, caller, cid, Action::UpdateChannel).await?;
    policy::check_changes(&access, caller, ctx.clock.now())?;
    let set = request.set.0;
    if set.is_empty() && request.unset.is_empty() {
        return Err(Error::input("set or unset must name something to change"));
    }
    if set.contains_key("frozen") || request.unset.iter().any(|key| key == "frozen") {
        access.require(Action::UpdateChannelFrozen)?;
    }
    if set.contains_key("cooldown") || request.unset.iter().any(|key| key == "cooldown") {
        access.require(Action::UpdateChannelCooldown)?;
    }
    let missing = || Error::not_found(format!("Can't find channel with id {cid}"));
    let mut write = lock(ctx, &access, caller.user_id().map(Into::into)).await?.ok_or_else(missing)?;
    let mut row = write.channel().await?;
    let before = row.clone();
    patch(&mut row, set, &request.unset, caller.is_server())?;
    let row = put(&mut write, &before, &row).await?;
    let channel = Arc::new(LoadedChannel::new(row, &ctx.caches.app()));
    tell_updated(ctx, caller, &mut write, &channel, None).await?;
    let head = write.head.clone();
    ctx.announcer.tell(write.commit().await?).await;
    updated(ctx, &access, &channel, &head, None).await
}

/// Writes the changed row. What decides who may do what takes rights away, or may.
async fn put(write: &mut ChannelWrite, before: &Channel, row: &Channel) -> Result<Channel> {
    let rules = |row: &Channel| (row.frozen, row.disabled, row.config_overrides.clone());
    if rules(before) != rules(row) {
        write.take_rights().await?;
    }
    Ok(write.put_channel(row).await?)
}

/// Nobody comes into a channel that is named by its members but those who were in it from the start.
fn check_named(cid: &Cid, members: &[String], joining: &[String]) -> Result<()> {
    let with_them = members.iter().chain(joining).map(String::as_str).collect();
    let is_news = joining.iter().any(|id| !members.contains(id));
    if is_news && distinct_cid(cid.channel_type(), &with_them)? != *cid {
        return Err(Error::input(
            "a channel that is named by its members takes back all of them who have left, and nobody else",
        ));
    }
    Ok(())
}

/// Is this the caller, and nobody else?
fn is_only_oneself(caller: &Caller, members: &[MemberRequest]) -> bool {
    members.len() == 1 && caller.user_id() == Some(members[0].user_id())
}

/// Does it change more than whether the caller itself is a member? Coming, going and answering an invite are its own business.
fn changes_for_others(caller: &Caller, request: &UpdateChannelRequest) -> bool {
    let names_others = |members: &[MemberRequest]| !members.is_empty() && !is_only_oneself(caller, members);
    let roles = [&request.add_moderators, &request.demote_moderators, &request.assign_roles];
    request.data.is_some()
        || request.cooldown.is_some()
        || !request.add_filter_tags.is_empty()
        || !request.remove_filter_tags.is_empty()
        || !request.invites.is_empty()
        || names_others(&request.add_members)
        || names_others(&request.remove_members)
        || roles.iter().any(|members| !members.is_empty())
}

fn check_allowed(caller: &Caller, access: &ChannelAccess, request: &UpdateChannelRequest) -> Result<()> {
    let only_oneself = |members: &[MemberRequest]| is_only_oneself(caller, members);
    if let Some(data) = &request.data {
        access.require(Action::UpdateChannel)?;
        if data.frozen.is_some_and(|frozen| frozen != access.channel.row.frozen) {
            access.require(Action::UpdateChannelFrozen)?;
        }
        if data.cooldown.is_some_and(|cooldown| cooldown != i64::from(access.channel.row.cooldown)) {
            access.require(Action::UpdateChannelCooldown)?;
        }
        check_own_team(caller, access.channel.row.team.as_deref(), data.team.as_deref(), access.is_unchecked())?;
    }
    if request.cooldown.is_some() {
        access.require(Action::UpdateChannelCooldown)?;
    }
    let is_distinct = access.cid().is_distinct();
    // Those who are left in a channel that is named by its members may take back who went.
    let takes_back = is_distinct && access.membership.is_some();
    if !request.add_members.is_empty()
        && !takes_back
        && (!only_oneself(&request.add_members) || !access.allows(Action::AddOwnChannelMembership))
    {
        access.require(Action::UpdateChannelMembers)?;
    }
    if !request.invites.is_empty() {
        access.require(Action::UpdateChannelMembers)?;
    }
    if !request.remove_members.is_empty()
        && (!only_oneself(&request.remove_members) || !access.allows(Action::RemoveOwnChannelMembership))
    {
        access.require(Action::UpdateChannelMembers)?;
    }
    if is_distinct && !request.remove_members.is_empty() && !only_oneself(&request.remove_members) {
        // What is said between these people is as much the one's as the other's.
        caller.require_server()?;
    }
    if !request.add_moderators.is_empty() || !request.demote_moderators.is_empty() || !request.assign_roles.is_empty() {
        caller.require_server()?;
    }
    if !request.add_filter_tags.is_empty() || !request.remove_filter_tags.is_empty() {
        access.require(Action::UpdateChannel)?;
    }
    Ok(())
}

/// Users with the role that each is to have.
fn roles(requests: Vec<MemberRequest>, role: Option<&str>) -> Result<Vec<(String, String)>> {
    if requests.len() > limits::MEMBERS_PER_CALL_MAX {
        return Err(Error::input(format!("at most {} members can be named in one call", limits::MEMBERS_PER_CALL_MAX)));
    }
    let with_role = |request: MemberRequest| {
        let (id, own, _) = request.into_parts();
        let role = role
            .map(Into::into)
            .or(own)
            .ok_or_else(|| Error::input("assign_roles needs a channel_role for each user"))?;
        Ok((id, role))
    };
    requests.into_iter().map(with_role).collect()
}

/// The whole data anew: what the request leaves out is gone. Settings that it does not name stay.
fn replace(row: &mut Channel, data: ChannelRequest, from_server: bool) -> Result<()> {
    row.custom = custom::checked(&data.custom.without(CHANNEL_KEYS).0, limits::CUSTOM_BYTES_MAX, "channel")?;
    row.frozen = data.frozen.unwrap_or(row.frozen);
    if let Some(cooldown) = data.cooldown {
        row.cooldown = checked_cooldown(cooldown)?;
    }
    if let Some(team) = data.team {
        row.team = checked_team(Some(team))?;
    }
    if from_server {
        row.disabled = data.disabled.unwrap_or(row.disabled);
        if let Some(overrides) = data.config_overrides {
            row.config_overrides = checked_overrides(&overrides.0)?;
        }
    }
    Ok(())
}

fn patch(row: &mut Channel, set: Map<String, Value>, unset: &[String], from_server: bool) -> Result<()> {
    custom::check_keys(&set, unset)?;
    let mut custom = row.custom.parse()?;
    for (key, value) in set {
        let wrong = || Error::input(format!("set.{key} is of the wrong kind")).field(&key, "wrong kind");
        match key.as_str() {
            "frozen" => row.frozen = value.as_bool().ok_or_else(wrong)?,
            "disabled" if from_server => row.disabled = value.as_bool().ok_or_else(wrong)?,
            "cooldown" => row.cooldown = checked_cooldown(value.as_i64().ok_or_else(wrong)?)?,
            "team" if from_server => row.team = checked_team(value.as_str().map(Into::into))?,
            "filter_tags" if from_server => {
                row.filter_tags = checked_tags(serde_json::from_value(value).map_err(|_| wrong())?)?;
            }
            "config_overrides" if from_server => {
                row.config_overrides = match value {
                    Value::Object(overrides) => checked_overrides(&overrides)?,
                    Value::Null => None,
                    Value::Array(list) if list.is_empty() => None,
                    _ => return Err(wrong()),
                };
            }
            key if is_reserved(key) => {
                return Err(Error::input(format!("{key} cannot be set")).field(key, "cannot be set"));
            }
            key => custom::set(&mut custom, key, value)?,
        }
    }
    for key in unset {
        match key.as_str() {
            "frozen" => row.frozen = false,
            "disabled" if from_server => row.disabled = false,
            "cooldown" => row.cooldown = 0,
            "team" if from_server => row.team = None,
            "filter_tags" if from_server => row.filter_tags.clear(),
            "config_overrides" if from_server => row.config_overrides = None,
            key if is_reserved(key) => {
                return Err(Error::input(format!("{key} cannot be unset")).field(key, "cannot be unset"));
            }
            key => custom::unset(&mut custom, key)?,
        }
    }
    row.custom = custom::checked(&custom, limits::CUSTOM_BYTES_MAX, "channel")?;
    Ok(())
}

fn is_reserved(key: &str) -> bool {
    CHANNEL_KEYS.contains(&key.split('.').next().unwrap_or_default())
}

fn checked_cooldown(seconds: i64) -> Result<i32> {
    if (0..=limits::COOLDOWN_SECONDS_MAX).contains(&seconds) {
        Ok(seconds as i32)
    } else {
        Err(Error::input(format!("cooldown must be 0 to {} seconds", limits::COOLDOWN_SECONDS_MAX)))
    }
}

/// A message that goes with a change of the channel.
pub(super) struct Along {
    draft: Draft,
    author: String,
    shadowed: bool,
    /// Where the author must wait between messages.
    slow: Option<ChannelAccess>,
}

/// The message that goes with a change of the channel: a system message, for which the rules are those of any other.
///
/// # Errors
/// It could not be sent, or nobody is named as its author.
pub(super) async fn parse_message(
    ctx: &Ctx,
    caller: &Caller,
    access: &ChannelAccess,
    request: Option<MessageRequest>,
) -> Result<Option<Along>> {
    let Some(mut request) = request else {
        return Ok(None);
    };
    (request.parent_id, request.quoted_message_id) = (None, None);
    let author = caller.clone().acting_as(ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    let id = author.acting()?.id.clone();
    let mut draft = Draft::parse(request, access.channel.config.max_message_length, caller.is_server())?;
    draft.pinned = false;
    // That it is a system message is not the author's choice, and needs no grant.
    draft.kind = MessageType::Regular;
    let now = ctx.clock.now();
    access.require(Action::CreateMessage)?;
    policy::check_send(access, &author, &draft, now)?;
    draft.kind = MessageType::System;
    let slow = policy::needs_cooldown(access, &author).then(|| access.clone());
    Ok(Some(Along { draft, author: id, shadowed: policy::is_shadowed(access, &author, now), slow }))
}

/// Writes the message that goes with a change.
///
/// # Errors
/// Its id is taken, or its author must wait.
pub(super) async fn add_message(
    ctx: &Ctx,
    write: &mut ChannelWrite,
    channel: &LoadedChannel,
    said: Along,
) -> Result<ShownMessage> {
    let Along { draft, author, shadowed, slow } = said;
    if let Some(access) = slow {
        check_cooldown(write, &access, &author).await?;
    }
    let moves_last_message = !shadowed && !channel.config.skip_last_msg_update_for_system_msgs;
    let effects = Effects { shows_channel: !shadowed, moves_last_message };
    let row = write.insert_message(&new_message(&draft, &author, shadowed, None), effects).await?;
    let row = row.ok_or_else(|| Error::input(format!("a message with id {} already exists", draft.id)))?;
    let shown = render::messages::at_hand(ctx, write, &row, &channel.row.cid).await?;
    let mut event = messages::body("message.new", channel, shown.clone(), write.now());
    event.user = Some(shown.user.clone());
    write.event(Event::new(&event, messages::audience_of(&row))?.about(&row.user_id));
    Ok(shown)
}

async fn tell_updated(
    ctx: &Ctx,
    caller: &Caller,
    write: &mut ChannelWrite,
    channel: &LoadedChannel,
    message: Option<ShownMessage>,
) -> Result<()> {
    let people = people_at_hand(ctx, write, channel, caller.user_id().map(Into::into)).await?;
    let mut event = event_with_channel("channel.updated", channel, &write.head, &people, write.now());
    // The event is for everybody: what is not is told by its own.
    let message = message.filter(|message| !message.shadowed && message.restricted_visibility.is_empty());
    event.message_id = message.as_ref().map(|message| message.id.clone());
    event.message = message;
    event.user = caller.user_id().map(|id| people.get(id));
    write.event(Event::new(&event, Audience::CHANNEL)?);
    Ok(())
}

async fn updated(
    ctx: &Ctx,
    access: &ChannelAccess,
    channel: &LoadedChannel,
    head: &crate::store::write::Head,
    message: Option<ShownMessage>,
) -> Result<Updated> {
    let page = MemberPage { limit: limits::STATE_MEMBERS_DEFAULT, offset: 0 };
    let mut members = ctx.store.members_of(&[channel.row.id], page, page.limit as usize).await?;
    // As in a state: who may not list the members is shown itself among them.
    let lists = access.allows(Action::ReadChannelMembers);
    members.retain(|member| lists || access.user_id() == Some(&member.user_id));
    let people = render::channels::people_of(channel).chain(members.iter().map(|member| member.user_id.clone()));
    let people = People::load(ctx, people).await?;
    Ok(Updated {
        channel: render::channels::channel(channel, Some(head), &people, None),
        members: members
            .iter()
            .map(|member| render::members::member(member, channel, &people, ctx.clock.now()))
            .collect(),
        message,
    })
}
