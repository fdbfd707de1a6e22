//! Channels.

use wire::channel::{Channel, ChannelForViewer};

use super::People;
use crate::access::caches::LoadedChannel;
use crate::store::write::Head;

/// A channel as everybody sees it; the viewer's part is added by whoever knows the viewer.
pub fn channel(
    channel: &LoadedChannel,
    head: Option<&Head>,
    people: &People,
    viewer: Option<ChannelForViewer>,
) -> Channel {
    let row = &channel.row;
    Channel {
        id: row.cid.id().into(),
        kind: row.cid.channel_type().into(),
        cid: row.cid.clone(),
        team: row.team.clone(),
        created_by: row.created_by.as_ref().map(|id| people.get(id)),
        created_at: row.created_at,
        updated_at: row.updated_at,
        deleted_at: row.deleted_at,
        last_message_at: head.and_then(|head| head.last_message_at),
        truncated_at: row.truncated_at,
        truncated_by: row.truncated_by.as_ref().map(|id| people.get(id)),
        frozen: row.frozen,
        disabled: row.disabled,
        member_count: row.member_count,
        message_count: head.filter(|_| channel.config.count_messages).map(|head| head.message_count),
        cooldown: (row.cooldown > 0).then_some(i64::from(row.cooldown)),
        filter_tags: row.filter_tags.clone(),
        config: Some(channel.config.clone()),
        viewer,
        custom: row.custom.clone(),
    }
}

/// The users whom [`channel`] names.
pub fn people_of(channel: &LoadedChannel) -> impl Iterator<Item = String> {
    channel.row.created_by.iter().chain(&channel.row.truncated_by).cloned()
}
