//! Options of an import, and the kinds of files.

use std::path::Path;

use crate::clock::UnixMs;
use crate::config::Settings;
use crate::types::{ProviderRecord, UnparsableAddrs};

/// The default of [`ImportOptions::line_bytes_max`]: a line with thousands of usual records.
pub(crate) const LINE_BYTES_MAX_DEFAULT: usize = 4 << 20;

/// The default of [`ImportOptions::record_bytes_max`]: a thousand addresses of 64 bytes.
pub(crate) const RECORD_BYTES_MAX_DEFAULT: usize = 64 << 10;

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImportKind {
    /// One JSON object a line.
    Ndjson,
    /// Blocks with their CIDs.
    Car,
}

/// The compression of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Nothing.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The time now: expired entries are skipped.
    pub(crate) now_ms: UnixMs,
    /// The longest line that is read, in bytes without its line end; longer ones are rejected.
    pub line_bytes_max: usize,
    /// The longest record that is taken in, in bytes of its JSON; longer ones are rejected.
    pub record_bytes_max: usize,
    /// What to do with addresses that do not parse.
    pub(crate) unparsable_addrs: UnparsableAddrs,
    /// Whether the first rejection ends the import.
    pub(crate) strict: bool,
    /// Whether the blocks of a CAR are checked against their hashes.
    pub verify: bool,
    /// The record of the blocks of a CAR; without one, importing a CAR is an error.
    pub car_record: Option<ProviderRecord>,
}

impl ImportOptions {
    /// The defaults, with this time.
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

    /// The options of the settings, with this time.
    pub(crate) fn with_settings(settings: &Settings, now_ms: UnixMs) -> Self {
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
    /// The kind and compression by the file name's extension.
    pub(crate) fn of_path(path: &Path) -> (Self, Compression) {
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
