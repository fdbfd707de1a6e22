//! Who joins, leaves, is invited or changes its role, under the channel's lock; and who is told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use wire::member::MemberRequest;
use wire::{RawObject, Timestamp};

use crate::access::caches::LoadedChannel;
use crate::access::caller::check_user_id;
use crate::access::{Caller, ChannelAccess};
use crate::chat::channels::{event_with_channel, lock, people_at_hand};
use crate::chat::custom;
use crate::chat::render;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::{Audience, Event};
use crate::limits;
use crate::store::ChannelWrite;
use crate::store::members::MEMBER_ROLE;
use crate::store::members::{FormerMember, Member};

pub const MODERATOR_ROLE: &str = "channel_moderator";

/// Somebody who is to become a member.
#[derive(Clone, Debug)]
pub struct NewMember {
    pub user_id: String,
    channel_role: Option<String>,
    custom: RawObject,
    invite: Option<&'static str>,
}

impl NewMember {
    /// The one way from requests to memberships, so that nobody but a server chooses a role, whatever the call.
    ///
    /// # Errors
    /// Too many, or one that cannot be, or with a role that a client chose.
    pub fn from_requests(
        caller: &Caller,
        requests: Vec<MemberRequest>,
        invite: Option<&'static str>,
    ) -> Result<Vec<Self>> {
        if requests.len() > limits::MEMBERS_PER_CALL_MAX {
            return Err(Error::input(format!(
                "at most {} members can be named in one call",
                limits::MEMBERS_PER_CALL_MAX
            )));
        }
        let member = |request: MemberRequest| {
            let (user_id, channel_role, custom) = request.into_parts();
            check_user_id(&user_id)?;
            if let Some(role) = &channel_role {
                check_role(role)?;
                // Clients send whole members back: the role that everybody begins with is no choice.
                if role != MEMBER_ROLE && !caller.is_server() {
                    return Err(Error::not_allowed("only servers give channel roles"));
                }
            }
            let is_own = caller.is_server() || caller.user_id() == Some(&user_id);
            let most = if is_own { limits::CUSTOM_BYTES_MAX } else { limits::OTHERS_CUSTOM_BYTES_MAX };
            let custom =
                custom::checked(&custom.0, most, if is_own { "member" } else { "member who is somebody else" })?;
            let channel_role = channel_role.filter(|_| caller.is_server());
            Ok(Self { user_id, channel_role, custom, invite })
        };
        requests.into_iter().map(member).collect()
    }

    /// Members and invited ones, each once. Who is in both lists is invited.
    ///
    /// # Errors
    /// Too many together.
    pub fn merged(members: Vec<Self>, invited: Vec<Self>) -> Result<Vec<Self>> {
        let mut seen = HashSet::new();
        let everybody: Vec<Self> =
            invited.into_iter().chain(members).filter(|member| seen.insert(member.user_id.clone())).collect();
        if everybody.len() > limits::MEMBERS_PER_CALL_MAX {
            return Err(Error::input(format!(
                "at most {} members can be named in one call",
                limits::MEMBERS_PER_CALL_MAX
            )));
        }
        Ok(everybody)
    }

    /// The membership, beginning now.
    pub fn row(&self, write: &ChannelWrite) -> Member {
        let mut row = Member::new(&self.user_id, write);
        if let Some(role) = &self.channel_role {
            row.channel_role.clone_from(role);
        }
        row.custom.clone_from(&self.custom);
        row.invite = self.invite.map(Into::into);
        row
    }
}

fn check_role(role: &str) -> Result<()> {
    let wrong = role.is_empty()
        || role.len() > limits::ROLE_BYTES_MAX
        || !role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if wrong {
        return Err(Error::input("a channel_role has 1 to 64 of the characters a-z A-Z 0-9 _ -"));
    }
    Ok(())
}

/// # Errors
/// Somebody who does not exist is named.
pub async fn check_users_exist(ctx: &Ctx, ids: impl Iterator<Item = &str>) -> Result<()> {
    let ids: Vec<String> = ids.map(Into::into).collect();
    let known = ctx.caches.users(&ids).await?;
    let unknown: Vec<&str> = ids.iter().filter(|id| !known.contains_key(*id)).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::input(format!("these users do not exist, create them first: {}", unknown.join(", "))))
}

/// How somebody becomes a member.
#[derive(Clone, Copy, Debug)]
pub enum Joining {
    /// Others add it, and may hide from it what was said before a time, or show it what was hidden from it.
    Added { hiding: Hiding },
    /// It comes by itself.
    ByItself,
}

/// What of a channel's history is hidden from somebody who comes in.
#[derive(Clone, Copy, Debug)]
pub enum Hiding {
    /// What was hidden from it before it left.
    AsBefore,
    /// That, and what was said before a time.
    Before(Timestamp),
    /// Nothing.
    Nothing,
}

impl Hiding {
    /// The same with no time later than this one.
    pub fn until(self, now: Timestamp) -> Self {
        match self {
            Self::Before(before) => Self::Before(before.min(now)),
            other => other,
        }
    }
}

/// Adds members. What bound somebody who was one before binds it again, until it is lifted: a ban, a role that may less than others, a
/// history that is hidden. Who is a member already stays as it is; who rejected an invite comes in like everybody else.
///
/// # Errors
/// Postgres.
pub async fn add(
    ctx: &Ctx,
    write: &mut ChannelWrite,
    channel: &LoadedChannel,
    new: &[NewMember],
    joining: Joining,
) -> Result<i64> {
    let ids: Vec<String> = new.iter().map(|member| member.user_id.clone()).collect();
    let mut former = former(write, &ids).await?;
    let mut existing: HashMap<String, Member> =
        write.members(&ids).await?.into_iter().map(|member| (member.user_id.clone(), member)).collect();
    let mut added = 0;
    for member in new {
        if let Some(mut row) = existing.remove(&member.user_id) {
            if row.has_rejected() {
                if let Some(role) = &member.channel_role {
                    row.channel_role.clone_from(role);
                }
                if let Joining::Added { hiding } = joining {
                    hide_history(write, &mut row, None, hiding).await?;
                }
                take_back(ctx, write, channel, row, member.invite).await?;
            }
            continue;
        }
        let mut row = member.row(write);
        let former = former.remove(&member.user_id);
        if let Some(former) = &former {
            former.bans(&mut row);
            if member.channel_role.is_none()
                && let Some(role) = former.channel_role.as_deref().filter(|role| channel.grants().restrict(role))
            {
                row.channel_role = role.into();
            }
        }
        let hiding = if let Joining::Added { hiding } = joining { hiding } else { Hiding::AsBefore };
        hide_history(write, &mut row, former.as_ref(), hiding).await?;
        let row = write.put_member(&row).await?;
        added += 1;
        tell(ctx, write, channel, "member.added", &row).await?;
        tell_member(ctx, write, channel, &row).await?;
    }
    Ok(added)
}

/// Makes somebody a member again who has rejected an invite, or invites it again. It has been counted among the members all along.
async fn take_back(
    ctx: &Ctx,
    write: &mut ChannelWrite,
    channel: &LoadedChannel,
    mut row: Member,
    invite: Option<&str>,
) -> Result<()> {
    (row.invite, row.invite_rejected_at) = (invite.map(Into::into), None);
    let row = write.put_member(&row).await?;
    tell(ctx, write, channel, "member.added", &row).await?;
    tell_member(ctx, write, channel, &row).await
}

/// Makes the caller a member of a channel that lets it in, unless others have removed it from there.
///
/// # Errors
/// The channel is gone; `refusal` where it lets nobody in, or not this one.
pub async fn come_in(ctx: &Ctx, caller: &Caller, channel: &Arc<LoadedChannel>, refusal: Error) -> Result<()> {
    let user = caller.acting()?.id.clone();
    let itself = NewMember::from_requests(caller, vec![MemberRequest::Id(user.clone())], None)?;
    let missing = || Error::not_found(format!("Can't find channel with id {}", channel.row.cid));
    let access = ChannelAccess::load(ctx, caller, channel.clone()).await?;
    let mut write = lock(ctx, &access, [user.clone()]).await?.ok_or_else(missing)?;
    // Under the lock: whoever comes and goes all the time is not removed in between.
    if write.channel().await?.disabled || write.are_shut_out(&[user]).await? {
        return Err(refusal);
    }
    let more = add(ctx, &mut write, channel, &itself, Joining::ByItself).await?;
    if more != 0 {
        write.change_member_count(more).await?;
    }
    ctx.announcer.tell(write.commit().await?).await;
    Ok(())
}

/// What bound those of these users who were members before.
async fn former(write: &mut ChannelWrite, ids: &[String]) -> Result<HashMap<String, FormerMember>> {
    let former = write.take_former(ids).await?;
    Ok(former.into_iter().map(|former| (former.user_id.clone(), former)).collect())
}

/// Hides from somebody who comes in what it is not to see.
async fn hide_history(
    write: &mut ChannelWrite,
    row: &mut Member,
    former: Option<&FormerMember>,
    hiding: Hiding,
) -> Result<()> {
    if let Some(former) = former.filter(|_| !matches!(hiding, Hiding::Nothing)) {
        former.hides(row);
    }
    if let Hiding::Before(before) = hiding {
        let seq = if before >= write.now() { write.head.message_seq } else { write.message_seq_at(before).await? };
        // What was hidden from who comes back stays so.
        row.cleared_seq = row.cleared_seq.max(seq);
        row.hide_messages_before = row.hide_messages_before.max(Some(before));
    }
    Ok(())
}

/// Removes members. Who is none is passed over.
///
/// # Errors
/// Postgres.
pub async fn remove(ctx: &Ctx, write: &mut ChannelWrite, channel: &LoadedChannel, ids: &[String]) -> Result<i64> {
    let removed = write.remove_members(ids).await?;
    for row in &removed {
        tell(ctx, write, channel, "member.removed", row).await?;
        tell_one(ctx, write, channel, "notification.removed_from_channel", row).await?;
    }
    Ok(removed.len() as i64)
}

/// Gives members a role. Who is none is passed over, or becomes a member with that role, as in [`add`], if `add_missing`. Gives
/// back how many became members.
///
/// # Errors
/// Postgres.
pub async fn assign(
    ctx: &Ctx,
    write: &mut ChannelWrite,
    channel: &LoadedChannel,
    roles: &[(String, String)],
    add_missing: bool,
    hiding: Hiding,
) -> Result<i64> {
    let ids: Vec<String> = roles.iter().map(|(id, _)| id.clone()).collect();
    let mut members = write.members(&ids).await?;
    let mut former = if add_missing { former(write, &ids).await? } else { HashMap::new() };
    let mut added = 0;
    for (id, role) in roles {
        check_role(role)?;
        match members.iter_mut().find(|member| member.user_id == *id) {
            Some(member) if add_missing && member.has_rejected() => {
                let mut row = member.clone();
                row.channel_role.clone_from(role);
                hide_history(write, &mut row, None, hiding).await?;
                take_back(ctx, write, channel, row, None).await?;
            }
            Some(member) => {
                if member.channel_role != *role {
                    write.take_rights().await?;
                }
                member.channel_role.clone_from(role);
                let row = write.put_member(member).await?;
                tell(ctx, write, channel, "member.updated", &row).await?;
            }
            None if add_missing => {
                let mut row = Member::new(id, write);
                row.channel_role.clone_from(role);
                let former = former.remove(id);
                if let Some(former) = &former {
                    former.bans(&mut row);
                }
                hide_history(write, &mut row, former.as_ref(), hiding).await?;
                let row = write.put_member(&row).await?;
                added += 1;
                tell(ctx, write, channel, "member.added", &row).await?;
                tell_member(ctx, write, channel, &row).await?;
            }
            None => {}
        }
    }
    Ok(added)
}

/// Accepts or rejects the invite of a member. Answering again as before is no news, and changes nothing.
///
/// # Errors
/// There is no invite, or it has been answered otherwise.
pub async fn answer_invite(
    ctx: &Ctx,
    write: &mut ChannelWrite,
    channel: &LoadedChannel,
    user_id: &str,
    accept: bool,
) -> Result<bool> {
    let member = write.members(&[user_id.to_owned()]).await?.pop().filter(|member| member.invite.is_some());
    let mut member = member.ok_or_else(|| Error::input(format!("user {user_id} has no invite to this channel")))?;
    let wished = if accept { "accepted" } else { "rejected" };
    match member.invite.as_deref() {
        Some("pending") => {}
        Some(answered) if answered == wished => return Ok(false),
        _ => return Err(Error::input(format!("user {user_id} has answered the invite to this channel already"))),
    }
    let now = write.now();
    if accept {
        member.invite = Some("accepted".into());
        member.invite_accepted_at = Some(now);
    } else {
        member.invite = Some("rejected".into());
        member.invite_rejected_at = Some(now);
    }
    let row = write.put_member(&member).await?;
    if !accept {
        write.leave_threads(&[user_id.to_owned()]).await?;
    }
    tell(ctx, write, channel, "member.updated", &row).await?;
    let kind = if accept { "notification.invite_accepted" } else { "notification.invite_rejected" };
    tell_one(ctx, write, channel, kind, &row).await?;
    Ok(true)
}

/// An event about a member.
///
/// # Errors
/// Postgres.
pub async fn member_event(
    ctx: &Ctx,
    write: &mut ChannelWrite,
    channel: &LoadedChannel,
    kind: &str,
    row: &Member,
) -> Result<wire::Event> {
    let people = people_at_hand(ctx, write, channel, [row.user_id.clone()]).await?;
    let mut event = event_with_channel(kind, channel, &write.head, &people, write.now());
    event.user = Some(people.get(&row.user_id));
    event.member = Some(render::members::member(row, channel, &people, ctx.clock.now()));
    Ok(event)
}

/// Tells the watchers of a channel about a member.
///
/// # Errors
/// Postgres.
pub async fn tell(
    ctx: &Ctx,
    write: &mut ChannelWrite,
    channel: &LoadedChannel,
    kind: &str,
    row: &Member,
) -> Result<()> {
    let event = member_event(ctx, write, channel, kind, row).await?;
    write.event(Event::new(&event, Audience::CHANNEL)?.about(&row.user_id));
    Ok(())
}

/// Tells somebody that it has become a member, or has been invited.
///
/// # Errors
/// Postgres.
pub async fn tell_member(ctx: &Ctx, write: &mut ChannelWrite, channel: &LoadedChannel, row: &Member) -> Result<()> {
    let kind = if row.is_pending() { "notification.invited" } else { "notification.added_to_channel" };
    tell_one(ctx, write, channel, kind, row).await
}

/// Tells somebody about its own membership what is nobody else's business.
///
/// # Errors
/// Postgres.
pub async fn tell_itself(
    ctx: &Ctx,
    write: &mut ChannelWrite,
    channel: &LoadedChannel,
    kind: &str,
    row: &Member,
) -> Result<()> {
    let event = member_event(ctx, write, channel, kind, row).await?;
    write.unnumbered_event(Event::new(&event, Audience::user(&row.user_id))?.about(&row.user_id));
    Ok(())
}

async fn tell_one(
    ctx: &Ctx,
    write: &mut ChannelWrite,
    channel: &LoadedChannel,
    kind: &str,
    row: &Member,
) -> Result<()> {
    let event = member_event(ctx, write, channel, kind, row).await?;
    write.unnumbered_event(Event::new(&event, Audience::AbsentUser(row.user_id.clone()))?.about(&row.user_id));
    Ok(())
}
