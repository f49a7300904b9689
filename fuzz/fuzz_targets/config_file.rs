//! Any text as a file of settings, and any values of the keys of its sections: no panic; it loads, or
//! every problem says something; what loads is written so that it loads again as the same, secrets aside;
//! and no password is shown.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use fingerpost::config::load_text;
use libfuzzer_sys::fuzz_target;

/// A password that stands nowhere else.
const PASSWORD: &str = "correct-horse-battery";

/// The keys that a section must have, with values that are in order.
type Required = &'static [(&'static str, &'static str)];

const KINDS: [(&str, Required); 4] = [
    ("upstream", &[("name", "'a'"), ("url", "'http://a'")]),
    ("fanout", &[("name", "'b'"), ("accounts", "['local']")]),
    (
        "endpoint",
        &[("name", "'e'"), ("url", "'http://e'"), ("daily_volume", "1"), ("hourly_rate", "1")],
    ),
    (
        "peer",
        &[
            ("name", "'p'"),
            ("url", "'http://p'"),
            ("admin_url", "'http://p'"),
            ("accept", "['g']"),
            ("password", "'correct-horse-battery'"),
        ],
    ),
];

const KEYS: [&str; 20] = [
    "name",
    "url",
    "timeout",
    "connect_timeout",
    "concurrency",
    "records_max",
    "body_bytes_max",
    "allow_private_addrs",
    "providers",
    "peers",
    "ipns",
    "default",
    "fallback",
    "accounts",
    "daily_volume",
    "hourly_rate",
    "route",
    "admin_url",
    "user",
    "accept",
];

fuzz_target!(|text: &str| {
    // One text for each input: loading is slow where the schema checks itself.
    let kind = text.bytes().next().and_then(|byte| KINDS.get(usize::from(byte % 8)));
    match kind {
        Some(kind) => check(&section(*kind, text.get(1..).unwrap_or_default())),
        None => check(text),
    }
});

/// A section with keys of any value: the first letter of a line says which key, and whether its value is
/// quoted.
fn section((name, required): (&str, Required), lines: &str) -> String {
    let mut keys: BTreeMap<&str, String> = BTreeMap::new();
    keys.extend(required.iter().map(|(key, value)| (*key, (*value).to_owned())));
    for line in lines.lines() {
        let Some((letter, value)) = line.split_at_checked(1) else { continue };
        let letter = letter.as_bytes()[0];
        let key = KEYS[usize::from(letter % 32) % KEYS.len()];
        let is_quoted = letter & 32 == 0;
        let value = if is_quoted { format!("'{value}'") } else { value.to_owned() };
        keys.insert(key, value);
    }
    let keys = keys.iter().map(|(key, value)| format!("{key} = {value}\n"));
    format!("[[{name}]]\n{}", keys.collect::<String>())
}

fn check(text: &str) {
    let path = Path::new("fuzz.toml");
    let loaded = match load_text(path, text) {
        Ok(loaded) => loaded,
        Err(error) => {
            assert!(!error.problems.is_empty());
            assert!(error.problems.iter().all(|problem| !problem.to_string().is_empty()));
            return;
        }
    };
    let written = loaded.to_toml();
    let is_shown_elsewhere = text.matches(PASSWORD).count() > 1;
    assert!(is_shown_elsewhere || !written.contains(PASSWORD), "{written}");
    let sections = loaded.sections().iter().flat_map(|section| &section.keys);
    let is_whole =
        loaded.effective().iter().chain(sections).all(|it| it.value.is_some() && !it.is_cut);
    if is_whole {
        let again = load_text(path, &written);
        let again = again.unwrap_or_else(|error| panic!("{error}\n{written}"));
        assert_eq!(again.settings, loaded.settings, "{written}");
    }
}
