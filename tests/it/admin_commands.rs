//! The commands that ask the admin API, as processes against a server.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::admin::exported;
use super::admin_import::{car, cid, line};
use super::harness::{ADMIN_PASSWORD, PEER, TestServer, server};
use super::odd_store::OddStore;

/// Runs a command with the server's password.
async fn run(server: &TestServer, folder: &Path, arguments: &[&str]) -> Output {
    let url = format!("http://{}", server.admin_addr());
    let mut command = Command::new(env!("CARGO_BIN_EXE_fingerpost"));
    command.env_clear().env("FINGERPOST_ADMIN_PASSWORD", ADMIN_PASSWORD).current_dir(folder);
    command.stdin(Stdio::null());
    command.args(arguments.iter().map(|argument| argument.replace("URL", &url)));
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_imported_into_a_running_server() {
    let server = server().start().await;
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..10_000).map(line).collect();
    std::fs::write(folder.path().join("a.ndjson"), format!("{lines}bad\u{1b}[2J\n")).unwrap();
    std::fs::write(folder.path().join("b.car"), car(b"data", b"other")).unwrap();
    let arguments = ["import", "a.ndjson", "b.car", "--to", "URL", "--provider", PEER, "--verify"];
    let (code, stdout, stderr) = texts(&run(&server, folder.path(), &arguments).await);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(
        stdout,
        "imported a.ndjson: 10,001 lines, 10,000 keys, 10,000 records (10,000 new, 0 known), 1 \
         rejected (not the expected JSON: 1)\n\
         imported b.car: 1 block, 0 keys, 0 records (0 new, 0 known), 1 rejected (wrong hash: 1)\n"
    );
    assert!(stderr.starts_with("a.ndjson:10001: not a JSON object\nb.car: byte "), "{stderr}");
    assert_eq!(server.providers(&cid(9_999)).await.status(), 200);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_stops_is_1_and_says_what_it_took_in() {
    let server = server().start().await;
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..10_000).map(line).collect();
    let whole = zstd::encode_all(lines.as_bytes(), 0).unwrap();
    std::fs::write(folder.path().join("cut.ndjson.zst"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(folder.path().join("b.ndjson"), line(10_000)).unwrap();
    let arguments = ["import", "cut.ndjson.zst", "b.ndjson", "--to", "URL"];
    let (code, stdout, stderr) = texts(&run(&server, folder.path(), &arguments).await);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stderr.contains("error: cut.ndjson.zst: the body: cut short at byte "), "{stderr}");
    assert!(stdout.contains("imported b.ndjson: 1 line, 1 key"), "{stdout}");
    let arguments = ["import", "cut.ndjson.zst", "b.ndjson", "--strict", "--to", "URL"];
    let (code, stdout, _) = texts(&run(&server, folder.path(), &arguments).await);
    assert_eq!((code, stdout.contains("b.ndjson")), (Some(1), false), "{stdout}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_its_name_only_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let entries = |count| (0..count).map(|number| exported(number, b"", None)).collect();
    let whole = server().store(OddStore::exporting(vec![entries(3)], false).shared()).start().await;
    for (name, magic) in
        [("a.ndjson", &b"{\"CID\""[..]), ("a.gz", b"\x1f\x8b"), ("a.zst", b"\x28\xb5")]
    {
        let arguments = ["export", "--from", "URL", "--to", name];
        let (code, stdout, stderr) = texts(&run(&whole, folder.path(), &arguments).await);
        assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
        assert_eq!(stderr, format!("exported 3 entries to {name}\n"));
        assert!(std::fs::read(folder.path().join(name)).unwrap().starts_with(magic), "{name}");
    }
    let (code, stdout, _) = texts(&run(&whole, folder.path(), &["export", "--from", "URL"]).await);
    assert_eq!(code, Some(0));
    assert_eq!(stdout, std::fs::read_to_string(folder.path().join("a.ndjson")).unwrap());
    whole.shutdown().await;

    let cut =
        server().store(OddStore::exporting(vec![entries(20_000)], true).shared()).start().await;
    let before = std::fs::read_dir(folder.path()).unwrap().count();
    for name in ["new.ndjson", "a.ndjson"] {
        let arguments = ["export", "--from", "URL", "--to", name];
        let (code, _, stderr) = texts(&run(&cut, folder.path(), &arguments).await);
        assert_eq!(code, Some(1));
        assert!(stderr.starts_with("error: the export was cut short\n"), "{stderr}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before, "nothing is left");
    assert_eq!(stdout, std::fs::read_to_string(folder.path().join("a.ndjson")).unwrap());
    let (code, _, _) = texts(&run(&cut, folder.path(), &["export", "--from", "URL"]).await);
    assert_eq!(code, Some(1), "standard output cannot tell, the exit code does");
    cut.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_removed_once() {
    let server = server().start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.ndjson"), line(1)).unwrap();
    run(&server, folder.path(), &["import", "a.ndjson", "--to", "URL"]).await;
    let remove = ["remove", "--provider", PEER, "--to", "URL"];
    let under = [&remove[..], &["--context", "uAAA"]].concat();
    for (arguments, code, stdout, stderr) in [
        (
            &under[..],
            1,
            String::new(),
            format!("error: context uAAA of provider {PEER} has nothing here\n"),
        ),
        (&remove, 0, format!("removed 1 group of provider {PEER}\n"), String::new()),
        (&remove, 1, String::new(), format!("error: provider {PEER} has nothing here\n")),
    ] {
        let output = run(&server, folder.path(), arguments).await;
        assert_eq!(texts(&output), (Some(code), stdout, stderr));
    }
    assert_eq!(server.providers(&cid(1)).await.status(), 404);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_come_as_lines_or_as_json() {
    let server = server().start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.ndjson"), line(1)).unwrap();
    run(&server, folder.path(), &["import", "a.ndjson", "--to", "URL"]).await;
    let (code, stdout, _) = texts(&run(&server, folder.path(), &["stats", "--from", "URL"]).await);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("entries\t1\nkeys\t1\ngroups\t1\nproviders\t"), "{stdout}");
    let output = run(&server, folder.path(), &["stats", "--json", "--from", "URL/"]).await;
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(stats["entries"].as_u64(), Some(1));
    assert!(stats["journal"]["bytes"].as_u64().unwrap() > 0, "{stats}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_command_or_the_server_is_said() {
    let server = server().start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.ndjson"), line(1)).unwrap();
    let lines: String = (0..40_000).map(line).collect();
    std::fs::write(folder.path().join("large.ndjson"), lines).unwrap();
    let wrong = "--admin-password=wrong";
    let give = "FINGERPOST_ADMIN_PASSWORD, or name the server's data directory with --data-dir";
    let running = "(--to): is the server running? --to wants the address of its admin listener";
    let public = format!("http://{}", server.addr());
    let cases: [(&[&str], i32, &str); 14] = [
        (&["import", "--to", "URL"], 2, "<FILE>"),
        (&["import", "a.ndjson", "--to", "localhost:1"], 2, "http://localhost:1"),
        (&["import", "none.ndjson", "--to", "URL"], 1, "cannot import none.ndjson"),
        (&["import", "a.ndjson", "--to", "URL", "--provider", PEER], 1, "`.car`"),
        (&["import", "a.ndjson", "--to", "URL", wrong], 1, "401 Unauthorized: Full auth"),
        (&["import", "a.ndjson", "--to", "URL", wrong], 1, give),
        (&["import", "a.ndjson", "--to", "http://127.0.0.1:1"], 1, running),
        (&["import", "a.ndjson", "--to", &public], 1, "; --to wants the address of its admin"),
        (&["import", "large.ndjson", "--to", &public], 1, "--to wants the address of its admin"),
        (&["stats", "--from", &public], 1, "; --from wants the address of its admin listener"),
        (&["remove", "--provider", PEER, "--to", &public], 1, "; --to wants the address of"),
        (&["stats", "--from", "URL/nowhere"], 1, "404 Not Found: nothing is at this path"),
        (&["remove", "--provider", "x", "--to", "URL"], 2, "base58 peer ID"),
        (&["stats", "--from", "URL", "--admin-password="], 1, "no password for the admin API"),
    ];
    for (arguments, code, message) in cases {
        let (found, _, stderr) = texts(&run(&server, folder.path(), arguments).await);
        assert_eq!(found, Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
    server.shutdown().await;
}
