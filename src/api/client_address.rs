//! The client's address, under which a request is counted.
//!
//! Without trusted proxies it is the TCP peer. Behind one it is read from `X-Forwarded-For` or
//! `Forwarded` (RFC 7239), from the right: every proxy appends the address that it was asked from,
//! so an entry is as good as the proxy that wrote it, and the first address that is no trusted
//! proxy is the client. Nothing to the left of it is looked at; the client may have written it.
//!
//! Invariants: a peer that is not trusted is always the client itself; an address that the client
//! could have chosen is never the result, provided that every trusted proxy appends to, or replaces,
//! at least one of the two headers. Where the headers end, stop making sense, or contradict each
//! other, the result is the last address that is certain, which is then a trusted proxy's, and it is
//! marked [`Certainty::Unsure`]: such requests share that proxy's allowance and are never exempt.
//! Nothing here fails, panics or allocates.

use std::net::{IpAddr, Ipv6Addr};

use arrayvec::ArrayVec;
use ipnet::IpNet;

/// Entries that are looked at, from the right, in one header; no chain of proxies is that long.
const ENTRIES_MAX: usize = 32;

/// Bytes that are looked at, from the right, in one header: [`ENTRIES_MAX`] of the longest entries
/// that make sense.
const BYTES_MAX: usize = 4 * 1_024;

/// Header lines that are looked at, the last ones. Each holds an entry, unless it is blank.
const LINES_MAX: usize = ENTRIES_MAX;

/// Whether an address is the client's, or a proxy's for an unknown client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// The client's own address, seen by us or by a proxy that we trust.
    Sure,
    /// A trusted proxy's address: it did not say, or not credibly, for whom it asks.
    Unsure,
}

/// The address that a request is counted under. IPv4-mapped IPv6 addresses appear as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientAddress {
    /// The client's address, or that of the proxy nearest to it that we know of.
    pub(crate) ip: IpAddr,
    /// Which of the two it is.
    pub(crate) certainty: Certainty,
}

impl ClientAddress {
    fn new(ip: IpAddr, trusted: &[IpNet]) -> Self {
        let unsure = networks_contain(trusted, ip);
        Self { ip, certainty: if unsure { Certainty::Unsure } else { Certainty::Sure } }
    }
}

impl From<IpAddr> for ClientAddress {
    /// A client that is connected to us without a proxy.
    fn from(ip: IpAddr) -> Self {
        Self { ip: ip.to_canonical(), certainty: Certainty::Sure }
    }
}

/// Finds the client behind `peer`, given the lines of both headers in the order in which they came.
///
/// Lines are bytes, so that none has to be left out for being no text: what is left of it would
/// move to the right, where it is believed. If both headers say something they must say the same:
/// a proxy writes one of them and, as a rule, passes the other on as the client wrote it.
pub(super) fn client_address<'a>(
    peer: IpAddr,
    x_forwarded_for: impl Iterator<Item = &'a [u8]>,
    forwarded: impl Iterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> ClientAddress {
    let peer = peer.to_canonical();
    if !networks_contain(trusted, peer) {
        return ClientAddress { ip: peer, certainty: Certainty::Sure };
    }
    let by_list = walk(peer, x_forwarded_for, trusted, node_address);
    let by_pairs = walk(peer, forwarded, trusted, forwarded_for);
    let ip = match (by_list, by_pairs) {
        (Some(ip), None) | (None, Some(ip)) => ip,
        (Some(ip), Some(other)) if ip == other => ip,
        (Some(_), Some(_)) | (None, None) => peer,
    };
    ClientAddress::new(ip, trusted)
}

/// Whether one of the networks holds the address; IPv4 and IPv4-mapped IPv6 are the same thing.
pub(super) fn networks_contain(networks: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    networks.iter().any(|network| match (network, ip) {
        (IpNet::V4(network), IpAddr::V4(address)) => network.contains(&address),
        (IpNet::V6(network), IpAddr::V6(address)) => network.contains(&address),
        // `::ffff:10.0.0.0/104`. A shorter prefix speaks of IPv6, not of all of IPv4.
        (IpNet::V6(network), IpAddr::V4(address)) => {
            network.prefix_len() >= 96 && network.contains(&address.to_ipv6_mapped())
        }
        (IpNet::V4(_), IpAddr::V6(_)) => false,
    })
}

/// Walks a list from the right while its addresses are trusted proxies; the last address that is
/// certain, or `None` if the header is missing or blank.
fn walk<'a>(
    peer: IpAddr,
    lines: impl Iterator<Item = &'a [u8]>,
    trusted: &[IpNet],
    read_entry: fn(&[u8]) -> Option<IpAddr>,
) -> Option<IpAddr> {
    let mut last_lines = ArrayVec::<&[u8], LINES_MAX>::new();
    for line in lines {
        if last_lines.is_full() {
            last_lines.remove(0);
        }
        last_lines.push(line);
    }
    let mut certain = None;
    for entry in EntriesFromRight::new(last_lines).take(ENTRIES_MAX) {
        let previous = certain.unwrap_or(peer);
        let Some(ip) = entry.and_then(read_entry) else { return Some(previous) };
        certain = Some(ip);
        if !networks_contain(trusted, ip) {
            break;
        }
    }
    certain
}

/// The entries of a comma-separated list over several lines, from the last to the first, blank ones
/// left out. Commas in quotes do not separate. Read from the right, so that an unclosed quote in
/// what the client wrote cannot swallow what the proxy appended. An entry that the limit of bytes
/// cuts is `None`, and the last.
struct EntriesFromRight<'a> {
    lines: ArrayVec<&'a [u8], LINES_MAX>,
    bytes_left: usize,
}

impl<'a> EntriesFromRight<'a> {
    fn new(lines: ArrayVec<&'a [u8], LINES_MAX>) -> Self {
        Self { lines, bytes_left: BYTES_MAX }
    }
}

impl<'a> Iterator for EntriesFromRight<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(line) = self.lines.pop() {
            let seen_from = line.len().saturating_sub(self.bytes_left);
            let (unseen, seen) = line.split_at(seen_from);
            let comma = last_separator(seen, b',');
            let entry = comma.and_then(|at| seen.get(at + 1..)).unwrap_or(seen);
            self.bytes_left = self.bytes_left.saturating_sub(entry.len() + 1);
            if let Some(at) = comma {
                self.lines.extend(line.get(..seen_from + at));
            } else if !unseen.is_empty() {
                self.lines.clear();
                return Some(None);
            }
            let entry = entry.trim_ascii();
            if !entry.is_empty() {
                return Some(Some(entry));
            }
        }
        None
    }
}

/// Where the last `separator` outside quotes is. Anything within an unclosed quote, seen from the
/// right, counts as quoted.
fn last_separator(text: &[u8], separator: u8) -> Option<usize> {
    let mut quoted = false;
    for (at, &byte) in text.iter().enumerate().rev() {
        if byte == b'"' {
            let before = text.get(..at).unwrap_or_default();
            let backslashes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
            quoted ^= backslashes % 2 == 0;
        } else if byte == separator && !quoted {
            return Some(at);
        }
    }
    None
}

/// The address in the `for` pair of one element: `for="[2001:db8::1]:4711";proto=https`. `None` if
/// there is no such pair, or two, or if it names no address (`unknown`, `_hidden`).
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = Some(element);
    while let Some(pairs) = rest {
        let semicolon = last_separator(pairs, b';');
        let pair = semicolon.and_then(|at| pairs.get(at + 1..)).unwrap_or(pairs);
        rest = semicolon.and_then(|at| pairs.get(..at));
        let Some(equals) = pair.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = pair.split_at(equals);
        if name.trim_ascii().eq_ignore_ascii_case(b"for") {
            if found.is_some() {
                return None;
            }
            found = Some(node_address(value.strip_prefix(b"=")?)?);
        }
    }
    found
}

/// An address as proxies write it: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:4711`, any of them in quotes.
fn node_address(node: &[u8]) -> Option<IpAddr> {
    let node = std::str::from_utf8(node.trim_ascii()).ok()?;
    let node = match node.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => node,
    };
    let ip = if let Some(bracketed) = node.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(())?;
        IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
    } else if let Ok(ip) = node.parse() {
        ip
    } else {
        let (address, port) = node.split_once(':')?;
        is_port(port).then_some(())?;
        IpAddr::V4(address.parse().ok()?)
    };
    Some(ip.to_canonical())
}

/// Digits, or the obfuscated form of RFC 7239: `_` and letters, digits, `.`, `_`, `-`.
fn is_port(port: &str) -> bool {
    let hidden = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match port.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(hidden),
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXIES: [&str; 3] = ["127.0.0.0/8", "10.0.0.0/8", "2001:db8:aaaa::/48"];

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn find(peer: &str, x_forwarded_for: &[&str], forwarded: &[&str]) -> (String, Certainty) {
        let found = client_address(
            peer.parse().unwrap(),
            x_forwarded_for.iter().map(|line| line.as_bytes()),
            forwarded.iter().map(|line| line.as_bytes()),
            &networks(&PROXIES),
        );
        (found.ip.to_string(), found.certainty)
    }

    fn sure(ip: &str) -> (String, Certainty) {
        (ip.to_owned(), Certainty::Sure)
    }

    fn unsure(ip: &str) -> (String, Certainty) {
        (ip.to_owned(), Certainty::Unsure)
    }

    #[test]
    fn headers_of_a_peer_that_is_not_trusted_are_not_believed() {
        let found = find("192.0.2.1", &["198.51.100.7"], &["for=198.51.100.7"]);
        assert_eq!(found, sure("192.0.2.1"));
        assert_eq!(find("::ffff:192.0.2.1", &["127.0.0.1"], &[]), sure("192.0.2.1"));
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        for (lines, client) in [
            (&["198.51.100.7"][..], "198.51.100.7"),
            (&["127.0.0.1, 198.51.100.7"], "198.51.100.7"),
            (&["203.0.113.9, 198.51.100.7, 10.1.2.3,10.0.0.1"], "198.51.100.7"),
            (&["203.0.113.9", "198.51.100.7", "10.1.2.3"], "198.51.100.7"),
            (&["198.51.100.7, ,", "", " , "], "198.51.100.7"),
            (&["nonsense, \", 198.51.100.7"], "198.51.100.7"),
            (&["2001:db8::1, 2001:db8:aaaa::2"], "2001:db8::1"),
        ] {
            assert_eq!(find("10.0.0.1", lines, &[]), sure(client), "{lines:?}");
        }
    }

    #[test]
    fn addresses_are_read_with_ports_brackets_and_quotes() {
        for (entry, client) in [
            ("198.51.100.7:4711", "198.51.100.7"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("\"198.51.100.7\"", "198.51.100.7"),
            ("\"[2001:db8::1]:_hidden\"", "2001:db8::1"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("[::ffff:198.51.100.7]:1", "198.51.100.7"),
        ] {
            assert_eq!(find("10.0.0.1", &[entry], &[]), sure(client), "{entry}");
            let pair = format!("for={entry}");
            assert_eq!(find("10.0.0.1", &[], &[&pair]), sure(client), "{pair}");
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (lines, client) in [
            (&["for=\"[2001:db8::1]:4711\";proto=https, for=10.0.0.2"][..], "2001:db8::1"),
            (&["For=192.0.2.43, FOR=198.51.100.17"], "198.51.100.17"),
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
            (&["proto=http;by=203.0.113.43 ; for=192.0.2.60"], "192.0.2.60"),
            (
                &["for=192.0.2.43", "for=\"198.51.100.17\";host=\"a,b;for=1.1.1.1\""],
                "198.51.100.17",
            ),
            (&["for=\"9.9.9.9, for=192.0.2.60;host=\"x\\\", y\""], "192.0.2.60"),
        ] {
            assert_eq!(find("10.0.0.1", &[], lines), sure(client), "{lines:?}");
        }
    }

    #[test]
    fn where_a_header_stops_making_sense_the_proxy_that_wrote_it_is_the_last_certain_address() {
        for entry in [
            "unknown",
            "_gazonk",
            "x",
            "198.51.100.7:",
            "198.51.100.7:123456",
            "198.51.100.7:x",
            "198.51.100",
            "198.51.100.07",
            "[2001:db8::1",
            "[2001:db8::1]4711",
            "[198.51.100.7]",
            "fe80::1%eth0",
            "\"198.51.100.7",
            "198.51.100.7 198.51.100.8",
            "localhost",
            "[]",
            ":1",
        ] {
            assert_eq!(find("127.0.0.1", &[entry], &[]), unsure("127.0.0.1"), "{entry}");
            let list = format!("203.0.113.9, {entry}, 10.9.9.9");
            assert_eq!(find("127.0.0.1", &[&list], &[]), unsure("10.9.9.9"), "{list}");
            let pairs = format!("for=203.0.113.9, for={entry}, for=10.9.9.9");
            assert_eq!(find("127.0.0.1", &[], &[&pairs]), unsure("10.9.9.9"), "{pairs}");
        }
        for element in ["proto=https", "for=1.1.1.1;for=1.1.1.1", "198.51.100.7", "for", "for="] {
            assert_eq!(find("127.0.0.1", &[], &[element]), unsure("127.0.0.1"), "{element}");
        }
    }

    #[test]
    fn a_proxy_that_names_nobody_is_not_sure_to_be_the_client() {
        assert_eq!(find("127.0.0.1", &[], &[]), unsure("127.0.0.1"));
        assert_eq!(find("127.0.0.1", &["", " , "], &[""]), unsure("127.0.0.1"));
        assert_eq!(find("127.0.0.1", &["10.0.0.7"], &[]), unsure("10.0.0.7"));
    }

    #[test]
    fn an_address_of_the_clients_choice_is_never_the_result() {
        let spoofed =
            ["127.0.0.1", "127.0.0.1,", "\"127.0.0.1", "127.0.0.1\\", "for=\"127.0.0.1\\"];
        for spoof in spoofed {
            let appended = format!("{spoof}, 198.51.100.7");
            assert_eq!(find("10.0.0.1", &[&appended], &[]), sure("198.51.100.7"), "{spoof}");
            assert_eq!(find("10.0.0.1", &[spoof, "198.51.100.7"], &[]), sure("198.51.100.7"));
            let appended = format!("{spoof}, for=\"198.51.100.7:80\";host=\"h\"");
            assert_eq!(find("10.0.0.1", &[], &[&appended]), sure("198.51.100.7"), "{spoof}");
        }
    }

    #[test]
    fn headers_that_contradict_each_other_are_both_not_believed() {
        for passed_on in ["for=127.0.0.1", "for=203.0.113.9", "for=unknown", "x"] {
            let found = find("10.0.0.1", &["198.51.100.7"], &[passed_on]);
            assert_eq!(found, unsure("10.0.0.1"), "{passed_on}");
        }
        let found = find("10.0.0.1", &["198.51.100.7"], &["for=\"198.51.100.7:80\""]);
        assert_eq!(found, sure("198.51.100.7"));
    }

    #[test]
    fn a_line_that_is_no_text_hides_nothing_to_its_right_and_uncovers_nothing_to_its_left() {
        let lines: [&[u8]; 2] = [b"203.0.113.9", b"\xff, 198.51.100.7"];
        let trusted = networks(&PROXIES);
        let peer = "10.0.0.1".parse().unwrap();
        let found = client_address(peer, lines.into_iter(), std::iter::empty(), &trusted);
        assert_eq!(found, "198.51.100.7".parse::<IpAddr>().unwrap().into());
        let lines: [&[u8]; 2] = [b"203.0.113.9", b"\xff"];
        let found = client_address(peer, lines.into_iter(), std::iter::empty(), &trusted);
        assert_eq!(found, ClientAddress { ip: peer, certainty: Certainty::Unsure });
    }

    #[test]
    fn no_more_than_32_entries_and_4_kib_are_looked_at() {
        let chain = |proxies: usize, gap: &str| {
            format!("198.51.100.7{}", format!(",{gap}10.0.0.2").repeat(proxies))
        };
        assert_eq!(find("10.0.0.1", &[&chain(31, "")], &[]), sure("198.51.100.7"));
        assert_eq!(find("10.0.0.1", &[&chain(32, "")], &[]), unsure("10.0.0.2"));
        assert_eq!(find("10.0.0.1", &[&chain(30, &" ".repeat(100))], &[]), sure("198.51.100.7"));
        assert_eq!(find("10.0.0.1", &[&chain(30, &" ".repeat(200))], &[]), unsure("10.0.0.2"));
        let lines = ["198.51.100.7"].into_iter().chain([""; 31]).collect::<Vec<_>>();
        assert_eq!(find("10.0.0.1", &lines, &[]), sure("198.51.100.7"));
        let lines = ["203.0.113.9"; 90].into_iter().chain(["198.51.100.7"]).collect::<Vec<_>>();
        assert_eq!(find("10.0.0.1", &lines, &[]), sure("198.51.100.7"));
        let cut = format!("1{}98.51.100.7", " ".repeat(BYTES_MAX - 10));
        assert_eq!(find("10.0.0.1", &[&cut], &[]), unsure("10.0.0.1"));
    }

    #[test]
    fn networks_hold_ipv4_addresses_in_both_notations() {
        for (network, address, held) in [
            ("127.0.0.0/8", "127.9.9.9", true),
            ("127.0.0.0/8", "::ffff:127.9.9.9", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("::1/128", "::1", true),
            ("::/0", "192.0.2.1", false),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
        ] {
            let found = networks_contain(&networks(&[network]), address.parse().unwrap());
            assert_eq!(found, held, "{network} {address}");
        }
    }

    fn header() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let word = prop::sample::select(vec![
            "for=",
            "127.0.0.1",
            "10.0.0.9",
            "198.51.100.7",
            "[2001:db8::1]",
            ":80",
            ",",
            ";",
            "\"",
            "\\",
            " ",
            "unknown",
            "_x",
            "::",
            "proto=https",
        ]);
        let words =
            prop::collection::vec(word, 0..12).prop_map(|words| words.concat().into_bytes());
        prop::collection::vec(prop_oneof![words, any::<Vec<u8>>()], 0..4)
    }

    fn by_bytes(peer: IpAddr, list: &[Vec<u8>], pairs: &[Vec<u8>]) -> ClientAddress {
        client_address(
            peer,
            list.iter().map(Vec::as_slice),
            pairs.iter().map(Vec::as_slice),
            &networks(&PROXIES),
        )
    }

    proptest! {
        #[test]
        fn a_peer_that_is_not_trusted_is_the_client(
            bits in any::<u128>(), list in header(), pairs in header(),
        ) {
            let peer = IpAddr::from(bits.to_be_bytes()).to_canonical();
            prop_assume!(!networks_contain(&networks(&PROXIES), peer));
            prop_assert_eq!(by_bytes(peer, &list, &pairs), peer.into());
        }

        #[test]
        fn no_proxy_is_ever_sure_to_be_the_client(list in header(), pairs in header()) {
            let found = by_bytes("127.0.0.1".parse().unwrap(), &list, &pairs);
            let proxy = networks_contain(&networks(&PROXIES), found.ip);
            prop_assert_eq!(found.certainty == Certainty::Unsure, proxy);
        }

        #[test]
        fn what_the_client_wrote_does_not_matter(
            list in header(), same_line in any::<bool>(), quoted in any::<bool>(),
        ) {
            let peer = "127.0.0.1".parse().unwrap();
            let append = |entry: &str| {
                let mut lines = list.clone();
                match lines.last_mut().filter(|_| same_line) {
                    Some(last) => last.extend_from_slice(format!(", {entry}").as_bytes()),
                    None => lines.push(entry.as_bytes().to_vec()),
                }
                lines
            };
            let client = ClientAddress::from("198.51.100.7".parse::<IpAddr>().unwrap());
            prop_assert_eq!(by_bytes(peer, &append("198.51.100.7"), &[]), client);
            let pair = if quoted { "for=\"198.51.100.7:80\";host=\"a,b\"" } else { "for=198.51.100.7" };
            prop_assert_eq!(by_bytes(peer, &[], &append(pair)), client);
        }
    }
}
