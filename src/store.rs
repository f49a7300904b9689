//! The seam behind which an index lives: in this process's memory, or elsewhere.
//!
//! Nothing outside this module may assume that the index is local memory: every call is
//! asynchronous and can fail, and a lookup hands its filter and its cap down, so that a store
//! never has to hand up more than an answer needs.

mod context;
mod durable;
mod memory;
mod names;
mod update;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use thiserror::Error;

use crate::clock::UnixMs;
use crate::types::{Addr, ContentKey, Found, Origin, PeerId, ProviderRecord, Question};

pub use crate::index::IndexLimits;
pub use crate::journal::repair;
pub use context::{ContextId, ContextIdError};
pub use durable::{DurableOptions, DurableStore, OpenError, Recovery};
pub use memory::MemoryStore;
pub use names::{
    DurableNames, MemoryNames, NamePut, NameStore, NamesError, NamesOpenError, NamesOptions,
    NamesStats, StoredName,
};

/// Where announcements are kept and lookups are answered.
///
/// Every implementation passes the same battery of tests (`tests/it/store.rs`).
pub trait Store: Send + Sync + 'static {
    /// Finds the records of a key: filtered, each once, and no more than the cap. Of a peer: one record
    /// of schema `peer`, with the addresses and the protocols of what it announced, the freshest first,
    /// filtered; or nothing. There is a bound on how many groups of a peer are looked at.
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, StoreError>>;

    /// Takes announcements in. When this returns, lookups see them.
    fn apply(&self, announcements: Vec<Announcement>)
    -> BoxFuture<'_, Result<Applied, StoreError>>;

    /// Takes statements in, all or nothing. When this returns, lookups see them.
    ///
    /// Of a provider's statements, the newest by its own clock says where it is reached, in everything
    /// that it announced before, too. An older one never changes that, and what it announces has the
    /// newest addresses. That holds for as long as something is there that was announced before the
    /// newest statement or with it: whoever lets everything lapse starts anew.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing is taken in then. One call takes 8 MiB of keys and records at most.
    fn update(&self, updates: Vec<ProviderUpdate>) -> BoxFuture<'_, Result<Applied, StoreError>>;

    /// Gives everything that the record's provider announced under a context until now this record.
    /// Takes time by the groups, whatever the number of keys; does nothing if there are none. Its
    /// addresses, if it has a list, count as said now. What is announced later is not touched.
    fn set_record<'a>(
        &'a self,
        context: &'a ContextId,
        record: ProviderRecord,
    ) -> BoxFuture<'a, Result<Changed, StoreError>>;

    /// Removes everything that a provider announced, or everything under one of its contexts.
    /// Gone from answers when this returns, however many keys it had.
    fn remove<'a>(
        &'a self,
        provider: &'a PeerId,
        context: Option<&'a ContextId>,
    ) -> BoxFuture<'a, Result<Removed, StoreError>>;

    /// Frees the memory of what is removed or expired. Called from time to time; bounded work.
    fn sweep(&self) -> BoxFuture<'_, Result<Swept, StoreError>>;

    /// How much the store holds.
    fn stats(&self) -> BoxFuture<'_, Result<StoreStats, StoreError>>;

    /// Everything that the store holds and that is alive, as of one moment between this call and
    /// the first item. Announcements made meanwhile neither show nor wait; what is removed meanwhile
    /// may be left out. An error is the last item.
    fn export(&self) -> ExportStream;
}

/// What [`Store::export`] gives: entries, some thousands at a time at most.
pub type ExportStream = BoxStream<'static, Result<Vec<Exported>, StoreError>>;

/// One (key, record) pair, as an import would bring it in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The content.
    pub key: ContentKey,
    /// The record as it was announced. Entries of one group share it.
    pub record_json: Arc<str>,
    /// The provider's name for the set of keys that this one belongs to.
    pub context: ContextId,
    /// When the entry lapses; `None`: it stays until it is removed.
    pub expires_at_ms: Option<UnixMs>,
}

/// That a provider has some content: what every source of records becomes.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// The content.
    pub keys: Vec<ContentKey>,
    /// The provider, and how to reach it.
    pub record: ProviderRecord,
    /// The provider's name for the set of keys.
    pub context: ContextId,
    /// When the announcement lapses, in milliseconds since the Unix epoch; `None`: it stays until
    /// it is removed.
    pub expires_at_ms: Option<UnixMs>,
}

/// What a provider says of itself at one moment, by its own clock.
#[derive(Clone, Debug)]
pub struct ProviderUpdate {
    /// The provider. Announcements of others in the update count as theirs, said at that moment.
    pub provider: PeerId,
    /// The moment of the statement, in milliseconds since the Unix epoch. One that is not newer than
    /// the newest that is known of this provider never changes addresses: its keys are taken in with
    /// the newest addresses.
    pub stated_at_ms: UnixMs,
    /// Where it is reached from now on, in everything that it announced before, too; as many as a
    /// record may have, what is more is left out.
    pub addrs: Vec<Addr>,
    /// Where the statement came from. One that is not newer does not move its provider to another
    /// network, whoever sends it.
    pub origin: Origin,
    /// What it announces. The addresses of these records are replaced by the provider's newest ones.
    pub announcements: Vec<Announcement>,
}

/// What [`Store::set_record`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Groups that have another record now.
    pub groups: u64,
}

/// What [`Store::apply`] or [`Store::update`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// (key, record) pairs that were not known before.
    pub entries_added: u64,
    /// (key, record) pairs that were known and are now refreshed.
    pub entries_refreshed: u64,
}

/// What [`Store::remove`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Groups that are gone.
    pub groups: u64,
}

/// What [`Store::sweep`] freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries that were freed.
    pub entries: u64,
    /// Groups that were freed.
    pub groups: u64,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// (key, group) pairs, those not yet swept included.
    pub entries: u64,
    /// Keys.
    pub keys: u64,
    /// Groups: interned (context, record, expiry).
    pub groups: u64,
    /// Providers with at least one group.
    pub providers: u64,
    /// Bytes of memory that the index takes up.
    pub bytes: u64,
    /// The journal's size; `None` where the store keeps none.
    pub journal: Option<JournalFigures>,
}

/// How much room the journal takes up on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalFigures {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Those of them that compaction would drop.
    pub garbage_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Whether the last write failed: announcements are refused until one succeeds.
    pub is_failing: bool,
}

/// Why a store did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The store holds as much as it can.
    #[error("the store is full: {what}")]
    Full {
        /// What there is no more room for.
        what: &'static str,
    },
    /// The store cannot be reached, or does not work.
    #[error("the store does not answer: {reason}")]
    Unavailable {
        /// What is known of why.
        reason: String,
    },
    /// The disk is full. Nothing of the batch counts as taken in; reads go on.
    #[error("the disk is full; writes go on when there is room again")]
    NoSpace {
        /// What the system says.
        source: std::io::Error,
    },
    /// The disk does not take writes. Nothing of the batch counts as taken in; reads go on.
    #[error("the journal cannot be written")]
    Io {
        /// What the system says.
        source: std::io::Error,
    },
}
