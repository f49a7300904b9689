//! What holds for all groups of a provider: entered under a stamp, as changes are.
//!
//! # Invariants
//!
//! - Of the changes of one kind for one provider, or for one of its contexts, the one with the greatest
//!   stamp counts.
//! - A provider's visibility and its companions for all contexts stay until they are changed again, also
//!   when it has no groups. Only operators and chains set them, so they are few.
//! - Companions of a context stay as long as a group lives that was announced under it before: removing a
//!   context removes them, and nothing else has to be written for that.

use std::sync::Arc;

use super::{Group, GroupRegistry, Groups};
use crate::clock::UnixMs;
use crate::index::provider::{CompanionSet, Provider, Visibility};
use crate::types::{PeerId, ReadyRecord};

/// What is known of a provider under one stamp.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ProviderFact {
    Visibility(PeerId),
    Companions(PeerId, Option<Arc<[u8]>>),
}

/// The newest change of a kind.
pub(super) struct FactInForce {
    stamp: u64,
    bytes: usize,
}

/// What a provider takes up in the map of providers.
const PROVIDER_BYTES: usize = size_of::<Provider>() + size_of::<(PeerId, Arc<Provider>)>() + 64;

/// What a fact takes up in its map, and its stamp in the set of stamps.
const FACT_BYTES: usize = size_of::<(ProviderFact, FactInForce)>() + 32;

impl Group {
    /// Whether the group lives and is not part of answers, because its provider is hidden.
    pub(in crate::index) fn is_hidden(&self) -> bool {
        self.provider.as_ref().is_some_and(|provider| provider.is_hidden())
    }

    /// Whether other records may be served beside the group's.
    pub(in crate::index) fn has_companions(&self) -> bool {
        self.provider.as_ref().is_some_and(|provider| provider.has_companions())
    }

    /// Shows the records that are served beside the group's to `serve`.
    pub(in crate::index) fn companions(&self, serve: impl FnMut(Arc<ReadyRecord>)) {
        if let Some(provider) = &self.provider {
            provider.companions(&self.context, &self.record(), serve);
        }
    }
}

impl Groups {
    /// Shows or hides a provider. Returns whether the change is the newest of its kind.
    pub(in crate::index) fn set_visibility(
        &self,
        peer: &PeerId,
        stamp: u64,
        visibility: Visibility,
        now_ms: UnixMs,
    ) -> bool {
        let mut registry = self.registry.lock();
        if !registry.enter_fact(ProviderFact::Visibility(peer.clone()), stamp, 0) {
            return false;
        }
        registry.provider_of(peer).set_visibility(visibility, now_ms);
        self.count_change();
        true
    }

    /// Gives a provider other companions, for all of its contexts or for one. Returns whether the change
    /// counts: it is the newest, and something was announced under that context before it.
    pub(in crate::index) fn set_companions(
        &self,
        peer: &PeerId,
        context: Option<&Arc<[u8]>>,
        stamp: u64,
        set: CompanionSet,
        now_ms: UnixMs,
    ) -> bool {
        let mut registry = self.registry.lock();
        let has_older = |context| registry.oldest_under(peer, context).is_some_and(|it| it < stamp);
        if !context.is_none_or(has_older) {
            return false;
        }
        let fact = ProviderFact::Companions(peer.clone(), context.cloned());
        if !registry.enter_fact(fact, stamp, set.bytes()) {
            return false;
        }
        registry.provider_of(peer).set_companions(context, set, now_ms);
        self.count_change();
        true
    }

    /// Whether a provider is hidden.
    pub(in crate::index) fn visibility(&self, peer: &PeerId) -> Visibility {
        let registry = self.registry.lock();
        let is_hidden = registry.by_peer.get(peer).is_some_and(|provider| provider.is_hidden());
        if is_hidden { Visibility::Hidden } else { Visibility::Shown }
    }
}

impl GroupRegistry {
    pub(super) fn add_provider(&mut self, group: &Group) {
        let Some(peer) = group.peer() else { return };
        self.providers += u64::from(self.oldest_of(peer).is_none());
        self.by_provider.insert((peer.clone(), group.context.clone(), group.serial));
        self.by_age.insert((peer.clone(), group.serial));
    }

    pub(super) fn remove_provider(&mut self, group: &Group) {
        let Some(peer) = group.peer() else { return };
        self.by_provider.remove(&(peer.clone(), group.context.clone(), group.serial));
        self.by_age.remove(&(peer.clone(), group.serial));
        if self.oldest_of(peer).is_none() {
            self.providers -= 1;
            self.forget_provider(peer);
        }
    }

    /// The serial of the oldest group of a provider that lives.
    pub(super) fn oldest_of(&self, peer: &PeerId) -> Option<u64> {
        let of_peer = (peer.clone(), 0)..=(peer.clone(), u64::MAX);
        self.by_age.range(of_peer).next().map(|(_, serial)| *serial)
    }

    /// The provider with this ID.
    pub(super) fn provider_of(&mut self, peer: &PeerId) -> Arc<Provider> {
        if let Some(known) = self.by_peer.get(peer) {
            return known.clone();
        }
        self.bytes += PROVIDER_BYTES;
        let provider = Arc::<Provider>::default();
        self.by_peer.insert(peer.clone(), provider.clone());
        provider
    }

    /// Forgets a provider that has no groups, unless something is to hold when it has some again.
    fn forget_provider(&mut self, peer: &PeerId) {
        let lasting =
            [ProviderFact::Visibility(peer.clone()), ProviderFact::Companions(peer.clone(), None)];
        let has_lasting = lasting.iter().any(|fact| self.changes.facts.contains_key(fact));
        if !has_lasting && self.by_peer.remove(peer).is_some() {
            self.bytes -= PROVIDER_BYTES;
        }
    }

    /// Removes the companions of a context whose groups of before have ended.
    pub(super) fn forget_companions(&mut self, peer: &PeerId, group: &Group, now_ms: UnixMs) {
        let fact = ProviderFact::Companions(peer.clone(), Some(group.context.clone()));
        let Some(known) = self.changes.facts.get(&fact) else { return };
        let stamp = known.stamp;
        if self.oldest_under(peer, &group.context).is_some_and(|serial| serial < stamp) {
            return;
        }
        if let Some(old) = self.changes.facts.remove(&fact) {
            self.changes.stamps.remove(&old.stamp);
            self.bytes -= FACT_BYTES + old.bytes;
        }
        if let Some(provider) = self.by_peer.get(peer) {
            provider.set_companions(Some(&group.context), CompanionSet::default(), now_ms);
        }
    }

    /// Enters a change if it is the newest of its kind.
    fn enter_fact(&mut self, fact: ProviderFact, stamp: u64, bytes: usize) -> bool {
        if self.changes.facts.get(&fact).is_some_and(|known| known.stamp >= stamp) {
            return false;
        }
        self.bytes += FACT_BYTES + bytes;
        self.changes.stamps.insert(stamp);
        if let Some(old) = self.changes.facts.insert(fact, FactInForce { stamp, bytes }) {
            self.changes.stamps.remove(&old.stamp);
            self.bytes -= FACT_BYTES + old.bytes;
        }
        true
    }
}
