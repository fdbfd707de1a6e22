//! Users.

use crate::store::users::User;

/// A user as everybody sees it. Who wishes to be invisible looks offline.
pub fn public(row: &User, online: bool) -> wire::user::User {
    wire::user::User {
        id: row.id.clone(),
        name: row.name.clone(),
        image: row.image.clone(),
        role: row.role.clone(),
        language: row.language.clone(),
        online: online && !row.invisible,
        invisible: row.invisible,
        banned: row.banned,
        shadow_banned: row.shadow_banned,
        ban_expires: row.ban_expires,
        teams: row.teams.clone(),
        teams_role: row.teams_role.clone(),
        blocked_user_ids: Vec::new(),
        privacy_settings: row.privacy_settings.clone(),
        last_active: row.last_active,
        deactivated_at: row.deactivated_at,
        deleted_at: row.deleted_at,
        revoke_tokens_issued_before: row.revoke_tokens_issued_before,
        created_at: row.created_at,
        updated_at: row.updated_at,
        custom: row.custom.clone(),
    }
}
