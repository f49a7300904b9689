//! Metered upstreams: a budget is spent to the last lookup and never beyond, whoever asks at the same
//! time, and whatever becomes of the server in the middle.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fingerpost::config::{EndpointSettings, Settings};
use fingerpost::types::TargetId;
use futures_util::future::join_all;
use parking_lot::Mutex;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Method};
use serde_json::json;

use super::fake_router::{FakeRouter, Reply};
use super::harness::{
    ADMIN_PASSWORD, NOW_MS, TestServer, cid_below, client_settings, eventually, server, within,
};
use super::process::{Serving, serve};

/// How many ask at a time.
const CLIENTS: usize = 8;

const DAY_MS: u64 = 86_400_000;

/// 13:37:42.250, not long after noon.
const TIME_OF_DAY_MS: u64 = ((13 * 60 + 37) * 60 + 42) * 1_000 + 250;

/// More in an hour than any test asks, so that the day is what counts.
const HOURLY_RATE: u64 = 1_000_000;

/// The `number`th of any number of CIDs.
fn cid(number: usize) -> String {
    cid_below(&format!("{:x}", number % 16), number as u64)
}

/// An upstream that knows nothing.
async fn counting() -> FakeRouter {
    FakeRouter::start(Reply::json(r#"{"Providers":[]}"#)).await
}

fn endpoint(name: &str, url: &str, daily_volume: u64) -> EndpointSettings {
    EndpointSettings {
        name: TargetId::parse(name).unwrap(),
        url: url.parse().unwrap(),
        daily_volume,
        hourly_rate: HOURLY_RATE,
        pool: name.to_owned(),
        client: client_settings(),
    }
}

/// What becomes of lookups, each of its own CID.
struct Lookups {
    client: Client,
    next: AtomicUsize,
    /// Those that were answered otherwise than "nobody has it": status, `Retry-After`, body.
    others: Mutex<Vec<(u16, String, String)>>,
    found: AtomicUsize,
}

impl Lookups {
    fn new() -> Arc<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().build().unwrap();
        let (others, found) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { client, next: AtomicUsize::new(0), others, found })
    }

    /// Answers that said that nobody has it.
    fn answered(&self) -> usize {
        self.found.load(Ordering::SeqCst)
    }

    /// Asks the router at `url` until it has been asked about `until` CIDs in all, or is gone.
    async fn ask(self: &Arc<Self>, url: &str, until: usize) {
        let clients = (0..CLIENTS).map(|_| {
            let (itself, url) = (self.clone(), url.to_owned());
            tokio::spawn(async move { itself.ask_alone(&url, until).await })
        });
        for client in join_all(clients).await {
            client.unwrap();
        }
    }

    async fn ask_alone(&self, url: &str, until: usize) {
        loop {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            if number >= until {
                self.next.fetch_sub(1, Ordering::SeqCst);
                return;
            }
            let url = format!("{url}/routing/v1/providers/{}", cid(number));
            let Ok(answer) = self.client.get(url).send().await else { return };
            let status = answer.status().as_u16();
            if status == 404 {
                self.found.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let retry_after = answer.headers().get(RETRY_AFTER).map(|it| it.to_str().unwrap());
            let retry_after = retry_after.unwrap_or_default().to_owned();
            let body = answer.text().await.unwrap_or_default();
            self.others.lock().push((status, retry_after, body));
        }
    }
}

/// Makes the pools: `main` overflows into `more`, and all lookups of providers go to `main`.
async fn make_routes(ask: impl Fn(Method, &str) -> reqwest::RequestBuilder) {
    const ROUTES: &str = "/ga/api/v3/eng/routes";
    let mut rule = None;
    for (name, overflow) in [("more", json!(null)), ("main", json!({"name": "more"}))] {
        let body = json!({"route": {
            "name": name, "requested_target_daily_volume": 1, "overflow_route": overflow,
        }});
        let made = ask(Method::POST, ROUTES).body(body.to_string()).send().await.unwrap();
        assert_eq!(made.status(), 200);
        let made: serde_json::Value = serde_json::from_str(&made.text().await.unwrap()).unwrap();
        rule = made["route"]["routing_rule"]["id"].as_u64();
    }
    let body = json!({
        "routePrefix": "g.providers", "nextHopAccountId": rule.unwrap().to_string(),
    });
    let put = ask(Method::PUT, "/routes/static/g.providers").body(body.to_string());
    assert_eq!(put.send().await.unwrap().status(), 201);
}

/// The number of different things that an upstream was asked, each of which it was asked once.
fn distinct(router: &FakeRouter) -> usize {
    let asked = router.asked();
    let paths: BTreeSet<_> = asked.iter().map(|asked| &asked.path).collect();
    assert_eq!(paths.len(), asked.len(), "asked twice");
    paths.len()
}

async fn start(folder: &Path, main: &FakeRouter, more: &FakeRouter) -> TestServer {
    let set = |settings: &mut Settings| {
        settings.remotes.endpoints =
            vec![endpoint("main", &main.url(), 2_000), endpoint("more", &more.url(), 100)];
    };
    let server = server().with(set).data_dir(folder).start().await;
    server.clock.set(NOW_MS + TIME_OF_DAY_MS);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_budget_is_sent_then_overflows_then_ends_with_a_true_retry_after() {
    let folder = tempfile::tempdir().unwrap();
    let (main, more) = (counting().await, counting().await);
    let first = start(folder.path(), &main, &more).await;
    make_routes(|method, path| first.admin(method, path)).await;
    let lookups = Lookups::new();
    let url = format!("http://{}", first.addr());
    // It is shut down while all are asking: what it took it answers.
    let asking = tokio::spawn({
        let lookups = lookups.clone();
        async move { lookups.ask(&url, 1_900).await }
    });
    let longest = Duration::from_secs(300);
    let is_half = async || lookups.answered() >= 1_000 || !lookups.others.lock().is_empty();
    within(longest, "half of it is spent", is_half).await;
    assert_eq!(*lookups.others.lock(), []);
    first.shutdown().await;
    asking.await.unwrap();
    let before = lookups.answered();
    assert_eq!((distinct(&main), more.count()), (before, 0), "each answer cost one lookup");
    assert_eq!(*lookups.others.lock(), []);
    let second = start(folder.path(), &main, &more).await;
    let url = format!("http://{}", second.addr());
    let left = 2_100 - before;
    let asked = lookups.next.load(Ordering::SeqCst);
    lookups.ask(&url, asked + left + 100).await;
    assert_eq!((distinct(&main), distinct(&more)), (2_000, 100));
    assert_eq!(lookups.answered(), 2_100);
    // 37,337.75 s to midnight, of which no part may be left.
    let retry_after = (DAY_MS - TIME_OF_DAY_MS).div_ceil(1_000).to_string();
    assert_eq!(retry_after, "37338");
    let others = lookups.others.lock().clone();
    let refused: Vec<_> = others.iter().filter(|it| (it.0, &it.1) == (429, &retry_after)).collect();
    assert_eq!((others.len(), refused.len()), (100, 100), "{others:?}");
    second.clock.set(NOW_MS + DAY_MS - 1);
    let path = format!("/routing/v1/providers/{}", cid(1_000_000));
    let answer = second.get(&path).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()[RETRY_AFTER]),
        (429, &"1".parse().unwrap())
    );
    second.clock.set(NOW_MS + DAY_MS);
    assert_eq!(second.get(&path).await.status(), 404);
    assert_eq!((main.count(), more.count()), (2_001, 100), "a new day");
    second.shutdown().await;
}

const DAILY_VOLUME: usize = 400;
const OVERFLOW_VOLUME: usize = 100;

/// A server process with two endpoints.
fn process(folder: &Path, main: &FakeRouter, more: &FakeRouter) -> Command {
    let endpoint = |name: &str, router: &FakeRouter, daily_volume: usize| {
        let url = router.url();
        format!(
            "[[endpoint]]\nname = {name:?}\nurl = {url:?}\ndaily_volume = {daily_volume}\n\
             hourly_rate = {HOURLY_RATE}\npool = {name:?}\n"
        )
    };
    let settings =
        [endpoint("main", main, DAILY_VOLUME), endpoint("more", more, OVERFLOW_VOLUME)].concat();
    let path = folder.join("settings.toml");
    std::fs::write(&path, settings).unwrap();
    let mut command = serve(folder);
    command.env("FINGERPOST_ADMIN_PASSWORD", ADMIN_PASSWORD).arg("--config").arg(path);
    command
}

/// Spends the budget of a process that is killed in the middle. Says how many lookups arrived at the
/// endpoint and at the one that it overflows into.
async fn spend_through_a_kill() -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let (main, more) = (counting().await, counting().await);
    let first = Serving::start(process(folder.path(), &main, &more));
    let lookups = Lookups::new();
    let admin = first.url("admin: ").to_owned();
    let client = lookups.client.clone();
    make_routes(|method, path| {
        let url = format!("{}{path}", admin.trim_end_matches('/'));
        client.request(method, url).basic_auth("admin", Some(ADMIN_PASSWORD))
    })
    .await;
    let url = first.url("public API: ").trim_end_matches('/').to_owned();
    let asking = tokio::spawn({
        let lookups = lookups.clone();
        async move { lookups.ask(&url, 10_000).await }
    });
    eventually("some of it is spent", async || lookups.answered() >= DAILY_VOLUME / 3).await;
    first.kill();
    asking.await.unwrap();
    assert_eq!(*lookups.others.lock(), []);
    let (answered, arrived) = (lookups.answered(), distinct(&main));
    assert!((answered..=answered + CLIENTS).contains(&arrived), "{answered} {arrived}");
    let second = Serving::start(process(folder.path(), &main, &more));
    let url = second.url("public API: ").trim_end_matches('/').to_owned();
    let asked = lookups.next.load(Ordering::SeqCst);
    lookups.ask(&url, asked + DAILY_VOLUME + OVERFLOW_VOLUME).await;
    let refused = lookups.others.lock().clone();
    assert!(
        !refused.is_empty() && refused.iter().all(|(status, ..)| *status == 429),
        "{refused:?}"
    );
    second.signal("TERM");
    assert_eq!(second.end().0, Some(0));
    (distinct(&main), distinct(&more))
}

fn day() -> u64 {
    fingerpost::clock::Clock::System.now_ms() / DAY_MS
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_never_gives_a_budget_back() {
    let (main, more) = loop {
        let today = day();
        let spent = spend_through_a_kill().await;
        // Budgets are of a day: what went past midnight says nothing.
        if day() == today {
            break spent;
        }
    };
    // What was on its way when it was killed may have been spent and not sent.
    assert!((DAILY_VOLUME - CLIENTS..=DAILY_VOLUME).contains(&main), "{main}");
    assert_eq!(more, OVERFLOW_VOLUME);
}
