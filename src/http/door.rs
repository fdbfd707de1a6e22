//! The door: how many connections a node takes, of everybody and of one address.
//!
//! A connection costs a file descriptor and some memory, also one that says nothing, and until it has said something nobody knows
//! whose it is. So they are counted when they are accepted, and what is too much is closed at once: whoever is in goes on, and
//! Postgres, Redis and files find descriptors (descriptors.rs). A proxy that the configuration trusts connects for many, and
//! has no bound of its own. Sockets have another bound, by who is behind them (lanes.rs).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::peer::party;
use crate::config::{Config, Network};
use crate::{descriptors, limits};

pub struct Door {
    most: usize,
    per_address: usize,
    proxies: Vec<Network>,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    all: usize,
    /// Without those of proxies.
    by_party: HashMap<IpAddr, usize>,
    /// When somebody was last told that there is no place.
    told: Option<Instant>,
}

/// How many places one address has, of those that there are: never so many that nobody else finds one.
fn of_one_address(configured: usize, most: usize) -> usize {
    configured.min(most / limits::ADDRESSES_TO_FILL_A_NODE).max(1)
}

/// A connection's place, until it is dropped.
pub struct Place {
    door: Arc<Door>,
    party: Option<IpAddr>,
}

impl Door {
    pub fn new(config: &Config) -> Arc<Self> {
        let most = descriptors::for_connections();
        let per_address = of_one_address(config.connections_per_address, most);
        Self::with_places(most, per_address, &config.trusted_proxies)
    }

    pub(super) fn with_places(most: usize, per_address: usize, proxies: &[Network]) -> Arc<Self> {
        Arc::new(Self { most, per_address, proxies: proxies.to_vec(), inside: Mutex::default() })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from this address, if there is one.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let is_proxy = self.proxies.iter().any(|network| network.contains(address));
        let party = (!is_proxy).then(|| party(address));
        let mut inside = self.inside();
        let own = party.and_then(|party| inside.by_party.get(&party)).copied().unwrap_or_default();
        let full = if inside.all >= self.most {
            Some("node")
        } else if own >= self.per_address {
            Some("address")
        } else {
            None
        };
        if let Some(full) = full {
            metrics::counter!("millrace_connections_refused_total", "full" => full).increment(1);
            if inside.told.is_none_or(|told| told.elapsed() >= limits::REFUSALS_TOLD_EVERY) {
                inside.told = Some(Instant::now());
                tracing::warn!(%address, full, all = inside.all, own, "a connection found no place (connections_per_address, trusted_proxies)");
            }
            return None;
        }
        inside.all += 1;
        if let Some(party) = party {
            inside.by_party.insert(party, own + 1);
        }
        Some(Place { door: self.clone(), party })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.door.inside();
        inside.all -= 1;
        if let Some(party) = self.party
            && let Some(own) = inside.by_party.get_mut(&party)
        {
            *own -= 1;
            if *own == 0 {
                inside.by_party.remove(&party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_proxy_connects_for_many() {
        let door = Door::with_places(5, 2, &["10.0.0.0/8".parse().unwrap()]);
        let places: Vec<_> = (0..4).map(|_| door.enter(address("10.0.0.1"))).collect();
        assert!(places.iter().all(Option::is_some));
        let _last = door.enter(address("192.0.2.1")).unwrap();
        assert!(door.enter(address("192.0.2.1")).is_none() && door.enter(address("10.0.0.1")).is_none());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let door = Door::with_places(9, 1, &[]);
        let _one = door.enter(address("2001:db8::1")).unwrap();
        assert!(door.enter(address("2001:db8::2")).is_none());
        assert!(door.enter(address("2001:db8:0:1::1")).is_some());
        let _mapped = door.enter(address("::ffff:192.0.2.1")).unwrap();
        assert!(door.enter(address("192.0.2.1")).is_none());
    }

    #[test]
    fn one_address_does_not_fill_a_node() {
        assert_eq!((of_one_address(5_000, 15_000), of_one_address(5_000, 2_250)), (5_000, 750));
        assert_eq!((of_one_address(10, usize::MAX), of_one_address(10, 0)), (10, 1));
    }

    proptest! {
        #[test]
        fn nobody_has_more_than_there_is(steps in prop::collection::vec((0_u8..4, any::<bool>()), 0..200)) {
            let door = Door::with_places(10, 4, &[]);
            let mut places: Vec<(u8, Place)> = Vec::new();
            for (host, comes) in steps {
                let own = places.iter().filter(|(other, _)| *other == host).count();
                if comes {
                    let place = door.enter([192, 0, 2, host].into());
                    prop_assert_eq!(place.is_some(), own < 4 && places.len() < 10);
                    places.extend(place.map(|place| (host, place)));
                } else if let Some(index) = places.iter().position(|(other, _)| *other == host) {
                    places.swap_remove(index);
                }
            }
            drop(places);
            prop_assert!(door.inside().all == 0 && door.inside().by_party.is_empty());
        }
    }
}
