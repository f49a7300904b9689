//! Any bytes as `Retry-After`, at any time: no panic; a backoff is within its bounds; blanks around the
//! value change nothing; and who reads the same value later waits no longer.
#![no_main]

use std::time::Duration;

use fingerpost::upstream::parse_retry_after;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, u64, &[u8])| {
    let (now_ms, passed_ms, value) = input;
    let backoff = parse_retry_after(value, now_ms);
    if let Some(backoff) = backoff {
        assert!((Duration::from_secs(1)..=Duration::from_hours(1)).contains(&backoff));
    }
    assert_eq!(parse_retry_after(&[b" \t", value, b" "].concat(), now_ms), backoff);
    let later = parse_retry_after(value, now_ms.saturating_add(passed_ms));
    assert_eq!(later.is_some(), backoff.is_some());
    assert!(later <= backoff);
    // What may be a date seldom is one: digits are always seconds.
    let digits: Vec<u8> = value.iter().map(|byte| b'0' + byte % 10).collect();
    assert_eq!(parse_retry_after(&digits, now_ms).is_some(), !digits.is_empty());
});
