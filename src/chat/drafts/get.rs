//! Reading drafts.

use std::collections::HashMap;

use wire::Cid;
use wire::draft::Draft as Shown;

use super::{note, shown};
use crate::access::{self, Action, Caller, ChannelAccess};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::store::StoreError;
use crate::store::drafts::Draft;

/// The caller's draft for a channel, or for a thread of it.
///
/// # Errors
/// There is none, or the caller may not read the channel.
pub async fn get_draft(ctx: &Ctx, caller: &Caller, cid: &Cid, parent_id: Option<&str>) -> Result<Shown> {
    let access = access::channel(ctx, caller, cid, Action::ReadChannel).await?;
    let user = caller.acting()?.id.clone();
    let draft = find(ctx, &access, &user, parent_id.unwrap_or_default()).await?;
    let draft = draft.ok_or_else(|| Error::not_found(format!("user {user} has no draft in {cid}")))?;
    let channels = HashMap::from([(access.key(), access.channel)]);
    Ok(shown(ctx, &[draft], &channels).await?.remove(0))
}

/// The row; and only if Postgres cannot be asked, the note. A note may stay a moment longer than its row.
async fn find(ctx: &Ctx, access: &ChannelAccess, user: &str, parent_id: &str) -> Result<Option<Draft>> {
    match ctx.store.draft(user, access.key(), parent_id).await {
        Err(away @ StoreError::Unavailable(_)) => {
            let noted = ctx.engine.notes.get(note(user, access.cid().as_str(), parent_id)).await;
            let noted: Option<Draft> = noted.and_then(|note| serde_json::from_slice(&note).ok());
            let draft = noted.filter(|draft| draft.channel_id == access.key() && draft.user_id == user);
            draft.map(Some).ok_or_else(|| away.into())
        }
        known => Ok(known?),
    }
}

/// A user's drafts for channels, as channel states carry them: without the channel, which stands beside it.
///
/// # Errors
/// Postgres.
pub async fn of_channels(ctx: &Ctx, user: &str, keys: &[i64]) -> Result<HashMap<i64, Shown>> {
    let rows = ctx.store.channel_drafts(user, keys).await?;
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<i64> = rows.iter().map(|row| row.channel_id).collect();
    let channels = ctx.caches.channels_by_keys(&keys).await?;
    let shown = shown(ctx, &rows, &channels).await?;
    let by_cid: HashMap<Cid, Shown> = shown.into_iter().map(|draft| (draft.channel_cid.clone(), draft)).collect();
    let of = |key: i64| Some((key, Shown { channel: None, ..by_cid.get(&channels.get(&key)?.row.cid)?.clone() }));
    Ok(keys.into_iter().filter_map(of).collect())
}
