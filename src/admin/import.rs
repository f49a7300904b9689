//! `POST /admin/import`: a body of NDJSON or a CAR, of any length, taken in while it comes.
//!
//! The answer is NDJSON, one [`ImportEvent`] a line, and begins while the body is still being sent:
//! `acknowledged` says after each batch what is with the store, so that a client shows progress and
//! knows what is safe whatever happens next; `rejected` names the first entries that were not taken
//! in; `done` or `error` is the last line. An import that fails before anything was acknowledged is
//! answered with the error's own status. A client that does not read its answer delays nobody:
//! acknowledgements that find no room are left out, for later ones say more.
//!
//! Decoding runs on a thread that may block. A client that goes away, keeps silent for too long, or
//! a server that stops end the import; what was acknowledged stays.

mod body;
mod request;

use std::convert::Infallible;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

use super::AdminState;
use super::error::AdminError;
use super::wire::{ImportEvent, RejectedEntry};
use crate::clock::Clock;
use crate::ingest::{
    Acknowledged, DeclaredBy, ImportCounts, ImportFailure, ImportObserver, ImportOptions,
    ImportSource, REJECTIONS_SHOWN_MAX, Rejection, import_source,
};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::text::with_causes;
use body::BodyReader;
use request::{ImportRequest, NDJSON};

/// The most concurrent imports. Each takes a thread and some 10 MiB.
pub(super) const IMPORTS_MAX: usize = 4;

/// The most events buffered for a slow client.
const EVENTS_MAX: usize = 64;

/// The share of the buffer reserved for rejections, which must not be lost.
const EVENTS_RESERVED: usize = REJECTIONS_SHOWN_MAX as usize;

/// The result of an import.
type ImportOutcome = Result<ImportCounts, Box<ImportFailure>>;

/// Answers `POST /admin/import`.
pub(super) async fn import(
    state: web::Data<AdminState>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    match start(&state, &request, payload) {
        Ok((events, outcome)) => answer(events, outcome).await,
        Err(error) => error.into_response(),
    }
}

fn start(
    state: &AdminState,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<(mpsc::Receiver<ImportEvent>, JoinHandle<ImportOutcome>), AdminError> {
    let options = ImportOptions { now_ms: state.clock.now_ms(), ..state.import_options.clone() };
    let request = ImportRequest::read(request, options)?;
    let permit = state.imports.clone().try_acquire_owned();
    let permit = permit.map_err(|_| AdminError::Busy("imports"))?;
    let (pump, reader) = body::split(payload, state.import_idle_timeout, state.stopping.clone());
    actix_web::rt::spawn(pump.run());
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let running = RunningImport {
        request,
        store: state.store.clone(),
        clock: state.clock.clone(),
        metrics: state.metrics.clone(),
        reporter: Reporter { events: sender },
        _permit: permit,
    };
    let runtime = Handle::current();
    Ok((events, spawn_blocking(move || running.run(reader, &runtime))))
}

/// An import on its thread.
struct RunningImport {
    request: ImportRequest,
    store: Arc<dyn Store>,
    clock: Clock,
    metrics: Arc<Metrics>,
    reporter: Reporter,
    _permit: OwnedSemaphorePermit,
}

impl RunningImport {
    fn run(mut self, reader: BodyReader, runtime: &Handle) -> ImportOutcome {
        let ImportRequest { kind, compression, options } = self.request;
        let name = "the body".into();
        let reader = Box::new(reader);
        let source = ImportSource {
            name,
            kind,
            compression,
            declared_by: DeclaredBy::Headers,
            size_bytes: None,
            reader,
        };
        let (store, clock) = (self.store, self.clock);
        let mut sink = |updates| runtime.block_on(store.update(updates, clock.now_ms()));
        let result = import_source(source, &options, &mut sink, &mut self.reporter);
        let summary = match &result {
            Ok(summary) => Some(summary.clone()),
            Err(failure) => failure.summary.clone(),
        };
        if let Some(summary) = &summary {
            summary.counts.record(&self.metrics);
        }
        match result {
            Ok(summary) => {
                tracing::info!(%summary, "imported over the admin API");
                Ok(summary.counts)
            }
            Err(failure) => {
                let summary = summary.map(|summary| summary.to_string());
                let error = with_causes(&*failure);
                tracing::warn!(error, summary, "an import over the admin API stopped");
                Err(failure)
            }
        }
    }
}

/// Reports progress to the client.
struct Reporter {
    events: mpsc::Sender<ImportEvent>,
}

impl ImportObserver for Reporter {
    fn acknowledged(&mut self, acknowledged: &Acknowledged) {
        if self.events.capacity() > EVENTS_RESERVED {
            self.send(ImportEvent::Acknowledged(*acknowledged));
        }
    }

    fn rejected(&mut self, rejection: &Rejection) {
        self.send(ImportEvent::Rejected(rejection.into()));
    }
}

impl Reporter {
    fn send(&self, event: ImportEvent) {
        // A client that has disconnected misses events; the end of the body stops the import.
        let _ = self.events.try_send(event);
    }
}

/// Waits for the event that decides the status: the first acknowledgement, or the end.
async fn answer(
    mut events: mpsc::Receiver<ImportEvent>,
    outcome: JoinHandle<ImportOutcome>,
) -> HttpResponse {
    let mut first = Vec::new();
    while let Some(event) = events.recv().await {
        let is_acknowledged = matches!(event, ImportEvent::Acknowledged(_));
        first.push(event);
        if is_acknowledged {
            return stream_events(first, events, outcome);
        }
    }
    match outcome.await {
        Ok(Ok(counts)) => {
            first.push(ImportEvent::Done(counts));
            let body: String = first.iter().map(ImportEvent::to_line).collect();
            ndjson().body(body)
        }
        Ok(Err(failure)) => {
            let rejected = first.into_iter().filter_map(rejected_entry).collect();
            AdminError::Import { failure, rejected }.into_response()
        }
        Err(_) => AdminError::Panicked("import").into_response(),
    }
}

fn stream_events(
    first: Vec<ImportEvent>,
    events: mpsc::Receiver<ImportEvent>,
    outcome: JoinHandle<ImportOutcome>,
) -> HttpResponse {
    let rest = stream::unfold(events, |mut events| async {
        let event = events.recv().await?;
        Some((event, events))
    });
    let last = stream::once(async {
        match outcome.await {
            Ok(Ok(counts)) => ImportEvent::Done(counts),
            Ok(Err(failure)) => {
                let error = AdminError::Import { failure, rejected: Vec::new() };
                ImportEvent::Error(error.into_problem())
            }
            Err(_) => ImportEvent::Error(AdminError::Panicked("import").into_problem()),
        }
    });
    let all = stream::iter(first).chain(rest).chain(last);
    ndjson().streaming(all.map(|event| Ok::<_, Infallible>(Bytes::from(event.to_line()))))
}

fn ndjson() -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, NDJSON))
        .insert_header((header::CACHE_CONTROL, "no-store"));
    response
}

fn rejected_entry(event: ImportEvent) -> Option<RejectedEntry> {
    match event {
        ImportEvent::Rejected(entry) => Some(entry),
        ImportEvent::Acknowledged(_) | ImportEvent::Done(_) | ImportEvent::Error(_) => None,
    }
}
