//! A lookup: the question, as it goes from the API down to a store or an upstream, and what is found.

use std::num::NonZeroUsize;

use super::filter::Filter;
use super::hops::Hops;
use super::key::ContentKey;
use super::peer::PeerId;
use super::records::Records;

/// What is looked up, and what of it is wanted.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who or what is looked up.
    pub subject: Subject,
    /// What of each record is wanted.
    pub filter: Filter,
    /// The most records that are wanted; `None`: all. Of a peer there is one at most.
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
    /// never earlier. `None` if nothing was found.
    pub modified_at_ms: Option<u64>,
    /// Whether it should be asked for again soon: somebody who may know more could not say so.
    pub is_partial: bool,
}

impl Question {
    /// Everything about a subject: unfiltered and uncapped, asked here first.
    pub fn all(subject: Subject) -> Self {
        Self { subject, filter: Filter::default(), records_max: None, hops: Hops::default() }
    }
}

impl Subject {
    /// The multihash of what is looked up.
    pub fn multihash(&self) -> ContentKey {
        match self {
            Self::Content(key) => key.clone(),
            Self::Peer(peer) => peer.multihash(),
        }
    }

    /// Whether it is content that its key carries: whoever asks has it already.
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::Content(key) if key.is_identity())
    }
}

impl Found {
    /// All that was found, and when that last changed.
    pub fn new(records: Records, modified_at_ms: u64) -> Self {
        let modified_at_ms = (!records.is_empty()).then_some(modified_at_ms);
        Self { records, modified_at_ms, is_partial: false }
    }

    /// Adds what else was found.
    pub fn append(&mut self, more: Self) {
        self.records.append(more.records);
        self.modified_at_ms = self.modified_at_ms.max(more.modified_at_ms);
        self.is_partial |= more.is_partial;
    }
}
