//! Problems of settings. All problems of all sources are reported at once, each with the place to
//! change.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Where the value of a setting comes from, weakest first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum SettingOrigin {
    /// Given nowhere.
    Default,
    /// Inherited by a section from the setting of this name.
    Setting(&'static str),
    /// A line of the file of settings.
    File {
        /// The path as it was given.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag on the command line.
    Flag(String),
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::Setting(name) => write!(formatter, "setting {name}"),
            Self::File { path, line } => write!(formatter, "file {}:{line}", path.display()),
            Self::Environment(variable) => write!(formatter, "environment {variable}"),
            Self::Flag(flag) => write!(formatter, "flag {flag}"),
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Debug, Error)]
pub enum ConfigProblem {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not TOML, or too large.
    #[error("{path}:{line}: {message}")]
    Malformed {
        /// The file.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// The parser's message.
        message: String,
    },
    /// An unknown key or environment variable.
    #[error("{place}`{name}` is no setting{}", suggestion(.nearest.as_deref()))]
    Unknown {
        /// The file and line with a colon, or that it is in the environment.
        place: String,
        /// The name as written.
        name: String,
        /// The known name it resembles.
        nearest: Option<String>,
    },
    /// An unknown key of a section.
    #[error("{place}`{name}` is no key of [[{section}]]{}", suggestion(.nearest.as_deref()))]
    UnknownKey {
        /// The file and line with a colon.
        place: String,
        /// The name as written.
        name: String,
        /// The section.
        section: &'static str,
        /// The known name it resembles.
        nearest: Option<String>,
    },
    /// A value that its setting does not accept.
    #[error("{place}: expected {expected}, found {found}{}", in_brackets(.reason))]
    Value {
        /// The setting where it was given.
        place: String,
        /// What the setting accepts.
        expected: String,
        /// The value as it was written.
        found: String,
        /// The parser's message; may be empty.
        reason: String,
    },
    /// A value out of range, or in conflict with another setting.
    #[error("{place}: {message}")]
    Rule {
        /// The setting where it was given.
        place: String,
        /// The rule, and what it found.
        message: String,
    },
}

/// Everything that is wrong with the settings; never empty.
#[derive(Debug, Error)]
#[error("{}", listed(.problems))]
pub struct ConfigError {
    /// The problems: those of the file, of the environment, of the flags, then of the rules.
    pub problems: Vec<ConfigProblem>,
}

/// The beginning of a message: the setting `name` at its origin.
pub(super) fn place(name: &str, origin: &SettingOrigin) -> String {
    match origin {
        SettingOrigin::Default | SettingOrigin::Setting(_) => name.to_owned(),
        SettingOrigin::File { path, line } => format!("{}:{line}: {name}", path.display()),
        SettingOrigin::Environment(variable) => format!("environment variable {variable}"),
        SettingOrigin::Flag(flag) => flag.clone(),
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}

fn in_brackets(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

fn listed(problems: &[ConfigProblem]) -> String {
    if let [problem] = problems {
        return problem.to_string();
    }
    let lines = problems.iter().map(|problem| format!("\n  {problem}"));
    format!("{} problems in the settings:{}", problems.len(), lines.collect::<String>())
}
