//! Equal lookups at once, of a key that only an upstream can know: how often is it asked?

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::data::Requests;

/// How long the upstream takes to answer: longer than it takes to send all lookups.
const ANSWER_AFTER: Duration = Duration::from_millis(1_500);

/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What came of it.
pub(crate) struct Coalesced {
    pub(crate) lookups: usize,
    pub(crate) upstream_requests: usize,
    /// From the first lookup to the last answer.
    pub(crate) elapsed: Duration,
}

/// An upstream that knows nobody, takes its time, and counts.
pub(crate) struct CountingUpstream {
    addr: SocketAddr,
    requests: Arc<AtomicUsize>,
    is_stopping: Arc<AtomicBool>,
}

impl CountingUpstream {
    /// Starts it on a free port.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let upstream = Self {
            addr: listener.local_addr()?,
            requests: Arc::default(),
            is_stopping: Arc::default(),
        };
        let (requests, is_stopping) = (upstream.requests.clone(), upstream.is_stopping.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if is_stopping.load(Ordering::SeqCst) {
                    return;
                }
                let requests = requests.clone();
                std::thread::spawn(move || answer(stream, &requests));
            }
        });
        Ok(upstream)
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends that many equal lookups to the server before it, each on a connection of its own.
    pub(crate) fn count(
        &self,
        server: SocketAddr,
        requests: &Requests,
        lookups: usize,
    ) -> anyhow::Result<Coalesced> {
        let connect = |_| {
            let stream = TcpStream::connect(server)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            Ok(stream)
        };
        let mut streams = (0..lookups).map(connect).collect::<std::io::Result<Vec<_>>>()?;
        let start = Instant::now();
        for stream in &mut streams {
            stream.write_all(requests.get(0))?;
        }
        ensure!(start.elapsed() < ANSWER_AFTER, "the lookups took {:?} to send", start.elapsed());
        for stream in &mut streams {
            let mut status = [0; 12];
            stream.read_exact(&mut status)?;
            ensure!(&status == b"HTTP/1.1 404", "{}", String::from_utf8_lossy(&status));
        }
        let upstream_requests = self.requests.load(Ordering::SeqCst);
        Ok(Coalesced { lookups, upstream_requests, elapsed: start.elapsed() })
    }
}

impl Drop for CountingUpstream {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.addr);
    }
}

/// Answers every request of a connection, late.
fn answer(stream: TcpStream, requests: &AtomicUsize) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut writing = stream;
    let mut line = String::new();
    let mut reader = BufReader::new(reading);
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if line.trim_end().is_empty() {
            requests.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(ANSWER_AFTER);
            let head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            if writing.write_all(head).is_err() {
                return;
            }
        }
        line.clear();
    }
}
