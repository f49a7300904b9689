//! The password of the admin API: out of the settings, out of a file that they name, or out of one in
//! the data directory that is made at the first start.
//!
//! Invariants: the file is readable by its owner alone from the moment it has a name, and it has a
//! name only when it is whole; the password itself is never logged. Passwords are compared as
//! hashes, in constant time, so that neither content nor length shows in how long that takes. A
//! file that cannot be read or made, or holds nothing, is an error: the server does not start open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use multibase::Base;
use thiserror::Error;

use crate::config::Settings;

/// The only user of the admin API.
pub(crate) const ADMIN_USER: &str = "admin";

/// The file's name in the data directory.
const FILE: &str = "admin-password";

/// Random bytes of a password that is made: 192 bits, 32 characters of base64url.
const RANDOM_BYTES: usize = 24;

/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 4_096;

/// The hash that credentials are compared with.
pub(crate) struct AdminPassword {
    credentials_hash: blake3::Hash,
}

/// Why there is no password.
#[derive(Debug, Error)]
pub enum PasswordError {
    /// The file cannot be read.
    #[error("cannot read the password of the admin API in {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds no password.
    #[error("{} holds no password: remove it to have one made, or set admin_password", .0.display())]
    Empty(PathBuf),
    /// The file that the settings name holds no password.
    #[error("{} (admin_password_file) holds no password in its first line", .0.display())]
    NamedEmpty(PathBuf),
    /// The file cannot be made.
    #[error("cannot keep a password of the admin API in {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl AdminPassword {
    /// This password.
    pub(crate) fn new(password: &str) -> Self {
        let credentials = format!("{ADMIN_USER}:{password}");
        Self { credentials_hash: blake3::hash(credentials.as_bytes()) }
    }

    /// The password that the settings give, or that the data directory has. Makes one if neither
    /// does; the data directory must exist.
    pub(crate) fn load_or_make(settings: &Settings) -> Result<Self, PasswordError> {
        if let Some(password) = stored_password(settings)? {
            return Ok(Self::new(&password));
        }
        let path = settings.data_dir.join(FILE);
        let password = Base::Base64Url.encode(rand::random::<[u8; RANDOM_BYTES]>());
        write_new(&path, &password)
            .map_err(|source| PasswordError::Write { path: path.clone(), source })?;
        tracing::info!(file = %path.display(), "made a password for the admin API");
        Ok(Self::new(&password))
    }

    /// Whether `user:password` is correct.
    pub(super) fn accepts(&self, credentials: &[u8]) -> bool {
        // blake3 compares its hashes in constant time.
        blake3::hash(credentials) == self.credentials_hash
    }
}

/// The password that the settings give, or that the data directory has; `None` if neither does.
pub(crate) fn stored_password(settings: &Settings) -> Result<Option<String>, PasswordError> {
    if let Some(password) = settings.admin_password.reveal() {
        return Ok(Some(password.to_owned()));
    }
    let named = &settings.admin_password_file;
    if *named != PathBuf::new() {
        return read_named(named).map(Some);
    }
    let path = settings.data_dir.join(FILE);
    match read(&path) {
        Ok(text) if text.trim().is_empty() => Err(PasswordError::Empty(path)),
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PasswordError::Read { path, source }),
    }
}

/// A file that the settings name is there and holds a password; none is made there.
fn read_named(path: &Path) -> Result<String, PasswordError> {
    let text =
        read(path).map_err(|source| PasswordError::Read { path: path.to_owned(), source })?;
    match text.lines().next().map(str::trim) {
        None | Some("") => Err(PasswordError::NamedEmpty(path.to_owned())),
        Some(password) => Ok(password.to_owned()),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        let file = path.display();
        tracing::warn!(%file, "the password of the admin API can be read by others: chmod 600 it");
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes beside the file and renames, so that a crash leaves no file without a password.
fn write_new(path: &Path, password: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    // A crash may have left it.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    writeln!(file, "{password}")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> Settings {
        Settings { data_dir: folder.to_owned(), ..Settings::default() }
    }

    #[test]
    fn a_password_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        assert_eq!(stored_password(&settings).unwrap(), None);
        let made = AdminPassword::load_or_make(&settings).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let password = stored_password(&settings).unwrap().unwrap();
        assert_eq!(password.len(), 32);
        assert!(password.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert!(made.accepts(format!("admin:{password}").as_bytes()));
        let again = AdminPassword::load_or_make(&settings).unwrap();
        assert!(again.accepts(format!("admin:{password}").as_bytes()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_setting_wins_and_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let admin_password = "pass:word".parse().unwrap();
        let settings = Settings { admin_password, ..settings(folder.path()) };
        let password = AdminPassword::load_or_make(&settings).unwrap();
        assert!(password.accepts(b"admin:pass:word"));
        for wrong in ["admin:pass:wor", "admin:pass:word ", "Admin:pass:word", "pass:word", ""] {
            assert!(!password.accepts(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_the_settings_name_is_read_and_never_made() {
        let folder = tempfile::tempdir().unwrap();
        let admin_password_file = folder.path().join("secret");
        let settings = Settings { admin_password_file, ..settings(folder.path()) };
        let load = || AdminPassword::load_or_make(&settings);
        assert!(matches!(load(), Err(PasswordError::Read { .. })));
        for (content, password) in
            [("pass:word\n", "pass:word"), (" two words \nmore", "two words")]
        {
            fs::write(&settings.admin_password_file, content).unwrap();
            assert!(load().unwrap().accepts(format!("admin:{password}").as_bytes()), "{content}");
        }
        for content in ["", "\nsecond line"] {
            fs::write(&settings.admin_password_file, content).unwrap();
            assert!(matches!(load(), Err(PasswordError::NamedEmpty(_))), "{content}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_without_a_password_does_not_open_the_door() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        fs::write(folder.path().join(FILE), " \n").unwrap();
        assert!(matches!(AdminPassword::load_or_make(&settings), Err(PasswordError::Empty(_))));
        fs::write(folder.path().join(FILE), b"\xff").unwrap();
        assert!(matches!(AdminPassword::load_or_make(&settings), Err(PasswordError::Read { .. })));
        let nowhere = Settings { data_dir: folder.path().join("no/where"), ..settings };
        assert!(matches!(AdminPassword::load_or_make(&nowhere), Err(PasswordError::Write { .. })));
    }
}
