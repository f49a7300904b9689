//! A server for tests: a real HTTP server on loopback with scripted answers.
//!
//! One request a connection, and one connection at a time unless many are asked for; every read and
//! write is bounded in time, and the server's threads end with the value that started them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const IO_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct TestServer {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    is_stopping: Arc<AtomicBool>,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    /// The connections that are being served.
    streams: Arc<Mutex<HashMap<usize, TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// Answers every request with `status` and `body`.
    pub(crate) fn answering(status: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = format!("Content-Type: {content_type}\r\n");
        Self::with_headers(status, &headers, body)
    }

    /// As [`TestServer::answering`], with headers of any kind, each ended by `\r\n`.
    pub(crate) fn with_headers(status: &str, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        Self::start(move |stream| {
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)
        })
    }

    /// Begins an NDJSON answer of unknown length, which ends when `rest` returns.
    pub(crate) fn streaming(
        mut rest: impl FnMut(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
    ) -> Self {
        Self::start(move |stream| {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
            )?;
            rest(stream)
        })
    }

    /// Calls `handler` with each connection after its request's head was read; one connection at a
    /// time.
    pub(crate) fn start(
        handler: impl FnMut(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
    ) -> Self {
        let handler = Mutex::new(handler);
        Self::concurrent(move |stream| (*handler.lock().unwrap())(stream))
    }

    /// As [`TestServer::start`], with all connections at once.
    pub(crate) fn concurrent(
        handler: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(HashMap::new()));
        let seen = Seen { heads: Arc::clone(&heads), bodies: Arc::clone(&bodies) };
        let (stop, open) = (Arc::clone(&is_stopping), Arc::clone(&streams));
        let thread = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                for (number, stream) in listener.incoming().enumerate() {
                    let mut stream = stream.unwrap();
                    open.lock().unwrap().insert(number, stream.try_clone().unwrap());
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (seen, open, handler) = (&seen, &open, &handler);
                    scope.spawn(move || {
                        serve(&mut stream, seen, handler);
                        // The connection is closed when its last handle is gone.
                        open.lock().unwrap().remove(&number);
                    });
                }
            });
        });
        Self { addr, heads, is_stopping, bodies, streams, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The bodies of the requests that came in.
    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().unwrap().clone()
    }

    /// The heads of the requests that came in, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        // Wakes the threads where they wait for the client, which may wait for this to end...
        for stream in self.streams.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // ... and where it waits for a connection.
        let _ = TcpStream::connect(self.addr);
        let thread = self.thread.take().unwrap();
        if thread.join().is_err() && !std::thread::panicking() {
            panic!("the test server's thread panicked");
        }
    }
}

/// Sends one chunk of a chunked body.
pub(crate) fn write_chunk(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    write!(stream, "{:x}\r\n", bytes.len())?;
    stream.write_all(bytes)?;
    stream.write_all(b"\r\n")
}

/// Waits until the client closes the connection.
pub(crate) fn wait_for_close(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.read(&mut [0]).map(drop)
}

/// What requests came in.
struct Seen {
    heads: Arc<Mutex<Vec<String>>>,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

fn serve(
    stream: &mut TcpStream,
    seen: &Seen,
    handler: &impl Fn(&mut TcpStream) -> std::io::Result<()>,
) {
    stream.set_read_timeout(Some(IO_TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(IO_TIMEOUT)).unwrap();
    let Some((head, body)) = read_request(stream) else { return };
    seen.heads.lock().unwrap().push(head);
    seen.bodies.lock().unwrap().push(body);
    // A client that has enough closes the connection, which is no fault of either side.
    let _ = handler(stream);
}

/// The head of a request, in lower case, and its body; `None`: none came.
fn read_request(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream.take(64 * 1024));
    let mut head = String::new();
    while let Ok(bytes) = reader.read_line(&mut head) {
        if bytes == 0 || head.ends_with("\r\n\r\n") {
            break;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    (!head.is_empty()).then_some((head, body))
}
