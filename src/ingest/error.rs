//! Errors that stop an import; bad entries are rejections and do not.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::summary::{ImportSummary, Rejection};
use crate::store::StoreError;

/// Why an import stopped before the end of its file.
#[derive(Debug, Error)]
pub(crate) enum ImportError {
    /// The file cannot be opened.
    #[error("cannot open {file}")]
    Open {
        /// The file's name.
        file: Arc<str>,
        /// Why.
        source: io::Error,
    },
    /// Reading the file failed, or its compression is corrupt.
    #[error("cannot read {file} beyond byte {offset} of its content")]
    Read {
        /// The file's name.
        file: Arc<str>,
        /// The offset of the failure, in bytes of uncompressed content.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The content contradicts the file's name or first bytes.
    #[error("{file}: {reason}")]
    Format {
        /// The file's name.
        file: Arc<str>,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The file ends too early. What was whole before the cut is imported.
    #[error("{file}: cut short at byte {offset} of its content, inside {inside}")]
    Truncated {
        /// The file's name.
        file: Arc<str>,
        /// Where it ends, in bytes of uncompressed content.
        offset: u64,
        /// What is not whole.
        inside: String,
    },
    /// The provider of the blocks of a CAR is missing in the options.
    #[error("{file}: a CAR file needs a record for its blocks")]
    NoCarRecord {
        /// The file's name.
        file: Arc<str>,
    },
    /// An entry was rejected, and the import is strict. Entries before it are imported.
    #[error("{rejection} (strict: stopped here)")]
    Strict {
        /// The entry.
        rejection: Rejection,
    },
    /// The store refused a batch.
    #[error("{file}: the import stopped")]
    Store {
        /// The file's name.
        file: Arc<str>,
        /// Why.
        source: StoreError,
    },
}

/// An import that stopped, with its summary until then. Its text is that of the error.
#[derive(Debug)]
pub struct ImportFailure {
    /// Why it stopped.
    pub(crate) error: ImportError,
    /// The summary until then; `None` if it stopped before reading.
    pub(crate) summary: Option<ImportSummary>,
}

impl ImportError {
    /// Classifies an error of reading content.
    pub(super) fn read(file: &Arc<str>, offset: u64, inside: &str, source: io::Error) -> Self {
        let file = Arc::clone(file);
        // Decompressors report a truncated input so.
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Truncated { file, offset, inside: inside.to_owned() };
        }
        Self::Read { file, offset, source }
    }
}

impl fmt::Display for ImportFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for ImportFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}
