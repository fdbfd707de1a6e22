//! The app as it is in force: settings, channel types, app-wide grants. One value, replaced whole when anything changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};
use wire::Timestamp;
use wire::app::UploadConfig;
use wire::channel::ChannelConfig;

use super::grants::{DEFAULT_GRANTS, GrantLists, Grants, default_grants};
use crate::store::app::{AppRow, ChannelTypeRow};

/// A channel type in force.
#[derive(Debug)]
pub struct ChannelType {
    pub name: String,
    pub config: Arc<ChannelConfig>,
    pub grants: Grants,
    pub grant_lists: GrantLists,
}

/// The app in force.
#[derive(Debug)]
pub struct App {
    /// What `PATCH /app` has set.
    pub settings: Map<String, Value>,
    pub revoke_tokens_issued_before: Option<Timestamp>,
    /// Development: tokens are read but not verified.
    pub disable_auth_checks: bool,
    /// Development: everybody may do everything.
    pub disable_permissions_checks: bool,
    pub guest_user_creation_disabled: bool,
    pub file_upload_config: UploadConfig,
    pub image_upload_config: UploadConfig,
    pub grants: Grants,
    pub grant_lists: GrantLists,
    pub types: BTreeMap<String, Arc<ChannelType>>,
}

impl App {
    pub fn new(row: AppRow, types: Vec<ChannelTypeRow>) -> Self {
        let flag = |name: &str| row.settings.get(name).and_then(Value::as_bool).unwrap_or(false);
        let uploads = |name: &str| {
            row.settings.get(name).and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default()
        };
        let grants = with_changes(&DEFAULT_GRANTS[".app"], row.settings.get("grants").and_then(Value::as_object));
        Self {
            revoke_tokens_issued_before: row.revoke_tokens_issued_before,
            disable_auth_checks: flag("disable_auth_checks"),
            disable_permissions_checks: flag("disable_permissions_checks"),
            guest_user_creation_disabled: flag("guest_user_creation_disabled"),
            file_upload_config: uploads("file_upload_config"),
            image_upload_config: uploads("image_upload_config"),
            grants: Grants::compile(&grants),
            grant_lists: grants,
            types: types.into_iter().map(|row| (row.name.clone(), Arc::new(ChannelType::new(row)))).collect(),
            settings: row.settings,
        }
    }
}

impl ChannelType {
    fn new(row: ChannelTypeRow) -> Self {
        let grant_lists = with_changes(default_grants(&row.name), Some(&row.grants));
        let mut config = overridden(&ChannelConfig::default(), &row.config);
        config.name.clone_from(&row.name);
        (config.created_at, config.updated_at) = (row.created_at, row.updated_at);
        Self { grants: Grants::compile(&grant_lists), grant_lists, config: Arc::new(config), name: row.name }
    }
}

/// Roles that were changed replace the default ones.
fn with_changes(defaults: &GrantLists, changes: Option<&Map<String, Value>>) -> GrantLists {
    let mut lists = defaults.clone();
    for (role, ids) in changes.into_iter().flatten() {
        let ids = ids.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        lists.insert(role.clone(), ids);
    }
    lists
}

/// A config with some keys replaced. Keys that no config has, and values of the wrong kind, change nothing: they were
/// checked when they were written, and a later version may know them.
pub fn overridden(config: &ChannelConfig, changes: &Map<String, Value>) -> ChannelConfig {
    let Ok(Value::Object(whole)) = serde_json::to_value(config) else {
        return config.clone();
    };
    let mut result = config.clone();
    let mut merged = whole;
    for (key, value) in changes {
        if key == "commands" || key == "grants" {
            continue;
        }
        let before = merged.insert(key.clone(), value.clone());
        match serde_json::from_value(Value::Object(merged.clone())) {
            Ok(valid) => result = valid,
            Err(_) => {
                match before {
                    Some(before) => merged.insert(key.clone(), before),
                    None => merged.remove(key),
                };
            }
        }
    }
    result
}

/// A channel's own grant modifiers, from its overrides.
pub fn grant_modifiers(overrides: &Map<String, Value>) -> Option<GrantLists> {
    let object = overrides.get("grants")?.as_object()?;
    let lists: HashMap<_, _> = object
        .iter()
        .map(|(role, ids)| {
            let ids = ids.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
            (role.clone(), ids)
        })
        .collect();
    (!lists.is_empty()).then(|| lists.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn overrides_change_what_they_name_and_nothing_else() {
        let config = ChannelConfig::default();
        let changes = json!({"replies": false, "max_message_length": "long", "nonsense": 1, "typing_events": false});
        let result = overridden(&config, changes.as_object().unwrap());
        assert!(!result.replies && !result.typing_events && result.reactions);
        assert_eq!(result.max_message_length, 5_000);
    }
}
