//! Settings: one struct, [`Settings`], from which the keys of the file, the environment variables,
//! the flags, `--help`, the example file and the origin of each value follow.
//!
//! A setting has one name everywhere: `rate_limit` in the file is `FINGERPOST_RATE_LIMIT` and
//! `--rate-limit`. The environment overrides the file, and flags override both. Other servers with
//! their options are sections of the file (`remotes`), with no variable or flag.
//!
//! Invariants: a value passes through the same parser whichever source it comes from; loaded
//! settings satisfy all rules of `rules.rs`; the process's environment is a parameter. On failure
//! all problems of all sources are returned at once, each with its place, and no settings.

mod burst;
mod choices;
mod duration;
mod environment;
mod error;
mod file;
mod list;
mod log_filter;
mod networks;
mod optional_target;
mod remote_url;
mod remotes;
mod rules;
mod schema;
mod secret;
mod settings;
mod upstream_list;
mod workers;
mod write;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches, value_parser};

pub use choices::AnnounceMode;
pub(crate) use choices::LogFormat;
pub(crate) use error::{ConfigError, ConfigProblem, SettingOrigin};
pub(crate) use log_filter::LogFilter;
pub use optional_target::OptionalTarget;
pub(crate) use remote_url::RemoteUrl;
pub(crate) use remotes::EffectiveSection;
pub use remotes::{
    ClientSettings, EndpointSettings, FanoutSettings, PeerSettings, UpstreamSettings,
};
pub(crate) use secret::Secret;
pub use settings::Settings;
pub(crate) use write::example;

use remotes::Section;
use schema::{Setting, SettingsSchema};

/// The flag that names the file of settings; not a setting itself.
const CONFIG_FLAG: &str = "config";

/// The effective settings, and where each of them came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    effective: Vec<Effective>,
    sections: Vec<EffectiveSection>,
}

impl Loaded {
    /// Each setting with its value and origin, in the order of [`Settings`].
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// The settings that a source gave, for the log at the start.
    pub(crate) fn given(&self) -> impl Iterator<Item = &Effective> {
        self.effective.iter().filter(|effective| effective.origin != SettingOrigin::Default)
    }

    /// The sections of the file, by kind.
    pub fn sections(&self) -> &[EffectiveSection] {
        &self.sections
    }

    /// Where the setting called `name` in the file came from; `None` if there is none of that name.
    pub(crate) fn origin(&self, name: &str) -> Option<&SettingOrigin> {
        self.effective.iter().find(|effective| effective.name == name).map(|found| &found.origin)
    }
}

/// One effective setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Effective {
    /// Its name in the file.
    pub(crate) name: String,
    /// Its value as the file writes it; `None` for a secret that is set.
    pub value: Option<String>,
    /// Whether credentials were left out of the value.
    pub is_cut: bool,
    /// Where it came from.
    pub(crate) origin: SettingOrigin,
    /// The title of its group.
    pub(crate) heading: String,
}

impl fmt::Display for Effective {
    /// `rate_limit = 5 (flag --rate-limit)`; a secret without its value.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref().unwrap_or("<not shown>");
        write!(formatter, "{} = {value} ({}{})", self.name, self.origin, self.note())
    }
}

impl Effective {
    /// A note for the log beside the origin.
    fn note(&self) -> &'static str {
        if self.is_cut { "; its credentials are not shown" } else { "" }
    }
}

/// A value that a source gives to a setting: its canonical text.
struct Given {
    name: String,
    value: String,
    origin: SettingOrigin,
}

/// Adds `--config` and the flag of every setting to a command, so that [`load`] can read them.
pub(crate) fn with_settings(command: Command) -> Command {
    let config = Arg::new(CONFIG_FLAG)
        .long(CONFIG_FLAG)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("File of settings (TOML)")
        .long_help(
            "File of settings (TOML); `fingerpost config --example` writes one\n\n\
             [env: FINGERPOST_CONFIG]",
        );
    let schema = SettingsSchema::new();
    command.arg(config).args(schema.settings().map(flag))
}

/// The flag of a setting, with its default and its variable in the help.
fn flag(setting: Setting<'_>) -> Arg {
    let arg = setting.arg().clone();
    let default = setting.default_value();
    let default = if default.is_empty() { "none".to_owned() } else { default };
    let short = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let long = format!(
        "{}\n\n[default: {default}] [env: {}]",
        setting.documentation(),
        setting.variable()
    );
    arg.help(format!("{short} [default: {default}]")).long_help(long).hide_default_value(true)
}

/// Loads the settings: the file that `--config` or `FINGERPOST_CONFIG` names, then the environment,
/// then the flags, each overriding what stands before.
///
/// `matches` are those of a command made with [`with_settings`]; `variables` are the environment.
///
/// # Errors
///
/// All problems found: a file that cannot be read, unknown names, wrong values, broken rules.
///
/// # Panics
///
/// When `matches` belong to a command that was not made with [`with_settings`].
pub(crate) fn load(
    matches: &ArgMatches,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let schema = SettingsSchema::new();
    let environment = environment::read(variables, &schema);
    let path = matches.get_one::<PathBuf>(CONFIG_FLAG).cloned().or(environment.config);
    let mut file = path.map(|path| file::read(&path, &schema)).unwrap_or_default();
    file.problems.extend(environment.problems);
    if !file.problems.is_empty() {
        return Err(ConfigError { problems: file.problems });
    }
    let given = file.given.into_iter().chain(environment.given).chain(flags(matches, &schema));
    combine(&schema, given, file.sections)
}

/// Loads the settings of a file that holds `text`, over the defaults; `path` is what messages call it.
///
/// # Errors
///
/// All problems found, as of [`load`].
pub fn load_text(path: &Path, text: &str) -> Result<Loaded, ConfigError> {
    let schema = SettingsSchema::new();
    let file = file::parse(path, text, &schema);
    if !file.problems.is_empty() {
        return Err(ConfigError { problems: file.problems });
    }
    combine(&schema, file.given, file.sections)
}

/// The settings given as flags. Their values were checked when the command line was parsed.
fn flags(matches: &ArgMatches, schema: &SettingsSchema) -> Vec<Given> {
    let is_given = |setting: &Setting<'_>| {
        matches.value_source(setting.name()) == Some(ValueSource::CommandLine)
    };
    let read = |setting: Setting<'_>| {
        let text = matches.get_raw(setting.name())?.next()?.to_string_lossy();
        let value = setting.read(&text).expect("clap took this value of this setting before");
        let origin = SettingOrigin::Flag(setting.flag());
        Some(Given { name: setting.name().to_owned(), value, origin })
    };
    schema.settings().filter(is_given).filter_map(read).collect()
}

/// Applies the values to the defaults, later ones overriding earlier, and checks the rules.
fn combine(
    schema: &SettingsSchema,
    given: impl IntoIterator<Item = Given>,
    sections: Vec<Section>,
) -> Result<Loaded, ConfigError> {
    let mut strongest: HashMap<String, Given> =
        given.into_iter().map(|given| (given.name.clone(), given)).collect();
    let mut texts = HashMap::new();
    let mut effective = Vec::new();
    for setting in schema.settings() {
        let (value, origin) = match strongest.remove(setting.name()) {
            Some(given) => (given.value, given.origin),
            None => (setting.default_value(), SettingOrigin::Default),
        };
        effective.push(setting.effective(&value, origin));
        texts.insert(setting.name().to_owned(), value);
    }
    let flags = schema.settings().map(|setting| {
        let value = texts.get(setting.name()).map(String::as_str).unwrap_or_default();
        format!("{}={value}", setting.flag())
    });
    let settings = Settings::from_arg_matches(&schema.parse(flags))
        .expect("the schema is made from this struct");
    let mut loaded = Loaded { settings, effective, sections: Vec::new() };
    let mut problems = broken_rules(&loaded);
    let upstreams = loaded.origin("upstreams").unwrap_or(&SettingOrigin::Default);
    let combined = remotes::combine(sections, &loaded.settings, &texts, upstreams);
    problems.extend(combined.problems);
    loaded.settings.remotes = combined.remotes;
    loaded.sections = combined.sections;
    if problems.is_empty() { Ok(loaded) } else { Err(ConfigError { problems }) }
}

fn broken_rules(loaded: &Loaded) -> Vec<ConfigProblem> {
    let problem = |violation: rules::Violation| ConfigProblem::Rule {
        place: error::place(
            violation.name,
            loaded.origin(violation.name).unwrap_or(&SettingOrigin::Default),
        ),
        message: violation.message,
    };
    rules::validate(&loaded.settings).into_iter().map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_all(
        flags: &[&str],
        variables: &[(&str, &str)],
        file: Option<&str>,
    ) -> Result<Loaded, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fingerpost.toml");
        let mut flags: Vec<OsString> = flags.iter().map(OsString::from).collect();
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
            flags.extend(["--config".into(), path.into()]);
        }
        let command = with_settings(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(flags).unwrap();
        load(&matches, variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    /// Loads settings from a file of this text alone.
    pub(in crate::config) fn load_file(text: &str) -> Result<Loaded, ConfigError> {
        load_all(&[], &[], Some(text))
    }

    #[test]
    fn nothing_given_is_the_default() {
        let loaded = load_all(&[], &[], None).unwrap();
        assert_eq!(loaded.settings, Settings::default());
        assert!(
            loaded.effective().iter().all(|effective| effective.origin == SettingOrigin::Default)
        );
    }

    #[test]
    fn the_file_is_weaker_than_the_environment_and_that_than_the_flags() {
        let file = Some("rate_limit = 1\nrate_limit_burst = 1\nworkers = 1\n");
        let variables = [("FINGERPOST_RATE_LIMIT", "2"), ("FINGERPOST_RATE_LIMIT_BURST", "2")];
        let loaded = load_all(&["--rate-limit", "3"], &variables, file).unwrap();
        assert_eq!(loaded.settings.rate_limit, 3);
        assert_eq!(loaded.settings.rate_limit_burst.to_string(), "2");
        assert_eq!(loaded.settings.workers.get(), 1);

        assert_eq!(
            loaded.origin("rate_limit"),
            Some(&SettingOrigin::Flag("--rate-limit".to_owned()))
        );
        let variable = "FINGERPOST_RATE_LIMIT_BURST".to_owned();
        assert_eq!(loaded.origin("rate_limit_burst"), Some(&SettingOrigin::Environment(variable)));
        let origin = loaded.origin("workers").unwrap();
        assert!(matches!(origin, SettingOrigin::File { line: 3, .. }), "{origin}");
        assert_eq!(loaded.origin("listen"), Some(&SettingOrigin::Default));
        assert_eq!(loaded.origin("nothing"), None);
        let given: Vec<_> = loaded.given().map(ToString::to_string).collect();
        assert_eq!(given.len(), 3);
        assert!(given.contains(&"rate_limit = 3 (flag --rate-limit)".to_owned()), "{given:?}");
    }

    #[test]
    fn a_value_equal_to_the_default_still_keeps_its_origin() {
        let loaded = load_all(&["--rate-limit=100"], &[], None).unwrap();
        assert_eq!(loaded.origin("rate_limit").unwrap().to_string(), "flag --rate-limit");
    }

    #[test]
    fn a_password_is_used_but_shown_nowhere() {
        for (flags, variables, file) in [
            (&["--admin-password=hunter2"][..], &[][..], None),
            (&[], &[("FINGERPOST_ADMIN_PASSWORD", "hunter2")], None),
            (&[], &[], Some("admin_password = 'hunter2'")),
        ] {
            let loaded = load_all(flags, variables, file).unwrap();
            assert_eq!(loaded.settings.admin_password.reveal(), Some("hunter2"));
            let given: String = loaded.given().map(ToString::to_string).collect();
            assert!(given.starts_with("admin_password = <not shown> ("), "{given}");
            let shown = format!("{loaded:?} {given} {}", loaded.to_toml());
            assert!(shown.contains("# admin_password is set and not shown"), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let unset = load_all(&[], &[], None).unwrap().to_toml();
        assert!(unset.contains("\nadmin_password = \"\" "), "{unset}");
        let error = load_file("admin_password = \"hunter2\\n\"").unwrap_err().to_string();
        assert!(error.contains("found a secret (it holds a control character"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_environment_may_name_the_file_and_the_flag_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.toml");
        std::fs::write(&path, "rate_limit = 9").unwrap();
        let variables = [("FINGERPOST_CONFIG", path.to_str().unwrap())];
        assert_eq!(load_all(&[], &variables, None).unwrap().settings.rate_limit, 9);
        let loaded = load_all(&[], &variables, Some("workers = 2")).unwrap();
        assert_eq!(loaded.settings.rate_limit, 100);
        assert_eq!(loaded.settings.workers.get(), 2);
        let loaded = load_all(&[], &[("FINGERPOST_CONFIG", "")], None).unwrap();
        assert_eq!(loaded.settings, Settings::default());
    }

    #[test]
    fn a_boolean_flag_stands_alone_or_with_a_value() {
        for (flags, expected) in [
            (&["--access-log"][..], true),
            (&["--access-log=true"], true),
            (&["--access-log=false"], false),
            (&["--access-log=off"], false),
        ] {
            let loaded = load_all(flags, &[("FINGERPOST_ACCESS_LOG", "yes")], None).unwrap();
            assert_eq!(loaded.settings.access_log, expected, "{flags:?}");
        }
    }

    #[test]
    fn an_empty_list_overrides_a_default_from_every_source() {
        let lists = [
            load_all(&["--rate-limit-exempt", ""], &[], None),
            load_all(&["--rate-limit-exempt="], &[], None),
            load_all(&[], &[("FINGERPOST_RATE_LIMIT_EXEMPT", "")], None),
            load_all(&[], &[], Some("rate_limit_exempt = []")),
        ];
        for loaded in lists {
            assert!(loaded.unwrap().settings.rate_limit_exempt.is_empty());
        }
    }

    #[test]
    fn the_problems_of_all_sources_are_reported_at_once() {
        let variables = [("FINGERPOST_LISTN", "x"), ("FINGERPOST_WORKERS", "many")];
        let error = load_all(&[], &variables, Some("a = 1\nkeep_alive = false\n")).unwrap_err();
        assert_eq!(error.problems.len(), 4, "{error}");
        let text = error.to_string();
        assert!(text.starts_with("4 problems in the settings:\n  "), "{text}");
        assert!(text.contains("fingerpost.toml:2: keep_alive: expected a duration"), "{text}");
    }

    #[test]
    fn a_broken_rule_names_the_place_to_change() {
        let error = load_all(&["--rate-limit-clients-max=0"], &[], None).unwrap_err();
        assert_eq!(error.to_string(), "--rate-limit-clients-max: 0 is below 1");
        let error = load_file("\njson_records_max = 500").unwrap_err();
        assert!(
            error.to_string().ends_with("fingerpost.toml:2: json_records_max: 500 is above 100"),
            "{error}"
        );
        let error = load_all(&[], &[("FINGERPOST_LISTEN", "127.0.0.1:8191")], None).unwrap_err();
        assert!(error.to_string().starts_with("admin_listen: 127.0.0.1:8191 collides"), "{error}");
    }
}
