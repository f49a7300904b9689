//! Answers of routers that are sound, broken, endless or hostile, and what is read of each.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::http_client::{ClientOptions, ServerUrl};

const PEER_A: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

fn record(addr: &str) -> String {
    format!(r#"{{"Schema":"peer","ID":"{PEER_A}","Addrs":["{addr}"]}}"#)
}

fn http() -> &'static HttpClient {
    static HTTP: LazyLock<HttpClient> = LazyLock::new(|| {
        let router = ServerUrl::parse("http://router.test").unwrap();
        HttpClient::new(router, ClientOptions::default()).unwrap()
    });
    &HTTP
}

fn reader(format: AnswerFormat, limits: AnswerLimits) -> AnswerReader<'static> {
    AnswerReader::new(format, limits, http())
}

fn read(format: AnswerFormat, body: &str) -> Result<ProvidersAnswer, HttpClientError> {
    let mut reader = reader(format, AnswerLimits::default());
    assert!(reader.push(body.as_bytes()).is_continue());
    reader.finish(None)
}

fn jsons(answer: &ProvidersAnswer) -> Vec<&str> {
    answer.records.iter().map(|record| &*record.json).collect()
}

#[test]
fn json_with_other_fields_and_no_records_is_empty() {
    for body in [
        r#"{"Providers":[]}"#,
        r#"{"Providers":null}"#,
        r#" {"Other":{"Providers":[1]},"Providers":[ ]} "#,
    ] {
        let answer = read(AnswerFormat::Json, body).unwrap();
        assert!(answer.records.is_empty() && answer.cut.is_none(), "{body}");
    }
    assert!(read(AnswerFormat::Ndjson, "\n \r\n").unwrap().records.is_empty());
}

#[test]
fn json_of_another_shape_is_no_answer() {
    for body in ["", "[]", "{}", r#"{"Providers":{}}"#, r#"{"Providers":[1,]}"#, "<html>", "\u{0}"]
    {
        let error = read(AnswerFormat::Json, body).unwrap_err();
        assert!(matches!(error, HttpClientError::Unusable { .. }), "{body}: {error}");
    }
}

#[test]
fn a_bad_record_costs_only_itself() {
    let good = record("/ip4/192.0.2.1/tcp/4001");
    let kept = record("not an address");
    let expected = [&good[..], &kept];
    let ndjson = format!("{good}\n{{\"Schema\":\"peer\"}}\n\nhello\n{kept}");
    let json = format!(r#"{{"Providers":[{good}, {{"Schema":"peer"}}, "hello",{kept}]}}"#);
    for (format, body) in [(AnswerFormat::Ndjson, ndjson), (AnswerFormat::Json, json)] {
        let answer = read(format, &body).unwrap();
        assert_eq!((jsons(&answer), answer.records_bad), (expected.to_vec(), 2));
        assert_eq!(answer.first_bad.as_deref(), Some("the record has no `ID`"));
        let addrs = answer.records[1].record.addrs().unwrap();
        assert_eq!(addrs[0].as_str(), "not an address");
    }
}

#[test]
fn an_answer_of_bad_records_only_is_no_answer() {
    let error = read(AnswerFormat::Ndjson, "<html>\n</html>\n").unwrap_err();
    let message = error.to_string();
    assert!(message.contains("none of its 2 records can be read: not a JSON object"), "{message}");
    assert!(read(AnswerFormat::Json, r#"{"Providers":[1]}"#).is_err());
}

#[test]
fn a_line_beyond_its_limit_is_skipped() {
    let good = record("/ip4/192.0.2.1/tcp/4001");
    let limits = AnswerLimits { record_bytes_max: good.len(), ..AnswerLimits::default() };
    let mut reader = reader(AnswerFormat::Ndjson, limits);
    for _ in 0..100 {
        assert!(reader.push(&[b'x'; 1000]).is_continue());
    }
    assert!(reader.push(format!("\n{good}\n{good} \n{good}").as_bytes()).is_continue());
    let answer = reader.finish(None).unwrap();
    assert_eq!((answer.records.len(), answer.records_bad), (3, 1));
    assert!(answer.cut.is_none());
}

#[test]
fn records_beyond_the_limit_are_not_read() {
    let limits = AnswerLimits { records_max: 3, ..AnswerLimits::default() };
    let good = record("/ip4/192.0.2.1/tcp/4001");
    for (count, is_cut) in [(3, false), (4, true), (50, true)] {
        let records = vec![&good[..]; count];
        let bodies = [
            (AnswerFormat::Ndjson, records.join("\n")),
            (AnswerFormat::Json, format!(r#"{{"Providers":[{}]}}"#, records.join(","))),
        ];
        for (format, body) in bodies {
            let mut reader = reader(format, limits);
            let _ = reader.push(body.as_bytes());
            let answer = reader.finish(None).unwrap();
            assert_eq!(answer.records.len(), 3, "{count} {format:?}");
            let is_too_large =
                matches!(answer.cut, Some(HttpClientError::TooLarge { what: "records", .. }));
            assert_eq!(is_too_large, is_cut, "{count} {format:?}");
        }
    }
}

#[test]
fn a_body_beyond_its_limit_counts_for_the_records_before_it() {
    let good = record("/ip4/192.0.2.1/tcp/4001") + "\n";
    let limits = AnswerLimits { body_bytes_max: good.len() + 10, ..AnswerLimits::default() };
    let mut ndjson = reader(AnswerFormat::Ndjson, limits);
    assert!(ndjson.push(good.as_bytes()).is_continue());
    assert!(ndjson.push(good.as_bytes()).is_break());
    let answer = ndjson.finish(None).unwrap();
    assert_eq!(answer.records.len(), 1);
    assert!(matches!(answer.cut, Some(HttpClientError::TooLarge { what: "bytes", .. })));

    let mut json = reader(AnswerFormat::Json, limits);
    assert!(json.push(&[b' '; 4096]).is_break());
    let error = json.finish(None).unwrap_err();
    assert!(matches!(error, HttpClientError::TooLarge { what: "bytes", .. }), "{error}");
}

#[test]
fn a_failure_is_the_error_unless_something_was_read_before_it() {
    let failure = || HttpClientError::TimedOut {
        url: "http://router.test".to_owned(),
        timeout: std::time::Duration::from_secs(1),
    };
    let good = record("/ip4/192.0.2.1/tcp/4001");
    for (format, body, expected) in [
        (AnswerFormat::Ndjson, format!("{good}{}", &good[..20]), Some(1)),
        (AnswerFormat::Ndjson, good[..20].to_owned(), None),
        (AnswerFormat::Json, format!(r#"{{"Providers":[{good}]}}"#), None),
    ] {
        let mut reader = reader(format, AnswerLimits::default());
        assert!(reader.push(body.as_bytes()).is_continue());
        match (reader.finish(Some(failure())), expected) {
            (Ok(answer), Some(count)) => {
                assert_eq!(answer.records.len(), count);
                assert!(matches!(answer.cut, Some(HttpClientError::TimedOut { .. })));
            }
            (Err(HttpClientError::TimedOut { .. }), None) => {}
            (other, _) => panic!("{body}: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn how_a_body_is_cut_into_pieces_changes_nothing(
        lines in proptest::collection::vec(
            prop_oneof![
                Just(record("/ip4/192.0.2.1/tcp/4001")),
                Just(record("/dns/b\u{fc}cher.example/tcp/1")),
                "[ -~]{0,30}",
            ],
            0..8,
        ),
        piece in 1usize..40,
        is_json in any::<bool>(),
    ) {
        let (format, body) = if is_json {
            (AnswerFormat::Json, format!(r#"{{"Providers":[{}]}}"#, lines.join(",")))
        } else {
            (AnswerFormat::Ndjson, lines.join("\n"))
        };
        let whole = read(format, &body).map_err(|error| error.to_string());
        let mut reader = reader(format, AnswerLimits::default());
        for bytes in body.as_bytes().chunks(piece) {
            prop_assert!(reader.push(bytes).is_continue());
        }
        let pieces = reader.finish(None).map_err(|error| error.to_string());
        match (whole, pieces) {
            (Ok(whole), Ok(pieces)) => {
                prop_assert_eq!(whole.records, pieces.records);
                prop_assert_eq!(whole.records_bad, pieces.records_bad);
            }
            (whole, pieces) => prop_assert_eq!(whole.err(), pieces.err()),
        }
    }
}
