//! The upstream against real answers on loopback, good and hostile.

mod answers;
mod hostile;
mod ipns;
mod pauses;

use std::time::Duration;

use futures_util::StreamExt;

use super::*;
use crate::clock::ManualClock;
use crate::metrics::Gauges;
use crate::types::{ContentKey, IPNS_RECORD_BYTES_MAX, PeerId};

const CID: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";
const OTHER_PEER: &str = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3";
const RECORD: &str = r#"{"Schema":"peer","ID":"12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z","Addrs":["/ip4/192.0.2.1/tcp/4001"],"Protocols":["transport-bitswap"]}"#;

/// Sun, 06 Nov 1994 08:49:37 GMT
const NOW_MS: u64 = 784_111_777_000;

/// Long enough for any answer that comes.
const PATIENT: Duration = Duration::from_secs(30);
/// For answers that never come.
const HASTY: Duration = Duration::from_millis(150);

/// An upstream, what it counts, and what time it thinks it is.
struct Rig {
    upstream: RoutingV1Upstream,
    metrics: Metrics,
    clock: ManualClock,
}

/// All that a lookup gave.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    records: Vec<String>,
    error: Option<AskError>,
}

impl Rig {
    fn new(url: &str) -> Self {
        Self::with(url, |_| {})
    }

    fn with(url: &str, change: impl FnOnce(&mut UpstreamOptions)) -> Self {
        let url = RouterUrl::parse(url).unwrap();
        let mut options = UpstreamOptions::new(TargetId::parse("far").unwrap(), url);
        options.client.timeout = Some(PATIENT);
        change(&mut options);
        let (metrics, clock) = (Metrics::new(), ManualClock::new(NOW_MS));
        let upstream =
            RoutingV1Upstream::new(options, Clock::Manual(clock.clone()), &metrics).unwrap();
        Self { upstream, metrics, clock }
    }

    async fn ask(&self) -> Asked {
        self.ask_for(&Subject::Content(ContentKey::from_cid_text(CID).unwrap())).await
    }

    async fn ask_peer(&self) -> Asked {
        self.ask_for(&Subject::Peer(PeerId::parse(PEER).unwrap())).await
    }

    async fn ask_for(&self, subject: &Subject) -> Asked {
        let mut asked = Asked { records: Vec::new(), error: None };
        let mut batches = self.upstream.records(subject, Hops::default());
        while let Some(batch) = batches.next().await {
            assert_eq!(asked.error, None, "an error is the end");
            match batch {
                Ok(records) => {
                    assert!(!records.is_empty());
                    asked.records.extend(records.iter().map(|record| record.json().to_owned()));
                }
                Err(error) => asked.error = Some(error),
            }
        }
        asked
    }

    /// A sample of the metrics, by the end of its name and its labels.
    fn count(&self, sample: &str) -> u64 {
        let rendered = self.metrics.render(Gauges::default());
        let value = rendered.lines().find_map(|line| {
            line.strip_prefix("fingerpost_upstream_")?.strip_prefix(sample)?.strip_prefix(' ')
        });
        value.unwrap_or_else(|| panic!("no {sample} in {rendered}")).parse().unwrap()
    }

    fn outcome(&self, outcome: &str) -> u64 {
        self.count(&format!("requests_total{{upstream=\"far\",outcome=\"{outcome}\"}}"))
    }

    fn bad_records(&self) -> u64 {
        self.count("records_bad_total{upstream=\"far\"}")
    }

    fn in_flight(&self) -> u64 {
        self.count("in_flight{upstream=\"far\"}")
    }
}

fn reason(error: Option<AskError>) -> String {
    match error {
        Some(AskError::Failed(reason)) => reason.to_string(),
        other => panic!("no failure with a reason: {other:?}"),
    }
}

fn line(record: &str) -> Vec<u8> {
    format!("{record}\n").into_bytes()
}
