//! What a channel lets its users send. Pure: everything it looks at has been loaded.

use std::sync::Arc;

use serde_json::Value;
use wire::Timestamp;
use wire::message::MessageType;

use super::draft::Draft;
use crate::access::{Action, Caller, ChannelAccess};
use crate::chat::render::html;
use crate::error::{Error, Kind, Result};
use crate::events::Audience;
use crate::store::messages::MessageData;

/// May the caller send this, here and now? Slow mode is asked under the channel's lock ([`needs_cooldown`]).
///
/// # Errors
/// The first rule that is broken, with its code.
pub fn check_send(access: &ChannelAccess, caller: &Caller, draft: &Draft, now: Timestamp) -> Result<()> {
    check_author(access, caller, now)?;
    check_content(access, &draft.text, &draft.data)?;
    if draft.parent_id.is_some() && !access.channel.config.replies {
        return Err(Error::new(Kind::FeatureOff, "replies are switched off in this channel"));
    }
    if draft.quoted_id.is_some() {
        check_quotes(access)?;
    }
    if draft.kind == MessageType::System {
        access.require(Action::CreateSystemMessage)?;
    }
    if draft.pinned {
        access.require(Action::PinMessage)?;
    }
    if !draft.data.restricted_visibility.is_empty() {
        access.require(Action::CreateRestrictedVisibilityMessage)?;
    }
    Ok(())
}

/// Neither banned nor in a frozen channel. Servers may always write.
///
/// # Errors
/// Code 17.
pub fn check_author(access: &ChannelAccess, caller: &Caller, now: Timestamp) -> Result<()> {
    if caller.is_server() {
        return Ok(());
    }
    check_banned(access, caller, now)?;
    check_frozen(access)
}

/// Banned neither everywhere nor here. Servers are not.
///
/// # Errors
/// Code 17.
pub fn check_banned(access: &ChannelAccess, caller: &Caller, now: Timestamp) -> Result<()> {
    check_banned_everywhere(caller, now)?;
    if access.is_banned(now) && !caller.is_server() {
        return Err(Error::not_allowed("you are banned from this channel"));
    }
    Ok(())
}

fn check_banned_everywhere(caller: &Caller, now: Timestamp) -> Result<()> {
    if caller.user().is_some_and(|user| user.is_banned(now)) && !caller.is_server() {
        return Err(Error::not_allowed("you are banned"));
    }
    Ok(())
}

/// May the caller change what a channel is to others, beside what it says there? Neither the banned may, nor the shadow-banned: there
/// is one channel for all, so what they make of it could not be shown to them alone.
///
/// # Errors
/// Code 17.
pub fn check_changes(access: &ChannelAccess, caller: &Caller, now: Timestamp) -> Result<()> {
    check_banned(access, caller, now)?;
    check_unshadowed(is_shadowed(access, caller, now), caller)
}

/// The same for a channel that is yet to be made.
///
/// # Errors
/// Code 17.
pub fn check_makes(caller: &Caller, now: Timestamp) -> Result<()> {
    check_banned_everywhere(caller, now)?;
    check_unshadowed(is_shadowed_everywhere(caller, now), caller)
}

fn check_unshadowed(is_shadowed: bool, caller: &Caller) -> Result<()> {
    if is_shadowed && !caller.is_server() {
        return Err(Error::not_allowed("you are not allowed to change what others share"));
    }
    Ok(())
}

/// # Errors
/// Code 19 where nothing is quoted.
pub fn check_quotes(access: &ChannelAccess) -> Result<()> {
    if access.channel.config.quotes {
        return Ok(());
    }
    Err(Error::new(Kind::FeatureOff, "quoting messages is switched off in this channel"))
}

/// # Errors
/// Code 17 in a frozen channel.
pub fn check_frozen(access: &ChannelAccess) -> Result<()> {
    if access.channel.row.frozen && !access.allows(Action::UseFrozenChannel) {
        return Err(Error::not_allowed("this channel is frozen"));
    }
    Ok(())
}

/// What a message may carry, for new messages and for changed ones.
///
/// # Errors
/// Code 17.
pub fn check_content(access: &ChannelAccess, text: &str, data: &MessageData) -> Result<()> {
    if !data.attachments.is_empty() {
        access.require(Action::CreateAttachment)?;
    }
    let mentions = !data.mentioned_users.is_empty() || !data.mentioned_roles.is_empty();
    if mentions || data.mentioned_channel || data.mentioned_here {
        access.require(Action::CreateMention)?;
    }
    // Most may: what there is to be found is looked for only where somebody may not.
    if !access.allows(Action::AddLinks) && has_link(text, data)? {
        access.require(Action::AddLinks)?;
    }
    Ok(())
}

/// Keys of an attachment that clients show as something to follow. Where its picture or file lies is none of them.
const LINKS_OF_ATTACHMENTS: &[&str] = &["title_link", "og_scrape_url", "author_link"];

/// Is there a link in it, as text or as what the text becomes when it is shown?
fn has_link(text: &str, data: &MessageData) -> Result<bool> {
    let is_link = |text: &str| {
        let text = text.to_lowercase();
        ["http://", "https://", "www."].iter().any(|start| text.contains(start))
    };
    let shows_link = |html: &str| html.to_lowercase().contains("<a ");
    let of_attachment = |attachment: &Value| {
        let texts = ["text", "title", "pretext", "fallback"];
        LINKS_OF_ATTACHMENTS.iter().any(|key| attachment[key].as_str().is_some_and(|link| !link.is_empty()))
            || texts.iter().filter_map(|key| attachment[key].as_str()).any(is_link)
    };
    Ok(is_link(text)
        || shows_link(&html::render(text))
        || data.html.as_deref().is_some_and(shows_link)
        || data.attachments.parse()?.iter().any(of_attachment))
}

/// Must the caller wait between messages here?
pub fn needs_cooldown(access: &ChannelAccess, caller: &Caller) -> bool {
    access.channel.row.cooldown > 0 && !caller.is_server() && !access.allows(Action::SkipChannelCooldown)
}

/// Who hears what the caller does in a channel: all who watch it, or the caller alone.
pub fn audience(access: &ChannelAccess, caller: &Caller, now: Timestamp) -> Audience {
    match caller.user_id() {
        Some(user) if is_shadowed(access, caller, now) => Audience::Channel { only: Some(Arc::new([user.to_owned()])) },
        _ => Audience::CHANNEL,
    }
}

/// Is what the caller writes shown to nobody else?
pub fn is_shadowed(access: &ChannelAccess, caller: &Caller, now: Timestamp) -> bool {
    is_shadowed_everywhere(caller, now) || access.is_shadow_banned(now)
}

fn is_shadowed_everywhere(caller: &Caller, now: Timestamp) -> bool {
    caller.user().is_some_and(|user| user.shadow_banned && user.ban_expires.is_none_or(|end| end > now))
}
