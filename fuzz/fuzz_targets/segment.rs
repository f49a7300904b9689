//! Any bytes as a segment of the journal, and any payloads in blocks whose checksums match: no panic,
//! and damage is told with its place.
#![no_main]

use fingerpost::journal::{JournalError, inspect_segment, segment_of};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The first byte of each piece is the block's kind, the second its payload's length.
    let mut blocks = Vec::new();
    let mut rest = bytes;
    while let [kind, length, tail @ ..] = rest {
        let (payload, after) = tail.split_at(usize::from(*length).min(tail.len()));
        blocks.push((*kind, payload));
        rest = after;
    }
    check(&segment_of(&blocks));
});

fn check(segment: &[u8]) {
    match inspect_segment(segment) {
        Ok(_) | Err(JournalError::Version { .. }) => {}
        Err(JournalError::Corrupt { offset, .. }) => assert!(offset <= segment.len() as u64),
        Err(error) => panic!("{error}"),
    }
}
