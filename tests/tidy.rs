//! Holds the layout that DESIGN.md and docs/ARCHITECTURE.md promise: who may use whom, how long and
//! how documented files are, which words code must not contain, and that specs name real tests.
//!
//! The rules are pure functions from text to violations, and live with samples that break them in
//! tests/tidy/. This file reads the repository and hands it over. Only text is read, so a rule sees
//! what a macro says and not what it expands to.

#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/specs.rs"]
mod specs;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use source::SourceFile;

/// A place that breaks a rule, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Relative to the repository, with forward slashes.
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) advice: String,
}

impl Violation {
    pub(crate) fn new(path: &str, line: usize, advice: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, advice: advice.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.advice)
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` with this extension, by path and text, sorted; none if it is missing.
fn texts(folder: &str, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder that could be opened can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push((relative(&path), read(&path)));
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    let path = path.strip_prefix(repository()).expect("the walk begins at the repository");
    path.to_str().expect("file names are UTF-8").replace('\\', "/")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(folders: &[&str]) -> Vec<SourceFile> {
    let texts = folders.iter().flat_map(|folder| texts(folder, "rs"));
    texts.map(|(path, text)| SourceFile::new(&path, &text)).collect()
}

#[track_caller]
fn assert_tidy(violations: &[Violation]) {
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} to mend:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn modules_use_only_what_the_design_lets_them_use() {
    let sources = sources(&["src"]);
    assert!(!sources.is_empty(), "src/ holds the program");
    assert_tidy(&modules::forbidden_edges(&sources));
}

#[test]
fn only_the_http_modules_name_actix() {
    assert_tidy(&modules::actix_elsewhere(&sources(&["src"])));
}

#[test]
fn every_source_file_says_what_it_owns() {
    let texts = texts("src", "rs");
    let violations = texts.iter().filter_map(|(path, text)| files::missing_doc(path, text));
    assert_tidy(&violations.collect::<Vec<_>>());
}

#[test]
fn source_files_are_short_enough_to_read() {
    let sources = sources(&["src"]);
    let violations = sources.iter().filter_map(files::too_long);
    assert_tidy(&violations.collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_undone_or_untested() {
    let sources = sources(&["src", "tests", "benches", "examples", "fuzz/fuzz_targets"]);
    let violations = sources.iter().flat_map(files::unfinished);
    assert_tidy(&violations.collect::<Vec<_>>());
}

#[test]
fn only_the_clock_asks_the_system_for_the_time() {
    let sources = sources(&["src"]);
    assert_tidy(&files::other_clocks(&sources, files::CLOCK_EXCEPTIONS));
}

#[test]
fn the_architecture_names_every_module() {
    let path = "docs/ARCHITECTURE.md";
    let text = fs::read_to_string(repository().join(path)).unwrap_or_else(|error| {
        panic!("{path}: {error}; write the map of the code, it names every module of src/")
    });
    assert_tidy(&modules::unnamed_modules(path, &text, &sources(&["src"])));
}

#[test]
fn every_clause_of_the_specs_names_tests_that_exist() {
    let texts = texts("specs", "md");
    assert!(
        !texts.is_empty(),
        "specs/ holds no .md file; write down what is implemented, in clauses"
    );
    let tests = specs::test_names(&sources(&["src", "tests"]));
    assert_tidy(&specs::unproven_clauses(&texts, &tests));
}
