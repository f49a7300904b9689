//! The list of upstreams that fits one line: `east=https://a.example,https://b.example`.
//!
//! A bare URL is named after its host, and its port where that is written. Whatever an account's name
//! cannot have becomes `-`, and an IPv4 address has `ip-` before it, since integers are routing rules.
//!
//! Invariant: what [`UpstreamList::reveal`] writes reads back as the same list. `Display` leaves the
//! credentials of URLs out.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::remote_url::{RemoteUrl, RemoteUrlError};
use crate::types::{ACCOUNT_CHARS_MAX, AccountId, AccountIdError};

/// A list of upstreams; it may be empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UpstreamList(Vec<NamedUrl>);

/// One of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedUrl {
    /// Its account.
    pub name: AccountId,
    /// Where it is.
    pub url: RemoteUrl,
}

/// Why a text is not a list of upstreams. None repeats the URL, in which there may be a password.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UpstreamListError {
    /// What stands before `=` cannot be a name.
    #[error("number {number} in the list: {source}")]
    Name {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: AccountIdError,
    },
    /// A URL that is none.
    #[error("number {number} in the list: {source}")]
    Url {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: RemoteUrlError,
    },
}

impl UpstreamList {
    /// The upstreams, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = &NamedUrl> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The list as it is written, credentials included.
    pub(super) fn reveal(&self) -> String {
        let items = self.0.iter().map(|NamedUrl { name, url }| format!("{name}={}", url.reveal()));
        items.collect::<Vec<_>>().join(",")
    }
}

impl FromStr for UpstreamList {
    type Err = UpstreamListError;

    fn from_str(text: &str) -> Result<Self, UpstreamListError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read = |(position, item)| read(item, position + 1);
        text.split(',').enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for UpstreamList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, NamedUrl { name, url }) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "," };
            write!(formatter, "{separator}{name}={url}")?;
        }
        Ok(())
    }
}

fn read(item: &str, number: usize) -> Result<NamedUrl, UpstreamListError> {
    let item = item.trim();
    let named = item.split_once('=').filter(|(name, _)| !name.contains("://"));
    let url: RemoteUrl = named
        .map_or(item, |(_, url)| url)
        .parse()
        .map_err(|source| UpstreamListError::Url { number, source })?;
    let name = match named {
        Some((name, _)) => AccountId::parse(name.trim()),
        None => AccountId::parse(&name_of(&url)),
    };
    let name = name.map_err(|source| UpstreamListError::Name { number, source })?;
    Ok(NamedUrl { name, url })
}

/// The name that an upstream without one has.
fn name_of(url: &RemoteUrl) -> String {
    let authority = url.authority();
    let legal = |it: char| if it.is_ascii_alphanumeric() || "-_.~".contains(it) { it } else { '-' };
    let name: String = authority.chars().map(legal).collect();
    let name = name.trim_matches('-');
    let is_ipv4 = name.chars().all(|it| it.is_ascii_digit() || ".-".contains(it));
    let name = if is_ipv4 { format!("ip-{name}") } else { name.to_owned() };
    name.chars().take(ACCOUNT_CHARS_MAX).collect()
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
    fn what_is_wrong_is_told_without_the_url() {
        for (text, told) in [
            ("http://a,hunter2", "number 2 in the list: it has no scheme"),
            ("a b=http://hunter2", "number 1 in the list: ' ' cannot stand"),
            ("=http://hunter2", "number 1 in the list: an account's name has"),
            ("http://a,", "number 2 in the list: it has no scheme"),
            ("http://u:hunter2,x@h", "number 1 in the list: invalid port number"),
        ] {
            let error = text.parse::<UpstreamList>().unwrap_err().to_string();
            assert!(error.starts_with(told) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
