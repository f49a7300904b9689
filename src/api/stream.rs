//! Bodies that are written while they are sent.
//!
//! Records wait as what the index holds anyway, not as text, and become text [`CHUNK_BYTES`] at a
//! time when the connection takes them: a slow reader holds no lock and no more than a chunk and
//! what the connection buffers. Records that are known at once share a chunk; the first of them never
//! waits for the next to become known.
//!
//! A body that still grows ends with its source, at the deadline, or when its client goes: whichever
//! comes first drops the source and with it the work behind it. What cannot be found out any more
//! does not break an answer that has begun; the metric of how bodies end says so.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use futures_util::StreamExt;
use tokio::time::Sleep;

use super::form::{BodyWriter, Form};
use crate::metrics::{StreamEnd, WorkerCounts};
use crate::resolve::FoundStream;
use crate::types::Found;
use crate::types::{ReadyRecord, Selection};

/// Bytes of a chunk, and one record more at most.
const CHUNK_BYTES: usize = 16 << 10;

/// When a lookup ends at the latest. Ready then.
pub(super) struct Deadline(Pin<Box<Sleep>>);

/// A body of records.
pub(super) struct RecordsBody {
    writer: BodyWriter,
    records: std::vec::IntoIter<(Arc<ReadyRecord>, Selection)>,
    growing: Option<Growing>,
    open: OpenStream,
}

/// Where more records come from.
struct Growing {
    source: FoundStream,
    deadline: Deadline,
}

/// Counts a body as open until it is dropped, and how it ended.
struct OpenStream {
    counts: Arc<WorkerCounts>,
    /// Records that nobody else counts.
    records: u64,
    end: StreamEnd,
}

impl Deadline {
    pub(super) fn after(duration: Duration) -> Self {
        Self(Box::pin(tokio::time::sleep(duration)))
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl RecordsBody {
    /// A body of what was found, which is all.
    pub(super) fn whole(found: Found, form: Form, counts: Arc<WorkerCounts>) -> Self {
        let open = OpenStream::new(counts);
        let writer = BodyWriter::new(form);
        Self { writer, records: found.records.into_iter(), growing: None, open }
    }

    /// A body of what was found so far, and what else comes from `source` until `deadline`.
    pub(super) fn growing(
        found: Found,
        form: Form,
        source: FoundStream,
        deadline: Deadline,
        counts: Arc<WorkerCounts>,
    ) -> Self {
        let mut open = OpenStream::new(counts);
        open.records = found.records.len() as u64;
        let growing = Some(Growing { source, deadline });
        Self { writer: BodyWriter::new(form), records: found.records.into_iter(), growing, open }
    }

    /// Waits for more records; `None`: there will be none.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Option<()>> {
        let Some(growing) = &mut self.growing else {
            if self.open.end == StreamEnd::ClientGone {
                self.open.end = StreamEnd::Whole;
            }
            return Poll::Ready(None);
        };
        let end = match growing.source.poll_next_unpin(context) {
            Poll::Pending => {
                if Pin::new(&mut growing.deadline).poll(context).is_pending() {
                    return Poll::Pending;
                }
                StreamEnd::Deadline
            }
            Poll::Ready(Some(Ok(found))) => {
                self.open.records += found.records.len() as u64;
                self.records = found.records.into_iter();
                return Poll::Ready(Some(()));
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "a lookup failed after its first records were sent");
                StreamEnd::Failed
            }
            Poll::Ready(None) => StreamEnd::Whole,
        };
        self.end(end);
        Poll::Ready(None)
    }

    /// Ends a body that has gone on past its deadline because its reader is slow.
    fn end_when_late(&mut self, context: &mut Context<'_>) {
        if let Some(growing) = &mut self.growing
            && Pin::new(&mut growing.deadline).poll(context).is_ready()
        {
            self.end(StreamEnd::Deadline);
            self.records = Vec::new().into_iter();
        }
    }

    fn end(&mut self, end: StreamEnd) {
        self.growing = None;
        self.open.end = end;
    }
}

impl MessageBody for RecordsBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let mut chunk = Vec::new();
        self.end_when_late(context);
        while chunk.len() < CHUNK_BYTES {
            if let Some((record, selection)) = self.records.next() {
                self.writer.write(&record, &selection, &mut chunk);
                continue;
            }
            match self.poll_more(context) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => {
                    self.writer.close(&mut chunk);
                    break;
                }
                Poll::Pending if chunk.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if chunk.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(chunk.into())))
    }
}

impl OpenStream {
    fn new(counts: Arc<WorkerCounts>) -> Self {
        counts.stream_opened();
        Self { counts, records: 0, end: StreamEnd::ClientGone }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.counts.stream_ended(self.end, self.records);
    }
}
