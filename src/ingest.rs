//! Ingestion: bounded decoders turn each kind of source into announcements.
//!
//! Everything that is read here is untrusted. A decoder allocates no more than its limits allow,
//! whatever a length field claims, and passes announcements on in small batches to a [`Sink`],
//! which exerts backpressure on the reader. A bad entry costs only itself: it is counted, reported
//! with its place, and skipped.
//!
//! Signed announcements over HTTP ([`Announcer`]) are the exception: they are applied whole or not
//! at all.
//!
//! Files are read synchronously, from first byte to last and without seeking, so that pipes and
//! compressed files work like any other; call [`import_file`] on a thread that may block.

mod batch;
mod car;
mod error;
mod file;
mod import;
mod ndjson;
mod options;
mod progress;
mod put;
mod summary;
#[cfg(test)]
mod testing;
mod whole;

use crate::store::{Applied, StoreError, Update};

pub(crate) use car::{CarFlags, car_record};
pub(crate) use error::{ImportError, ImportFailure};
pub(crate) use file::DeclaredBy;
pub use file::{ImportSource, import_file, import_source};
pub use options::ImportOptions;
pub(crate) use options::{Compression, ImportKind};
pub(crate) use progress::{
    Acknowledged, BarObserver, ImportObserver, ImportProgress, LineObserver,
};
pub use put::{ADDRS_MAX, PutError, PutMoment, PutPolicy, RECORDS_MAX, VerifiedPut};
pub(crate) use put::{ANNOUNCED_PROTOCOL, ANNOUNCED_SCHEMA, Announcer};
pub(crate) use summary::{
    ImportCounts, ImportSummary, Place, REJECTIONS_SHOWN_MAX, RejectReason, Rejection,
};

/// Where announcements go: gives a batch to a store and returns when it has been taken in.
pub(crate) type Sink<'a> = dyn FnMut(Vec<Update>) -> Result<Applied, StoreError> + 'a;
