//! Any bytes as a CAR: no panic, no large allocation, and never more keys than bytes.
#![no_main]

use fingerpost::ingest::{ImportOptions, ImportSource, import_source};
use fingerpost::store::Applied;
use fingerpost::types::{ProviderRecord, UnparsableAddrs};
use libfuzzer_sys::fuzz_target;

const RECORD: &str =
    r#"{"Schema":"peer","ID":"12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z"}"#;

fuzz_target!(|bytes: &[u8]| {
    let record = ProviderRecord::parse(RECORD, UnparsableAddrs::Drop).expect("a sound record");
    let mut options = ImportOptions::new(0);
    options.car_record = Some(record.record);
    options.verify = bytes.first().is_some_and(|byte| byte % 2 == 0);
    let mut keys = 0;
    let mut sink = |updates: Vec<fingerpost::store::Update>| {
        keys += updates.iter().flat_map(|update| &update.announcements).map(|announced| announced.keys.len()).sum::<usize>();
        Ok(Applied::default())
    };
    let source = ImportSource::car("fuzz.car", bytes.to_vec());
    // A file that is no CAR is refused; what matters is that nothing else happens.
    let _ = import_source(source, &options, &mut sink, &mut ());
    assert!(keys <= bytes.len());
});
