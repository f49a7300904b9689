//! The data directory: created by `serve` and `import`, required to exist by the others, and its
//! stores for commands that work without a server.
//!
//! Only the two commands that fill a data directory create one. For the others a directory without
//! a journal is most likely a typo, and an error.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};

use super::files::say_on_stderr;
use crate::clock::Clock;
use crate::config::Settings;
use crate::data_dir::DataDir;
use crate::server::Stores;

/// Makes the data directory, private to its owner, unless it is there. An existing one is used as
/// it is, and `warn` is called if users beside its owner and group have access.
pub(super) fn create(path: &Path, warn: impl FnOnce(&str)) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| {
        format!("cannot create the data directory {} (setting data_dir)", path.display())
    })?;
    let metadata = fs::metadata(path).with_context(|| cannot_read(path))?;
    if metadata.permissions().mode() & 0o007 != 0 {
        let path = path.display();
        warn(&format!(
            "the data directory {path} is open to all users of this machine: chmod 700 {path}"
        ));
    }
    Ok(())
}

/// An error unless there is a data directory.
pub(super) fn require(path: &Path) -> anyhow::Result<()> {
    if !DataDir::is_at(path).with_context(|| cannot_read(path))? {
        bail!("there is no data directory at {} (setting data_dir)", path.display());
    }
    Ok(())
}

/// Opens the stores of a data directory that is there; an error if a server holds it. Limits of what an
/// index holds do not count: what is counted or written out is all of it.
pub(super) async fn open(settings: &Settings) -> anyhow::Result<Stores> {
    require(&settings.data_dir)?;
    let (index_memory_max, announce_key_network_max) = (u64::MAX, usize::MAX);
    open_stores(&Settings { index_memory_max, announce_key_network_max, ..settings.clone() }).await
}

/// Like [`open`], and makes the data directory if there is none.
pub(super) async fn open_or_create(settings: &Settings) -> anyhow::Result<Stores> {
    create(&settings.data_dir, |warning| say_on_stderr(&format!("warning: {warning}")))?;
    open_stores(settings).await
}

async fn open_stores(settings: &Settings) -> anyhow::Result<Stores> {
    let stores = Stores::open(settings, Clock::System).await?;
    let evicted = stores.report.as_ref().map_or(0, |report| report.evicted_groups);
    if evicted > 0 {
        say_on_stderr(&format!(
            "warning: evicted {evicted} groups that strangers announced: the data directory holds more than \
             index_memory_max"
        ));
    }
    let torn_tail = stores.report.as_ref().and_then(|report| report.journal.torn_tail.as_ref());
    if let Some(tail) = torn_tail {
        say_on_stderr(&format!(
            "cut {} bytes that are half written or damaged at the end of {}: what a crash \
             interrupted, as a rule; {}",
            tail.bytes,
            tail.path.display(),
            tail.kept()
        ));
    }
    Ok(stores)
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read the data directory {} (setting data_dir)", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_data_directory_is_made_private_and_an_open_one_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("above/data");
        let mut warnings = Vec::new();
        for (allowed, warned) in [(0o700, 0), (0o750, 0), (0o755, 1), (0o701, 2)] {
            create(&path, |warning| warnings.push(warning.to_owned())).unwrap();
            if allowed == 0o700 {
                assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
            }
            fs::set_permissions(&path, PermissionsExt::from_mode(allowed)).unwrap();
            create(&path, |warning| warnings.push(warning.to_owned())).unwrap();
            assert_eq!(mode(&path), allowed, "what is there is left as it is");
            assert_eq!(warnings.len(), warned, "{allowed:o}: {warnings:?}");
            fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        }
        assert!(warnings[0].contains("above/data is open to all users"), "{warnings:?}");
    }

    #[test]
    fn only_a_directory_with_a_journal_is_a_data_directory() {
        let folder = tempfile::tempdir().unwrap();
        let missing = |path: &Path| require(path).unwrap_err().to_string();
        let path = folder.path().join("data");
        let expected =
            format!("there is no data directory at {} (setting data_dir)", path.display());
        assert_eq!(missing(&path), expected);
        fs::create_dir(&path).unwrap();
        assert_eq!(missing(&path), expected, "an empty one is a mistyped one");
        fs::write(path.join("journal"), "a file").unwrap();
        assert_eq!(missing(&path), expected);
        assert!(missing(&path.join("journal")).starts_with("there is no data directory at "));
        fs::remove_file(path.join("journal")).unwrap();
        fs::create_dir(path.join("journal")).unwrap();
        require(&path).unwrap();
    }
}
