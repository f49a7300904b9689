//! Whoever floods: peers that sign what they announce, each request with keys of its own.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use libp2p_identity::Keypair;
use multibase::Base;
use multihash_codetable::{Code, MultihashDigest};
use parking_lot::Mutex;

use super::server::{Connection, Server, cid};

/// Connections that flood at once.
const CONNECTIONS: usize = 4;

/// Keys of a request, as many as are allowed, and of one by one of very many peers.
const KEYS_EACH: u64 = 1_000;
const KEYS_EACH_OF_MANY: u64 = 250;

/// Before the first keys of a flood.
const FLOOD_FROM: u64 = 1 << 40;

/// A flood.
#[derive(Clone, Copy)]
pub(crate) struct Flood {
    peers: u64,
    networks: u64,
    keys_each: u64,
    is_forged: bool,
}

/// What came of a flood.
#[derive(Clone, Copy, Default)]
pub(crate) struct Flooded {
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    /// Keys that were accepted.
    pub(crate) keys: u64,
    /// Which request was the first that was refused.
    pub(crate) first_refused: Option<u64>,
    pub(crate) keys_at_first_refusal: Option<u64>,
}

/// A peer that announces itself.
pub(crate) struct Provider(Keypair);

impl Flood {
    pub(crate) fn new(peers: u64, networks: u64) -> Self {
        let keys_each = if peers >= 10_000 { KEYS_EACH_OF_MANY } else { KEYS_EACH };
        Self { peers, networks, keys_each, is_forged: false }
    }

    /// The same with signatures that do not hold.
    pub(crate) fn forged(self) -> Self {
        Self { is_forged: true, ..self }
    }

    /// Floods until `is_over`.
    pub(crate) fn run(
        &self,
        server: &Server,
        is_over: &(impl Fn(&Flooded) -> bool + Sync),
    ) -> anyhow::Result<Flooded> {
        let (next, flooded) = (AtomicU64::new(0), Mutex::new(Flooded::default()));
        let send = || -> anyhow::Result<()> {
            let mut connection = Connection::open(server)?;
            while !is_over(&flooded.lock()) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let (client, body) = self.request(number);
                let status = connection.put_providers(&client, &body)?;
                flooded.lock().count(status, self.keys_each)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(send)).collect();
            senders.into_iter().try_for_each(|sender| sender.join().expect("no panic"))
        })?;
        Ok(flooded.into_inner())
    }

    fn request(&self, number: u64) -> (String, String) {
        // A peer comes from another network each time, if there are more networks than peers.
        let network = number % self.networks;
        let client = format!("10.{}.{}.9", network / 256, network % 256);
        let first = FLOOD_FROM + number * self.keys_each;
        let provider = Provider::numbered(number % self.peers);
        let mut body = provider.request(first..first + self.keys_each);
        if self.is_forged {
            body = body.replacen("/tcp/4001", "/tcp/4002", 1);
        }
        (client, body)
    }
}

impl Flooded {
    fn count(&mut self, status: u16, keys: u64) -> anyhow::Result<()> {
        ensure!([200, 403, 507].contains(&status), "an announcement got {status}");
        self.requests += 1;
        if status == 200 {
            self.keys += keys;
            return Ok(());
        }
        self.refused += 1;
        if self.first_refused.is_none() {
            self.first_refused = Some(self.requests);
            self.keys_at_first_refusal = Some(self.keys);
        }
        Ok(())
    }
}

impl Provider {
    pub(crate) fn numbered(number: u64) -> Self {
        let mut seed = *blake3::hash(&number.to_le_bytes()).as_bytes();
        Self(Keypair::ed25519_from_bytes(&mut seed).expect("any 32 bytes are a key"))
    }

    /// One that takes no part in a flood.
    pub(crate) fn honest() -> Self {
        Self::numbered(u64::MAX - 1)
    }

    pub(crate) fn id(&self) -> String {
        self.0.public().to_peer_id().to_base58()
    }

    /// A signed announcement of the keys with some numbers, for a day.
    pub(crate) fn request(&self, numbers: std::ops::Range<u64>) -> String {
        let mut keys = String::new();
        for number in numbers {
            let comma = if keys.is_empty() { "" } else { "," };
            write!(keys, r#"{comma}"{}""#, cid(number)).expect("a string takes everything");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("after 1970");
        let now_ms = now.expect("the clock is right").as_millis();
        let payload = format!(
            r#"{{"Keys":[{keys}],"Timestamp":{now_ms},"AdvisoryTTL":86400000000000,"ID":"{}","Addrs":["/ip4/203.0.113.7/tcp/4001"]}}"#,
            self.id()
        );
        let digest = Code::Sha2_256.digest(payload.as_bytes());
        let signature = self.0.sign(digest.digest()).expect("Ed25519 signs everything");
        let signature = multibase::encode(Base::Base64, signature);
        format!(
            r#"{{"Providers":[{{"Schema":"bitswap","Protocol":"transport-bitswap","Signature":"{signature}","Payload":{payload}}}]}}"#
        )
    }
}

/// What a small peer announces that takes no part in a flood.
pub(crate) fn honest_keys() -> std::ops::Range<u64> {
    5_000..5_100
}
