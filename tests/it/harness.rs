//! Starting a server, filling it, asking it, and writing its answers down.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fingerpost::clock::{Clock, ManualClock};
use fingerpost::config::{ClientSettings, Settings, UpstreamSettings};
use fingerpost::control::EndpointParts;
use fingerpost::data_dir::DataDirError;
use fingerpost::resolve::{LocalResolver, Resolver};
use fingerpost::server::{Parts, Server, Sockets, Stores, StoresError};
use fingerpost::state::ControlStore;
use fingerpost::store::{Announcement, ContextId, IpnsStore, Store};
use fingerpost::types::{ContentKey, ProviderRecord, TargetId, UnparsableAddrs};
use reqwest::{Method, RequestBuilder, Response};

/// The time at which tests begin: 2026-01-01T00:00:00Z.
pub(crate) const NOW_MS: u64 = 1_767_225_600_000;

/// A CID in three forms of one key: sha2-256, which has all of them.
pub(crate) const CID_V0: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
pub(crate) const CID: &str = "bafybeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
pub(crate) const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

/// The password of the admin API of every test server.
pub(crate) const ADMIN_PASSWORD: &str = "pass word";

pub(crate) struct TestServer {
    server: Option<Server>,
    client: reqwest::Client,
    pub(crate) clock: ManualClock,
    /// Removed with the server.
    _folder: tempfile::TempDir,
}

/// A server that is not started yet.
pub(crate) struct Builder {
    settings: Settings,
    store: Option<Arc<dyn Store>>,
    ipns: Option<Arc<dyn IpnsStore>>,
    resolver: Option<Arc<dyn Resolver>>,
    state: Option<Arc<dyn ControlStore>>,
    endpoints: Vec<EndpointParts>,
    closed: bool,
    data_dir: Option<PathBuf>,
    real_time: Option<Duration>,
}

pub(crate) fn server() -> Builder {
    let settings = Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        admin_password: ADMIN_PASSWORD.parse().expect("a password"),
        // However full the disk is.
        journal_disk_reserve: 1,
        ..Settings::default()
    };
    Builder {
        settings,
        store: None,
        ipns: None,
        resolver: None,
        state: None,
        endpoints: Vec::new(),
        closed: false,
        data_dir: None,
        real_time: None,
    }
}

impl Builder {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Keeps announcements in this store.
    pub(crate) fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Keeps IPNS records in this store.
    pub(crate) fn ipns(mut self, ipns: impl IpnsStore) -> Self {
        self.ipns = Some(Arc::new(ipns));
        self
    }

    /// Asks this resolver instead of the server's own store.
    pub(crate) fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Keeps what the control plane decides in this store.
    pub(crate) fn state(mut self, state: Arc<dyn ControlStore>) -> Self {
        self.state = Some(state);
        self
    }

    /// Makes pools of these endpoints.
    pub(crate) fn endpoints(mut self, endpoints: Vec<EndpointParts>) -> Self {
        self.endpoints = endpoints;
        self
    }

    /// Keeps announcements in this data directory, which outlives the server.
    pub(crate) fn data_dir(mut self, directory: &Path) -> Self {
        self.data_dir = Some(directory.to_owned());
        self
    }

    /// Follows the system's clock, and lets peers believe for this long that it is there.
    pub(crate) fn in_real_time(mut self, hold_down: Duration) -> Self {
        self.real_time = Some(hold_down);
        self
    }

    /// Leaves the public listener closed.
    pub(crate) fn closed(mut self) -> Self {
        self.closed = true;
        self
    }

    pub(crate) async fn start(self) -> TestServer {
        let clock = ManualClock::new(NOW_MS);
        let folder = tempfile::tempdir().expect("a folder for the data");
        let mut settings = self.settings;
        settings.data_dir = self.data_dir.unwrap_or_else(|| folder.path().join("data"));
        let clock_of_parts = match self.real_time {
            Some(_) => Clock::System,
            None => Clock::Manual(clock.clone()),
        };
        let mut parts = match self.store {
            Some(store) => Parts::new(Stores::with_store(store), clock_of_parts),
            None => open_parts(&settings, &clock_of_parts).await,
        };
        if let Some(ipns) = self.ipns {
            let clock = parts.clock.clone();
            parts.local = Arc::new(LocalResolver::new(parts.store.clone(), ipns.clone(), clock));
            parts.ipns = ipns;
        }
        if let Some(resolver) = self.resolver {
            parts.local = resolver;
        }
        if let Some(state) = self.state {
            parts.state = state;
        }
        parts.endpoints = self.endpoints;
        if let Some(hold_down) = self.real_time {
            parts.hold_down = hold_down;
        }
        let sockets = Sockets::bind(&settings).expect("loopback has free ports");
        let mut server =
            Server::start(settings, parts, sockets).await.expect("the admin listener starts");
        if !self.closed {
            server.open().expect("the listener opens");
        }
        // The crypto provider must be chosen before the first client, even for plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .no_proxy()
            .build()
            .expect("a plain client");
        TestServer { server: Some(server), client, clock, _folder: folder }
    }
}

/// How another server is asked: the defaults, but for times that no busy machine needs.
pub(crate) fn client_settings() -> ClientSettings {
    ClientSettings {
        timeout: Duration::from_secs(15),
        connect_timeout: Duration::from_secs(10),
        concurrency: 64,
        records_max: 1_000,
        body_bytes_max: 4 << 20,
        allow_private_addrs: false,
        providers: true,
        peers: true,
        ipns: true,
    }
}

/// An upstream that is part of the account `default`.
pub(crate) fn upstream(name: &str, url: &str) -> UpstreamSettings {
    UpstreamSettings {
        name: TargetId::parse(name).expect("a name"),
        url: url.parse().expect("a URL"),
        default: true,
        fallback: false,
        client: client_settings(),
    }
}

/// Waits until something holds that has to come, however busy the machine is.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(30), what, holds).await;
}

/// The same, for what takes longer.
pub(crate) async fn within(longest: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(longest, wait).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// Opens the data directory. A server that was shut down lets go of it when the last of its worker
/// threads has ended, which is somewhat later.
async fn open_parts(settings: &Settings, clock: &Clock) -> Parts {
    let wait = async {
        loop {
            match Stores::open(settings, clock.clone()).await {
                Ok(stores) => return Parts::new(stores, clock.clone()),
                Err(StoresError::DataDir(DataDirError::Locked { .. })) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("the data directory opens: {error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it is let go of")
}

impl TestServer {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.server().public_addr()
    }

    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.server().admin_addr()
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs until it is shut down")
    }

    pub(crate) fn server_mut(&mut self) -> &mut Server {
        self.server.as_mut().expect("the server runs until it is shut down")
    }

    pub(crate) async fn shutdown(mut self) {
        self.server.take().expect("the server runs until it is shut down").shutdown().await;
    }

    /// Announces one record of `cid`.
    pub(crate) async fn announce(&self, cid: &str, record: &str) {
        self.announce_until(cid, record, None).await;
    }

    pub(crate) async fn announce_until(&self, cid: &str, record: &str, expires_at_ms: Option<u64>) {
        let announcement = Announcement {
            keys: vec![ContentKey::from_cid_text(cid).expect("a CID")],
            record: ProviderRecord::parse(record, UnparsableAddrs::Keep).expect("a record").record,
            context: ContextId::default(),
            expires_at_ms,
        };
        self.server().store().apply(vec![announcement], NOW_MS).await.expect("a store with room");
    }

    /// A GET of the public API.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, &[]).await
    }

    /// Any request to the public API.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response {
        self.send(method, path, headers, Vec::new()).await
    }

    /// Any request to the public API, with a body unless it is empty.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Response {
        let url = format!("http://{}{path}", self.addr());
        let request = self.client.request(method, url);
        let request = if body.is_empty() { request } else { request.body(body) };
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .send()
            .await
            .expect("the server answers")
    }

    /// A signed announcement, or what is to pass for one.
    pub(crate) async fn put_providers(&self, body: impl Into<reqwest::Body>) -> Response {
        let url = format!("http://{}/routing/v1/providers/", self.addr());
        self.client.put(url).body(body).send().await.expect("the server answers")
    }

    pub(crate) async fn providers(&self, cid: &str) -> Response {
        self.get(&format!("/routing/v1/providers/{cid}")).await
    }

    /// A request to the admin API, with the right password.
    pub(crate) fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.admin_without_password(method, path).basic_auth("admin", Some(ADMIN_PASSWORD))
    }

    /// A request to the admin API, without credentials.
    pub(crate) fn admin_without_password(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.admin_addr()))
    }

    pub(crate) async fn get_admin(&self, path: &str) -> Response {
        let url = format!("http://{}{path}", self.admin_addr());
        self.client.get(url).send().await.expect("the admin listener answers")
    }

    /// One metric's value; zero when it is not there.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.get_admin("/metrics").await.text().await.expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Sends bytes as they are, and reads until the server closes or goes silent.
    pub(crate) async fn raw(&self, request: Vec<u8>) -> String {
        raw_to(self.addr(), request).await
    }
}

/// Sends bytes as they are, and reads until the server closes or goes silent.
pub(crate) async fn raw_to(addr: SocketAddr, request: Vec<u8>) -> String {
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(addr).expect("the server accepts");
        stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a timeout");
        // A server that refuses early may close before all is written.
        let _ = stream.write_all(&request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
    .expect("no panic")
}

/// A whole answer as text: status, headers in order, body; what changes from run to run replaced.
pub(crate) async fn written(response: Response) -> String {
    let head = written_head(&response);
    let id = response.headers().get("x-request-id").cloned();
    let body = response.text().await.expect("UTF-8");
    match id.as_ref().and_then(|id| id.to_str().ok()) {
        Some(id) => head + &body.replace(id, "[request id]"),
        None => head + &body,
    }
}

/// The same, with the size of a body that is no text.
pub(crate) async fn written_binary(response: Response) -> String {
    let head = written_head(&response);
    let bytes = response.bytes().await.expect("a whole body");
    format!("{head}[{} bytes]", bytes.len())
}

fn written_head(response: &Response) -> String {
    let mut text = format!("{}\n", response.status());
    let mut headers: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("ASCII").to_owned()))
        .collect();
    headers.sort();
    for (name, value) in headers {
        let shown = match name.as_str() {
            "date" => "[date]",
            "x-request-id" => "[request id]",
            _ => &value,
        };
        text.push_str(&format!("{name}: {shown}\n"));
    }
    text.push('\n');
    text
}

/// The provider records of a JSON answer.
pub(crate) async fn records(response: Response) -> Vec<serde_json::Value> {
    let body: serde_json::Value =
        serde_json::from_str(&response.text().await.expect("text")).expect("JSON");
    body["Providers"].as_array().expect("a list").clone()
}

/// A `peer` record of the `number`th of any number of different peers.
pub(crate) fn peer_record(number: u32, addrs: &[&str]) -> String {
    serde_json::json!({
        "Schema": "peer", "ID": peer_id(number), "Addrs": addrs, "Protocols": ["transport-bitswap"],
    })
    .to_string()
}

/// The `number`th of any number of different peer IDs.
pub(crate) fn peer_id(number: u32) -> String {
    let mut multihash = vec![0x12, 0x20];
    multihash.extend_from_slice(&[0; 28]);
    multihash.extend_from_slice(&number.to_be_bytes());
    libp2p_identity::PeerId::from_bytes(&multihash).expect("a sha2-256 multihash").to_base58()
}

/// The `number`th of any number of CIDs, all of them sha2-256, whose digest begins with one hex digit.
pub(crate) fn cid_below(digit: &str, number: u64) -> String {
    let first = u8::from_str_radix(digit, 16).expect("a hex digit") << 4;
    let mut multihash = vec![0x12, 0x20, first];
    multihash.extend_from_slice(&[7; 23]);
    multihash.extend_from_slice(&number.to_be_bytes());
    ContentKey::from_multihash(&multihash).expect("a sha2-256 multihash").to_cid_text()
}
