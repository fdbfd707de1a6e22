//! Configuration: a TOML file and environment variables in, checked values out.
//!
//! Every setting has a default that runs on a laptop. The environment wins over the file. `millrace check-config` prints
//! what is in force. Secrets are wrapped, so that printing a config never shows them.

mod settings;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

pub use settings::{LogFormat, LogSettings, MetricsSettings, PushSettings, RateLimitSettings, S3Settings};
use settings::{RoomSettings, Settings};

/// The key and secret of a node that nobody configured. Known to everybody, so only for loopback addresses.
pub const DEVELOPMENT_API_KEY: &str = "millrace-dev";
pub const DEVELOPMENT_API_SECRET: &str = "millrace-development-secret-do-not-use-in-production";

/// Shortest secret that signs tokens outside of development, in bytes (HS256 wants 256 bits).
const API_SECRET_BYTES_MIN: usize = 32;
/// Shortest token for `/metrics`, in bytes: nothing counts who tries.
const METRICS_TOKEN_BYTES_MIN: usize = 16;

/// Variables that look like settings and are none: the command line and outside/embedded_postgres.rs read them.
const READ_ELSEWHERE: &[&str] = &["MILLRACE_CONFIG", "MILLRACE_POSTGRES_BIN"];

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Look twice at where it goes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[secret]")
    }
}

/// The parts of the rooms surface that can be switched off one by one. `adapter` is every call beside the documented nine.
pub const ROOM_SURFACES: &[&str] = &[
    "ws-auth",
    "connection-id",
    "register-subscriptions",
    "editing-audit-state",
    "draft",
    "config",
    "messages",
    "members",
    "ws",
    "adapter",
];

/// The rooms surface.
#[derive(Clone, Debug)]
pub struct Rooms {
    pub enabled: bool,
    /// Signs the tokens that this surface takes; the API secret unless there is another issuer.
    pub jwt_secret: Secret,
    /// Let sockets without a good token in, as the user `anonymous`. For development.
    pub anonymous: bool,
    /// Names from [`ROOM_SURFACES`] that are answered with 404.
    pub off: Vec<String>,
}

impl Rooms {
    /// `known`: the API secret is the development one, which everybody knows.
    fn checked(
        settings: RoomSettings,
        api_secret: &Secret,
        known: bool,
        listen: SocketAddr,
        problems: &mut Vec<String>,
    ) -> Self {
        if settings.jwt_secret.as_ref().is_some_and(|secret| secret == api_secret) {
            problems.push(
                "[rooms] jwt_secret is the API secret: its issuer could sign tokens of servers. Leave it out where there is no \
                 other issuer"
                    .into(),
            );
        }
        let rooms = Self {
            enabled: settings.enabled.unwrap_or(known),
            jwt_secret: settings.jwt_secret.unwrap_or_else(|| api_secret.clone()),
            anonymous: settings.anonymous.unwrap_or(known),
            off: settings.off.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect(),
        };
        if let Some(name) = rooms.off.iter().find(|name| !ROOM_SURFACES.contains(&name.as_str())) {
            problems.push(format!("[rooms] off: there is no {name}, only {}", ROOM_SURFACES.join(", ")));
        }
        if rooms.anonymous && !known {
            problems
                .push("[rooms] anonymous = true lets everybody in: it works with the development secret only".into());
        }
        if (!known || !is_loopback(listen.ip())) && rooms.jwt_secret.reveal().len() < API_SECRET_BYTES_MIN {
            problems.push(format!("[rooms] jwt_secret has fewer than {API_SECRET_BYTES_MIN} bytes"));
        }
        if rooms.jwt_secret.reveal() == DEVELOPMENT_API_SECRET && !known {
            problems.push("[rooms] jwt_secret is the development secret, which everybody knows".into());
        }
        rooms
    }
}

/// What the command line adds.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub file: Option<PathBuf>,
    pub listen: Option<String>,
    pub data_dir: Option<PathBuf>,
}

/// Where the rows are.
#[derive(Clone, Debug, PartialEq)]
pub enum Database {
    /// A private Postgres that Millrace starts itself, under this directory.
    Embedded(PathBuf),
    Url(Secret),
}

/// Where uploads are.
#[derive(Clone, Debug)]
pub enum Uploads {
    Directory(PathBuf),
    S3(S3Settings),
}

/// Redis, where there is one.
#[derive(Clone, Debug)]
pub struct Redis {
    /// One URL, or several separated by commas for a cluster.
    pub urls: Vec<Secret>,
    pub cluster: bool,
    /// In front of every key, so that several deployments can share a Redis.
    pub prefix: String,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Of an address that is no such proxy.
    pub connections_per_address: usize,
    /// The secret is the one that everybody knows: this machine's own programs and pages may call, and nobody else's.
    pub development: bool,
    pub api_key: String,
    pub api_secret: Secret,
    /// Base of the URLs that Millrace gives out, without a slash at the end; `None` means the address that a request came to.
    pub public_url: Option<String>,
    /// Serve the demo page, and create its users and channel. Only with development keys.
    pub demo: bool,
    pub database: Database,
    pub connections_max: u32,
    pub writers: usize,
    pub migrate_on_start: bool,
    /// `None` means the memory engine: one node.
    pub redis: Option<Redis>,
    pub uploads: Uploads,
    pub push: PushSettings,
    pub rate_limits: RateLimitSettings,
    pub rooms: Rooms,
    pub metrics: MetricsSettings,
    pub log: LogSettings,
}

/// Addresses with the same beginning: `10.0.0.0/8`, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many bits of the address are the network's.
    bits: u32,
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |differing: u128, width: u32| differing.leading_zeros() + width >= u128::BITS + self.bits;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(u128::from(own.to_bits() ^ other.to_bits()), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits() ^ other.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("trusted_proxies: {text} is neither an address nor a network such as 10.0.0.0/8");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > width { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

/// Why a configuration cannot be used, one line each.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the configuration cannot be used:")?;
        self.0.iter().try_for_each(|problem| write!(out, "\n  - {problem}"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file and the process's environment.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::from_parts(overrides, std::env::vars().collect())
    }

    /// The same with a given environment, for tests.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn from_parts(overrides: &Overrides, environment: Vec<(String, String)>) -> Result<Self, ConfigError> {
        let failed = |error: config::ConfigError| ConfigError(vec![error.to_string()]);
        let mut sources = config::Config::builder();
        if let Some(file) = &overrides.file {
            sources = sources.add_source(config::File::from(file.as_path()).format(config::FileFormat::Toml));
        }
        let variables = environment
            .into_iter()
            .map(|(key, value)| match key.as_str() {
                "DATABASE_URL" => ("MILLRACE_DATABASE__URL".into(), value),
                "REDIS_URL" => ("MILLRACE_REDIS__URL".into(), value),
                "VAPID_SUBJECT" => ("MILLRACE_PUSH__CONTACT".into(), value),
                _ => (key, value),
            })
            .filter(|(key, value)| !value.is_empty() && !READ_ELSEWHERE.contains(&key.as_str()))
            .collect();
        sources = sources.add_source(
            config::Environment::with_prefix("MILLRACE")
                .prefix_separator("_")
                .separator("__")
                .try_parsing(true)
                .source(Some(variables)),
        );
        if let Some(listen) = &overrides.listen {
            sources = sources.set_override("listen", listen.as_str()).map_err(failed)?;
        }
        if let Some(data_dir) = &overrides.data_dir {
            sources = sources.set_override("data_dir", data_dir.to_string_lossy().as_ref()).map_err(failed)?;
        }
        let settings: Settings = sources.build().and_then(config::Config::try_deserialize).map_err(failed)?;
        Self::check(settings)
    }

    fn check(settings: Settings) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        settings.check_numbers(&mut problems);
        let listen = settings.listen.parse().unwrap_or_else(|_| {
            problems.push(format!("listen = \"{}\" is not ADDRESS:PORT", settings.listen));
            SocketAddr::from(([127, 0, 0, 1], 8000))
        });
        let development = settings.api_key.is_none() && settings.api_secret.is_none();
        let (api_key, api_secret) = match (settings.api_key, settings.api_secret) {
            (None, None) => (DEVELOPMENT_API_KEY.into(), Secret::new(DEVELOPMENT_API_SECRET)),
            (Some(key), Some(secret)) => (key, secret),
            _ => {
                problems.push("MILLRACE_API_KEY and MILLRACE_API_SECRET are set together or not at all".into());
                (String::new(), Secret::new(""))
            }
        };
        let known = development || api_secret.reveal() == DEVELOPMENT_API_SECRET;
        if !api_key.is_empty() && api_key == api_secret.reveal() {
            problems.push("MILLRACE_API_SECRET is MILLRACE_API_KEY: the key is in every client".into());
        }
        if known && !is_loopback(listen.ip()) {
            problems.push(format!(
                "listening on {listen} with the development key and secret would let anybody in: set MILLRACE_API_KEY and \
                 MILLRACE_API_SECRET, or listen on 127.0.0.1"
            ));
        }
        if !known && problems.is_empty() && api_secret.reveal().len() < API_SECRET_BYTES_MIN {
            problems.push(format!("MILLRACE_API_SECRET has fewer than {API_SECRET_BYTES_MIN} bytes"));
        }
        let demo = settings.demo.unwrap_or(known);
        if demo && !known {
            problems
                .push("demo = true hands out tokens to everybody: it works with the development secret only".into());
        }
        if settings.database.writers == 0 || settings.database.connections_max < settings.database.writers as u32 + 2 {
            problems.push("[database] needs at least one writer and two connections more than writers".into());
        }
        let redis = settings.redis.url.map(|urls| Redis {
            urls: urls.reveal().split(',').map(|url| Secret::new(url.trim())).collect(),
            cluster: settings.redis.cluster || urls.reveal().contains(','),
            prefix: settings.redis.prefix,
        });
        if redis.as_ref().is_some_and(|redis| redis.prefix.contains(['{', '}'])) {
            problems
                .push("[redis] prefix may not contain braces: they decide on which cluster node a key lives".into());
        }
        let database = match settings.database.url {
            Some(url) => Database::Url(url),
            None => Database::Embedded(settings.data_dir.join("postgres")),
        };
        if redis.is_some() && matches!(database, Database::Embedded(_)) {
            problems.push("REDIS_URL is for several nodes, and they share one DATABASE_URL: set it too".into());
        }
        let public_url = settings.public_url.map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) = &public_url
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            problems.push(format!("public_url = \"{url}\" does not begin with http:// or https://"));
        }
        settings.push.check(listen, &mut problems);
        let rooms = Rooms::checked(settings.rooms, &api_secret, known, listen, &mut problems);
        if settings.metrics.token.as_ref().is_some_and(|token| token.reveal().len() < METRICS_TOKEN_BYTES_MIN) {
            problems.push(format!("[metrics] token has fewer than {METRICS_TOKEN_BYTES_MIN} bytes"));
        }
        let proxies = settings.trusted_proxies.split(',').map(str::trim).filter(|text| !text.is_empty());
        let trusted_proxies =
            proxies.filter_map(|text| text.parse().map_err(|error| problems.push(error)).ok()).collect();
        if let Err(error) = settings.log.filter.parse::<tracing_subscriber::EnvFilter>() {
            problems.push(format!("[log] filter: {error}"));
        }
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        Ok(Self {
            listen,
            trusted_proxies,
            connections_per_address: settings.connections_per_address,
            development: known,
            api_key,
            api_secret,
            public_url,
            demo,
            database,
            connections_max: settings.database.connections_max,
            writers: settings.database.writers,
            migrate_on_start: settings.database.migrate_on_start,
            redis,
            uploads: match settings.uploads.s3 {
                Some(s3) => Uploads::S3(s3),
                None => Uploads::Directory(settings.data_dir.join("uploads")),
            },
            push: settings.push,
            rate_limits: settings.rate_limits,
            rooms,
            metrics: settings.metrics,
            log: settings.log,
            data_dir: settings.data_dir,
        })
    }

    /// Is this a node with nothing but its defaults: embedded Postgres and development keys?
    pub fn is_laptop(&self) -> bool {
        matches!(self.database, Database::Embedded(_)) && self.demo
    }

    /// A configuration file that would be found without naming it.
    pub fn default_file() -> Option<PathBuf> {
        Some(Path::new("millrace.toml")).filter(|path| path.exists()).map(Path::to_owned)
    }
}

/// Is this an address of this machine, that no other can reach?
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Config::from_parts(&Overrides::default(), environment)
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn networks_hold_the_addresses_that_begin_like_them() {
        let holds =
            |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
        assert!(holds("127.0.0.1", "::ffff:127.0.0.1") && !holds("127.0.0.1", "::1"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::1") && !holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("0.0.0.0/0", "192.0.2.1") && holds("::/0", "::1"));
    }

    #[test]
    fn nothing_configured_is_a_laptop() {
        let config = load(&[]).unwrap();
        assert!(config.is_laptop() && config.demo && config.redis.is_none());
        assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
        assert_eq!(config.api_key, DEVELOPMENT_API_KEY);
        assert_eq!(config.database, Database::Embedded("./data/postgres".into()));
    }

    #[test]
    fn the_environment_sets_everything() {
        let secret = "0123456789abcdef0123456789abcdef";
        let config = load(&[
            ("DATABASE_URL", "postgres://localhost/chat"),
            ("REDIS_URL", "redis://a:6379, redis://b:6379"),
            ("MILLRACE_API_KEY", "key"),
            ("MILLRACE_API_SECRET", secret),
            ("MILLRACE_LISTEN", "0.0.0.0:9000"),
            ("MILLRACE_PUBLIC_URL", "https://chat.example.org/"),
            ("MILLRACE_DATABASE__CONNECTIONS_MAX", "40"),
            ("MILLRACE_RATE_LIMITS__ENFORCE", "false"),
            ("MILLRACE_UPLOADS__S3__BUCKET", "files"),
            ("MILLRACE_LOG__FORMAT", "json"),
        ])
        .unwrap();
        assert_eq!(config.database, Database::Url(Secret::new("postgres://localhost/chat")));
        let redis = config.redis.unwrap();
        assert!(redis.cluster && redis.urls[1].reveal() == "redis://b:6379");
        assert_eq!((config.connections_max, config.rate_limits.enforce, config.demo), (40, false, false));
        assert_eq!(config.public_url.as_deref(), Some("https://chat.example.org"));
        assert!(matches!(config.uploads, Uploads::S3(s3) if s3.bucket == "files"));
        assert_eq!(config.log.format, LogFormat::Json);
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        for (environment, reason) in [
            (&[("MILLRACE_LISTEN", "0.0.0.0:8000")][..], "would let anybody in"),
            (&[("MILLRACE_LISTEN", "here")], "is not ADDRESS:PORT"),
            (&[("MILLRACE_API_KEY", "key")], "are set together"),
            (&[("MILLRACE_API_KEY", "key"), ("MILLRACE_API_SECRET", "short")], "fewer than 32 bytes"),
            (&[("REDIS_URL", "redis://localhost")], "set it too"),
            (&[("MILLRACE_DATABASE__WRITERS", "0")], "at least one writer"),
            (&[("VAPID_SUBJECT", "ada@example.org")], "mailto:"),
            (
                &[
                    ("MILLRACE_LISTEN", "0.0.0.0:8000"),
                    ("MILLRACE_API_KEY", "key"),
                    ("MILLRACE_API_SECRET", "0123456789abcdef0123456789abcdef"),
                    ("MILLRACE_PUSH__ALLOW_LOOPBACK", "true"),
                ],
                "call this machine",
            ),
            (&[("MILLRACE_NO_SUCH_SETTING", "1")], "no_such_setting"),
            (&[("MILLRACE_LOG__FILTER", "a=b=c")], "[log] filter"),
            (&[("MILLRACE_TRUSTED_PROXIES", "10.0.0.0/8, here")], "here is neither"),
            (&[("MILLRACE_TRUSTED_PROXIES", "10.0.0.0/33")], "10.0.0.0/33 is neither"),
            (&[("MILLRACE_CONNECTIONS_PER_ADDRESS", "0")], "connections_per_address is at least 1"),
            (&[("MILLRACE_METRICS__TOKEN", "short")], "fewer than 16 bytes"),
            (&[("MILLRACE_API_KEY", SECRET), ("MILLRACE_API_SECRET", SECRET)], "the key is in every client"),
            (&[("MILLRACE_ROOMS__JWT_SECRET", DEVELOPMENT_API_SECRET)], "is the API secret"),
            (
                &[
                    ("MILLRACE_LISTEN", "0.0.0.0:8000"),
                    ("MILLRACE_API_KEY", "key"),
                    ("MILLRACE_API_SECRET", SECRET),
                    ("MILLRACE_ROOMS__JWT_SECRET", DEVELOPMENT_API_SECRET),
                ],
                "which everybody knows",
            ),
            (
                &[
                    ("MILLRACE_API_KEY", "key"),
                    ("MILLRACE_API_SECRET", SECRET),
                    ("MILLRACE_ROOMS__JWT_SECRET", "short"),
                ],
                "jwt_secret has fewer than 32 bytes",
            ),
            (
                &[("MILLRACE_API_KEY", "key"), ("MILLRACE_API_SECRET", SECRET), ("MILLRACE_ROOMS__JWT_SECRET", SECRET)],
                "could sign tokens of servers",
            ),
        ] {
            let error = load(environment).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(load(&[("MILLRACE_LISTEN", "[::1]:8000")]).is_ok());
    }

    #[test]
    fn secrets_are_not_printed() {
        let config =
            load(&[("MILLRACE_API_KEY", "key"), ("MILLRACE_API_SECRET", "0123456789abcdef0123456789abcdef")]).unwrap();
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
    }
}
