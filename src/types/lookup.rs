//! A lookup: the question, as it goes from the API down to a store or an upstream, and what is found.

use std::num::NonZeroUsize;

use super::filter::Filter;
use super::hops::Hops;
use super::key::ContentKey;
use super::peer::PeerId;
use super::records::Records;

/// The most records of one answer from a store, which take some 30 MB.
const ANSWER_RECORDS_MAX: NonZeroUsize = NonZeroUsize::new(100_000).expect("it is not zero");

/// What is looked up, and what of it is wanted.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who or what is looked up.
    pub subject: Subject,
    /// What of each record is wanted.
    pub filter: Filter,
    /// The most records that are wanted; `None`: as many as there may be ([`Question::cap`]). Of a peer
    /// there is one at most.
    pub records_max: Option<NonZeroUsize>,
    /// How far the question has come.
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

/// The answer to a [`Question`]. The order is the same until something changes, except that where
/// more records match than are wanted, successive answers go round all of them in turn, those
/// with addresses first.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The records that pass, each with what of it passes.
    pub records: Records,
    /// When the answer last changed, in milliseconds since the Unix epoch, or somewhat later:
    /// never earlier. `None` if nothing was found, or a store elsewhere cannot tell, as after a removal:
    /// then the content alone says whether the answer is another.
    pub modified_at_ms: Option<u64>,
    /// Whether it should be asked for again soon: somebody who may know more could not say so.
    pub is_partial: bool,
}

impl Question {
    /// Everything about a subject: unfiltered, as much as there may be, asked here first.
    pub fn all(subject: Subject) -> Self {
        Self { subject, filter: Filter::default(), records_max: None, hops: Hops::default() }
    }

    /// The most records that a store gives: there is always a cap.
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

    /// Whether it is content that its key carries: whoever asks has it already.
    pub(crate) fn is_identity(&self) -> bool {
        matches!(self, Self::Content(key) if key.is_identity())
    }
}

impl Found {
    /// All that was found, and when that last changed.
    pub(crate) fn new(records: Records, modified_at_ms: u64) -> Self {
        let modified_at_ms = (!records.is_empty()).then_some(modified_at_ms);
        Self { records, modified_at_ms, is_partial: false }
    }

    /// Adds what else was found.
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
