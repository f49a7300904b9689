//! Conditional requests: `If-None-Match` and `If-Modified-Since` (RFC 9110, 13.1).
//!
//! Times are sent in whole seconds, rounded **up**, and never later than now: an answer that was
//! made in the second of a change therefore carries an earlier time than the change, and a client
//! that asks with it gets the new answer.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use arrayvec::ArrayString;
use httpdate::HttpDate;

use crate::clock::UnixMs;

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
const HTTP_DATE_BYTES: usize = 29;

/// What a client can name an answer by, later.
#[derive(Clone, Debug)]
pub(super) struct Validators {
    /// A strong entity tag, with its quotes.
    pub(super) etag: HeaderValue,
    /// When the answer last changed, or somewhat later.
    pub(super) modified_at_ms: Option<UnixMs>,
}

impl Validators {
    /// The value of `Last-Modified`.
    pub(super) fn last_modified(&self, now_ms: UnixMs) -> Option<HeaderValue> {
        let seconds = self.modified_at_ms?.div_ceil(1000).min(now_ms / 1000);
        let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds));
        let mut text = ArrayString::<HTTP_DATE_BYTES>::new();
        write!(text, "{date}").expect("an HTTP date has 29 bytes");
        Some(HeaderValue::from_str(&text).expect("an HTTP date is ASCII"))
    }
}

/// Whether the client has the answer already. `If-None-Match` alone decides where there is one.
pub(super) fn is_not_modified(headers: &HeaderMap, validators: &Validators) -> bool {
    if headers.contains_key(header::IF_NONE_MATCH) {
        let own = validators.etag.as_bytes();
        return headers.get_all(header::IF_NONE_MATCH).any(|line| names_tag(line.as_bytes(), own));
    }
    let since = headers.get(header::IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    let Some(since) = since.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return false;
    };
    validators.modified_at_ms.is_some_and(|ms| modified_second(ms) <= since)
}

fn modified_second(ms: UnixMs) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(ms.div_ceil(1000))
}

/// Whether a list names `own` or all tags. For reads, weak tags (`W/`) compare like strong ones. Commas
/// in the quotes of a tag are no concern: our tags have none.
pub(super) fn names_tag(list: &[u8], own: &[u8]) -> bool {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|tag| {
        let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
        tag == b"*" || tag == own
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: header::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    fn validators(modified_at_ms: UnixMs) -> Validators {
        Validators {
            etag: HeaderValue::from_static("\"abc\""),
            modified_at_ms: Some(modified_at_ms),
        }
    }

    #[test]
    fn a_matching_tag_means_not_modified() {
        for (list, expected) in [
            ("\"abc\"", true),
            ("W/\"abc\"", true),
            ("\"x\", \"abc\"", true),
            ("*", true),
            ("\"x\"", false),
            ("abc", false),
            ("", false),
        ] {
            let headers = asked(header::IF_NONE_MATCH, list);
            assert_eq!(is_not_modified(&headers, &validators(0)), expected, "{list}");
        }
    }

    #[test]
    fn a_change_in_the_second_of_an_answer_is_seen_by_the_next_question() {
        // Changed at 10.2 s, answered at 10.3 s, changed again at 10.8 s.
        let sent = validators(10_200).last_modified(10_300).unwrap();
        let headers = asked(header::IF_MODIFIED_SINCE, sent.to_str().unwrap());
        assert!(!is_not_modified(&headers, &validators(10_800)));
        // Answered again in a later second: now nothing is new.
        let sent = validators(10_800).last_modified(12_000).unwrap();
        let headers = asked(header::IF_MODIFIED_SINCE, sent.to_str().unwrap());
        assert!(is_not_modified(&headers, &validators(10_800)));
    }

    #[test]
    fn a_tag_decides_before_a_date() {
        let mut headers = asked(header::IF_NONE_MATCH, "\"x\"");
        let date = HeaderValue::from_static("Fri, 01 Jan 2100 00:00:00 GMT");
        headers.insert(header::IF_MODIFIED_SINCE, date);
        assert!(!is_not_modified(&headers, &validators(0)));
    }
}
