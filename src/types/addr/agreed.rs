//! Which addresses all clients read, and in which form.
//!
//! A client that meets an address that it cannot read drops the whole record, or all that follow.
//! So an address counts only if go-multiaddr and js-multiaddr both read it, and takes the form that
//! both read: without slashes at its end, with peer IDs in base58, `p2p` for `ipfs`, onion hosts in
//! lower case. Everything else is kept. `tests/fixtures/addresses.json` has the results of both for
//! several hundred addresses; `interop/run addresses` checks them again.
//!
//! These rules refuse what the multiaddr crate, which parses the form afterwards, accepts and they
//! do not. What both accept and the crate does not is refused too; the fixture says why: overlong
//! peer IDs, for example.

use std::borrow::Cow;

use super::AddrError;
use crate::types::filter::is_percent_encoded_text;
use crate::types::peer::PeerId;

/// The kind of a protocol's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueKind {
    Nothing,
    /// Any text that the crate accepts.
    Any,
    /// JavaScript accepts no leading zeros, Go only digits.
    Port,
    Digits,
    /// A path of one segment: for Go a path extends to the end of the address.
    Path,
    PercentEncoded,
    PeerId,
    /// A host, a colon, and a port.
    Onion,
    Garlic64,
    Garlic32,
    Multihash,
}

/// The form of an address that all clients read.
pub(super) fn agreed_form(text: &str) -> Result<String, AddrError> {
    let Some(components) = text.strip_prefix('/') else {
        return refused("it does not begin with `/`".to_owned());
    };
    let components = components.trim_end_matches('/');
    if components.is_empty() {
        return refused("no component".to_owned());
    }
    let mut segments = components.split('/');
    let mut form = String::with_capacity(text.len());
    while let Some(name) = segments.next() {
        let name = if name == "ipfs" { "p2p" } else { name };
        let Some(value) = ValueKind::of(name) else {
            return refused(format!("{name:?} is no protocol that all clients know"));
        };
        form.push('/');
        form.push_str(name);
        if value == ValueKind::Nothing {
            continue;
        }
        let Some(given) = segments.next().filter(|given| !given.is_empty()) else {
            return refused(format!("`{name}` has no value"));
        };
        let is_last = segments.clone().next().is_none();
        let Some(read) = value.read(given).filter(|_| is_last || value != ValueKind::Path) else {
            return refused(format!("not all clients read {given:?} behind `{name}`"));
        };
        form.push('/');
        form.push_str(&read);
    }
    Ok(form)
}

fn refused(reason: String) -> Result<String, AddrError> {
    Err(AddrError { reason })
}

impl ValueKind {
    /// The kind of a protocol's value; `None`: not all clients know the protocol.
    fn of(protocol: &str) -> Option<Self> {
        Some(match protocol {
            "ip4" | "ip6" | "ip6zone" | "dns" | "dns4" | "dns6" | "dnsaddr" | "sni" => Self::Any,
            "tcp" | "udp" | "dccp" | "sctp" => Self::Port,
            "ipcidr" | "memory" => Self::Digits,
            "unix" => Self::Path,
            "http-path" => Self::PercentEncoded,
            "p2p" => Self::PeerId,
            "onion" | "onion3" => Self::Onion,
            "garlic64" => Self::Garlic64,
            "garlic32" => Self::Garlic32,
            "certhash" => Self::Multihash,
            "http" | "https" | "noise" | "p2p-circuit" | "p2p-webrtc-direct" | "quic"
            | "quic-v1" | "tls" | "udt" | "utp" | "webrtc" | "webrtc-direct" | "webtransport"
            | "ws" | "wss" => Self::Nothing,
            _ => return None,
        })
    }

    /// The form of a value that all clients read; `None`: not all read it.
    fn read(self, text: &str) -> Option<Cow<'_, str>> {
        let is_read = match self {
            Self::Nothing => false,
            Self::Any => true,
            Self::Port => is_digits(text) && (text == "0" || !text.starts_with('0')),
            Self::Digits => is_digits(text),
            Self::Path | Self::PercentEncoded => is_percent_encoded_text(text),
            Self::PeerId => {
                let peer = PeerId::parse(text).ok()?;
                return Some(Cow::Owned(peer.as_str().to_owned()));
            }
            Self::Onion => {
                let (_, port) = text.split_once(':')?;
                let is_port = is_digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0);
                return is_port.then(|| Cow::Owned(text.to_ascii_lowercase()));
            }
            Self::Garlic64 => text.len().is_multiple_of(4) && !text.contains('+'),
            Self::Garlic32 => {
                let is_lower = !text.contains(|letter: char| letter.is_ascii_uppercase());
                return is_lower.then(|| Cow::Borrowed(text.trim_end_matches('=')));
            }
            Self::Multihash => text.starts_with(|base| BASES.contains(base)),
        };
        is_read.then_some(Cow::Borrowed(text))
    }
}

/// The multibases that all clients read.
const BASES: &str = "0BCFKMTUVZbcfkmtuvz";

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
