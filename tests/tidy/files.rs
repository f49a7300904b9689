//! What a file must have and must not have: a doc that says something, a readable length, nothing
//! unfinished, no clock of its own.

use crate::Violation;
use crate::source::SourceFile;

/// Lines of code in a file at most, without comments, blank lines and the test module.
const CODE_LINES_MAX: usize = 500;

/// Fewer words than this name the file again, but do not say what it owns.
const DOC_WORDS_MIN: usize = 8;

/// A file that may ask the system for the time, and why it cannot take the time as a parameter.
pub(crate) struct ClockException {
    pub(crate) path: &'static str,
    pub(crate) reason: &'static str,
}

/// Kept short: each entry is time that a test cannot set.
pub(crate) const CLOCK_EXCEPTIONS: &[ClockException] = &[];

/// The file does not begin with a `//!` doc that says what it owns.
pub(crate) fn missing_doc(path: &str, text: &str) -> Option<Violation> {
    let doc = text.lines().map_while(|line| line.strip_prefix("//!"));
    let words = doc.flat_map(str::split_whitespace).filter(|word| word.len() > 1).count();
    (words < DOC_WORDS_MIN).then(|| {
        let advice = "begin the file with `//!`: what it owns, its invariants, what happens on \
                      failure";
        Violation::new(path, 1, advice)
    })
}

/// The file holds more code than one sitting can read.
pub(crate) fn too_long(source: &SourceFile) -> Option<Violation> {
    let tests = source.test_modules();
    let is_test = |line: usize| tests.iter().any(|(first, last)| (*first..=*last).contains(&line));
    let lines = source.code.lines().enumerate().map(|(index, line)| (index + 1, line));
    let mut lines = lines.filter(|(line, code)| !code.trim().is_empty() && !is_test(*line));
    let (line, _) = lines.nth(CODE_LINES_MAX)?;
    let advice = format!("more than {CODE_LINES_MAX} lines of code; split it by responsibility");
    Some(Violation::new(&source.path, line, advice))
}

/// Every place that says that something is not done, or that a test is not run.
pub(crate) fn unfinished(source: &SourceFile) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, token) in source.tokens.iter().enumerate() {
        let words: Vec<&str> = source.texts_from(index).take(3).collect();
        let advice = match words.as_slice() {
            [name @ ("todo" | "unimplemented"), "!", ..] => format!("write what `{name}!` leaves"),
            ["#", "[", "ignore"] => "run the test or delete it".to_owned(),
            ["#", "[", "cfg_attr"] if attribute(source, index).any(|word| word == "ignore") => {
                "run the test or delete it".to_owned()
            }
            _ => continue,
        };
        violations.push(Violation::new(&source.path, token.line, advice));
    }
    violations
}

/// The words of the attribute whose `#` is the token `start`, up to the first closing bracket.
fn attribute(source: &SourceFile, start: usize) -> impl Iterator<Item = &str> {
    source.texts_from(start).take_while(|word| *word != "]")
}

/// Every place outside `src/clock.rs` that asks the system for the time without being excepted, and
/// every exception that nothing needs.
pub(crate) fn other_clocks(
    sources: &[SourceFile],
    exceptions: &[ClockException],
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| source.path != "src/clock.rs") {
        if !exceptions.iter().any(|exception| exception.path == source.path) {
            violations.extend(clock_readings(source));
        }
    }
    for exception in exceptions {
        let source = sources.iter().find(|source| source.path == exception.path);
        if source.is_none_or(|source| clock_readings(source).is_empty()) {
            let advice = "does not read the clock; take it out of CLOCK_EXCEPTIONS";
            violations.push(Violation::new(exception.path, 1, advice));
        }
        if exception.reason.split_whitespace().count() < 3 {
            let advice = "say in CLOCK_EXCEPTIONS why it cannot take the time as a parameter";
            violations.push(Violation::new(exception.path, 1, advice));
        }
    }
    violations
}

fn clock_readings(source: &SourceFile) -> Vec<Violation> {
    let readings = source.tokens.iter().enumerate().filter(|(index, _)| {
        let words: Vec<&str> = source.texts_from(*index).take(3).collect();
        matches!(words.as_slice(), ["SystemTime" | "Instant", "::", "now"])
    });
    let advice = "take `now` or a `&Clock` as a parameter; only src/clock.rs asks the system";
    readings.map(|(_, token)| Violation::new(&source.path, token.line, advice)).collect()
}

#[cfg(test)]
mod tests {
    use super::{CODE_LINES_MAX, ClockException, missing_doc, other_clocks, too_long, unfinished};
    use crate::source::SourceFile;

    fn lines(text: &str) -> Vec<usize> {
        let source = SourceFile::new("src/sample.rs", text);
        unfinished(&source).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_file_without_a_real_doc_is_found() {
        let good = "//! Owns the slots of the index.\n//!\n//! A full slot is an error.\nuse a;";
        assert_eq!(missing_doc("src/a.rs", good), None);
        let late = format!("use a;\n{good}");
        for text in ["", "//! index", "// Owns the slots of the index, and is full.", &late] {
            assert!(missing_doc("src/a.rs", text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_long_file_is_found_at_its_first_line_too_many() {
        let long = "a();\n\n// why\n".repeat(CODE_LINES_MAX);
        assert_eq!(too_long(&SourceFile::new("src/a.rs", &long)), None);
        let longer = format!("{long}b();\n");
        let found = too_long(&SourceFile::new("src/a.rs", &longer));
        assert_eq!(found.map(|violation| violation.line), Some(3 * CODE_LINES_MAX + 1));
    }

    #[test]
    fn tests_do_not_make_a_file_long() {
        let body = "a();\n".repeat(CODE_LINES_MAX);
        let tested = format!("{body}#[cfg(test)]\nmod tests {{\n{body}}}\n");
        assert_eq!(too_long(&SourceFile::new("src/a.rs", &tested)), None);
        let untested = format!("{body}mod tests {{\n{body}}}\n");
        assert!(too_long(&SourceFile::new("src/a.rs", &untested)).is_some());
    }

    #[test]
    fn unfinished_work_is_found() {
        assert_eq!(lines("fn a() {\n    todo!()\n}"), [2]);
        assert_eq!(lines("unimplemented!(\"b\")"), [1]);
        assert_eq!(lines("#[test]\n#[ignore]\nfn a() {}"), [2]);
        assert_eq!(lines("#[ignore = \"slow\"]\nfn a() {}"), [1]);
        assert_eq!(lines("#[cfg_attr(windows, ignore)]\nfn a() {}"), [1]);
    }

    #[test]
    fn words_that_only_look_unfinished_are_not_found() {
        assert_eq!(lines("// todo!()\nlet todo = \"todo!()\"; a.ignore(todo);"), [0; 0]);
        assert_eq!(lines("#[cfg_attr(windows, inline)]\nfn ignore() {}"), [0; 0]);
    }

    #[test]
    fn a_second_clock_is_found_unless_it_is_excepted() {
        let text = "fn a() {\n    std::time::Instant::now();\n}";
        let sources = [
            SourceFile::new("src/clock.rs", "SystemTime::now()"),
            SourceFile::new("src/api.rs", text),
        ];
        let found = other_clocks(&sources, &[]);
        assert_eq!(
            found
                .iter()
                .map(|it| it.to_string())
                .filter(|it| it.starts_with("src/api.rs:2: "))
                .count(),
            1
        );
        assert_eq!(found.len(), 1);
        let excepted = ClockException { path: "src/api.rs", reason: "measures how long it took" };
        assert_eq!(other_clocks(&sources, &[excepted]), []);
    }

    #[test]
    fn an_exception_must_be_needed_and_explained() {
        let sources = [SourceFile::new("src/api.rs", "Instant::now()")];
        let unexplained = ClockException { path: "src/api.rs", reason: "fast" };
        assert_eq!(other_clocks(&sources, &[unexplained]).len(), 1);
        let stale = ClockException { path: "src/gone.rs", reason: "measures how long it took" };
        assert_eq!(other_clocks(&[], &[stale]).len(), 1);
    }
}
