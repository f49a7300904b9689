//! The body of a request as a reader for a thread that may block.
//!
//! A bounded channel connects the two and applies backpressure: when the decoder is slow, the body
//! is not read, and TCP slows the client. Memory is bounded by the number of pieces in the channel,
//! each at most one read of the socket. The end is sent explicitly: a channel that closes without
//! it means a truncated body.

use std::io::{self, Read};
use std::time::Duration;

use actix_web::web;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The most buffered pieces: at 32 to 64 KiB each, one or two milliseconds of decoding.
const PIECES_MAX: usize = 16;

/// A message of the channel.
enum Piece {
    Bytes(Bytes),
    End,
    Failed(io::Error),
}

/// Feeds a [`BodyReader`].
pub(super) struct BodyPump {
    payload: web::Payload,
    pieces: mpsc::Sender<Piece>,
    idle_timeout: Duration,
    stopping: CancellationToken,
}

/// The reading end.
pub(super) struct BodyReader {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    is_ended: bool,
}

/// Splits a body into the half that stays with the connection and the half that is read.
pub(super) fn split(
    payload: web::Payload,
    idle_timeout: Duration,
    stopping: CancellationToken,
) -> (BodyPump, BodyReader) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let pump = BodyPump { payload, pieces: sender, idle_timeout, stopping };
    (pump, BodyReader { pieces: receiver, current: Bytes::new(), is_ended: false })
}

impl BodyPump {
    /// Passes the body on until it ends, fails, brings nothing for too long, or nobody reads it any
    /// more.
    pub(super) async fn run(mut self) {
        loop {
            let piece = self.next().await;
            let is_last = !matches!(piece, Piece::Bytes(_));
            if self.pieces.send(piece).await.is_err() || is_last {
                return;
            }
        }
    }

    async fn next(&mut self) -> Piece {
        let next = tokio::select! {
            () = self.stopping.cancelled() => {
                let stopping = io::Error::new(io::ErrorKind::NotConnected, "the server is stopping");
                return Piece::Failed(stopping);
            }
            next = tokio::time::timeout(self.idle_timeout, self.payload.next()) => next,
        };
        match next {
            Ok(Some(Ok(bytes))) => Piece::Bytes(bytes),
            Ok(None) => Piece::End,
            Ok(Some(Err(error))) => {
                Piece::Failed(io::Error::new(io::ErrorKind::ConnectionAborted, error.to_string()))
            }
            Err(_) => {
                let idle = humantime::format_duration(self.idle_timeout);
                let reason = format!("nothing came for {idle} (setting import_idle_timeout)");
                Piece::Failed(io::Error::new(io::ErrorKind::TimedOut, reason))
            }
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.is_ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End) => self.is_ended = true,
                Some(Piece::Failed(error)) => return Err(error),
                None => {
                    let cut = "the connection is gone";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, cut));
                }
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(buffer.split_at_mut(length).0);
        Ok(length)
    }
}
