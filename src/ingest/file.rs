//! Imports a file: detects its kind and compression, then decodes it.
//!
//! | ending | content |
//! |---|---|
//! | `.car` | CAR, version 1 or 2 |
//! | any other, or `-` for standard input | NDJSON |
//! | `.gz`, `.zst` after either | the same, compressed (several members or frames are one file) |
//!
//! The ending decides; where the first bytes contradict it, the import fails before it begins,
//! with an error that says what to do.

mod open;

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::error::ImportFailure;
use super::import::Import;
use super::options::{Compression, ImportKind, ImportOptions};
use super::progress::ImportObserver;
use super::summary::ImportSummary;
use super::{Sink, car, ndjson};
use open::Declared;

/// What determines the kind of a source, for the advice in errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DeclaredBy {
    /// The ending of its name.
    #[default]
    Name,
    /// The headers of the request whose body it is.
    Headers,
}

/// Something to import.
pub struct ImportSource {
    /// Its name in messages.
    pub(crate) name: Arc<str>,
    /// The kind of its content.
    pub(crate) kind: ImportKind,
    /// Its compression.
    pub(crate) compression: Compression,
    /// What determines both.
    pub(crate) declared_by: DeclaredBy,
    /// Its compressed length; `None` if it is unknown.
    pub(crate) size_bytes: Option<u64>,
    /// Its bytes.
    pub(crate) reader: Box<dyn Read + Send>,
}

impl fmt::Debug for ImportSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportSource")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("compression", &self.compression)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

/// Imports a file; the path `-` is standard input. Blocks until all of it is in the store.
///
/// An error has the summary of what was imported before; that stays.
pub fn import_file(
    path: &Path,
    options: &ImportOptions,
    sink: &mut Sink<'_>,
    observer: &mut dyn ImportObserver,
) -> Result<ImportSummary, Box<ImportFailure>> {
    let source = ImportSource::open(path)
        .map_err(|error| Box::new(ImportFailure { error, summary: None }))?;
    import_source(source, options, sink, observer)
}

/// Imports from a source that is already open, like [`import_file`].
pub fn import_source(
    source: ImportSource,
    options: &ImportOptions,
    sink: &mut Sink<'_>,
    observer: &mut dyn ImportObserver,
) -> Result<ImportSummary, Box<ImportFailure>> {
    let ImportSource { name, kind, compression, declared_by, size_bytes, reader } = source;
    observer.begin(&name, size_bytes);
    let mut import = Import::new(&name, options, sink, observer);
    import.size_bytes = size_bytes;
    let declared = Declared { kind, compression, declared_by };
    let result = open::content(&name, declared, reader).and_then(|(content, position)| {
        import.position = position;
        match kind {
            ImportKind::Ndjson => ndjson::import(content, &mut import),
            ImportKind::Car => car::import(content, &mut import),
        }
    });
    let counts = import.into_counts();
    observer.end();
    let summary = ImportSummary { file: name, kind, counts };
    match result {
        Ok(()) => Ok(summary),
        Err(error) => Err(Box::new(ImportFailure { error, summary: Some(summary) })),
    }
}

#[cfg(test)]
mod tests;
