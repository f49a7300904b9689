//! The binary as a person or a service manager runs it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::harness::{CID, PEER};

pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fingerpost"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn serve(folder: &Path) -> Command {
    let mut command = binary();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(folder.join("data"));
    command
}

/// A server process; killed when dropped, should a test fail.
pub(crate) struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    printed: Vec<String>,
}

impl Serving {
    /// Starts it and waits until it has said where it is.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut serving = Self { child, stdout, printed: Vec::new() };
        while !serving.printed.iter().any(|line| line.starts_with("admin: ")) {
            if !serving.next_line() {
                let mut log = String::new();
                let stderr = serving.child.stderr.as_mut().unwrap();
                stderr.read_to_string(&mut log).unwrap();
                panic!("it ended: {:?} {log}", serving.printed);
            }
        }
        serving
    }

    fn next_line(&mut self) -> bool {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line).unwrap();
        self.printed.push(line.trim_end().to_owned());
        read > 0
    }

    pub(crate) fn url(&self, label: &str) -> &str {
        self.printed.iter().find_map(|line| line.strip_prefix(label)).unwrap()
    }

    pub(crate) fn status_of(&self, cid: &str) -> u16 {
        let url = format!("{}/routing/v1/providers/{cid}", self.url("public API: "));
        get(&url).0
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Ends it without a chance to do anything about it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Exit code and what it wrote on standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap().code(), stderr)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
    }
}

fn get(url: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let response = reqwest::get(url).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    })
}

pub(crate) fn file(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

pub(crate) fn line(cid: &str) -> String {
    format!(r#"{{"CID":"{cid}","Providers":[{{"Schema":"peer","ID":"{PEER}"}}]}}"#)
}

pub(crate) fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = serve(folder.path());
    command.args(["--import", "examples/providers.ndjson", "--access-log"]).stderr(full);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.find_map(|line| Some(line.unwrap().strip_prefix("try: curl ")?.to_owned()));
    // Each request is logged.
    assert_eq!([get(&url.clone().unwrap()).0, get(&url.unwrap()).0], [200, 200]);
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn serve_says_what_it_loaded_and_gives_a_line_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(folder.path());
    command.args(["--import", "examples/providers.ndjson"]);
    let mut serving = Serving::start(command);
    assert!(serving.next_line());
    let url = serving.url("try: curl ").to_owned();
    let (status, body) = get(&url);
    assert_eq!(status, 200, "{url}");
    assert!(body.starts_with(r#"{"Providers":[{"#), "{body}");
    let imported = serving.url("imported examples/providers.ndjson: ");
    assert!(imported.contains(" 0 rejected"), "{imported}");
    assert_eq!(get(&format!("{}/readyz", serving.url("admin: "))).0, 200);
    serving.signal("TERM");
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("off a terminal the log is JSON");
    }
}

#[test]
fn the_access_log_has_one_line_a_request_with_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(folder.path());
    command.args(["--access-log", "--log-format", "json"]);
    let serving = Serving::start(command);
    assert_eq!(serving.status_of(CID), 404);
    assert_eq!(serving.status_of("nonsense"), 422);
    serving.signal("TERM");
    let (_, log) = serving.end();
    let requests: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["message"] == "request")
        .collect();
    let statuses: Vec<_> = requests.iter().map(|line| &line["status"]).collect();
    assert_eq!(statuses, [404, 422]);
    let id = requests[0]["request_id"].as_str().unwrap();
    assert!(!id.is_empty() && id != requests[1]["request_id"]);
}

#[test]
fn a_lookup_that_fails_is_logged_once_under_the_id_that_its_answer_names() {
    let folder = tempfile::tempdir().unwrap();
    // A port that nobody listens on.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    let mut command = serve(folder.path());
    command.args(["--log-format", "json", "--upstream-allow-private-addrs", "--upstreams", &url]);
    let serving = Serving::start(command);
    let path = format!("{}/routing/v1/providers/{CID}", serving.url("public API: "));
    let (status, text) = get(&path);
    assert_eq!(status, 502, "{text}");
    let id = text.trim_end().strip_prefix("bad gateway; request id ").unwrap();
    serving.signal("TERM");
    let (_, log) = serving.end();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["request_id"] == id)
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert_eq!(
        (&lines[0]["level"], &lines[0]["message"]),
        (&"WARN".into(), &"request failed".into())
    );
    let error = lines[0]["error"].as_str().unwrap();
    // Who failed, and how.
    assert!(error.starts_with("every upstream failed (ip-127001-"), "{error}");
    assert!(error.contains(&format!(": cannot connect to {url}")), "{error}");
}

#[test]
fn sighup_is_logged_and_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::start(serve(folder.path()));
    serving.signal("HUP");
    assert_eq!(serving.status_of(CID), 404);
    serving.signal("HUP");
    assert_eq!(serving.status_of(CID), 404);
    serving.signal("TERM");
    let (code, log) = serving.end();
    assert_eq!(code, Some(0));
    assert!(log.contains("SIGHUP"), "{log}");
}

#[test]
fn a_reader_of_its_output_that_goes_away_does_not_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(folder.path());
    command.args(["--import", "examples/providers.ndjson"]);
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("\"serving\"")), "it serves all the same");
    let id = child.id().to_string();
    assert!(Command::new("kill").arg(&id).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn sigint_ends_it_with_0_too() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::start(serve(folder.path()));
    serving.signal("INT");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn a_signal_ends_an_import_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(folder.path());
    command.args(["--import", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(line(CID).as_bytes()).unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("importing")), "it says that it imports");
    let id = child.id().to_string();
    let start = Instant::now();
    assert!(Command::new("kill").arg(&id).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(stdin);
}

#[test]
fn damaged_files_are_reported_and_the_rest_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = line(CID).into_bytes();
    text.extend_from_slice(b"\n\xff\xfe\n{\"CID\":\"nonsense\",\"Providers\":[]}\n");
    let ndjson = file(folder.path(), "bad.ndjson", &text);
    let car = file(folder.path(), "bad.car", b"\x0a\xa1gversion\x02");
    let mut command = serve(folder.path());
    command.arg("--import").args([&ndjson, &car]).args(["--provider", PEER]);
    let serving = Serving::start(command);
    assert_eq!(serving.status_of(CID), 200);
    let (_, metrics) = get(&format!("{}/metrics", serving.url("admin: ")));
    for series in [
        "fingerpost_import_files_total 2",
        "fingerpost_import_keys_total 1",
        r#"fingerpost_import_rejected_total{reason="utf8"} 1"#,
        r#"fingerpost_import_rejected_total{reason="key"} 1"#,
    ] {
        assert!(metrics.lines().any(|line| line == series), "{series} in {metrics}");
    }
    serving.signal("TERM");
    let (code, stderr) = serving.end();
    assert_eq!(code, Some(0));
    for place in
        ["bad.ndjson:2: ", "bad.ndjson:3: ", "bad.car: cut short at byte ", "bad.car: 0 blocks"]
    {
        assert!(stderr.contains(place), "{place} in {stderr}");
    }
    for line in stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("off a terminal the log is JSON");
    }
}

#[test]
fn strict_stops_at_the_first_bad_line() {
    let folder = tempfile::tempdir().unwrap();
    let bad = file(folder.path(), "bad.ndjson", b"nonsense\n");
    let output = serve(folder.path()).arg("--strict").arg("--import").arg(&bad).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr_of(&output).contains("bad.ndjson:1: "), "{}", stderr_of(&output));
}

#[test]
fn wrong_command_lines_and_settings_are_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let typo = file(folder.path(), "typo.toml", b"\nrate_limt = 5\n");
    let typo = typo.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--config", typo], 2, "rate_limit"),
        (&["--config", "no-such-file.toml"], 2, "no-such-file.toml"),
        (&["--rate-limit", "fast"], 2, "--rate-limit"),
        (&["--import", "no-such-file.ndjson"], 1, "cannot import no-such-file.ndjson"),
        (&["--import", "tests"], 1, "it is a directory"),
        (&["--import", "x.car"], 1, "--provider"),
        (&["--import", "x.ndjson", "--provider", PEER], 1, "`.car`"),
    ];
    for (arguments, code, message) in cases {
        let output = serve(folder.path()).args(arguments).output().unwrap();
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_port_in_use_is_said_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = binary()
        .args(["serve", "--listen", &addr, "--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = stderr_of(&output);
    assert!(stderr.contains(&format!("cannot listen on {addr} (listen)")), "{stderr}");
}

#[test]
fn the_exit_code_of_lookup_says_whether_it_found_anyone() {
    let folder = tempfile::tempdir().unwrap();
    let ndjson = file(folder.path(), "one.ndjson", line(CID).as_bytes());
    let mut command = serve(folder.path());
    command.arg("--import").arg(ndjson);
    let serving = Serving::start(command);
    let router = serving.url("public API: ").to_owned();
    let lookup = |arguments: &[&str]| {
        binary().arg("lookup").args(arguments).args(["--router", &router]).output().unwrap()
    };
    let found = lookup(&[CID]);
    assert_eq!(found.status.code(), Some(0), "{}", stderr_of(&found));
    assert!(String::from_utf8_lossy(&found.stdout).contains(PEER));
    let json = lookup(&[CID, "--json"]);
    let record: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(record["ID"], PEER);
    let none = lookup(&["bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"]);
    assert_eq!(none.status.code(), Some(1), "{}", stderr_of(&none));
    assert_eq!(lookup(&["nonsense"]).status.code(), Some(2));
    let nobody = binary().args(["lookup", CID, "--router", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(2));
    serving.signal("TERM");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn config_prints_where_each_setting_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let settings = file(folder.path(), "f.toml", b"rate_limit = 7\nrate_limit_burst = 8\n");
    let output = binary()
        .env("FINGERPOST_RATE_LIMIT", "9")
        .args(["config", "--workers", "3", "--config"])
        .arg(&settings)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |name: &str| {
        printed.lines().find(|line| line.starts_with(&format!("{name} ="))).unwrap().to_owned()
    };
    assert!(
        line("rate_limit").contains("= 9") && line("rate_limit").contains("FINGERPOST_RATE_LIMIT")
    );
    assert!(
        line("rate_limit_burst").contains("= 8") && line("rate_limit_burst").contains("f.toml")
    );
    assert!(line("workers").contains("= 3") && line("workers").contains("--workers"));
    assert!(line("empty_status").contains("default"), "{printed}");
    // What is printed is itself a file of settings.
    let again = file(folder.path(), "g.toml", &output.stdout);
    let check = binary().args(["config", "--check", "--config"]).arg(again).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", stderr_of(&check));
}

#[test]
fn a_password_is_made_at_the_first_start_and_the_commands_find_it() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/admin-password");
    let mut passwords = Vec::new();
    for _ in 0..2 {
        let serving = Serving::start(serve(folder.path()));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let stats = |data_dir: &str| {
            let url = serving.url("admin: ");
            let mut command = binary();
            command.args(["stats", "--json", "--from", url, "--data-dir"]);
            command.arg(folder.path().join(data_dir)).output().unwrap()
        };
        let known = stats("data");
        assert_eq!(known.status.code(), Some(0), "{}", stderr_of(&known));
        assert_eq!(stats("elsewhere").status.code(), Some(1));
        passwords.push(std::fs::read_to_string(&path).unwrap());
        serving.signal("TERM");
        let (code, stderr) = serving.end();
        assert_eq!(code, Some(0));
        assert_eq!(stderr.contains("/data/admin-password"), passwords.len() == 1, "{stderr}");
        assert!(!stderr.contains(passwords[0].trim()), "the password is never logged");
    }
    assert_eq!(passwords[0], passwords[1]);
    assert_eq!(passwords[0].trim().len(), 32);
}
