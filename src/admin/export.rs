//! `GET /admin/export`: everything that the store holds, as NDJSON that imports again.
//!
//! One line a (key, record) pair. An answer that is not whole is cut without the end that HTTP
//! wants, so that no client takes it for whole; an error before the first line has its own status.
//! Lines are made as the client reads: no more than a piece of them is held.

use std::fmt::Write;

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::AdminState;
use super::error::AdminError;
use crate::store::{ExportStream, Exported, StoreError};
use crate::text::with_causes;

/// Exports at the same time. Each holds on to files that compaction would drop.
pub(super) const EXPORTS_MAX: usize = 2;

/// Where a piece of the answer ends, one line more at worst.
const PIECE_BYTES: usize = 64 << 10;

/// Answers `GET /admin/export`.
pub(super) async fn export(state: web::Data<AdminState>) -> HttpResponse {
    let Ok(permit) = state.exports.clone().try_acquire_owned() else {
        return AdminError::Busy("exports").into_response();
    };
    let mut entries = state.store.export(state.clock.now_ms());
    let first = match entries.next().await {
        Some(Err(error)) => return AdminError::Store(error).into_response(),
        Some(Ok(first)) => first,
        None => Vec::new(),
    };
    let stopping = state.stopping.clone();
    let body = ExportBody { entries, ready: first.into_iter(), stopping, _permit: permit };
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/x-ndjson"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(body.into_pieces())
}

/// The unsent rest of an export.
struct ExportBody {
    entries: ExportStream,
    ready: std::vec::IntoIter<Exported>,
    stopping: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl ExportBody {
    fn into_pieces(self) -> impl Stream<Item = Result<Bytes, StoreError>> {
        stream::try_unfold(self, |mut body| async {
            let piece = body.next_piece().await.inspect_err(|error| {
                tracing::error!(error = with_causes(error), "an export was cut short");
            })?;
            Ok(piece.map(|piece| (piece, body)))
        })
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        let mut piece = String::new();
        loop {
            for entry in self.ready.by_ref() {
                write_line(&entry, &mut piece);
                if piece.len() >= PIECE_BYTES {
                    return Ok(Some(piece.into()));
                }
            }
            let next = tokio::select! {
                () = self.stopping.cancelled() => {
                    let reason = "the server is stopping".to_owned();
                    return Err(StoreError::Unavailable { reason });
                }
                next = self.entries.next() => next,
            };
            match next {
                Some(entries) => self.ready = entries?.into_iter(),
                None if piece.is_empty() => return Ok(None),
                None => return Ok(Some(piece.into())),
            }
        }
    }
}

/// Writes an entry as a line that an import reads.
pub(crate) fn write_line(entry: &Exported, line: &mut String) {
    let Exported { key, record_json, context, expires_at_ms, origin } = entry;
    // Neither a CID nor the text of a context or a network has characters that JSON would escape.
    line.push_str("{\"CID\":\"");
    line.push_str(&key.to_cid_text());
    line.push_str("\",\"Providers\":[");
    line.push_str(record_json);
    line.push(']');
    if let Some(expires_at_ms) = expires_at_ms {
        write!(line, ",\"ExpiresAt\":{expires_at_ms}").expect("writing to a string cannot fail");
    }
    if !context.as_bytes().is_empty() {
        line.push_str(",\"Context\":\"");
        line.push_str(&context.to_text());
        line.push('"');
    }
    if let Some(network) = origin.to_network_text() {
        line.push_str(",\"Network\":\"");
        line.push_str(&network);
        line.push('"');
    }
    line.push_str("}\n");
}
