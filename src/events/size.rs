//! An event fits every healthy reader's queue.
//!
//! What one request causes is heard by many, so it is small: [`limits::EVENT_BYTES_MAX`]. Few events come near it. One that
//! would be larger is shown with less of what is not its own: first the data of the people around it, then more and more of
//! what clients can ask for. Its message's text, attachments and custom data stay; they have a bound of their own
//! ([`limits::MESSAGE_BYTES_MAX`]). If all of that is not enough, nothing happens: events are made before the commit.

use std::sync::Arc;

use wire::channel::Channel;
use wire::message::Message;
use wire::user::{FullUser, User};
use wire::{Event, RawObject};

use crate::error::{Error, Kind, Result};
use crate::limits;

/// The JSON of an event, of a size that every reader can take.
///
/// # Errors
/// Code 22: it is too large whatever is left out.
pub fn encode(event: &Event) -> Result<Vec<u8>> {
    let bytes_max = if event.me.is_some() { limits::ME_BYTES_MAX } else { limits::EVENT_BYTES_MAX };
    let whole = serde_json::to_vec(event)?;
    if whole.len() <= bytes_max {
        return Ok(whole);
    }
    let mut event = event.clone();
    if let Some(me) = &mut event.me {
        fit(me, limits::EVENT_BYTES_MAX)?;
    }
    for trim in [others_plain, everybody_plain, others_bare, without_company] {
        trim(&mut event);
        let trimmed = serde_json::to_vec(&event)?;
        if trimmed.len() <= bytes_max {
            return Ok(trimmed);
        }
    }
    Err(Error::new(Kind::PayloadTooLarge, format!("what others would hear of this has more than {bytes_max} bytes")))
}

/// Whoever is named, but did not act, is shown without custom data, teams and settings.
fn others_plain(event: &mut Event) {
    for_each_other(event, plain);
    event.channel.iter_mut().for_each(|channel| channel.config = None);
}

/// Whoever acts as well.
fn everybody_plain(event: &mut Event) {
    for_each_person(event, &mut |user| *user = plain(user));
}

/// Others are shown as ids. The quoted message is named only.
fn others_bare(event: &mut Event) {
    for_each_other(event, bare);
    for message in messages(event) {
        message.quoted_message = None;
    }
    if let Some(draft) = &mut event.draft {
        (draft.quoted_message, draft.parent_message) = (None, None);
    }
}

/// Nobody but those who act, as ids. A message has no HTML and the numbers of its reactions only, a channel around it no data of its
/// own.
fn without_company(event: &mut Event) {
    for_each_person(event, &mut |user| *user = bare(user));
    for message in messages(event) {
        message.html = String::new();
        message.mml = None;
        message.mentioned_users = Vec::new();
        message.thread_participants = Vec::new();
        message.reactions.latest_reactions = Vec::new();
        for group in message.reactions.reaction_groups.values_mut() {
            group.latest_reactions_by = Vec::new();
        }
    }
    if event.message.is_some() {
        event.channel.iter_mut().for_each(without_data);
    }
    if let Some(draft) = &mut event.draft {
        draft.channel.iter_mut().for_each(without_data);
        draft.message.mentioned_users = Vec::new();
    }
}

/// Shows less of those whom a user has muted, and of the oldest mutes nothing, until `me` has a size that its sockets can take.
///
/// # Errors
/// None in practice: our own types always serialise.
pub fn fit(me: &mut FullUser, bytes_max: usize) -> Result<()> {
    for shown in [plain, bare] {
        if serde_json::to_vec(me)?.len() <= bytes_max {
            return Ok(());
        }
        for mute in &mut me.mutes {
            (mute.user, mute.target) = (shown(&mute.user), shown(&mute.target));
        }
        for mute in &mut me.channel_mutes {
            mute.user = shown(&mute.user);
            without_data(&mut mute.channel);
            for_each_person_of_channel(&mut mute.channel, &mut |user| *user = shown(user));
        }
    }
    while serde_json::to_vec(me)?.len() > bytes_max && me.mutes.len() + me.channel_mutes.len() > 0 {
        // The newest are last.
        me.mutes.drain(..me.mutes.len().div_ceil(2));
        me.channel_mutes.drain(..me.channel_mutes.len().div_ceil(2));
    }
    Ok(())
}

/// The JSON of a channel beside an event: with less of its people, then without its data, if it would be too large.
///
/// # Errors
/// None in practice: our own types always serialise.
pub fn encode_channel(mut channel: Channel, bytes_max: usize) -> Result<Vec<u8>> {
    let whole = serde_json::to_vec(&channel)?;
    if whole.len() <= bytes_max {
        return Ok(whole);
    }
    for_each_person_of_channel(&mut channel, &mut |user| *user = plain(user));
    let trimmed = serde_json::to_vec(&channel)?;
    if trimmed.len() <= bytes_max {
        return Ok(trimmed);
    }
    for_each_person_of_channel(&mut channel, &mut |user| *user = bare(user));
    without_data(&mut channel);
    Ok(serde_json::to_vec(&channel)?)
}

fn without_data(channel: &mut Channel) {
    channel.config = None;
    channel.custom = RawObject::default();
    channel.filter_tags = Vec::new();
}

/// The user without what it, or a server, can fill at will; with its name and image.
fn plain(user: &Arc<User>) -> Arc<User> {
    let user = User {
        teams: Vec::new(),
        teams_role: None,
        privacy_settings: None,
        custom: RawObject::default(),
        ..(**user).clone()
    };
    Arc::new(user)
}

/// The user's id, and the keys that clients rely on.
fn bare(user: &Arc<User>) -> Arc<User> {
    Arc::new(User { name: None, image: None, ..(*plain(user)).clone() })
}

/// The messages that an event carries whole.
fn messages(event: &mut Event) -> impl Iterator<Item = &mut Message> {
    let draft =
        event.draft.iter_mut().flat_map(|draft| draft.parent_message.iter_mut().chain(&mut draft.quoted_message));
    event.message.iter_mut().chain(draft)
}

type Change<'a> = dyn FnMut(&mut Arc<User>) + 'a;

fn for_each_other(event: &mut Event, shown: fn(&Arc<User>) -> Arc<User>) {
    let author = event.user.as_ref().map(|user| user.id.clone());
    for_each_person(event, &mut |user| {
        if Some(&user.id) != author.as_ref() {
            *user = shown(user);
        }
    });
}

fn for_each_person(event: &mut Event, change: &mut Change<'_>) {
    event.user.iter_mut().chain(&mut event.created_by).for_each(&mut *change);
    event.member.iter_mut().for_each(|member| change(&mut member.user));
    event.reaction.iter_mut().for_each(|reaction| change(&mut reaction.user));
    event.thread.iter_mut().for_each(|thread| change(&mut thread.created_by));
    event.channel.iter_mut().for_each(|channel| for_each_person_of_channel(channel, change));
    if let Some(draft) = &mut event.draft {
        draft.message.mentioned_users.iter_mut().for_each(&mut *change);
        draft.channel.iter_mut().for_each(|channel| for_each_person_of_channel(channel, change));
    }
    messages(event).for_each(|message| for_each_person_of_message(message, change));
}

fn for_each_person_of_channel(channel: &mut Channel, change: &mut Change<'_>) {
    channel.created_by.iter_mut().chain(&mut channel.truncated_by).for_each(change);
}

fn for_each_person_of_message(message: &mut Message, change: &mut Change<'_>) {
    change(&mut message.user);
    message.pinned_by.iter_mut().for_each(&mut *change);
    message.mentioned_users.iter_mut().chain(&mut message.thread_participants).for_each(&mut *change);
    let reactions = message.reactions.latest_reactions.iter_mut().chain(&mut message.own_reactions);
    reactions.for_each(|reaction| change(&mut reaction.user));
    if let Some(quoted) = &mut message.quoted_message {
        for_each_person_of_message(quoted, change);
    }
}
