//! Sanitizes records of upstreams.
//!
//! A record that does not parse is refused. Addresses that do not parse and addresses that the
//! public cannot reach are dropped, unless the settings keep them; a record that loses all of them
//! stays without. Records of unknown schemas are kept byte for byte or refused: one with an address
//! in `Addrs` that would be dropped as not public is refused, since what it would mean without it
//! is unknown.
//!
//! For a peer lookup only records of that peer count, in schema `peer` whatever schema answers
//! have; those of unknown schemas are refused.

use std::sync::Arc;

use thiserror::Error;

use super::body::TextError;
use crate::text::printable;
use crate::types::Subject;
use crate::types::{
    Addr, AnswerSchema, PeerId, ProviderRecord, ReadyRecord, RecordError, Schema, UnparsableAddrs,
};

/// The rules for records, and their schema.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SanitizeOptions {
    pub(super) schema: AnswerSchema,
    pub(super) unparsable: UnparsableAddrs,
    pub(super) allow_private_addrs: bool,
}

/// Sanitizes the records of one answer.
pub(super) struct Sanitizer {
    options: SanitizeOptions,
    /// The only peer whose records count.
    peer: Option<PeerId>,
    /// Not emitted yet.
    ready: Vec<Arc<ReadyRecord>>,
    has_records: bool,
    records_bad: usize,
    fields_dropped: usize,
    first_bad: Option<String>,
}

/// Why a record is refused.
#[derive(Debug, Error)]
enum RefusedRecord {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("it is of another peer")]
    OtherPeer,
    #[error("it is of an unknown schema, where a peer was asked for")]
    NotOfSchemaPeer,
    #[error("it is of an unknown schema, with an address that the public cannot reach")]
    PrivateAddr,
}

impl Sanitizer {
    pub(super) fn new(options: SanitizeOptions, subject: &Subject) -> Self {
        let peer = match subject {
            Subject::Content(_) => None,
            Subject::Peer(peer) => Some(peer.clone()),
        };
        Self {
            options,
            peer,
            ready: Vec::new(),
            has_records: false,
            records_bad: 0,
            fields_dropped: 0,
            first_bad: None,
        }
    }

    /// Takes the text of a record.
    pub(super) fn take(&mut self, text: Result<&str, TextError>) {
        match self.sanitize(text) {
            Ok(ready) => {
                self.has_records = true;
                self.ready.push(Arc::new(ready));
            }
            Err(refused) => {
                self.records_bad += 1;
                self.first_bad.get_or_insert_with(|| printable(&refused.to_string()).into());
            }
        }
    }

    /// Takes the accepted records that were not emitted yet.
    pub(super) fn batch(&mut self) -> Vec<Arc<ReadyRecord>> {
        std::mem::take(&mut self.ready)
    }

    /// How many accepted records were not emitted yet.
    pub(super) fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// How many records were refused.
    pub(super) fn records_bad(&self) -> usize {
        self.records_bad
    }

    /// Takes the number of fields dropped from records since the last call.
    pub(super) fn take_fields_dropped(&mut self) -> usize {
        std::mem::take(&mut self.fields_dropped)
    }

    /// Why a complete answer is an error: it had records, and all were refused.
    pub(super) fn no_answer(&self) -> Option<String> {
        let reason = self.first_bad.as_ref().filter(|_| !self.has_records)?;
        Some(format!("none of its {} records can be used: {reason}", self.records_bad))
    }

    /// Whether a record was accepted.
    pub(super) fn has_records(&self) -> bool {
        self.has_records
    }

    fn sanitize(&mut self, text: Result<&str, TextError>) -> Result<ReadyRecord, RefusedRecord> {
        let parsed = ProviderRecord::parse(text?, self.options.unparsable)?;
        self.fields_dropped += parsed.left_out.fields;
        let record = parsed.record;
        let schema = match &self.peer {
            Some(peer) if record.peer() != Some(peer) => return Err(RefusedRecord::OtherPeer),
            Some(_) if record.schema() == Schema::Unknown => {
                return Err(RefusedRecord::NotOfSchemaPeer);
            }
            Some(_) => AnswerSchema::Peer,
            None => self.options.schema,
        };
        let record =
            if self.options.allow_private_addrs { record } else { without_private(record)? };
        Ok(ReadyRecord::new(record, schema))
    }
}

fn without_private(record: ProviderRecord) -> Result<ProviderRecord, RefusedRecord> {
    let addrs = record.addrs().unwrap_or_default();
    let public: Vec<Addr> = addrs.iter().filter(|addr| !addr.is_private()).cloned().collect();
    if public.len() == addrs.len() {
        return Ok(record);
    }
    match record.schema() {
        Schema::Unknown => Err(RefusedRecord::PrivateAddr),
        Schema::Bitswap | Schema::Graphsync | Schema::Peer => Ok(record.with_addrs(&public)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ContentKey;

    const CID: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
    const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";
    const OTHER: &str = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3";

    fn sanitized(options: SanitizeOptions, json: &str) -> String {
        let subject = Subject::Content(ContentKey::from_cid_text(CID).unwrap());
        served(options, &subject, json).unwrap()
    }

    fn served(
        options: SanitizeOptions,
        subject: &Subject,
        json: &str,
    ) -> Result<String, RefusedRecord> {
        let record = Sanitizer::new(options, subject).sanitize(Ok(json))?;
        Ok(record.json().to_owned())
    }

    fn record(schema: &str, addrs: &str) -> String {
        format!(r#"{{"Schema":"{schema}","ID":"{PEER}","Addrs":[{addrs}]}}"#)
    }

    #[test]
    fn private_and_unparsable_addresses_are_left_out_unless_they_are_kept() {
        let public = r#""/ip4/192.0.2.1/tcp/4001""#;
        let private = r#""/ip4/10.0.0.1/tcp/4001","/dns4/nas.local/tcp/1""#;
        let unparsable = r#""/new/thing""#;
        let strict = SanitizeOptions::default();
        let json = record("peer", &[private, public, unparsable].join(","));
        assert_eq!(sanitized(strict, &json), record("peer", public));
        let allowing = SanitizeOptions { allow_private_addrs: true, ..strict };
        let kept = record("peer", &[private, public].join(","));
        assert_eq!(sanitized(allowing, &json), kept);
        let keeping = SanitizeOptions { unparsable: UnparsableAddrs::Keep, ..strict };
        let kept = record("peer", &[public, unparsable].join(","));
        assert_eq!(sanitized(keeping, &json), kept);
    }

    #[test]
    fn a_record_of_private_addresses_alone_stays_without() {
        let private = r#""/ip4/10.0.0.1/tcp/4001""#;
        let strict = SanitizeOptions::default();
        assert_eq!(sanitized(strict, &record("peer", private)), record("peer", ""));
    }

    #[test]
    fn a_record_of_an_unknown_schema_stays_as_it_came_or_not_at_all() {
        let strict = SanitizeOptions::default();
        let subject = Subject::Content(ContentKey::from_cid_text(CID).unwrap());
        let public = record("new", r#""/ip4/192.0.2.1/tcp/4001","/new/thing""#);
        assert_eq!(sanitized(strict, &public), public);
        let private = record("new", r#""/ip4/192.0.2.1/tcp/4001", "/ip4/10.0.0.7/tcp/3""#);
        let refused = served(strict, &subject, &private).unwrap_err();
        assert!(matches!(refused, RefusedRecord::PrivateAddr), "{refused}");
        let allowing = SanitizeOptions { allow_private_addrs: true, ..strict };
        assert_eq!(sanitized(allowing, &private), private);
    }

    #[test]
    fn a_peers_records_are_of_schema_peer_whatever_answers_have() {
        let subject = Subject::Peer(PeerId::parse(PEER).unwrap());
        for schema in [AnswerSchema::Announced, AnswerSchema::Peer] {
            let options = SanitizeOptions { schema, ..SanitizeOptions::default() };
            for schema in ["bitswap", "graphsync-filecoinv1", "peer"] {
                let json = served(options, &subject, &record(schema, "")).unwrap();
                assert_eq!(json, record("peer", ""));
            }
            let refused = served(options, &subject, &record("new", "")).unwrap_err();
            assert!(matches!(refused, RefusedRecord::NotOfSchemaPeer), "{refused}");
        }
    }

    #[test]
    fn records_are_served_in_the_schema_of_answers() {
        let bitswap = format!(
            r#"{{"Protocol":"transport-bitswap","Schema":"bitswap","ID":"{PEER}","Addrs":[]}}"#
        );
        assert_eq!(sanitized(SanitizeOptions::default(), &bitswap), bitswap);
        let as_peer = SanitizeOptions { schema: AnswerSchema::Peer, ..SanitizeOptions::default() };
        assert!(sanitized(as_peer, &bitswap).starts_with(r#"{"Schema":"peer""#));
    }

    #[test]
    fn records_of_other_peers_and_broken_ones_are_counted_and_refused() {
        let subject = Subject::Peer(PeerId::parse(PEER).unwrap());
        let mut sanitizer = Sanitizer::new(SanitizeOptions::default(), &subject);
        sanitizer.take(Ok(&record("peer", "").replace(PEER, OTHER)));
        sanitizer.take(Ok(r#"{"Schema":"new"}"#));
        sanitizer.take(Ok("nonsense"));
        sanitizer.take(Err(TextError::NotUtf8));
        let reason = sanitizer.no_answer().unwrap();
        assert_eq!(reason, "none of its 4 records can be used: it is of another peer");
        assert_eq!((sanitizer.batch().len(), sanitizer.records_bad()), (0, 4));
        sanitizer.take(Ok(&record("peer", "")));
        assert_eq!((sanitizer.batch().len(), sanitizer.batch().len()), (1, 0));
        assert_eq!(sanitizer.no_answer(), None);
    }
}
