//! Multiaddrs: kept in the form that all clients read, parsed once into what filtering needs.

mod agreed;
mod public;

use std::ops::{BitOr, BitOrAssign};

use multiaddr::Multiaddr;
use thiserror::Error;

use agreed::agreed_form;
pub(crate) use public::is_public_component;
use public::names_private_host;

/// The name of every multiaddr protocol, in the order of its bit in a [`ProtocolSet`].
const PROTOCOL_NAMES: [&str; 42] = [
    "certhash",
    "dccp",
    "dns",
    "dns4",
    "dns6",
    "dnsaddr",
    "garlic32",
    "garlic64",
    "http",
    "http-path",
    "https",
    "ip4",
    "ip6",
    "ip6zone",
    "ipcidr",
    "memory",
    "noise",
    "onion",
    "onion3",
    "p2p",
    "p2p-circuit",
    "p2p-stardust",
    "p2p-webrtc-direct",
    "p2p-webrtc-star",
    "p2p-websocket-star",
    "quic",
    "quic-v1",
    "sctp",
    "sni",
    "tcp",
    "tls",
    "udp",
    "udt",
    "unix",
    "utp",
    "webrtc",
    "webrtc-direct",
    "webtransport",
    "ws",
    "wss",
    "x-parity-ws",
    "x-parity-wss",
];

/// A set of multiaddr protocols: one bit a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ProtocolSet(u64);

impl ProtocolSet {
    /// The set without any protocol.
    pub(crate) const EMPTY: Self = Self(0);

    /// The set of the one protocol called `name` (in any case), if there is one.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let position = PROTOCOL_NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        Some(Self(1 << position))
    }

    /// Whether the two sets share a protocol.
    pub(crate) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for ProtocolSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ProtocolSet {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// An address: its text, and the protocols of its components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addr {
    text: Box<str>,
    protocols: ProtocolSet,
}

/// Why a text is not an address that clients can read.
#[derive(Debug, Error)]
#[error("not a multiaddr: {reason}")]
pub struct AddrError {
    reason: String,
}

impl Addr {
    /// Reads a multiaddr's text. It is kept in the form that all clients read.
    pub fn parse(text: &str) -> Result<Self, AddrError> {
        let form = agreed_form(text)?;
        let parsed: Multiaddr = form
            .parse()
            .map_err(|error: multiaddr::Error| AddrError { reason: error.to_string() })?;
        let protocols = parsed
            .protocol_stack()
            .filter_map(ProtocolSet::of_name)
            .fold(ProtocolSet::EMPTY, ProtocolSet::bitor);
        Ok(Self { text: form.into(), protocols })
    }

    /// An unparsable address, where such are kept: every segment that is the name of a protocol
    /// counts as a component.
    pub(crate) fn unparsable(text: &str) -> Self {
        let protocols = text
            .split('/')
            .filter_map(ProtocolSet::of_name)
            .fold(ProtocolSet::EMPTY, ProtocolSet::bitor);
        Self { text: text.into(), protocols }
    }

    /// Whether the public cannot reach it: one of its components has a meaning on one machine or
    /// network only. An unparsable address is judged by the hosts that it names, because some
    /// client may still read it.
    pub fn is_private(&self) -> bool {
        match self.text.parse::<Multiaddr>() {
            Ok(addr) => !addr.iter().all(|component| is_public_component(&component)),
            Err(_) => names_private_host(&self.text),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The protocols of its components, relay hops included.
    pub(crate) fn protocols(&self) -> ProtocolSet {
        self.protocols
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> ProtocolSet {
        names
            .iter()
            .map(|name| ProtocolSet::of_name(name).unwrap())
            .fold(ProtocolSet::EMPTY, ProtocolSet::bitor)
    }

    #[test]
    fn the_protocols_are_those_of_every_component() {
        let peer = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";
        let cases = [
            ("/ip4/192.0.2.1/tcp/4001".to_owned(), set(&["ip4", "tcp"])),
            ("/ip6/2001:db8::1/udp/4001/quic-v1".to_owned(), set(&["ip6", "udp", "quic-v1"])),
            ("/dns4/example.org/tcp/443/wss".to_owned(), set(&["dns4", "tcp", "wss"])),
            (
                format!("/ip4/192.0.2.1/tcp/4001/ws/p2p/{peer}/p2p-circuit"),
                set(&["ip4", "tcp", "ws", "p2p", "p2p-circuit"]),
            ),
        ];
        for (text, protocols) in cases {
            let addr = Addr::parse(&text).unwrap();
            assert_eq!((addr.as_str(), addr.protocols()), (&text[..], protocols));
        }
    }

    #[derive(serde::Deserialize)]
    struct Judged {
        address: String,
        go: Option<String>,
        js: Option<String>,
        agreed: Option<String>,
        #[serde(default)]
        why: Option<String>,
    }

    /// How go-multiaddr and js-multiaddr read addresses, and the agreed form. `interop/run addresses`
    /// checks the file against both.
    fn judged() -> Vec<Judged> {
        serde_json::from_str(include_str!("../../tests/fixtures/addresses.json")).unwrap()
    }

    #[test]
    fn an_address_is_what_all_clients_read_in_the_form_that_all_read() {
        let judged = judged();
        assert!(judged.len() >= 300);
        for Judged { address, agreed, .. } in judged {
            let ours = Addr::parse(&address).ok();
            assert_eq!(ours.as_ref().map(Addr::as_str), agreed.as_deref(), "{address:?}");
            if let Some(form) = ours {
                assert_eq!(Addr::parse(form.as_str()).unwrap(), form);
            }
        }
    }

    #[test]
    fn what_all_clients_read_is_an_address_unless_the_table_says_why_not() {
        for Judged { address, go, js, agreed, why } in judged() {
            assert_eq!(
                why.is_some(),
                go.is_some() && js.is_some() && agreed.is_none(),
                "{address:?}"
            );
            assert!(agreed.is_none() || go.is_some(), "{address:?}");
        }
    }

    #[test]
    fn what_is_no_multiaddr_is_refused() {
        for text in ["", "/", "ip4/1.2.3.4", "/ip4", "/ip4/1.2.3.4/tcp/70000", "/foo/bar", "/ip4/x"]
        {
            assert!(Addr::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unparsable_address_still_shows_the_protocols_it_names() {
        let addr = Addr::unparsable("/ip4/1.2.3.4/tcp/1/newthing/ws");
        assert_eq!(addr.protocols(), set(&["ip4", "tcp", "ws"]));
    }

    #[test]
    fn what_only_some_client_reads_hides_no_private_host() {
        for (text, is_private) in [
            ("/ip4/127.0.0.1/tcp/5001/garlic64/x", true),
            ("/ip4/127.0.0.1//tcp/5001", true),
            ("/ip6/127.0.0.1/tcp/+5001/plaintextv2", true),
            ("/ip4/::ffff:10.0.0.1/tcp/+1", true),
            ("/dns4/nas.local/tcp/+1", true),
            ("/dns4/192.168.1.1/x-parity-ws", true),
            ("/unix/run/x.sock/plaintextv2", true),
            ("/ip4/192.0.2.1/tcp/1/plaintextv2", false),
            ("/dns4/example.org/tcp/+1/garlic64/x", false),
            ("/new/thing", false),
        ] {
            assert_eq!(Addr::unparsable(text).is_private(), is_private, "{text}");
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_only_whole() {
        assert_eq!(ProtocolSet::of_name("QUIC-V1"), ProtocolSet::of_name("quic-v1"));
        assert_eq!(ProtocolSet::of_name("fakeproto"), None);
        assert_eq!(ProtocolSet::of_name(""), None);
        assert!(!set(&["ws"]).intersects(set(&["wss"])));
    }
}
