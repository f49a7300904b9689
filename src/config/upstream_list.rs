//! The list of upstreams that fits one line: `east=https://a.example,https://b.example`.
//!
//! A bare URL is named after its host, and its port where that is written. Characters that an id
//! cannot have become `-`, and an IPv4 address is prefixed with `ip-`, since integers are routing
//! rules.
//!
//! Invariant: what [`UpstreamList::reveal`] writes reads back as the same list. `Display` leaves the
//! credentials of URLs out.

use std::fmt;

use super::list::{List, ListItem};
use super::remote_url::RemoteUrl;
use crate::types::{TARGET_CHARS_MAX, TargetId};

/// A list of upstreams; it may be empty.
pub(crate) type UpstreamList = List<NamedUrl>;

/// One of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedUrl {
    /// Its id.
    pub(crate) name: TargetId,
    /// Where it is.
    pub(crate) url: RemoteUrl,
}

impl List<NamedUrl> {
    /// The list as written, with credentials.
    pub(super) fn reveal(&self) -> String {
        let items = self.iter().map(|NamedUrl { name, url }| format!("{name}={}", url.reveal()));
        items.collect::<Vec<_>>().join(",")
    }
}

impl ListItem for NamedUrl {
    fn read(text: &str) -> Result<Self, String> {
        let named = text.split_once('=').filter(|(name, _)| !name.contains("://"));
        let url = named.map_or(text, |(_, url)| url).parse::<RemoteUrl>();
        let url = url.map_err(|error| error.to_string())?;
        let name = match named {
            Some((name, _)) => TargetId::parse(name.trim()),
            None => TargetId::parse(&name_of(&url)),
        };
        Ok(Self { name: name.map_err(|error| error.to_string())?, url })
    }

    /// The text may have a password, so the error names the item by its number.
    fn called(_text: &str, number: usize) -> String {
        format!("number {number} in the list")
    }
}

impl fmt::Display for NamedUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.name, self.url)
    }
}

/// The default name of an upstream.
fn name_of(url: &RemoteUrl) -> String {
    let authority = url.authority();
    let legal = |it: char| if it.is_ascii_alphanumeric() || "-_.~".contains(it) { it } else { '-' };
    let name: String = authority.chars().map(legal).collect();
    let name = name.trim_matches('-');
    let is_ipv4 = name.chars().all(|it| it.is_ascii_digit() || ".-".contains(it));
    let name = if is_ipv4 { format!("ip-{name}") } else { name.to_owned() };
    name.chars().take(TARGET_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> UpstreamList {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_given_or_made_of_the_host() {
        for (text, shown) in [
            ("", ""),
            ("East=https://a.example/", "east=https://a.example"),
            ("https://cid.contact", "cidcontact=https://cid.contact"),
            ("http://127.0.0.1:8190", "ip-127001-8190=http://127.0.0.1:8190"),
            ("http://192.0.2.7", "ip-192027=http://192.0.2.7"),
            ("http://[2001:db8::1]:80", "2001-db8--1=http://[2001:db8::1]"),
            ("http://h/a=b , w = http://i", "h=http://h/a=b,w=http://i"),
        ] {
            assert_eq!(list(text).to_string(), shown);
        }
        let long = format!("https://{}.example", "a".repeat(63));
        assert_eq!(list(&long).iter().next().unwrap().name.as_str().len(), 63);
    }

    #[test]
    fn what_is_written_reads_back_with_the_credentials_that_are_not_shown() {
        let secret = list("a=https://me:hunter2@a.example,http://b:1");
        assert_eq!(secret.reveal(), "a=https://me:hunter2@a.example,b-1=http://b:1");
        assert_eq!(list(&secret.reveal()), secret);
        assert!(!format!("{secret} {secret:?}").contains("hunter2"));
    }

    #[test]
    fn errors_do_not_show_the_url() {
        for (text, message) in [
            ("http://a,hunter2", "number 2 in the list: it has no scheme"),
            ("a b=http://hunter2", "number 1 in the list: ' ' cannot stand"),
            ("=http://hunter2", "number 1 in the list: an account's name has"),
            ("http://a,", "number 2 in the list: it has no scheme"),
            ("http://u:hunter2,x@h", "number 1 in the list: invalid port number"),
        ] {
            let error = text.parse::<UpstreamList>().unwrap_err().to_string();
            assert!(error.starts_with(message) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
