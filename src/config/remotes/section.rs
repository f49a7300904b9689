//! A section of the file: its schema, its given keys, and its effective keys.
//!
//! Precedence: the section itself, then the flat setting that a key inherits, then the default of
//! the key.

use std::collections::HashMap;
use std::fmt;

use clap::{ArgMatches, Args, FromArgMatches};

use super::super::error::{ConfigProblem, SettingOrigin, place};
use super::super::schema::{Setting, SettingsSchema};
use super::super::settings::Settings;
use super::super::{Effective, Given};
use super::rules::{self, SectionViolation};
use super::{EndpointSettings, FanoutSettings, PeerSettings, Remotes, UpstreamSettings};

/// The sections that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum SectionKind {
    Upstream,
    Fanout,
    Endpoint,
    Peer,
}

/// A section of the file with all its required keys.
pub(in crate::config) struct Section {
    pub(in crate::config) kind: SectionKind,
    /// Where it begins.
    pub(in crate::config) origin: SettingOrigin,
    pub(in crate::config) given: Vec<Given>,
}

/// A section of the file with its effective keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EffectiveSection {
    /// Its name in the file: `upstream`.
    pub(crate) name: &'static str,
    /// Where it begins.
    pub(crate) origin: SettingOrigin,
    /// Each key with its value and origin.
    pub keys: Vec<Effective>,
}

impl SectionKind {
    pub(in crate::config) const ALL: [Self; 4] =
        [Self::Upstream, Self::Fanout, Self::Endpoint, Self::Peer];

    /// Its name in the file.
    pub(in crate::config) fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Fanout => "fanout",
            Self::Endpoint => "endpoint",
            Self::Peer => "peer",
        }
    }

    /// The kind with this name in the file.
    pub(in crate::config) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its keys.
    pub(in crate::config) fn schema(self) -> SettingsSchema {
        match self {
            Self::Upstream => SettingsSchema::of::<UpstreamSettings>(),
            Self::Fanout => SettingsSchema::of::<FanoutSettings>(),
            Self::Endpoint => SettingsSchema::of::<EndpointSettings>(),
            Self::Peer => SettingsSchema::of::<PeerSettings>(),
        }
    }

    /// The flat setting that is the default of a key.
    pub(in crate::config) fn inherited(key: &str) -> Option<&'static str> {
        match key {
            "timeout" => Some("upstream_timeout"),
            "connect_timeout" => Some("upstream_connect_timeout"),
            "allow_private_addrs" => Some("upstream_allow_private_addrs"),
            _ => None,
        }
    }

    /// Whether a section without this key is an error.
    pub(in crate::config) fn requires(key: Setting<'_>) -> bool {
        !key.has_default() && Self::inherited(key.name()).is_none()
    }
}

impl fmt::Display for EffectiveSection {
    /// `[[upstream]] name = "east" (file fingerpost.toml:3)`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.keys.first().and_then(|key| key.value.as_deref()).unwrap_or_default();
        write!(formatter, "[[{}]] name = {name} ({})", self.name, self.origin)
    }
}

/// The effective sections, combined with the flat settings.
pub(in crate::config) struct Combined {
    pub(in crate::config) remotes: Remotes,
    /// Those of the file, by kind.
    pub(in crate::config) sections: Vec<EffectiveSection>,
    /// Broken rules.
    pub(in crate::config) problems: Vec<ConfigProblem>,
}

/// Combines the sections with the flat settings. `texts` are the canonical texts of the latter,
/// `upstreams_origin` is the origin of the flat list of upstreams.
pub(in crate::config) fn combine(
    sections: Vec<Section>,
    settings: &Settings,
    texts: &HashMap<String, String>,
    upstreams_origin: &SettingOrigin,
) -> Combined {
    let mut remotes = Remotes::default();
    let mut effective = Vec::new();
    for kind in SectionKind::ALL {
        for section in sections.iter().filter(|section| section.kind == kind) {
            let (matches, keys) = resolved(section, texts);
            match kind {
                SectionKind::Upstream => remotes.upstreams.push(typed(&matches)),
                SectionKind::Fanout => remotes.fanouts.push(typed(&matches)),
                SectionKind::Endpoint => remotes.endpoints.push(typed(&matches)),
                SectionKind::Peer => remotes.peers.push(typed(&matches)),
            }
            let origin = section.origin.clone();
            effective.push((kind, EffectiveSection { name: kind.name(), origin, keys }));
        }
    }
    for upstream in settings.upstreams.iter() {
        let given =
            [("name", upstream.name.to_string()), ("url", upstream.url.reveal().to_owned())]
                .map(|(name, value)| (name.to_owned(), value));
        remotes.upstreams.push(typed(&parsed(SectionKind::Upstream, &HashMap::from(given), texts)));
    }
    let places = Places { sections: &effective, upstreams_origin };
    let problems = rules::validate(&remotes, settings.router_name.get());
    let problems = problems.iter().map(|broken| places.problem(broken)).collect();
    let sections = effective.into_iter().map(|(_, section)| section).collect();
    Combined { remotes, sections, problems }
}

fn typed<T: Args + FromArgMatches>(matches: &ArgMatches) -> T {
    T::from_arg_matches(matches).expect("the schema is made from this struct")
}

/// The values of all keys: those given, the others inherited or default.
fn parsed(
    kind: SectionKind,
    given: &HashMap<String, String>,
    texts: &HashMap<String, String>,
) -> ArgMatches {
    let schema = kind.schema();
    let flags: Vec<_> = schema
        .settings()
        .map(|key| format!("{}={}", key.flag(), value_of(key, given, texts).0))
        .collect();
    schema.parse(flags)
}

/// The canonical text of a key that is given nowhere else, and where that is from.
fn value_of(
    key: Setting<'_>,
    given: &HashMap<String, String>,
    texts: &HashMap<String, String>,
) -> (String, SettingOrigin) {
    if let Some(value) = given.get(key.name()) {
        return (value.clone(), SettingOrigin::Default);
    }
    match SectionKind::inherited(key.name()).and_then(|name| Some((name, texts.get(name)?))) {
        Some((name, value)) => (value.clone(), SettingOrigin::Setting(name)),
        None => (key.default_value(), SettingOrigin::Default),
    }
}

fn resolved(section: &Section, texts: &HashMap<String, String>) -> (ArgMatches, Vec<Effective>) {
    let given: HashMap<String, String> =
        section.given.iter().map(|given| (given.name.clone(), given.value.clone())).collect();
    let schema = section.kind.schema();
    let keys = schema.settings().map(|key| {
        let (value, inherited) = value_of(key, &given, texts);
        let written = section.given.iter().find(|given| given.name == key.name());
        key.effective(&value, written.map_or(inherited, |given| given.origin.clone()))
    });
    (parsed(section.kind, &given, texts), keys.collect())
}

/// The places of all keys, for messages.
struct Places<'a> {
    sections: &'a [(SectionKind, EffectiveSection)],
    upstreams_origin: &'a SettingOrigin,
}

impl Places<'_> {
    fn problem(&self, violation: &SectionViolation) -> ConfigProblem {
        let SectionViolation { kind, index, key, message, other } = violation;
        let other = other.map(|(kind, index)| format!(" ({})", self.place(kind, index, "name")));
        ConfigProblem::Rule {
            place: self.place(*kind, *index, key),
            message: format!("{message}{}", other.unwrap_or_default()),
        }
    }

    /// A key of the section of this kind with this index; an index past the last is an entry of the
    /// flat list.
    fn place(&self, kind: SectionKind, index: usize, key: &str) -> String {
        let section = self.sections.iter().filter(|(other, _)| *other == kind).nth(index);
        let Some((_, section)) = section else {
            return place("upstreams", self.upstreams_origin);
        };
        let written = section.keys.iter().find(|effective| effective.name == key);
        let origin = written.map(|effective| &effective.origin);
        let origin = origin.filter(|origin| matches!(origin, SettingOrigin::File { .. }));
        place(&format!("[[{}]] {key}", section.name), origin.unwrap_or(&section.origin))
    }
}
