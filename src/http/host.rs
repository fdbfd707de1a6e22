//! The hosts that requests name, in `Host` and in `Origin`. Whoever sends a request chooses them, or whoever owns the name.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

use crate::config::is_loopback;

/// The host of a request, with its port.
pub fn of(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST).and_then(|host| host.to_str().ok())
}

/// The host of the page that sent a request, with its port, if a page did; empty for a page without an origin.
pub fn of_page(headers: &HeaderMap) -> Option<&str> {
    let origin = headers.get(ORIGIN)?;
    Some(origin.to_str().ok().and_then(|origin| origin.split_once("://")).map_or("", |(_, host)| host))
}

/// Does it mean this machine, wherever it is said?
pub fn is_own_machine(host: &str) -> bool {
    let name = without_port(host);
    name == "localhost" || name.ends_with(".localhost") || name.parse().is_ok_and(is_loopback)
}

/// Is it an address, or a name whose meaning nobody can change? Other names mean what their owner says: a page of theirs can make one
/// mean this machine, and then call it as its own (DNS rebinding).
pub fn is_fixed(host: &str) -> bool {
    is_own_machine(host) || without_port(host).parse::<IpAddr>().is_ok()
}

/// The name or address; empty where something else than a port follows it.
fn without_port(host: &str) -> &str {
    let (name, rest) = match host.strip_prefix('[') {
        Some(address) => address.split_once(']').unwrap_or_default(),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port) { name } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_addresses() {
        for host in ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]", "chat.localhost:80"] {
            assert!(is_own_machine(host) && is_fixed(host), "{host}");
        }
        for host in ["192.168.1.5:8000", "10.0.2.2", "[2001:db8::1]:80"] {
            assert!(!is_own_machine(host) && is_fixed(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8000",
            "notlocalhost",
            "[evil]",
            "[::1]evil",
            "localhost:evil",
            "[::1",
        ] {
            assert!(!is_own_machine(host) && !is_fixed(host), "{host}");
        }
    }
}
