//! Lists of IP networks in settings: `127.0.0.0/8,::1/128`; a plain address is a network of one.
//!
//! Invariants: the text of a list reads back as the same list; IPv4 is held as IPv4, also when it
//! was written, or arrives, mapped into IPv6. A network with bits beyond its prefix is refused,
//! because whether the address or the network was meant decides who is trusted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

/// A list of IP networks; an empty one contains nobody.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether one of the networks contains `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The networks, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }

    /// Whether there is no network at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().map(unmapped).collect())
    }
}

impl FromStr for Networks {
    type Err = NetworksError;

    fn from_str(text: &str) -> Result<Self, NetworksError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(|item| parse_network(item.trim())).collect()
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, network) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "," };
            write!(formatter, "{separator}{network}")?;
        }
        Ok(())
    }
}

/// Why a text is not a list of networks.
#[derive(Debug, Error)]
pub enum NetworksError {
    /// Neither an address nor a network.
    #[error("`{0}` is neither an IP address nor a network such as 10.0.0.0/8")]
    Malformed(String),
    /// An address inside a network, with a prefix: one of the two is a mistake.
    #[error("`{written}` has bits beyond its prefix, write {network} or {address}")]
    BeyondPrefix {
        /// What was written.
        written: String,
        /// The network that the prefix cuts out.
        network: IpNet,
        /// The address alone.
        address: IpAddr,
    },
}

fn parse_network(text: &str) -> Result<IpNet, NetworksError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| NetworksError::Malformed(text.to_owned()))?;
    if network.trunc() == network {
        return Ok(network);
    }
    Err(NetworksError::BeyondPrefix {
        written: text.to_owned(),
        network: network.trunc(),
        address: network.addr(),
    })
}

/// IPv4 networks that were written mapped into IPv6 (`::ffff:10.0.0.0/104`) as IPv4.
fn unmapped(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V4(_) => None,
        IpNet::V6(network) => {
            network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(MAPPED_PREFIX))
        }
    };
    mapped
        .and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
        .map_or(network, IpNet::V4)
}

/// The bits of an IPv4 address mapped into IPv6 that stand before the IPv4 address itself.
const MAPPED_PREFIX: u8 = (Ipv6Addr::BITS - std::net::Ipv4Addr::BITS) as u8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn networks(text: &str) -> Networks {
        text.parse().unwrap()
    }

    #[test]
    fn networks_and_plain_addresses_are_read() {
        let list = networks("10.0.0.0/8, 192.0.2.7 ,2001:db8::/32");
        assert_eq!(list.to_string(), "10.0.0.0/8,192.0.2.7/32,2001:db8::/32");
        assert!(list.contains("10.255.0.1".parse().unwrap()));
        assert!(list.contains("192.0.2.7".parse().unwrap()));
        assert!(!list.contains("192.0.2.8".parse().unwrap()));
        assert!(list.contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn an_empty_text_is_the_empty_list_and_contains_nobody() {
        for text in ["", "  "] {
            let list = networks(text);
            assert!(list.is_empty());
            assert!(!list.contains("127.0.0.1".parse().unwrap()));
        }
    }

    #[test]
    fn ipv4_mapped_into_ipv6_is_ipv4_on_both_sides() {
        assert_eq!(networks("::ffff:10.0.0.0/104"), networks("10.0.0.0/8"));
        assert!(networks("10.0.0.0/8").contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!networks("::/0").contains("10.1.2.3".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["localhost", "10.0.0.0/33", "10.0.0.0/8,,::1", "10.0.0.0/8,", "10.0.0/8"] {
            let error = text.parse::<Networks>().unwrap_err();
            assert!(matches!(error, NetworksError::Malformed(_)), "{text}: {error}");
        }
        let error = "10.1.2.3/8".parse::<Networks>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`10.1.2.3/8` has bits beyond its prefix, write 10.0.0.0/8 or 10.1.2.3"
        );
    }

    fn any_network() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(bytes, prefix)| {
                IpNet::new(IpAddr::from(bytes), prefix).unwrap().trunc()
            }),
            (any::<[u8; 16]>(), 0_u8..=128).prop_map(|(bytes, prefix)| {
                IpNet::new(IpAddr::from(bytes), prefix).unwrap().trunc()
            }),
        ]
    }

    proptest! {
        #[test]
        fn the_text_of_a_list_reads_back(list in proptest::collection::vec(any_network(), 0..5)) {
            let list: Networks = list.into_iter().collect();
            prop_assert_eq!(networks(&list.to_string()), list);
        }
    }
}
