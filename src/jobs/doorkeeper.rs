//! Closes doors: sockets whose tokens were revoked, whose users are gone, or who watch what they may no longer read.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::access::caller::is_revoked;
use crate::access::channel::may_read;
use crate::chat::users::connect::check_active;
use crate::ctx::Ctx;
use crate::events::announce::Change;
use crate::realtime::{CloseReason, Connection};

/// Runs until the announcer is gone.
pub async fn run(ctx: Arc<Ctx>, mut changes: UnboundedReceiver<Change>) {
    while let Some(change) = changes.recv().await {
        match change {
            Change::User(user) => check_connections(&ctx, ctx.realtime.find(Some(&user)).await).await,
            Change::App => check_connections(&ctx, ctx.realtime.find(None).await).await,
            Change::Left { user, channel, done } => {
                leave(&ctx, &user, channel).await;
                drop(done);
            }
        }
    }
}

async fn check_connections(ctx: &Ctx, connections: Vec<Arc<Connection>>) {
    for connection in connections.iter().filter(|connection| connection.counts_as_presence) {
        let welcome = match ctx.caches.user(&connection.user_id).await {
            Ok(Some(user)) => check_active(&user).is_ok() && !is_revoked(ctx, &user, connection.token_issued_at),
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(?error, "a connection could not be checked");
                true
            }
        };
        if !welcome {
            connection.socket.close(CloseReason::Revoked);
        }
    }
}

/// Who has left a channel and may not read it stops hearing of it.
async fn leave(ctx: &Ctx, user: &str, channel: i64) {
    if may_read(ctx, user, channel).await {
        return;
    }
    for connection in ctx.realtime.find(Some(user)).await {
        let _ = ctx.realtime.unwatch(&connection.id, user, &[channel]).await;
    }
}
