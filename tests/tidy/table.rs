//! Prints figures of the source tree: how long files and functions are, what is public, how often the
//! code asserts, which names are used more than once, how many files the ways in docs/ARCHITECTURE.md cross.
//!
//! `cargo run --example tree-table`. It measures and forbids nothing; the rules are in tests/tidy.rs.

#[path = "source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use source::{SourceFile, Token};

/// Statuses that are no errors.
const GOOD_STATUSES: [&str; 7] = [
    "OK",
    "CREATED",
    "ACCEPTED",
    "NO_CONTENT",
    "PARTIAL_CONTENT",
    "NOT_MODIFIED",
    "SWITCHING_PROTOCOLS",
];

/// What stands for an assertion, before its `!`.
const ASSERTIONS: [&str; 6] =
    ["assert", "assert_eq", "assert_ne", "debug_assert", "debug_assert_eq", "debug_assert_ne"];

/// The modules whose assertions are counted.
const ASSERTING: [&str; 3] = ["index", "journal", "dispatch"];

/// A source file without its tests.
struct Product {
    module: String,
    path: String,
    code_lines: usize,
    tokens: Vec<Token>,
}

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources(root, "src")?;
    let product: Vec<Product> =
        sources.iter().filter(|it| !is_test(&it.path)).map(product).collect();
    let lines: usize = product.iter().map(|file| file.code_lines).sum();
    let mut out = io::stdout().lock();
    writeln!(out, "| point | figure |\n|---|---|")?;
    let mut row = |name: &str, figure: String| writeln!(out, "| {name} | {figure} |");
    row("code lines, without comments and tests", lines.to_string())?;
    let files = product.iter().map(|file| file.code_lines).collect();
    row("file code lines p50/p90/max", quantiles(files))?;
    let small = product.iter().filter(|file| file.code_lines < 40).count();
    row("files; of under 40 lines", format!("{}; {small}", product.len()))?;
    let functions: Vec<usize> = product.iter().flat_map(|file| functions(&file.tokens)).collect();
    let long = functions.iter().filter(|length| **length > 70).count();
    row("function lines p50/p90/max; over 70", format!("{}; {long}", quantiles(functions)))?;
    let (open, restricted) = visibilities(&product);
    row("pub : restricted", format!("{open} : {restricted}"))?;
    let expects = count(&product, |words| matches!(words, [".", "expect", "(", ..]));
    row("expect per 1,000 lines", per_thousand(expects, lines))?;
    for module in ASSERTING {
        let of_module = |file: &&Product| file.module == module;
        let lines = product.iter().filter(of_module).map(|file| file.code_lines).sum();
        let asserts = product.iter().filter(of_module).map(asserts).sum();
        row(&format!("asserts per 1,000 lines, {module}"), per_thousand(asserts, lines))?;
    }
    for api in ["api", "admin"] {
        let naming = product.iter().filter(|file| file.module == api && names_an_error(file));
        let naming: Vec<&str> = naming.map(|file| file.path.as_str()).collect();
        row(&format!("files naming error statuses, {api}"), listed(&naming))?;
    }
    let twice = names_used_twice(&product);
    row("type names used twice or more", format!("{}: {}", twice.len(), twice.join(", ")))?;
    let architecture = fs::read_to_string(root.join("docs/ARCHITECTURE.md"))?;
    for section in architecture.split("\n## ").filter(|it| it.starts_with("The way of")) {
        let (title, text) = section.split_once('\n').unwrap_or((section, ""));
        row(&format!("files that \"{title}\" crosses"), files_named(text).len().to_string())?;
    }
    let tests = self::sources(root, "tests")?;
    let sleeping: Vec<String> = sources.iter().chain(&tests).flat_map(sleeping_tests).collect();
    row("tests that sleep in real time, outside of a loop", listed(&sleeping))
}

/// All Rust files below a folder.
fn sources(root: &Path, folder: &str) -> io::Result<Vec<SourceFile>> {
    let mut folders: Vec<PathBuf> = vec![root.join(folder)];
    let mut found = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                found.insert(name, fs::read_to_string(&path)?);
            }
        }
    }
    Ok(found.iter().map(|(path, text)| SourceFile::new(path, text)).collect())
}

/// Whether a file of `src` is built for tests only.
fn is_test(path: &str) -> bool {
    let parts = path.trim_end_matches(".rs").split('/');
    parts.into_iter().any(|part| matches!(part, "tests" | "testing") || part.starts_with("test_"))
}

fn product(source: &SourceFile) -> Product {
    let tests = source.test_modules();
    let is_test = |line: usize| tests.iter().any(|(first, last)| (*first..=*last).contains(&line));
    let lines = source.code.lines().enumerate();
    let code_lines = lines.filter(|(at, line)| !line.trim().is_empty() && !is_test(at + 1)).count();
    let tokens = source.tokens.iter().filter(|token| !is_test(token.line)).cloned().collect();
    Product { module: source.module().to_owned(), path: source.path.clone(), code_lines, tokens }
}

/// Lines of each function, from its `fn` to the end of its body.
fn functions(tokens: &[Token]) -> Vec<usize> {
    let starts = (0..tokens.len()).filter(|at| text(tokens, *at) == "fn");
    let length = |start| Some(1 + body(tokens, start)?.line - tokens.get(start)?.line);
    starts.filter_map(length).collect()
}

/// The token that ends the body of the function or block that begins at `start`.
fn body(tokens: &[Token], start: usize) -> Option<&Token> {
    let mut open = 0_usize;
    for token in tokens.get(start..)? {
        match token.text.as_str() {
            ";" if open == 0 => return None,
            "{" | "(" | "[" => open += 1,
            "}" | ")" | "]" => {
                open = open.checked_sub(1)?;
                if open == 0 && token.text == "}" {
                    return Some(token);
                }
            }
            _ => {}
        }
    }
    None
}

fn visibilities(product: &[Product]) -> (usize, usize) {
    let restricted = count(product, |words| matches!(words, ["pub", "(", ..]));
    (count(product, |words| matches!(words, ["pub", ..])) - restricted, restricted)
}

fn count(product: &[Product], matches: impl Fn(&[&str]) -> bool) -> usize {
    product.iter().map(|file| count_in(&file.tokens, &matches)).sum()
}

fn count_in(tokens: &[Token], matches: impl Fn(&[&str]) -> bool) -> usize {
    let words: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
    (0..words.len()).filter(|at| words.get(*at..).is_some_and(&matches)).count()
}

fn asserts(file: &Product) -> usize {
    count_in(&file.tokens, |words| match words {
        [name, "!", ..] => ASSERTIONS.contains(name),
        ["invariant", "::", ..] => true,
        _ => false,
    })
}

fn names_an_error(file: &Product) -> bool {
    let is_error = |name: &str| {
        name.chars().all(|it| it.is_ascii_uppercase() || it == '_')
            && !GOOD_STATUSES.contains(&name)
    };
    count_in(
        &file.tokens,
        |words| matches!(words, ["StatusCode", "::", name, ..] if is_error(name)),
    ) > 0
}

fn names_used_twice(product: &[Product]) -> Vec<String> {
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for file in product {
        for (at, token) in file.tokens.iter().enumerate() {
            let is_item = matches!(token.text.as_str(), "struct" | "enum" | "trait" | "type");
            // An associated type has no name of its own.
            let name = text(&file.tokens, at + 1);
            let is_associated = token.text == "type" && !is_top_level(&file.tokens, at);
            if is_item && !is_associated && name.starts_with(|it: char| it.is_ascii_uppercase()) {
                *uses.entry(name).or_default() += 1;
            }
        }
    }
    uses.into_iter()
        .filter(|(_, uses)| *uses > 1)
        .map(|(name, uses)| format!("{name} {uses}"))
        .collect()
}

fn is_top_level(tokens: &[Token], at: usize) -> bool {
    let before = tokens.iter().take(at).map(|token| token.text.as_str());
    before.filter(|it| *it == "{").count()
        == tokens.iter().take(at).filter(|it| it.text == "}").count()
}

/// The files that the steps of a way, its numbered lines, name in backticks.
fn files_named(text: &str) -> BTreeSet<&str> {
    let steps = text.lines().filter(|line| line.starts_with(|it: char| it.is_ascii_digit()));
    let quoted = steps.flat_map(|step| step.split('`').skip(1).step_by(2));
    quoted.filter(|name| name.ends_with(".rs") && !name.contains(' ')).collect()
}

/// Tests that wait for real time to pass; those that ask again and again are none.
fn sleeping_tests(source: &SourceFile) -> Vec<String> {
    let tokens = &source.tokens;
    let mut found = Vec::new();
    // For every open block, whether it repeats.
    let mut blocks: Vec<bool> = Vec::new();
    let (mut repeats, mut is_paused, mut is_test, mut name) = (false, false, false, "");
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "test" if text(tokens, at.wrapping_sub(1)) != "cfg" => {
                (is_test, is_paused) = (true, false)
            }
            "start_paused" => is_paused = true,
            "fn" => name = text(tokens, at + 1),
            "while" | "loop" | "for" => repeats = true,
            ";" => repeats = false,
            "{" => {
                blocks.push(repeats);
                repeats = false;
            }
            "}" => {
                blocks.pop();
                is_test &= blocks.len() > 1 || !blocks.is_empty();
            }
            "sleep"
                if text(tokens, at + 1) == "("
                    && is_test
                    && !is_paused
                    && !blocks.contains(&true) =>
            {
                found.push(format!("{}:{} {name}", source.path, token.line));
            }
            _ => {}
        }
    }
    found
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| token.text.as_str())
}

fn quantiles(mut values: Vec<usize>) -> String {
    values.sort_unstable();
    let at = |part: f64| values.get((values.len() as f64 * part) as usize).copied().unwrap_or(0);
    format!("{}/{}/{}", at(0.5), at(0.9), values.last().copied().unwrap_or(0))
}

fn per_thousand(count: usize, lines: usize) -> String {
    format!("{:.2} ({count})", count as f64 * 1_000.0 / lines.max(1) as f64)
}

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    format!("{}{}{}", names.len(), if names.is_empty() { "" } else { ": " }, names.join(", "))
}
