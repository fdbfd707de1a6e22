//! `PATCH …/member`: a member's own pin, archive mark and custom data in a channel.

use serde_json::Value;
use wire::Cid;
use wire::member::{MEMBER_KEYS, Member as Shown, UpdateMemberPartialRequest};

use super::change;
use crate::access::{self, Action, Caller};
use crate::chat::channels::lock;
use crate::chat::custom;
use crate::chat::messages::policy;
use crate::chat::render::{self, People};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::limits;

/// Changes parts of a membership: one's own, or anybody's for those who may change members.
///
/// # Errors
/// There is no such member, the caller may not, or a key cannot be set.
pub async fn update_member_partial(
    ctx: &Ctx,
    caller: &Caller,
    cid: &Cid,
    user_id: &str,
    request: UpdateMemberPartialRequest,
) -> Result<Shown> {
    custom::check_keys(&request.set.0, &request.unset)?;
    let access = access::channel(ctx, caller, cid, Action::ReadChannel).await?;
    let is_own = caller.user_id() == Some(user_id);
    // Where one keeps a channel is one's own business; all else is said to others.
    let is_private = |key: &String| matches!(key.as_str(), "pinned" | "archived");
    let keys = || request.set.0.keys().chain(&request.unset);
    let speaks = keys().any(|key| !is_private(key));
    if speaks {
        policy::check_banned(&access, caller, ctx.clock.now())?;
    }
    if !is_own {
        access.require(Action::UpdateChannelMembers)?;
        // Where somebody keeps a channel in its own list is nobody else's to say.
        if keys().any(is_private) {
            caller.require_server()?;
        }
    }
    let missing = || Error::not_found(format!("user {user_id} is not a member of {cid}"));
    let mut write = lock(ctx, &access, [user_id.to_owned()]).await?.ok_or_else(missing)?;
    let mut member = write.members(&[user_id.to_owned()]).await?.pop().ok_or_else(missing)?;
    let now = write.now();
    let before = member.custom.as_str().len();
    let mut custom = member.custom.parse()?;
    for (key, value) in request.set.0 {
        let on =
            |value: &Value| value.as_bool().ok_or_else(|| Error::input(format!("set.{key} must be true or false")));
        match key.as_str() {
            "pinned" => member.pinned_at = on(&value)?.then_some(now),
            "archived" => member.archived_at = on(&value)?.then_some(now),
            key if is_reserved(key) => {
                return Err(Error::input(format!("{key} cannot be set")).field(key, "cannot be set"));
            }
            key => custom::set(&mut custom, key, value)?,
        }
    }
    for key in &request.unset {
        match key.as_str() {
            "pinned" => member.pinned_at = None,
            "archived" => member.archived_at = None,
            key if is_reserved(key) => {
                return Err(Error::input(format!("{key} cannot be unset")).field(key, "cannot be unset"));
            }
            key => custom::unset(&mut custom, key)?,
        }
    }
    member.custom = custom::checked(&custom, limits::CUSTOM_BYTES_MAX, "member")?;
    let most = before.max(limits::OTHERS_CUSTOM_BYTES_MAX);
    if !is_own && !caller.is_server() && member.custom.as_str().len() > most {
        return Err(Error::input(format!(
            "custom data of somebody else's membership may have {} bytes where a client writes it",
            limits::OTHERS_CUSTOM_BYTES_MAX
        )));
    }
    if speaks && policy::is_shadowed(&access, caller, now) {
        // Members are shown as they are in the table: what nobody else is to see is only said.
        let event = change::member_event(ctx, &mut write, &access.channel, "member.updated", &member).await?;
        drop(write);
        let only = policy::audience(&access, caller, now);
        ctx.announcer.tell(vec![Event::ephemeral(&event, Some(access.key()), only)?]).await;
    } else {
        member = write.put_member(&member).await?;
        if speaks {
            change::tell(ctx, &mut write, &access.channel, "member.updated", &member).await?;
        } else {
            change::tell_itself(ctx, &mut write, &access.channel, "member.updated", &member).await?;
        }
        ctx.announcer.tell(write.commit().await?).await;
    }
    let row = member;
    let people = People::load(ctx, [row.user_id.clone()]).await?;
    Ok(render::members::member(&row, &access.channel, &people, ctx.clock.now()))
}

fn is_reserved(key: &str) -> bool {
    MEMBER_KEYS.contains(&key.split('.').next().unwrap_or_default())
}
