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
    let parents = ctx.store.threads_of(&caller.acting()?.id, limits::ROOM_LIST_MAX).await?;
    let keys: Vec<i64> = parents.iter().map(|(key, _)| *key).collect();
    let mut cids = HashMap::new();
    for (key, channel) in ctx.caches.channels_by_keys(&keys).await? {
        let access = ChannelAccess::load(ctx, caller, channel).await?;
        if access.channel.row.deleted_at.is_none() && access.check(Action::ReadChannel).is_ok() {
            cids.insert(key, access.cid().clone());
        }
    }
    let ids: Vec<String> = parents.into_iter().filter(|(key, _)| cids.contains_key(key)).map(|(_, id)| id).collect();
    let rows = visibility::find_all(ctx, caller, &ids).await?.messages;
    render::messages::messages(ctx, &rows, &cids, render::messages::Options::of(ctx, caller)).await
}
