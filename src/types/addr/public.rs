//! Which addresses are reachable from the internet, and which from one machine or network only.
//!
//! Private, loopback, link-local, multicast and reserved IP addresses are not public, also inside
//! an IPv6 one; nor are names reserved for local use, zones, sockets and memory addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multiaddr::Protocol;

/// Whether a component of an address is reachable from everywhere. One that names no host is.
#[allow(clippy::wildcard_enum_match_arm, reason = "few of the many protocols name a host")]
pub(crate) fn is_public_component(component: &Protocol<'_>) -> bool {
    match component {
        Protocol::Ip4(ip) => is_public_ip(IpAddr::V4(*ip)),
        Protocol::Ip6(ip) => is_public_ip(IpAddr::V6(*ip)),
        Protocol::Dns(name)
        | Protocol::Dns4(name)
        | Protocol::Dns6(name)
        | Protocol::Dnsaddr(name) => is_public_host(name),
        // A zone, a socket and a memory address have a meaning on one machine only.
        Protocol::Ip6zone(_) | Protocol::Unix(_) | Protocol::Memory(_) => false,
        _ => true,
    }
}

/// Whether a text, perhaps not a multiaddr, names a host that is not public.
pub(super) fn names_private_host(text: &str) -> bool {
    let mut segments = text.split('/').filter(|segment| !segment.is_empty()).peekable();
    while let Some(protocol) = segments.next() {
        let value = segments.peek().copied().unwrap_or_default();
        let is_private = match protocol {
            "ip4" | "ip6" => value.parse().is_ok_and(|ip| !is_public_ip(ip)),
            "dns" | "dns4" | "dns6" | "dnsaddr" => !is_public_host(value),
            "ip6zone" | "unix" | "memory" => true,
            _ => false,
        };
        if is_private {
            return true;
        }
    }
    false
}

fn is_public_host(name: &str) -> bool {
    name.parse().map_or_else(|_| is_public_name(name), is_public_ip)
}

/// Whether a name may resolve outside of one machine or network: it has a dot, and no suffix
/// reserved for local use (RFC 6761, 6762, 8375, 9476, and those that home routers use).
fn is_public_name(name: &str) -> bool {
    const LOCAL: [&str; 10] = [
        "localhost",
        "local",
        "localdomain",
        "lan",
        "home",
        "internal",
        "intranet",
        "corp",
        "invalid",
        "test",
    ];
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let Some((_, last)) = name.rsplit_once('.') else { return false };
    !LOCAL.contains(&last) && !name.ends_with(".home.arpa")
}

/// Whether the address is reachable from the internet. Documentation networks count as public: they
/// are harmless.
fn is_public_ip(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_ipv4(ip),
        IpAddr::V6(ip) => is_public_ipv6(ip) && carried_ipv4(ip).is_none_or(is_public_ipv4),
    }
}

/// The IPv4 address embedded in an IPv6 one to which packets are routed: 6to4 (2002::/16) and NAT64
/// (64:ff9b::/96).
fn carried_ipv4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, _, _, _, g, h] = ip.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        (0x2002, _) => Some(join(b, c)),
        (0x64, 0xff9b) => Some(join(g, h)),
        _ => None,
    }
}

fn is_public_ipv4(ip: Ipv4Addr) -> bool {
    let [first, second, third, _] = ip.octets();
    // 100.64.0.0/10 is carrier-grade NAT, 198.18.0.0/15 for benchmarks.
    let is_shared = first == 100 && second & 0xc0 == 64;
    let is_benchmarking = first == 198 && second & 0xfe == 18;
    // 224.0.0.0/4 is multicast, all above is reserved, and 0.0.0.0/8 is "this network".
    let is_unicast = (1..224).contains(&first);
    let is_local = ip.is_private() || ip.is_loopback() || ip.is_link_local();
    // 192.0.0.0/24 is for protocols, 192.88.99.0/24 was the anycast of 6to4.
    let is_special =
        (first, second, third) == (192, 0, 0) || (first, second, third) == (192, 88, 99);
    is_unicast && !is_local && !is_shared && !is_benchmarking && !is_special
}

fn is_public_ipv6(ip: Ipv6Addr) -> bool {
    let [first, second, third, ..] = ip.segments();
    let is_multicast = first & 0xff00 == 0xff00;
    // fc00::/7 is unique local, fe80::/10 link-local, fec0::/10 site-local.
    let is_local = first & 0xfe00 == 0xfc00 || first & 0xff80 == 0xfe80;
    // ::/16 holds loopback and the unspecified address, 100::/16 the discard prefix, 64:ff9b:1::/48 is
    // NAT64 of one network, 2001::/32 Teredo, 5f00::/16 for segment routing.
    let is_special = matches!(first, 0 | 0x100 | 0x5f00)
        || (first, second, third) == (0x64, 0xff9b, 1)
        || (first, second) == (0x2001, 0);
    !is_multicast && !is_local && !is_special
}

#[cfg(test)]
mod tests {
    use multiaddr::Multiaddr;

    use super::*;

    #[test]
    fn a_component_is_public_unless_it_names_a_host_of_one_machine_or_network() {
        for (text, expected) in [
            ("/ip4/192.0.2.1/tcp/4001", true),
            ("/ip4/10.0.0.1/tcp/4001", false),
            ("/ip6/fe80::1/tcp/4001", false),
            ("/ip6/::ffff:10.0.0.1/tcp/4001", false),
            ("/ip4/0.0.0.0/tcp/4001", false),
            ("/dns4/example.org/tcp/443/wss", true),
            ("/dns4/127.0.0.1/tcp/1", false),
            ("/dnsaddr/nas.local", false),
            ("/unix/run", false),
            ("/p2p-circuit", true),
        ] {
            let addr: Multiaddr = text.parse().unwrap();
            let is_public = addr.iter().all(|component| is_public_component(&component));
            assert_eq!(is_public, expected, "{text}");
        }
    }
}
