//! Which of a provider's addresses are served.
//!
//! | address | |
//! |---|---|
//! | no multiaddr that all clients read, or more than [`ADDR_BYTES_MAX`] bytes | dropped |
//! | ends in `/p2p/` and another peer | dropped; its own `/p2p/...` is cut |
//! | `0.0.0.0` or `::` | replaced by the caller's address of that family where that is certain, else dropped |
//! | private, loopback, link-local, multicast, reserved, also inside an IPv6 one | dropped, unless private ones are allowed |
//! | begins with no host and no relay, has a name (also behind `sni`) that is none, or port 0 | dropped |
//! | a name of one machine or network (`localhost`, `.local`, ...) | dropped, unless private ones are allowed |
//! | other DNS names, relays by their peer ID | stay |
//!
//! Addresses are deduplicated. The first [`ADDRS_MAX`] are kept; beyond [`ADDRS_READ_MAX`] none is
//! read. Dropping is no failure while one is kept: the record is accepted without the address, and
//! the reason is counted. If all are dropped the record is refused, since it would remove the
//! provider's addresses; a record with an empty list does remove them.

use std::net::IpAddr;

use multiaddr::{Multiaddr, Protocol};

use super::error::AddrReasons;
use super::wire::BoundedList;
use crate::types::{Addr, PeerId, is_public_component};

/// The most addresses of one record: some more than a node with relays has.
pub const ADDRS_MAX: usize = 32;

/// The longest text of an address; a WebTransport one with two certificate hashes takes 200 bytes.
pub(crate) const ADDR_BYTES_MAX: usize = 1024;

/// The most addresses that are read, which bounds the work: room for those that are dropped.
pub(super) const ADDRS_READ_MAX: usize = 8 * ADDRS_MAX;

/// Why an address is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropReason {
    NotMultiaddr,
    TooLong,
    TooMany,
    Private,
    Unspecified,
    OtherPeer,
}

/// How many addresses were dropped, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DroppedAddrs([u64; DropReason::ALL.len()]);

/// The rules for addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddrPolicy {
    /// Whether addresses that the public cannot reach are kept.
    pub(super) allow_private: bool,
    /// The client's address, if it is certain.
    pub(super) caller: Option<IpAddr>,
}

impl DropReason {
    const ALL: [Self; 6] = [
        Self::NotMultiaddr,
        Self::TooLong,
        Self::TooMany,
        Self::Private,
        Self::Unspecified,
        Self::OtherPeer,
    ];

    /// Why, for the provider.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::NotMultiaddr => "no multiaddr that all clients read",
            Self::TooLong => "too long",
            Self::TooMany => "one too many",
            Self::Private => "out of the public's reach",
            Self::Unspecified => "unspecified, and the sender's own is not certain",
            Self::OtherPeer => "of another peer",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::NotMultiaddr => "not_multiaddr",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::Private => "private",
            Self::Unspecified => "unspecified",
            Self::OtherPeer => "other_peer",
        }
    }
}

impl DroppedAddrs {
    /// How many were dropped for each reason; a reason is one of a fixed set of words.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        DropReason::ALL.iter().zip(self.0).map(|(reason, count)| (reason.label(), count))
    }

    fn add(&mut self, reason: DropReason, count: usize) {
        if let Some(sum) = self.0.get_mut(reason as usize) {
            *sum += count as u64;
        }
    }
}

impl AddrPolicy {
    /// The addresses of `peer` that are kept; `null` is dropped as not a multiaddr.
    ///
    /// # Errors
    ///
    /// Why each is dropped, where that leaves none.
    pub(super) fn usable(
        &self,
        texts: &BoundedList<Option<String>>,
        peer: &PeerId,
        dropped: &mut DroppedAddrs,
    ) -> Result<Vec<Addr>, AddrReasons> {
        let mut usable: Vec<Addr> = Vec::new();
        let mut reasons = AddrReasons::default();
        for text in &texts.kept {
            let present = text.as_deref().ok_or(DropReason::NotMultiaddr);
            match present.and_then(|text| self.check(text, peer)) {
                Ok(addr) if usable.contains(&addr) => {}
                Ok(_) if usable.len() == ADDRS_MAX => dropped.add(DropReason::TooMany, 1),
                Ok(addr) => usable.push(addr),
                Err(reason) => {
                    dropped.add(reason, 1);
                    reasons.add(text.as_deref(), reason);
                }
            }
        }
        dropped.add(DropReason::TooMany, texts.total - texts.kept.len());
        reasons.add_others(texts.total - texts.kept.len());
        if usable.is_empty() && texts.total > 0 { Err(reasons) } else { Ok(usable) }
    }

    fn check(&self, text: &str, peer: &PeerId) -> Result<Addr, DropReason> {
        if text.len() > ADDR_BYTES_MAX {
            return Err(DropReason::TooLong);
        }
        let addr = Addr::parse(text).map_err(|_| DropReason::NotMultiaddr)?;
        let given: Multiaddr = addr.as_str().parse().map_err(|_| DropReason::NotMultiaddr)?;
        let own = without_own_id(given.clone(), peer)?;
        let has_host = own.iter().next().is_some_and(|first| is_host(&first));
        if !has_host && !self.allow_private {
            return Err(DropReason::NotMultiaddr);
        }
        let reachable = self.reachable(&own)?;
        if reachable == given {
            return Ok(addr);
        }
        Addr::parse(&reachable.to_string()).map_err(|_| DropReason::NotMultiaddr)
    }

    /// The address with every unspecified component replaced, if all of them are reachable then.
    fn reachable(&self, addr: &Multiaddr) -> Result<Multiaddr, DropReason> {
        addr.iter()
            .map(|component| {
                let component = self.specified(component)?;
                let is_reachable = self.allow_private || is_public_component(&component);
                if is_reachable { Ok(component) } else { Err(DropReason::Private) }
            })
            .collect()
    }

    /// The component with the caller's address in place of an unspecified one, unless an address
    /// cannot have it.
    #[allow(clippy::wildcard_enum_match_arm, reason = "few of the many protocols name a host")]
    fn specified<'a>(&self, component: Protocol<'a>) -> Result<Protocol<'a>, DropReason> {
        match component {
            Protocol::Ip4(ip) => self.specified_ip(IpAddr::V4(ip)).map(Protocol::from),
            Protocol::Ip6(ip) => self.specified_ip(IpAddr::V6(ip)).map(Protocol::from),
            Protocol::Dns(name) => check_name(&name).map(|()| Protocol::Dns(name)),
            Protocol::Dns4(name) => check_name(&name).map(|()| Protocol::Dns4(name)),
            Protocol::Dns6(name) => check_name(&name).map(|()| Protocol::Dns6(name)),
            Protocol::Dnsaddr(name) => check_name(&name).map(|()| Protocol::Dnsaddr(name)),
            Protocol::Sni(name) => check_name(&name).map(|()| Protocol::Sni(name)),
            Protocol::Tcp(0) | Protocol::Udp(0) => Err(DropReason::NotMultiaddr),
            other => Ok(other),
        }
    }

    fn specified_ip(&self, ip: IpAddr) -> Result<IpAddr, DropReason> {
        if !ip.to_canonical().is_unspecified() {
            return Ok(ip);
        }
        let same_family = |caller: &IpAddr| caller.is_ipv4() == ip.is_ipv4();
        self.caller.filter(same_family).ok_or(DropReason::Unspecified)
    }
}

/// Whether a name is a valid host name; one that is an IP address must not be unspecified.
fn check_name(name: &str) -> Result<(), DropReason> {
    match name.parse::<IpAddr>() {
        Ok(ip) if ip.to_canonical().is_unspecified() => Err(DropReason::Unspecified),
        Ok(_) => Ok(()),
        Err(_) if is_dns_name(name) => Ok(()),
        Err(_) => Err(DropReason::NotMultiaddr),
    }
}

/// Whether an address can begin with the component: a host, or a relay by its ID.
fn is_host(component: &Protocol<'_>) -> bool {
    matches!(
        component,
        Protocol::Ip4(_)
            | Protocol::Ip6(_)
            | Protocol::Ip6zone(_)
            | Protocol::Dns(_)
            | Protocol::Dns4(_)
            | Protocol::Dns6(_)
            | Protocol::Dnsaddr(_)
            | Protocol::P2p(_)
            | Protocol::Onion3(_)
            | Protocol::Garlic32(_)
            | Protocol::Garlic64(_)
            | Protocol::Unix(_)
            | Protocol::Memory(_)
    )
}

/// Letters, digits, hyphens and underscores in labels of 1 to 63, 253 in all; a dot may end it.
fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let is_known = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_known)
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// The address up to the provider's own ID, which clients add themselves.
fn without_own_id(mut addr: Multiaddr, peer: &PeerId) -> Result<Multiaddr, DropReason> {
    while let Some(Protocol::P2p(id)) = addr.iter().last() {
        if id.to_base58() != peer.as_str() {
            return Err(DropReason::OtherPeer);
        }
        addr.pop();
    }
    if addr.is_empty() { Err(DropReason::NotMultiaddr) } else { Ok(addr) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";
    const OTHER: &str = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3";
    const STRICT: AddrPolicy = AddrPolicy { allow_private: false, caller: None };

    fn called_from(caller: &str) -> AddrPolicy {
        AddrPolicy { caller: Some(caller.parse().unwrap()), ..STRICT }
    }

    fn check(policy: AddrPolicy, text: &str) -> Result<String, DropReason> {
        let peer = PeerId::parse(PEER).unwrap();
        policy.check(text, &peer).map(|addr| addr.as_str().to_owned())
    }

    #[test]
    fn addresses_that_the_public_cannot_reach_are_dropped_unless_allowed() {
        let allowing = AddrPolicy { allow_private: true, ..STRICT };
        for host in [
            "ip4/10.0.0.1",
            "ip4/172.16.0.1",
            "ip4/172.31.255.1",
            "ip4/192.168.1.1",
            "ip4/127.0.0.1",
            "ip4/169.254.1.1",
            "ip4/100.64.0.1",
            "ip4/100.127.0.1",
            "ip4/198.18.0.1",
            "ip4/224.0.0.1",
            "ip4/240.0.0.1",
            "ip4/255.255.255.255",
            "ip4/0.1.2.3",
            "ip6/::1",
            "ip6/fe80::1",
            "ip6/fec0::1",
            "ip6/fd00::1",
            "ip6/ff02::1",
            "ip6/::ffff:10.0.0.1",
            "ip6/100::1",
            "ip6zone/eth0/ip6/fe80::1",
            "ip4/192.0.0.8",
            "ip4/192.88.99.1",
            "ip6/5f00::1",
            "ip6/2001:0:7f00:1::1",
            "ip6/2002:a00:1::1",
            "ip6/2002:7f00:1::",
            "ip6/64:ff9b::a00:1",
            "ip6/64:ff9b:1::1",
            "dns4/127.0.0.1",
            "dns/10.0.0.1",
            "dns6/::1",
            "dns4/localhost",
            "dns4/router.lan",
            "dnsaddr/foo.local",
            "dns/nas.home.arpa",
        ] {
            let text = format!("/{host}/tcp/4001");
            assert_eq!(check(STRICT, &text), Err(DropReason::Private), "{text}");
            assert_eq!(check(allowing, &text), Ok(text.clone()), "{text}");
        }
        let relayed = format!("/ip4/10.0.0.1/tcp/4001/p2p/{OTHER}/p2p-circuit");
        assert_eq!(check(STRICT, &relayed), Err(DropReason::Private));
    }

    #[test]
    fn public_addresses_and_names_stay_as_they_came() {
        for text in [
            "/ip4/192.0.2.1/tcp/4001".to_owned(),
            "/ip4/172.32.0.1/udp/4001/quic-v1".to_owned(),
            "/ip4/100.63.0.1/tcp/4001".to_owned(),
            "/ip4/198.20.0.1/tcp/4001".to_owned(),
            "/ip4/223.255.255.255/tcp/4001".to_owned(),
            "/ip6/2001:0db8::1/tcp/4001".to_owned(),
            "/ip6/2002:c000:201::1/tcp/4001".to_owned(),
            "/ip6/64:ff9b::c000:201/tcp/4001".to_owned(),
            "/dns4/192.0.2.1/tcp/4001".to_owned(),
            "/ip6/::ffff:192.0.2.1/tcp/4001".to_owned(),
            "/dns4/example.org/tcp/443/wss".to_owned(),
            "/dnsaddr/example.org".to_owned(),
            format!("/ip4/192.0.2.1/tcp/4001/p2p/{OTHER}/p2p-circuit"),
            format!("/p2p/{OTHER}/p2p-circuit"),
        ] {
            assert_eq!(check(STRICT, &text), Ok(text.clone()));
        }
    }

    #[test]
    fn an_unspecified_address_becomes_the_callers_where_that_is_certain() {
        let (v4, v6) = ("/ip4/0.0.0.0/tcp/4001", "/ip6/::/udp/4001/quic-v1");
        for text in [v4, v6] {
            assert_eq!(check(STRICT, text), Err(DropReason::Unspecified));
        }
        let by_ipv4 = called_from("192.0.2.7");
        assert_eq!(check(by_ipv4, v4).unwrap(), "/ip4/192.0.2.7/tcp/4001");
        assert_eq!(check(by_ipv4, v6), Err(DropReason::Unspecified));
        let by_ipv6 = called_from("2001:db8::7");
        assert_eq!(check(by_ipv6, v6).unwrap(), "/ip6/2001:db8::7/udp/4001/quic-v1");
        assert_eq!(check(called_from("127.0.0.1"), v4), Err(DropReason::Private));
        let mapped = "/ip6/::ffff:0.0.0.0/tcp/4001";
        assert_eq!(check(by_ipv4, mapped), Err(DropReason::Unspecified));
        let at_home = AddrPolicy { allow_private: true, ..called_from("127.0.0.1") };
        assert_eq!(check(at_home, v4).unwrap(), "/ip4/127.0.0.1/tcp/4001");
        assert_eq!(check(AddrPolicy { caller: None, ..at_home }, v4), Err(DropReason::Unspecified));
    }

    #[test]
    fn the_providers_own_id_is_cut_and_another_peers_address_is_dropped() {
        let bare = "/ip4/192.0.2.1/tcp/4001";
        assert_eq!(check(STRICT, &format!("{bare}/p2p/{PEER}")).unwrap(), bare);
        assert_eq!(check(STRICT, &format!("{bare}/p2p/{OTHER}")), Err(DropReason::OtherPeer));
        let relayed = format!("{bare}/p2p/{OTHER}/p2p-circuit");
        assert_eq!(check(STRICT, &format!("{relayed}/p2p/{PEER}")).unwrap(), relayed);
        assert_eq!(
            check(STRICT, &format!("{bare}/p2p/{OTHER}/p2p/{PEER}")),
            Err(DropReason::OtherPeer)
        );
        assert_eq!(check(STRICT, &format!("/p2p/{PEER}")), Err(DropReason::NotMultiaddr));
    }

    #[test]
    fn an_address_takes_the_form_that_all_clients_read() {
        let other = PeerId::parse(OTHER).unwrap().to_cid_text();
        let own = PeerId::parse(PEER).unwrap().to_cid_text();
        let bare = "/ip4/192.0.2.1/tcp/4001";
        for (given, form) in [
            (format!("{bare}/"), bare.to_owned()),
            (format!("{bare}/p2p/{own}//"), bare.to_owned()),
            (
                format!("{bare}/ipfs/{other}/p2p-circuit/"),
                format!("{bare}/p2p/{OTHER}/p2p-circuit"),
            ),
            (format!("/p2p/{other}/p2p-circuit"), format!("/p2p/{OTHER}/p2p-circuit")),
        ] {
            assert_eq!(check(STRICT, &given).unwrap(), form);
        }
    }

    #[test]
    fn what_is_no_multiaddr_is_dropped() {
        for text in [
            "",
            "/",
            "192.0.2.1:4001",
            "/ip4/x/tcp/1",
            "/new/1",
            "/ip4/192.0.2.1/tcp",
            "/tcp/4001",
            "/http",
            "/p2p-circuit",
            "/dns4//tcp/1",
            "/dns4/a b.example/tcp/1",
            "/dns4/x%0d%0ay.example/tcp/1",
            "/ip4/192.0.2.1/tcp/0",
            "/ip4/192.0.2.1/tcp/4001/tls/sni/*.libp2p.direct/ws",
            "/ip4/192.0.2.1/tcp/4001/tls/sni/a b/ws",
            "/ip4/192.0.2.1/tcp/+4001",
            "/ip4/192.0.2.1/tcp/004001",
            "/ip4/192.0.2.1/tcp/1/ws/p2p-webrtc-star",
        ] {
            assert_eq!(check(STRICT, text), Err(DropReason::NotMultiaddr), "{text}");
        }
        let long = format!("/dns4/{}/tcp/1", "a".repeat(ADDR_BYTES_MAX));
        assert_eq!(check(STRICT, &long), Err(DropReason::TooLong));
    }

    #[test]
    fn no_more_than_32_stay_each_once_and_every_dropped_one_is_counted() {
        let peer = PeerId::parse(PEER).unwrap();
        let text = |port: usize| format!("/ip4/192.0.2.1/tcp/{port}");
        let mut kept: Vec<Option<String>> = (1..=40).map(text).map(Some).collect();
        kept.insert(1, Some(format!("{}/p2p/{PEER}", text(1))));
        kept.insert(0, Some("/ip4/10.0.0.1/tcp/1".to_owned()));
        let mut dropped = DroppedAddrs::default();
        let listed = BoundedList { kept, total: 1_000 };
        let usable = STRICT.usable(&listed, &peer, &mut dropped).unwrap();
        let texts: Vec<&str> = usable.iter().map(Addr::as_str).collect();
        assert_eq!(texts, (1..=ADDRS_MAX).map(text).collect::<Vec<_>>());
        let counts: Vec<_> = dropped.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [("too_many", 8 + (1_000 - 42)), ("private", 1)]);
    }
}
