//! The threads that somebody takes part in.

use std::collections::HashMap;

use wire::message::Message as Shown;

use crate::access::{Action, Caller, ChannelAccess};
use crate::chat::messages::visibility;
use crate::chat::render;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::limits;

/// Their first messages, as far as the caller may read them.
///
/// # Errors
/// Postgres.
pub async fn threads_of(ctx: &Ctx, caller: &Caller) -> Result<Vec<Shown>> {
    let mut rows = ctx.store.threads_of(&caller.acting()?.id, limits::ROOM_LIST_MAX).await?;
    let keys: Vec<i64> = rows.iter().map(|row| row.channel_id).collect();
    let mut cids = HashMap::new();
    for (key, channel) in ctx.caches.channels_by_keys(&keys).await? {
        let access = ChannelAccess::load(ctx, caller, channel).await?;
        if access.channel.row.deleted_at.is_none() && access.check(Action::ReadChannel).is_ok() {
            cids.insert(key, access.cid().clone());
        }
    }
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let seen = visibility::find_all(ctx, caller, &ids).await?;
    rows.retain(|row| cids.contains_key(&row.channel_id) && seen.iter().any(|seen| seen.id == row.id));
    render::messages::messages(ctx, &rows, &cids, render::messages::Options::of(ctx, caller)).await
}
