//! The clauses of `specs/*.md` and the tests that prove them.
//!
//! A clause begins with a line `**R-12** text` and ends with a line ``Tests: `name`, `other` ``,
//! which may run on until the next empty line. A name is that of a function marked as a test, with
//! or without its path.

use std::collections::{BTreeMap, BTreeSet};

use crate::Violation;
use crate::source::{SourceFile, is_word};

/// A clause as far as it has been read.
struct Clause {
    line: usize,
    id: String,
    tests: Vec<(usize, String)>,
}

/// The names of all functions under an attribute that is called `test`, as `#[test]` or
/// `#[tokio::test]`, or `rstest`, which makes a test of each case.
pub(crate) fn test_names(sources: &[SourceFile]) -> BTreeSet<String> {
    sources.iter().flat_map(test_names_in).collect()
}

fn test_names_in(source: &SourceFile) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for index in 0..source.tokens.len() {
        let words: Vec<&str> = source.texts_from(index).take(2).collect();
        match words.as_slice() {
            ["#", "["] => {
                let name = attribute_name(source, index + 2);
                is_test |= matches!(name, Some("test" | "rstest"));
            }
            ["fn", name] => {
                if is_test {
                    names.push((*name).to_owned());
                }
                is_test = false;
            }
            _ => {}
        }
    }
    names
}

/// The last word of the path that begins with the token `start`: `test` of `tokio::test`.
fn attribute_name(source: &SourceFile, start: usize) -> Option<&str> {
    let is_path = |word: &&str| *word == "::" || word.chars().all(is_word);
    source.texts_from(start).take_while(is_path).last()
}

/// Every clause without a test, with a test that does not exist, or with an id that is taken; and
/// every file without a clause.
pub(crate) fn unproven_clauses(
    specs: &[(String, String)],
    tests: &BTreeSet<String>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in specs {
        let clauses = clauses_of(text);
        if clauses.is_empty() {
            let advice = "has no clause; begin each with its id, as in `**R-1** text`";
            violations.push(Violation::new(path, 1, advice));
        }
        for clause in &clauses {
            violations.extend(unproven(path, clause, tests));
            let place = format!("{path}:{}", clause.line);
            if let Some(first) = ids.get(&clause.id) {
                let advice = format!("{} stands at {first} already; number it anew", clause.id);
                violations.push(Violation::new(path, clause.line, advice));
            } else {
                ids.insert(clause.id.clone(), place);
            }
        }
    }
    violations
}

fn unproven(path: &str, clause: &Clause, tests: &BTreeSet<String>) -> Vec<Violation> {
    let id = &clause.id;
    if clause.tests.is_empty() {
        let advice = format!("{id} names no test; end it with a line ``Tests: `name` ``");
        return vec![Violation::new(path, clause.line, advice)];
    }
    let is_missing = |name: &str| !name.rsplit("::").next().is_some_and(|it| tests.contains(it));
    let missing = clause.tests.iter().filter(|(_, name)| is_missing(name));
    let advice = |name: &str| format!("{id} names `{name}`, but no test in src/ or tests/ has it");
    missing.map(|(line, name)| Violation::new(path, *line, advice(name))).collect()
}

fn clauses_of(text: &str) -> Vec<Clause> {
    let mut clauses: Vec<Clause> = Vec::new();
    let mut in_tests = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if let Some(id) = clause_id(line) {
            clauses.push(Clause { line: number, id: id.to_owned(), tests: Vec::new() });
            in_tests = false;
        } else if line.trim_start().starts_with("Tests:") {
            in_tests = true;
        } else if line.trim().is_empty() {
            in_tests = false;
        }
        if let (true, Some(clause)) = (in_tests, clauses.last_mut()) {
            // Between backticks stands every second piece.
            let names = line.split('`').skip(1).step_by(2);
            clause.tests.extend(names.map(|name| (number, name.to_owned())));
        }
    }
    clauses
}

/// The id of the clause that begins with this line: `R-12` of `**R-12** text`, in a list or not.
fn clause_id(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("- ").unwrap_or(line);
    let (id, _) = line.strip_prefix("**")?.split_once("**")?;
    let (letters, digits) = id.split_once('-')?;
    let is_id = !letters.is_empty()
        && letters.chars().all(|it| it.is_ascii_uppercase())
        && !digits.is_empty()
        && digits.chars().all(|it| it.is_ascii_digit());
    is_id.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::{test_names, unproven_clauses};
    use crate::source::SourceFile;

    const TESTS: &str = "#[test]\nfn one() {}\n#[tokio::test]\n#[cfg(unix)]\npub async fn two() {}";

    fn violations(spec: &str) -> Vec<String> {
        let tests = test_names(&[SourceFile::new("src/a.rs", TESTS)]);
        let found = unproven_clauses(&[("specs/a.md".to_owned(), spec.to_owned())], &tests);
        found.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn assert_unproven(spec: &str, begin: &str) {
        let found = violations(spec);
        assert!(found.len() == 1 && found.iter().all(|it| it.starts_with(begin)), "{found:?}");
    }

    #[test]
    fn only_functions_marked_as_tests_are_tests() {
        let text = "#[cfg(test)]\nmod tests { fn helper() {} #[test] fn real() {} fn after() {} }";
        let names = test_names(&[SourceFile::new("src/a.rs", text)]);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["real"]);
    }

    #[test]
    fn a_function_with_cases_is_a_test() {
        let text = "#[rstest]\n#[case::a(1)]\nfn cases(#[case] a: u8) {}\n#[fixture] fn other() {}";
        let names = test_names(&[SourceFile::new("src/a.rs", text)]);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["cases"]);
    }

    #[test]
    fn clauses_with_real_tests_pass() {
        let spec = "# Title\n\n**R-1** Text, see R-2.\nMore.\nTests: `one`,\n`it::two`\n\n\
                    - **R-2** `code`\n  Tests: `two`\n";
        assert_eq!(violations(spec), [""; 0]);
    }

    #[test]
    fn a_clause_without_a_test_is_found() {
        assert_unproven(
            "**R-1** Text with `one`.\n\n**R-2** T.\nTests: `one`",
            "specs/a.md:1: R-1",
        );
        assert_unproven("**R-1** Text.\nTests: one", "specs/a.md:1: R-1");
    }

    #[test]
    fn a_test_that_does_not_exist_is_found() {
        assert_unproven("**R-1** Text.\nTests: `one`, `three`", "specs/a.md:2: R-1 names `three`");
    }

    #[test]
    fn an_id_that_is_taken_is_found() {
        let clause = "**R-1** Text.\nTests: `one`\n";
        assert_unproven(&format!("{clause}\n{clause}"), "specs/a.md:4: R-1 stands at specs/a.md:1");
    }

    #[test]
    fn a_spec_without_clauses_is_found() {
        assert_unproven("# Title\n\n**R1** Text.\n", "specs/a.md:1: has no clause");
    }
}
