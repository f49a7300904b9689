//! The seam behind which an index lives: in this process's memory, or elsewhere.
//!
//! Nothing outside this module may assume that the index is local memory: every call is
//! asynchronous and can fail, and a lookup hands its filter and its cap down, so that a store
//! never has to hand up more than an answer needs.

mod context;
mod durable;
mod ipns;
mod memory;
mod provider;
mod update;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use thiserror::Error;

use crate::clock::UnixMs;
use crate::types::{Addr, ContentKey, Found, Limit, Origin, PeerId, ProviderRecord, Question};

pub use crate::index::{COMPANIONS_MAX, CompanionProtocols, IndexLimits, Visibility};
pub use crate::journal::repair;
pub use crate::state::Health;
pub use context::ContextId;
pub(crate) use context::ContextIdError;
pub use durable::{DurableOptions, DurableStore, Recovery, StoreOpenError};
pub(crate) use ipns::IpnsOpenError;
pub use ipns::{
    DurableIpns, IpnsLimits, IpnsPut, IpnsStore, IpnsStoreError, IpnsStoreStats, MemoryIpns,
    StoredIpns,
};
pub use memory::MemoryStore;
pub use provider::{Companion, Companions, ProviderChange};

/// Where announcements are kept and lookups are answered.
///
/// Every implementation passes the same battery of tests (`tests/it/store.rs`). What only a store
/// with transactions can promise is said with each method and marked in the battery: the stores of
/// this process promise it, one that is a database elsewhere need not.
///
/// The caller says what time it is. It should not go backwards.
pub trait Store: Send + Sync + 'static {
    /// Finds the records of a key: filtered, each once, and no more than the cap. Of a peer: one record
    /// of schema `peer`, with the addresses and the protocols of what it announced, the freshest first,
    /// filtered; or nothing. There is a bound on how many groups of a peer are looked at.
    fn find<'a>(
        &'a self,
        question: &'a Question,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Found, StoreError>>;

    /// Takes updates in. When this returns, lookups of this process see them, and those of others
    /// within [`Store::visibility`].
    ///
    /// Of a provider's statements, the newest by its own clock says where it is reached, in everything
    /// that it announced before, too. An older one never changes that, and what it announces has the
    /// newest addresses. That holds for as long as something is there that was announced before the
    /// newest statement or with it: whoever lets everything lapse starts anew.
    ///
    /// Announcements take effect in their order. The work goes on when the future is dropped.
    ///
    /// Where memory is scarce what strangers hold is evicted for the operator's announcements.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; some of it may have been taken in then, and the same call again completes it. A
    /// store with transactions takes in all of a call that has a statement, or nothing; such a call has
    /// at most 8 MiB of keys and records.
    fn update(
        &self,
        updates: Vec<Update>,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<Applied, StoreError>>;

    /// Takes the operator's announcements in: an update without a statement.
    fn apply(
        &self,
        announcements: Vec<Announcement>,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<Applied, StoreError>> {
        self.update(vec![Update::without_statement(Origin::OPERATOR, announcements)], now_ms)
    }

    /// Gives everything that the record's provider announced under a context until now this record.
    /// Takes time by the groups, whatever the number of keys; does nothing if there are none. Its
    /// addresses, if it has a list, count as said now. What is announced later is not touched.
    fn set_record<'a>(
        &'a self,
        context: &'a ContextId,
        record: ProviderRecord,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Changed, StoreError>>;

    /// Changes all that a provider has at once ([`ProviderChange`]), in the same time whatever that is.
    /// When this returns, lookups see it.
    fn change_provider<'a>(
        &'a self,
        provider: &'a PeerId,
        change: ProviderChange,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes everything that a provider announced, or everything under one of its contexts.
    /// Gone from answers when this returns, everywhere, however many keys it had.
    fn remove<'a>(
        &'a self,
        provider: &'a PeerId,
        context: Option<&'a ContextId>,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Removed, StoreError>>;

    /// Frees what is removed or expired, and evicts what strangers hold above their part of the memory.
    /// Called from time to time; bounded work. A store that sees to that by itself does nothing.
    fn sweep(&self, _now_ms: UnixMs) -> BoxFuture<'_, Result<Swept, StoreError>> {
        std::future::ready(Ok(Swept::default())).boxed()
    }

    /// How much the store holds, as far as it can tell.
    fn stats(&self) -> BoxFuture<'_, Result<StoreStats, StoreError>>;

    /// How the store is, as far as is known without asking it.
    fn health(&self) -> Health;

    /// After this long, lookups of other processes on the same store see what an update took in. Zero
    /// where there are none.
    fn visibility(&self) -> Duration {
        Duration::ZERO
    }

    /// Everything that the store holds and that is alive, some of it twice: whoever imports all of it again
    /// has what counts. The order of entries does not matter, but for announcements that replace each
    /// other and end at different times: of them the longest comes first. A key that changes
    /// meanwhile comes as it was or as it has become, or both; what is removed meanwhile may show or not. An
    /// error is the last item.
    fn export(&self, now_ms: UnixMs) -> ExportStream;
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
    /// Where it came from.
    pub origin: Origin,
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

/// What is taken in at once.
#[derive(Clone, Debug)]
pub struct Update {
    /// What the provider says of itself; `None`: each announcement stands for itself.
    pub statement: Option<ProviderStatement>,
    /// Where it came from. A statement that is not newer does not move its provider to another network,
    /// whoever sends it.
    pub origin: Origin,
    /// What is announced. Of what the statement's provider announces, the addresses are replaced by its
    /// newest ones.
    pub announcements: Vec<Announcement>,
}

impl Update {
    /// Announcements of which each stands for itself.
    pub fn without_statement(origin: Origin, announcements: Vec<Announcement>) -> Self {
        Self { statement: None, origin, announcements }
    }
}

/// What a provider says of itself at one moment, by its own clock.
#[derive(Clone, Debug)]
pub struct ProviderStatement {
    /// The provider.
    pub provider: PeerId,
    /// The moment of the statement, in milliseconds since the Unix epoch. One that is not newer than
    /// the newest that is known of this provider never changes addresses: its keys are taken in with
    /// the newest addresses.
    pub stated_at_ms: UnixMs,
    /// Where it is reached from now on, in everything that it announced before, too; as many as a
    /// record may have, what is more is left out.
    pub addrs: Vec<Addr>,
}

/// What [`Store::set_record`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Groups that have another record now.
    pub groups: u64,
}

/// What [`Store::update`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// (key, record) pairs that are there now and count.
    pub taken_in: u64,
    /// Those of them that were not known before; `None` where finding out would cost a read each.
    pub added: Option<u64>,
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
    /// Groups of strangers that ended since the last sweep, because room was needed.
    pub evicted: u64,
    /// Keys that were left out of announcements since the last sweep, because they have too many providers
    /// from one network.
    pub crowded: u64,
}

/// How much a store holds: exact, or an estimate, or `None` where even that would cost too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// (key, group) pairs, those not yet swept included.
    pub entries: Option<u64>,
    /// Keys.
    pub keys: Option<u64>,
    /// Groups: interned (context, record, expiry).
    pub groups: Option<u64>,
    /// Providers with at least one group.
    pub providers: Option<u64>,
    /// Bytes of memory that the index takes up.
    pub bytes: Option<u64>,
    /// Bytes that it takes at most; `None`: as much as there is.
    pub bytes_max: Option<u64>,
    /// (key, group) pairs of strangers that have not ended.
    pub stranger_entries: Option<u64>,
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
    /// Free bytes of the disk that it is on; `None` if that is not known.
    pub disk_free_bytes: Option<u64>,
    /// Segments.
    pub(crate) segments: u64,
    /// Whether compaction fails, so that garbage stays.
    pub is_compaction_failing: bool,
}

/// Why a store did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The store holds as much as it can.
    #[error("the store is full: {limit}")]
    Full {
        /// What there is no more room for.
        limit: Limit,
    },
    /// The store has more to do than it can: try again soon.
    #[error("the store has too much to do")]
    Overloaded,
    /// The store did not answer in time. Whether it did what it was asked is not known; asking again
    /// does no harm.
    #[error("the store did not answer in time")]
    TimedOut,
    /// The store cannot be reached, or does not work.
    #[error("the store does not answer: {reason}")]
    Unavailable {
        /// What is known of why.
        reason: String,
    },
    /// The disk is full. Reads go on.
    #[error("the disk is full; writes go on when there is room again")]
    NoSpace {
        /// What the system says.
        source: std::io::Error,
    },
    /// The disk does not take writes. Reads go on.
    #[error("the journal cannot be written")]
    Io {
        /// What the system says.
        source: std::io::Error,
    },
}
