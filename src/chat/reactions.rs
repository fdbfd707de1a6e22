//! Reactions to messages.

use wire::message::Message as ShownMessage;
use wire::reaction::{REACTION_KEYS, Reaction as Shown, SendReactionRequest};

use crate::access::{Action, Caller, ChannelAccess};
use crate::chat::channels::{lock, people_at_hand};
use crate::chat::custom;
use crate::chat::messages::history::checked_limit;
use crate::chat::messages::{self, load, policy};
use crate::chat::render::{self, People};
use crate::chat::users::query::checked_offset;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::Event;
use crate::limits;
use crate::store::ChannelWrite;
use crate::store::messages::Message;
use crate::store::reactions::Reaction;

/// Adds a reaction of the caller, or changes the one of that type; with `enforce_unique` it replaces all others.
///
/// # Errors
/// The message is not there or deleted, reactions are off, or the caller may not.
pub async fn send_reaction(
    ctx: &Ctx,
    caller: &Caller,
    message_id: &str,
    request: SendReactionRequest,
) -> Result<(ShownMessage, Shown)> {
    let (access, message) = load(ctx, caller, message_id, Action::CreateReaction).await?;
    if !access.channel.config.reactions {
        return Err(Error::new(Kind::FeatureOff, "reactions are switched off in this channel"));
    }
    if message.deleted_at.is_some() {
        return Err(Error::input("a deleted message cannot be reacted to"));
    }
    policy::check_author(&access, caller, ctx.clock.now())?;
    let user = caller.acting()?.id.clone();
    let unique = request.enforce_unique;
    let mut write = lock_message(ctx, &access, &message, &user).await?;
    let reaction = parse(request, message_id, &user, write.now())?;
    let replaced =
        if unique { write.remove_reactions(message_id, &user, None, Some(&reaction.kind)).await? } else { Vec::new() };
    let (reaction, is_new) = write.put_reaction(&reaction).await?;
    let kind = if is_new && replaced.is_empty() { "reaction.new" } else { "reaction.updated" };
    finish(ctx, caller, &access, write, kind, reaction).await
}

/// Takes a reaction of the caller back.
///
/// # Errors
/// There is none.
pub async fn delete_reaction(
    ctx: &Ctx,
    caller: &Caller,
    message_id: &str,
    kind: &str,
) -> Result<(ShownMessage, Shown)> {
    let (access, message) = load(ctx, caller, message_id, Action::ReadChannel).await?;
    let user = caller.acting()?.id.clone();
    access.require_with_thing_of(Action::DeleteReaction, &user)?;
    policy::check_frozen(&access)?;
    let mut write = lock_message(ctx, &access, &message, &user).await?;
    let removed = write.remove_reactions(message_id, &user, Some(kind), None).await?.pop();
    let removed = removed
        .ok_or_else(|| Error::not_found(format!("user {user} has no reaction {kind:?} to message {message_id}")))?;
    finish(ctx, caller, &access, write, "reaction.deleted", removed).await
}

/// A page of a message's reactions, newest first.
///
/// # Errors
/// The message is not there, or a page that cannot be.
pub async fn get_reactions(
    ctx: &Ctx,
    caller: &Caller,
    message_id: &str,
    limit: Option<i64>,
    offset: Option<i64>,
) -> Result<Vec<Shown>> {
    load(ctx, caller, message_id, Action::ReadChannel).await?;
    let limit = checked_limit(limit, limits::REACTIONS_LIMIT_DEFAULT, limits::REACTIONS_LIMIT_MAX)?;
    let offset = checked_offset(offset, limits::QUERY_OFFSET_MAX)?;
    let rows = ctx.store.reactions(message_id, limit, offset).await?;
    let people = People::load(ctx, rows.iter().map(|row| row.user_id.clone())).await?;
    Ok(rows.iter().map(|row| render::messages::reaction(row, &people)).collect())
}

fn parse(request: SendReactionRequest, message_id: &str, user: &str, now: wire::Timestamp) -> Result<Reaction> {
    let request = request.reaction;
    let kind = request.kind;
    if kind.is_empty()
        || kind.len() > limits::REACTION_TYPE_BYTES_MAX
        || kind.contains(|c: char| c == '/' || c.is_control())
    {
        return Err(Error::input(format!(
            "reaction.type has 1 to {} bytes, none of which is / or a control character",
            limits::REACTION_TYPE_BYTES_MAX
        )));
    }
    let score = request.score.unwrap_or(1);
    if !(1..=limits::REACTION_SCORE_MAX).contains(&score) {
        return Err(Error::input(format!("reaction.score must be 1 to {}", limits::REACTION_SCORE_MAX)));
    }
    let custom = request.custom.without(REACTION_KEYS).0;
    let custom = custom::checked(&custom, limits::REACTION_CUSTOM_BYTES_MAX, "reaction")?;
    Ok(Reaction {
        message_id: message_id.into(),
        user_id: user.into(),
        kind,
        score,
        custom,
        created_at: now,
        updated_at: now,
    })
}

/// Takes the lock of a message's channel, for a change of its reactions.
async fn lock_message(ctx: &Ctx, access: &ChannelAccess, message: &Message, user: &str) -> Result<ChannelWrite> {
    let message_id = &message.id;
    let named = render::messages::people_of(message).into_iter().chain([user.to_owned()]);
    let missing = || Error::not_found(format!("message with id {message_id} doesn't exist"));
    let mut write = lock(ctx, access, named).await?.ok_or_else(missing)?;
    write.message(message_id).await?.filter(|message| message.deleted_at.is_none()).ok_or_else(missing)?;
    Ok(write)
}

async fn finish(
    ctx: &Ctx,
    caller: &Caller,
    access: &ChannelAccess,
    mut write: ChannelWrite,
    kind: &str,
    reaction: Reaction,
) -> Result<(ShownMessage, Shown)> {
    let row = write.count_reactions(&reaction.message_id).await?;
    let types = row.reactions.as_ref().map_or(0, |reactions| reactions.groups.len());
    if kind != "reaction.deleted" && types > limits::REACTION_TYPES_MAX {
        return Err(Error::input(format!("a message may have {} types of reactions", limits::REACTION_TYPES_MAX)));
    }
    let people = people_at_hand(ctx, &mut write, &access.channel, [reaction.user_id.clone()]).await?;
    let shown_reaction = render::messages::reaction(&reaction, &people);
    let shown = render::messages::at_hand(ctx, &mut write, &row, access.cid()).await?;
    let mut event = messages::body(kind, &access.channel, shown.clone(), write.now());
    event.channel = Some(render::channels::channel(&access.channel, Some(&write.head), &people, None));
    event.user = Some(shown_reaction.user.clone());
    event.reaction = Some(shown_reaction.clone());
    if kind != "reaction.deleted" && policy::is_shadowed(access, caller, write.now()) {
        // Counts and lists of reactions are the same for all who see them: what nobody else is to see is not kept.
        let only = policy::audience(access, caller, write.now());
        drop(write);
        ctx.announcer.tell(vec![Event::ephemeral(&event, Some(access.key()), only)?]).await;
        return Ok((ShownMessage { own_reactions: vec![shown_reaction.clone()], ..shown }, shown_reaction));
    }
    write.event(Event::new(&event, messages::audience_of(&row))?.about(&reaction.user_id));
    ctx.announcer.tell(write.commit().await?).await;
    Ok((with_own_reactions(ctx, caller, &row, shown).await?, shown_reaction))
}

/// The caller sees what is its own, as it is now that everything is committed.
async fn with_own_reactions(ctx: &Ctx, caller: &Caller, row: &Message, shown: ShownMessage) -> Result<ShownMessage> {
    let Some(user) = caller.user_id() else {
        return Ok(shown);
    };
    let own = ctx.store.own_reactions(std::slice::from_ref(&row.id), user, limits::REACTION_TYPES_MAX).await?;
    let people = People::load(ctx, [user.to_owned()]).await?;
    Ok(ShownMessage {
        own_reactions: own.iter().map(|reaction| render::messages::reaction(reaction, &people)).collect(),
        ..shown
    })
}
