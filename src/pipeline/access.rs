//! Which clients a route serves, by their address as far as it is believed.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Networks of clients that a route serves, or does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Only these are served; `None`: all.
    pub allow: Option<Networks>,
    /// These are not, whatever `allow` says.
    pub deny: Networks,
}

/// Networks, found by halving however many they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// First and last addresses, in order; none touches another.
    ranges: Box<[(u128, u128)]>,
}

impl Access {
    /// Whether this client is served.
    pub fn admits(&self, client: IpAddr) -> bool {
        !self.deny.contains(client) && self.allow.as_ref().is_none_or(|allowed| allowed.contains(client))
    }
}

impl Networks {
    /// These networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let range = |network: IpNet| (number(network.network()), number(network.broadcast()));
        let mut ranges: Vec<_> = networks.into_iter().map(range).collect();
        ranges.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self { ranges: joined.into() }
    }

    /// Whether an address lies in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = number(address);
        let after = self.ranges.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).is_some_and(|before| address <= self.ranges[before].1)
    }
}

/// IPv4 addresses are where IPv6 has them (RFC 4291 2.5.5.2), so that both spellings of one are one.
fn number(address: IpAddr) -> u128 {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(given: &[&str]) -> Networks {
        Networks::new(given.iter().map(|text| text.parse::<IpNet>().unwrap()))
    }

    #[test]
    fn deny_comes_before_allow() {
        let access = Access {
            allow: Some(networks(&["10.0.0.0/8", "2001:db8::/32"])),
            deny: networks(&["10.1.0.0/16", "10.0.0.7/32"]),
        };
        for (client, served) in [
            ("10.0.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("10.0.0.7", false),
            ("::ffff:10.1.2.3", false),
            ("11.0.0.1", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(access.admits(client.parse().unwrap()), served, "{client}");
        }
        assert!(Access::default().admits("192.0.2.1".parse().unwrap()));
        let nobody = Access { allow: Some(Networks::default()), ..Access::default() };
        assert!(!nobody.admits("192.0.2.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn halving_finds_what_looking_at_each_finds(
            given in prop::collection::vec((any::<u16>(), 16u8..=32), 0..20),
            asked in any::<u16>(),
        ) {
            let address = |low: u16| IpAddr::from([10, 0, (low >> 8) as u8, low as u8]);
            let given: Vec<IpNet> =
                given.into_iter().map(|(low, bits)| IpNet::new(address(low), bits).unwrap().trunc()).collect();
            let one_by_one = given.iter().any(|network| network.contains(&address(asked)));
            prop_assert_eq!(Networks::new(given).contains(address(asked)), one_by_one);
        }
    }
}
