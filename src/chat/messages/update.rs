//! Changing a message: whole (`POST`) or in part (`PUT`). Pinning is a change of two keys with a permission of its own.

use serde_json::{Map, Value};
use wire::message::{MESSAGE_KEYS, Message as Shown, MessageRequest, UpdateMessagePartialRequest, UserReference};
use wire::{RawList, Timestamp};

use super::draft::{self, Draft};
use super::send::quoted_message;
use super::{load, policy, show};
use crate::access::{Action, Caller, ChannelAccess};
use crate::chat::channels::lock;
use crate::chat::{custom, render};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;
use crate::store::messages::{Message, MessageData};

/// Replaces a message.
///
/// # Errors
/// There is none, the caller may not, or the new one could not be sent.
pub async fn update_message(ctx: &Ctx, caller: &Caller, id: &str, request: MessageRequest) -> Result<Shown> {
    let (access, row) = load(ctx, caller, id, Action::UpdateMessage).await?;
    let text_chars_max = access.channel.config.max_message_length;
    let pins = request.pinned != row.is_pinned(ctx.clock.now());
    let draft = Draft::parse(MessageRequest { id: Some(id.into()), ..request }, text_chars_max, caller.is_server())?;
    access.require_with_thing_of(Action::UpdateMessage, &row.user_id)?;
    policy::check_author(&access, caller, ctx.clock.now())?;
    policy::check_content(&access, &draft.text, &draft.data)?;
    check_quote(ctx, caller, &access, &row, draft.quoted_id.as_deref()).await?;
    if pins {
        access.require(Action::PinMessage)?;
    }
    change(ctx, caller, &access, &row, |message, now, pinned_by| {
        message.text = draft.text;
        message.silent = draft.silent;
        message.quoted_id = draft.quoted_id;
        let before = message.data.take().unwrap_or_default();
        // Who may see a message is settled when it is sent.
        let data = MessageData { restricted_visibility: before.restricted_visibility, i18n: before.i18n, ..draft.data };
        message.data = (!data.is_empty()).then_some(data);
        pin(message, draft.pinned, draft.pin_expires, now, pinned_by);
        Ok(())
    })
    .await
}

/// Changes some keys of a message.
///
/// # Errors
/// There is none, the caller may not, or a key cannot be changed or not to this.
pub async fn update_message_partial(
    ctx: &Ctx,
    caller: &Caller,
    id: &str,
    request: UpdateMessagePartialRequest,
) -> Result<Shown> {
    custom::check_keys(&request.set.0, &request.unset)?;
    let (access, row) = load(ctx, caller, id, Action::UpdateMessage).await?;
    let set = request.set.0;
    let is_pin = |key: &str| matches!(key, "pinned" | "pin_expires");
    let pins = set.keys().chain(&request.unset).any(|key| is_pin(key));
    let more = set.keys().chain(&request.unset).any(|key| !is_pin(key));
    if set.is_empty() && request.unset.is_empty() {
        return Err(Error::input("set or unset must name something to change"));
    }
    if pins {
        access.require(Action::PinMessage)?;
    }
    if more {
        access.require_with_thing_of(Action::UpdateMessage, &row.user_id)?;
    }
    policy::check_author(&access, caller, ctx.clock.now())?;
    let quoted = set.get("quoted_message_id").and_then(Value::as_str).filter(|id| !id.is_empty());
    check_quote(ctx, caller, &access, &row, quoted).await?;
    let text_chars_max = access.channel.config.max_message_length;
    let from_server = caller.is_server();
    change(ctx, caller, &access, &row, |message, now, pinned_by| {
        let mut data = message.data.take().unwrap_or_default();
        let mut custom = data.custom.parse()?;
        apply(message, &mut data, &mut custom, set, &request.unset, text_chars_max, from_server, now, pinned_by)?;
        draft::check_values(&data.attachments.parse()?, &custom)?;
        data.custom = custom::checked(&custom, limits::CUSTOM_BYTES_MAX, "message")?;
        draft::check_size(&message.text, &data)?;
        if more {
            policy::check_content(&access, &message.text, &data)?;
        }
        message.data = (!data.is_empty()).then_some(data);
        Ok(())
    })
    .await
}

/// What a message quotes anew must be there for the caller, as when it is sent.
async fn check_quote(
    ctx: &Ctx,
    caller: &Caller,
    access: &ChannelAccess,
    row: &Message,
    quoted_id: Option<&str>,
) -> Result<()> {
    let new = quoted_id.filter(|id| row.quoted_id.as_deref() != Some(id));
    if new.is_some() {
        policy::check_quotes(access)?;
    }
    quoted_message(ctx, caller, access, new).await.map(drop)
}

/// Changes a message under the channel's lock and tells of it.
async fn change(
    ctx: &Ctx,
    caller: &Caller,
    access: &ChannelAccess,
    row: &Message,
    change: impl FnOnce(&mut Message, Timestamp, &str) -> Result<()>,
) -> Result<Shown> {
    let id = &row.id;
    let missing = || Error::not_found(format!("message with id {id} doesn't exist"));
    let mut write = lock(ctx, access, render::messages::people_of(row)).await?.ok_or_else(missing)?;
    let mut message = write.message(id).await?.ok_or_else(missing)?;
    if message.deleted_at.is_some() {
        return Err(Error::input("a deleted message cannot be changed"));
    }
    let before = message.text.clone();
    let now = write.now();
    let changed_by = caller.user_id().unwrap_or(&message.user_id).to_owned();
    change(&mut message, now, &changed_by)?;
    if policy::is_shadowed(access, caller, now) {
        // What the author says now is shown to nobody else, and what it said before does not stand for it.
        if caller.user_id() != Some(&message.user_id) {
            return Err(Error::not_allowed("you are not allowed to change what others have written"));
        }
        message.shadowed = true;
    }
    message.updated_at = now;
    if message.text != before {
        message.text_updated_at = Some(now);
    }
    let row = write.put_message(&message).await?;
    let shown = render::messages::at_hand(ctx, &mut write, &row, access.cid()).await?;
    let mut event = super::body("message.updated", &access.channel, shown.clone(), now);
    event.user = Some(shown.user);
    write.event(crate::events::Event::new(&event, super::audience_of(&row))?.about(&row.user_id));
    ctx.announcer.tell(write.commit().await?).await;
    show(ctx, caller, access, &row).await
}

fn pin(message: &mut Message, pinned: bool, expires: Option<Timestamp>, now: Timestamp, by: &str) {
    if !pinned {
        (message.pinned_at, message.pinned_by, message.pin_expires) = (None, None, None);
        return;
    }
    if !message.is_pinned(now) {
        message.pinned_at = Some(now);
        message.pinned_by = Some(by.into());
    }
    message.pin_expires = expires;
}

/// Sets and removes keys, each checked as if it were sent.
#[expect(clippy::too_many_arguments, reason = "one call, and each is one fact about it")]
fn apply(
    message: &mut Message,
    data: &mut MessageData,
    custom: &mut Map<String, Value>,
    set: Map<String, Value>,
    unset: &[String],
    text_chars_max: i64,
    from_server: bool,
    now: Timestamp,
    changed_by: &str,
) -> Result<()> {
    let wrong = |key: &str| Error::input(format!("set.{key} is of the wrong kind")).field(key, "wrong kind");
    let expires = match set.get("pin_expires") {
        None => message.pin_expires,
        Some(Value::Null) => None,
        Some(value) => Some(value.as_str().and_then(Timestamp::parse).ok_or_else(|| wrong("pin_expires"))?),
    };
    for (key, value) in set {
        match key.as_str() {
            "text" => {
                message.text = draft::checked_text(value.as_str().ok_or_else(|| wrong(&key))?.into(), text_chars_max)?;
            }
            "attachments" => data.attachments = draft::checked_attachments(&list(value).ok_or_else(|| wrong(&key))?)?,
            "mentioned_users" => {
                let mentions: Vec<UserReference> = serde_json::from_value(value).map_err(|_| wrong(&key))?;
                data.mentioned_users = draft::checked_mentions(mentions)?;
            }
            "silent" => message.silent = value.as_bool().ok_or_else(|| wrong(&key))?,
            "show_in_channel" => message.show_in_channel = value.as_bool().ok_or_else(|| wrong(&key))?,
            "quoted_message_id" => {
                let quoted = value.as_str().filter(|id| !id.is_empty()).map(ToOwned::to_owned);
                message.quoted_id = quoted.map(draft::checked_id).transpose()?;
            }
            "pinned" => pin(message, value.as_bool().ok_or_else(|| wrong(&key))?, expires, now, changed_by),
            "pin_expires" => message.pin_expires = expires,
            "html" if from_server => data.html = value.as_str().map(Into::into),
            "mml" if from_server => data.mml = value.as_str().map(Into::into),
            key if is_reserved(key) => {
                return Err(Error::input(format!("{key} cannot be set")).field(key, "cannot be set"));
            }
            key => custom::set(custom, key, value)?,
        }
    }
    for key in unset {
        match key.as_str() {
            "text" => message.text.clear(),
            "attachments" => data.attachments = RawList::default(),
            "mentioned_users" => data.mentioned_users.clear(),
            "quoted_message_id" => message.quoted_id = None,
            "pinned" => pin(message, false, None, now, changed_by),
            "pin_expires" => message.pin_expires = None,
            key if is_reserved(key) => {
                return Err(Error::input(format!("{key} cannot be unset")).field(key, "cannot be unset"));
            }
            key => custom::unset(custom, key)?,
        }
    }
    Ok(())
}

fn is_reserved(key: &str) -> bool {
    MESSAGE_KEYS.contains(&key.split('.').next().unwrap_or_default())
}

fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}
