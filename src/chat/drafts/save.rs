//! Saving a draft.

use std::collections::HashMap;

use wire::Cid;
use wire::draft::Draft as Shown;
use wire::message::MessageRequest;

use super::{note, shown, tell};
use crate::access::{self, Action, Caller};
use crate::chat::messages::draft::Draft as Checked;
use crate::chat::messages::visibility;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::limits;
use crate::store::drafts::{Draft, DraftMessage};

/// Saves what the caller has begun to write, in place of what was saved before.
///
/// # Errors
/// A channel that the caller may not read, a message that could not be sent like this, a parent that is not in the channel.
pub async fn save_draft(ctx: &Ctx, caller: &Caller, cid: &Cid, request: MessageRequest) -> Result<Shown> {
    let access = access::channel(ctx, caller, cid, Action::ReadChannel).await?;
    let user = caller.acting()?.id.clone();
    let checked = Checked::unfinished(request, access.channel.config.max_message_length, caller.is_server())?;
    for named in [&checked.parent_id, &checked.quoted_id].into_iter().flatten() {
        visibility::find_in(ctx, caller, &access, named).await?;
    }
    let draft = Draft {
        user_id: user.clone(),
        channel_id: access.key(),
        parent_id: checked.parent_id.clone().unwrap_or_default(),
        created_at: ctx.clock.now(),
        message: DraftMessage {
            id: checked.id,
            text: checked.text,
            kind: checked.kind,
            show_in_channel: checked.show_in_channel,
            quoted_id: checked.quoted_id,
            silent: checked.silent,
            data: checked.data,
        },
    };
    let note = note(&user, cid.as_str(), &draft.parent_id);
    // First the note, then the row: what deletes the row drops the note after it, so no order of the two leaves a note for a
    // day without its row.
    ctx.engine.notes.put(note, &serde_json::to_vec(&draft)?, limits::DRAFT_CACHE_LIFE).await;
    match ctx.store.put_draft(&draft).await {
        Ok(dropped) => {
            for (cid, parent_id) in &dropped {
                ctx.engine.notes.remove(super::note(&user, cid.as_str(), parent_id)).await;
            }
        }
        Err(error) => {
            ctx.engine.notes.remove(note).await;
            return Err(error.into());
        }
    }
    let channels = HashMap::from([(access.key(), access.channel.clone())]);
    let shown = shown(ctx, std::slice::from_ref(&draft), &channels).await?.remove(0);
    tell(ctx, "draft.updated", &access.channel, &user, &draft.parent_id, Some(shown.clone())).await;
    Ok(shown)
}
