//! What users want to be pushed: everything, what names them, or nothing; for a while or for good; in all channels or in one.

use std::collections::HashMap;

use wire::Cid;
use wire::push::{PushPreferenceInput, PushPreferences, UpsertPushPreferencesResponse};

use super::audience::Level;
use crate::access::{self, Action, Caller};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;
use crate::store::push::{Preference, PreferenceChange};

/// The channel that stands for all channels.
const ALL_CHANNELS: i64 = 0;

/// Changes preferences: a client its own, a server those of anybody.
///
/// # Errors
/// An unknown level, a channel that is not there or not theirs, somebody else's preferences.
pub async fn update_push_preferences(
    ctx: &Ctx,
    caller: &Caller,
    inputs: Vec<PushPreferenceInput>,
) -> Result<UpsertPushPreferencesResponse> {
    if inputs.is_empty() || inputs.len() > limits::PUSH_PREFERENCES_PER_CALL_MAX {
        let most = limits::PUSH_PREFERENCES_PER_CALL_MAX;
        return Err(Error::input(format!("preferences must hold 1 to {most} changes")));
    }
    let mut changes = Vec::with_capacity(inputs.len());
    for input in inputs {
        changes.push(checked(ctx, caller, input).await?);
    }
    // Each row stays locked until the commit: everybody takes them in one order. What is said twice stays in the order given.
    changes.sort_by(|(_, one), (_, other)| (&one.user_id, one.channel_id).cmp(&(&other.user_id, other.channel_id)));
    let mut answer = UpsertPushPreferencesResponse::default();
    let mut write = ctx.store.write().await?;
    for (cid, change) in changes {
        let shown = shown(&write.put_push_preference(&change).await?);
        match cid {
            None => answer.user_preferences.insert(change.user_id, shown),
            Some(cid) => {
                let channels = answer.user_channel_preferences.entry(change.user_id).or_default();
                channels.insert(cid.to_string(), shown)
            }
        };
    }
    write.commit().await?;
    Ok(answer)
}

async fn checked(ctx: &Ctx, caller: &Caller, input: PushPreferenceInput) -> Result<(Option<Cid>, PreferenceChange)> {
    let caller = caller.clone().acting_as(ctx, input.user_id.as_deref(), None).await?;
    let user_id = caller.acting()?.id.clone();
    // Finer levels that would not be kept: better no than a silent yes.
    if input.chat_preferences.is_some() {
        return Err(Error::input("chat_preferences: this server knows chat_level only"));
    }
    let chat_level = match input.chat_level.as_deref() {
        None | Some("") => None,
        Some("default") => Some(None),
        Some(level) if Level::parse(level).is_some() => Some(Some(level.to_owned())),
        Some(level) => return Err(Error::input(format!("chat_level {level:?} is none of {}", Level::names()))),
    };
    let disabled_until = if input.remove_disable == Some(true) { Some(None) } else { input.disabled_until.map(Some) };
    let cid: Option<Cid> = input.channel_cid.filter(|cid| !cid.is_empty()).map(|cid| cid.parse()).transpose()?;
    let channel_id = match &cid {
        None => ALL_CHANNELS,
        Some(cid) => access::channel(ctx, &caller, cid, Action::ReadChannel).await?.key(),
    };
    Ok((cid, PreferenceChange { user_id, channel_id, chat_level, disabled_until }))
}

/// What users want to be pushed, of all channels; those who have never said are left out.
///
/// # Errors
/// Postgres.
pub async fn push_preferences_of(ctx: &Ctx, user_ids: &[String]) -> Result<HashMap<String, PushPreferences>> {
    if user_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let preferences = ctx.store.push_preferences(user_ids).await?;
    Ok(preferences.iter().map(|preference| (preference.user_id.clone(), shown(preference))).collect())
}

fn shown(preference: &Preference) -> PushPreferences {
    PushPreferences { chat_level: preference.chat_level.clone(), disabled_until: preference.disabled_until }
}
