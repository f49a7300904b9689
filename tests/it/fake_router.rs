//! Other routers, as tests need them: real HTTP on loopback, answering whatever the test says, and
//! telling who asked.
//!
//! Connections are kept, requests on each come one after the other, and everything ends with the value
//! that started it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::harness::{eventually, peer_id};

/// How it answers a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// With these bytes, head and body, and keeps the connection.
    Bytes(Arc<[u8]>),
    /// With a head, and then with the same chunk until the client has had enough.
    Endless { head: Arc<[u8]>, chunk: Arc<[u8]> },
    /// Not at all: it reads until the client goes away.
    Never,
    /// So, once the gate is open.
    Behind(Gate, Box<Self>),
}

/// What replies wait for.
#[derive(Clone)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

/// A request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// The `number`th of any number of records, as answers write it.
pub(crate) fn record(number: u32) -> String {
    record_at(number, "/ip4/192.0.2.1/tcp/4001")
}

/// The same, with another address.
pub(crate) fn record_at(number: u32, addr: &str) -> String {
    let id = peer_id(number);
    format!(
        r#"{{"Schema":"peer","ID":"{id}","Addrs":["{addr}"],"Protocols":["transport-bitswap"]}}"#
    )
}

type Answer = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A router.
pub(crate) struct FakeRouter {
    addr: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    listening: JoinHandle<()>,
}

impl Reply {
    /// A whole answer; `headers` have their line ends.
    pub(crate) fn new(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
        Self::Bytes([head.as_bytes(), body].concat().into())
    }

    /// The JSON answer to a lookup of providers that has these records.
    pub(crate) fn providers(records: &[String]) -> Self {
        Self::json(format!(r#"{{"Providers":[{}]}}"#, records.join(",")))
    }

    /// The JSON answer to a lookup of a peer that has these records.
    pub(crate) fn peers(records: &[String]) -> Self {
        Self::json(format!(r#"{{"Peers":[{}]}}"#, records.join(",")))
    }

    pub(crate) fn json(body: impl AsRef<[u8]>) -> Self {
        Self::new("200 OK", "Content-Type: application/json\r\n", body)
    }

    pub(crate) fn status(status: &str) -> Self {
        Self::new(status, "", "")
    }

    /// An answer that goes on for as long as it is read: `headers` and a chunk that is repeated.
    pub(crate) fn endless(headers: &str, chunk: &[u8]) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
        let size = format!("{:x}\r\n", chunk.len());
        let chunk = [size.as_bytes(), chunk, b"\r\n"].concat();
        Self::Endless { head: head.into_bytes().into(), chunk: chunk.into() }
    }
}

impl Gate {
    /// A gate that is shut.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        // The sender is in `self`, so there is no end but the gate's opening.
        let _ = self.0.subscribe().wait_for(|is_open| *is_open).await;
    }
}

impl FakeRouter {
    /// Answers every request so.
    pub(crate) async fn start(reply: Reply) -> Self {
        Self::answering(move |_| reply.clone()).await
    }

    /// Answers as `answer` says.
    pub(crate) async fn answering(
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let answer: Answer = Arc::new(answer);
        let answer = Arc::new(Mutex::new(answer));
        let asked = Arc::default();
        let serving = Serving { answer: Arc::clone(&answer), asked: Arc::clone(&asked) };
        let listening = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let serving = serving.clone();
                connections.spawn(async move { serving.serve(connection).await });
            }
        });
        Self { addr, answer, asked, listening }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From now on answers every request so.
    pub(crate) fn reply_with(&self, reply: Reply) {
        *self.answer.lock() = Arc::new(move |_| reply.clone());
    }

    /// The requests that came in.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// How many requests came in.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().len()
    }

    /// Waits until so many requests have come in.
    pub(crate) async fn until_asked(&self, count: usize) {
        eventually("it is asked", async || self.count() >= count).await;
    }
}

impl Drop for FakeRouter {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What connections need.
#[derive(Clone)]
struct Serving {
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Serving {
    async fn serve(self, mut connection: TcpStream) {
        connection.set_nodelay(true).unwrap();
        let mut bytes = Vec::new();
        while let Some(asked) = next_request(&mut connection, &mut bytes).await {
            let answer = self.answer.lock().clone();
            let reply = answer(&asked);
            self.asked.lock().push(asked);
            if reply.send(&mut connection).await.is_err() {
                return;
            }
        }
    }
}

impl Reply {
    /// An error says that the client is gone.
    async fn send(mut self, connection: &mut TcpStream) -> std::io::Result<()> {
        while let Self::Behind(gate, reply) = self {
            gate.pass().await;
            self = *reply;
        }
        match self {
            Self::Bytes(bytes) => connection.write_all(&bytes).await?,
            Self::Endless { head, chunk } => {
                connection.write_all(&head).await?;
                loop {
                    connection.write_all(&chunk).await?;
                }
            }
            Self::Never => while connection.read(&mut [0; 64]).await? > 0 {},
            Self::Behind(..) => {}
        }
        Ok(())
    }
}

/// The next request of a connection, whole; `None`: there will be none.
async fn next_request(connection: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Asked> {
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(connection, bytes).await?;
    };
    let head = String::from_utf8(bytes.drain(..head_end).collect()).ok()?;
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    while bytes.len() < length {
        read_more(connection, bytes).await?;
    }
    let body = bytes.drain(..length).collect();
    let mut words = head.split(' ').map(str::to_owned);
    Some(Asked { method: words.next()?, path: words.next()?, head: lower, body })
}

async fn read_more(connection: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut more = [0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(60), connection.read(&mut more)).await;
    let count = read.ok()?.ok().filter(|count| *count > 0)?;
    bytes.extend_from_slice(&more[..count]);
    Some(())
}
