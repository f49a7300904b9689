//! Media types: what a `Content-Type` names, and which a client accepts, from its `Accept` header (RFC
//! 9110, 8.3.1 and 12.5.1).
//!
//! All lines of the header are one list. A range that names a type counts more than one that names
//! its kind (`application/*`), and that more than `*/*`; `q=0` excludes. Parameters other than `q`
//! do not narrow a range: our types have none.
//!
//! The header is a wish of someone unknown, so nothing here fails: an item that cannot be read is
//! passed over. A list of nothing but such items asks for nothing that we have; a blank list is no
//! list. Nothing is allocated.

/// What a `Content-Type` names, in lower case and without parameters; empty where it names nothing.
pub(crate) fn essence(content_type: &[u8]) -> String {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    String::from_utf8_lossy(essence.trim_ascii()).to_ascii_lowercase()
}

/// A weight in thousandths, 0 to 1,000, as `q` gives it.
pub(crate) type Weight = u16;

/// How much a client wants a media type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acceptance {
    /// The weight that it gives the type by its name; `None`: it does not name it.
    pub(crate) named: Option<Weight>,
    /// The weight that it gives the type by its name, its kind or a star; 0: it does not accept it.
    pub(crate) weight: Weight,
}

/// How much these `Accept` lines want each of `media_types`; `None`: they say nothing, which accepts
/// everything.
pub(crate) fn acceptance<'a, const N: usize>(
    accept_lines: impl Iterator<Item = &'a [u8]>,
    media_types: [&str; N],
) -> Option<[Acceptance; N]> {
    let mut qualities = [const { Quality::NOTHING }; N];
    let mut blank = true;
    for item in accept_lines.flat_map(items) {
        blank = false;
        if let Some(range) = Range::parse(item) {
            for (quality, media_type) in qualities.iter_mut().zip(media_types) {
                quality.note(&range, media_type);
            }
        }
    }
    if blank { None } else { Some(qualities.map(Quality::acceptance)) }
}

/// What a list says about one media type, by how exactly it says it. Of ranges that are equally
/// exact the most generous counts.
struct Quality {
    exact: Option<Weight>,
    kind: Option<Weight>,
    any: Option<Weight>,
}

impl Quality {
    const NOTHING: Self = Self { exact: None, kind: None, any: None };

    fn note(&mut self, range: &Range<'_>, media_type: &str) {
        let Some((kind, name)) = media_type.split_once('/') else { return };
        let slot = match (range.kind, range.name) {
            (b"*", b"*") => &mut self.any,
            (range_kind, b"*") if range_kind.eq_ignore_ascii_case(kind.as_bytes()) => {
                &mut self.kind
            }
            (range_kind, range_name)
                if range_kind.eq_ignore_ascii_case(kind.as_bytes())
                    && range_name.eq_ignore_ascii_case(name.as_bytes()) =>
            {
                &mut self.exact
            }
            _ => return,
        };
        *slot = (*slot).max(Some(range.weight));
    }

    fn acceptance(self) -> Acceptance {
        let weight = self.exact.or(self.kind).or(self.any).unwrap_or(0);
        Acceptance { named: self.exact, weight }
    }
}

/// One readable item of the list.
struct Range<'a> {
    kind: &'a [u8],
    name: &'a [u8],
    weight: Weight,
}

impl<'a> Range<'a> {
    fn parse(item: &'a [u8]) -> Option<Self> {
        let mut parts = split_outside_quotes(item, b';');
        let (kind, name) = match parts.next()?.trim_ascii() {
            // Java's built-in client sends a lone star for `*/*`.
            b"*" => (&b"*"[..], &b"*"[..]),
            range => split_once(range, b'/')?,
        };
        if !is_token(kind) || !is_token(name) || (kind == b"*" && name != b"*") {
            return None;
        }
        let mut weight = 1_000;
        for parameter in parts {
            if let Some((b"q" | b"Q", value)) = split_once(parameter, b'=')
                .map(|(name, value)| (name.trim_ascii(), value.trim_ascii()))
            {
                weight = parse_weight(value)?;
                // What follows `q` extends the request, not the media type.
                break;
            }
        }
        Some(Self { kind, name, weight })
    }
}

/// `1`, `0.8`, `1.000`; also `.2` and more than three digits, both of which are seen, cut off.
fn parse_weight(value: &[u8]) -> Option<Weight> {
    let (whole, fraction) = split_once(value, b'.').unwrap_or((value, b""));
    let thousandths = match whole {
        b"0" => 0,
        b"" if !fraction.is_empty() => 0,
        b"1" => 1_000,
        _ => return None,
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(b"000").take(3);
    let fraction = digits.fold(0, |sum, digit| sum * 10 + Weight::from(digit - b'0'));
    (thousandths + fraction <= 1_000).then_some(thousandths + fraction)
}

/// The items of one line, trimmed, without blank ones.
fn items(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    split_outside_quotes(line, b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// Splits at a separator that stands in no quoted string. A quote that is not closed runs to the
/// end.
fn split_outside_quotes(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |&byte| {
        let separates = byte == separator && !quoted;
        quoted ^= byte == b'"' && !escaped;
        escaped = quoted && byte == b'\\' && !escaped;
        separates
    })
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// A token of RFC 9110, 5.6.2.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_the_weight_of_the_most_exact_range_that_covers_it() {
        let wanted = |text: &str| {
            let lines = std::iter::once(text.as_bytes());
            acceptance(lines, ["application/json", "application/hal+json", "text/html"])
                .map(|all| all.map(|it| (it.named, it.weight)))
        };
        assert_eq!(wanted(" , "), None);
        assert_eq!(
            wanted("application/hal+json;q=0.5, application/*;q=0.7, */*;q=0.1"),
            Some([(None, 700), (Some(500), 500), (None, 100)])
        );
        assert_eq!(wanted("nonsense"), Some([(None, 0); 3]));
    }

    #[test]
    fn an_essence_is_in_lower_case_and_without_parameters() {
        for (content_type, expected) in [
            ("application/json", "application/json"),
            (" Application/JSON ; charset=utf-8", "application/json"),
            ("text/html;a=b;c", "text/html"),
            ("", ""),
            (";", ""),
        ] {
            assert_eq!(essence(content_type.as_bytes()), expected, "{content_type}");
        }
        assert_eq!(essence(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn weights_are_read_to_three_digits() {
        for (text, weight) in [
            ("0", Some(0)),
            ("1", Some(1_000)),
            ("1.000", Some(1_000)),
            ("0.7000000000000001", Some(700)),
            (".2", Some(200)),
            ("0.05", Some(50)),
            ("1.", Some(1_000)),
            ("", None),
            (".", None),
            ("1.001", None),
            ("0.1x", None),
            ("10", None),
        ] {
            assert_eq!(parse_weight(text.as_bytes()), weight, "{text}");
        }
    }
}
