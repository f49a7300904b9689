//! Imports a file into a running server: the file is uploaded unchanged, and the server's
//! acknowledgements, streamed back meanwhile, are shown as progress.
//!
//! The file is read on a thread that may block, a few chunks ahead of the network. An answer that
//! ends without the import's outcome is an error: only what was acknowledged is known to be
//! imported.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Body, Method, RequestBuilder};
use tokio::sync::mpsc;

use super::Imported;
use crate::admin::{ImportEvent, Problem, RejectedEntry};
use crate::cli::admin_client::{AdminClient, RefusedRequest};
use crate::http_client::HttpClientError;
use crate::ingest::{
    Acknowledged, CarFlags, Compression, ImportCounts, ImportKind, ImportObserver, ImportOptions,
    ImportProgress, ImportSource, ImportSummary, Rejection,
};
use crate::text::printable;

/// How much of the file is read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Pieces that are read ahead.
const PIECES_MAX: usize = 4;

/// The longest line of the answer: the last one may hold the first rejections, with their reasons.
const LINE_BYTES_MAX: usize = 1 << 20;

/// A file to send, and how the server is to import it.
pub(super) struct Upload<'a> {
    pub(super) path: &'a Path,
    pub(super) flags: &'a CarFlags,
    pub(super) options: &'a ImportOptions,
}

/// Sends the file and waits for the end of its import.
pub(super) async fn import(
    client: &AdminClient,
    upload: &Upload<'_>,
    observer: &mut dyn ImportObserver,
) -> anyhow::Result<Imported> {
    let ImportSource { name, kind, compression, declared_by: _, size_bytes, reader } =
        ImportSource::open(upload.path)?;
    observer.begin(&name, size_bytes);
    let mut file = UploadedFile { name, kind, size_bytes, last: None, observer };
    let request = described(client, kind, compression, upload).body(body_of(reader));
    let ended = match client.send(request).await {
        Ok(answer) => file.follow(client.pieces(answer)).await,
        Err(error) => file.refused(error),
    };
    file.observer.end();
    ended
}

/// The request, with what the server has to know of the body.
fn described(
    client: &AdminClient,
    kind: ImportKind,
    compression: Compression,
    upload: &Upload<'_>,
) -> RequestBuilder {
    let mut query: Vec<(&str, &str)> = Vec::new();
    if upload.options.strict {
        query.push(("strict", "true"));
    }
    let content_type = match kind {
        ImportKind::Ndjson => "application/x-ndjson",
        ImportKind::Car => {
            let CarFlags { provider, addrs, protocols, record_json } = upload.flags;
            query.extend(provider.iter().map(|provider| ("provider", provider.as_str())));
            query.extend(addrs.iter().map(|addr| ("addr", addr.as_str())));
            query.extend(protocols.iter().map(|protocol| ("protocol", protocol.as_str())));
            query.extend(record_json.iter().map(|record| ("record", record.as_str())));
            if upload.options.verify {
                query.push(("verify", "true"));
            }
            "application/vnd.ipld.car"
        }
    };
    let mut url = client.url(&["admin", "import"]);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let request = client.request(Method::POST, url).header(CONTENT_TYPE, content_type);
    match compression {
        Compression::None => request,
        Compression::Gzip => request.header(CONTENT_ENCODING, "gzip"),
        Compression::Zstd => request.header(CONTENT_ENCODING, "zstd"),
    }
}

/// The bytes of `reader`, read on a thread of its own.
fn body_of(mut reader: Box<dyn Read + Send>) -> Body {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        loop {
            let piece = read_piece(&mut *reader).transpose();
            let Some(piece) = piece else { return };
            let is_last = piece.is_err();
            if sender.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    });
    Body::wrap_stream(stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    }))
}

/// The next piece; `None` at the end.
fn read_piece(reader: &mut dyn Read) -> io::Result<Option<Bytes>> {
    let mut piece = BytesMut::zeroed(PIECE_BYTES);
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(length) => {
                piece.truncate(length);
                return Ok(Some(piece.freeze()));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file being uploaded, and its observer.
struct UploadedFile<'a> {
    name: Arc<str>,
    kind: ImportKind,
    size_bytes: Option<u64>,
    last: Option<Acknowledged>,
    observer: &'a mut dyn ImportObserver,
}

impl UploadedFile<'_> {
    /// Reads the answer to its last line.
    async fn follow(
        &mut self,
        mut pieces: impl Stream<Item = Result<Bytes, HttpClientError>> + Unpin,
    ) -> anyhow::Result<Imported> {
        let mut line = Vec::new();
        loop {
            let piece = match pieces.next().await {
                Some(Ok(piece)) => piece,
                None => {
                    bail!("{}: the answer ended before the import; {}", self.name, self.known())
                }
                Some(Err(error)) => {
                    let lost = format!("{}: the connection was lost; {}", self.name, self.known());
                    return Err(anyhow!(error).context(lost));
                }
            };
            for part in piece.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if line.len() > LINE_BYTES_MAX {
                    bail!("{}: the server answered too long a line", self.name);
                }
                if !part.ends_with(b"\n") {
                    continue;
                }
                let event = serde_json::from_slice(&line)
                    .context("the answer is not that of an admin API")?;
                line.clear();
                if let Some(ended) = self.observe(event) {
                    return Ok(ended);
                }
            }
        }
    }

    /// Passes an event to the observer; returns the outcome if it is the last one.
    fn observe(&mut self, event: ImportEvent) -> Option<Imported> {
        match event {
            ImportEvent::Rejected(entry) => self.rejected(&entry),
            ImportEvent::Acknowledged(acknowledged) => self.progress(acknowledged),
            ImportEvent::Done(counts) => return Some(Imported::Whole(self.summary(counts))),
            ImportEvent::Error(problem) => return Some(self.stopped(problem)),
        }
        None
    }

    fn rejected(&mut self, entry: &RejectedEntry) {
        let RejectedEntry { place, reason, detail } = entry;
        self.observer.rejected(&Rejection {
            file: Arc::clone(&self.name),
            place: *place,
            reason: *reason,
            why: printable(detail).into_owned(),
        });
    }

    fn progress(&mut self, acknowledged: Acknowledged) {
        self.last = Some(acknowledged);
        let Acknowledged { bytes, lines, blocks, keys, records, rejected: _ } = acknowledged;
        let counts = ImportCounts { lines, blocks, keys, records, ..ImportCounts::default() };
        self.observer.progress(&ImportProgress {
            position_bytes: bytes,
            size_bytes: self.size_bytes,
            counts: &counts,
        });
    }

    fn summary(&self, counts: ImportCounts) -> ImportSummary {
        ImportSummary { file: Arc::clone(&self.name), kind: self.kind, counts }
    }

    fn stopped(&mut self, problem: Problem) -> Imported {
        problem.rejected.iter().for_each(|entry| self.rejected(entry));
        let error = format!("{}: {}", self.name, printable(&problem.detail));
        let summary = problem.imported.map(|counts| self.summary(counts));
        Imported::Stopped { error, summary }
    }

    /// A refusal of this file concerns the file; any other error concerns the server.
    fn refused(&mut self, error: anyhow::Error) -> anyhow::Result<Imported> {
        match error.downcast::<RefusedRequest>() {
            Ok(RefusedRequest { problem: Some(problem), .. }) if problem.imported.is_some() => {
                Ok(self.stopped(*problem))
            }
            Ok(refused) => Err(anyhow!(refused).context(format!("cannot import {}", self.name))),
            Err(error) => Err(error),
        }
    }

    /// What the server has acknowledged.
    fn known(&self) -> String {
        match self.last {
            Some(Acknowledged { lines, blocks, keys, records, .. }) => {
                let items = lines.max(blocks);
                format!(
                    "acknowledged were the first {items} entries: {keys} keys, {records} records"
                )
            }
            None => "nothing was acknowledged".to_owned(),
        }
    }
}
