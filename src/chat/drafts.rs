//! Drafts: what somebody has begun to write in a channel or a thread. Nobody else sees it.
//!
//! The table is the truth, and answers: a draft that is sent or deleted is gone at once on every node. Beside it stands what
//! the cluster keeps for a day under the name that the rooms surface documents (`draft:{user}:{room}`), for whoever looks there,
//! and for us when Postgres cannot be asked (docs/adr/0011).

mod delete;
mod get;
mod query;
mod save;

pub use delete::{delete_draft, sent};
pub use get::{get_draft, of_channels};
pub use query::query_drafts;
pub use save::save_draft;

use std::collections::HashMap;

use wire::draft::{Draft as Shown, DraftMessage as ShownMessage};
use wire::event::ChannelFields;
use wire::{Cid, Timestamp};

use crate::access::caches::LoadedChannel;
use crate::chat::render::{self, People};
use crate::ctx::Ctx;
use crate::engine::Note;
use crate::error::Result;
use crate::events::{Audience, Event};
use crate::limits;
use crate::store::drafts::Draft;
use crate::store::messages::{Message, Reader};

/// The cluster's note of a draft.
fn note<'a>(user: &'a str, room: &'a str, parent_id: &'a str) -> Note<'a> {
    Note::Draft { user, room, thread: Some(parent_id).filter(|id| !id.is_empty()) }
}

/// A user's drafts as they are shown to it, in the order given; `channels` has the channel of each.
async fn shown(
    ctx: &Ctx,
    rows: &[Draft],
    channels: &HashMap<i64, std::sync::Arc<LoadedChannel>>,
) -> Result<Vec<Shown>> {
    let named = |row: &Draft| {
        let parent = Some(row.parent_id.clone()).filter(|id| !id.is_empty());
        parent.into_iter().chain(row.message.quoted_id.clone())
    };
    let ids: Vec<String> = rows.iter().flat_map(named).collect();
    // What the author may no longer see stays named in the draft and is not shown.
    let reader = rows.first().map_or(Reader::Everybody, |row| Reader::User(&row.user_id));
    let around = match &ids[..] {
        [] => Vec::new(),
        ids => ctx.store.messages_seen_by(reader, ids, limits::ANSWER_QUOTES_BYTES_MAX).await?.messages,
    };
    let cids: HashMap<i64, Cid> = channels.iter().map(|(key, channel)| (*key, channel.row.cid.clone())).collect();
    let around: Vec<Message> = around.into_iter().filter(|message| cids.contains_key(&message.channel_id)).collect();
    let options = render::messages::Options { reader, ..render::messages::Options::default() };
    let rendered = render::messages::messages(ctx, &around, &cids, options).await?;
    let around: HashMap<String, _> = rendered.into_iter().map(|message| (message.id.clone(), message)).collect();
    let people = rows.iter().flat_map(|row| row.message.data.mentioned_users.iter().cloned());
    let people = people.chain(channels.values().flat_map(|channel| render::channels::people_of(channel)));
    let people = People::load(ctx, people).await?;
    let one = |row: &Draft| {
        let channel = channels.get(&row.channel_id)?;
        let parent_id = Some(row.parent_id.clone()).filter(|id| !id.is_empty());
        let of_channel = |id: &Option<String>| {
            let message = around.get(id.as_ref()?)?;
            (message.cid == channel.row.cid).then(|| message.clone())
        };
        Some(Shown {
            channel_cid: channel.row.cid.clone(),
            created_at: row.created_at,
            message: message(row, &people),
            channel: Some(render::channels::channel(channel, None, &people, None)),
            parent_message: of_channel(&parent_id),
            quoted_message: of_channel(&row.message.quoted_id),
            parent_id,
        })
    };
    Ok(rows.iter().filter_map(one).collect())
}

fn message(row: &Draft, people: &People) -> ShownMessage {
    let Draft { message, parent_id, .. } = row;
    let in_thread = !parent_id.is_empty();
    ShownMessage {
        id: message.id.clone(),
        text: message.text.clone(),
        kind: message.kind,
        parent_id: in_thread.then(|| parent_id.clone()),
        show_in_channel: in_thread.then_some(message.show_in_channel),
        quoted_message_id: message.quoted_id.clone(),
        silent: message.silent,
        attachments: message.data.attachments.clone(),
        mentioned_users: message.data.mentioned_users.iter().filter_map(|id| people.find(id)).collect(),
        html: message.data.html.clone(),
        mml: message.data.mml.clone(),
        custom: message.data.custom.clone(),
    }
}

/// Tells the author's own sockets: a draft is for nobody else.
async fn tell(ctx: &Ctx, kind: &str, channel: &LoadedChannel, user: &str, parent_id: &str, draft: Option<Shown>) {
    let at = draft.as_ref().map_or_else(|| ctx.clock.now(), |draft: &Shown| -> Timestamp { draft.created_at });
    let mut event = wire::Event::new(kind, at);
    event.channel_fields = Some(ChannelFields::new(&channel.row.cid, channel.row.team.as_deref()));
    event.parent_id = Some(parent_id.to_owned()).filter(|id| !id.is_empty());
    event.draft = draft.map(Box::new);
    match Event::ephemeral(&event, None, Audience::user(user)) {
        Ok(event) => ctx.announcer.tell(vec![event]).await,
        Err(error) => tracing::error!(%error, "an event does not serialise"),
    }
}
