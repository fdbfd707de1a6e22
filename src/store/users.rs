//! Users.

use std::collections::BTreeMap;

use sqlx::types::Json;
use wire::user::PrivacySettings;
use wire::{RawObject, Timestamp};

use super::{Result, Store, Write};

/// A user (`users`).
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct User {
    pub id: String,
    pub name: Option<String>,
    pub image: Option<String>,
    pub role: String,
    pub language: String,
    pub teams: Vec<String>,
    #[sqlx(json(nullable))]
    pub teams_role: Option<BTreeMap<String, String>>,
    pub invisible: bool,
    #[sqlx(json(nullable))]
    pub privacy_settings: Option<PrivacySettings>,
    #[sqlx(json)]
    pub custom: RawObject,
    pub banned: bool,
    pub shadow_banned: bool,
    pub ban_expires: Option<Timestamp>,
    pub revoke_tokens_issued_before: Option<Timestamp>,
    pub last_active: Option<Timestamp>,
    pub deactivated_at: Option<Timestamp>,
    pub deleted_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl User {
    /// A user that nobody has written yet.
    pub fn new(id: &str, role: &str, now: Timestamp) -> Self {
        Self {
            id: id.into(),
            name: None,
            image: None,
            role: role.into(),
            language: String::new(),
            teams: Vec::new(),
            teams_role: None,
            invisible: false,
            privacy_settings: None,
            custom: RawObject::default(),
            banned: false,
            shadow_banned: false,
            ban_expires: None,
            revoke_tokens_issued_before: None,
            last_active: None,
            deactivated_at: None,
            deleted_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Is the user banned from the whole app at this time?
    pub fn is_banned(&self, now: Timestamp) -> bool {
        self.banned && self.ban_expires.is_none_or(|end| end > now)
    }

    /// Does the user let others see this sign of life?
    pub fn shows(&self, setting: fn(&PrivacySettings) -> Option<wire::user::Switch>) -> bool {
        self.privacy_settings.as_ref().and_then(setting).is_none_or(|switch| switch.enabled)
    }
}

impl Store {
    /// Users by their ids, in no order; unknown ones are left out.
    ///
    /// # Errors
    /// Postgres.
    pub async fn users(&self, ids: &[String]) -> Result<Vec<User>> {
        let users = sqlx::query_as("SELECT * FROM users WHERE id = ANY($1)").bind(ids).fetch_all(self.pool()).await?;
        Ok(users)
    }

    /// Creates the users that do not exist yet, with nothing but an id. Gives back the created ones.
    ///
    /// # Errors
    /// Postgres.
    pub async fn create_missing_users(&self, ids: &[String], role: &str) -> Result<Vec<User>> {
        let users = sqlx::query_as(
            "INSERT INTO users (id, role) SELECT DISTINCT id, $2 FROM unnest($1::text[]) AS wanted (id)
             ORDER BY id ON CONFLICT DO NOTHING RETURNING *",
        )
        .bind(ids)
        .bind(role)
        .fetch_all(self.change())
        .await?;
        Ok(users)
    }

    /// Notes that a user is there, at most once in `refresh_seconds`.
    ///
    /// # Errors
    /// Postgres.
    pub async fn touch_last_active(&self, ids: &[String], refresh_seconds: i64) -> Result<()> {
        sqlx::query(
            "UPDATE users SET last_active = clock_timestamp()
             WHERE id = ANY($1) AND (last_active IS NULL OR last_active < clock_timestamp() - $2 * interval '1 second')",
        )
        .bind(ids)
        .bind(refresh_seconds)
        .execute(self.change())
        .await?;
        Ok(())
    }
}

impl Write {
    /// Users by their ids, in no order; unknown ones are left out.
    ///
    /// # Errors
    /// Postgres.
    pub async fn users(&mut self, ids: &[String]) -> Result<Vec<User>> {
        let users =
            sqlx::query_as("SELECT * FROM users WHERE id = ANY($1)").bind(ids).fetch_all(self.connection()).await?;
        Ok(users)
    }

    /// Users by their ids, locked until the commit, in the order of ids.
    ///
    /// # Errors
    /// Postgres.
    pub async fn lock_users(&mut self, ids: &[String]) -> Result<Vec<User>> {
        let users = sqlx::query_as("SELECT * FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE")
            .bind(ids)
            .fetch_all(self.connection())
            .await?;
        Ok(users)
    }

    /// Creates or replaces a user. Gives back the row as it now is: the times of an existing one are its own.
    ///
    /// # Errors
    /// Postgres.
    pub async fn put_user(&mut self, user: &User) -> Result<User> {
        let row = sqlx::query_as(
            "INSERT INTO users (id, name, image, role, language, teams, teams_role, invisible, privacy_settings, custom,
                 banned, shadow_banned, ban_expires, revoke_tokens_issued_before, last_active, deactivated_at, deleted_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
             ON CONFLICT (id) DO UPDATE SET name = $2, image = $3, role = $4, language = $5, teams = $6, teams_role = $7,
                 invisible = $8, privacy_settings = $9, custom = $10, banned = $11, shadow_banned = $12, ban_expires = $13,
                 revoke_tokens_issued_before = $14, last_active = $15, deactivated_at = $16, deleted_at = $17,
                 updated_at = clock_timestamp()
             RETURNING *",
        )
        .bind(&user.id)
        .bind(&user.name)
        .bind(&user.image)
        .bind(&user.role)
        .bind(&user.language)
        .bind(&user.teams)
        .bind(user.teams_role.as_ref().map(Json))
        .bind(user.invisible)
        .bind(user.privacy_settings.as_ref().map(Json))
        .bind(Json(&user.custom))
        .bind(user.banned)
        .bind(user.shadow_banned)
        .bind(user.ban_expires)
        .bind(user.revoke_tokens_issued_before)
        .bind(user.last_active)
        .bind(user.deactivated_at)
        .bind(user.deleted_at)
        .fetch_one(self.connection())
        .await?;
        Ok(row)
    }
}
