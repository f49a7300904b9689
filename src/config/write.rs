//! Settings as a file: the effective ones with the origin of each, and the example file.
//!
//! Invariant: what is written here is a file of settings that loads again. A secret is not written:
//! a comment says that it is set.

use std::fmt::Write as _;

use super::schema::{Setting, SettingsSchema, Shape};
use super::{Effective, Loaded, remotes};

/// The width of a line of text in the example file.
const LINE_CHARS_MAX: usize = 96;

/// The column of the comments about origins, unless the setting is longer.
const ORIGIN_COLUMN: usize = 44;

impl Loaded {
    /// The settings as TOML, each with a comment that says where it came from.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut heading = "";
        for effective in &self.effective {
            if effective.heading != heading {
                let gap = if heading.is_empty() { "" } else { "\n" };
                heading = &effective.heading;
                text.push_str(&format!("{gap}# {heading}\n"));
            }
            text.push_str(&line(effective));
        }
        for section in &self.sections {
            text.push_str(&format!("\n[[{}]]\n", section.name));
            text.extend(section.keys.iter().map(line));
        }
        text
    }
}

fn line(effective: &Effective) -> String {
    let Effective { name, value, origin, .. } = effective;
    // A line break in a path would end the comment.
    let origin: String =
        origin.to_string().chars().map(|char| if char.is_control() { '?' } else { char }).collect();
    let origin = origin + effective.note();
    match value {
        Some(value) => format!("{:<ORIGIN_COLUMN$} # {origin}\n", format!("{name} = {value}")),
        None => {
            format!("{:<ORIGIN_COLUMN$} # {origin}\n", format!("# {name} is set and not shown"))
        }
    }
}

/// A canonical value as the file writes it.
pub(super) fn toml_value(shape: Shape, value: &str) -> String {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match shape {
        Shape::Boolean | Shape::Integer => value.to_owned(),
        Shape::IntegerOrText if is_number => value.to_owned(),
        Shape::IntegerOrText | Shape::Text => quoted(value),
        Shape::List => {
            let items: Vec<_> =
                value.split(',').filter(|item| !item.is_empty()).map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            _ if char.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(char))),
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// The example file: every setting with its documentation, commented out at its default.
pub(crate) fn example() -> String {
    let mut text = String::from(EXAMPLE_HEAD);
    let mut heading = "";
    let schema = SettingsSchema::new();
    for setting in schema.settings() {
        if setting.heading() != heading {
            heading = setting.heading();
            text.push_str(&format!("\n\n# === {heading} ===\n"));
        }
        text.push('\n');
        text.push_str(&example_of(setting, &setting.default_value()));
    }
    text + &remotes::example()
}

const EXAMPLE_HEAD: &str = "\
# Settings of Fingerpost. Written by `fingerpost config --example`; every setting stands here,
# commented out, with its default. Remove the `#` before a setting to change it.
#
# Start with `fingerpost serve --config FILE`. A setting has one name in three places: `rate_limit`
# here, FINGERPOST_RATE_LIMIT in the environment, --rate-limit on the command line. The command
# line wins over the environment, and the environment over this file. `fingerpost config` shows
# what holds and where it came from. Sections about other servers stand at the end, and in this file
# alone.
#
# Durations: a number with a unit (ms, s, m, h), or a plain number of seconds. Networks: a list such
# as [\"10.0.0.0/8\", \"2001:db8::/32\"]; outside this file, separated by commas.
";

/// A setting with its documentation, commented out with this value.
pub(super) fn example_of(setting: Setting<'_>, value: &str) -> String {
    let mut text = String::new();
    for paragraph in setting.documentation().split("\n\n") {
        let stop = if paragraph.ends_with(['.', '?', '!']) { "" } else { "." };
        text.push_str(&comment("# ", &format!("{paragraph}{stop}")));
    }
    for choice in setting.choices() {
        let meaning = choice.get_help().map(ToString::to_string).unwrap_or_default();
        text.push_str(&comment("#   ", &format!("{}: {meaning}.", choice.get_name())));
    }
    let value = toml_value(setting.shape(), value);
    let _infallible = writeln!(text, "#{} = {value}", setting.name());
    text
}

/// `text` as comment lines, broken between words.
pub(super) fn comment(lead: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from(lead);
    for word in text.split_whitespace() {
        let empty = line.len() == lead.len();
        if !empty && line.chars().count() + 1 + word.chars().count() > LINE_CHARS_MAX {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from(lead);
        } else if !empty {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push_str(&line);
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::super::error::SettingOrigin;
    use super::super::settings::Settings;
    use super::super::tests::load_file;
    use super::*;
    use proptest::prelude::*;

    /// The example with every setting in force, without the sections at its end.
    fn uncommented() -> String {
        let lines = example();
        let (lines, _) = lines.split_once("\n#[[").unwrap();
        let lines = lines.lines().map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(char::is_alphabetic) => setting,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_file_of_the_repository_is_the_one_written_here() {
        assert_eq!(
            include_str!("../../config.example.toml"),
            example(),
            "run: cargo run -- config --example > config.example.toml"
        );
    }

    #[test]
    fn the_example_holds_every_setting_once_at_its_default() {
        let loaded = load_file(&uncommented()).unwrap();
        assert_eq!(loaded.settings, Settings::default());
        for effective in loaded.effective() {
            assert!(matches!(effective.origin, SettingOrigin::File { .. }), "{}", effective.name);
        }
        assert_eq!(load_file(&example()).unwrap().settings, Settings::default());
        assert!(example().lines().all(|line| line.chars().count() <= 100));
    }

    #[test]
    fn the_readme_names_every_setting_with_its_default() {
        let readme = include_str!("../../README.md");
        let example = example();
        let (example, _) = example.split_once("\n#[[").unwrap();
        let settings = example.lines().filter_map(|line| line.strip_prefix('#')?.split_once(" = "));
        for (name, value) in settings.filter(|(name, _)| !name.contains(' ')) {
            let row = format!("| `{name}` | `{value}` | ");
            assert!(readme.contains(&row), "README.md lacks the row: {row}");
        }
    }

    #[test]
    fn effective_settings_load_again_with_their_origin_beside_them() {
        let loaded = load_file("rate_limit = 7\ntrusted_proxies = ['10.0.0.0/8']").unwrap();
        let text = loaded.to_toml();
        assert_eq!(load_file(&text).unwrap().settings, loaded.settings);
        let line_of = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line_of("rate_limit = 7 ").contains(" # file "), "{text}");
        assert!(line_of("rate_limit = 7 ").ends_with(":1"), "{text}");
        assert!(line_of("trusted_proxies = [\"10.0.0.0/8\"]").ends_with(":2"), "{text}");
        assert!(line_of("empty_status = 404 ").ends_with(" # default"), "{text}");
    }

    #[test]
    fn a_secret_is_not_written_and_a_line_break_cannot_end_a_comment() {
        let path = "a\nb".into();
        let effective = Effective {
            name: "token".to_owned(),
            value: None,
            is_cut: false,
            origin: SettingOrigin::File { path, line: 3 },
            heading: String::new(),
        };
        let written = line(&effective);
        assert!(written.starts_with("# token is set and not shown "), "{written}");
        assert!(written.ends_with("# file a?b:3\n"), "{written}");
        assert_eq!(written.lines().count(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_quoted_so_that_it_reads_back(text in "\\PC*|[\\x00-\\x7f]*") {
            let table: toml::Table = format!("data_dir = {}", quoted(&text)).parse().unwrap();
            prop_assert_eq!(table["data_dir"].as_str(), Some(text.as_str()));
        }
    }
}
