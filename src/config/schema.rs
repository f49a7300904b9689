//! The schema of the settings, derived from the arguments that clap makes from [`Settings`]: names
//! in the three sources, defaults, documentation, and how values are written.
//!
//! Invariant: a value from any source passes through the one parser of its setting, here, and comes
//! out as the canonical text of the value, which that parser reads back.

use std::any::{Any, TypeId};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Arg, ArgMatches, Args, Command};

use super::Effective;
use super::burst::Burst;
use super::choices::{AnnounceMode, EmptyStatus, LogFormat, RecordSchema};
use super::duration::format_duration;
use super::error::SettingOrigin;
use super::list::{PeerIds, Prefixes, TargetList};
use super::log_filter::LogFilter;
use super::networks::Networks;
use super::optional_target::OptionalTarget;
use super::remote_url::{RemoteUrl, without_credentials};
use super::secret::Secret;
use super::settings::Settings;
use super::upstream_list::UpstreamList;
use super::workers::WorkerCount;
use super::write::toml_value;
use crate::types::TargetId;

/// What every environment variable of Fingerpost begins with.
pub(super) const VARIABLE_PREFIX: &str = "FINGERPOST_";

/// How the file writes the values of a type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// `true` and `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A text, or a whole number where it is one.
    IntegerOrText,
    /// A text.
    Text,
    /// An array of texts, or one text with commas.
    List,
}

/// All settings, in the order of the struct.
pub(super) struct SettingsSchema(Command);

impl SettingsSchema {
    /// The settings of [`Settings`].
    pub(super) fn new() -> Self {
        Self::of::<Settings>()
    }

    /// The settings of a struct, or the keys of a section.
    pub(super) fn of<T: Args>() -> Self {
        let command = Command::new("settings")
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_version_flag(true);
        Self(T::augment_args(command))
    }

    /// Each setting.
    pub(super) fn settings(&self) -> impl Iterator<Item = Setting<'_>> {
        self.0.get_arguments().map(Setting)
    }

    /// The setting called `name` in the file.
    pub(super) fn find(&self, name: &str) -> Option<Setting<'_>> {
        self.settings().find(|setting| setting.name() == name)
    }

    /// The values of all settings, from flags that were checked one by one with [`Setting::read`].
    pub(super) fn parse(&self, flags: impl IntoIterator<Item = String>) -> ArgMatches {
        self.0
            .clone()
            .try_get_matches_from(flags)
            .expect("every flag was checked, and every default is tested to parse")
    }
}

/// The most similar of `names`, if one is similar to `written`.
pub(super) fn nearest<'a>(
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Below this, words no longer look similar to people.
    const SIMILARITY_MIN: f64 = 0.75;
    let written = written.to_lowercase().replace('-', "_");
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&written, &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name)
}

/// One setting.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a>(&'a Arg);

impl<'a> Setting<'a> {
    /// Its name in the file: `rate_limit`.
    pub(super) fn name(self) -> &'a str {
        self.0.get_id().as_str()
    }

    /// Its name in the environment: `FINGERPOST_RATE_LIMIT`.
    pub(super) fn variable(self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name().to_uppercase())
    }

    /// Its name on the command line: `--rate-limit`.
    pub(super) fn flag(self) -> String {
        format!("--{}", self.name().replace('_', "-"))
    }

    /// The argument of clap, as the struct declares it.
    pub(super) fn arg(self) -> &'a Arg {
        self.0
    }

    /// The title of the group it belongs to.
    pub(super) fn heading(self) -> &'a str {
        self.0.get_help_heading().unwrap_or_default()
    }

    /// The effective setting with this canonical text and origin.
    pub(super) fn effective(self, value: &str, origin: SettingOrigin) -> Effective {
        let shown = self.value_type().without_secrets.map(|without_secrets| without_secrets(value));
        let is_cut = shown.as_ref().is_some_and(|shown| shown != value);
        let shown = shown.unwrap_or_else(|| value.to_owned());
        let is_shown = !self.is_secret() || value.is_empty();
        Effective {
            name: self.name().to_owned(),
            value: is_shown.then(|| toml_value(self.shape(), &shown)),
            is_cut,
            origin,
            heading: self.heading().to_owned(),
        }
    }

    /// The written value, as an error message shows it.
    pub(super) fn found(self, written: &str) -> String {
        if self.is_secret() { "a secret".to_owned() } else { without_credentials(written) }
    }

    /// Whether its value is a secret and never shown: the field sets `hide_env_values`.
    pub(super) fn is_secret(self) -> bool {
        self.0.is_hide_env_values_set()
    }

    /// Its documentation, in paragraphs.
    pub(super) fn documentation(self) -> String {
        let help = self.0.get_long_help().or_else(|| self.0.get_help());
        help.map(ToString::to_string).unwrap_or_default()
    }

    /// The words it is chosen from, when it is such a setting.
    pub(super) fn choices(self) -> Vec<PossibleValue> {
        if self.shape() == Shape::Boolean { Vec::new() } else { self.0.get_possible_values() }
    }

    /// How the file writes its values.
    pub(super) fn shape(self) -> Shape {
        self.value_type().shape
    }

    /// What its values are, in words.
    pub(super) fn expected(self) -> String {
        let choices = self.choices();
        if choices.is_empty() {
            return self.value_type().expected.to_owned();
        }
        let words: Vec<_> = choices.iter().map(PossibleValue::get_name).collect();
        words.join(" or ")
    }

    /// Whether it has a default.
    pub(super) fn has_default(self) -> bool {
        !self.0.get_default_values().is_empty()
    }

    /// The canonical text of its default, which it must have.
    pub(super) fn default_value(self) -> String {
        self.canonical(Vec::new()).expect("every default is tested to parse")
    }

    /// Parses `text`; returns the canonical text of the value.
    pub(super) fn read(self, text: &str) -> Result<String, String> {
        self.canonical(vec![format!("{}={text}", self.flag())])
    }

    fn canonical(self, flags: Vec<String>) -> Result<String, String> {
        let matches = Command::new("setting")
            .no_binary_name(true)
            .arg(self.0.clone())
            .try_get_matches_from(flags)
            .map_err(|error| reason(&error))?;
        Ok((self.value_type().show)(&matches, self.name()))
    }

    fn value_type(self) -> ValueType {
        let id = self.0.get_value_parser().type_id();
        value_types()
            .into_iter()
            .find(|value_type| id == value_type.id)
            .expect("a test holds that the type of every setting is listed")
    }
}

/// The parser's own message, without clap's wrapping; may be empty.
fn reason(error: &clap::Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

/// How values of a type are written, described and shown.
struct ValueType {
    id: TypeId,
    shape: Shape,
    expected: &'static str,
    show: fn(&ArgMatches, &str) -> String,
    /// A canonical text without the secrets in it; `None` where there can be none.
    without_secrets: Option<fn(&str) -> String>,
}

/// Every type that a setting has.
fn value_types() -> [ValueType; 24] {
    const NUMBER: &str = "a whole number";
    const CHOICE: &str = "one of its words";
    const ACCOUNT: &str = "a name of letters, digits, `-`, `_`, `~` and dots";
    [
        shown::<bool>(Shape::Boolean, "true or false"),
        shown::<u32>(Shape::Integer, NUMBER),
        shown::<usize>(Shape::Integer, NUMBER),
        shown::<u64>(Shape::Integer, NUMBER),
        shown::<SocketAddr>(Shape::Text, "an address and a port, such as 127.0.0.1:8190"),
        shown::<Networks>(Shape::List, "a list of networks, such as 10.0.0.0/8"),
        shown::<PeerIds>(Shape::List, "a list of peer IDs"),
        shown::<Prefixes>(Shape::List, "a list of prefixes, such as g.providers.sha2-256.c"),
        shown::<TargetList>(Shape::List, "a list of accounts"),
        shown::<TargetId>(Shape::Text, ACCOUNT),
        shown::<OptionalTarget>(Shape::Text, ACCOUNT),
        shown::<String>(Shape::Text, "a text"),
        ValueType {
            id: TypeId::of::<UpstreamList>(),
            shape: Shape::List,
            expected: "a list of upstreams, such as east=https://router.example (with options each \
                       is a section, [[upstream]])",
            show: |matches, name| show(matches, name, UpstreamList::reveal),
            without_secrets: Some(shown_of::<UpstreamList>),
        },
        ValueType {
            id: TypeId::of::<RemoteUrl>(),
            shape: Shape::Text,
            expected: "a URL, such as https://router.example",
            show: |matches, name| show(matches, name, |url: &RemoteUrl| url.reveal().to_owned()),
            without_secrets: Some(shown_of::<RemoteUrl>),
        },
        shown::<Burst>(Shape::IntegerOrText, "a number of requests or `auto`"),
        shown::<WorkerCount>(Shape::IntegerOrText, "a number of threads or `auto`"),
        shown::<EmptyStatus>(Shape::IntegerOrText, CHOICE),
        shown::<RecordSchema>(Shape::Text, CHOICE),
        shown::<AnnounceMode>(Shape::Text, CHOICE),
        shown::<LogFormat>(Shape::Text, CHOICE),
        shown::<LogFilter>(Shape::Text, "a level or directives, such as warn,fingerpost=debug"),
        ValueType {
            id: TypeId::of::<Secret>(),
            shape: Shape::Text,
            expected: "a text without control characters",
            show: |matches, name| {
                show(matches, name, |secret: &Secret| {
                    secret.reveal().unwrap_or_default().to_owned()
                })
            },
            without_secrets: None,
        },
        ValueType {
            id: TypeId::of::<PathBuf>(),
            shape: Shape::Text,
            expected: "a path",
            show: |matches, name| show(matches, name, |path: &PathBuf| path.display().to_string()),
            without_secrets: None,
        },
        ValueType {
            id: TypeId::of::<Duration>(),
            shape: Shape::IntegerOrText,
            expected: "a duration, such as 15s or 5m",
            show: |matches, name| show(matches, name, |duration| format_duration(*duration)),
            without_secrets: None,
        },
    ]
}

fn shown<T: Any + Clone + Send + Sync + ToString>(
    shape: Shape,
    expected: &'static str,
) -> ValueType {
    let show = |matches: &ArgMatches, name: &str| show(matches, name, T::to_string);
    ValueType { id: TypeId::of::<T>(), shape, expected, show, without_secrets: None }
}

/// The `Display` of a value, which omits secrets.
fn shown_of<T: FromStr + ToString>(canonical: &str) -> String {
    canonical.parse::<T>().map(|value| value.to_string()).unwrap_or_default()
}

fn show<T: Any + Clone + Send + Sync>(
    matches: &ArgMatches,
    name: &str,
    text: impl Fn(&T) -> String,
) -> String {
    matches.get_one::<T>(name).map(text).expect("every setting has a value or a default")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_one_name_everywhere_a_listed_type_and_documentation() {
        let schema = SettingsSchema::new();
        for setting in schema.settings() {
            let name = setting.name();
            assert_eq!(setting.arg().get_long(), Some(name.replace('_', "-").as_str()));
            assert!(!setting.documentation().is_empty(), "{name} has no documentation");
            assert!(!setting.heading().is_empty(), "{name} has no heading");
            assert!(!setting.expected().is_empty(), "{name} says nothing of its values");
        }
        assert!(schema.settings().count() > 30);
    }

    #[test]
    fn the_canonical_text_of_every_value_reads_back() {
        let schema = SettingsSchema::new();
        for setting in schema.settings() {
            let candidates = [
                "1", "7", "0", "90s", "48h", "true", "off", "auto", "peer", "json", "200",
                "[::1]:1", "1000000",
            ]
            .into_iter()
            .chain(["10.0.0.0/8,192.0.2.1", "", "a b", "warn,fingerpost=debug"]);
            let read: Vec<_> = candidates.filter_map(|text| setting.read(text).ok()).collect();
            assert!(!read.is_empty(), "{} takes none of the candidates", setting.name());
            for text in read.into_iter().chain([setting.default_value()]) {
                assert_eq!(setting.read(&text), Ok(text.clone()), "{}", setting.name());
            }
        }
    }

    #[test]
    fn the_nearest_name_is_found_and_noise_has_none() {
        let names = ["rate_limit", "rate_limit_burst", "listen", "log"];
        assert_eq!(nearest("rate_limt", names), Some("rate_limit"));
        assert_eq!(nearest("Rate-Limit", names), Some("rate_limit"));
        assert_eq!(nearest("lisen", names), Some("listen"));
        assert_eq!(nearest("zzz", names), None);
    }
}
