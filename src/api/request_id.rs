//! The name of one request, in its log lines and in `X-Request-Id`.
//!
//! A caller's own id is kept if it is harmless in a log and in a header; anything else is replaced,
//! never repaired, so that two different ids cannot become one. Made ids are unique: a random part
//! for the process and a counter. They are no secret and can be guessed. Nothing here fails, and
//! nothing is allocated.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayString;

use crate::text::hex;

/// Longest id that is taken from a caller, in bytes; UUIDs and trace ids have 32 to 55.
pub(super) const REQUEST_ID_BYTES_MAX: usize = 64;

/// One request's id: 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestId(ArrayString<REQUEST_ID_BYTES_MAX>);

impl RequestId {
    /// The id as text; safe in a header, in a log line and in a URL.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let harmless =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if bytes.is_empty() || !bytes.iter().all(harmless) {
            return None;
        }
        ArrayString::from(std::str::from_utf8(bytes).ok()?).ok().map(Self)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The source of ids in one process; all workers share one.
#[derive(Debug)]
pub(super) struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl RequestIds {
    /// A source whose ids differ, but for a chance of one in 2^32, from those of other processes.
    pub(super) fn new() -> Self {
        Self { process: rand::random(), next: AtomicU64::new(1) }
    }

    /// A new id, such as `6f1c2a9b-000000000042`: eight hexadecimal digits for the process, a
    /// hyphen, twelve (after 2^48 requests: more) for the request.
    pub(super) fn next(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (process, digits) = (hex(self.process.to_be_bytes()), hex(number.to_be_bytes()));
        let (zeros, short) = digits.split_at(2);
        let digits = if zeros == [*b"00"; 2] { short } else { &digits };
        let mut text = ArrayString::new();
        for part in [process.as_flattened(), b"-", digits.as_flattened()] {
            text.push_str(std::str::from_utf8(part).expect("digits are ASCII"));
        }
        RequestId(text)
    }

    /// The caller's `X-Request-Id` if there is one that is fit to be kept, else a new id.
    pub(super) fn kept_or_new(&self, header: Option<&[u8]>) -> RequestId {
        header.and_then(RequestId::parse).unwrap_or_else(|| self.next())
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_made_id_is_the_process_in_hex_then_the_number() {
        let ids = RequestIds { process: 0x6f1c_2a9b, next: AtomicU64::new(0x42) };
        assert_eq!(ids.next().as_str(), "6f1c2a9b-000000000042");
        assert_eq!(ids.next().to_string(), "6f1c2a9b-000000000043");
    }

    #[test]
    fn a_small_process_number_keeps_its_zeros_and_a_huge_count_keeps_all_digits() {
        let ids = RequestIds { process: 0xa, next: AtomicU64::new((1 << 48) - 1) };
        assert_eq!(ids.next().as_str(), "0000000a-ffffffffffff");
        assert_eq!(ids.next().as_str(), "0000000a-0001000000000000");
    }

    #[test]
    fn ids_made_by_many_threads_are_all_different() {
        let ids = RequestIds::new();
        let made: Vec<RequestId> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1_000).map(|_| ids.next()).collect::<Vec<_>>()))
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(made.iter().collect::<HashSet<_>>().len(), 4_000);
    }

    #[test]
    fn a_harmless_id_of_the_caller_is_kept() {
        let ids = RequestIds::new();
        let longest = "x".repeat(REQUEST_ID_BYTES_MAX);
        for given in ["a", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "Trace_1.2-Z", &longest] {
            assert_eq!(ids.kept_or_new(Some(given.as_bytes())).as_str(), given);
        }
    }

    #[test]
    fn an_id_that_is_missing_empty_too_long_or_unfit_is_replaced() {
        let ids = RequestIds { process: 7, next: AtomicU64::new(0) };
        let too_long = vec![b'x'; REQUEST_ID_BYTES_MAX + 1];
        let unfit: [&[u8]; 8] =
            [b"", &too_long, b"a b", b"a\nb", b"a\"b", b"\xc3\xa9", b"\xff", b"../x"];
        assert!(ids.kept_or_new(None).as_str().starts_with("00000007-"));
        for given in unfit {
            assert!(ids.kept_or_new(Some(given)).as_str().starts_with("00000007-"));
        }
    }

    proptest! {
        #[test]
        fn whatever_the_header_holds_the_id_is_harmless(given in any::<Vec<u8>>()) {
            let id = RequestIds::new().kept_or_new(Some(&given));
            prop_assert!((1..=REQUEST_ID_BYTES_MAX).contains(&id.as_str().len()));
            prop_assert!(id.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
        }
    }
}
