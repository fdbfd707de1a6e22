//! What the file and the environment may say, as it is written, with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Secret, is_loopback};
use crate::limits;

/// What the file and the environment may say. `MILLRACE_DATABASE__CONNECTIONS_MAX=40` sets `connections_max` in
/// `[database]`; `DATABASE_URL`, `REDIS_URL` and `VAPID_SUBJECT` (`[push] contact`) work without prefix.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) listen: String,
    pub(super) data_dir: PathBuf,
    pub(super) trusted_proxies: String,
    pub(super) connections_per_address: usize,
    pub(super) api_key: Option<String>,
    pub(super) api_secret: Option<Secret>,
    pub(super) public_url: Option<String>,
    pub(super) demo: Option<bool>,
    pub(super) database: DatabaseSettings,
    pub(super) redis: RedisSettings,
    pub(super) uploads: UploadSettings,
    pub(super) push: PushSettings,
    pub(super) rate_limits: RateLimitSettings,
    pub(super) rooms: RoomSettings,
    pub(super) metrics: MetricsSettings,
    pub(super) log: LogSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8000".into(),
            data_dir: "./data".into(),
            trusted_proxies: String::new(),
            connections_per_address: limits::CONNECTIONS_PER_ADDRESS,
            api_key: None,
            api_secret: None,
            public_url: None,
            demo: None,
            database: DatabaseSettings::default(),
            redis: RedisSettings::default(),
            uploads: UploadSettings::default(),
            push: PushSettings::default(),
            rate_limits: RateLimitSettings::default(),
            rooms: RoomSettings::default(),
            metrics: MetricsSettings::default(),
            log: LogSettings::default(),
        }
    }
}

impl Settings {
    /// Numbers that cannot be nothing.
    pub(super) fn check_numbers(&self, problems: &mut Vec<String>) {
        if self.connections_per_address == 0 {
            problems.push("connections_per_address is at least 1".into());
        }
        if self.rate_limits.factor == 0 {
            problems.push("[rate_limits] factor is at least 1; enforce = false switches the limits off".into());
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DatabaseSettings {
    pub(super) url: Option<Secret>,
    pub(super) connections_max: u32,
    pub(super) writers: usize,
    pub(super) migrate_on_start: bool,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self { url: None, connections_max: 20, writers: 2, migrate_on_start: true }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RedisSettings {
    pub(super) url: Option<Secret>,
    pub(super) cluster: bool,
    pub(super) prefix: String,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self { url: None, cluster: false, prefix: "millrace".into() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UploadSettings {
    pub(super) s3: Option<S3Settings>,
}

/// An S3 bucket for uploads. Keys come from the usual AWS variables when left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    pub bucket: String,
    pub region: Option<String>,
    /// For S3 servers other than Amazon's.
    pub endpoint: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushSettings {
    /// Whom a push service may ask about our pushes: a `mailto:` or `https://` URL. Apple's takes no push without one.
    pub contact: Option<String>,
    /// Push to services on this machine too, and without TLS: for tests. Only on a loopback address, because users could make
    /// the server call whatever else listens there.
    pub allow_loopback: bool,
}

impl PushSettings {
    pub(super) fn check(&self, listen: SocketAddr, problems: &mut Vec<String>) {
        if let Some(contact) = &self.contact
            && !contact.starts_with("mailto:")
            && !contact.starts_with("https://")
        {
            problems.push(format!("[push] contact = \"{contact}\" does not begin with mailto: or https://"));
        }
        if self.allow_loopback && !is_loopback(listen.ip()) {
            problems.push(format!(
                "[push] allow_loopback lets users make the server call this machine: not while listening on {listen}"
            ));
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitSettings {
    /// Refuse what goes over the limits. The headers are there in any case.
    pub enforce: bool,
    /// All limits are the documented ones of the hosted service times this. A server of one's own has no neighbours to
    /// protect, so the default only stops a client that runs wild.
    pub factor: u32,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self { enforce: true, factor: 1_000 }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// What `/metrics` asks for, as `Authorization: Bearer`. Without it a node answers there while it listens on loopback only.
    pub token: Option<Secret>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `text` or `json`.
    pub format: LogFormat,
    /// What is logged, in the syntax of tracing's env-filter.
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info,sqlx=warn".into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RoomSettings {
    pub(super) enabled: Option<bool>,
    pub(super) jwt_secret: Option<Secret>,
    pub(super) anonymous: Option<bool>,
    pub(super) off: String,
}
