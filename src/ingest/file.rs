//! Importing a file: what it is, what it is compressed with, and one way through for all kinds.
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
use super::progress::ImportObserver;
use super::summary::ImportSummary;
use super::{Sink, car, ndjson};
use crate::clock::UnixMs;
use crate::config::Settings;
use crate::types::{ProviderRecord, UnparsableAddrs};

use open::Declared;
pub(super) use open::Position;

/// The default of [`ImportOptions::line_bytes_max`]: a line with thousands of usual records.
pub const LINE_BYTES_MAX_DEFAULT: usize = 4 << 20;

/// The default of [`ImportOptions::record_bytes_max`]: a thousand addresses of 64 bytes.
pub const RECORD_BYTES_MAX_DEFAULT: usize = 64 << 10;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportKind {
    /// One JSON object a line.
    Ndjson,
    /// Blocks with their CIDs.
    Car,
}

/// What a file is compressed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// What says what a source holds, for the advice when that is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToldBy {
    /// The ending of its name.
    #[default]
    Name,
    /// The headers of the request whose body it is.
    Headers,
}

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The time now: what expired before it is left out.
    pub now_ms: UnixMs,
    /// The longest line that is read, in bytes without its line end; longer ones are rejected.
    pub line_bytes_max: usize,
    /// The longest record that is taken in, in bytes of its JSON; longer ones are rejected.
    pub record_bytes_max: usize,
    /// What becomes of addresses that do not parse.
    pub unparsable_addrs: UnparsableAddrs,
    /// Whether the first rejection ends the import.
    pub strict: bool,
    /// Whether the blocks of a CAR are checked against their hashes.
    pub verify: bool,
    /// The record that the blocks of a CAR get; without one, importing a CAR is an error.
    pub car_record: Option<ProviderRecord>,
}

/// Something to import.
pub struct ImportSource {
    /// What it is called in messages.
    pub name: Arc<str>,
    /// What it holds.
    pub kind: ImportKind,
    /// What it is compressed with.
    pub compression: Compression,
    /// What says so.
    pub told_by: ToldBy,
    /// How long it is, compressed; `None` where that is unknown.
    pub size_bytes: Option<u64>,
    /// Its bytes.
    pub reader: Box<dyn Read + Send>,
}

impl ImportOptions {
    /// The defaults at a time.
    pub fn new(now_ms: UnixMs) -> Self {
        Self {
            now_ms,
            line_bytes_max: LINE_BYTES_MAX_DEFAULT,
            record_bytes_max: RECORD_BYTES_MAX_DEFAULT,
            unparsable_addrs: UnparsableAddrs::default(),
            strict: false,
            verify: false,
            car_record: None,
        }
    }

    /// What the settings say, at a time.
    pub fn with_settings(settings: &Settings, now_ms: UnixMs) -> Self {
        let unparsable_addrs = if settings.keep_unparsable_addrs {
            UnparsableAddrs::Keep
        } else {
            UnparsableAddrs::Drop
        };
        Self {
            line_bytes_max: settings.line_bytes_max,
            record_bytes_max: settings.record_bytes_max,
            unparsable_addrs,
            ..Self::new(now_ms)
        }
    }
}

impl ImportKind {
    /// What the ending of a path says that the file holds.
    pub fn of_path(path: &Path) -> (Self, Compression) {
        let lower = path.to_string_lossy().to_ascii_lowercase();
        let (stem, compression) = if let Some(stem) = lower.strip_suffix(".gz") {
            (stem, Compression::Gzip)
        } else if let Some(stem) = lower.strip_suffix(".zst") {
            (stem, Compression::Zstd)
        } else {
            (&lower[..], Compression::None)
        };
        let kind = if stem.ends_with(".car") { Self::Car } else { Self::Ndjson };
        (kind, compression)
    }
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
/// An error tells what had been imported before: that stays.
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
    let ImportSource { name, kind, compression, told_by, size_bytes, reader } = source;
    observer.begin(&name, size_bytes);
    let mut import = Import::new(&name, options, sink, observer);
    import.size_bytes = size_bytes;
    let declared = Declared { kind, compression, told_by };
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
