//! What accounts share: the answers of their upstreams, kept for a while, and the lookups under way.
//!
//! Answers are kept joined and unfiltered, by account and subject, so that one serves every filter
//! and every cap; an answer that is served from here shares its records, and the text that was made
//! of them, with all others. Memory is bounded in bytes; what is asked for seldom makes way. What a
//! server knows itself is never kept here, so that what is announced to it shows at once.
//!
//! An answer that was asked for before an account was cleared or a subject forgotten is not kept.

mod answer;
mod times;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dashmap::DashMap;
use moka::sync::Cache;

use super::Subject;
use super::coalesce::InFlight;
use super::names::{KeptName, NamesInFlight};
use crate::clock::UnixMs;
use crate::types::{AccountId, IpnsName};
pub(super) use answer::RemoteAnswer;
pub use times::CacheOptions;
use times::Freshness;

/// How many counters there are of forgotten subjects. Subjects that share one are only ever not kept
/// because of another.
const FORGOTTEN: usize = 256;

/// Answers of upstreams, and the lookups under way.
pub struct AnswerCache {
    options: CacheOptions,
    answers: Option<Cache<(u32, Subject), Kept<RemoteAnswer>>>,
    names: Option<Cache<(u32, IpnsName), Kept<KeptName>>>,
    accounts: DashMap<AccountId, Arc<CachedAccount>>,
    accounts_made: AtomicU32,
    fanouts_made: AtomicU64,
    forgotten: Box<[AtomicU64]>,
    hasher: RandomState,
    hits: AtomicU64,
    stale: AtomicU64,
    misses: AtomicU64,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) names_in_flight: Arc<NamesInFlight>,
}

/// What the cache holds, and what became of lookups in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Answers and IPNS records that are kept.
    pub entries: u64,
    /// Bytes that they take, the texts included that may be made of them.
    pub bytes: u64,
    /// Lookups that were answered from here, fresh.
    pub hits: u64,
    /// Lookups that were answered from here with what was no longer fresh.
    pub stale: u64,
    /// Lookups for which upstreams were asked.
    pub misses: u64,
}

/// An account, as the cache knows it.
pub(super) struct CachedAccount {
    number: u32,
    /// Counted up when it is cleared.
    epoch: AtomicU64,
}

/// What was kept when it was asked for.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    epoch: u64,
    forgotten: u64,
}

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

struct Kept<T> {
    epoch: u64,
    value: Arc<T>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { epoch: self.epoch, value: self.value.clone() }
    }
}

impl AnswerCache {
    /// An empty cache.
    pub fn new(options: CacheOptions) -> Self {
        let answers = (options.bytes_max > 0).then(|| {
            let weigher = |_: &_, kept: &Kept<RemoteAnswer>| weight(kept.value.bytes());
            Cache::builder().max_capacity(options.bytes_max).weigher(weigher).build()
        });
        let names = (options.names_bytes_max > 0).then(|| {
            let weigher = |_: &_, kept: &Kept<KeptName>| weight(kept.value.bytes());
            Cache::builder().max_capacity(options.names_bytes_max).weigher(weigher).build()
        });
        Self {
            options,
            answers,
            names,
            accounts: DashMap::new(),
            accounts_made: AtomicU32::new(0),
            fanouts_made: AtomicU64::new(0),
            forgotten: (0..FORGOTTEN).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            hits: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            in_flight: Arc::default(),
            names_in_flight: Arc::default(),
        }
    }

    /// Forgets what upstreams said of a subject, under every account.
    pub fn forget(&self, subject: &Subject) {
        self.forgotten_of(subject).fetch_add(1, Ordering::SeqCst);
        let Some(answers) = &self.answers else { return };
        for account in &self.accounts {
            answers.invalidate(&(account.number, subject.clone()));
        }
    }

    /// Forgets what the upstreams of an account said, as when they are others now.
    pub fn clear_account(&self, account: &AccountId) {
        if let Some(account) = self.accounts.get(account) {
            account.epoch.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What the cache holds, and what became of lookups in it.
    pub fn stats(&self) -> CacheStats {
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

    /// The account of this name, which is the same one whenever it is asked for.
    pub(super) fn account(&self, account: &AccountId) -> Arc<CachedAccount> {
        let entry = self.accounts.entry(account.clone()).or_insert_with(|| {
            let number = self.accounts_made.fetch_add(1, Ordering::Relaxed);
            Arc::new(CachedAccount { number, epoch: AtomicU64::new(0) })
        });
        entry.clone()
    }

    /// A number that nothing else has, for one set of upstreams: lookups are shared by those that would
    /// ask the same ones.
    pub(super) fn new_fanout(&self) -> u64 {
        self.fanouts_made.fetch_add(1, Ordering::Relaxed)
    }

    /// What is kept on a subject, counted.
    pub(super) fn get(&self, account: &CachedAccount, subject: &Subject, now_ms: UnixMs) -> Cached {
        let (cached, count) = match self.peek(account, subject) {
            None => (Cached::Nothing, &self.misses),
            Some(answer) => match self.options.freshness(&answer, now_ms) {
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

    /// What is to be taken before upstreams are asked.
    pub(super) fn ticket(&self, account: &CachedAccount, subject: &Subject) -> Ticket {
        Ticket {
            epoch: account.epoch.load(Ordering::SeqCst),
            forgotten: self.forgotten_of(subject).load(Ordering::SeqCst),
        }
    }

    /// Keeps what upstreams said, unless it is to be forgotten by now. What failed leaves what was kept
    /// before in its place.
    pub(super) fn keep(
        &self,
        account: &CachedAccount,
        subject: &Subject,
        answer: &Arc<RemoteAnswer>,
        ticket: Ticket,
    ) {
        if answer.is_empty() && !answer.is_whole() {
            if let Some(before) = self.peek(account, subject) {
                before.note_failure(answer.made_at_ms());
            }
            return;
        }
        let Some(answers) = &self.answers else { return };
        let key = (account.number, subject.clone());
        answers.insert(key.clone(), Kept { epoch: ticket.epoch, value: answer.clone() });
        // Whoever forgets counts first and removes then, so that one of the two sees the other.
        if self.forgotten_of(subject).load(Ordering::SeqCst) != ticket.forgotten {
            answers.invalidate(&key);
        }
    }

    /// What is kept on an IPNS name.
    pub(super) fn name(&self, account: &CachedAccount, name: &IpnsName) -> Option<Arc<KeptName>> {
        let kept = self.names.as_ref()?.get(&(account.number, name.clone()))?;
        (kept.epoch == account.epoch.load(Ordering::SeqCst)).then_some(kept.value)
    }

    /// Keeps what is known of an IPNS name.
    pub(super) fn keep_name(
        &self,
        account: &CachedAccount,
        name: &IpnsName,
        kept: Arc<KeptName>,
        epoch: u64,
    ) {
        if let Some(names) = &self.names {
            names.insert((account.number, name.clone()), Kept { epoch, value: kept });
        }
    }

    pub(super) fn options(&self) -> &CacheOptions {
        &self.options
    }

    fn peek(&self, account: &CachedAccount, subject: &Subject) -> Option<Arc<RemoteAnswer>> {
        let kept = self.answers.as_ref()?.get(&(account.number, subject.clone()))?;
        (kept.epoch == account.epoch.load(Ordering::SeqCst)).then_some(kept.value)
    }

    fn forgotten_of(&self, subject: &Subject) -> &AtomicU64 {
        let place = self.hasher.hash_one(subject) as usize % FORGOTTEN;
        self.forgotten.get(place).expect("there are that many places")
    }
}

impl CachedAccount {
    /// How often it was cleared.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
