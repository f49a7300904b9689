//! Any query string as a filter over a record with every kind of address: no panic, and what
//! passes is JSON with no more addresses than before.
#![no_main]

use fingerpost::types::{AnswerSchema, Filter, ProviderRecord, ReadyRecord, UnparsableAddrs};
use libfuzzer_sys::fuzz_target;

const RECORD: &str = r#"{"Schema":"peer","ID":"12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z","Addrs":["/ip4/192.0.2.1/tcp/1","/ip4/192.0.2.1/udp/1/quic-v1/webtransport","/dns4/example.org/tcp/443/wss"],"Protocols":["transport-bitswap"]}"#;

fuzz_target!(|query: &str| {
    let Ok(filter) = Filter::from_query(query) else { return };
    let parsed = ProviderRecord::parse(RECORD, UnparsableAddrs::Drop).expect("a sound record");
    let record = ReadyRecord::new(parsed.record, AnswerSchema::Announced);
    if let Some(selection) = filter.select(&record) {
        let mut json = Vec::new();
        record.write_to(&selection, &mut json);
        let json: serde_json::Value = serde_json::from_slice(&json).expect("still JSON");
        let addrs = json["Addrs"].as_array().expect("still a list").len();
        assert!((1..=record.addr_count()).contains(&addrs));
    }
});
