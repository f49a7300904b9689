//! The peers that are closest to a key (IPIP-476), of all that upstreams know: merged, nearest first.
//!
//! Distance is that of Kademlia as the Amino DHT has it: the exclusive or of the sha2-256 digests of the
//! key's multihash and of the peer ID. The local index is not asked, and nothing is cached: an upstream
//! that offers this answers from a routing table of its own.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use multihash_codetable::{Code, MultihashDigest};

use super::answer::select;
use super::failure::FailureSummary;
use super::grace::GraceTimeout;
use super::{Core, PANICKED};
use crate::resolve::cache::Completeness;
use crate::resolve::{AskError, ResolveError, Upstream};
use crate::types::{ContentKey, Found, Hops, Question, ReadyRecord, Subject};

/// The most peers of an answer: as many as a bucket of the DHT has.
const PEERS_MAX: usize = 20;

/// What is known of each peer, by its distance.
type Peers = BTreeMap<Vec<u8>, Vec<Arc<ReadyRecord>>>;

pub(super) async fn find(core: &Core, question: &Question) -> Result<Found, ResolveError> {
    let Question { subject, filter, records_max, hops } = question;
    let key = identifier(&subject.multihash());
    let ask = async |upstream: &Arc<dyn Upstream>| {
        (upstream.id().clone(), ask(&**upstream, subject, *hops).await)
    };
    let all = core.upstreams.iter().map(ask);
    let mut all: FuturesUnordered<_> = all.collect();
    let mut grace = GraceTimeout::new(core.options.gather_timeout);
    let (mut peers, mut summary) = (Peers::new(), FailureSummary::default());
    let mut is_late = false;
    loop {
        let answer = tokio::select! {
            biased;
            answer = all.next() => answer,
            () = grace.is_over() => {
                // An upstream that has not answered may know closer peers.
                is_late = true;
                break;
            }
        };
        let Some((id, answer)) = answer else { break };
        for record in answer.iter().flatten() {
            if let Some(peer) = record.peer() {
                let distance = distance(&key, &identifier(&peer.multihash()));
                peers.entry(distance).or_default().push(record.clone());
            }
        }
        summary.count(&id, answer.map(drop));
        if !peers.is_empty() {
            grace.begin();
        }
    }
    if !summary.is_offered() {
        return Err(ResolveError::NotOffered);
    }
    let max = records_max.map_or(PEERS_MAX, |max| max.get().min(PEERS_MAX));
    let merged = peers.values().filter_map(|records| {
        let peer = records.first()?.peer()?;
        let merged = ReadyRecord::of_peer(peer, records.iter().map(|record| &**record));
        select(filter, &Arc::new(merged))
    });
    let records: Vec<_> = merged.take(max).collect();
    if records.is_empty()
        && let Some(failure) = summary.failure()
    {
        return Err(failure.into());
    }
    let is_partial = is_late || summary.completeness() != Completeness::Whole;
    Ok(Found { is_partial, ..Found::new(records.into(), core.clock.now_ms()) })
}

/// Asks one upstream. One that panics has failed.
async fn ask(
    upstream: &dyn Upstream,
    subject: &Subject,
    hops: Hops,
) -> Result<Vec<Arc<ReadyRecord>>, AskError> {
    let asked = AssertUnwindSafe(async { upstream.closest(subject, hops).await });
    let asked = asked.catch_unwind().await;
    asked.unwrap_or_else(|_| Err(AskError::Failed(PANICKED.into())))
}

/// Where a key or a peer stands in the DHT.
fn identifier(multihash: &ContentKey) -> Vec<u8> {
    Code::Sha2_256.digest(multihash.as_bytes()).digest().to_vec()
}

fn distance(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect()
}
