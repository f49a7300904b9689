//! Who brought an announcement in: the operator, or a stranger from some network.
//!
//! Peer IDs are free, networks are not: so strangers are identified by the network that they
//! announce from, an IPv4 /24 or an IPv6 /36. A /48 is as cheap as a tunnel, and an access
//! provider's /32 has 65,536 of them: it counts as sixteen networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who brought an announcement in, in 64 bits:
///
/// ```text
/// 63    56 55                  0
/// | kind | network            |   kind 0: unknown, 1: the operator, both without a network;
///                                 4: the upper 24 bits of an IPv4 address, 6: 48 of an IPv6 one, the
///                                 lower 12 of them 0
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(u64);

const KIND_SHIFT: u32 = 56;
const KIND_OPERATOR: u64 = 1;
const KIND_IPV4: u64 = 4;
const KIND_IPV6: u64 = 6;

const UNKNOWN_TEXT: &str = "unknown";

const IPV4_HOST_BITS: u32 = 8;
const IPV6_HOST_BITS: u32 = 80;

/// Mask of the significant bits of the 48.
const IPV6_NETWORK_BITS: u64 = !0xfff;
const IPV6_PREFIX: u32 = 36;

impl Origin {
    /// The operator: imports, and whatever else came with the operator's password.
    pub const OPERATOR: Self = Self(KIND_OPERATOR << KIND_SHIFT);
    /// Unknown. All unknown origins count as one network.
    pub const UNKNOWN: Self = Self(0);

    /// The network of a stranger's address; an IPv4-mapped IPv6 address counts as IPv4.
    pub fn of_client(ip: IpAddr) -> Self {
        let (kind, network) = match ip.to_canonical() {
            IpAddr::V4(ip) => (KIND_IPV4, u64::from(ip.to_bits() >> IPV4_HOST_BITS)),
            IpAddr::V6(ip) => {
                (KIND_IPV6, (ip.to_bits() >> IPV6_HOST_BITS) as u64 & IPV6_NETWORK_BITS)
            }
        };
        Self(kind << KIND_SHIFT | network)
    }

    /// Reads the text of a stranger's network, as an export has it: what [`Origin::to_network_text`] gives.
    pub(crate) fn from_network_text(text: &str) -> Option<Self> {
        if text == UNKNOWN_TEXT {
            return Some(Self::UNKNOWN);
        }
        let (ip, _) = text.split_once('/')?;
        let network = Self::of_client(ip.parse().ok()?);
        (network.to_string() == text).then_some(network)
    }

    /// `192.0.2.0/24`, `2001:db8::/36` or `unknown`; `None`: it is the operator's.
    pub(crate) fn to_network_text(self) -> Option<String> {
        match self {
            Self::OPERATOR => None,
            Self::UNKNOWN => Some(UNKNOWN_TEXT.to_owned()),
            network => Some(network.to_string()),
        }
    }

    /// Whether it is the operator's.
    pub(crate) fn is_operator(self) -> bool {
        self == Self::OPERATOR
    }

    /// Whether it is a known network.
    pub(crate) fn is_network(self) -> bool {
        matches!(self.0 >> KIND_SHIFT, KIND_IPV4 | KIND_IPV6)
    }

    /// The 64 bits, for the disk.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// Reads [`Origin::to_bits`]; an IPv6 /48 becomes the network that contains it. Invalid bits
    /// are an unknown origin.
    pub(crate) fn from_bits(bits: u64) -> Self {
        let network = bits & ((1 << KIND_SHIFT) - 1);
        let is_ipv6 = bits >> KIND_SHIFT == KIND_IPV6;
        let has_meaning = match bits >> KIND_SHIFT {
            KIND_OPERATOR => network == 0,
            KIND_IPV4 => network >> (Ipv4Addr::BITS - IPV4_HOST_BITS) == 0,
            KIND_IPV6 => network >> (Ipv6Addr::BITS - IPV6_HOST_BITS) == 0,
            _ => false,
        };
        let bits = if is_ipv6 { bits & IPV6_NETWORK_BITS } else { bits };
        if has_meaning { Self(bits) } else { Self::UNKNOWN }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = self.0 & ((1 << KIND_SHIFT) - 1);
        match self.0 >> KIND_SHIFT {
            KIND_OPERATOR => f.write_str("the operator"),
            KIND_IPV4 => {
                let first = Ipv4Addr::from_bits((network as u32) << IPV4_HOST_BITS);
                write!(f, "{first}/{}", Ipv4Addr::BITS - IPV4_HOST_BITS)
            }
            KIND_IPV6 => {
                let first = Ipv6Addr::from_bits(u128::from(network) << IPV6_HOST_BITS);
                write!(f, "{first}/{IPV6_PREFIX}")
            }
            _ => f.write_str("an unknown network"),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ip: &str) -> Origin {
        Origin::of_client(ip.parse().unwrap())
    }

    #[test]
    fn addresses_of_one_network_are_one_origin_and_others_are_others() {
        assert_eq!(of("192.0.2.1"), of("192.0.2.255"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.7"));
        assert_eq!(of("2001:db8:1::1"), of("2001:db8:fff:ffff::1"));
        let others = ["192.0.2.1", "192.0.3.1", "0.0.0.0", "::", "2001:db8:1000::"];
        let others = others.map(of).into_iter().chain([Origin::OPERATOR, Origin::UNKNOWN]);
        assert_eq!(others.collect::<std::collections::HashSet<_>>().len(), 7);
        assert!(Origin::OPERATOR.is_operator() && !of("::1").is_operator());
    }

    #[test]
    fn the_text_of_a_network_is_read_again_and_no_other() {
        for origin in
            [of("192.0.2.1"), of("2001:db8:1::1"), of("0.0.0.0"), of("::"), Origin::UNKNOWN]
        {
            let text = origin.to_network_text().unwrap();
            assert_eq!(Origin::from_network_text(&text), Some(origin), "{text}");
        }
        assert_eq!(Origin::OPERATOR.to_network_text(), None);
        let bad =
            ["", "192.0.2.0", "192.0.2.1/24", "192.0.2.0/25", "::/48", "the operator", "Unknown"];
        for text in bad {
            assert_eq!(Origin::from_network_text(text), None, "{text}");
        }
    }

    #[test]
    fn all_of_an_ipv6_32_is_sixteen_networks() {
        let networks: std::collections::HashSet<_> =
            (0..=u16::MAX).map(|part| of(&format!("2001:db8:{part:x}::1"))).collect();
        assert_eq!(networks.len(), 16);
        let kept_as_48 = of("2001:db8::").to_bits() | 7;
        assert_eq!(Origin::from_bits(kept_as_48), of("2001:db8:7::1"));
    }

    #[test]
    fn the_bits_of_an_origin_are_read_again_and_others_are_unknown() {
        for ip in ["0.0.0.0", "255.255.255.255", "::", "2001:db8:1::", "ffff:ffff:ffff::"] {
            assert_eq!(Origin::from_bits(of(ip).to_bits()), of(ip));
        }
        assert_eq!(Origin::from_bits(Origin::OPERATOR.to_bits()), Origin::OPERATOR);
        for bits in [0, 1, 1 << 56 | 1, 2 << 56, 4 << 56 | 1 << 24, 6 << 56 | 1 << 48, u64::MAX] {
            assert_eq!(Origin::from_bits(bits), Origin::UNKNOWN, "{bits:x}");
        }
    }

    #[test]
    fn an_origin_is_written_as_the_network_that_it_is() {
        let written = [of("192.0.2.9"), of("2001:db8:1:2::3"), Origin::OPERATOR, Origin::UNKNOWN]
            .map(|origin| origin.to_string());
        let expected = ["192.0.2.0/24", "2001:db8::/36", "the operator", "an unknown network"];
        assert_eq!(written, expected);
    }
}
