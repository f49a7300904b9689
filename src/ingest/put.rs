//! Signed announcements, as `PUT /routing/v1/providers` carries them (draft IPIP-0526):
//!
//! ```json
//! {"Providers":[{"Schema":"bitswap","Protocol":"transport-bitswap","Signature":"m...","Payload":
//!   {"Keys":["bafk..."],"Timestamp":1725833163372,"AdvisoryTTL":86400000000000,"ID":"12D3...","Addrs":[]}}]}
//! ```
//!
//! The signature covers the payload's bytes as transmitted. Everything is verified in one pass over
//! bytes, without I/O and with `now` as a parameter, before anything is applied: a request is
//! [`VerifiedPut`] as a whole, or a [`PutError`]. The order, so that unsigned content is never
//! judged: shape, counts, then record by record the allowlist, the signature, the time, the keys,
//! and the addresses.
//!
//! [`Announcer`] applies a verified request to a store, all of it or nothing.
//!
//! The work is bounded for any bytes: at most [`RECORDS_MAX`] signatures of some 50 us (secp256k1:
//! 100 us) and `keys_max` keys of [`KEY_TEXT_BYTES_MAX`] characters.

mod addrs;
mod error;
mod signature;
mod terms;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, UnixMs};
use crate::config::{AnnounceMode, Settings};
use crate::store::{Announcement, Applied, ContextId, ProviderStatement, Store, Update};
use crate::types::{BitswapRecord, ContentKey, ExtraFields, Origin, PeerId, ProviderRecord};
pub use addrs::ADDRS_MAX;
use addrs::AddrPolicy;
pub(crate) use addrs::DroppedAddrs;
pub use error::PutError;
pub(crate) use error::PutRefusal;
use terms::{TermLimits, Terms};
use wire::{Payload, SignedRecord};

/// The only schema that is announced this way.
pub(crate) const ANNOUNCED_SCHEMA: &str = "bitswap";

/// The protocol of every record that is announced this way.
pub(crate) const ANNOUNCED_PROTOCOL: &str = "transport-bitswap";

/// The most records, and so signatures, of one request: 16 of 100 us are 1.6 ms. Clients send one.
pub const RECORDS_MAX: usize = 16;

/// The longest text of an announced CID: a 64-byte digest in base 16 takes 137 characters. Reading
/// base 58 takes time in the square of the length, some 40 us at this one.
pub(crate) const KEY_TEXT_BYTES_MAX: usize = 256;

/// Verifies announcements and applies them to a store. They are durable when it returns.
#[derive(Clone)]
pub(crate) struct Announcer {
    policy: Arc<PutPolicy>,
    store: Arc<dyn Store>,
    clock: Clock,
}

/// The rules for announcements.
#[derive(Clone, Debug)]
pub struct PutPolicy {
    /// The peers that may announce; `None`: all.
    pub allowed: Option<HashSet<PeerId>>,
    /// The most keys of one request.
    pub keys_max: usize,
    /// How long ago an announcement may have been made.
    pub timestamp_age_max: Duration,
    /// How far a provider's clock may be ahead of ours.
    pub timestamp_ahead_max: Duration,
    /// The longest time that an announcement holds; at least one minute.
    pub ttl_max: Duration,
    /// Whether addresses that the public cannot reach are kept.
    pub allow_private_addrs: bool,
}

/// The context of one request.
#[derive(Clone, Copy, Debug)]
pub struct PutMoment {
    /// The time.
    pub now_ms: UnixMs,
    /// The client's address, if it is certain.
    pub caller: Option<IpAddr>,
    /// The client's network, for its quota.
    pub origin: Origin,
}

/// A request whose records are all verified.
#[derive(Clone, Debug)]
pub struct VerifiedPut {
    records: Vec<VerifiedRecord>,
    addrs_dropped: DroppedAddrs,
}

#[derive(Clone, Debug)]
struct VerifiedRecord {
    statement: ProviderStatement,
    origin: Origin,
    announcement: Announcement,
    ttl: Duration,
}

impl Announcer {
    /// The announcer that the settings describe; `None` if announcing is off.
    pub(crate) fn new(settings: &Settings, store: Arc<dyn Store>, clock: Clock) -> Option<Self> {
        let policy = Arc::new(PutPolicy::new(settings)?);
        Some(Self { policy, store, clock })
    }

    /// Decodes and checks a request that counts under the network `origin`. `caller` is where it came
    /// from, if that is certain.
    ///
    /// # Errors
    ///
    /// Those of [`PutPolicy::verify`].
    pub(crate) fn verify(
        &self,
        body: &[u8],
        caller: Option<IpAddr>,
        origin: Origin,
    ) -> Result<VerifiedPut, PutError> {
        let now_ms = self.clock.now_ms();
        self.policy.verify(body, PutMoment { now_ms, caller, origin })
    }

    /// Applies all records, or none. When this returns, they are durable and visible to lookups.
    ///
    /// # Errors
    ///
    /// [`PutError::NoRoom`] and [`PutError::Unavailable`].
    pub(crate) async fn apply(&self, put: VerifiedPut) -> Result<Applied, PutError> {
        Ok(self.store.update(put.into_updates(), self.clock.now_ms()).await?)
    }
}

impl VerifiedPut {
    /// The announcing peers, one a record.
    pub fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.records.iter().map(|record| &record.statement.provider)
    }

    /// How long each record holds from now on, in the order of the request.
    pub fn ttls(&self) -> Vec<Duration> {
        self.records.iter().map(|record| record.ttl).collect()
    }

    /// How many keys are announced, deduplicated within a record.
    pub fn keys(&self) -> usize {
        self.records.iter().map(|record| record.announcement.keys.len()).sum()
    }

    /// The dropped addresses.
    pub(crate) fn addrs_dropped(&self) -> &DroppedAddrs {
        &self.addrs_dropped
    }

    /// The updates for a store.
    pub fn into_updates(self) -> Vec<Update> {
        let update = |VerifiedRecord { statement, origin, announcement, .. }| Update {
            statement: Some(statement),
            origin,
            announcements: vec![announcement],
        };
        self.records.into_iter().map(update).collect()
    }
}

impl PutPolicy {
    /// The policy that the settings describe; `None` if announcing is off.
    pub(crate) fn new(settings: &Settings) -> Option<Self> {
        let allowed = match settings.announce {
            AnnounceMode::Off => return None,
            AnnounceMode::Signed => None,
            AnnounceMode::Allowlist => Some(settings.announce_allowlist.iter().cloned().collect()),
        };
        Some(Self {
            allowed,
            keys_max: settings.announce_keys_max,
            timestamp_age_max: settings.announce_timestamp_age_max,
            timestamp_ahead_max: settings.announce_timestamp_ahead_max,
            ttl_max: settings.announce_ttl_max,
            allow_private_addrs: settings.allow_private_addrs,
        })
    }

    /// Decodes a request's body and checks all of it.
    ///
    /// # Errors
    ///
    /// The first [`PutError`] in the order of the module's documentation.
    pub fn verify(&self, body: &[u8], moment: PutMoment) -> Result<VerifiedPut, PutError> {
        let records = wire::read(body, self.keys_max)?;
        let mut addrs_dropped = DroppedAddrs::default();
        let records = (1..)
            .zip(&records)
            .map(|(number, record)| self.verify_record(number, record, moment, &mut addrs_dropped))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(VerifiedPut { records, addrs_dropped })
    }

    /// `number` is the record's in its request, for errors.
    fn verify_record(
        &self,
        number: usize,
        record: &SignedRecord<'_>,
        moment: PutMoment,
        addrs_dropped: &mut DroppedAddrs,
    ) -> Result<VerifiedRecord, PutError> {
        let payload = &record.payload;
        let terms = self
            .authorize(record, moment.now_ms)
            .map_err(|refusal| PutError::Refused { record: number, refusal })?;
        let keys = content_keys(payload, number)?;
        let policy = AddrPolicy { allow_private: self.allow_private_addrs, caller: moment.caller };
        let addrs = policy
            .usable(&payload.addrs, &payload.id, addrs_dropped)
            .map_err(|reasons| PutError::Addrs { record: number, reasons })?;
        let announced = ProviderRecord::Bitswap(BitswapRecord {
            protocol: Some(ANNOUNCED_PROTOCOL.to_owned()),
            id: payload.id.clone(),
            addrs: Some(addrs.clone()),
            extra: ExtraFields::default(),
        });
        let announcement = Announcement {
            keys,
            record: announced,
            context: ContextId::default(),
            expires_at_ms: Some(terms.expires_at_ms),
        };
        let statement = ProviderStatement {
            provider: payload.id.clone(),
            stated_at_ms: terms.stated_at_ms,
            addrs,
        };
        let ttl = Duration::from_millis(terms.expires_at_ms - moment.now_ms);
        Ok(VerifiedRecord { statement, origin: moment.origin, announcement, ttl })
    }

    fn authorize(&self, record: &SignedRecord<'_>, now_ms: UnixMs) -> Result<Terms, PutRefusal> {
        let payload = &record.payload;
        if self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&payload.id)) {
            return Err(PutRefusal::NotListed { peer: payload.id.clone() });
        }
        signature::verify(&payload.id, record.payload_json, record.signature.as_deref())?;
        self.term_limits().terms(payload.timestamp_ms, payload.advisory_ttl_ns, now_ms)
    }

    fn term_limits(&self) -> TermLimits {
        TermLimits {
            age_max: self.timestamp_age_max,
            ahead_max: self.timestamp_ahead_max,
            ttl_max: self.ttl_max,
        }
    }
}

/// The keys to store, deduplicated, without identity hashes, which carry their content themselves.
fn content_keys(payload: &Payload, record: usize) -> Result<Vec<ContentKey>, PutError> {
    let mut keys = Vec::with_capacity(payload.keys.len());
    for (key, text) in (1..).zip(&payload.keys) {
        let wrong = |reason| PutError::Key { record, key, reason };
        if text.len() > KEY_TEXT_BYTES_MAX {
            let bytes = text.len();
            return Err(wrong(format!(
                "{bytes} bytes of text, at most {KEY_TEXT_BYTES_MAX} are read"
            )));
        }
        keys.push(ContentKey::from_cid_text(text).map_err(|error| wrong(error.to_string()))?);
    }
    keys.retain(|key| !key.is_identity());
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}
