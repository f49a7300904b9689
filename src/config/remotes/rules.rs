//! Rules within a section and between sections.
//!
//! All broken rules are reported, each under the key that has to be changed.

use std::collections::HashMap;
use std::time::Duration;

use super::section::SectionKind;
use super::{ClientSettings, Remotes};
use crate::types::TargetId;

/// The user of the admin API, who is no peer.
const ADMIN_USER: &str = "admin";

/// Reserved names, some for later use.
const RESERVED: [&str; 5] =
    [TargetId::LOCAL, TargetId::DISCARD, TargetId::DEFAULT, TargetId::FALLBACK, TargetId::DHT];

/// A broken rule.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct SectionViolation {
    /// The kind of section.
    pub(super) kind: SectionKind,
    /// Which of that kind.
    pub(super) index: usize,
    /// The key that has to be changed.
    pub(super) key: &'static str,
    /// The rule, and the offending value.
    pub(super) message: String,
    /// The other section involved.
    pub(super) other: Option<(SectionKind, usize)>,
}

/// One section, for its rules.
#[derive(Clone, Copy)]
struct At(SectionKind, usize);

impl At {
    fn broken(self, key: &'static str, message: impl Into<String>) -> SectionViolation {
        SectionViolation { kind: self.0, index: self.1, key, message: message.into(), other: None }
    }

    fn at_least_1(self, key: &'static str, value: u64) -> Option<SectionViolation> {
        (value == 0).then(|| self.broken(key, "0 is below 1"))
    }
}

/// Every rule that the sections break; `router` is this router's name, if the settings give one.
pub(super) fn validate(remotes: &Remotes, router: Option<&TargetId>) -> Vec<SectionViolation> {
    let mut violations = names(remotes);
    for (index, upstream) in remotes.upstreams.iter().enumerate() {
        violations.extend(client(At(SectionKind::Upstream, index), &upstream.client));
    }
    violations.extend(fanouts(remotes));
    for (index, endpoint) in remotes.endpoints.iter().enumerate() {
        let at = At(SectionKind::Endpoint, index);
        violations.extend(at.at_least_1("daily_volume", endpoint.daily_volume));
        violations.extend(at.at_least_1("hourly_rate", endpoint.hourly_rate));
        violations.extend(client(at, &endpoint.client));
    }
    for (index, peer) in remotes.peers.iter().enumerate() {
        let at = At(SectionKind::Peer, index);
        if router == Some(&peer.name) {
            let message = format!("`{}` is this router itself (router_name)", peer.name);
            violations.push(at.broken("name", message));
        }
        if peer.password.reveal().is_none() {
            violations.push(at.broken("password", "is empty"));
        }
        if peer.accept.is_empty() {
            let message =
                "is empty: nothing that it says would count; name prefixes, such as \"g\"";
            violations.push(at.broken("accept", message));
        }
        violations.extend(at.at_least_1("routes_max", peer.routes_max as u64));
        violations.extend(client(at, &peer.client));
    }
    violations
}

/// Names are not reserved, and unique.
fn names(remotes: &Remotes) -> Vec<SectionViolation> {
    let upstreams = remotes.upstreams.iter().map(|it| &it.name).enumerate();
    let fanouts = remotes.fanouts.iter().map(|it| &it.name).enumerate();
    let peers = remotes.peers.iter().map(|it| &it.name).enumerate();
    let accounts: Vec<_> = upstreams
        .map(|(index, name)| (SectionKind::Upstream, index, name))
        .chain(fanouts.map(|(index, name)| (SectionKind::Fanout, index, name)))
        .chain(peers.map(|(index, name)| (SectionKind::Peer, index, name)))
        .collect();
    let endpoints = remotes.endpoints.iter().map(|it| &it.name).enumerate();
    let endpoints = endpoints.map(|(index, name)| (SectionKind::Endpoint, index, name));
    let reserved =
        accounts.iter().filter_map(|(kind, index, name)| reserved(At(*kind, *index), name));
    reserved.chain(twice(accounts.iter().copied())).chain(twice(endpoints)).collect()
}

fn reserved(at: At, name: &TargetId) -> Option<SectionViolation> {
    if name.is_integer() {
        return Some(
            at.broken("name", format!("`{name}` is an integer, which names a routing rule")),
        );
    }
    // The operator's password would be the peer's.
    let is_admin = at.0 == SectionKind::Peer && name.as_str() == ADMIN_USER;
    let is_reserved = is_admin || RESERVED.contains(&name.as_str());
    is_reserved.then(|| at.broken("name", format!("`{name}` means something else, choose another")))
}

fn twice<'a>(
    named: impl Iterator<Item = (SectionKind, usize, &'a TargetId)>,
) -> Vec<SectionViolation> {
    let mut first: HashMap<&TargetId, (SectionKind, usize)> = HashMap::new();
    let mut violations = Vec::new();
    for (kind, index, name) in named {
        match first.get(name) {
            None => drop(first.insert(name, (kind, index))),
            Some(other) => {
                let message =
                    format!("`{name}` is taken already; capitals and dots in names do not count");
                let violation = At(kind, index).broken("name", message);
                violations.push(SectionViolation { other: Some(*other), ..violation });
            }
        }
    }
    violations
}

fn fanouts(remotes: &Remotes) -> Vec<SectionViolation> {
    let is_upstream = |name: &TargetId| remotes.upstreams.iter().any(|it| it.name == *name);
    let is_fanout = |name: &TargetId| remotes.fanouts.iter().any(|it| it.name == *name);
    let mut violations = Vec::new();
    for (index, fanout) in remotes.fanouts.iter().enumerate() {
        let at = At(SectionKind::Fanout, index);
        if fanout.accounts.is_empty() {
            violations.push(at.broken("accounts", "names nobody"));
        }
        let mut seen = Vec::new();
        for account in fanout.accounts.iter() {
            let known = account.as_str() == TargetId::LOCAL || is_upstream(account);
            let message = match known {
                true if !seen.contains(&account) => None,
                true => Some(format!("`{account}` stands there twice")),
                false if is_fanout(account) => {
                    Some(format!("`{account}` is a fan-out, which none can contain"))
                }
                false => Some(format!("there is no upstream called `{account}`")),
            };
            violations.extend(message.map(|message| at.broken("accounts", message)));
            seen.push(account);
        }
    }
    violations
}

fn client(at: At, client: &ClientSettings) -> Vec<SectionViolation> {
    let durations = [("timeout", client.timeout), ("connect_timeout", client.connect_timeout)];
    let counts = [
        ("concurrency", client.concurrency),
        ("records_max", client.records_max),
        ("body_bytes_max", client.body_bytes_max),
    ];
    let mut violations: Vec<_> = durations
        .into_iter()
        .filter(|(_, duration)| *duration == Duration::ZERO)
        .map(|(key, _)| at.broken(key, "must be longer than 0s"))
        .collect();
    violations
        .extend(counts.into_iter().filter_map(|(key, count)| at.at_least_1(key, count as u64)));
    if !client.providers && !client.peers && !client.ipns {
        violations
            .push(at.broken("providers", "it is asked for nothing: no providers, peers, ipns"));
    }
    violations
}
