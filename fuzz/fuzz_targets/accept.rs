//! Any bytes as an `Accept` header: no panic; NDJSON only for who names it, JSON only for who does
//! not rule it out; and blanks around the header change nothing.
#![no_main]

use fingerpost::api::negotiated;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|accept: &[u8]| {
    let format = negotiated(accept);
    let lower = accept.to_ascii_lowercase();
    let names = |text: &[u8]| lower.windows(text.len()).any(|window| window == text);
    match format {
        Some("application/x-ndjson") => assert!(names(b"application/x-ndjson")),
        Some("application/json") => {
            let is_blank = lower.iter().all(|byte| b" \t\r\n\x0c,".contains(byte));
            assert!(is_blank || names(b"*") || names(b"application/json"));
        }
        Some(other) => panic!("{other}"),
        None => {}
    }
    assert_eq!(negotiated(&[b" ", accept, b" "].concat()), format);
});
