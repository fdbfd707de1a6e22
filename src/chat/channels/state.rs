//! The state of channels: all that a screen needs, for one channel or thirty.
//!
//! The number of questions to Postgres does not grow with the number of channels.

use std::collections::HashMap;
use std::sync::Arc;

use wire::Cid;
use wire::channel::{ChannelForViewer, ChannelState};
use wire::read::Read;

use crate::access::caches::{LoadedChannel, Membership};
use crate::access::{Action, Caller, ChannelAccess};
use crate::chat::drafts;
use crate::chat::render::messages::that_fit;
use crate::chat::render::{self, People};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::store::members::{Member, MemberPage};
use crate::store::messages::{LatestOf, Message};
use crate::store::mutes::ChannelMute;
use crate::store::unread::ReadState;
use crate::store::write::Head;
use crate::{asker, limits};

/// How much of each channel to load.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Newest messages; 0 for none.
    pub messages: i64,
    pub members: MemberPage,
    /// Watchers themselves, not only their number.
    pub watchers: Option<(usize, usize)>,
    /// Nothing but the channel.
    pub bare: bool,
}

/// The states of channels, in the order given.
///
/// # Errors
/// Postgres.
pub async fn states(
    ctx: &Ctx,
    caller: &Caller,
    channels: &[Arc<LoadedChannel>],
    wanted: Wanted,
) -> Result<Vec<ChannelState>> {
    if channels.is_empty() {
        return Ok(Vec::new());
    }
    let rows = wanted.messages.max(wanted.members.limit) * channels.len() as i64;
    if !wanted.bare && rows > limits::ANSWER_ROWS_SMALL {
        asker::turn_to_answer(&ctx.lanes).await?;
    }
    let mut loaded = load(ctx, caller, channels, wanted).await?;
    Ok(channels.iter().map(|channel| loaded.state(ctx, caller, channel)).collect())
}

/// Everything about the channels, by key.
struct Loaded {
    heads: HashMap<i64, Head>,
    own: HashMap<i64, Member>,
    mutes: HashMap<i64, ChannelMute>,
    drafts: HashMap<i64, wire::draft::Draft>,
    messages: HashMap<i64, Vec<wire::message::Message>>,
    pinned: HashMap<i64, Vec<wire::message::Message>>,
    members: HashMap<i64, Vec<Member>>,
    reads: HashMap<i64, Vec<ReadState>>,
    watchers: HashMap<i64, Vec<String>>,
    watcher_counts: HashMap<i64, i64>,
    people: People,
}

async fn load(ctx: &Ctx, caller: &Caller, channels: &[Arc<LoadedChannel>], wanted: Wanted) -> Result<Loaded> {
    let keys: Vec<i64> = channels.iter().map(|channel| channel.row.id).collect();
    let viewer = caller.user_id();
    let (heads, own, mutes) = tokio::try_join!(
        ctx.store.heads(&keys),
        async {
            match viewer {
                Some(viewer) => ctx.store.memberships(&keys, viewer).await,
                None => Ok(Vec::new()),
            }
        },
        async {
            match viewer {
                Some(viewer) => ctx.store.channel_mutes_among(viewer, &keys).await,
                None => Ok(Vec::new()),
            }
        },
    )?;
    let heads: HashMap<i64, Head> = heads.into_iter().map(|head| (head.channel_id, head)).collect();
    let own: HashMap<i64, Member> = own.into_iter().map(|member| (member.channel_id, member)).collect();
    let mut loaded = Loaded {
        heads,
        own,
        mutes: mutes.into_iter().map(|mute| (mute.channel_id, mute)).collect(),
        drafts: HashMap::new(),
        messages: HashMap::new(),
        pinned: HashMap::new(),
        members: HashMap::new(),
        reads: HashMap::new(),
        watchers: HashMap::new(),
        watcher_counts: HashMap::new(),
        people: People::default(),
    };
    let mut people: Vec<String> = channels.iter().flat_map(|channel| render::channels::people_of(channel)).collect();
    people.extend(viewer.map(ToOwned::to_owned));
    if !wanted.bare {
        if let Some(viewer) = viewer {
            loaded.drafts = drafts::of_channels(ctx, viewer, &keys).await?;
        }
        loaded.load_messages(ctx, caller, channels, wanted).await?;
        let most =
            channels.iter().map(|channel| channel.row.member_count.clamp(0, wanted.members.limit) as usize).sum();
        let members = ctx.store.members_of(&keys, wanted.members, most).await?;
        people.extend(members.iter().map(|member| member.user_id.clone()));
        loaded.load_reads(ctx, channels, &members, viewer).await?;
        people.extend(loaded.reads.values().flatten().map(|state| state.user_id.clone()));
        loaded.members = by_channel(members, |member| member.channel_id);
        loaded.watcher_counts = keys.iter().copied().zip(ctx.engine.presence.watcher_counts(&keys).await).collect();
        if let Some((limit, offset)) = wanted.watchers {
            for key in &keys {
                let watchers = ctx.engine.presence.watchers(*key, limit, offset).await;
                people.extend(watchers.iter().cloned());
                loaded.watchers.insert(*key, watchers);
            }
        }
    }
    loaded.people = People::load(ctx, people).await?;
    Ok(loaded)
}

fn by_channel<T>(rows: Vec<T>, key: impl Fn(&T) -> i64) -> HashMap<i64, Vec<T>> {
    let mut map: HashMap<i64, Vec<T>> = HashMap::new();
    for row in rows {
        map.entry(key(&row)).or_default().push(row);
    }
    map
}

/// Where an answer has no room for all messages of its channels, each channel has its share for the newest.
fn newest_that_fit(messages: Vec<Message>, channels: usize, bytes_max: usize) -> Vec<Message> {
    if that_fit(messages.iter(), bytes_max) == messages.len() {
        return messages;
    }
    let mut messages = by_channel(messages, |message| message.channel_id);
    for rows in messages.values_mut() {
        let fit = that_fit(rows.iter().rev(), bytes_max / channels);
        rows.drain(..rows.len() - fit);
    }
    messages.into_values().flatten().collect()
}

impl Loaded {
    async fn load_messages(
        &mut self,
        ctx: &Ctx,
        caller: &Caller,
        channels: &[Arc<LoadedChannel>],
        wanted: Wanted,
    ) -> Result<()> {
        let latest: Vec<LatestOf> = channels
            .iter()
            .map(|channel| {
                let key = channel.row.id;
                let floor = self.heads.get(&key).map_or(0, |head| head.floor_seq);
                let cleared = self.own.get(&key).map_or(0, |member| member.cleared_seq);
                LatestOf { channel_id: key, floor_seq: floor.max(cleared) }
            })
            .collect();
        let viewer = caller.user_id();
        let reader = viewer.filter(|_| !caller.is_server());
        let (messages, pinned) = tokio::try_join!(
            async {
                match wanted.messages {
                    0 => Ok(Vec::new()),
                    limit => ctx.store.latest_messages(&latest, reader, limit).await,
                }
            },
            ctx.store.pinned_messages(&latest, reader, limits::PINNED_MESSAGES_MAX, ctx.clock.now()),
        )?;
        let room = limits::ANSWER_BYTES_MAX.saturating_sub(render::messages::bytes_of(&pinned));
        let mut rows = newest_that_fit(messages, channels.len(), room);
        let newest = rows.len();
        rows.extend(pinned);
        let cids: HashMap<i64, Cid> =
            channels.iter().map(|channel| (channel.row.id, channel.row.cid.clone())).collect();
        let options = render::messages::Options::of(ctx, caller);
        let shown = render::messages::messages(ctx, &rows, &cids, options).await?;
        for (place, (row, shown)) in rows.iter().zip(shown).enumerate() {
            let into = if place < newest { &mut self.messages } else { &mut self.pinned };
            into.entry(row.channel_id).or_default().push(shown);
        }
        Ok(())
    }

    /// Read states of the newest members, and always the viewer's own.
    async fn load_reads(
        &mut self,
        ctx: &Ctx,
        channels: &[Arc<LoadedChannel>],
        members: &[Member],
        viewer: Option<&str>,
    ) -> Result<()> {
        let mut pairs: Vec<(i64, String)> = Vec::new();
        for channel in channels.iter().filter(|channel| channel.config.read_events) {
            let key = channel.row.id;
            let newest =
                members.iter().filter(|member| member.channel_id == key).take(limits::STATE_READS_MAX as usize);
            pairs.extend(newest.map(|member| (key, member.user_id.clone())));
            if let Some(viewer) = viewer.filter(|_| self.own.contains_key(&key)) {
                pairs.push((key, viewer.to_owned()));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        if pairs.is_empty() {
            return Ok(());
        }
        let (keys, users): (Vec<i64>, Vec<String>) = pairs.into_iter().unzip();
        self.reads = by_channel(ctx.store.read_states(&keys, &users).await?, |state| state.channel_id);
        Ok(())
    }

    fn state(&mut self, ctx: &Ctx, caller: &Caller, channel: &Arc<LoadedChannel>) -> ChannelState {
        let key = channel.row.id;
        let messages = self.messages.remove(&key).unwrap_or_default();
        let pinned_messages = self.pinned.remove(&key).unwrap_or_default();
        let head = self.heads.get(&key);
        let own = self.own.get(&key);
        let membership = own.map(|own| Arc::new(Membership::from(own)));
        let lists = ChannelAccess::of(ctx, caller, channel.clone(), membership).allows(Action::ReadChannelMembers);
        // Who may not list the members is shown itself among them, and nobody else.
        let is_shown = |user_id: &str| lists || caller.user_id() == Some(user_id);
        let members = self.members.get(&key).into_iter().flatten().filter(|row| is_shown(&row.user_id));
        let reads = self.reads.get(&key).into_iter().flatten().filter(|state| is_shown(&state.user_id));
        let viewer = caller.user().map(|_| self.for_viewer(ctx, caller, channel, head, own));
        let hidden = viewer.as_ref().is_some_and(|viewer| viewer.hidden);
        let now = ctx.clock.now();
        let member = |row: &Member| render::members::member(row, channel, &self.people, now);
        let watchers = self.watchers.get(&key).into_iter().flatten();
        let is_seen = |user: &Arc<wire::user::User>| !user.invisible || caller.user_id() == Some(&user.id);
        ChannelState {
            messages,
            pinned_messages,
            members: members.map(member).collect(),
            read: reads.filter_map(|state| self.read(caller, state)).collect(),
            membership: own.map(member),
            draft: self.drafts.get(&key).cloned(),
            watcher_count: self.watcher_counts.get(&key).copied().unwrap_or(0),
            watchers: watchers.map(|id| self.people.get(id)).filter(is_seen).collect(),
            hidden,
            hide_messages_before: own.and_then(|own| own.hide_messages_before),
            threads: Vec::new(),
            pending_messages: Vec::new(),
            channel: render::channels::channel(channel, head, &self.people, viewer),
        }
    }

    fn for_viewer(
        &self,
        ctx: &Ctx,
        caller: &Caller,
        channel: &Arc<LoadedChannel>,
        head: Option<&Head>,
        own: Option<&Member>,
    ) -> ChannelForViewer {
        let mute = self.mutes.get(&channel.row.id);
        // Capabilities are what the viewer may do, also where a server asks on its behalf.
        let viewer = caller.as_client();
        let membership = own.map(|own| Arc::new(Membership::from(own)));
        let access = viewer.map(|viewer| ChannelAccess::of(ctx, &viewer, channel.clone(), membership));
        ChannelForViewer {
            own_capabilities: access.map(|access| access.capabilities()).unwrap_or_default(),
            hidden: is_hidden(head, own),
            hide_messages_before: own.and_then(|own| own.hide_messages_before),
            muted: mute.is_some(),
            mute_expires_at: mute.and_then(|mute| mute.expires),
        }
    }

    /// A read state, unless its owner keeps it private.
    fn read(&self, caller: &Caller, state: &ReadState) -> Option<Read> {
        let user = self.people.get(&state.user_id);
        let is_own = caller.user_id() == Some(&state.user_id);
        let private = user
            .privacy_settings
            .as_ref()
            .and_then(|settings| settings.read_receipts)
            .is_some_and(|switch| !switch.enabled);
        (is_own || caller.is_server() || !private).then(|| Read {
            user,
            last_read: state.last_read_at,
            unread_messages: state.unread,
            last_read_message_id: state.last_read_message_id.clone(),
            last_delivered_at: state.last_delivered_at,
            last_delivered_message_id: state.last_delivered_message_id.clone(),
        })
    }
}

/// Hidden until the next message that brings the channel back.
pub fn is_hidden(head: Option<&Head>, own: Option<&Member>) -> bool {
    match (head, own.and_then(|own| own.hidden_at_seq)) {
        (Some(head), Some(hidden_at)) => hidden_at == head.shown_seq,
        _ => false,
    }
}
