//! The cache of upstreams' answers, shared by all targets.
//!
//! Answers are kept merged and unfiltered, by target and subject, so that one serves every filter
//! and every cap; an answer that is served from here shares its records, and the text that was made
//! of them, with all others. Memory is bounded in bytes; what is asked for seldom is evicted. The
//! local index's records are never cached, so that announcements show at once.

mod answer;
mod ipns;
mod times;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dashmap::DashMap;
use moka::Entry;
use moka::ops::compute::Op;
use moka::sync::Cache;

use crate::clock::UnixMs;
use crate::types::{IpnsName, Subject, TargetId};
pub(super) use answer::{Completeness, RemoteAnswer};
pub(super) use ipns::{CachedIpns, is_valid};
pub(crate) use times::CacheOptions;
use times::Freshness;

/// Answers of upstreams.
pub(crate) struct AnswerCache {
    options: CacheOptions,
    answers: Option<Cache<(u32, Subject), Arc<RemoteAnswer>>>,
    names: Option<Cache<(u32, IpnsName), Arc<CachedIpns>>>,
    targets: DashMap<TargetId, CachedTarget>,
    targets_made: AtomicU32,
    hits: AtomicU64,
    stale: AtomicU64,
    misses: AtomicU64,
}

/// What the cache holds, and what became of lookups in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheStats {
    /// Answers and IPNS records that are kept.
    pub(crate) entries: u64,
    /// Bytes that they take, the texts included that may be made of them.
    pub(crate) bytes: u64,
    /// Lookups that were answered from here, fresh.
    pub(crate) hits: u64,
    /// Lookups that were answered from here with what was no longer fresh.
    pub(crate) stale: u64,
    /// Lookups for which upstreams were asked.
    pub(crate) misses: u64,
}

/// A target, as the cache knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct CachedTarget(u32);

/// What is kept on a subject.
pub(super) enum Cached {
    /// To be served.
    Fresh(Arc<RemoteAnswer>),
    /// To be served, while it is asked for anew.
    Stale(Arc<RemoteAnswer>),
    /// To be served without asking anew, which has just failed.
    StaleAfterFailure(Arc<RemoteAnswer>),
    /// To be served if asking anew fails.
    Reserve(Arc<RemoteAnswer>),
    /// Nothing that is good for anything.
    Nothing,
}

impl AnswerCache {
    /// An empty cache.
    pub(crate) fn new(options: CacheOptions) -> Self {
        let answers = (options.bytes_max > 0).then(|| {
            let weigher = |_: &_, kept: &Arc<RemoteAnswer>| weight(kept.bytes());
            Cache::builder().max_capacity(options.bytes_max).weigher(weigher).build()
        });
        let names = (options.names_bytes_max > 0).then(|| {
            let weigher = |_: &_, kept: &Arc<CachedIpns>| weight(kept.bytes());
            Cache::builder().max_capacity(options.names_bytes_max).weigher(weigher).build()
        });
        Self {
            options,
            answers,
            names,
            targets: DashMap::new(),
            targets_made: AtomicU32::new(0),
            hits: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// What the cache holds, and what became of lookups in it.
    pub(crate) fn stats(&self) -> CacheStats {
        let answers = self.answers.as_ref().map(|it| (it.entry_count(), it.weighted_size()));
        let names = self.names.as_ref().map(|it| (it.entry_count(), it.weighted_size()));
        let (answers, names) = (answers.unwrap_or_default(), names.unwrap_or_default());
        CacheStats {
            entries: answers.0 + names.0,
            bytes: answers.1 + names.1,
            hits: self.hits.load(Ordering::Relaxed),
            stale: self.stale.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    /// What the cache knows this target as: the same whenever it is asked for.
    pub(super) fn target(&self, target: &TargetId) -> CachedTarget {
        let make = || CachedTarget(self.targets_made.fetch_add(1, Ordering::Relaxed));
        *self.targets.entry(target.clone()).or_insert_with(make)
    }

    /// What is kept on a subject, counted.
    pub(super) fn get(&self, target: CachedTarget, subject: &Subject, now_ms: UnixMs) -> Cached {
        let kept = self.answers.as_ref().and_then(|it| it.get(&(target.0, subject.clone())));
        let kept = kept.map(|kept| {
            let freshness = self.options.freshness(&kept, now_ms);
            (freshness, self.options.current(kept, now_ms))
        });
        let (cached, count) = match kept {
            None => (Cached::Nothing, &self.misses),
            Some((freshness, answer)) => match freshness {
                Freshness::Fresh => (Cached::Fresh(answer), &self.hits),
                Freshness::Stale => (Cached::Stale(answer), &self.stale),
                Freshness::StaleAfterFailure => (Cached::StaleAfterFailure(answer), &self.stale),
                Freshness::Reserve => (Cached::Reserve(answer), &self.misses),
                Freshness::Gone => (Cached::Nothing, &self.misses),
            },
        };
        count.fetch_add(1, Ordering::Relaxed);
        cached
    }

    /// Caches an answer, and returns what is served of it. A failed one leaves the cached one in place; a
    /// partial one is merged with it, to `records_max` records.
    pub(super) fn keep(
        &self,
        target: CachedTarget,
        subject: &Subject,
        answer: RemoteAnswer,
        records_max: usize,
    ) -> Arc<RemoteAnswer> {
        let mut served = Arc::new(answer);
        let Some(answers) = &self.answers else { return served };
        // Nothing else is kept on the subject in between.
        answers.entry((target.0, subject.clone())).and_compute_with(|before| {
            let before = before.map(Entry::into_value);
            let put = self.put(before.as_ref(), &mut served, subject, records_max);
            if let (Op::Put(answer), Some(before)) = (&put, &before) {
                answer.follow_on(before);
            }
            put
        });
        served
    }

    /// What is to be kept after `before`. An answer that is partial is merged with what is left of that.
    fn put(
        &self,
        before: Option<&Arc<RemoteAnswer>>,
        answer: &mut Arc<RemoteAnswer>,
        subject: &Subject,
        records_max: usize,
    ) -> Op<Arc<RemoteAnswer>> {
        if answer.is_whole() {
            return Op::Put(answer.clone());
        }
        let now_ms = answer.made_at_ms();
        if answer.is_empty() {
            if answer.is_partial() {
                before.iter().for_each(|before| before.record_failure(now_ms));
            }
            return Op::Nop;
        }
        let Some(base) = before.and_then(|before| self.options.base(before, now_ms)) else {
            return Op::Put(answer.clone());
        };
        // Routers in a loop could otherwise keep an answer alive between them for ever.
        if !answer.is_partial() {
            return if base.is_whole() { Op::Nop } else { Op::Put(answer.clone()) };
        }
        *answer = Arc::new(answer.merged_with(&base, subject, records_max));
        let is_fresh = |before: &Arc<RemoteAnswer>| {
            before.is_whole() && self.options.freshness(before, now_ms) == Freshness::Fresh
        };
        if before.is_some_and(is_fresh) { Op::Nop } else { Op::Put(answer.clone()) }
    }

    /// What is kept on an IPNS name.
    pub(super) fn name(&self, target: CachedTarget, name: &IpnsName) -> Option<Arc<CachedIpns>> {
        self.names.as_ref()?.get(&(target.0, name.clone()))
    }

    /// Keeps what is known of an IPNS name.
    pub(super) fn keep_name(&self, target: CachedTarget, name: &IpnsName, kept: CachedIpns) {
        if let Some(names) = &self.names {
            names.insert((target.0, name.clone()), Arc::new(kept));
        }
    }

    pub(super) fn options(&self) -> &CacheOptions {
        &self.options
    }
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
