//! How far users have read: marking channels as read, and as unread again.

use std::collections::HashMap;
use std::sync::Arc;

use wire::Cid;
use wire::event::{ChannelFields, ReadFields};
use wire::read::{MarkReadRequest, MarkUnreadRequest};

use crate::access::caches::{LoadedChannel, Membership};
use crate::access::{self, Action, Caller, ChannelAccess};
use crate::chat::channels::event_with_channel;
use crate::chat::messages::{policy, visibility};
use crate::chat::render::{self, People};
use crate::chat::threads;
use crate::chat::users::full::unread_totals;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::{Audience, Event};
use crate::limits;
use crate::store::Write;
use crate::store::members::Member;
use crate::store::messages::Message;

/// Marks a channel as read, whole or up to a message. Gives back the event that watchers hear; nothing where read events
/// are off.
///
/// # Errors
/// The caller is no member, or the message is not in the channel.
pub async fn mark_read(ctx: &Ctx, caller: &Caller, cid: &Cid, request: MarkReadRequest) -> Result<Option<wire::Event>> {
    let access = access::channel(ctx, caller, cid, Action::ReadChannel).await?;
    let user = caller.acting()?.id.clone();
    if let Some(thread) = request.thread_id.as_deref().filter(|id| !id.is_empty()) {
        return mark_thread_read(ctx, caller, &access, thread).await.map(Some);
    }
    let up_to = match request.message_id.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => Some(visibility::find_in(ctx, caller, &access, id).await?),
        None => None,
    };
    if !access.channel.config.read_events {
        return Ok(None);
    }
    let shows = shows_receipts(ctx, &user).await?;
    let people = People::for_event(ctx, [user.clone()]).await?;
    let mut write = ctx.store.write().await?;
    let Some(member) = write.mark_read(access.key(), &user, up_to.as_ref()).await? else {
        drop(write);
        return already_read(ctx, &access, &user, &people).await;
    };
    let event = read_event(&access, &member, &people);
    if shows {
        let audience = policy::audience(&access, caller, ctx.clock.now());
        let mut logged = Event::new(&event, audience)?.about(&user);
        logged.channel_id = Some(access.key());
        write.event(logged);
    }
    ctx.announcer.tell(write.commit().await?).await;
    tell_totals(ctx, Some(&access), &user, &event).await?;
    Ok(Some(event))
}

async fn mark_thread_read(ctx: &Ctx, caller: &Caller, access: &ChannelAccess, parent_id: &str) -> Result<wire::Event> {
    let user = &caller.acting()?.id;
    let event = threads::mark_read(ctx, caller, access, parent_id).await?;
    if access.channel.config.read_events && shows_receipts(ctx, user).await? {
        let audience = policy::audience(access, caller, ctx.clock.now());
        ctx.announcer.tell(vec![Event::ephemeral(&event, Some(access.key()), audience)?]).await;
    }
    tell_totals(ctx, Some(access), user, &event).await?;
    Ok(event)
}

/// The caller has read further already, or is no member.
async fn already_read(ctx: &Ctx, access: &ChannelAccess, user: &str, people: &People) -> Result<Option<wire::Event>> {
    match ctx.store.member(access.key(), user).await? {
        Some(member) => Ok(Some(read_event(access, &member, people))),
        // Watchers of a public channel need not be members; they have nothing that could be unread.
        None => Ok(None),
    }
}

fn read_event(access: &ChannelAccess, member: &Member, people: &People) -> wire::Event {
    let mut event = wire::Event::new("message.read", member.last_read_at);
    event.channel_fields = Some(ChannelFields::new(access.cid(), access.channel.row.team.as_deref()));
    event.user = Some(people.get(&member.user_id));
    event.read =
        Some(ReadFields { last_read_message_id: member.last_read_message_id.clone(), ..ReadFields::default() });
    event
}

async fn shows_receipts(ctx: &Ctx, user: &str) -> Result<bool> {
    Ok(ctx.caches.user(user).await?.is_none_or(|user| user.shows(|settings| settings.read_receipts)))
}

/// `notification.mark_read`, for the user's other devices.
async fn tell_totals(ctx: &Ctx, access: Option<&ChannelAccess>, user: &str, read: &wire::Event) -> Result<()> {
    let mut event = wire::Event::new("notification.mark_read", read.created_at);
    event.channel_fields.clone_from(&read.channel_fields);
    event.user.clone_from(&read.user);
    event.read.clone_from(&read.read);
    event.thread_id.clone_from(&read.thread_id);
    event.unread = Some(unread_totals(ctx, user).await?);
    if let Some(access) = access {
        let people = People::for_event(ctx, render::channels::people_of(&access.channel)).await?;
        event.channel = Some(render::channels::channel(&access.channel, None, &people, None));
    }
    ctx.announcer.tell(vec![Event::ephemeral(&event, None, Audience::user(user))?]).await;
    Ok(())
}

/// Marks all of the caller's channels as read, or the named ones up to a message each.
///
/// # Errors
/// A channel or message that is not there, or too many of them.
pub async fn mark_channels_read(
    ctx: &Ctx,
    caller: &Caller,
    read_by_channel: HashMap<String, String>,
) -> Result<Option<wire::Event>> {
    let user = caller.acting()?.id.clone();
    if read_by_channel.len() > limits::MARK_READ_CHANNELS_MAX {
        return Err(Error::input(format!("read_by_channel may name {} channels", limits::MARK_READ_CHANNELS_MAX)));
    }
    if !read_by_channel.is_empty() {
        let mut last = None;
        for (cid, message_id) in read_by_channel {
            let request = MarkReadRequest { message_id: Some(message_id), ..MarkReadRequest::default() };
            last = mark_read(ctx, caller, &cid.parse()?, request).await?.or(last);
        }
        return Ok(last);
    }
    mark_all_read(ctx, caller, &user).await?;
    // The answer's event is one of a single channel; there is none to show.
    Ok(None)
}

/// Piece by piece, each in a transaction of its own: whoever has ten thousand channels holds up nobody. What is left, if one of
/// them fails, is unread as before.
async fn mark_all_read(ctx: &Ctx, caller: &Caller, user: &str) -> Result<()> {
    let shows = shows_receipts(ctx, user).await?;
    let people = People::for_event(ctx, [user.to_owned()]).await?;
    let plain = people.clone().plain();
    let mut after = 0;
    loop {
        let mut write = ctx.store.write().await?;
        let members = write.mark_some_read(user, after).await?;
        let people = if members.len() > limits::READS_SHOWN_WHOLE_MAX { &plain } else { &people };
        if shows {
            log_reads(ctx, caller, &mut write, &members, people).await?;
        }
        ctx.announcer.tell(write.commit().await?).await;
        match members.last() {
            Some(last) if members.len() as i64 == limits::READS_PER_PIECE => after = last.channel_id,
            _ => break,
        }
    }
    let mut read = wire::Event::new("message.read", ctx.clock.now());
    read.user = Some(people.get(user));
    tell_totals(ctx, None, user, &read).await
}

/// An event for each of the channels, where read events are on.
async fn log_reads(ctx: &Ctx, caller: &Caller, write: &mut Write, members: &[Member], people: &People) -> Result<()> {
    let keys: Vec<i64> = members.iter().map(|member| member.channel_id).collect();
    let app = ctx.caches.app();
    let channels: HashMap<i64, Arc<LoadedChannel>> =
        write.channels(&keys).await?.into_iter().map(|row| (row.id, Arc::new(LoadedChannel::new(row, &app)))).collect();
    for member in members {
        let Some(channel) = channels.get(&member.channel_id).filter(|channel| channel.config.read_events) else {
            continue;
        };
        let access = ChannelAccess::of(ctx, caller, channel.clone(), Some(Arc::new(Membership::from(member))));
        let audience = policy::audience(&access, caller, ctx.clock.now());
        let mut logged = Event::new(&read_event(&access, member, people), audience)?.about(&member.user_id);
        logged.channel_id = Some(member.channel_id);
        write.event(logged);
    }
    Ok(())
}

/// Marks a message and everything after it as unread.
///
/// # Errors
/// The caller is no member, or the message is not in the channel.
pub async fn mark_unread(ctx: &Ctx, caller: &Caller, cid: &Cid, request: MarkUnreadRequest) -> Result<()> {
    let access = access::channel(ctx, caller, cid, Action::ReadChannel).await?;
    let user = caller.acting()?.id.clone();
    if let Some(thread) = request.thread_id.as_deref().filter(|id| !id.is_empty()) {
        return threads::mark_unread(ctx, caller, &access, thread).await;
    }
    if !access.channel.config.read_events {
        return Err(Error::new(Kind::FeatureOff, "read events are switched off in this channel"));
    }
    let from = match (request.message_id.as_deref().filter(|id| !id.is_empty()), request.message_timestamp) {
        (Some(id), _) => visibility::find_in(ctx, caller, &access, id).await?,
        (None, Some(at)) => first_since(ctx, caller, &access, at).await?,
        (None, None) => return Err(Error::input("message_id, thread_id or message_timestamp must say from where on")),
    };
    let mut write = ctx.store.write().await?;
    let member = write.mark_unread(access.key(), &user, &from).await?;
    let member = member.ok_or_else(|| Error::input(format!("user {user} is not a member of {cid}")))?;
    ctx.announcer.tell(write.commit().await?).await;
    let head =
        ctx.store.heads(&[access.key()]).await?.pop().ok_or_else(|| Error::internal("a channel without a head"))?;
    let people = render::channels::people_of(&access.channel).chain([user.clone()]);
    let people = People::for_event(ctx, people).await?;
    let mut event = event_with_channel("notification.mark_unread", &access.channel, &head, &people, ctx.clock.now());
    event.user = Some(people.get(&user));
    event.unread = Some(unread_totals(ctx, &user).await?);
    event.read = Some(ReadFields {
        first_unread_message_id: Some(from.id),
        last_read_message_id: member.last_read_message_id,
        last_read_at: Some(member.last_read_at),
        unread_messages: Some(ctx.store.read_state(access.key(), &user).await?.unread),
        ..ReadFields::default()
    });
    ctx.announcer.tell(vec![Event::ephemeral(&event, None, Audience::user(&user))?]).await;
    Ok(())
}

async fn first_since(ctx: &Ctx, caller: &Caller, access: &ChannelAccess, at: wire::Timestamp) -> Result<Message> {
    let seq = ctx.store.message_seq_at(access.key(), at, true).await?;
    let page = crate::store::messages::HistoryPage {
        bound: crate::store::messages::Bound::After { seq, inclusive: false },
        limit: 1,
        floor_seq: visibility::floor_seq(ctx, access).await?,
        viewer: caller.user_id().filter(|_| !access.is_unchecked()),
    };
    let first = ctx.store.history(access.key(), &page).await?.pop();
    first.ok_or_else(|| Error::input("there is no message at or after message_timestamp"))
}

/// Notes which messages have reached the caller's device, and tells the watchers.
///
/// # Errors
/// A channel that the caller may not read.
pub async fn mark_delivered(ctx: &Ctx, caller: &Caller, delivered: &[(String, String)]) -> Result<()> {
    let user = caller.acting()?.id.clone();
    if delivered.is_empty() || delivered.len() > limits::MEMBERS_PER_CALL_MAX {
        return Err(Error::input(format!(
            "latest_delivered_messages must name 1 to {} messages",
            limits::MEMBERS_PER_CALL_MAX
        )));
    }
    for (cid, message_id) in delivered {
        let cid: Cid = cid.parse()?;
        let access = access::channel(ctx, caller, &cid, Action::ReadChannel).await?;
        if visibility::find(ctx, caller, message_id).await?.is_none() {
            continue;
        }
        let mut write = ctx.store.write().await?;
        let at = write.mark_delivered(access.key(), &user, message_id).await?;
        ctx.announcer.tell(write.commit().await?).await;
        let shows = ctx.caches.user(&user).await?.is_none_or(|user| user.shows(|settings| settings.delivery_receipts));
        if let Some(at) = at.filter(|_| shows && access.channel.config.delivery_events) {
            let mut event = wire::Event::new("message.delivered", at);
            event.channel_fields = Some(ChannelFields::new(&cid, access.channel.row.team.as_deref()));
            event.user = Some(People::for_event(ctx, [user.clone()]).await?.get(&user));
            event.read = Some(ReadFields {
                last_delivered_at: Some(at),
                last_delivered_message_id: Some(message_id.clone()),
                ..ReadFields::default()
            });
            let audience = policy::audience(&access, caller, ctx.clock.now());
            ctx.announcer.tell(vec![Event::ephemeral(&event, Some(access.key()), audience)?]).await;
        }
    }
    Ok(())
}
