//! "Somebody edits": when a user last changed a draft and the rest of the composer, for those who are in the same room.

use serde_json::{Map, Value, json};
use wire::Cid;
use wire::event::ChannelFields;

use super::enter::enter;
use crate::access::{Action, Caller, ChannelAccess};
use crate::chat::custom;
use crate::chat::messages::policy;
use crate::chat::render::People;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::events::Event;
use crate::limits;

/// What a composer says about itself. Times are milliseconds, as the caller counts them.
#[derive(Clone, Debug)]
pub struct EditingState {
    pub draft_update: Option<i64>,
    pub state_update: Option<i64>,
    /// Where the caller is in the text.
    pub cursor: Option<Value>,
}

/// Tells a room, or every room that the caller watches on any of its connections.
///
/// # Errors
/// A room that the caller may not enter, a cursor that is too large.
pub async fn tell_editing(ctx: &Ctx, caller: &Caller, room: Option<&Cid>, state: EditingState) -> Result<()> {
    let user = caller.acting()?.id.clone();
    let mut fields: Map<String, Value> = Map::new();
    fields.insert("draft_update".into(), json!(state.draft_update));
    fields.insert("state_update".into(), json!(state.state_update));
    fields.extend(state.cursor.map(|cursor| ("cursor".into(), cursor)));
    let fields = custom::checked(&fields, limits::CUSTOM_BYTES_MAX, "editing state")?;
    let keys = if let Some(cid) = room {
        vec![enter(ctx, caller, cid).await?.row.id]
    } else {
        let rooms = ctx.store.channels_of_user(&user, limits::EDITING_ROOMS_MAX).await?;
        ctx.engine.presence.watched(&user, &rooms).await
    };
    let shows_typing = caller.acting()?.shows(|settings| settings.typing_indicators);
    let person = People::for_event(ctx, [user.clone()]).await?.get(&user);
    let mut events = Vec::with_capacity(keys.len());
    for (key, channel) in ctx.caches.channels_by_keys(&keys).await? {
        let access = ChannelAccess::load(ctx, caller, channel).await?;
        // To edit is to type: where that may not be seen, neither may this.
        let may_write =
            access.check(Action::ReadChannel).is_ok() && policy::check_author(&access, caller, ctx.clock.now()).is_ok();
        let channel = &access.channel;
        if !may_write || !shows_typing || !channel.config.typing_events {
            continue;
        }
        let mut event = wire::Event::new("editing.state", ctx.clock.now());
        event.channel_fields = Some(ChannelFields::new(&channel.row.cid, channel.row.team.as_deref()));
        event.user = Some(person.clone());
        event.custom = fields.clone();
        events.push(Event::ephemeral(&event, Some(key), policy::audience(&access, caller, ctx.clock.now()))?);
    }
    ctx.announcer.tell(events).await;
    Ok(())
}
