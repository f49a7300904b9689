//! The load generator: keep-alive connections on one thread, with as little between the clock and
//! the sockets as can be.
//!
//! In the closed loop every connection asks again as soon as it has its answer. In the open loop
//! requests arrive at times drawn beforehand (Poisson), whatever the server does; latency counts
//! from the arrival, so that waiting for a free connection counts. Between arrivals less than
//! [`SPIN_BELOW`] apart it spins, because the system's timers are coarser than that.

use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::data::Requests;
use super::target::Expected;

/// `epoll_wait` sleeps for whole milliseconds.
const SPIN_BELOW: Duration = Duration::from_millis(2);

/// A server that leaves a request without an answer for so long ends the run.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Latencies are kept to a part in a thousand, up to a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// As soon as the answer before has come.
    Closed,
    /// At times drawn beforehand.
    Open { per_second: f64 },
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) load: Load,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    /// In nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

/// The connections to one server.
pub(crate) struct Client<'a> {
    poll: Poll,
    connections: Vec<Connection>,
    requests: &'a Requests,
    expected: Expected,
    sent: usize,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// Where the answer that is being read ends, once its head is there.
    end: Option<usize>,
    asked_at: Instant,
}

/// The arrivals of an open loop.
struct Arrivals {
    random: StdRng,
    gap_seconds: f64,
    next: Instant,
    until: Instant,
}

impl<'a> Client<'a> {
    /// Connects.
    pub(crate) fn connect(
        addr: SocketAddr,
        count: usize,
        requests: &'a Requests,
        expected: Expected,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(count);
        for number in 0..count {
            let stream = std::net::TcpStream::connect(addr).context("cannot connect")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            let buffer = vec![0; expected.body_bytes + 2048];
            let asked_at = Instant::now();
            connections.push(Connection { stream, buffer, filled: 0, end: None, asked_at });
        }
        Ok(Self { poll, connections, requests, expected, sent: 0 })
    }

    /// Sends requests for the run's duration, and waits for the last answers.
    pub(crate) fn run(&mut self, run: &Run) -> anyhow::Result<Outcome> {
        let start = Instant::now();
        let mut latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)?;
        match run.load {
            Load::Closed => self.run_closed(start + run.duration, &mut latency)?,
            Load::Open { per_second } => {
                let arrivals = Arrivals {
                    random: StdRng::seed_from_u64(run.seed),
                    gap_seconds: 1.0 / per_second,
                    next: start,
                    until: start + run.duration,
                };
                self.run_open(arrivals, &mut latency)?;
            }
        }
        Ok(Outcome { requests: latency.len(), elapsed: start.elapsed(), latency })
    }

    fn run_closed(&mut self, until: Instant, latency: &mut Histogram<u64>) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut waiting = self.connections.len();
        for number in 0..waiting {
            self.send(number, Instant::now())?;
        }
        while waiting > 0 {
            self.poll(&mut events, Some(TIMEOUT))?;
            ensure!(!events.is_empty(), "no answer for {TIMEOUT:?}");
            for event in &events {
                let Token(number) = event.token();
                let Some(took) = self.receive(number)? else { continue };
                record(latency, took);
                let now = Instant::now();
                if now < until {
                    self.send(number, now)?;
                } else {
                    waiting -= 1;
                }
            }
        }
        Ok(())
    }

    fn run_open(
        &mut self,
        mut arrivals: Arrivals,
        latency: &mut Histogram<u64>,
    ) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut idle: VecDeque<usize> = (0..self.connections.len()).collect();
        let mut queue = VecDeque::new();
        let mut answered_at = Instant::now();
        loop {
            let now = Instant::now();
            queue.extend(arrivals.due(now));
            while let (Some(number), Some(arrived_at)) =
                (idle.front().copied(), queue.front().copied())
            {
                self.send(number, arrived_at)?;
                idle.pop_front();
                queue.pop_front();
            }
            let is_all_answered = idle.len() == self.connections.len() && queue.is_empty();
            if is_all_answered && arrivals.are_over() {
                return Ok(());
            }
            self.poll(&mut events, Some(arrivals.sleep(now)))?;
            for event in &events {
                let Token(number) = event.token();
                let Some(took) = self.receive(number)? else { continue };
                record(latency, took);
                idle.push_back(number);
                answered_at = now;
            }
            let is_silent = now.duration_since(answered_at) > TIMEOUT;
            ensure!(is_all_answered || !is_silent, "no answer for {TIMEOUT:?}");
        }
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> anyhow::Result<()> {
        loop {
            match self.poll.poll(events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return Ok(result?),
            }
        }
    }

    fn send(&mut self, number: usize, asked_at: Instant) -> anyhow::Result<()> {
        let request = self.requests.get(self.sent);
        self.sent += 1;
        let connection = self.connections.get_mut(number).context("no such connection")?;
        connection.asked_at = asked_at;
        // The connection is idle, so its buffers are empty and take a request at once.
        let written = connection.stream.write(request)?;
        ensure!(written == request.len(), "{written} bytes of a request were taken");
        Ok(())
    }

    /// How long the answer took, if it is all there.
    fn receive(&mut self, number: usize) -> anyhow::Result<Option<Duration>> {
        let expected = self.expected;
        let connection = self.connections.get_mut(number).context("no such connection")?;
        while !connection.is_whole(expected)? {
            let free = connection.buffer.get_mut(connection.filled..).unwrap_or_default();
            ensure!(!free.is_empty(), "an answer is longer than expected");
            match connection.stream.read(free) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(read) => connection.filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        connection.filled = 0;
        connection.end = None;
        Ok(Some(connection.asked_at.elapsed()))
    }
}

impl Connection {
    fn is_whole(&mut self, expected: Expected) -> anyhow::Result<bool> {
        let received = self.buffer.get(..self.filled).unwrap_or_default();
        if self.end.is_none() {
            let Some(blank) = memchr::memmem::find(received, b"\r\n\r\n") else { return Ok(false) };
            let (head, _) = received.split_at(blank + 4);
            check_head(head, expected)?;
            self.end = Some(head.len() + expected.body_bytes);
        }
        let missing = self.end.and_then(|end| end.checked_sub(self.filled));
        Ok(missing.context("an answer is longer than its Content-Length")? == 0)
    }
}

fn check_head(head: &[u8], expected: Expected) -> anyhow::Result<()> {
    const CONTENT_LENGTH: &[u8] = b"\r\ncontent-length: ";
    let status = head.get(9..12).and_then(number);
    // nginx writes names of headers with capitals.
    let head = head.to_ascii_lowercase();
    let at = memchr::memmem::find(&head, CONTENT_LENGTH).context("an answer without a length")?;
    let value = head.get(at + CONTENT_LENGTH.len()..).unwrap_or_default();
    let length = value.split(|byte| *byte == b'\r').next().and_then(number);
    let found = (status, length);
    let wanted = (Some(usize::from(expected.status)), Some(expected.body_bytes));
    ensure!(found == wanted, "an answer with status and length {found:?}, not {wanted:?}");
    Ok(())
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn record(latency: &mut Histogram<u64>, took: Duration) {
    latency.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
}

impl Arrivals {
    /// The requests that have arrived by now.
    fn due(&mut self, now: Instant) -> impl Iterator<Item = Instant> {
        std::iter::from_fn(move || {
            if self.next > now || self.are_over() {
                return None;
            }
            let arrived_at = self.next;
            let unit: f64 = self.random.random();
            let gap_seconds = -(1.0 - unit).ln() * self.gap_seconds;
            self.next += Duration::from_secs_f64(gap_seconds);
            Some(arrived_at)
        })
    }

    fn are_over(&self) -> bool {
        self.next >= self.until
    }

    /// How long to wait for answers before the next arrival.
    fn sleep(&self, now: Instant) -> Duration {
        if self.are_over() {
            return SPIN_BELOW;
        }
        let left = self.next.saturating_duration_since(now);
        if left < SPIN_BELOW { Duration::ZERO } else { left - SPIN_BELOW / 2 }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed loop"),
            Self::Open { per_second } => write!(f, "open loop at {per_second:.0}/s"),
        }
    }
}
