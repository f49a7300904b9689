//! The records of an answer: its own, or shared with equal answers.
//!
//! Popular content has long answers that are asked for often. While nothing changes, such answers
//! share their records and their rendered text.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::ready::{ReadyRecord, Selection};

/// A record, and the part of it that is in the answer.
pub(crate) type SelectedRecord = (Arc<ReadyRecord>, Selection);

/// How many rendered texts shared records keep.
const RENDERINGS: usize = 2;

/// Records of an answer, in order. Reads as a slice.
#[derive(Clone, Debug)]
pub struct Records(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Own(Vec<SelectedRecord>),
    Shared(Arc<SharedRecords>),
}

/// Records that several answers have.
#[derive(Debug)]
pub(crate) struct SharedRecords {
    records: Vec<SelectedRecord>,
    rendered: [OnceLock<Rendered>; RENDERINGS],
}

/// The text of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    /// The whole body.
    pub(crate) body: Bytes,
    /// Identifies the text.
    pub(crate) digest: u128,
}

impl Records {
    /// Adds records at the end.
    pub(crate) fn append(&mut self, more: Self) {
        if self.is_empty() {
            *self = more;
            return;
        }
        let mut own = std::mem::take(self).into_vec();
        own.extend(more.into_vec());
        self.0 = Kind::Own(own);
    }

    /// The records, if they are shared.
    pub(crate) fn shared(&self) -> Option<&SharedRecords> {
        match &self.0 {
            Kind::Own(_) => None,
            Kind::Shared(shared) => Some(shared),
        }
    }

    fn into_vec(self) -> Vec<SelectedRecord> {
        match self.0 {
            Kind::Own(records) => records,
            Kind::Shared(shared) => shared.records.clone(),
        }
    }
}

impl SharedRecords {
    /// Makes records shared.
    pub(crate) fn new(records: Vec<SelectedRecord>) -> Self {
        Self { records, rendered: Default::default() }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The text cached in `place` (0 or 1), rendered if it is missing; `None`: there is no such
    /// place.
    pub(crate) fn rendered(
        &self,
        place: usize,
        make: impl FnOnce() -> Rendered,
    ) -> Option<&Rendered> {
        self.rendered.get(place).map(|rendered| rendered.get_or_init(make))
    }
}

impl Default for Records {
    fn default() -> Self {
        Self(Kind::Own(Vec::new()))
    }
}

impl Deref for Records {
    type Target = [SelectedRecord];

    fn deref(&self) -> &[SelectedRecord] {
        match &self.0 {
            Kind::Own(records) => records,
            Kind::Shared(shared) => &shared.records,
        }
    }
}

impl From<Vec<SelectedRecord>> for Records {
    fn from(records: Vec<SelectedRecord>) -> Self {
        Self(Kind::Own(records))
    }
}

impl From<Arc<SharedRecords>> for Records {
    fn from(shared: Arc<SharedRecords>) -> Self {
        Self(Kind::Shared(shared))
    }
}

impl IntoIterator for Records {
    type Item = SelectedRecord;
    type IntoIter = std::vec::IntoIter<SelectedRecord>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_vec().into_iter()
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = &'a SelectedRecord;
    type IntoIter = std::slice::Iter<'a, SelectedRecord>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
