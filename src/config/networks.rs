//! Lists of IP networks in settings: `127.0.0.0/8,::1/128`; a plain address is a network of one.
//!
//! Invariants: the text of a list reads back as the same list; IPv4 is held as IPv4, also when it
//! was written, or arrives, mapped into IPv6. A network with bits beyond its prefix is refused: it
//! is ambiguous whom it trusts, the address or the network.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::list::{List, ListItem};

/// A list of IP networks; an empty one contains nobody.
pub(crate) type Networks = List<IpNet>;

impl List<IpNet> {
    /// Whether one of the networks contains `address`.
    #[cfg(test)]
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.iter().any(|network| network.contains(&address))
    }
}

impl ListItem for IpNet {
    fn read(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(unmapped(Self::from(address)));
        }
        let network: Self = text
            .parse()
            .map_err(|_| "neither an IP address nor a network such as 10.0.0.0/8".to_owned())?;
        let (whole, address) = (network.trunc(), network.addr());
        if whole == network {
            return Ok(unmapped(network));
        }
        Err(format!("has bits beyond its prefix, write {whole} or {address}"))
    }
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
            let error = text.parse::<Networks>().unwrap_err().to_string();
            assert!(error.ends_with("a network such as 10.0.0.0/8"), "{text}: {error}");
        }
        let error = "10.1.2.3/8".parse::<Networks>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`10.1.2.3/8`: has bits beyond its prefix, write 10.0.0.0/8 or 10.1.2.3"
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
            let list: Networks = list.into_iter().map(unmapped).collect();
            prop_assert_eq!(networks(&list.to_string()), list);
        }
    }
}
