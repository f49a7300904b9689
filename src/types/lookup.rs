//! A lookup: the question, passed from the API down to a store or an upstream, and the answer.

use std::num::NonZeroUsize;

use super::filter::Filter;
use super::hops::Hops;
use super::key::ContentKey;
use super::peer::PeerId;
use super::records::Records;

/// The most records of one answer from a store: some 30 MB.
const ANSWER_RECORDS_MAX: NonZeroUsize = NonZeroUsize::new(100_000).expect("it is not zero");

/// What is looked up, and the filter, cap and hops.
#[derive(Clone, Debug)]
pub struct Question {
    /// The content or the peer that is looked up.
    pub subject: Subject,
    /// The filter of records.
    pub filter: Filter,
    /// The most records in the answer; `None`: the limit of a store ([`Question::cap`]). Of a peer
    /// there is one at most.
    pub records_max: Option<NonZeroUsize>,
    /// How many routers have forwarded it.
    pub hops: Hops,
}

/// What can be looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Who has this content?
    Content(ContentKey),
    /// How is this peer reached?
    Peer(PeerId),
}

/// The answer to a [`Question`]. The order is stable until something changes, but where more
/// records match than the cap allows, successive answers serve them round-robin, those with
/// addresses first.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The records that pass the filter, each with the part that passes.
    pub records: Records,
    /// When the answer last changed, in milliseconds since the Unix epoch, or somewhat later: never
    /// earlier. `None` if nothing was found, or the store cannot tell, as after a removal: then
    /// only the content tells whether the answer changed.
    pub modified_at_ms: Option<u64>,
    /// Whether it should be asked for again soon: a source that may know more failed.
    pub is_partial: bool,
}

impl Question {
    /// Everything about a subject: no filter, no cap, no hops.
    pub fn all(subject: Subject) -> Self {
        Self { subject, filter: Filter::default(), records_max: None, hops: Hops::default() }
    }

    /// The most records that a store returns: there is always a cap.
    pub(crate) fn cap(&self) -> NonZeroUsize {
        self.records_max.map_or(ANSWER_RECORDS_MAX, |max| max.min(ANSWER_RECORDS_MAX))
    }
}

impl Subject {
    /// The multihash of what is looked up.
    pub(crate) fn multihash(&self) -> ContentKey {
        match self {
            Self::Content(key) => key.clone(),
            Self::Peer(peer) => peer.multihash(),
        }
    }

    /// Whether it is content that its key carries: the client has it already.
    pub(crate) fn is_identity(&self) -> bool {
        matches!(self, Self::Content(key) if key.is_identity())
    }
}

impl Found {
    /// An answer of these records, last changed at `modified_at_ms`.
    pub(crate) fn new(records: Records, modified_at_ms: u64) -> Self {
        let modified_at_ms = (!records.is_empty()).then_some(modified_at_ms);
        Self { records, modified_at_ms, is_partial: false }
    }

    /// Appends another answer.
    pub fn append(&mut self, more: Self) {
        self.modified_at_ms = match (self.records.is_empty(), more.records.is_empty()) {
            (_, true) => self.modified_at_ms,
            (true, false) => more.modified_at_ms,
            (false, false) => self.modified_at_ms.zip(more.modified_at_ms).map(|(a, b)| a.max(b)),
        };
        self.records.append(more.records);
        self.is_partial |= more.is_partial;
    }
}
