//! What a handler is told of its request beside its id, and what it reports for the metrics.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use futures_util::poll;

use super::client_address::{Certainty, ClientAddress, client_address};
use super::request_id::RequestId;
use super::state::{ApiState, Worker};
use crate::clock::UnixMs;
use crate::metrics::{BodyFormat, Route};
use crate::resolve::{ResolveError, UpstreamReasons};
use crate::types::Origin;
use crate::types::{HOPS_HEADER, Hops};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FINGERPOST_HOPS: HeaderName = HeaderName::from_static(HOPS_HEADER);
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What is known of a request.
pub(super) struct Context {
    pub(super) worker: Rc<Worker>,
    pub(super) request: HttpRequest,
    pub(super) request_id: RequestId,
    pub(super) client: ClientAddress,
    pub(super) route: Route,
    /// When the request came.
    pub(super) now_ms: UnixMs,
    /// How many routers forwarded the request; `None`: its header makes no sense.
    pub(super) hops: Option<Hops>,
    /// Which format the answer has, for the metrics.
    pub(super) format: Cell<BodyFormat>,
    /// How many provider records the answer has, for the metrics.
    pub(super) records: Cell<u64>,
}

impl Context {
    pub(super) fn new(worker: Rc<Worker>, request: HttpRequest, route: Route) -> Self {
        let own_id = request.headers().get(X_REQUEST_ID).map(HeaderValue::as_bytes);
        Self {
            request_id: worker.state.request_ids.kept_or_new(own_id),
            client: client(&request, &worker.state),
            route,
            now_ms: worker.state.clock.now_ms(),
            hops: hops(&request),
            format: Cell::new(BodyFormat::Other),
            records: Cell::new(0),
            worker,
            request,
        }
    }

    pub(super) fn state(&self) -> &ApiState {
        &self.worker.state
    }

    /// How many routers forwarded the request.
    pub(super) fn hops(&self) -> Hops {
        self.hops.unwrap_or_default()
    }

    /// Where the request came from, if that is certain: not through a proxy that did not say for whom
    /// it asks, nor through one that nobody told us to trust, which gives itself away by its headers.
    pub(super) fn certain_client(&self) -> Option<IpAddr> {
        let peer = self.request.peer_addr().map(|addr| addr.ip().to_canonical());
        let names_another = [X_FORWARDED_FOR, header::FORWARDED]
            .iter()
            .any(|name| self.request.headers().contains_key(name));
        let is_untrusted_proxy = names_another && peer == Some(self.client.ip);
        let is_sure = self.client.certainty == Certainty::Sure && !is_untrusted_proxy;
        is_sure.then_some(self.client.ip)
    }

    /// The network that the client counts under; behind a proxy that does not name its client, the
    /// proxy's.
    pub(super) fn origin(&self) -> Origin {
        Origin::of_client(self.client.ip)
    }
}

/// Runs `work` with a timeout.
pub(super) async fn with_timeout<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, ResolveError>>,
) -> Result<T, ResolveError> {
    let mut work = pin!(work);
    // A local answer is there at once, and needs neither a timer nor the time.
    if let Poll::Ready(found) = poll!(work.as_mut()) {
        return found;
    }
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or(Err(ResolveError::TimedOut(UpstreamReasons::unfinished())))
}

fn client(request: &HttpRequest, state: &ApiState) -> ClientAddress {
    // Only a socket that is already closed has no address.
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |addr| addr.ip());
    let lines = |name| request.headers().get_all(name).map(HeaderValue::as_bytes);
    client_address(peer, lines(X_FORWARDED_FOR), lines(header::FORWARDED), &state.trusted_proxies)
}

fn hops(request: &HttpRequest) -> Option<Hops> {
    match request.headers().get(FINGERPOST_HOPS) {
        None => Some(Hops::default()),
        Some(value) => value.to_str().ok().and_then(Hops::parse),
    }
}
