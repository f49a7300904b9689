//! Which format a client wants, from its `Accept` header (RFC 9110, 12.5.1).
//!
//! What the header says of each type is read by [`media`]; here is what we make of it. An unreadable
//! header asks for nothing that we have, which is answered with 406; a blank one accepts everything.

use super::form::Format;
use crate::media;

/// The format of an answer to a request with these `Accept` lines; `None` = 406.
///
/// NDJSON only goes to those who name it, and prefer nothing else to it: a wildcard is what browsers
/// and simple tools send, and they expect one JSON object.
pub(super) fn negotiate<'a>(accept_lines: impl Iterator<Item = &'a [u8]>) -> Option<Format> {
    let mut lines = accept_lines;
    let Some(first) = lines.next() else { return Some(Format::Json) };
    let second = lines.next();
    if second.is_none()
        && let Some(format) = common_value(first)
    {
        return Some(format);
    }
    let lines = std::iter::once(first).chain(second).chain(lines);
    let formats = [Format::Json.media_type(), Format::Ndjson.media_type()];
    let Some([json, ndjson]) = media::acceptance(lines, formats) else {
        return Some(Format::Json);
    };
    let ndjson_weight = ndjson.named.unwrap_or(0);
    if ndjson_weight > 0 && ndjson_weight >= json.weight {
        return Some(Format::Ndjson);
    }
    (json.weight > 0).then_some(Format::Json)
}

/// Whether these `Accept` lines accept `media_type`, which is all that there is.
pub(super) fn accepts<'a>(accept_lines: impl Iterator<Item = &'a [u8]>, media_type: &str) -> bool {
    media::acceptance(accept_lines, [media_type]).is_none_or(|[it]| it.weight > 0)
}

/// What nearly all clients send, byte for byte: curl and fetch, Kubo, boxo, Helia.
fn common_value(value: &[u8]) -> Option<Format> {
    match value {
        b"*/*" | b"application/json" => Some(Format::Json),
        b"application/x-ndjson"
        | b"application/x-ndjson,application/json"
        | b"application/x-ndjson, application/json;q=0.8" => Some(Format::Ndjson),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn negotiate_lines(lines: &[&str]) -> Option<Format> {
        negotiate(lines.iter().map(|line| line.as_bytes()))
    }

    const JSON: Option<Format> = Some(Format::Json);
    const NDJSON: Option<Format> = Some(Format::Ndjson);

    #[test]
    fn what_real_clients_send_gets_what_they_read() {
        for (accept, format) in [
            ("application/x-ndjson", NDJSON),
            ("application/x-ndjson,application/json", NDJSON),
            ("application/x-ndjson, application/json;q=0.8", NDJSON),
            ("*/*", JSON),
            ("application/json, text/plain, */*", JSON),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
            ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON),
        ] {
            assert_eq!(negotiate_lines(&[accept]), format, "{accept}");
        }
    }

    #[test]
    fn a_single_type_is_admitted_by_name_by_kind_by_a_star_and_by_silence() {
        const RECORD: &str = "application/vnd.ipfs.ipns-record";
        let accepts = |lines: &[&str]| accepts(lines.iter().map(|line| line.as_bytes()), RECORD);
        for lines in [
            &[][..],
            &[""],
            &["*/*"],
            &["application/*"],
            &[RECORD],
            &["Application/Vnd.IPFS.ipns-record; q=0.1"],
            &["text/html", "application/vnd.ipfs.ipns-record"],
            &["text/html,*/*;q=0.8"],
        ] {
            assert!(accepts(lines), "{lines:?}");
        }
        for lines in [
            &["application/json"][..],
            &["text/html"],
            &["*/*, application/vnd.ipfs.ipns-record;q=0"],
            &["application/vnd.ipfs.ipns"],
        ] {
            assert!(!accepts(lines), "{lines:?}");
        }
    }

    #[test]
    fn no_header_and_a_blank_one_get_json() {
        for lines in [&[][..], &[""], &["  \t"], &[",, ,"], &["", " "]] {
            assert_eq!(negotiate_lines(lines), JSON, "{lines:?}");
        }
    }

    #[test]
    fn json_is_named_in_any_case_and_with_any_parameters() {
        for accept in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"utf-8, or so; q=0\"",
            "application/*",
            "APPLICATION/*;q=0.001",
            "*",
            " application/json ",
        ] {
            assert_eq!(negotiate_lines(&[accept]), JSON, "{accept}");
        }
    }

    #[test]
    fn ndjson_must_be_named_and_not_be_the_lesser_wish() {
        for (accept, format) in [
            ("application/x-ndjson;q=0.5", NDJSON),
            ("APPLICATION/X-NDJSON", NDJSON),
            ("application/json;q=0.8, application/x-ndjson;q=0.8", NDJSON),
            ("application/json, application/x-ndjson", NDJSON),
            ("application/x-ndjson, */*", NDJSON),
            ("application/x-ndjson, */*;q=0.1", NDJSON),
            ("application/x-ndjson;q=0.5, application/json;q=0", NDJSON),
            ("application/x-ndjson;q=0.5, application/json;q=0.4, */*", NDJSON),
            ("application/x-ndjson;q=0.5, */*", JSON),
            ("application/x-ndjson;q=0.5, application/*;q=0.6", JSON),
            ("application/x-ndjson;q=0.799, application/json;q=0.8", JSON),
            ("application/x-ndjson;q=0, */*", JSON),
        ] {
            assert_eq!(negotiate_lines(&[accept]), format, "{accept}");
        }
    }

    #[test]
    fn what_we_do_not_have_is_refused() {
        for accept in [
            "text/html",
            "application/vnd.ipfs.ipns-record",
            "application/json;q=0",
            "application/json;q=0.000",
            "application/x-ndjson;q=0",
            "*/*;q=0",
            "*/*, application/json;q=0",
            "application/*;q=0, */*",
            "application/jsonx, xapplication/json",
        ] {
            assert_eq!(negotiate_lines(&[accept]), None, "{accept}");
        }
    }

    #[test]
    fn the_more_exact_range_decides_whatever_its_place() {
        for (accept, format) in [
            ("application/json;q=0.2, */*;q=0, application/x-ndjson;q=0.1", JSON),
            ("*/*;q=0, application/*;q=0.3", JSON),
            ("application/*;q=0.1, */*, application/x-ndjson;q=0.2", NDJSON),
            ("application/json;q=0, application/*, application/x-ndjson;q=0.1", NDJSON),
        ] {
            assert_eq!(negotiate_lines(&[accept]), format, "{accept}");
        }
    }

    #[test]
    fn unreadable_items_are_passed_over_and_alone_ask_for_nothing() {
        for (accept, format) in [
            ("application, application/json", JSON),
            ("/, */json, a b/c, application/json;q=0.9", JSON),
            ("application/x-ndjson;q=2, application/json;q=0.1", JSON),
            ("application/x-ndjson;q=, application/json;q=0.1", JSON),
            ("application/x-ndjson;q=1.001, */*;q=0.1", JSON),
            ("json", None),
            ("application/json;q=high", None),
            ("application/json;q=-1", None),
            ("application/json/", None),
            ("\"application/json\"", None),
        ] {
            assert_eq!(negotiate_lines(&[accept]), format, "{accept}");
        }
    }

    #[test]
    fn commas_semicolons_and_escapes_in_quotes_do_not_separate() {
        for (accept, format) in [
            (r#"text/html;x="a, application/json""#, None),
            (r#"text/html;x="a\", application/json, ""#, None),
            (r#"text/html;x="a\\", application/json"#, JSON),
            (r#"application/x-ndjson;x="; q=0""#, NDJSON),
            (r#"text/html;x="never closed, application/json"#, None),
        ] {
            assert_eq!(negotiate_lines(&[accept]), format, "{accept}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(negotiate_lines(&["application/json", "application/x-ndjson"]), NDJSON);
        assert_eq!(negotiate_lines(&["application/x-ndjson;q=0.5", "*/*"]), JSON);
        assert_eq!(negotiate_lines(&["*/*", "application/json;q=0"]), None);
        assert_eq!(negotiate_lines(&["", "text/html"]), None);
    }

    fn item() -> impl Strategy<Value = String> {
        let range = prop::sample::select(vec![
            "application/json",
            "application/x-ndjson",
            "application/*",
            "*/*",
            "text/html",
            "nonsense",
            "",
        ]);
        let parameters =
            prop::sample::select(vec!["", ";q=0", ";q=0.5", ";q=0.8", ";q=1", ";v=\",;\"", ";q=x"]);
        (range, parameters).prop_map(|(range, parameters)| format!("{range}{parameters}"))
    }

    proptest! {
        #[test]
        fn anything_at_all_gets_a_decision(lines in prop::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let lines = || lines.iter().map(Vec::as_slice);
            // Ranges that name JSON with full weight leave nothing to refuse.
            let with_json = lines().chain([&b"application/json"[..]]);
            prop_assert!(negotiate(with_json).is_some());
            let _ = negotiate(lines());
        }

        #[test]
        fn neither_the_order_nor_the_division_into_lines_matters(
            (items, shuffled) in prop::collection::vec(item(), 1..8)
                .prop_flat_map(|items| (Just(items.clone()), Just(items).prop_shuffle())),
        ) {
            let apart = negotiate(items.iter().map(|item| item.as_bytes()));
            prop_assert_eq!(apart, negotiate(std::iter::once(items.join(", ").as_bytes())));
            prop_assert_eq!(apart, negotiate(std::iter::once(shuffled.join(",").as_bytes())));
        }

        #[test]
        fn ndjson_goes_only_to_those_who_name_it(items in prop::collection::vec(item(), 0..8)) {
            let list = items.join(",");
            if negotiate_lines(&[&list]) == NDJSON {
                prop_assert!(list.contains("x-ndjson"));
            }
        }
    }
}
