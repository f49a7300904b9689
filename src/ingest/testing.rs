//! Shared test helpers for imports: a sink and an observer that record everything.

use std::collections::HashSet;

use super::{
    Acknowledged, ImportFailure, ImportObserver, ImportOptions, ImportProgress, ImportSource,
    ImportSummary, Rejection, import_source,
};
use crate::store::{Announcement, Applied, Update};

pub(super) const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

/// An import, and all that it did.
pub(super) struct Imported {
    pub(super) result: Result<ImportSummary, Box<ImportFailure>>,
    pub(super) batches: Vec<Vec<Announcement>>,
    pub(super) observed: Observed,
}

#[derive(Default)]
pub(super) struct Observed {
    pub(super) begun: usize,
    pub(super) ended: usize,
    pub(super) rejections: Vec<String>,
    pub(super) position_bytes: u64,
    pub(super) acknowledged: Vec<Acknowledged>,
}

impl ImportObserver for Observed {
    fn begin(&mut self, _file: &str, _size_bytes: Option<u64>) {
        self.begun += 1;
    }

    fn progress(&mut self, progress: &ImportProgress<'_>) {
        assert!(self.position_bytes <= progress.position_bytes);
        self.position_bytes = progress.position_bytes;
    }

    fn acknowledged(&mut self, acknowledged: &Acknowledged) {
        self.acknowledged.push(*acknowledged);
    }

    fn rejected(&mut self, rejection: &Rejection) {
        self.rejections.push(rejection.to_string());
    }

    fn end(&mut self) {
        self.ended += 1;
    }
}

/// Imports, counting a (key, record) pair as new the first time that it comes.
pub(super) fn import(source: ImportSource, options: &ImportOptions) -> Imported {
    let mut batches: Vec<Vec<Announcement>> = Vec::new();
    let mut known = HashSet::new();
    let mut observed = Observed::default();
    let mut sink = |batch: Vec<Update>| {
        let batch: Vec<_> = batch.into_iter().flat_map(|update| update.announcements).collect();
        let (mut taken_in, mut added) = (0, 0);
        for announced in &batch {
            let record = announced.record.to_json();
            for key in &announced.keys {
                taken_in += 1;
                added += u64::from(known.insert((key.clone(), record.clone())));
            }
        }
        batches.push(batch);
        Ok(Applied { taken_in, added: Some(added) })
    };
    let result = import_source(source, options, &mut sink, &mut observed);
    Imported { result, batches, observed }
}

impl Imported {
    /// Everything that was handed on, as (CID, record, expiry), in order.
    pub(super) fn entries(&self) -> Vec<(String, String, Option<u64>)> {
        let announcements = self.batches.iter().flatten();
        announcements
            .flat_map(|announced| {
                announced.keys.iter().map(|key| {
                    (key.to_cid_text(), announced.record.to_json(), announced.expires_at_ms)
                })
            })
            .collect()
    }

    /// The summary, whether it succeeded or not.
    pub(super) fn summary(&self) -> &ImportSummary {
        match &self.result {
            Ok(summary) => summary,
            Err(failure) => failure.summary.as_ref().unwrap(),
        }
    }

    pub(super) fn error(&self) -> &super::ImportError {
        &self.result.as_ref().unwrap_err().error
    }
}
