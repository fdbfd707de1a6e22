//! The app's settings: reading and changing them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use wire::Timestamp;
use wire::app::{AppSettings, PushProviderOff, PushSettings, UploadConfig};

use crate::access::Caller;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::limits;

/// The settings in force. Clients are shown what they act on, servers all of it.
pub fn get_app(ctx: &Ctx, caller: &Caller) -> AppSettings {
    let app = ctx.caches.app();
    let with_size = |config: &UploadConfig| UploadConfig {
        size_limit: if config.size_limit == 0 { limits::UPLOAD_BYTES_MAX } else { config.size_limit },
        ..config.clone()
    };
    let for_servers = caller.is_server();
    AppSettings {
        id: 1,
        name: "Millrace".into(),
        organization: "Millrace".into(),
        placement: "self-hosted".into(),
        disable_auth_checks: app.disable_auth_checks,
        disable_permissions_checks: app.disable_permissions_checks,
        guest_user_creation_disabled: app.guest_user_creation_disabled,
        enforce_unique_usernames: "no",
        multi_tenant_enabled: false,
        permission_version: "v2",
        suspended: false,
        suspended_explanation: "",
        async_url_enrich_enabled: false,
        auto_translation_enabled: false,
        feed_audit_logs_enabled: false,
        image_moderation_enabled: false,
        max_aggregated_activities_length: 0,
        member_custom_on_messages_enabled: false,
        moderation_audio_call_moderation_enabled: false,
        moderation_enabled: false,
        moderation_llm_configurability_enabled: false,
        moderation_multitenant_blocklist_enabled: false,
        moderation_video_call_moderation_enabled: false,
        moderation_webhook_url: "",
        use_hook_v2: false,
        campaign_enabled: false,
        allow_multi_user_devices: true,
        user_response_time_enabled: false,
        cdn_expiration_seconds: 0,
        reminders_interval: 0,
        custom_action_handler_url: "",
        webhook_url: "",
        webhook_events: Vec::new(),
        event_hooks: Vec::new(),
        sqs_url: "",
        sqs_key: "",
        sqs_secret: "",
        sns_topic_arn: "",
        sns_key: "",
        sns_secret: "",
        user_search_disallowed_roles: Vec::new(),
        file_upload_config: with_size(&app.file_upload_config),
        image_upload_config: with_size(&app.image_upload_config),
        grants: if for_servers { app.grant_lists.clone() } else { BTreeMap::new() },
        channel_configs: app.types.iter().map(|(name, kind)| (name.clone(), kind.config.clone())).collect(),
        policies: BTreeMap::new(),
        push_notifications: PushSettings {
            offline_only: true,
            version: "v2",
            apn: PushProviderOff::default(),
            firebase: PushProviderOff::default(),
            huawei: PushProviderOff::default(),
            xiaomi: PushProviderOff::default(),
        },
        call_types: BTreeMap::new(),
        revoke_tokens_issued_before: app.revoke_tokens_issued_before.filter(|_| for_servers),
    }
}

/// Changes settings. Keys that are null, read-only or of features that do not exist here are passed over, so that a whole
/// answer of [`get_app`] can be sent back.
///
/// # Errors
/// A caller that is no server, or a value of the wrong kind.
pub async fn update_app(ctx: &Ctx, caller: &Caller, changes: Map<String, Value>) -> Result<()> {
    caller.require_server()?;
    let mut write = ctx.store.write().await?;
    let mut app = write.lock_app().await?;
    for (key, value) in changes {
        let wrong = || Error::input(format!("{key} is of the wrong kind")).field(&key, "wrong kind");
        match (key.as_str(), value) {
            ("revoke_tokens_issued_before", Value::Null) => app.revoke_tokens_issued_before = None,
            ("revoke_tokens_issued_before", value) => {
                let time = value.as_str().and_then(Timestamp::parse).ok_or_else(wrong)?;
                // Go sends its zero time for "not set".
                app.revoke_tokens_issued_before = Some(time).filter(|time| *time > Timestamp::MIN);
            }
            (_, Value::Null) => {}
            // Walls that would not be there: better no than a silent yes.
            ("multi_tenant_enabled", Value::Bool(true)) => {
                return Err(Error::input("multi_tenant_enabled: teams are not kept apart by this server"));
            }
            ("enforce_unique_usernames", Value::String(scope)) if scope != "no" => {
                return Err(Error::input("enforce_unique_usernames: names are not kept unique by this server"));
            }
            ("disable_auth_checks" | "disable_permissions_checks" | "guest_user_creation_disabled", value) => {
                app.settings.insert(key.clone(), Value::Bool(value.as_bool().ok_or_else(wrong)?));
            }
            ("file_upload_config" | "image_upload_config", value) => {
                let config: UploadConfig = serde_json::from_value(value).map_err(|_| wrong())?;
                if !(0..=limits::UPLOAD_BYTES_MAX).contains(&config.size_limit) {
                    return Err(Error::input(format!(
                        "{key}.size_limit must be 0 to {} bytes",
                        limits::UPLOAD_BYTES_MAX
                    )));
                }
                check_rules(&key, &config)?;
                app.settings.insert(key.clone(), serde_json::to_value(config)?);
            }
            ("grants", value) => {
                let changes = super::channel_types::checked_grants(&value)?;
                let grants = app.settings.entry("grants").or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(grants) = grants {
                    grants.extend(changes);
                }
            }
            _ => {}
        }
    }
    write.update_app(&app).await?;
    write.event(Event::internal("app.updated", ctx.clock.now()));
    ctx.announcer.tell(write.commit().await?).await;
    Ok(())
}

fn check_rules(key: &str, config: &UploadConfig) -> Result<()> {
    let UploadConfig {
        allowed_file_extensions, blocked_file_extensions, allowed_mime_types, blocked_mime_types, ..
    } = config;
    for list in [allowed_file_extensions, blocked_file_extensions, allowed_mime_types, blocked_mime_types] {
        let wrong = |rule: &String| rule.len() > limits::UPLOAD_RULE_BYTES_MAX;
        if list.len() > limits::UPLOAD_RULES_MAX || list.iter().any(wrong) {
            return Err(Error::input(format!(
                "a list in {key} may have {} entries of up to {} bytes",
                limits::UPLOAD_RULES_MAX,
                limits::UPLOAD_RULE_BYTES_MAX
            )));
        }
    }
    Ok(())
}
