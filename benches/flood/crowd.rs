//! A crowd of cheap peers of one network on one key: who is served, what an answer costs, and what the
//! crowd takes up. Within this process.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use fingerpost::index::{GroupSpec, Index};
use fingerpost::store::IndexLimits;
use fingerpost::types::{
    AnswerSchema, ContentKey, Filter, Origin, PeerId, ProviderRecord, ReadyRecord, UnparsableAddrs,
};
use serde_json::json;

const CROWD: u64 = 100_000;

/// The few that the answers are compared with.
const FEW: u64 = 1_000;

const ANSWERS: u32 = 2_000;
const RECORDS_MAX: NonZeroUsize = NonZeroUsize::new(100).expect("not zero");
const SECOND_MS: u64 = 1_000;

/// What a lookup of the key saw and cost.
struct Answers {
    ns_each: f64,
    /// In how many parts of the answers each of those that matter was.
    operators: f64,
    older: f64,
    elsewhere: f64,
}

pub(crate) fn run() -> anyhow::Result<()> {
    let (few, many) = (index_with(FEW)?, index_with(CROWD)?);
    let (reference, answers) = (answers(&few)?, answers(&many)?);
    let ratio = answers.ns_each / reference.ns_each;
    let bytes_ratio = many.stats().bytes as f64 / few.stats().bytes as f64;
    println!(
        "{CROWD} cheap peers of one network on a key, {} kept: an answer takes {ratio:.2} times that \
         of {FEW}, the index {bytes_ratio:.2} times; in an answer: the operator's {:.2}, an older one \
         of the network {:.2}, one of another {:.2}",
        many.stats().entries,
        answers.operators,
        answers.older,
        answers.elsewhere
    );
    println!(
        "{}",
        json!({
            "bench": "flood", "crowd": CROWD, "kept": many.stats().entries,
            "answer_ratio": ratio, "bytes_ratio": bytes_ratio, "operators": answers.operators,
            "older": answers.older, "elsewhere": answers.elsewhere,
        })
    );
    Ok(())
}

fn index_with(crowd: u64) -> anyhow::Result<Index> {
    let index =
        Index::with_limits(IndexLimits { key_network_max: 1_000, ..IndexLimits::default() });
    let (crowded, other) = ([192, 0, 2, 1].into(), [198, 51, 100, 1].into());
    announce(&index, 0, Origin::OPERATOR, SECOND_MS)?;
    announce(&index, 1, Origin::of_client(crowded), SECOND_MS)?;
    announce(&index, 2, Origin::of_client(other), 3 * SECOND_MS)?;
    for number in 0..crowd {
        announce(&index, 10 + number, Origin::of_client(crowded), 2 * SECOND_MS)?;
    }
    Ok(index)
}

fn announce(index: &Index, peer: u64, origin: Origin, now_ms: u64) -> anyhow::Result<()> {
    let id = peer_id(peer)?;
    let json = format!(r#"{{"Schema":"peer","ID":"{id}","Addrs":["/ip4/192.0.2.1/tcp/4001"]}}"#);
    let record = ProviderRecord::parse(&json, UnparsableAddrs::Drop)?.record;
    let record = Arc::new(ReadyRecord::new(record, AnswerSchema::Announced));
    let spec = GroupSpec { record, context: Arc::default(), expires_at_ms: None, origin };
    let group = index.intern(&spec, now_ms)?;
    index.link_all(&group, &[key()?], now_ms)?;
    Ok(())
}

fn answers(index: &Index) -> anyhow::Result<Answers> {
    let (key, filter) = (key()?, Filter::default());
    let of_interest = [peer_id(0)?, peer_id(1)?, peer_id(2)?];
    let mut served = [0_u32; 3];
    let begun = Instant::now();
    let mut found = Vec::with_capacity(ANSWERS as usize);
    for _ in 0..ANSWERS {
        found.push(index.find(&key, &filter, Some(RECORDS_MAX), 4 * SECOND_MS));
    }
    let ns_each = begun.elapsed().as_nanos() as f64 / f64::from(ANSWERS);
    for answer in &found {
        ensure!(answer.records.len() == RECORDS_MAX.get(), "an answer is full");
        for (count, peer) in served.iter_mut().zip(&of_interest) {
            let is_served = answer.records.iter().any(|(record, _)| record.peer() == Some(peer));
            *count += u32::from(is_served);
        }
    }
    let [operators, older, elsewhere] = served.map(|count| f64::from(count) / f64::from(ANSWERS));
    Ok(Answers { ns_each, operators, older, elsewhere })
}

fn key() -> anyhow::Result<ContentKey> {
    Ok(ContentKey::from_multihash(&[&[0x12, 0x20][..], &[7; 32]].concat())?)
}

fn peer_id(number: u64) -> anyhow::Result<PeerId> {
    let bytes = [&[0, 36, 8, 1, 18, 32][..], &number.to_be_bytes(), &[9; 24]].concat();
    Ok(PeerId::parse(&multibase::Base::Base58Btc.encode(bytes))?)
}
