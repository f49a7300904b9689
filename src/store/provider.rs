//! What is changed for all that a provider has at once: whether it is hidden, and its companions.

use std::sync::Arc;

use super::ContextId;
use crate::index::{CompanionProtocols, CompanionSet, Index, ReadyCompanion, Visibility};
use crate::journal::{Change, CompanionChange, CompanionsChange, VisibilityChange};
use crate::types::{AnswerSchema, PeerId, ProviderRecord, ReadyRecord, RecordError};

/// A change of all that a provider has. It takes the same time whatever that is.
#[derive(Clone, Debug)]
pub enum ProviderChange {
    /// Its records are served, or kept and not served: those of now, and those announced later. Stays
    /// until it is changed again.
    Visibility(Visibility),
    /// Other records are served beside its own, in the place of those that were before.
    Companions {
        /// Beside those of one context, until everything is gone that was announced under it before. `None`:
        /// beside all of now and later, until that is changed again.
        context: Option<ContextId>,
        /// The companions.
        companions: Companions,
    },
}

/// Records that are served beside those of a provider.
#[derive(Clone, Debug, Default)]
pub struct Companions {
    /// At most [`crate::index::COMPANIONS_MAX`]; what is more is left out.
    pub records: Vec<Companion>,
    /// Whether those for all contexts do not count beside these, which are of one context.
    pub overrides: bool,
}

/// A record that is served beside those of a provider.
#[derive(Clone, Debug)]
pub struct Companion {
    /// The record. It names a peer, which need not be the provider.
    pub record: ProviderRecord,
    /// Which protocols it speaks.
    pub protocols: CompanionProtocols,
}

impl ProviderChange {
    /// What a journal has to know of the change.
    pub(super) fn to_journal(&self, provider: &PeerId, stamp: u64) -> Change {
        let provider = provider.as_str().into();
        match self {
            Self::Visibility(visibility) => {
                let is_hidden = *visibility == Visibility::Hidden;
                Change::Visibility(VisibilityChange { stamp, provider, is_hidden })
            }
            Self::Companions { context, companions } => {
                let companion = |it: &Companion| CompanionChange {
                    record_json: it.record.to_json().into(),
                    has_providers_protocols: it.protocols == CompanionProtocols::OfProvider,
                };
                let context = context.as_ref().map(|context| context.as_bytes().into());
                let records = companions.records.iter().take(crate::index::COMPANIONS_MAX);
                let (overrides, companions) =
                    (companions.overrides, records.map(companion).collect());
                let change = CompanionsChange { stamp, provider, context, overrides, companions };
                Change::Companions(change)
            }
        }
    }

    /// Lets lookups see the change.
    pub(super) fn commit(
        self,
        index: &Index,
        (provider, stamp): (&PeerId, u64),
        schema: AnswerSchema,
        now_ms: u64,
    ) {
        match self {
            Self::Visibility(visibility) => {
                index.set_visibility(provider, stamp, visibility, now_ms);
            }
            Self::Companions { context, companions } => {
                let context = context.map(|context| Arc::from(context.as_bytes()));
                let ready = |it: Companion| {
                    let record = Arc::new(ReadyRecord::new(it.record, schema));
                    ReadyCompanion::new(record, it.protocols)
                };
                let set = CompanionSet {
                    companions: companions.records.into_iter().map(ready).collect(),
                    overrides: companions.overrides,
                };
                index.set_companions(provider, context.as_ref(), stamp, set, now_ms);
            }
        }
    }
}

/// The set that a journal tells of.
pub(super) fn read_companions(
    change: &CompanionsChange,
    schema: AnswerSchema,
) -> Result<CompanionSet, RecordError> {
    let read = |it: &CompanionChange| {
        let record = ProviderRecord::restore(&it.record_json)?;
        let record = Arc::new(ReadyRecord::new(record, schema));
        let protocols = if it.has_providers_protocols {
            CompanionProtocols::OfProvider
        } else {
            CompanionProtocols::Own
        };
        Ok(ReadyCompanion::new(record, protocols))
    };
    let companions = change.companions.iter().map(read).collect::<Result<_, RecordError>>()?;
    Ok(CompanionSet { companions, overrides: change.overrides })
}
