//! What clients see when something behind the API fails.

use std::time::Duration;

use fingerpost::resolve::{FoundStream, ResolveError, Resolver, UpstreamReasons};
use fingerpost::store::StoreError;
use fingerpost::types::{Found, Question};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use reqwest::Method;

use super::harness::{CID, server};

/// Fails every lookup in its own way.
struct Failing(fn() -> ResolveError);

impl Resolver for Failing {
    fn find<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        async { Err((self.0)()) }.boxed()
    }

    fn stream(&self, _: Question) -> FoundStream {
        let error = (self.0)();
        stream::once(async { Err(error) }).boxed()
    }
}

struct Panicking;

impl Resolver for Panicking {
    fn find<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        async { panic!("secret detail") }.boxed()
    }

    fn stream(&self, _: Question) -> FoundStream {
        stream::once(async { panic!("secret detail") }).boxed()
    }
}

fn broken_store() -> ResolveError {
    StoreError::Unavailable { reason: "secret detail".to_owned() }.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_answered_without_its_details_and_never_cached() {
    type Failure = fn() -> ResolveError;
    let cases: [(Failure, u16, &str); 6] = [
        (broken_store, 503, "service unavailable; request id "),
        (|| StoreError::Overloaded.into(), 503, "service unavailable; request id "),
        (|| StoreError::TimedOut.into(), 504, "gateway timeout; request id "),
        (|| ResolveError::Overloaded, 503, "service unavailable; request id "),
        (
            || ResolveError::UpstreamsFailed(UpstreamReasons::default()),
            502,
            "bad gateway; request id ",
        ),
        (
            || ResolveError::TimedOut(UpstreamReasons::default()),
            504,
            "gateway timeout; request id ",
        ),
    ];
    for (failure, status, text) in cases {
        let server = server().resolver(Failing(failure)).start().await;
        let path = format!("/routing/v1/providers/{CID}");
        for format in ["application/json", "application/x-ndjson"] {
            let response = server.ask(Method::GET, &path, &[("accept", format)]).await;
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["cache-control"], "no-store");
            assert_eq!(response.headers()["access-control-allow-origin"], "*");
            let retry_after =
                response.headers().get("retry-after").map(|value| value.to_str().unwrap());
            let expected =
                if matches!(failure(), ResolveError::Store(StoreError::Unavailable { .. })) {
                    Some("30")
                } else {
                    (status == 503).then_some("1")
                };
            assert_eq!(retry_after, expected);
            let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
            assert_eq!(response.text().await.unwrap(), format!("{text}{id}\n"));
        }
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_is_answered_with_the_time_of_its_refill() {
    let spent = || ResolveError::OverBudget { retry_after: Duration::from_millis(1_001) };
    let server = server().resolver(Failing(spent)).start().await;
    let path = format!("/routing/v1/providers/{CID}");
    for format in ["application/json", "application/x-ndjson"] {
        let response = server.ask(Method::GET, &path, &[("accept", format)]).await;
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["cache-control"], "no-store");
        // Rounded up: whoever comes back then does not come too early.
        assert_eq!(response.headers()["retry-after"], "2");
        let text = response.text().await.unwrap();
        assert_eq!(text, "the budget of what would be asked is used up\n");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_500_and_the_server_goes_on() {
    let server = server().resolver(Panicking).start().await;
    let path = format!("/routing/v1/providers/{CID}");
    for format in ["application/json", "application/x-ndjson", "application/json"] {
        let response = server.ask(Method::GET, &path, &[("accept", format)]).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let text = response.text().await.unwrap();
        assert!(text.starts_with("internal server error; request id "), "{text}");
    }
    assert_eq!(server.get("/nowhere").await.status(), 400);
    server.shutdown().await;
}
