//! A router for tests: a real HTTP server on loopback that answers as it is told.
//!
//! One connection at a time, one request a connection; every read and write is bounded in time,
//! and the server's thread ends with the value that started it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const IO_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct TestRouter {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    is_stopping: Arc<AtomicBool>,
    /// The connection that is being served.
    current: Arc<Mutex<Option<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl TestRouter {
    /// Answers every request with `status` and `body`.
    pub(crate) fn answering(status: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = format!("Content-Type: {content_type}\r\n");
        Self::with_headers(status, &headers, body)
    }

    /// As [`TestRouter::answering`], with headers of any kind, each ended by `\r\n`.
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

    /// Does whatever `handler` does with each connection, after its request's head was read.
    pub(crate) fn start(
        mut handler: impl FnMut(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let current = Arc::new(Mutex::new(None));
        let (seen, stop, serving) =
            (Arc::clone(&heads), Arc::clone(&is_stopping), Arc::clone(&current));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                *serving.lock().unwrap() = Some(stream.try_clone().unwrap());
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                serve(&mut stream, &seen, &mut handler);
                // The connection is closed when its last handle is gone.
                *serving.lock().unwrap() = None;
            }
        });
        Self { addr, heads, is_stopping, current, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The heads of the requests that came in, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for TestRouter {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        // Wakes the thread where it waits for the client, which may wait for this to end...
        if let Some(stream) = self.current.lock().unwrap().take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // ... and where it waits for a connection.
        let _ = TcpStream::connect(self.addr);
        let thread = self.thread.take().unwrap();
        if thread.join().is_err() && !std::thread::panicking() {
            panic!("the test router's thread panicked");
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

fn serve(
    stream: &mut TcpStream,
    heads: &Mutex<Vec<String>>,
    handler: &mut impl FnMut(&mut TcpStream) -> std::io::Result<()>,
) {
    stream.set_read_timeout(Some(IO_TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(IO_TIMEOUT)).unwrap();
    let head = read_head(stream);
    heads.lock().unwrap().push(head.to_ascii_lowercase());
    // A client that has enough closes the connection, which is no fault of either side.
    let _ = handler(stream);
}

fn read_head(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream.take(64 * 1024));
    let mut head = String::new();
    while let Ok(bytes) = reader.read_line(&mut head) {
        if bytes == 0 || head.ends_with("\r\n\r\n") {
            break;
        }
    }
    head
}
