//! One request to an upstream, from its admission to its end, and what is recorded of it.
//!
//! An exchange is counted exactly once: by [`Exchange::succeed`], [`Exchange::fail`], or, if its
//! caller is cancelled, when it is dropped.

use reqwest::{Method, Request};

use super::Shared;
use super::failure::ExchangeFailure;
use crate::clock::Stopwatch;
use crate::http_client::{HttpAnswer, HttpClientError};
use crate::metrics::{UpstreamCounts, UpstreamOutcome};
use crate::resolve::AskError;
use crate::types::TargetId;
use crate::upstream::admission::Admission;

/// A request under way.
pub(super) struct Exchange {
    id: TargetId,
    admission: Admission,
    counts: UpstreamCounts,
    watch: Stopwatch,
    has_records: bool,
    is_counted: bool,
}

impl Exchange {
    pub(super) fn start(id: TargetId, admission: Admission, counts: UpstreamCounts) -> Self {
        counts.started();
        let watch = Stopwatch::start();
        Self { id, admission, counts, watch, has_records: false, is_counted: false }
    }

    /// Sends a request and waits for the head of its answer. A read whose connection fails before
    /// that is retried once, within the same timeout: the upstream may have closed an idle
    /// connection. A metered request is not: the upstream may have counted it.
    pub(super) async fn send(
        &self,
        shared: &Shared,
        request: Request,
    ) -> Result<HttpAnswer, HttpClientError> {
        let may_repeat = request.method() == Method::GET && !shared.is_metered;
        let again = if may_repeat { request.try_clone() } else { None };
        let failed = match self.send_once(shared, request).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let is_of_connection =
            matches!(failed, HttpClientError::Connect { .. } | HttpClientError::BrokeOff { .. });
        match again {
            Some(request) if is_of_connection => self.send_once(shared, request).await,
            _ => Err(failed),
        }
    }

    async fn send_once(
        &self,
        shared: &Shared,
        mut request: Request,
    ) -> Result<HttpAnswer, HttpClientError> {
        *request.timeout_mut() =
            shared.http.timeout().map(|timeout| timeout.saturating_sub(self.watch.elapsed()));
        shared.http.send(request).await
    }

    /// Counts records that have come, and those that cannot be used.
    pub(super) fn received(&mut self, records: usize, records_bad: usize) {
        self.counts.received(records as u64, records_bad as u64);
        if records > 0 && !self.has_records {
            self.has_records = true;
            self.counts.first_record(self.watch.elapsed());
            // It is a success however it ends.
            self.admission.works();
        }
    }

    /// Counts fields that were dropped from records.
    pub(super) fn dropped_fields(&self, fields: usize) {
        self.counts.fields_dropped(fields as u64);
    }

    /// The upstream gave a whole answer.
    pub(super) fn succeed(mut self, outcome: UpstreamOutcome) {
        self.admission.works();
        self.count(outcome);
    }

    /// The upstream gave no whole answer; returns the caller's error.
    pub(super) fn fail(mut self, failure: &ExchangeFailure) -> AskError {
        let error = failure.to_ask_error();
        let id = &self.id;
        tracing::debug!(upstream = %id, %error, "an upstream gave no whole answer");
        if let ExchangeFailure::Backoff(time) = failure {
            self.admission.back_off(*time);
        }
        if failure.is_of_upstream() {
            self.admission.failed(&error);
        } else {
            self.admission.works();
        }
        self.count(if self.has_records { UpstreamOutcome::Cut } else { failure.outcome() });
        error
    }

    fn count(&mut self, outcome: UpstreamOutcome) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.counts.ended(outcome, self.watch.elapsed());
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.count(UpstreamOutcome::Abandoned);
    }
}
