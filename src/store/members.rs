//! Members of channels, with how far they have read.

use sqlx::types::Json;
use wire::{RawObject, Timestamp};

use super::{ChannelWrite, Result, Store, Write};
use crate::limits;

/// The channel role that everybody begins with.
pub const MEMBER_ROLE: &str = "channel_member";

/// A membership (`members`).
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Member {
    pub channel_id: i64,
    pub user_id: String,
    pub channel_role: String,
    /// `pending`, `accepted` or `rejected` for somebody who was invited.
    pub invite: Option<String>,
    pub invite_accepted_at: Option<Timestamp>,
    pub invite_rejected_at: Option<Timestamp>,
    pub banned: bool,
    pub shadow_banned: bool,
    pub ban_expires: Option<Timestamp>,
    pub notifications_muted: bool,
    pub notifications_muted_until: Option<Timestamp>,
    #[sqlx(json)]
    pub custom: RawObject,
    pub pinned_at: Option<Timestamp>,
    pub archived_at: Option<Timestamp>,
    /// The channel's `shown_seq` when it was hidden; hidden while the channel still has it.
    pub hidden_at_seq: Option<i64>,
    /// Messages up to this number are not shown to the member.
    pub cleared_seq: i64,
    pub hide_messages_before: Option<Timestamp>,
    pub last_read_at: Timestamp,
    pub last_read_seq: i64,
    pub last_read_counted: i64,
    pub last_read_message_id: Option<String>,
    pub last_delivered_at: Option<Timestamp>,
    pub last_delivered_message_id: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// How somebody stands in a channel, as far as rights go: as a member, or as a former one whom something still binds. Who has rejected
/// an invite is none.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Standing {
    pub channel_id: i64,
    pub user_id: String,
    pub has_left: bool,
    pub channel_role: String,
    pub pending: bool,
    pub banned: bool,
    pub shadow_banned: bool,
    pub ban_expires: Option<Timestamp>,
    pub notifications_muted: bool,
    pub notifications_muted_until: Option<Timestamp>,
    pub cleared_seq: i64,
}

/// What bound a member who has left.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct FormerMember {
    pub user_id: String,
    /// Its role, where that was not the one that everybody begins with.
    pub channel_role: Option<String>,
    banned: bool,
    shadow_banned: bool,
    ban_expires: Option<Timestamp>,
    cleared_seq: i64,
    hide_messages_before: Option<Timestamp>,
}

impl FormerMember {
    /// Bans the new member as before.
    pub fn bans(&self, row: &mut Member) {
        (row.banned, row.shadow_banned, row.ban_expires) = (self.banned, self.shadow_banned, self.ban_expires);
    }

    /// Hides from the new member what was hidden from it before.
    pub fn hides(&self, row: &mut Member) {
        (row.cleared_seq, row.hide_messages_before) = (self.cleared_seq, self.hide_messages_before);
    }
}

impl Member {
    /// A member who joins now: everything so far counts as read.
    pub fn new(user_id: &str, write: &ChannelWrite) -> Self {
        let now = write.now();
        Self {
            channel_id: write.head.channel_id,
            user_id: user_id.into(),
            channel_role: MEMBER_ROLE.into(),
            invite: None,
            invite_accepted_at: None,
            invite_rejected_at: None,
            banned: false,
            shadow_banned: false,
            ban_expires: None,
            notifications_muted: false,
            notifications_muted_until: None,
            custom: RawObject::default(),
            pinned_at: None,
            archived_at: None,
            hidden_at_seq: None,
            cleared_seq: 0,
            hide_messages_before: None,
            last_read_at: now,
            last_read_seq: write.head.message_seq,
            last_read_counted: write.head.counted,
            last_read_message_id: None,
            last_delivered_at: None,
            last_delivered_message_id: None,
            created_at: now,
            updated_at: now,
        }
    }

    pub fn is_banned(&self, now: Timestamp) -> bool {
        self.banned && self.ban_expires.is_none_or(|end| end > now)
    }

    pub fn is_muted(&self, now: Timestamp) -> bool {
        self.notifications_muted && self.notifications_muted_until.is_none_or(|end| end > now)
    }

    pub fn is_pending(&self) -> bool {
        self.invite.as_deref() == Some("pending")
    }

    pub fn has_rejected(&self) -> bool {
        self.invite.as_deref() == Some("rejected")
    }
}

/// What a message shows of its author's membership.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AuthorMembership {
    pub channel_id: i64,
    pub user_id: String,
    pub channel_role: String,
    pub notifications_muted: bool,
}

/// Which of a channel's members to read.
#[derive(Clone, Copy, Debug)]
pub struct MemberPage {
    pub limit: i64,
    pub offset: i64,
}

/// Pages of the members of the channels `$1`.
const WHOLE_MEMBERS: &str = "SELECT m.* FROM unnest($1::bigint[]) AS c (id), LATERAL (
    SELECT * FROM members WHERE channel_id = c.id ORDER BY created_at DESC, user_id LIMIT $2 OFFSET $3) m";

/// The same, without custom data of more than `$4` bytes. What has few in the table is none, or little: no more of it is packed
/// into so few.
const MEMBERS_WITHIN: &str = "SELECT m.* FROM unnest($1::bigint[]) AS c (id), LATERAL (
    SELECT channel_id, user_id, channel_role, invite, invite_accepted_at, invite_rejected_at, banned, shadow_banned, ban_expires,
        notifications_muted, notifications_muted_until, pinned_at, archived_at, hidden_at_seq, cleared_seq, hide_messages_before,
        last_read_at, last_read_seq, last_read_counted, last_read_message_id, last_delivered_at, last_delivered_message_id,
        created_at, updated_at,
        CASE WHEN pg_column_size(custom) <= 16 OR octet_length(custom::text) <= $4 THEN custom ELSE '{}' END AS custom
    FROM members WHERE channel_id = c.id ORDER BY created_at DESC, user_id LIMIT $2 OFFSET $3) m";

/// How users stand in channels, for pairs `p`.
macro_rules! standings {
    ($pairs:literal) => {
        concat!(
            "SELECT p.channel_id, p.user_id, m.user_id IS NULL OR coalesce(m.invite = 'rejected', false) AS has_left,
                 coalesce(m.channel_role, f.channel_role, '') AS channel_role,
                 coalesce(m.invite = 'pending', false) AS pending,
                 coalesce(m.banned, f.banned) AS banned, coalesce(m.shadow_banned, f.shadow_banned) AS shadow_banned,
                 CASE WHEN m.user_id IS NULL THEN f.ban_expires ELSE m.ban_expires END AS ban_expires,
                 coalesce(m.notifications_muted, false) AS notifications_muted, m.notifications_muted_until,
                 coalesce(m.cleared_seq, f.cleared_seq) AS cleared_seq
             FROM ",
            $pairs,
            " LEFT JOIN members m ON m.channel_id = p.channel_id AND m.user_id = p.user_id
             LEFT JOIN former_members f
                 ON m.user_id IS NULL AND f.channel_id = p.channel_id AND f.user_id = p.user_id
             WHERE m.user_id IS NOT NULL OR f.user_id IS NOT NULL"
        )
    };
}

impl Store {
    /// One membership.
    ///
    /// # Errors
    /// Postgres.
    pub async fn member(&self, channel_id: i64, user_id: &str) -> Result<Option<Member>> {
        let member = sqlx::query_as("SELECT * FROM members WHERE channel_id = $1 AND user_id = $2")
            .bind(channel_id)
            .bind(user_id)
            .fetch_optional(self.pool())
            .await?;
        Ok(member)
    }

    /// The memberships of one user in several channels.
    ///
    /// # Errors
    /// Postgres.
    pub async fn memberships(&self, channel_ids: &[i64], user_id: &str) -> Result<Vec<Member>> {
        let members = sqlx::query_as("SELECT * FROM members WHERE channel_id = ANY($1) AND user_id = $2")
            .bind(channel_ids)
            .bind(user_id)
            .fetch_all(self.pool())
            .await?;
        Ok(members)
    }

    /// How users stand in channels, for pairs of channel and user, in no order; who never was there is left out.
    ///
    /// # Errors
    /// Postgres.
    pub async fn standings(&self, channel_ids: &[i64], user_ids: &[String]) -> Result<Vec<Standing>> {
        let standings = sqlx::query_as(standings!("unnest($1::bigint[], $2::text[]) AS p (channel_id, user_id)"))
            .bind(channel_ids)
            .bind(user_ids)
            .fetch_all(self.pool())
            .await?;
        Ok(standings)
    }

    /// How one user stands in a channel. By itself: Postgres plans this once, and with lists each time, which takes longer than the rest.
    ///
    /// # Errors
    /// Postgres.
    pub async fn standing(&self, channel_id: i64, user_id: &str) -> Result<Option<Standing>> {
        let standing = sqlx::query_as(standings!("(SELECT $1::bigint AS channel_id, $2::text AS user_id) p"))
            .bind(channel_id)
            .bind(user_id)
            .fetch_optional(self.pool())
            .await?;
        Ok(standing)
    }

    /// A page of each channel's members, the newest first. `most` is how many these can be: where an answer has no room for all
    /// the custom data of so many, those with more than their share come without it ([`limits::ANSWER_MEMBERS_BYTES_MAX`]).
    ///
    /// # Errors
    /// Postgres.
    pub async fn members_of(&self, channel_ids: &[i64], page: MemberPage, most: usize) -> Result<Vec<Member>> {
        let share = limits::ANSWER_MEMBERS_BYTES_MAX / most.max(1);
        let is_room = share >= limits::CUSTOM_BYTES_MAX;
        let members = sqlx::query_as(if is_room { WHOLE_MEMBERS } else { MEMBERS_WITHIN });
        let mut members = members.bind(channel_ids).bind(page.limit).bind(page.offset);
        if !is_room {
            members = members.bind(share as i64);
        }
        Ok(members.fetch_all(self.pool()).await?)
    }

    /// Memberships as messages show them, for pairs of channel and author.
    ///
    /// # Errors
    /// Postgres.
    pub async fn author_memberships(&self, channel_ids: &[i64], user_ids: &[String]) -> Result<Vec<AuthorMembership>> {
        let memberships = sqlx::query_as(
            "SELECT m.channel_id, m.user_id, m.channel_role,
                 m.notifications_muted AND coalesce(m.notifications_muted_until > now(), true) AS notifications_muted
             FROM unnest($1::bigint[], $2::text[]) AS p (channel_id, user_id)
             JOIN members m ON m.channel_id = p.channel_id AND m.user_id = p.user_id",
        )
        .bind(channel_ids)
        .bind(user_ids)
        .fetch_all(self.pool())
        .await?;
        Ok(memberships)
    }

    /// The channels of which a user is a member, the most recently active first.
    ///
    /// # Errors
    /// Postgres.
    pub async fn channels_of_user(&self, user_id: &str, limit: i64) -> Result<Vec<i64>> {
        let channels = sqlx::query_scalar(
            "SELECT m.channel_id FROM members m JOIN channel_heads h ON h.channel_id = m.channel_id
             WHERE m.user_id = $1 AND m.invite IS DISTINCT FROM 'rejected'
             ORDER BY h.event_at DESC LIMIT $2",
        )
        .bind(user_id)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        Ok(channels)
    }
}

impl Write {
    /// Notes the newest message that reached a member's device. Says whether that is news.
    ///
    /// # Errors
    /// Postgres.
    pub async fn mark_delivered(
        &mut self,
        channel_id: i64,
        user_id: &str,
        message_id: &str,
    ) -> Result<Option<Timestamp>> {
        let at = sqlx::query_scalar(
            "UPDATE members m SET last_delivered_at = clock_timestamp(), last_delivered_message_id = d.id
             FROM messages d
             WHERE m.channel_id = $1 AND m.user_id = $2 AND d.id = $3 AND d.channel_id = $1
               AND NOT EXISTS (SELECT FROM messages old WHERE old.id = m.last_delivered_message_id AND old.seq >= d.seq)
             RETURNING m.last_delivered_at",
        )
        .bind(channel_id)
        .bind(user_id)
        .bind(message_id)
        .fetch_optional(self.connection())
        .await?;
        Ok(at)
    }
}

impl ChannelWrite {
    /// Memberships of the named users as they are under the lock.
    ///
    /// # Errors
    /// Postgres.
    pub async fn members(&mut self, user_ids: &[String]) -> Result<Vec<Member>> {
        let id = self.head.channel_id;
        let members = sqlx::query_as("SELECT * FROM members WHERE channel_id = $1 AND user_id = ANY($2)")
            .bind(id)
            .bind(user_ids)
            .fetch_all(self.connection())
            .await?;
        Ok(members)
    }

    /// Creates or replaces a membership, without what the member has read.
    ///
    /// # Errors
    /// Postgres.
    pub async fn put_member(&mut self, member: &Member) -> Result<Member> {
        let now = self.now();
        let row = sqlx::query_as(
            "INSERT INTO members (channel_id, user_id, channel_role, invite, invite_accepted_at, invite_rejected_at, banned,
                 shadow_banned, ban_expires, custom, pinned_at, archived_at, hidden_at_seq, cleared_seq, hide_messages_before,
                 last_read_at, last_read_seq, last_read_counted, created_at, updated_at, notifications_muted,
                 notifications_muted_until)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                 muted.user_id IS NOT NULL, muted.expires
             FROM (VALUES (1)) AS one LEFT JOIN channel_mutes muted ON muted.user_id = $2 AND muted.channel_id = $1
             ON CONFLICT (channel_id, user_id) DO UPDATE SET channel_role = $3, invite = $4, invite_accepted_at = $5,
                 invite_rejected_at = $6, banned = $7, shadow_banned = $8, ban_expires = $9, custom = $10, pinned_at = $11,
                 archived_at = $12, hidden_at_seq = $13, cleared_seq = $14, hide_messages_before = $15, updated_at = $20
             RETURNING *",
        )
        .bind(member.channel_id)
        .bind(&member.user_id)
        .bind(&member.channel_role)
        .bind(&member.invite)
        .bind(member.invite_accepted_at)
        .bind(member.invite_rejected_at)
        .bind(member.banned)
        .bind(member.shadow_banned)
        .bind(member.ban_expires)
        .bind(Json(&member.custom))
        .bind(member.pinned_at)
        .bind(member.archived_at)
        .bind(member.hidden_at_seq)
        .bind(member.cleared_seq)
        .bind(member.hide_messages_before)
        .bind(member.last_read_at)
        .bind(member.last_read_seq)
        .bind(member.last_read_counted)
        .bind(member.created_at)
        .bind(now)
        .fetch_one(self.connection())
        .await?;
        Ok(row)
    }

    /// Removes memberships and gives back those that there were. What bound them is kept ([`ChannelWrite::take_former`]).
    ///
    /// # Errors
    /// Postgres.
    pub async fn remove_members(&mut self, user_ids: &[String]) -> Result<Vec<Member>> {
        let id = self.head.channel_id;
        sqlx::query(
            "INSERT INTO former_members (channel_id, user_id, banned, shadow_banned, ban_expires, cleared_seq,
                 hide_messages_before, channel_role)
             SELECT channel_id, user_id, banned, shadow_banned, ban_expires, cleared_seq, hide_messages_before,
                 nullif(channel_role, $3) FROM members
             WHERE channel_id = $1 AND user_id = ANY($2)
                 AND (banned OR shadow_banned OR cleared_seq > 0 OR channel_role <> $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .bind(user_ids)
        .bind(MEMBER_ROLE)
        .execute(self.connection())
        .await?;
        let members = sqlx::query_as("DELETE FROM members WHERE channel_id = $1 AND user_id = ANY($2) RETURNING *")
            .bind(id)
            .bind(user_ids)
            .fetch_all(self.connection())
            .await?;
        sqlx::query("DELETE FROM channel_mutes WHERE channel_id = $1 AND user_id = ANY($2)")
            .bind(id)
            .bind(user_ids)
            .execute(self.connection())
            .await?;
        self.leave_threads(user_ids).await?;
        Ok(members)
    }

    /// Users no longer take part in threads of the channel: there is nothing for them to read.
    ///
    /// # Errors
    /// Postgres.
    pub async fn leave_threads(&mut self, user_ids: &[String]) -> Result<()> {
        let id = self.head.channel_id;
        sqlx::query("DELETE FROM thread_reads WHERE channel_id = $1 AND user_id = ANY($2)")
            .bind(id)
            .bind(user_ids)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// What bound those of these users who were members before; it is theirs again, and no longer kept.
    ///
    /// # Errors
    /// Postgres.
    pub async fn take_former(&mut self, user_ids: &[String]) -> Result<Vec<FormerMember>> {
        let id = self.head.channel_id;
        let former = sqlx::query_as(
            "DELETE FROM former_members WHERE channel_id = $1 AND user_id = ANY($2)
             RETURNING user_id, channel_role, banned, shadow_banned, ban_expires, cleared_seq, hide_messages_before",
        )
        .bind(id)
        .bind(user_ids)
        .fetch_all(self.connection())
        .await?;
        Ok(former)
    }

    /// Every member's id. For events that each member hears on their own.
    ///
    /// # Errors
    /// Postgres.
    pub async fn member_ids(&mut self) -> Result<Vec<String>> {
        let id = self.head.channel_id;
        let ids = sqlx::query_scalar("SELECT user_id FROM members WHERE channel_id = $1")
            .bind(id)
            .fetch_all(self.connection())
            .await?;
        Ok(ids)
    }
}
