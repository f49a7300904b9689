//! What a database lies on: a path of the data directory, or, in tests, what a disk may become.
//!
//! Invariant: a database that is made is there whole or not at all.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, Error as RedbError};

use super::overlay::Overlay;

/// What the database lies on.
pub(crate) trait Medium: Send + Sync + 'static {
    /// Opens the database, and makes it if it is not there.
    fn open(&self) -> Result<Database, RedbError>;

    /// Opens the database without writing to what it lies on.
    fn open_overlay(&self) -> Result<Database, RedbError>;

    /// Its size in bytes.
    fn length(&self) -> u64;
}

/// The database at a path.
pub(crate) struct DiskMedium {
    pub(crate) path: PathBuf,
    /// Memory for pages of the file, in bytes: redb's own default is a gibibyte.
    pub(crate) cache_bytes: usize,
}

impl Medium for DiskMedium {
    fn open(&self) -> Result<Database, RedbError> {
        // A disk that cannot say whether it is there must not get an empty one in its place.
        if !self.path.try_exists()? {
            create_atomically(&self.path)?;
        }
        Ok(Database::builder().set_cache_size(self.cache_bytes).open(&self.path)?)
    }

    fn open_overlay(&self) -> Result<Database, RedbError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            // The disk had no room for it yet: there is nothing in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Database::builder().create_with_backend(InMemoryBackend::new())?);
            }
            Err(error) => return Err(error.into()),
        };
        if file.metadata()?.len() == 0 {
            // It would be made a new database: a file that lost its content is not one without any.
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty").into());
        }
        let overlay = Overlay::new(FileBackend::new(file)?)?;
        Ok(Database::builder().set_cache_size(self.cache_bytes).create_with_backend(overlay)?)
    }

    fn length(&self) -> u64 {
        self.path.metadata().map_or(0, |metadata| metadata.len())
    }
}

/// Makes an empty database under another name first, so that a crash leaves a whole one or none.
fn create_atomically(path: &Path) -> Result<(), RedbError> {
    let new = path.with_extension("redb.new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    drop(Database::create(&new)?);
    std::fs::rename(&new, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_which_the_disk_cannot_say_whether_it_is_there_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        // A link to itself cannot be followed.
        let path = folder.path().join("control.redb");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let medium = DiskMedium { path: path.clone(), cache_bytes: 1 << 20 };
        assert!(matches!(medium.open(), Err(RedbError::Io(_))));
        assert!(path.is_symlink());
    }
}
