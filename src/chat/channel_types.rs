//! Channel types: the settings and grants that channels of a kind share.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use wire::app::ChannelTypeInfo;
use wire::channel::ChannelConfig;

use crate::access::Caller;
use crate::access::app::ChannelType;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::limits;
use crate::store::Write;

/// Types that every app has.
const BUILT_IN: &[&str] = &["messaging", "livestream", "team", "gaming", "commerce"];
const TYPES_MAX: usize = 50;
const ROLES_PER_SCOPE_MAX: usize = 100;
const GRANTS_PER_ROLE_MAX: usize = 500;
/// A setting that is text, a role, the id of a permission.
const SETTING_BYTES_MAX: usize = 255;

/// All types by name.
///
/// # Errors
/// A caller that is no server.
pub fn list(ctx: &Ctx, caller: &Caller) -> Result<BTreeMap<String, ChannelTypeInfo>> {
    caller.require_server()?;
    Ok(ctx.caches.app().types.iter().map(|(name, kind)| (name.clone(), info(kind))).collect())
}

/// One type.
///
/// # Errors
/// There is none.
pub fn get(ctx: &Ctx, caller: &Caller, name: &str) -> Result<ChannelTypeInfo> {
    caller.require_server()?;
    ctx.caches.app().types.get(name).map(|kind| info(kind)).ok_or_else(|| missing(name))
}

/// Makes a type.
///
/// # Errors
/// A name that is taken or cannot be, settings of the wrong kind, too many types.
pub async fn create(ctx: &Ctx, caller: &Caller, mut request: Map<String, Value>) -> Result<ChannelTypeInfo> {
    caller.require_server()?;
    let name = request.remove("name").and_then(|name| name.as_str().map(ToOwned::to_owned)).unwrap_or_default();
    wire::Cid::new(&name, "x").map_err(|error| Error::input(error.to_string()).field("name", "not allowed"))?;
    let types = ctx.caches.app().types.len();
    if ctx.caches.app().types.contains_key(&name) {
        return Err(Error::input(format!("channel type {name} exists already")));
    }
    if types >= TYPES_MAX + BUILT_IN.len() {
        return Err(Error::input(format!("an app may have {TYPES_MAX} channel types of its own")));
    }
    let grants = request.remove("grants").filter(|grants| !grants.is_null());
    let grants = grants.as_ref().map(checked_grants).transpose()?.unwrap_or_default();
    let config = checked_config(request)?;
    let mut write = ctx.store.write().await?;
    write.put_channel_type(&name, &config, &grants).await?;
    finish(ctx, write).await?;
    get(ctx, caller, &name)
}

/// Changes a type. Settings that are not named stay; of the grants only the roles that are named change, and `null` brings
/// all defaults back.
///
/// # Errors
/// There is no such type, or a setting is of the wrong kind.
pub async fn update(
    ctx: &Ctx,
    caller: &Caller,
    name: &str,
    mut request: Map<String, Value>,
) -> Result<ChannelTypeInfo> {
    caller.require_server()?;
    let mut write = ctx.store.write().await?;
    // One change at a time: the app's row stands for its types.
    write.lock_app().await?;
    let row = write.channel_type(name).await?.ok_or_else(|| missing(name))?;
    let mut grants = row.grants;
    match request.remove("grants") {
        Some(Value::Null) => grants.clear(),
        Some(changes) => grants.extend(checked_grants(&changes)?),
        None => {}
    }
    let mut config = row.config;
    config.extend(checked_config(request)?);
    write.put_channel_type(name, &config, &grants).await?;
    finish(ctx, write).await?;
    get(ctx, caller, name)
}

/// Deletes a type that no channel has.
///
/// # Errors
/// There is none, it is built in, or channels have it.
pub async fn delete(ctx: &Ctx, caller: &Caller, name: &str) -> Result<()> {
    caller.require_server()?;
    if BUILT_IN.contains(&name) {
        return Err(Error::input(format!("channel type {name} is built in")));
    }
    if !ctx.caches.app().types.contains_key(name) {
        return Err(missing(name));
    }
    let mut write = ctx.store.write().await?;
    if !write.delete_channel_type(name).await? {
        return Err(Error::input(format!("channel type {name} has channels: delete them first")));
    }
    finish(ctx, write).await
}

async fn finish(ctx: &Ctx, mut write: Write) -> Result<()> {
    write.event(Event::internal("channel_type.updated", ctx.clock.now()));
    ctx.announcer.tell(write.commit().await?).await;
    // The answer is read from them.
    ctx.caches.settle_app().await
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("channel type {name} does not exist"))
}

fn info(kind: &ChannelType) -> ChannelTypeInfo {
    ChannelTypeInfo { config: (*kind.config).clone(), permissions: Vec::new(), grants: kind.grant_lists.clone() }
}

/// The settings of a request that Millrace knows, each of the right kind.
fn checked_config(request: Map<String, Value>) -> Result<Map<String, Value>> {
    let Value::Object(defaults) = serde_json::to_value(ChannelConfig::default())? else {
        return Err(Error::internal("a config is an object"));
    };
    let mut config = Map::new();
    for (key, value) in request {
        let Some(default) = defaults.get(&key).filter(|_| !value.is_null()) else { continue };
        if matches!(key.as_str(), "name" | "commands" | "grants" | "created_at" | "updated_at") {
            continue;
        }
        if std::mem::discriminant(default) != std::mem::discriminant(&value) {
            return Err(Error::input(format!("{key} is of the wrong kind")).field(&key, "wrong kind"));
        }
        if key == "max_message_length"
            && !value.as_i64().is_some_and(|length| (1..=limits::MESSAGE_CHARS_MAX).contains(&length))
        {
            return Err(Error::input(format!("max_message_length must be 1 to {}", limits::MESSAGE_CHARS_MAX)));
        }
        if value.as_str().is_some_and(|text| text.len() > SETTING_BYTES_MAX) {
            return Err(Error::input(format!("{key} may have {SETTING_BYTES_MAX} bytes")).field(&key, "too long"));
        }
        config.insert(key, value);
    }
    Ok(config)
}

/// Roles and their permission ids. A role that is `null` is passed over.
///
/// # Errors
/// Something that is no map of lists of texts, or too much of it.
pub fn checked_grants(grants: &Value) -> Result<Map<String, Value>> {
    let wrong = || Error::input("grants must be an object of lists of permission ids").field("grants", "wrong kind");
    let roles = match grants {
        Value::Object(roles) => roles.clone(),
        Value::Array(list) if list.is_empty() => Map::new(),
        _ => return Err(wrong()),
    };
    if roles.len() > ROLES_PER_SCOPE_MAX {
        return Err(Error::input(format!("grants name more than {ROLES_PER_SCOPE_MAX} roles")));
    }
    let mut checked = Map::new();
    let short = |text: &str| text.len() <= SETTING_BYTES_MAX;
    for (role, ids) in roles {
        match ids {
            Value::Null => {}
            Value::Array(ids)
                if short(&role)
                    && ids.len() <= GRANTS_PER_ROLE_MAX
                    && ids.iter().all(|id| id.as_str().is_some_and(short)) =>
            {
                checked.insert(role, Value::Array(ids));
            }
            _ => return Err(wrong()),
        }
    }
    Ok(checked)
}
