//! Who may use whom among the modules of `src/`.
//!
//! The table says which modules a module may use by name; all but `types` may use the leaves as well. It
//! holds no cycle. Unit tests are held to the same edges: a test that needs a module to the left
//! belongs in tests/it.

use std::collections::BTreeSet;

use crate::Violation;
use crate::source::{SourceFile, Token};

/// What every module but `types` and the leaves themselves may use.
const LEAVES: &[&str] = &[
    "clock",
    "config",
    "detached",
    "invariant",
    "media",
    "metrics",
    "telemetry",
    "text",
    "body",
    "http_client",
];

/// The modules that put everything together, and may use anything.
const COMPOSING: &[&str] = &["cli", "server"];

/// Each module and what it may use, beside the leaves.
const EDGES: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &[]),
    ("cli", &[]),
    ("server", &[]),
    ("api", &["resolve", "ingest", "types"]),
    ("admin", &["control", "resolve", "dispatch", "ingest", "store", "state", "types"]),
    ("control", &["resolve", "dispatch", "state", "types"]),
    ("upstream", &["resolve", "dispatch", "types"]),
    ("resolve", &["store", "dispatch", "types"]),
    ("ingest", &["store", "types"]),
    ("store", &["index", "journal", "state", "data_dir", "types"]),
    ("state", &["data_dir", "types"]),
    ("index", &["types"]),
    ("journal", &["data_dir", "types"]),
    ("data_dir", &[]),
    ("dispatch", &["types"]),
    ("types", &[]),
    ("telemetry", &["config"]),
    ("config", &["types", "clock", "text"]),
    ("metrics", &["clock", "invariant"]),
    ("http_client", &["body", "media", "text"]),
    ("body", &[]),
    ("clock", &[]),
    ("detached", &[]),
    ("invariant", &[]),
    ("media", &[]),
    ("text", &[]),
];

/// The only modules that may name actix.
const ACTIX_MODULES: &[&str] = &["admin", "api", "server"];

/// Every module that `module` may use; `None` if the table does not know it.
fn allowed(module: &str) -> Option<BTreeSet<&'static str>> {
    let (_, direct) = EDGES.iter().find(|(name, _)| *name == module)?;
    let all = EDGES.iter().map(|(name, _)| *name);
    let has_leaves = module != "types" && !LEAVES.contains(&module);
    Some(match module {
        _ if COMPOSING.contains(&module) => all.filter(|name| *name != "main").collect(),
        _ if has_leaves => direct.iter().chain(LEAVES).copied().collect(),
        _ => direct.iter().copied().collect(),
    })
}

/// Every use of a module that the table does not allow.
pub(crate) fn forbidden_edges(sources: &[SourceFile]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources {
        let module = source.module();
        let Some(allowed) = allowed(module) else {
            let advice = format!(
                "module `{module}` has no place in the layout; put the file where \
                 docs/ARCHITECTURE.md says, or change the map and EDGES in tests/tidy/modules.rs"
            );
            violations.push(Violation::new(&source.path, 1, advice));
            continue;
        };
        for used in used_from_root(source) {
            let name = used.text.as_str();
            if name == module || allowed.contains(name) {
                continue;
            }
            let advice = if EDGES.iter().any(|(known, _)| *known == name) {
                format!("`{module}` must not use `{name}`; move what they share to the right")
            } else {
                format!("`{name}` is not a module of the layout; name the module it lives in")
            };
            violations.push(Violation::new(&source.path, used.line, advice));
        }
    }
    violations
}

/// The first names of all paths that begin at the crate's root: after `crate::`, after as many
/// `super::` as lead there, and after `fingerpost::`, as the binary says.
fn used_from_root(source: &SourceFile) -> Vec<&Token> {
    let mut used = Vec::new();
    // For every open block, whether it is a module.
    let mut blocks: Vec<bool> = Vec::new();
    for (index, token) in source.tokens.iter().enumerate() {
        let before = |distance: usize| {
            let index = index.checked_sub(distance)?;
            source.tokens.get(index).map(|token| token.text.as_str())
        };
        match token.text.as_str() {
            "{" => blocks.push(before(2) == Some("mod")),
            "}" => drop(blocks.pop()),
            "crate" | "fingerpost" => used.extend(names_after(&source.tokens, index + 1)),
            "super" if before(1) != Some("::") || before(2) == Some("self") => {
                let supers = supers_at(source, index);
                let inner = blocks.iter().filter(|block| **block).count();
                if supers == depth(source) + inner {
                    used.extend(names_after(&source.tokens, index + 2 * supers - 1));
                }
            }
            _ => {}
        }
    }
    used
}

/// How many modules deep the file is: 0 for the crate's root, 1 for `src/api.rs`.
pub(crate) fn depth(source: &SourceFile) -> usize {
    if matches!(source.module(), "lib" | "main") {
        return 0;
    }
    let path = source.path.strip_prefix("src/").unwrap_or(&source.path);
    path.split('/').count() - usize::from(path.ends_with("/mod.rs"))
}

/// How many `super` follow each other from the token `start` on.
fn supers_at(source: &SourceFile, start: usize) -> usize {
    let words: Vec<&str> = source.texts_from(start).collect();
    words.chunks(2).take_while(|pair| matches!(pair, ["super", "::"])).count().max(1)
}

/// The name after the `::` at `start`, or the names that begin each path of a group after it.
fn names_after(tokens: &[Token], start: usize) -> Vec<&Token> {
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.text == text);
    if !is(start, "::") {
        return Vec::new();
    }
    if !is(start + 1, "{") {
        return tokens.get(start + 1).into_iter().collect();
    }
    let mut names = Vec::new();
    let mut open = 0_usize;
    let mut begins = true;
    for token in tokens.iter().skip(start + 1) {
        match token.text.as_str() {
            "{" => open += 1,
            "}" => {
                open -= 1;
                if open == 0 {
                    break;
                }
            }
            "," => begins = open == 1,
            "self" => begins = false,
            _ if begins => {
                names.push(token);
                begins = false;
            }
            _ => {}
        }
    }
    names
}

/// Every name of an actix crate outside the modules that speak HTTP.
pub(crate) fn actix_elsewhere(sources: &[SourceFile]) -> Vec<Violation> {
    let elsewhere = sources.iter().filter(|source| !ACTIX_MODULES.contains(&source.module()));
    let violations = elsewhere.flat_map(|source| {
        let named = source.tokens.iter().filter(|token| token.text.starts_with("actix_"));
        named.map(|token| {
            let advice = format!(
                "`{}` is for {} only; pass plain values across the border",
                token.text,
                ACTIX_MODULES.join(", ")
            );
            Violation::new(&source.path, token.line, advice)
        })
    });
    violations.collect()
}

/// Every module of `src/` that the map of the code does not name as `` `name` ``, `name.rs` or
/// `name/`.
pub(crate) fn unnamed_modules(path: &str, map: &str, sources: &[SourceFile]) -> Vec<Violation> {
    let modules: BTreeSet<&str> = sources.iter().map(SourceFile::module).collect();
    let words: BTreeSet<&str> = map
        .split(|character: char| {
            !character.is_alphanumeric() && !matches!(character, '_' | '.' | '/' | '`')
        })
        .collect();
    let is_named = |module: &str| {
        let code = format!("`{module}`");
        let file = format!("{module}.rs");
        let folder = format!("{module}/");
        words.iter().any(|word| {
            let plain = word.trim_matches(['`', '.']);
            let plain = plain.strip_prefix("src/").unwrap_or(plain);
            word.trim_end_matches('.') == code || plain == file || plain.starts_with(&folder)
        })
    };
    let unnamed = modules.into_iter().filter(|module| !is_named(module));
    let advice = |module| format!("the map does not name `{module}`; say what it owns");
    unnamed.map(|module| Violation::new(path, 1, advice(module))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{COMPOSING, EDGES, actix_elsewhere, allowed, forbidden_edges, unnamed_modules};
    use crate::source::SourceFile;

    fn edges(path: &str, text: &str) -> Vec<String> {
        let violations = forbidden_edges(&[SourceFile::new(path, text)]);
        violations.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn assert_forbidden(path: &str, text: &str, line: usize, name: &str) {
        let found = edges(path, text);
        assert_eq!(found.len(), 1, "{found:?}");
        let only = found.join("");
        assert!(only.starts_with(&format!("{path}:{line}: ")), "{only}");
        assert!(only.contains(&format!("`{name}`")), "{only}");
    }

    /// Every module that one may use, and that those may use, and so on.
    fn reached(module: &'static str) -> BTreeSet<&'static str> {
        let mut waiting = vec![module];
        let mut reached = BTreeSet::new();
        while let Some(next) = waiting.pop() {
            let used = allowed(next).unwrap_or_else(|| panic!("`{next}` has no row"));
            // The composing modules may use each other; nobody else may use them.
            let used = used.into_iter().filter(|name| !COMPOSING.contains(name));
            waiting.extend(used.filter(|name| reached.insert(*name)));
        }
        reached
    }

    #[test]
    fn no_module_reaches_itself_or_an_unknown_one() {
        for (module, _) in EDGES {
            assert!(!reached(module).contains(module), "`{module}` reaches itself");
        }
    }

    #[test]
    fn a_module_may_use_what_its_row_names_and_leaves_and_nothing_else() {
        let may = |from: &str, to: &str| allowed(from).unwrap_or_default().contains(to);
        for (from, to) in
            [("main", "cli"), ("server", "api"), ("api", "resolve"), ("index", "clock")]
        {
            assert!(may(from, to), "{from} -> {to}");
            assert!(!may(to, from), "{to} -> {from}");
        }
        for (from, to) in
            [("api", "index"), ("api", "upstream"), ("types", "clock"), ("main", "api")]
        {
            assert!(!may(from, to), "{from} -> {to}");
        }
    }

    #[test]
    fn a_use_backwards_is_found_in_every_form() {
        assert_forbidden("src/types/key.rs", "\nuse crate::store::Store;", 2, "store");
        assert_forbidden("src/types.rs", "use crate::{types::Key, clock::{self}};", 1, "clock");
        assert_forbidden("src/store.rs", "fn a() { crate::api::run() }", 1, "api");
        assert_forbidden("src/store.rs", "use super::api;", 1, "api");
        assert_forbidden("src/store.rs", "use super::{index, api};", 1, "api");
        assert_forbidden("src/store/memory.rs", "use super::super::api;", 1, "api");
        assert_forbidden("src/store/memory.rs", "use self::super::super::api;", 1, "api");
        assert_forbidden("src/store.rs", "mod tests { use super::super::api; }", 1, "api");
        assert_forbidden("src/main.rs", "use fingerpost::nothing;", 1, "nothing");
        assert_forbidden("src/index.rs", "use crate::*;", 1, "*");
        assert_forbidden("src/index.rs", "use crate::Reexported;", 1, "Reexported");
        assert_forbidden("src/lib.rs", "pub use crate::server::Server;", 1, "server");
    }

    #[test]
    fn what_the_design_allows_is_not_found() {
        assert_eq!(edges("src/api/error.rs", "use crate::{api::a, types::{b, c}};"), [""; 0]);
        assert_eq!(edges("src/api/error.rs", "use super::store; pub(crate) fn a() {}"), [""; 0]);
        assert_eq!(edges("src/api.rs", "mod tests { use super::*; use super::cli; }"), [""; 0]);
        assert_eq!(edges("src/types.rs", "// crate::store\nlet a = \"crate::store\";"), [""; 0]);
        assert_eq!(edges("src/main.rs", "use fingerpost::cli;"), [""; 0]);
        assert_eq!(edges("src/clock.rs", "fn a() { if b {} mod c { fn d() {} } }"), [""; 0]);
    }

    #[test]
    fn a_module_outside_the_map_is_found() {
        assert_forbidden("src/utilities/text.rs", "", 1, "utilities");
    }

    #[test]
    fn actix_outside_http_is_found() {
        let text = "//! actix_web\nuse actix_web::web;";
        let found = actix_elsewhere(&[SourceFile::new("src/store/memory.rs", text)]);
        assert_eq!(found.iter().map(|it| it.line).collect::<Vec<_>>(), [2]);
        assert_eq!(actix_elsewhere(&[SourceFile::new("src/api/error.rs", text)]), []);
    }

    #[test]
    fn a_module_that_the_map_forgets_is_found() {
        let sources = ["src/api.rs", "src/index/shard.rs", "src/store.rs", "src/main.rs"];
        let sources = sources.map(|path| SourceFile::new(path, ""));
        let map = "The api is src/main.rs. `store`, then index/shard.rs; subapi/x";
        let found = unnamed_modules("docs/map.md", map, &sources);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found.iter().all(|it| it.advice.contains("`api`")), "{found:?}");
    }
}
