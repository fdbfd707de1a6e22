//! Where Millrace may call when a user says where: on the internet, and nowhere else.
//!
//! A URL of a user's is a request that the server makes with its own place in the network: to cloud metadata, to databases,
//! to neighbours. So only addresses of the public internet are called. The check is made when a URL is accepted, for a clear
//! answer, and again on every connection, where it counts: a name may come to mean another address ([`Resolver`]).
//! Redirects are never followed by whoever calls with this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What may be called.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// This machine too, and there without TLS: for tests.
    pub allow_loopback: bool,
}

impl Guard {
    /// A URL that may be called, as far as it tells by itself: HTTPS, and no address of a private network.
    ///
    /// # Errors
    /// Why not, in words for whoever wrote the URL.
    pub fn check(self, url: &str) -> Result<Url, &'static str> {
        let url = Url::parse(url).map_err(|_| "is not a URL")?;
        let host = url.host_str().ok_or("names no host")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a name or a password");
        }
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let loopback = address.is_some_and(|address| address.to_canonical().is_loopback())
            || host.trim_end_matches('.') == "localhost"
            || host.trim_end_matches('.').ends_with(".localhost");
        match url.scheme() {
            "https" => {}
            "http" if loopback && self.allow_loopback => {}
            _ => return Err("does not begin with https://"),
        }
        if (loopback && !self.allow_loopback) || address.is_some_and(|address| !self.allows(address)) {
            return Err("names an address that is not on the public internet");
        }
        Ok(url)
    }

    /// May this address be called?
    pub fn allows(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        (self.allow_loopback && address.is_loopback()) || is_public(address)
    }

    /// For an HTTP client: finds the addresses of a name, and of them only those that may be called.
    pub fn resolver(self) -> Arc<Resolver> {
        Arc::new(Resolver(self))
    }
}

/// See [`Guard::resolver`]. Addresses that stand in a URL do not pass here: [`Guard::check`] sees those.
pub struct Resolver(Guard);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| guard.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err("the host has no address on the public internet".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Is the address one of the public internet? By the registries of special-purpose addresses (RFC 6890); the standard library
/// does not say yet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a, b & 0b1100_0000) == (100, 64)
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a, b & 0b1111_1110) == (198, 18))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64 and 6to4 lead to an IPv4 address.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        // Protocol assignments (Teredo among them) and documentation, of the only block that is handed out.
        [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
        [0x3fff, second, ..] => second >= 0x1000,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_not_called() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.19.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2001:db8::1",
            "2001::1",
            "2002:a00:1::1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!Guard { allow_loopback: false }.allows(address.parse().unwrap()), "{address}");
        }
        for address in ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::1.1.1.1", "::ffff:1.1.1.1"] {
            assert!(Guard { allow_loopback: false }.allows(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn urls_are_checked_before_they_are_kept() {
        let strict = Guard { allow_loopback: false };
        assert!(strict.check("https://push.example.org/abc?d=e").is_ok());
        for url in [
            "push",
            "ftp://push.example.org/",
            "http://push.example.org/",
            "https://me:secret@push.example.org/",
            "https://localhost/",
            "https://a.localhost./",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:192.168.0.1]/",
            "https://169.254.169.254/latest",
            "data:text/plain,x",
        ] {
            assert!(strict.check(url).is_err(), "{url}");
        }
        let local = Guard { allow_loopback: true };
        assert!(local.check("http://127.0.0.1:9/x").is_ok() && local.check("http://localhost:9/x").is_ok());
        assert!(local.check("http://push.example.org/").is_err() && local.check("https://10.0.0.1/").is_err());
    }

    #[tokio::test]
    async fn names_lead_to_public_addresses_only() {
        let resolve = |allow_loopback| Guard { allow_loopback }.resolver().resolve("localhost".parse().unwrap());
        assert!(resolve(false).await.is_err());
        assert!(resolve(true).await.unwrap().all(|address| address.ip().is_loopback()));
    }
}
