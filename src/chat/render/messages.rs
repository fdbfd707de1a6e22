//! Messages, with the users, quoted messages and reactions that they name.

use std::collections::{BTreeMap, HashMap};

use wire::member::MemberInMessage;
use wire::message::{Message as Shown, MessageType};
use wire::reaction::{Reaction as ShownReaction, ReactionBy, ReactionGroup, ReactionSummary};
use wire::{Cid, RawList, RawObject, Timestamp};

use super::{People, html, weight};
use crate::access::Caller;
use crate::chat::messages::visibility;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::limits;
use crate::store::ChannelWrite;
use crate::store::members::AuthorMembership;
use crate::store::messages::{Message, Reader};
use crate::store::reactions::{Aggregates, Reaction};

/// What a message shows beyond its own row.
#[derive(Default)]
pub struct Around<'a> {
    pub quoted: Option<&'a Message>,
    pub own_reactions: Vec<Reaction>,
    /// The author's membership.
    pub member: Option<MemberInMessage>,
    /// Show what a deleted message said.
    pub show_deleted: bool,
}

/// One message, from what was loaded for it.
pub fn message(row: &Message, cid: &Cid, people: &People, around: Around<'_>, now: Timestamp) -> Shown {
    let data = row.data();
    let deleted = row.deleted_at.is_some() && !around.show_deleted;
    let pinned = row.is_pinned(now) && row.deleted_at.is_none();
    let kind =
        if row.deleted_at.is_some() { MessageType::Deleted } else { MessageType::parse(&row.kind).unwrap_or_default() };
    let text = if deleted { String::new() } else { row.text.clone() };
    let people_of = |ids: &[String], most: usize| ids.iter().take(most).filter_map(|id| people.find(id)).collect();
    Shown {
        id: row.id.clone(),
        html: data.html.clone().filter(|_| !deleted).unwrap_or_else(|| html::render(&text)),
        text,
        kind,
        cid: cid.clone(),
        user: people.get(&row.user_id),
        member: around.member,
        attachments: if deleted { RawList::default() } else { data.attachments.clone() },
        reactions: row.reactions.as_ref().map(|aggregates| summary(aggregates, people)).unwrap_or_default(),
        own_reactions: around.own_reactions.iter().map(|reaction| self::reaction(reaction, people)).collect(),
        parent_id: row.parent_id.clone(),
        show_in_channel: row.parent_id.is_some().then_some(row.show_in_channel),
        reply_count: i64::from(row.reply_count),
        deleted_reply_count: i64::from(row.deleted_reply_count),
        thread_participants: people_of(&row.participants, limits::THREAD_PARTICIPANTS_MAX),
        mentioned_users: people_of(&data.mentioned_users, limits::MENTIONS_MAX),
        mentioned_channel: data.mentioned_channel,
        mentioned_here: data.mentioned_here,
        mentioned_roles: data.mentioned_roles.clone(),
        quoted_message_id: row.quoted_id.clone(),
        quoted_message: around
            .quoted
            .filter(|_| !deleted)
            .map(|quoted| Box::new(message(quoted, cid, people, Around::default(), now))),
        silent: row.silent,
        shadowed: row.shadowed,
        pinned,
        pinned_at: row.pinned_at.filter(|_| pinned),
        pinned_by: row.pinned_by.as_ref().filter(|_| pinned).map(|id| people.get(id)),
        pin_expires: row.pin_expires.filter(|_| pinned),
        restricted_visibility: data.restricted_visibility.clone(),
        command: data.command.clone(),
        args: data.args.clone(),
        mml: data.mml.clone().filter(|_| !deleted),
        i18n: data.i18n.clone().filter(|_| !deleted),
        created_at: row.created_at,
        updated_at: row.updated_at,
        message_text_updated_at: row.text_updated_at,
        deleted_at: row.deleted_at,
        custom: if deleted { RawObject::default() } else { data.custom.clone() },
    }
}

/// The users whom a message names.
pub fn people_of(row: &Message) -> Vec<String> {
    let data = row.data();
    let mut ids = vec![row.user_id.clone()];
    ids.extend(data.mentioned_users.iter().cloned());
    ids.extend(row.pinned_by.iter().cloned());
    ids.extend(row.participants.iter().take(limits::THREAD_PARTICIPANTS_MAX).cloned());
    if let Some(aggregates) = &row.reactions {
        ids.extend(aggregates.latest.iter().map(|reaction| reaction.user_id.clone()));
    }
    ids
}

/// A reaction.
pub fn reaction(row: &Reaction, people: &People) -> ShownReaction {
    ShownReaction {
        message_id: row.message_id.clone(),
        user_id: row.user_id.clone(),
        user: people.get(&row.user_id),
        kind: row.kind.clone(),
        score: row.score,
        created_at: row.created_at,
        updated_at: row.updated_at,
        custom: row.custom.clone(),
    }
}

fn summary(aggregates: &Aggregates, people: &People) -> ReactionSummary {
    let groups = &aggregates.groups;
    let numbers = |number: fn(&crate::store::reactions::Group) -> i64| -> BTreeMap<String, i64> {
        groups.iter().map(|(kind, group)| (kind.clone(), number(group))).collect()
    };
    let by = |kind: &str| {
        let latest = aggregates.latest.iter().filter(|reaction| reaction.kind == kind);
        latest
            .map(|reaction| ReactionBy { user_id: reaction.user_id.clone(), created_at: reaction.created_at })
            .collect()
    };
    ReactionSummary {
        reaction_counts: numbers(|group| group.count),
        reaction_scores: numbers(|group| group.sum_scores),
        reaction_groups: groups
            .iter()
            .map(|(kind, group)| {
                let shown = ReactionGroup {
                    count: group.count,
                    sum_scores: group.sum_scores,
                    first_reaction_at: group.first_at,
                    last_reaction_at: group.last_at,
                    latest_reactions_by: by(kind),
                };
                (kind.clone(), shown)
            })
            .collect(),
        latest_reactions: aggregates.latest.iter().map(|reaction| self::reaction(reaction, people)).collect(),
    }
}

/// How a list of messages is to be rendered. By default for an event, which everybody hears.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Whose own reactions to show.
    pub viewer: Option<&'a str>,
    pub show_deleted: bool,
    /// Who reads: of messages that are quoted, only those that it may see are shown.
    pub reader: Reader<'a>,
}

impl<'a> Options<'a> {
    /// For the answer to a caller.
    pub fn of(ctx: &Ctx, caller: &'a Caller) -> Self {
        Self { viewer: caller.user_id(), show_deleted: false, reader: visibility::reader(ctx, caller) }
    }
}

/// How many of these messages an answer has room for, counted from the first.
pub fn that_fit<'a>(rows: impl Iterator<Item = &'a Message>, bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fits = |row: &&Message| {
        bytes += weight::message(row);
        bytes <= bytes_max
    };
    rows.take_while(fits).count()
}

/// What messages have of their own in an answer, in bytes.
pub fn bytes_of(rows: &[Message]) -> usize {
    rows.iter().map(weight::message).sum()
}

/// Messages of any channels in the order given; `cids` names the channels. Where they would show very much of others, people are
/// shown with less ([`People::load_within`]), and of the messages that they quote the last ones.
///
/// # Errors
/// Postgres.
pub async fn messages(
    ctx: &Ctx,
    rows: &[Message],
    cids: &HashMap<i64, Cid>,
    options: Options<'_>,
) -> Result<Vec<Shown>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    // The last ones first: as far as there is room.
    let quoted_ids: Vec<String> = rows.iter().rev().filter_map(|row| row.quoted_id.clone()).collect();
    let with_reactions: Vec<String> =
        rows.iter().filter(|row| row.reactions.is_some()).map(|row| row.id.clone()).collect();
    let types = rows.iter().filter_map(|row| row.reactions.as_ref()).map(|reactions| reactions.groups.len()).sum();
    let mut authors: Vec<(i64, String)> = rows.iter().map(|row| (row.channel_id, row.user_id.clone())).collect();
    authors.sort_unstable();
    authors.dedup();
    let (author_channels, author_ids): (Vec<i64>, Vec<String>) = authors.into_iter().unzip();
    let (quoted, own, memberships) = tokio::try_join!(
        async {
            match &quoted_ids[..] {
                [] => Ok(Vec::new()),
                ids => {
                    let most = limits::ANSWER_QUOTES_BYTES_MAX;
                    ctx.store.messages_seen_by(options.reader, ids, most).await.map(|quoted| quoted.messages)
                }
            }
        },
        async {
            match options.viewer {
                Some(viewer) if !with_reactions.is_empty() => {
                    ctx.store.own_reactions(&with_reactions, viewer, types).await
                }
                _ => Ok(Vec::new()),
            }
        },
        ctx.store.author_memberships(&author_channels, &author_ids),
    )?;
    let quoted: HashMap<&str, &Message> = quoted.iter().map(|message| (message.id.as_str(), message)).collect();
    let quoted_by = |row: &Message| {
        let quoted = row.quoted_id.as_deref().and_then(|id| quoted.get(id).copied());
        quoted.filter(|quoted| quoted.channel_id == row.channel_id && quoted.created_at <= row.updated_at)
    };
    // One message alone shows no more than its event.
    let bytes_max = rows.len() * limits::EVENT_BYTES_MAX;
    let with_quotes = that_fit(rows.iter().rev().filter_map(quoted_by), bytes_max.min(limits::ANSWER_QUOTES_BYTES_MAX));
    let mut quotes: Vec<Option<&Message>> = rows.iter().map(quoted_by).collect();
    quotes.iter_mut().rev().filter(|quote| quote.is_some()).skip(with_quotes).for_each(|quote| *quote = None);
    let named = rows.iter().chain(quotes.iter().copied().flatten()).flat_map(people_of);
    let named: Vec<String> = named.chain(own.iter().map(|reaction| reaction.user_id.clone())).collect();
    let people = People::load_within(ctx, named, bytes_max.min(limits::ANSWER_PEOPLE_BYTES_MAX)).await?;
    let memberships: HashMap<(i64, &str), &AuthorMembership> =
        memberships.iter().map(|member| ((member.channel_id, member.user_id.as_str()), member)).collect();
    let mut own_reactions: HashMap<String, Vec<Reaction>> = HashMap::new();
    for reaction in own {
        own_reactions.entry(reaction.message_id.clone()).or_default().push(reaction);
    }
    let now = ctx.clock.now();
    let mut shown = Vec::with_capacity(rows.len());
    let mut rendered_bytes = 0;
    for (row, quoted) in rows.iter().zip(quotes) {
        let Some(cid) = cids.get(&row.channel_id) else { continue };
        let around = Around {
            quoted,
            own_reactions: own_reactions.remove(&row.id).unwrap_or_default(),
            member: memberships.get(&(row.channel_id, row.user_id.as_str())).map(|member| MemberInMessage {
                channel_role: member.channel_role.clone(),
                notifications_muted: member.notifications_muted,
            }),
            show_deleted: options.show_deleted,
        };
        shown.push(message(row, cid, &people, around, now));
        rendered_bytes += weight::message(row);
        if rendered_bytes > limits::RENDERED_BYTES_PER_TURN {
            rendered_bytes = 0;
            tokio::task::yield_now().await;
        }
    }
    Ok(shown)
}

/// One message for the event that its transaction writes.
///
/// # Errors
/// Postgres.
pub async fn at_hand(ctx: &Ctx, write: &mut ChannelWrite, row: &Message, cid: &Cid) -> Result<Shown> {
    let quoted = match &row.quoted_id {
        Some(id) => write.message(id).await?,
        None => None,
    };
    let floor = write.head.floor_seq;
    let quoted = quoted.filter(|quoted| quoted.is_for_everybody() && quoted.seq > floor);
    let author = write.members(std::slice::from_ref(&row.user_id)).await?.pop();
    let named = people_of(row).into_iter().chain(quoted.as_ref().map(people_of).unwrap_or_default());
    let people = People::at_hand(ctx, write.write(), named).await?;
    let now = ctx.clock.now();
    let around = Around {
        quoted: quoted.as_ref(),
        member: author.map(|member| MemberInMessage {
            notifications_muted: member.is_muted(now),
            channel_role: member.channel_role,
        }),
        ..Around::default()
    };
    Ok(message(row, cid, &people, around, now))
}

/// One message for one reader, or for an event.
///
/// # Errors
/// Postgres.
pub async fn one(ctx: &Ctx, row: &Message, cid: &Cid, options: Options<'_>) -> Result<Shown> {
    let cids = HashMap::from([(row.channel_id, cid.clone())]);
    let mut shown = messages(ctx, std::slice::from_ref(row), &cids, options).await?;
    Ok(shown.remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_made_up_is_shown_as_it_was_read() {
        let made_up = r#"{"attachments": [{"a": [1, {}]}], "custom": {"b": {"c": 1e2}}}"#;
        let mut row = Message {
            channel_id: 1,
            seq: 1,
            id: "message".into(),
            user_id: "ada".into(),
            kind: "regular".into(),
            text: String::new(),
            parent_id: None,
            show_in_channel: false,
            quoted_id: None,
            silent: false,
            shadowed: false,
            counts: true,
            counted: 1,
            data: Some(serde_json::from_str(made_up).unwrap()),
            reactions: None,
            reply_count: 0,
            deleted_reply_count: 0,
            participants: Vec::new(),
            pinned_at: None,
            pinned_by: None,
            pin_expires: None,
            created_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(0),
            text_updated_at: None,
            deleted_at: None,
        };
        let cid: Cid = "messaging:room".parse().unwrap();
        let show = |row: &Message| message(row, &cid, &People::default(), Around::default(), row.created_at);
        let (shown, data) = (show(&row), row.data.clone().unwrap());
        assert_eq!(shown.attachments.as_str(), r#"[{"a":[1,{}]}]"#);
        assert_eq!(shown.attachments.as_str().as_ptr(), data.attachments.as_str().as_ptr(), "one text, not two");
        assert_eq!(shown.custom.as_str().as_ptr(), data.custom.as_str().as_ptr());
        assert!(serde_json::to_string(&shown).unwrap().ends_with(r#","b":{"c":1e2}}"#));
        row.deleted_at = Some(row.created_at);
        let deleted = show(&row);
        assert!(deleted.attachments.is_empty() && deleted.custom.is_empty());
    }
}
