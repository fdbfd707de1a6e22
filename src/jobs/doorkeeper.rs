//! Closes doors: sockets whose tokens were revoked, whose users are gone, or who watch what they may no longer read.
//!
//! Two tasks. Whoever leaves a channel is let go while the event that tells of it waits. Everything else is a doubt
//! (access/revocation.rs) that is looked into from what is true now, some hundred connections at a time; one that cannot be
//! looked into, because Postgres is away, is raised again. Sockets whose token ends are closed by the worker that they live
//! in (realtime/registry.rs).

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::access::app::App;
use crate::access::caller::{ANONYMOUS_ROLE, is_revoked};
use crate::access::channel::{may_read, which_are_readable};
use crate::access::revocation::{Doubt, Doubts, Facts, same_rights};
use crate::chat::channels::watch;
use crate::chat::users::connect::check_active;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::events::announce::Left;
use crate::limits;
use crate::realtime::{CloseReason, Connection};
use crate::store::users::User;

/// Runs until it is dropped.
pub async fn run(ctx: Arc<Ctx>, leaving: UnboundedReceiver<Left>, doubts: Arc<Doubts>) {
    tokio::join!(let_go(&ctx, leaving), look_into(&ctx, &doubts));
}

/// Who has left a channel and may not read it stops hearing of it.
async fn let_go(ctx: &Ctx, mut leaving: UnboundedReceiver<Left>) {
    while let Some(Left { user, channel, done }) = leaving.recv().await {
        if !may_read(ctx, &user, channel).await {
            for connection in ctx.realtime.find(Some(&user)).await {
                let _ = ctx.realtime.unwatch(&connection.id, &user, &[channel]).await;
            }
        }
        drop(done);
    }
}

async fn look_into(ctx: &Ctx, doubts: &Doubts) {
    let mut known = Known { app: ctx.caches.app(), channels: HashMap::new() };
    loop {
        let mut failed = Vec::new();
        for doubt in doubts.take().await {
            if let Err(error) = known.look(ctx, &doubt).await {
                tracing::warn!(?error, ?doubt, "rights could not be checked; it is tried again");
                failed.push(doubt);
            }
        }
        if !failed.is_empty() {
            tokio::time::sleep(limits::RECHECK_AGAIN).await;
            for doubt in failed {
                doubts.raise(doubt);
            }
        }
    }
}

/// What was in force when connections were last checked: a change that takes nobody's rights costs nothing.
struct Known {
    app: Arc<App>,
    /// Where it is not known, one looks.
    channels: HashMap<i64, Facts>,
}

impl Known {
    async fn look(&mut self, ctx: &Ctx, doubt: &Doubt) -> Result<()> {
        match doubt {
            Doubt::User(user) => {
                let connections = ctx.realtime.find(Some(user)).await;
                close_unwelcome(ctx, &connections).await?;
                check_watches(ctx, &connections, None).await
            }
            Doubt::Membership(channel, user) => {
                check_watches(ctx, &ctx.realtime.find(Some(user)).await, Some(*channel)).await
            }
            Doubt::Channel(channel) => self.look_at_channel(ctx, *channel).await,
            Doubt::App => {
                ctx.caches.settle_app().await?;
                let app = ctx.caches.app();
                let connections = ctx.realtime.find(None).await;
                close_unwelcome(ctx, &connections).await?;
                if !same_rights(&self.app, &app) {
                    check_watches(ctx, &connections, None).await?;
                }
                self.app = app;
                Ok(())
            }
        }
    }

    async fn look_at_channel(&mut self, ctx: &Ctx, key: i64) -> Result<()> {
        let channel = ctx.caches.channel_by_key(key).await?;
        let facts = channel.as_deref().map(Facts::of);
        if facts.is_some() && self.channels.get(&key) == facts.as_ref() {
            return Ok(());
        }
        let watchers = ctx.realtime.watchers(key).await;
        for batch in watchers.chunks(limits::RECHECK_BATCH) {
            let users = users_of(ctx, batch).await?;
            let readable = match &channel {
                Some(channel) => {
                    let pairs: Vec<_> = users.iter().map(|user| (channel.clone(), user.clone())).collect();
                    which_are_readable(ctx, &pairs).await?
                }
                None => vec![false; batch.len()],
            };
            for ((connection, user), readable) in batch.iter().zip(&users).zip(readable) {
                if !readable {
                    unwatch(ctx, connection, user, &[key]).await;
                }
            }
        }
        if self.channels.len() as u64 >= limits::CACHED_CHANNELS_MAX {
            self.channels.clear();
        }
        self.channels.extend(facts.filter(|_| !watchers.is_empty()).map(|facts| (key, facts)));
        Ok(())
    }
}

/// Closes the sockets of users who are gone, and of tokens that were revoked.
async fn close_unwelcome(ctx: &Ctx, connections: &[Arc<Connection>]) -> Result<()> {
    for batch in connections.chunks(limits::RECHECK_BATCH) {
        let users = users_of(ctx, batch).await?;
        for (connection, user) in batch.iter().zip(&users).filter(|(connection, _)| connection.counts_as_presence) {
            if check_active(user).is_err() || is_revoked(ctx, user, connection.token_issued_at) {
                connection.socket.close(CloseReason::Revoked);
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// The users of connections, in their order. Those without a token are in no table.
async fn users_of(ctx: &Ctx, connections: &[Arc<Connection>]) -> Result<Vec<Arc<User>>> {
    let ids: Vec<String> = connections.iter().map(|connection| connection.user_id.to_string()).collect();
    let users = ctx.caches.users(&ids).await?;
    let user = |connection: &Arc<Connection>| {
        let known = users.get(&*connection.user_id).filter(|_| connection.counts_as_presence).cloned();
        known.unwrap_or_else(|| Arc::new(User::new(&connection.user_id, ANONYMOUS_ROLE, ctx.clock.now())))
    };
    Ok(connections.iter().map(user).collect())
}

/// Makes connections stop watching what their users may not read, of all that they watch or of one channel.
async fn check_watches(ctx: &Ctx, connections: &[Arc<Connection>], only: Option<i64>) -> Result<()> {
    let users = users_of(ctx, connections).await?;
    for (connection, user) in connections.iter().zip(&users) {
        let mut watched = ctx.realtime.watched(&connection.id).await;
        watched.retain(|channel| only.is_none_or(|only| only == *channel));
        for batch in watched.chunks(limits::RECHECK_BATCH) {
            let channels = ctx.caches.channels_by_keys(batch).await?;
            let pairs: Vec<_> = channels.values().map(|channel| (channel.clone(), user.clone())).collect();
            let readable = which_are_readable(ctx, &pairs).await?;
            let readable: Vec<i64> =
                pairs.iter().zip(readable).filter(|(_, yes)| *yes).map(|((channel, _), _)| channel.row.id).collect();
            let gone: Vec<i64> = batch.iter().filter(|channel| !readable.contains(channel)).copied().collect();
            unwatch(ctx, connection, user, &gone).await;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn unwatch(ctx: &Ctx, connection: &Connection, user: &User, channels: &[i64]) {
    if channels.is_empty() {
        return;
    }
    for watched in ctx.realtime.unwatch(&connection.id, &user.id, channels).await.unwrap_or_default() {
        watch::tell(ctx, "user.watching.stop", user, &watched).await;
    }
}
