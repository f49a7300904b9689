//! The file of settings: TOML, one top-level key a setting, and arrays of tables for other servers.
//!
//! Every problem in the file is found in one pass and reported with its line. A file that is not
//! TOML gives one error: what the rest of it means is a guess.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use super::Given;
use super::error::{ConfigProblem, SettingOrigin, place};
use super::remotes::{Section, SectionKind};
use super::schema::{Setting, SettingsSchema, Shape, nearest};

/// Far above all settings with long lists; bounds memory when the path is wrong (a log, a disk).
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Characters of a wrong value that a message repeats.
const FOUND_CHARS_MAX: usize = 60;

/// The content of a file.
#[derive(Default)]
pub(super) struct Content {
    pub(super) given: Vec<Given>,
    /// Sections with all required keys.
    pub(super) sections: Vec<Section>,
    pub(super) problems: Vec<ConfigProblem>,
}

/// Reads the file at `path`: its settings and its problems.
pub(super) fn read(path: &Path, schema: &SettingsSchema) -> Content {
    match read_text(path) {
        Ok(text) => parse(path, &text, schema),
        Err(source) => {
            let path = path.display().to_string();
            let problems = vec![ConfigProblem::Unreadable { path, source }];
            Content { problems, ..Content::default() }
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}

/// Parses the text of a file: its settings and its problems.
pub(super) fn parse(path: &Path, text: &str, schema: &SettingsSchema) -> Content {
    let (table, errors) = DeTable::parse_recoverable(text);
    let file = ConfigDocument { path, text };
    let mut content = Content::default();
    if !errors.is_empty() {
        content.problems = errors.iter().map(|error| file.malformed(error)).collect();
        return content;
    }
    for (key, value) in in_order(table.get_ref()) {
        if let Some(kind) = SectionKind::find(key.get_ref()) {
            file.sections(kind, value, &mut content);
            continue;
        }
        let line = file.line(&key.span());
        let Some(setting) = schema.find(key.get_ref()) else {
            content.problems.push(file.unknown(key.get_ref(), line, schema));
            continue;
        };
        match file.value(setting, setting.name(), value, line) {
            Ok(value) => content.given.push(value),
            Err(problem) => content.problems.push(problem),
        }
    }
    content
}

type Key<'a> = Spanned<DeString<'a>>;
type Value<'a> = Spanned<DeValue<'a>>;

/// The keys and values of a table, as they stand in the file.
fn in_order<'a, 'b>(table: &'b DeTable<'a>) -> Vec<(&'b Key<'a>, &'b Value<'a>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// The file, for messages.
struct ConfigDocument<'a> {
    path: &'a Path,
    text: &'a str,
}

impl ConfigDocument<'_> {
    /// `name` is the setting's name in messages.
    fn value(
        &self,
        setting: Setting<'_>,
        name: &str,
        value: &Value<'_>,
        line: usize,
    ) -> Result<Given, ConfigProblem> {
        let origin = self.origin(line);
        let read = text_of(value.get_ref(), setting.shape())
            .ok_or_else(String::new)
            .and_then(|text| setting.read(&text));
        match read {
            Ok(value) => Ok(Given { name: setting.name().to_owned(), value, origin }),
            Err(reason) => Err(ConfigProblem::Value {
                place: place(name, &origin),
                expected: setting.expected(),
                found: self.found(setting, &value.span()),
                reason,
            }),
        }
    }

    /// Reads all sections of a kind, and their problems.
    fn sections(&self, kind: SectionKind, value: &Value<'_>, content: &mut Content) {
        let tables: Option<Vec<_>> = value.get_ref().as_array().and_then(|tables| {
            tables.iter().map(|table| Some((table.span(), table.get_ref().as_table()?))).collect()
        });
        let Some(tables) = tables else {
            let line = self.line(&value.span());
            content.problems.push(ConfigProblem::Rule {
                place: place(kind.name(), &self.origin(line)),
                message: format!("expected sections, each under a line [[{}]]", kind.name()),
            });
            return;
        };
        for (span, table) in tables {
            let line = self.line(&span);
            let (given, problems) = self.section(kind, table, line);
            if problems.is_empty() {
                content.sections.push(Section { kind, origin: self.origin(line), given });
            }
            content.problems.extend(problems);
        }
    }

    fn section(
        &self,
        kind: SectionKind,
        table: &DeTable<'_>,
        line: usize,
    ) -> (Vec<Given>, Vec<ConfigProblem>) {
        let schema = kind.schema();
        let (mut given, mut problems) = (Vec::new(), Vec::new());
        for key in schema.settings().filter(|key| SectionKind::requires(*key)) {
            if !table.keys().any(|written| written.get_ref() == key.name()) {
                problems.push(ConfigProblem::Rule {
                    place: place(&format!("[[{}]]", kind.name()), &self.origin(line)),
                    message: format!("`{}` is missing", key.name()),
                });
            }
        }
        for (key, value) in in_order(table) {
            let line = self.line(&key.span());
            let Some(known) = schema.find(key.get_ref()) else {
                problems.push(ConfigProblem::UnknownKey {
                    place: format!("{}:{line}: ", self.path.display()),
                    name: key.get_ref().to_string(),
                    section: kind.name(),
                    nearest: nearest(key.get_ref(), schema.settings().map(Setting::name))
                        .map(str::to_owned),
                });
                continue;
            };
            let name = format!("[[{}]] {}", kind.name(), known.name());
            match self.value(known, &name, value, line) {
                Ok(value) => given.push(value),
                Err(problem) => problems.push(problem),
            }
        }
        (given, problems)
    }

    fn origin(&self, line: usize) -> SettingOrigin {
        SettingOrigin::File { path: self.path.to_owned(), line }
    }

    fn unknown(&self, key: &str, line: usize, schema: &SettingsSchema) -> ConfigProblem {
        let names =
            schema.settings().map(Setting::name).chain(SectionKind::ALL.map(SectionKind::name));
        ConfigProblem::Unknown {
            place: format!("{}:{line}: ", self.path.display()),
            name: key.to_owned(),
            nearest: nearest(key, names).map(|name| match SectionKind::find(name) {
                Some(kind) => format!("[[{}]]", kind.name()),
                None => name.to_owned(),
            }),
        }
    }

    fn malformed(&self, error: &toml::de::Error) -> ConfigProblem {
        ConfigProblem::Malformed {
            path: self.path.display().to_string(),
            line: error.span().map_or(1, |span| self.line(&span)),
            message: format!("not valid TOML: {}", error.message()),
        }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        memchr::memchr_iter(b'\n', before).count() + 1
    }

    fn found(&self, setting: Setting<'_>, span: &Range<usize>) -> String {
        let written = setting.found(self.text.get(span.clone()).unwrap_or_default());
        let first_line = written.lines().next().unwrap_or_default();
        let shown: String = first_line.chars().take(FOUND_CHARS_MAX).collect();
        if shown.len() < written.len() { format!("{shown}...") } else { shown }
    }
}

/// The text that stands for `value` outside the file, if it is of the shape.
fn text_of(value: &DeValue<'_>, shape: Shape) -> Option<String> {
    match shape {
        Shape::Boolean => value.as_bool().map(|value| value.to_string()),
        Shape::Integer => value.as_integer().and_then(decimal),
        Shape::IntegerOrText => {
            value.as_integer().and_then(decimal).or_else(|| value.as_str().map(str::to_owned))
        }
        Shape::Text => value.as_str().map(str::to_owned),
        Shape::List => value.as_str().map(str::to_owned).or_else(|| list(value)),
    }
}

fn decimal(integer: &DeInteger<'_>) -> Option<String> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number.to_string())
}

/// The texts of an array, joined with commas. An empty text would vanish, so it is refused.
fn list(value: &DeValue<'_>) -> Option<String> {
    let items = value.as_array()?.iter().map(|item| item.get_ref().as_str());
    let texts: Option<Vec<&str>> = items.collect();
    texts.filter(|texts| texts.iter().all(|text| !text.is_empty())).map(|texts| texts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let Content { given, problems, .. } =
            parse(Path::new("f.toml"), text, &SettingsSchema::new());
        (
            given.into_iter().map(|given| (given.name, given.value)).collect(),
            problems.iter().map(ToString::to_string).collect(),
        )
    }

    fn value_of(text: &str) -> String {
        let (given, problems) = parsed(text);
        assert_eq!(problems, Vec::<String>::new(), "{text}");
        assert_eq!(given.len(), 1, "{text}");
        given[0].1.clone()
    }

    #[test]
    fn values_of_every_shape_are_taken() {
        assert_eq!(value_of("rate_limit = 1_000"), "1000");
        assert_eq!(value_of("rate_limit = 0x10"), "16");
        assert_eq!(value_of("access_log = true"), "true");
        assert_eq!(value_of("keep_alive = 90"), "90s");
        assert_eq!(value_of("keep_alive = '1h'"), "1h");
        assert_eq!(value_of("empty_status = 200"), "200");
        assert_eq!(value_of("workers = 'auto'"), "auto");
        assert_eq!(value_of("workers = 3"), "3");
        assert_eq!(value_of("data_dir = 'C:\\a b'"), "C:\\a b");
    }

    #[test]
    fn a_list_is_an_array_or_a_text_with_commas_and_may_be_empty() {
        let both = "10.0.0.0/8,::1/128";
        assert_eq!(value_of("trusted_proxies = ['10.0.0.0/8', '::1']"), both);
        assert_eq!(value_of("trusted_proxies = '10.0.0.0/8, ::1'"), both);
        assert_eq!(value_of("rate_limit_exempt = []"), "");
        assert_eq!(value_of("rate_limit_exempt = ''"), "");
        let (_, problems) = parsed("rate_limit_exempt = ['']");
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
        let (_, problems) = parsed("# typo below\nlisten = '127.0.0.1:1'\nrate_limt = 5\n");
        assert_eq!(problems, ["f.toml:3: `rate_limt` is no setting, did you mean `rate_limit`?"]);
        let (_, problems) = parsed("\n[[upstrem]]\nurl = 'https://example.org'\n");
        assert_eq!(problems, ["f.toml:2: `upstrem` is no setting, did you mean `[[upstream]]`?"]);
    }

    #[test]
    fn wrong_types_and_values_are_named_with_what_is_expected() {
        for (text, message) in [
            ("rate_limit = '5'", "f.toml:1: rate_limit: expected a whole number, found '5'"),
            ("access_log = 1", "f.toml:1: access_log: expected true or false, found 1"),
            ("\nempty_status = 500", "f.toml:2: empty_status: expected 404 or 200, found 500"),
            ("data_dir = 5", "f.toml:1: data_dir: expected a path, found 5"),
            ("line_bytes_max = {}", "f.toml:1: line_bytes_max: expected a whole number, found {}"),
        ] {
            assert_eq!(parsed(text).1, [message], "{text}");
        }
        let (_, problems) = parsed("rate_limit = -1");
        assert!(
            problems[0].starts_with("f.toml:1: rate_limit: expected a whole number, found -1 ("),
            "{problems:?}"
        );
        let (_, problems) = parsed("trusted_proxies = ['10.0.0.0/8', 'here']");
        assert!(problems[0].contains("`here`: neither"), "{problems:?}");
    }

    #[test]
    fn all_problems_are_reported_in_the_order_of_the_file() {
        let (given, problems) = parsed("zzz = 1\nworkers = 2\nlisten = 'here'\naa = 2\n");
        assert_eq!(given, [("workers".to_owned(), "2".to_owned())]);
        let lines: Vec<_> = problems.iter().map(|problem| &problem[..8]).collect();
        assert_eq!(lines, ["f.toml:1", "f.toml:3", "f.toml:4"]);
    }

    #[test]
    fn what_is_no_toml_is_named_with_its_line() {
        let (given, problems) = parsed("workers = 2\nlisten = \nrate_limit = 1\n");
        assert!(given.is_empty());
        assert!(problems[0].starts_with("f.toml:2: not valid TOML: "), "{problems:?}");
        let (_, problems) = parsed("workers = 2\nworkers = 3\n");
        assert!(problems[0].starts_with("f.toml:2: not valid TOML: duplicate key"), "{problems:?}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem_not_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let schema = SettingsSchema::new();
        let big = folder.path().join("big");
        std::fs::write(&big, vec![b'#'; 2 << 20]).unwrap();
        let binary = folder.path().join("binary");
        std::fs::write(&binary, b"listen = \"\xff\"").unwrap();
        for path in [folder.path().to_owned(), folder.path().join("missing"), big, binary] {
            let Content { given, problems, .. } = read(&path, &schema);
            assert!(given.is_empty());
            assert!(matches!(problems[..], [ConfigProblem::Unreadable { .. }]), "{problems:?}");
        }
    }
}
