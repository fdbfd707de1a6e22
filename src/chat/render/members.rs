//! Memberships.

use wire::Timestamp;
use wire::member::Member as Shown;

use super::People;
use crate::access::caches::LoadedChannel;
use crate::store::members::Member;

/// A membership as everybody sees it.
pub fn member(row: &Member, channel: &LoadedChannel, people: &People, now: Timestamp) -> Shown {
    let is_moderator = row.channel_role == "channel_moderator";
    Shown {
        user_id: row.user_id.clone(),
        user: people.get(&row.user_id),
        channel_role: row.channel_role.clone(),
        role: match (channel.row.created_by.as_deref() == Some(row.user_id.as_str()), is_moderator) {
            (true, _) => "owner",
            (_, true) => "moderator",
            _ => "member",
        },
        is_moderator,
        invited: row.invite.is_some(),
        invite_accepted_at: row.invite_accepted_at,
        invite_rejected_at: row.invite_rejected_at,
        status: match row.invite.as_deref() {
            Some("pending") => "pending",
            Some("rejected") => "rejected",
            _ => "member",
        },
        banned: row.banned,
        ban_expires: row.ban_expires,
        shadow_banned: row.shadow_banned,
        notifications_muted: row.is_muted(now),
        pinned_at: row.pinned_at,
        archived_at: row.archived_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
        custom: row.custom.clone(),
    }
}
