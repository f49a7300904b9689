//! The sections in the example file: every key with its meaning and an example, commented out.
//!
//! Invariant: with the `#` before its lines taken away, each section loads.

use super::super::schema::{Setting, SettingsSchema};
use super::super::write::{comment, example_of};
use super::ClientSettings;
use super::section::SectionKind;

/// The sections, as they stand at the end of the example file.
pub(in crate::config) fn example() -> String {
    SectionKind::ALL.into_iter().map(example_of_section).collect()
}

fn example_of_section(kind: SectionKind) -> String {
    let mut text = format!("\n\n# === [[{}]] ===\n#\n", kind.name());
    text.push_str(&comment("# ", documentation(kind)));
    text.push_str(&format!("\n#[[{}]]\n", kind.name()));
    let shared = SettingsSchema::of::<ClientSettings>();
    let is_shared = |key: Setting<'_>| shared.find(key.name()).is_some();
    for key in kind.schema().settings() {
        if kind == SectionKind::Upstream || !is_shared(key) {
            text.push('\n');
            text.push_str(&example_of(key, &example_value(kind, key)));
        }
    }
    if kind != SectionKind::Upstream && kind.schema().settings().any(is_shared) {
        let names: Vec<_> = shared.settings().map(Setting::name).collect();
        let more = format!("Further keys, as in [[upstream]]: {}.", names.join(", "));
        text.push('\n');
        text.push_str(&comment("# ", &more));
    }
    text
}

fn documentation(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Upstream => {
            "A router that is asked for what is not known here, with options of its own; one section \
             for each. Routes can send lookups to it by its name."
        }
        SectionKind::Fanout => {
            "Several upstreams under one name, for routes that send lookups to all of them at once."
        }
        SectionKind::Endpoint => {
            "A metered router, which is never asked more often than it allows. Pools, made through \
             the admin API, are provisioned with such endpoints; none is asked before a pool has it."
        }
        SectionKind::Peer => {
            "Another Fingerpost: both tell each other which part of the key space they answer for. \
             Each has a section about the other, with the same password."
        }
    }
}

/// The default of a key, or what it could be.
fn example_value(kind: SectionKind, key: Setting<'_>) -> String {
    if key.has_default() {
        return key.default_value();
    }
    let value = match (kind, key.name()) {
        (_, "timeout") => "10s",
        (_, "connect_timeout") => "3s",
        (_, "allow_private_addrs") => "false",
        (SectionKind::Upstream, "name") => "east",
        (SectionKind::Upstream, _) => "https://east.example",
        (SectionKind::Fanout, "name") => "everywhere",
        (SectionKind::Fanout, _) => "local,east",
        (SectionKind::Endpoint, "name") => "metered-1",
        (SectionKind::Endpoint, "daily_volume") => "25000",
        (SectionKind::Endpoint, "hourly_rate") => "10000",
        (SectionKind::Endpoint, _) => "https://key:secret@metered.example",
        (SectionKind::Peer, "name") => "west",
        (SectionKind::Peer, "admin_url") => "https://admin.west.example",
        (SectionKind::Peer, "password") => "the same on both sides",
        (SectionKind::Peer, "accept") => "g.providers",
        (SectionKind::Peer, _) => "https://west.example",
    };
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::load_file;
    use super::*;

    /// The sections in force.
    fn uncommented() -> String {
        let lines = example();
        let lines = lines.lines().map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|it: char| it.is_alphabetic() || it == '[') => key,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_section_of_the_example_loads_and_holds_every_key_at_its_default() {
        let loaded = load_file(&uncommented()).unwrap();
        let remotes = &loaded.settings.remotes;
        let counts = [
            remotes.upstreams.len(),
            remotes.fanouts.len(),
            remotes.endpoints.len(),
            remotes.peers.len(),
        ];
        assert_eq!(counts, [1, 1, 1, 1]);
        assert_eq!(loaded.sections().len(), 4);
        let short = load_file("[[upstream]]\nname = 'east'\nurl = 'https://east.example'").unwrap();
        assert_eq!(short.settings.remotes.upstreams, remotes.upstreams);
        assert!(example().lines().all(|line| line.chars().count() <= 100));
    }

    #[test]
    fn the_readme_has_a_table_of_each_section_with_every_key() {
        let readme = include_str!("../../../README.md");
        for kind in SectionKind::ALL {
            let heading = format!("`[[{}]]`", kind.name());
            let table = readme.split(&format!("\n| {heading} |")).nth(1);
            let table = table.unwrap_or_else(|| panic!("README.md lacks a table {heading}"));
            let table: String = table.lines().take_while(|line| !line.is_empty()).collect();
            let shared = SettingsSchema::of::<ClientSettings>();
            for key in kind.schema().settings() {
                let default = match SectionKind::inherited(key.name()) {
                    Some(setting) => format!("`{setting}`"),
                    None if !key.has_default() => "required".to_owned(),
                    None => format!(
                        "`{}`",
                        super::super::super::write::toml_value(key.shape(), &key.default_value())
                    ),
                };
                let row = format!("| `{}` | {default} | ", key.name());
                let is_elsewhere =
                    kind != SectionKind::Upstream && shared.find(key.name()).is_some();
                assert!(is_elsewhere || table.contains(&row), "the table {heading} lacks: {row}");
            }
        }
    }
}
