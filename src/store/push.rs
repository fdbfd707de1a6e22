//! Web push: who has subscribed, who wants what, and what is still to be sent.

use wire::Timestamp;

use super::events::{LOG_END, LogPosition};
use super::{Result, Store, Write};

/// A browser's subscription as it is registered. It cannot be printed: it is all secrets.
#[derive(Clone)]
pub struct NewSubscription {
    pub endpoint: String,
    pub p256dh: Vec<u8>,
    pub auth: Vec<u8>,
    pub expires: Option<Timestamp>,
}

/// What a user wants to be pushed (`push_preferences`), of one channel or, where it is 0, of all.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Preference {
    pub user_id: String,
    pub channel_id: i64,
    pub chat_level: Option<String>,
    pub disabled_until: Option<Timestamp>,
}

/// A change of a preference; what is `None` stays, what is `Some(None)` is taken away.
#[derive(Clone, Debug)]
pub struct PreferenceChange {
    pub user_id: String,
    pub channel_id: i64,
    pub chat_level: Option<Option<String>>,
    pub disabled_until: Option<Option<Timestamp>>,
}

/// A member who has subscribed and has not switched pushes of the channel off.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Candidate {
    pub channel_id: i64,
    pub user_id: String,
    pub role: String,
    pub channel_role: String,
    /// Of the channel, else of the user; `None` if neither says anything.
    pub chat_level: Option<String>,
}

/// A push that this node is to send now. It cannot be printed: an endpoint is a secret.
#[derive(Clone, sqlx::FromRow)]
pub struct Delivery {
    pub subscription_id: i64,
    pub message_id: String,
    /// With this one.
    pub attempts: i32,
    pub created_at: Timestamp,
    pub user_id: String,
    pub endpoint: String,
    pub p256dh: Vec<u8>,
    pub auth: Vec<u8>,
}

impl Store {
    /// The private key that signs pushes: this one, if there was none.
    ///
    /// # Errors
    /// Postgres.
    pub async fn vapid_key(&self, candidate: &[u8]) -> Result<Vec<u8>> {
        // Two nodes that start at once: the second waits here for the first, and then reads what the first wrote.
        sqlx::query("INSERT INTO vapid_key (private_key) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(candidate)
            .execute(self.pool())
            .await?;
        let key = sqlx::query_scalar("SELECT private_key FROM vapid_key").fetch_one(self.pool()).await?;
        Ok(key)
    }

    /// Makes a reader of the log begin at its end, unless it has begun. One whose place came from another Postgres cluster,
    /// in a dump, and is further than this one has ever been, begins again.
    ///
    /// # Errors
    /// Postgres.
    pub async fn create_log_cursor(&self, reader: &str) -> Result<()> {
        let end = self.log_end().await?;
        sqlx::query("INSERT INTO log_cursors (reader, tx, id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(reader)
            .bind(end.tx)
            .bind(end.id)
            .execute(self.pool())
            .await?;
        let mut write = self.write().await?;
        // Locked first: the end is looked up after whatever another node is reading now.
        if let Some(position) = write.lock_log_cursor(reader).await?
            && write.is_to_come(position).await?
        {
            tracing::info!(reader, "a reader of the log begins again: its place is from another database cluster");
            let end = write.log_end().await?;
            write.move_log_cursor(reader, end).await?;
        }
        write.commit().await?;
        Ok(())
    }

    /// Takes a subscription away from whoever has it: the push service says that it is gone.
    ///
    /// # Errors
    /// Postgres.
    pub async fn delete_subscription(&self, subscription_id: i64) -> Result<()> {
        sqlx::query("DELETE FROM push_subscriptions WHERE id = $1")
            .bind(subscription_id)
            .execute(self.change())
            .await?;
        Ok(())
    }

    /// Takes a user's subscription away. Says whether there was one.
    ///
    /// # Errors
    /// Postgres.
    pub async fn delete_subscription_of(&self, user_id: &str, endpoint: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM push_subscriptions WHERE user_id = $1 AND endpoint = $2")
            .bind(user_id)
            .bind(endpoint)
            .execute(self.change())
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// What users want to be pushed, of all channels.
    ///
    /// # Errors
    /// Postgres.
    pub async fn push_preferences(&self, user_ids: &[String]) -> Result<Vec<Preference>> {
        let preferences = sqlx::query_as("SELECT * FROM push_preferences WHERE user_id = ANY($1) AND channel_id = 0")
            .bind(user_ids)
            .fetch_all(self.pool())
            .await?;
        Ok(preferences)
    }

    /// Members of these channels who have subscribed, have not muted the channel and have not switched pushes off.
    ///
    /// # Errors
    /// Postgres.
    pub async fn push_candidates(&self, channel_ids: &[i64], now: Timestamp) -> Result<Vec<Candidate>> {
        let candidates = sqlx::query_as(
            "SELECT m.channel_id, m.user_id, u.role, m.channel_role, coalesce(here.chat_level, all_of.chat_level) AS chat_level
             FROM members m
             JOIN users u ON u.id = m.user_id AND u.deactivated_at IS NULL AND u.deleted_at IS NULL
             LEFT JOIN push_preferences here ON here.user_id = m.user_id AND here.channel_id = m.channel_id
             LEFT JOIN push_preferences all_of ON all_of.user_id = m.user_id AND all_of.channel_id = 0
             WHERE m.channel_id = ANY($1) AND EXISTS (SELECT FROM push_subscriptions) AND (m.invite IS NULL OR m.invite = 'accepted')
               AND NOT (m.notifications_muted AND coalesce(m.notifications_muted_until > $2, true))
               AND coalesce(here.disabled_until <= $2, true) AND coalesce(all_of.disabled_until <= $2, true)
               AND EXISTS (SELECT FROM push_subscriptions s WHERE s.user_id = m.user_id AND coalesce(s.expires > $2, true))",
        )
        .bind(channel_ids)
        .bind(now)
        .fetch_all(self.pool())
        .await?;
        Ok(candidates)
    }

    /// Of these users, those who have muted one of these authors: pairs of user and author.
    ///
    /// # Errors
    /// Postgres.
    pub async fn mutes_of_authors(
        &self,
        user_ids: &[String],
        authors: &[String],
        now: Timestamp,
    ) -> Result<Vec<(String, String)>> {
        let mutes = sqlx::query_as(
            "SELECT user_id, target_id FROM user_mutes
             WHERE user_id = ANY($1) AND target_id = ANY($2) AND (expires IS NULL OR expires > $3)",
        )
        .bind(user_ids)
        .bind(authors)
        .bind(now)
        .fetch_all(self.pool())
        .await?;
        Ok(mutes)
    }

    /// Who takes part in threads: pairs of the thread's first message and user.
    ///
    /// # Errors
    /// Postgres.
    pub async fn thread_participants(&self, parent_ids: &[String]) -> Result<Vec<(String, String)>> {
        let participants = sqlx::query_as("SELECT parent_id, user_id FROM thread_reads WHERE parent_id = ANY($1)")
            .bind(parent_ids)
            .fetch_all(self.pool())
            .await?;
        Ok(participants)
    }

    /// Takes pushes that are due, of all users but these. Until `lease_ends` no other node takes them; after that this node has
    /// died.
    ///
    /// Rows that another node is taking at this moment are passed over, so that nodes never wait for each other. What has been
    /// tried most often comes first: if it fails again, everything else for its browser waits for as long as it does.
    ///
    /// # Errors
    /// Postgres.
    pub async fn claim_deliveries(
        &self,
        now: Timestamp,
        lease_ends: Timestamp,
        most: i64,
        but_of: &[&str],
    ) -> Result<Vec<Delivery>> {
        let deliveries = sqlx::query_as(
            "WITH due AS (
                 SELECT subscription_id, message_id FROM push_deliveries
                 WHERE due_at <= $1 AND subscription_id NOT IN (SELECT id FROM push_subscriptions WHERE user_id = ANY($4))
                 ORDER BY due_at, attempts DESC LIMIT $3 FOR UPDATE SKIP LOCKED
             ), claimed AS (
                 UPDATE push_deliveries d SET due_at = $2, attempts = d.attempts + 1 FROM due
                 WHERE d.subscription_id = due.subscription_id AND d.message_id = due.message_id
                 RETURNING d.subscription_id, d.message_id, d.attempts, d.created_at
             )
             SELECT c.*, s.user_id, s.endpoint, s.p256dh, s.auth
             FROM claimed c JOIN push_subscriptions s ON s.id = c.subscription_id ORDER BY c.attempts DESC, c.created_at",
        )
        .bind(now)
        .bind(lease_ends)
        .bind(most)
        .bind(but_of)
        .fetch_all(self.pool())
        .await?;
        Ok(deliveries)
    }

    /// Lets a browser rest, whose push service did not take a push: this one and all others for it wait until then. The attempts
    /// of those that were taken with it and have not been begun do not count.
    ///
    /// # Errors
    /// Postgres.
    pub async fn hold_subscription(&self, tried: &Delivery, not_begun: &[Delivery], until: Timestamp) -> Result<()> {
        // The subscription is locked first: two nodes that hold it never wait for each other's deliveries. What another node is
        // sending stays its own until the end of its lease.
        sqlx::query(
            "WITH held AS (
                 UPDATE push_subscriptions SET held_until = greatest(held_until, $2) WHERE id = $1 RETURNING id
             )
             UPDATE push_deliveries d SET
                 due_at = CASE WHEN d.message_id = $3 OR d.message_id = ANY($4) THEN $2 ELSE greatest(d.due_at, $2) END,
                 attempts = d.attempts - (d.message_id = ANY($4))::int
             FROM held WHERE d.subscription_id = held.id",
        )
        .bind(tried.subscription_id)
        .bind(until)
        .bind(&tried.message_id)
        .bind(message_ids(not_begun))
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Gives back deliveries of one subscription that were taken and have not been begun: they are due, for whoever has time.
    ///
    /// # Errors
    /// Postgres.
    pub async fn give_back_deliveries(&self, deliveries: &[Delivery], now: Timestamp) -> Result<()> {
        let Some(first) = deliveries.first() else {
            return Ok(());
        };
        sqlx::query(
            "UPDATE push_deliveries SET due_at = $2, attempts = attempts - 1
             WHERE subscription_id = $1 AND message_id = ANY($3)",
        )
        .bind(first.subscription_id)
        .bind(now)
        .bind(message_ids(deliveries))
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// A push that has been sent, or never will be.
    ///
    /// # Errors
    /// Postgres.
    pub async fn delete_delivery(&self, delivery: &Delivery) -> Result<()> {
        sqlx::query("DELETE FROM push_deliveries WHERE subscription_id = $1 AND message_id = $2")
            .bind(delivery.subscription_id)
            .bind(&delivery.message_id)
            .execute(self.pool())
            .await?;
        Ok(())
    }
}

impl Write {
    /// Registers a user's browsers, and drops the user's oldest ones beyond `most`.
    ///
    /// # Errors
    /// Postgres.
    pub async fn put_subscriptions(
        &mut self,
        user_id: &str,
        subscriptions: &[NewSubscription],
        client_id: Option<&str>,
        platform: Option<&str>,
        most: i64,
    ) -> Result<()> {
        // What waits for the person who used this browser before is not for this one: it goes with the old row.
        let endpoints: Vec<&str> = subscriptions.iter().map(|subscription| subscription.endpoint.as_str()).collect();
        sqlx::query("DELETE FROM push_subscriptions WHERE endpoint = ANY($1) AND user_id <> $2")
            .bind(endpoints)
            .bind(user_id)
            .execute(self.connection())
            .await?;
        for subscription in subscriptions {
            sqlx::query(
                "INSERT INTO push_subscriptions (endpoint, user_id, p256dh, auth, client_id, platform, expires)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (endpoint) DO UPDATE SET user_id = $2, p256dh = $3, auth = $4, client_id = $5, platform = $6,
                     expires = $7, updated_at = clock_timestamp()",
            )
            .bind(&subscription.endpoint)
            .bind(user_id)
            .bind(&subscription.p256dh)
            .bind(&subscription.auth)
            .bind(client_id)
            .bind(platform)
            .bind(subscription.expires)
            .execute(self.connection())
            .await?;
        }
        sqlx::query(
            "DELETE FROM push_subscriptions WHERE id IN (
                 SELECT id FROM push_subscriptions WHERE user_id = $1 ORDER BY updated_at DESC, id DESC OFFSET $2)",
        )
        .bind(user_id)
        .bind(most)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Changes what a user wants to be pushed. Gives back what it is now.
    ///
    /// # Errors
    /// Postgres.
    pub async fn put_push_preference(&mut self, change: &PreferenceChange) -> Result<Preference> {
        let preference = sqlx::query_as(
            "INSERT INTO push_preferences AS p (user_id, channel_id, chat_level, disabled_until) VALUES ($1, $2, $4, $6)
             ON CONFLICT (user_id, channel_id) DO UPDATE SET
                 chat_level = CASE WHEN $3 THEN $4 ELSE p.chat_level END,
                 disabled_until = CASE WHEN $5 THEN $6 ELSE p.disabled_until END
             RETURNING *",
        )
        .bind(&change.user_id)
        .bind(change.channel_id)
        .bind(change.chat_level.is_some())
        .bind(change.chat_level.clone().flatten())
        .bind(change.disabled_until.is_some())
        .bind(change.disabled_until.flatten())
        .fetch_one(self.connection())
        .await?;
        Ok(preference)
    }

    /// Where a reader of the log stands; `None` while another node is reading. Held until the commit.
    ///
    /// # Errors
    /// Postgres.
    pub async fn lock_log_cursor(&mut self, reader: &str) -> Result<Option<LogPosition>> {
        let position: Option<(i64, i64)> =
            sqlx::query_as("SELECT tx, id FROM log_cursors WHERE reader = $1 FOR UPDATE SKIP LOCKED")
                .bind(reader)
                .fetch_optional(self.connection())
                .await?;
        Ok(position.map(|(tx, id)| LogPosition { tx, id }))
    }

    /// Is it of a transaction that this cluster has yet to begin?
    async fn is_to_come(&mut self, position: LogPosition) -> Result<bool> {
        let is_to_come = sqlx::query_scalar("SELECT $1 >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
            .bind(position.tx)
            .fetch_one(self.connection())
            .await?;
        Ok(is_to_come)
    }

    async fn log_end(&mut self) -> Result<LogPosition> {
        let tx = sqlx::query_scalar(LOG_END).fetch_one(self.connection()).await?;
        Ok(LogPosition { tx, id: i64::MAX })
    }

    /// # Errors
    /// Postgres.
    pub async fn move_log_cursor(&mut self, reader: &str, position: LogPosition) -> Result<()> {
        sqlx::query("UPDATE log_cursors SET tx = $2, id = $3 WHERE reader = $1")
            .bind(reader)
            .bind(position.tx)
            .bind(position.id)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Makes the pushes of messages to users: one for each of a user's browsers. Beyond `most` for one browser, those that have
    /// waited longest are dropped; says how many.
    ///
    /// # Errors
    /// Postgres.
    pub async fn insert_deliveries(&mut self, wanted: &[(String, String)], now: Timestamp, most: i64) -> Result<u64> {
        let (messages, users): (Vec<&str>, Vec<&str>) =
            wanted.iter().map(|(message, user)| (message.as_str(), user.as_str())).unzip();
        sqlx::query(
            "INSERT INTO push_deliveries (subscription_id, message_id, due_at, created_at)
             SELECT s.id, w.message_id, greatest($3, s.held_until), $3
             FROM unnest($1::text[], $2::text[]) AS w (message_id, user_id)
             JOIN push_subscriptions s ON s.user_id = w.user_id AND coalesce(s.expires > $3, true)
             ON CONFLICT DO NOTHING",
        )
        .bind(messages)
        .bind(&users)
        .bind(now)
        .execute(self.connection())
        .await?;
        // Rows that somebody is changing at this moment may stay: nobody waits for another here.
        let dropped = sqlx::query(
            "DELETE FROM push_deliveries WHERE (subscription_id, message_id) IN (
                 SELECT d.subscription_id, d.message_id FROM push_deliveries d JOIN (
                     SELECT subscription_id, message_id,
                         row_number() OVER (PARTITION BY subscription_id ORDER BY created_at DESC) AS place
                     FROM push_deliveries
                     WHERE subscription_id IN (SELECT id FROM push_subscriptions WHERE user_id = ANY($1))
                 ) p USING (subscription_id, message_id) WHERE p.place > $2 FOR UPDATE OF d SKIP LOCKED)",
        )
        .bind(users)
        .bind(most)
        .execute(self.connection())
        .await?;
        Ok(dropped.rows_affected())
    }
}

fn message_ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.message_id.as_str()).collect()
}
