//! Filters: `transport` (seeds/002), `filter-addrs` and `filter-protocols` (IPIP-484).
//!
//! A filter is parsed once a request, into sets of multiaddr protocols; selecting from a record
//! then compares bits. Parameters combine by AND; the lists of a repeated one are concatenated; an
//! empty one is no filter.

use thiserror::Error;

use super::addr::ProtocolSet;
use super::ready::{ReadyRecord, Selection};

/// The most terms that one parameter may have.
pub(crate) const TERMS_MAX: usize = 64;

/// The most characters that one term may have.
pub(crate) const TERM_CHARS_MAX: usize = 63;

/// Which records, and which of their addresses, a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    transport: Option<ProtocolSet>,
    addrs: Option<AddrFilter>,
    protocols: Option<ProtocolFilter>,
}

/// Why a filter cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FilterError {
    /// More terms than are accepted.
    #[error("{parameter}: {terms} terms, at most {TERMS_MAX} are accepted")]
    TooManyTerms {
        /// The query parameter.
        parameter: &'static str,
        /// How many there are.
        terms: usize,
    },
    /// A value that is not percent-encoded UTF-8.
    #[error("{parameter}: not percent-encoded UTF-8")]
    Encoding {
        /// The query parameter.
        parameter: &'static str,
    },
    /// A term longer than any protocol's name.
    #[error("{parameter}: a term of {chars} characters, at most {TERM_CHARS_MAX} are accepted")]
    TermTooLong {
        /// The query parameter.
        parameter: &'static str,
        /// How long it is.
        chars: usize,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct AddrFilter {
    /// An address needs one of these; `None`: no term asks for any.
    any: Option<ProtocolSet>,
    /// An address with one of these does not pass; `None`: no term denies any.
    none: Option<ProtocolSet>,
    /// Records without addresses pass.
    unknown: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct ProtocolFilter {
    names: Vec<String>,
    unknown: bool,
}

impl Filter {
    /// Reads the filter out of a query string, percent-encoded as it stands in the URL. Other
    /// parameters are ignored.
    pub fn from_query(query: &str) -> Result<Self, FilterError> {
        if query.is_empty() {
            return Ok(Self::default());
        }
        let transport = FilterTerms::read("transport", query)?;
        let addrs = FilterTerms::read("filter-addrs", query)?;
        let protocols = FilterTerms::read("filter-protocols", query)?;
        Ok(Self {
            transport: transport.map(|terms| terms.protocol_set()),
            addrs: addrs.map(|terms| terms.into_addr_filter()),
            protocols: protocols.map(|terms| terms.into_protocol_filter()),
        })
    }

    /// Whether it passes everything.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The part of a record that passes; `None`: none of it.
    pub fn select(&self, record: &ReadyRecord) -> Option<Selection> {
        if !self.protocols.as_ref().is_none_or(|filter| filter.passes(record)) {
            return None;
        }
        if self.transport.is_none() && self.addrs.is_none() {
            return Some(Selection::Whole);
        }
        // Filters do not apply to an unknown schema without a usual list of addresses.
        let Some(addrs) = record.addr_protocols() else {
            let is_opaque = record.schema() == super::Schema::Unknown;
            return (is_opaque || self.passes_without_addrs()).then_some(Selection::Whole);
        };
        if !record.has_addrs() {
            return self.passes_without_addrs().then_some(Selection::Whole);
        }
        let passing = addrs.enumerate().filter(|(_, protocols)| self.passes_addr(*protocols));
        let kept: smallvec::SmallVec<[u16; 12]> =
            passing.filter_map(|(position, _)| u16::try_from(position).ok()).collect();
        match kept.len() {
            0 => None,
            all if all == record.addr_count() => Some(Selection::Whole),
            _ => Some(Selection::Addrs(kept)),
        }
    }

    fn passes_addr(&self, protocols: ProtocolSet) -> bool {
        self.transport.is_none_or(|any| protocols.intersects(any))
            && self.addrs.as_ref().is_none_or(|filter| filter.passes(protocols))
    }

    fn passes_without_addrs(&self) -> bool {
        self.transport.is_none() && self.addrs.as_ref().is_none_or(|filter| filter.unknown)
    }
}

impl AddrFilter {
    fn passes(&self, protocols: ProtocolSet) -> bool {
        // There is at least one term.
        let only_unknown = self.any.is_none() && self.none.is_none();
        !only_unknown
            && !self.none.is_some_and(|none| protocols.intersects(none))
            && self.any.is_none_or(|any| protocols.intersects(any))
    }
}

impl ProtocolFilter {
    fn passes(&self, record: &ReadyRecord) -> bool {
        let Some(protocols) = record.protocol_names() else { return true };
        let is_named =
            |protocol: &String| self.names.iter().any(|name| name.eq_ignore_ascii_case(protocol));
        (self.unknown && protocols.is_empty()) || protocols.iter().any(is_named)
    }
}

/// Whether each `%` begins an escape, and the decoded text is UTF-8.
pub(super) fn is_percent_encoded_text(raw: &str) -> bool {
    let is_escape = |rest: &str| {
        rest.get(..2).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    raw.split('%').skip(1).all(is_escape)
        && percent_encoding::percent_decode_str(raw).decode_utf8().is_ok()
}

/// The terms of one parameter, trimmed and in lower case.
struct FilterTerms(Vec<String>);

impl FilterTerms {
    /// `None` where the parameter is missing or empty.
    fn read(parameter: &'static str, query: &str) -> Result<Option<Self>, FilterError> {
        let pairs = query
            .split('&')
            .flat_map(|raw| form_urlencoded::parse(raw.as_bytes()).map(move |pair| (raw, pair)));
        let mut terms = Vec::new();
        let mut count = 0;
        for (raw, (_, value)) in pairs.filter(|(_, (name, _))| name == parameter) {
            // The decoder replaces what it cannot decode.
            if !is_percent_encoded_text(raw) {
                return Err(FilterError::Encoding { parameter });
            }
            // A lone `!` denies nothing, so it is skipped.
            let all = value.split(',').map(str::trim);
            for term in all.filter(|term| !term.trim_start_matches('!').is_empty()) {
                let chars = term.chars().count();
                if chars > TERM_CHARS_MAX {
                    return Err(FilterError::TermTooLong { parameter, chars });
                }
                count += 1;
                if count <= TERMS_MAX {
                    terms.push(term.to_ascii_lowercase());
                }
            }
        }
        if count > TERMS_MAX {
            return Err(FilterError::TooManyTerms { parameter, terms: count });
        }
        Ok((!terms.is_empty()).then_some(Self(terms)))
    }

    /// The named protocols; unknown names match nothing.
    fn protocol_set(&self) -> ProtocolSet {
        let sets = self.0.iter().filter_map(|name| ProtocolSet::of_name(name));
        sets.fold(ProtocolSet::EMPTY, |all, one| all | one)
    }

    fn into_addr_filter(self) -> AddrFilter {
        let mut filter = AddrFilter::default();
        for term in &self.0 {
            if term == "unknown" {
                filter.unknown = true;
            } else if let Some(name) = term.strip_prefix('!') {
                *filter.none.get_or_insert_default() |=
                    ProtocolSet::of_name(name.trim()).unwrap_or_default();
            } else {
                *filter.any.get_or_insert_default() |=
                    ProtocolSet::of_name(term).unwrap_or_default();
            }
        }
        filter
    }

    fn into_protocol_filter(mut self) -> ProtocolFilter {
        let all = self.0.len();
        self.0.retain(|term| term != "unknown");
        ProtocolFilter { unknown: self.0.len() < all, names: self.0 }
    }
}

#[cfg(test)]
mod tests;
