//! Any bytes as an NDJSON file: no panic, and every rejection and error is one line.
#![no_main]

use fingerpost::ingest::{ImportOptions, ImportSource, import_source};
use fingerpost::store::Applied;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut keys = 0;
    let mut sink = |updates: Vec<fingerpost::store::Update>| {
        keys += updates.iter().flat_map(|update| &update.announcements).map(|announced| announced.keys.len()).sum::<usize>();
        Ok(Applied::default())
    };
    let mut options = ImportOptions::new(0);
    options.line_bytes_max = 4096;
    options.record_bytes_max = 1024;
    let source = ImportSource::ndjson("fuzz.ndjson", bytes.to_vec());
    let result = import_source(source, &options, &mut sink, &mut ());
    if let Ok(summary) = &result {
        assert_eq!(summary.counts.records, keys as u64);
    }
    let text = result.map_or_else(|failure| failure.to_string(), |summary| summary.to_string());
    assert!(!text.contains('\n'));
});
