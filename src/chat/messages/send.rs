//! Sending a message. The heart: keep it short, and let whatever a message causes be a reader of the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use wire::Cid;
use wire::Timestamp;
use wire::event::ChannelFields;
use wire::member::MemberInMessage;
use wire::message::{Message as Shown, SendMessageRequest};

use super::draft::Draft;
use super::{body, event_of, only_for, policy, show, visibility};
use crate::access::{self, Action, Caller, ChannelAccess};
use crate::chat::channels::{lock, people_at_hand};
use crate::chat::drafts;
use crate::chat::render::{self, People};
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::{Audience, Event, size};
use crate::limits;
use crate::store::appender::{Append, Outcome};
use crate::store::messages::{Effects, Message, NewMessage};
use crate::store::{ChannelWrite, StoreError};

/// Sends a message and returns when it is committed. Sending it again with the same id changes nothing and answers what is
/// there.
///
/// # Errors
/// See [`Draft::parse`] and [`policy::check_send`]; an id that somebody else's message has (4).
pub async fn send_message(ctx: &Ctx, caller: &Caller, cid: &Cid, request: SendMessageRequest) -> Result<Shown> {
    let access = access::channel(ctx, caller, cid, Action::CreateMessage).await?;
    let mut draft = Draft::parse(request.message, access.channel.config.max_message_length, caller.is_server())?;
    draft.data.skip_push = request.skip_push;
    let author = caller.acting()?.id.clone();
    let now = ctx.clock.now();
    policy::check_send(&access, caller, &draft, now)?;
    let quoted = quoted_message(ctx, caller, &access, draft.quoted_id.as_deref()).await?;
    if let Some(parent_id) = &draft.parent_id {
        visibility::find_in(ctx, caller, &access, parent_id).await?;
    }
    let shadowed = policy::is_shadowed(&access, caller, now);
    let effects = Effects {
        shows_channel: !request.keep_channel_hidden && draft.counts(shadowed),
        moves_last_message: moves_last_message(&access, &draft) && !shadowed,
    };
    let slow = policy::needs_cooldown(&access, caller);
    if draft.parent_id.is_some() || draft.pinned || slow {
        return Box::pin(send_under_lock(ctx, caller, &access, draft, &author, shadowed, effects, slow)).await;
    }
    let message = new_message(&draft, &author, shadowed, None);
    // The event is one frame for all who hear it, so it shows no more than all of them may see.
    let quoted = quoted.filter(Message::is_for_everybody);
    let shown = preview(ctx, &access, &message, quoted.as_ref()).await?;
    let only_for = only_for(&author, shadowed, &draft.data.restricted_visibility).unwrap_or_default();
    let mut event = body("message.new", &access.channel, shown.clone(), Timestamp::AT_COMMIT);
    event.user = Some(shown.user.clone());
    let body = String::from_utf8(size::encode(&event)?).map_err(Error::internal)?;
    let append = Append { channel_id: access.key(), rights: access.rights(), message, effects, body, only_for };
    match write(ctx, &access, append).await? {
        Outcome::Stored { at, ended_draft } => {
            if ended_draft {
                Box::pin(drafts::sent(ctx, &access, &author, None)).await;
            }
            Ok(Shown { created_at: at, updated_at: at, ..shown })
        }
        Outcome::Duplicate(existing) => Box::pin(already_sent(ctx, caller, &access, &existing)).await,
        Outcome::Outdated(_) => Err(StoreError::Locked.into()),
    }
}

/// Writes a message by what its author may when it is written. Only those wait who were allowed it before rights were taken away.
async fn write(ctx: &Ctx, access: &ChannelAccess, append: Append) -> Result<Outcome> {
    let mut outcome = ctx.appender.append(append).await?;
    for _ in 0..limits::RIGHTS_LOOKS_MAX {
        let Outcome::Outdated(mut append) = outcome else { break };
        append.rights = Box::pin(access.renew(ctx, append.rights)).await?;
        outcome = ctx.appender.append(*append).await?;
    }
    Ok(outcome)
}

/// The message as a row, before it has a place.
pub(in crate::chat) fn new_message(
    draft: &Draft,
    author: &str,
    shadowed: bool,
    pinned_by: Option<String>,
) -> NewMessage {
    NewMessage {
        id: draft.id.clone(),
        user_id: author.into(),
        kind: draft.stored_kind().as_str(),
        text: draft.text.clone(),
        parent_id: draft.parent_id.clone(),
        show_in_channel: draft.show_in_channel,
        quoted_id: draft.quoted_id.clone(),
        silent: draft.silent,
        shadowed,
        counts: draft.counts(shadowed),
        data: (!draft.data.is_empty()).then(|| draft.data.clone()),
        pinned_by,
        pin_expires: draft.pin_expires,
    }
}

fn moves_last_message(access: &ChannelAccess, draft: &Draft) -> bool {
    let skipped_system =
        draft.kind == wire::message::MessageType::System && access.channel.config.skip_last_msg_update_for_system_msgs;
    !skipped_system && (draft.parent_id.is_none() || draft.show_in_channel)
}

/// The message as it will be shown, with [`Timestamp::AT_COMMIT`] for its time.
async fn preview(ctx: &Ctx, access: &ChannelAccess, new: &NewMessage, quoted: Option<&Message>) -> Result<Shown> {
    let row = Message {
        channel_id: access.key(),
        seq: 0,
        id: new.id.clone(),
        user_id: new.user_id.clone(),
        kind: new.kind.into(),
        text: new.text.clone(),
        parent_id: None,
        show_in_channel: false,
        quoted_id: new.quoted_id.clone(),
        silent: new.silent,
        shadowed: new.shadowed,
        counts: new.counts,
        counted: 0,
        data: new.data.clone(),
        reactions: None,
        reply_count: 0,
        deleted_reply_count: 0,
        participants: Vec::new(),
        pinned_at: None,
        pinned_by: None,
        pin_expires: None,
        created_at: Timestamp::AT_COMMIT,
        updated_at: Timestamp::AT_COMMIT,
        text_updated_at: None,
        deleted_at: None,
    };
    let named = render::messages::people_of(&row)
        .into_iter()
        .chain(quoted.map(render::messages::people_of).unwrap_or_default());
    let people = People::for_event(ctx, named).await?;
    let around = render::messages::Around {
        quoted,
        member: access.membership.as_ref().map(|member| MemberInMessage {
            channel_role: member.channel_role.clone(),
            notifications_muted: member.is_muted(ctx.clock.now()),
        }),
        ..Default::default()
    };
    Ok(render::messages::message(&row, access.cid(), &people, around, ctx.clock.now()))
}

/// The message that is to be quoted, if one is: of this channel, and one that the caller may see.
///
/// # Errors
/// There is none.
pub(in crate::chat) async fn quoted_message(
    ctx: &Ctx,
    caller: &Caller,
    access: &ChannelAccess,
    id: Option<&str>,
) -> Result<Option<Message>> {
    match id {
        Some(id) => {
            access.require(Action::ReadChannel)?;
            visibility::find_in(ctx, caller, access, id).await.map(Some)
        }
        None => Ok(None),
    }
}

/// The id is taken. By this very message, sent again after an answer was lost: that is fine.
async fn already_sent(ctx: &Ctx, caller: &Caller, access: &ChannelAccess, existing: &Message) -> Result<Shown> {
    let own = existing.channel_id == access.key() && Some(existing.user_id.as_str()) == caller.user_id();
    if own && visibility::find(ctx, caller, &existing.id).await?.is_some() {
        return show(ctx, caller, access, existing).await;
    }
    Err(Error::input(format!("a message with id {} already exists", existing.id)))
}

/// The way of messages that look at or change other rows of the channel: replies, pinned ones, and those in slow mode.
#[expect(clippy::too_many_arguments, reason = "all of them were just worked out by the only caller")]
async fn send_under_lock(
    ctx: &Ctx,
    caller: &Caller,
    access: &ChannelAccess,
    draft: Draft,
    author: &str,
    shadowed: bool,
    effects: Effects,
    slow: bool,
) -> Result<Shown> {
    let missing = || Error::not_found(format!("Can't find channel with id {}", access.cid()));
    let mut write = lock(ctx, access, [author.to_owned()]).await?.ok_or_else(missing)?;
    if slow {
        check_cooldown(&mut write, access, author).await?;
    }
    if let Some(parent_id) = &draft.parent_id {
        check_parent(&mut write, parent_id).await?;
    }
    let new = new_message(&draft, author, shadowed, draft.pinned.then(|| author.to_owned()));
    let Some(row) = write.insert_message(&new, effects).await? else {
        drop(write);
        let existing =
            ctx.store.message(&draft.id).await?.ok_or_else(|| Error::internal("a message id is taken by nothing"))?;
        return already_sent(ctx, caller, access, &existing).await;
    };
    let mut shown = render::messages::at_hand(ctx, &mut write, &row, access.cid()).await?;
    let parent = match &draft.parent_id {
        Some(parent_id) if !shadowed => {
            write.follow_thread(parent_id, &row).await?;
            write.count_reply(parent_id, author).await?
        }
        _ => None,
    };
    add_events(ctx, &mut write, access, &row, &shown, parent).await?;
    let thread = draft.parent_id.as_deref();
    let ended_draft = write.write().delete_draft(author, access.key(), thread.unwrap_or_default()).await?;
    let events = write.commit().await?;
    if ended_draft {
        Box::pin(drafts::sent(ctx, access, author, thread)).await;
    }
    ctx.announcer.tell(events).await;
    shown.own_reactions = Vec::new();
    Ok(shown)
}

/// # Errors
/// The author has written too lately.
pub(in crate::chat) async fn check_cooldown(
    write: &mut ChannelWrite,
    access: &ChannelAccess,
    author: &str,
) -> Result<()> {
    let seconds = i64::from(access.channel.row.cooldown);
    let since = write.now().plus_seconds(-seconds);
    if write.has_message_since(author, since).await? {
        return Err(Error::new(
            Kind::Cooldown,
            format!("this channel is in slow mode: wait {seconds} seconds between messages"),
        ));
    }
    Ok(())
}

async fn check_parent(write: &mut ChannelWrite, parent_id: &str) -> Result<()> {
    match write.message(parent_id).await? {
        None => Err(Error::input(format!("parent message {parent_id} doesn't exist in this channel"))),
        Some(parent) if parent.parent_id.is_some() => {
            Err(Error::new(Kind::NestedReply, "a reply cannot be replied to: threads are one level deep"))
        }
        Some(parent) if parent.deleted_at.is_some() => Err(Error::input("the parent message is deleted")),
        Some(_) => Ok(()),
    }
}

/// `message.new`; for a reply also the changed parent, and a word to those who take part in the thread.
async fn add_events(
    ctx: &Ctx,
    write: &mut ChannelWrite,
    access: &ChannelAccess,
    row: &Message,
    shown: &Shown,
    parent: Option<Message>,
) -> Result<()> {
    let mut event = body("message.new", &access.channel, shown.clone(), write.now());
    event.user = Some(shown.user.clone());
    write.event(Event::new(&event, super::audience_of(row))?.about(&row.user_id));
    let Some(parent) = parent else {
        return Ok(());
    };
    let shown_parent = render::messages::at_hand(ctx, write, &parent, access.cid()).await?;
    write.event(event_of("message.updated", &access.channel, &parent, shown_parent, write.now())?);
    let people = people_at_hand(ctx, write, &access.channel, None).await?;
    let mut event = wire::Event::new("notification.thread_message_new", write.now());
    event.channel_fields = Some(ChannelFields::new(access.cid(), access.channel.row.team.as_deref()));
    event.channel = Some(render::channels::channel(&access.channel, Some(&write.head), &people, None));
    event.message_id = Some(row.id.clone());
    event.message = Some(shown.clone());
    event.thread_id = Some(parent.id.clone());
    event.watcher_count = Some(0);
    // One event for all of them; how many threads each has not read is added where it is heard (chat/notifications.rs).
    let told = Event::new(&event, Audience::AbsentUsers(participants_of(&parent, row)))?;
    // The key is there for clients: it does not say how many watch.
    write.unnumbered_event(Event { watcher_count: None, ..told });
    Ok(())
}

/// Who takes part in a thread and may see its newest reply, but for the reply's author.
fn participants_of(parent: &Message, reply: &Message) -> Arc<[String]> {
    let participants = parent.participants.iter().take(limits::THREAD_PARTICIPANTS_KEPT).chain([&parent.user_id]);
    let others: BTreeSet<&String> =
        participants.filter(|id| **id != reply.user_id && reply.is_visible_to(id)).collect();
    others.into_iter().cloned().collect()
}
