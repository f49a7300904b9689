//! `kill -9` at random moments: what was acknowledged is there afterwards, and what was removed is
//! not.
//!
//! A server process is filled and emptied through its admin API, killed, started again, and asked.
//! What was under way when it was killed may or may not have happened; it is removed in the next
//! round, which settles it. Small segments and many removals keep compaction busy.
//!
//! `CRASH_ROUNDS` says how often; `.ci/run crash` does it 200 times.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use rand::RngExt;

use super::harness::peer_id;
use super::process::{Serving, serve};

const KEYS_OF_A_PROVIDER: u32 = 200;
const PASSWORD: &str = "crash-password";

/// What is known of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its announcement was acknowledged.
    Announced,
    /// Its removal was acknowledged.
    Removed,
    /// Something about it was under way when the server was killed.
    Unsettled,
}

#[derive(Default)]
struct Model {
    providers: Mutex<BTreeMap<u32, State>>,
    next: AtomicU32,
}

impl Model {
    fn set(&self, provider: u32, state: State) {
        self.providers.lock().insert(provider, state);
    }

    /// One of the announced, once there are more of them than fit a round.
    fn some_announced(&self) -> Option<u32> {
        let providers = self.providers.lock();
        let announced: Vec<u32> = providers
            .iter()
            .filter(|(_, state)| **state == State::Announced)
            .map(|(provider, _)| *provider)
            .collect();
        (announced.len() > 60).then(|| announced[rand::rng().random_range(0..announced.len())])
    }
}

#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    public: String,
    admin: String,
    model: Arc<Model>,
}

/// A key of a provider. Every tenth one it shares with nine others.
fn cid(provider: u32, number: u32) -> String {
    let owner = if number.is_multiple_of(10) { u32::MAX - provider / 10 } else { provider };
    let digest = [owner.to_be_bytes(), number.to_be_bytes()].concat().repeat(4);
    multibase::encode(multibase::Base::Base32Lower, [&[1, 0x55, 0x12, 32][..], &digest].concat())
}

impl Client {
    async fn announce_one(&self) -> Result<(), ()> {
        let provider = self.model.next.fetch_add(1, Ordering::Relaxed);
        self.model.set(provider, State::Unsettled);
        let record = format!(r#"{{"Schema":"peer","ID":"{}"}}"#, peer_id(provider));
        let lines = (0..KEYS_OF_A_PROVIDER).map(|number| {
            format!(r#"{{"CID":"{}","Providers":[{record}]}}"#, cid(provider, number))
        });
        let body = lines.collect::<Vec<_>>().join("\n");
        let request = self.http.post(format!("{}/admin/import", self.admin));
        let answer = request
            .basic_auth("admin", Some(PASSWORD))
            .header("content-type", "application/x-ndjson")
            .body(body)
            .send()
            .await
            .map_err(|_| ())?;
        let text = answer.text().await.map_err(|_| ())?;
        if text.lines().last().is_some_and(|line| line.starts_with(r#"{"done""#)) {
            self.model.set(provider, State::Announced);
        }
        Ok(())
    }

    async fn remove(&self, provider: u32) -> Result<(), ()> {
        self.model.set(provider, State::Unsettled);
        let url = format!("{}/admin/providers/{}", self.admin, peer_id(provider));
        let answer = self.http.delete(url).basic_auth("admin", Some(PASSWORD)).send().await;
        // 404: nothing of it had come in before the server was killed.
        if [200, 404].contains(&answer.map_err(|_| ())?.status().as_u16()) {
            self.model.set(provider, State::Removed);
        }
        Ok(())
    }

    async fn has(&self, provider: u32, number: u32) -> bool {
        let url = format!("{}/routing/v1/providers/{}", self.public, cid(provider, number));
        let answer = self.http.get(url).send().await.unwrap();
        answer.text().await.unwrap().contains(&peer_id(provider))
    }

    /// Compares some keys of these providers with what was acknowledged.
    async fn check(&self, providers: Vec<(u32, State)>, round: u32) {
        let questions: Vec<_> = providers
            .into_iter()
            .filter(|(_, state)| *state != State::Unsettled)
            .flat_map(|(provider, state)| {
                let random = rand::rng().random_range(1..KEYS_OF_A_PROVIDER);
                [0, random, KEYS_OF_A_PROVIDER - 1].map(|number| (provider, state, number))
            })
            .collect();
        let answers = stream::iter(questions).map(async |(provider, state, number)| {
            let has = self.has(provider, number).await;
            assert_eq!(has, state == State::Announced, "round {round}: {provider}, {number}");
        });
        answers.buffer_unordered(8).collect::<Vec<()>>().await;
    }
}

fn start(folder: &Path, model: &Arc<Model>) -> (Serving, Client) {
    let mut command = serve(folder);
    command.args(["--journal-segment-bytes", "262144", "--log", "warn"]);
    command.env("FINGERPOST_ADMIN_PASSWORD", PASSWORD);
    let serving = Serving::start(command);
    let client = Client {
        http: reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap(),
        public: serving.url("public API: ").to_owned(),
        admin: serving.url("admin: ").to_owned(),
        model: model.clone(),
    };
    (serving, client)
}

/// Announces and removes until the server is gone.
async fn work(client: Client) {
    let announcing = (0..2).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { while client.announce_one().await.is_ok() {} })
    });
    let mut tasks: Vec<_> = announcing.collect();
    tasks.push(tokio::spawn(async move {
        loop {
            let done = match client.model.some_announced() {
                Some(provider) => client.remove(provider).await,
                None => client.announce_one().await,
            };
            if done.is_err() {
                break;
            }
        }
    }));
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_and_what_was_removed_does_not_return() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let rounds: u32 = std::env::var("CRASH_ROUNDS").map_or(12, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Model::default());
    let mut known = 0;
    for round in 0..rounds {
        let (serving, client) = start(folder.path(), &model);
        let providers: Vec<_> = model.providers.lock().iter().map(|(p, s)| (*p, *s)).collect();
        // Those of the last rounds, and a tenth of the others.
        let recent = providers.iter().filter(|(provider, _)| {
            *provider + 60 >= known || rand::rng().random_range(0..10) == 0
        });
        client.check(recent.copied().collect(), round).await;
        for (provider, state) in providers {
            if state == State::Unsettled {
                client.remove(provider).await.unwrap();
            }
        }
        known = model.next.load(Ordering::Relaxed);
        let working = tokio::spawn(work(client));
        let moment = Duration::from_millis(rand::rng().random_range(5..250));
        tokio::time::sleep(moment).await;
        serving.kill();
        working.await.unwrap();
    }
    let (serving, client) = start(folder.path(), &model);
    let all: Vec<_> = model.providers.lock().iter().map(|(p, s)| (*p, *s)).collect();
    let announced = all.iter().filter(|(_, state)| *state == State::Announced).count();
    let removed = all.iter().filter(|(_, state)| *state == State::Removed).count();
    client.check(all, rounds).await;
    serving.kill();
    assert!(announced > 0 && removed > 0, "{announced} announced, {removed} removed");
    println!("{rounds} rounds: {announced} providers announced, {removed} removed, none wrong");
}
