//! `kill -9` while an operator changes static routes and pools over the admin API of a real process:
//! each change is there whole or not at all, and none that was answered is missing.
//!
//! `CRASH_ROUNDS` says how often.

use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use reqwest::header::IF_MATCH;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::harness::ADMIN_PASSWORD;
use super::process::{Serving, serve};

const ROUTES: &str = "/ga/api/v3/eng/routes";

/// The changes of a cycle, after which there is nothing again.
const CHANGES: u64 = 6;

/// What there is: prefix and account of static routes, names of pools.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    statics: Vec<(String, String)>,
    routes: Vec<String>,
}

impl State {
    /// After so many changes.
    fn after(changes: u64) -> Self {
        let cycle = changes / CHANGES;
        let account = match changes % CHANGES {
            0 => None,
            1 => Some("local"),
            _ => Some("discard"),
        };
        let route = match changes % CHANGES {
            3 => Some(format!("made-{cycle}")),
            4 => Some(format!("renamed-{cycle}")),
            _ => None,
        };
        let statics = account.map(|account| (prefix(cycle), account.to_owned()));
        Self { statics: statics.into_iter().collect(), routes: route.into_iter().collect() }
    }
}

fn prefix(cycle: u64) -> String {
    format!("g.providers.cycle-{cycle}")
}

/// A way to the admin API of a process.
#[derive(Clone)]
struct Operator {
    client: Client,
    url: String,
}

impl Operator {
    fn of(serving: &Serving) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().build().unwrap();
        Self { client, url: serving.url("admin: ").trim_end_matches('/').to_owned() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        request.basic_auth("admin", Some(ADMIN_PASSWORD))
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// Sets a static route, or replaces it.
    fn put(&self, cycle: u64, account: &str) -> RequestBuilder {
        let prefix = prefix(cycle);
        let body = json!({"routePrefix": prefix, "nextHopAccountId": account});
        self.request(Method::PUT, &format!("/routes/static/{prefix}")).body(body.to_string())
    }

    /// Makes the next change; `None`: the process is gone.
    async fn change(&self, changes: u64, route: &mut u64) -> Option<()> {
        let cycle = changes / CHANGES;
        let path = format!("{ROUTES}/{route}");
        let named = |name: &str| json!({"route": {"name": format!("{name}-{cycle}")}}).to_string();
        let request = match changes % CHANGES {
            0 => self.put(cycle, "local"),
            1 => self.put(cycle, "discard").header(IF_MATCH, "*"),
            2 => {
                let mut draft: Value = serde_json::from_str(&named("made")).unwrap();
                draft["route"]["requested_target_daily_volume"] = json!(1);
                self.request(Method::POST, ROUTES).body(draft.to_string())
            }
            3 => self.request(Method::PUT, &path).body(named("renamed")),
            4 => self.request(Method::DELETE, &path),
            _ => self.request(Method::DELETE, &format!("/routes/static/{}", prefix(cycle))),
        };
        let answer = request.send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        assert!(status.is_success(), "change {changes}: {status} {text}");
        if changes % CHANGES == 2 {
            let made: Value = serde_json::from_str(&text).unwrap();
            let id = made["route"]["id"].as_u64().unwrap();
            assert!(id > *route, "an id comes back: {id} after {route}");
            *route = id;
        }
        Some(())
    }

    /// What the process knows.
    async fn state(&self) -> State {
        let statics = self.get("/routes/static").await;
        let statics = statics["_embedded"]["staticRoutes"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let statics =
            statics.map(|it| (text(&it["routePrefix"]), text(&it["nextHopAccountId"]))).collect();
        let routes = self.get(ROUTES).await;
        let routes = routes["routes"].as_array().unwrap().iter().map(|route| {
            let name = text(&route["name"]);
            let rule = format!("{name} R{}", route["id"]);
            assert_eq!(text(&route["routing_rule"]["name"]), rule, "half of a change");
            name
        });
        State { statics, routes: routes.collect() }
    }

    /// Removes what is left of a cycle.
    async fn clear(&self) {
        let done = |answer: Response| assert!(answer.status().is_success(), "{}", answer.status());
        for (prefix, _) in self.state().await.statics {
            let path = format!("/routes/static/{prefix}");
            done(self.request(Method::DELETE, &path).send().await.unwrap());
        }
        for route in self.get(ROUTES).await["routes"].as_array().unwrap() {
            let path = format!("{ROUTES}/{}", route["id"]);
            done(self.request(Method::DELETE, &path).send().await.unwrap());
        }
        assert_eq!(self.state().await, State::default());
    }
}

/// A process whose only endpoint each pool needs.
fn start(folder: &Path) -> Serving {
    let path = folder.join("settings.toml");
    let settings = "[[endpoint]]\nname = 'only'\nurl = 'http://127.0.0.1:1'\ndaily_volume = 9\n\
                    hourly_rate = 9\n";
    std::fs::write(&path, settings).unwrap();
    let mut command = serve(folder);
    command.env("FINGERPOST_ADMIN_PASSWORD", ADMIN_PASSWORD).arg("--config").arg(path);
    Serving::start(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_kill_9_and_each_change_is_whole() {
    let rounds: u64 = std::env::var("CRASH_ROUNDS").map_or(6, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (mut changes, mut route, mut answered) = (0_u64, 0, 0);
    let mut serving = start(folder.path());
    for round in 0..rounds {
        let operator = Operator::of(&serving);
        let before = changes;
        let changing = tokio::spawn(async move {
            while operator.change(changes, &mut route).await.is_some() {
                changes += 1;
            }
            (changes, route)
        });
        let moment = rand::rng().random_range(5..250);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        serving.kill();
        (changes, route) = changing.await.unwrap();
        answered += changes - before;
        serving = start(folder.path());
        let operator = Operator::of(&serving);
        let there = operator.state().await;
        assert!(
            [State::after(changes), State::after(changes + 1)].contains(&there),
            "round {round}, {changes} changes answered: {there:?}"
        );
        // Another cycle, whose pool gets an id that was never used.
        let left = operator.get(ROUTES).await;
        let left = left["routes"].as_array().unwrap().iter().filter_map(|it| it["id"].as_u64());
        route = left.max().unwrap_or(0).max(route);
        operator.clear().await;
        changes = (changes / CHANGES + 1) * CHANGES;
    }
    assert!(answered > 0, "no change came through");
    println!("{rounds} rounds, {answered} changes answered");
    serving.signal("TERM");
    assert_eq!(serving.end().0, Some(0));
}
