//! Who is pushed a new message.
//!
//! Members of the channel who have subscribed a browser and are not connected anywhere: whoever is connected hears the message
//! on a socket. Of them not the author, nobody who muted the channel or the author, nobody who was invited and has not
//! answered, and nobody who wants less (push preferences: a channel's level goes before the user's; a pause of either holds).
//! A reply that stays in its thread is for those who take part in it and those whom it names.

use std::collections::{HashMap, HashSet};

use wire::message::MessageType;

use crate::access::caches::LoadedChannel;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::store::messages::{Message, MessageData};
use crate::store::push::Candidate;

/// How much a user wants to be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    All,
    /// Messages that name the user, or a group to which the user belongs.
    Mentions,
    /// Messages that name the user.
    DirectMentions,
    None,
}

/// `mentions` and `all_mentions` are one level under two names.
const LEVELS: &[(&str, Level)] = &[
    ("all", Level::All),
    ("mentions", Level::Mentions),
    ("all_mentions", Level::Mentions),
    ("direct_mentions", Level::DirectMentions),
    ("none", Level::None),
];

impl Level {
    pub fn parse(name: &str) -> Option<Self> {
        LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
    }

    /// The names, for an error message.
    pub fn names() -> String {
        LEVELS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// What else is known when the audience of some messages is chosen.
#[derive(Debug)]
struct Around<'a> {
    candidates: &'a [Candidate],
    online: HashSet<String>,
    /// User and author.
    mutes: HashSet<(String, String)>,
    /// Thread and user.
    participants: HashSet<(String, String)>,
}

/// Who may want pushes of new messages in these channels, whatever the messages are.
///
/// # Errors
/// Postgres.
pub async fn candidates(ctx: &Ctx, channel_ids: &[i64]) -> Result<Vec<Candidate>> {
    if channel_ids.is_empty() {
        return Ok(Vec::new());
    }
    let channels = ctx.caches.channels_by_keys(channel_ids).await?;
    let pushed: Vec<i64> = channels.values().filter(|channel| pushes(channel)).map(|channel| channel.row.id).collect();
    Ok(ctx.store.push_candidates(&pushed, ctx.clock.now()).await?)
}

/// Pairs of message and user: who of the candidates is to be pushed what. The messages are new ones of their channels.
///
/// # Errors
/// Postgres.
pub async fn audience(ctx: &Ctx, candidates: &[Candidate], messages: &[Message]) -> Result<Vec<(String, String)>> {
    let messages: Vec<&Message> = messages.iter().filter(|message| is_pushed(message)).collect();
    if messages.is_empty() || candidates.is_empty() {
        return Ok(Vec::new());
    }
    let now = ctx.clock.now();
    let users: HashSet<String> = candidates.iter().map(|candidate| candidate.user_id.clone()).collect();
    let users: Vec<String> = users.into_iter().collect();
    let authors: Vec<String> = messages.iter().map(|message| message.user_id.clone()).collect();
    let threads: Vec<String> = messages.iter().filter_map(|message| message.parent_id.clone()).collect();
    let around = Around {
        candidates,
        online: ctx.engine.presence.online(&users).await,
        mutes: ctx.store.mutes_of_authors(&users, &authors, now).await?.into_iter().collect(),
        participants: ctx.store.thread_participants(&threads).await?.into_iter().collect(),
    };
    Ok(chosen(&messages, &around))
}

fn pushes(channel: &LoadedChannel) -> bool {
    channel.config.push_notifications && channel.row.deleted_at.is_none()
}

/// The rules themselves: pure.
fn chosen(messages: &[&Message], around: &Around<'_>) -> Vec<(String, String)> {
    let mut members: HashMap<i64, Vec<&Candidate>> = HashMap::new();
    for candidate in around.candidates {
        members.entry(candidate.channel_id).or_default().push(candidate);
    }
    let mut chosen = Vec::new();
    for message in messages {
        let here = members.get(&message.channel_id).into_iter().flatten();
        let them = here.filter(|candidate| is_for(message, candidate, around));
        chosen.extend(them.map(|candidate| (message.id.clone(), candidate.user_id.clone())));
    }
    chosen
}

/// Is it a message that is pushed to anybody at all?
pub fn is_pushed(message: &Message) -> bool {
    let kind = MessageType::parse(&message.kind);
    matches!(kind, Some(MessageType::Regular | MessageType::Reply))
        && !message.silent
        && !message.shadowed
        && !message.data().skip_push
        && message.deleted_at.is_none()
}

fn is_for(message: &Message, candidate: &Candidate, around: &Around<'_>) -> bool {
    let user = &candidate.user_id;
    let data = message.data();
    let direct = data.mentioned_users.contains(user);
    let level = candidate.chat_level.as_deref().and_then(Level::parse).unwrap_or(Level::All);
    let wanted = match level {
        Level::All => true,
        Level::Mentions => direct || names_group_of(&data, candidate),
        Level::DirectMentions => direct,
        Level::None => false,
    };
    let in_thread_only = message.parent_id.is_some() && !message.show_in_channel;
    let takes_part = || {
        let thread = message.parent_id.clone().unwrap_or_default();
        direct || around.participants.contains(&(thread, user.clone()))
    };
    wanted
        && message.user_id != *user
        && message.is_visible_to(user)
        && !around.online.contains(user)
        && !around.mutes.contains(&(user.clone(), message.user_id.clone()))
        && (!in_thread_only || takes_part())
}

/// Whoever is offline is not "here".
fn names_group_of(data: &MessageData, candidate: &Candidate) -> bool {
    let roles = &data.mentioned_roles;
    data.mentioned_channel || roles.contains(&candidate.role) || roles.contains(&candidate.channel_role)
}
