//! The end of a draft: deleted by its author, or sent.

use wire::Cid;

use super::{note, tell};
use crate::access::{self, Action, Caller, ChannelAccess};
use crate::ctx::Ctx;
use crate::error::Result;

/// Deletes the caller's draft. One that is not there is deleted already.
///
/// # Errors
/// A channel that the caller may not read.
pub async fn delete_draft(ctx: &Ctx, caller: &Caller, cid: &Cid, parent_id: Option<&str>) -> Result<()> {
    let access = access::channel(ctx, caller, cid, Action::ReadChannel).await?;
    let user = &caller.acting()?.id;
    let mut write = ctx.store.write().await?;
    let deleted = write.delete_draft(user, access.key(), parent_id.unwrap_or_default()).await?;
    write.commit().await?;
    if deleted {
        sent(ctx, &access, user, parent_id).await;
    } else {
        ctx.engine.notes.remove(note(user, cid.as_str(), parent_id.unwrap_or_default())).await;
    }
    Ok(())
}

/// A draft's row is gone; the rest of it goes now.
pub async fn sent(ctx: &Ctx, access: &ChannelAccess, user: &str, parent_id: Option<&str>) {
    let parent_id = parent_id.unwrap_or_default();
    ctx.engine.notes.remove(note(user, access.cid().as_str(), parent_id)).await;
    tell(ctx, "draft.deleted", &access.channel, user, parent_id, None).await;
}
