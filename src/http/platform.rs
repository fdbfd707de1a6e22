//! Which kind of client calls, as `X-Stream-Client` tells it: for rate limits, which are counted by platform.

use axum::http::HeaderMap;

/// A platform of the documented rate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    ServerSide,
    Android,
    Ios,
    Web,
}

impl Platform {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServerSide => "server_side",
            Self::Android => "android",
            Self::Ios => "ios",
            Self::Web => "web",
        }
    }

    /// A server is a server; of the others we believe what they say, and what says nothing is a browser.
    pub fn of(is_server: bool, headers: &HeaderMap) -> Self {
        if is_server {
            return Self::ServerSide;
        }
        let client = headers
            .get("x-stream-client")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_ascii_lowercase();
        if client.contains("android") {
            Self::Android
        } else if client.contains("ios") || client.contains("swift") {
            Self::Ios
        } else {
            Self::Web
        }
    }
}
