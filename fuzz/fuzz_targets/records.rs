//! Any text as a provider record and as an address: no panic, one line of JSON, and it reads back as itself.
#![no_main]

use fingerpost::types::{
    Addr, AnswerSchema, Filter, LeftOut, ProviderRecord, ReadyRecord, UnparsableAddrs,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(addr) = Addr::parse(text) {
        assert_eq!(Addr::parse(addr.as_str()).expect("the form of an address is one"), addr);
    }
    for unparsable in [UnparsableAddrs::Drop, UnparsableAddrs::Keep] {
        let Ok(parsed) = ProviderRecord::parse(text, unparsable) else { continue };
        let json = parsed.record.to_json();
        assert!(!json.contains(['\n', '\r']));
        let again = ProviderRecord::parse(&json, unparsable).expect("what we wrote");
        assert_eq!((again.record, again.left_out), (parsed.record.clone(), LeftOut::default()));
        let ready = ReadyRecord::new(parsed.record, AnswerSchema::Peer);
        let filter = Filter::from_query("filter-addrs=tcp,!ws,unknown").expect("a sound filter");
        if let Some(selection) = filter.select(&ready) {
            let mut written = Vec::new();
            ready.write_to(&selection, &mut written);
            serde_json::from_slice::<serde_json::Value>(&written).expect("still JSON");
        }
    }
});
