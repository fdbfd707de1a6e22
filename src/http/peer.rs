//! From where a request comes: the address that limits count by where nothing else is known of a caller, and who shares with whom.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::http::request::Parts;

use super::door::Place;
use crate::access::Caller;
use crate::access::caller::GUEST_ROLE;
use crate::asker::Asker;
use crate::config::Network;
use crate::ctx::Ctx;

/// The other end of the TCP connection (server.rs). The connection's place is taken for as long as anybody has this.
#[derive(Clone)]
pub struct Peer {
    pub address: IpAddr,
    pub place: Arc<Place>,
}

/// Who sent the request. Behind a proxy that the configuration trusts it is the last address in `X-Forwarded-For` that is no such
/// proxy: what stands before it anybody may have written.
pub fn address(ctx: &Ctx, parts: &Parts) -> IpAddr {
    let peer = parts.extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.address.to_canonical());
    let forwarded = parts.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let forwarded: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    sender(peer, &forwarded, &ctx.config.trusted_proxies)
}

fn sender(peer: IpAddr, forwarded: &[&str], trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut sender = peer;
    for hop in forwarded.iter().rev() {
        if !is_trusted(sender) {
            break;
        }
        match hop.parse::<IpAddr>() {
            Ok(address) => sender = address.to_canonical(),
            Err(_) => break,
        }
    }
    sender
}

/// Addresses that one party has many of are one to the limits: a network of 64 bits in IPv6.
pub fn party(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

/// Who asks, with a share of its own; nobody where it is a server.
pub fn asker(ctx: &Ctx, parts: &Parts, caller: &Caller) -> Option<Asker> {
    let user = caller.user().filter(|_| !caller.is_server())?;
    let is_stranger = caller.is_anonymous() || user.role == GUEST_ROLE;
    Some(if is_stranger { Asker::Strangers(party(address(ctx, parts))) } else { Asker::User(user.id.as_str().into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        sender(peer.parse().unwrap(), forwarded, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(sent("192.0.2.1", &["198.51.100.7"], &[]), "192.0.2.1");
        assert_eq!(sent("10.0.0.1", &["198.51.100.7"], &["10.0.0.0/8"]), "198.51.100.7");
        // What the client made up stands in front.
        assert_eq!(sent("10.0.0.1", &["203.0.113.9", "198.51.100.7", "10.2.0.1"], &["10.0.0.0/8"]), "198.51.100.7");
        assert_eq!(sent("10.0.0.1", &["nonsense"], &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(sent("10.0.0.1", &[], &["10.0.0.1"]), "10.0.0.1");
    }

    #[test]
    fn a_network_of_ipv6_is_one_party() {
        let party_of = |address: &str| party(address.parse().unwrap()).to_string();
        assert_eq!(party_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(party_of("192.0.2.1"), "192.0.2.1");
    }
}
