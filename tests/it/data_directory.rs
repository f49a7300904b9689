//! The data directory as its owner meets it: who makes it, what the commands do with it, and what
//! becomes of it when the disk is full or damaged.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::harness::{CID, PEER, peer_record};
use super::process::{Serving, binary, file, line, serve, stderr_of};

fn command(folder: &Path, arguments: &[&str]) -> Output {
    binary().args(arguments).arg("--data-dir").arg(folder.join("data")).output().unwrap()
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_data_directory_is_private_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;

    let served = tempfile::tempdir().unwrap();
    let serving = Serving::start(serve(served.path()));
    serving.signal("TERM");
    assert_eq!(serving.end().0, Some(0));
    let imported = tempfile::tempdir().unwrap();
    let import = command(imported.path(), &["import", "examples/providers.ndjson"]);
    assert_eq!(import.status.code(), Some(0), "{}", stderr_of(&import));
    for path in ["data", "data/journal"] {
        for folder in [&served, &imported] {
            let mode = std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{path}");
        }
    }
    for folder in [&served, &imported] {
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path().join("data"), open).unwrap();
    }
    let serving = Serving::start(serve(served.path()));
    serving.signal("TERM");
    let (_, log) = serving.end();
    assert!(log.contains("data is open to all users of this machine"), "{log}");
    let import = command(imported.path(), &["import", "examples/providers.ndjson"]);
    assert!(stderr_of(&import).contains("data is open to all users"), "{}", stderr_of(&import));
}

#[test]
fn a_mistyped_data_directory_is_an_error_and_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [&[&str]; 4] =
        [&["export"], &["stats"], &["repair"], &["remove", "--provider", PEER]];
    for is_there in [false, true] {
        for arguments in cases {
            let output = command(folder.path(), arguments);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            let data = folder.path().join("data");
            let expected = format!(
                "error: there is no data directory at {} (setting data_dir)\n",
                data.display()
            );
            assert_eq!((stdout_of(&output), stderr_of(&output)), (String::new(), expected));
            let left = std::fs::read_dir(&data).map(Iterator::count).ok();
            assert_eq!(left, is_there.then_some(0), "{arguments:?}");
        }
        if !is_there {
            std::fs::create_dir(folder.path().join("data")).unwrap();
        }
    }
}

#[test]
fn what_is_imported_into_a_data_directory_is_served_from_it_exported_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let imported = command(folder.path(), &["import", "examples/providers.ndjson"]);
    assert_eq!(imported.status.code(), Some(0), "{}", stderr_of(&imported));
    let first = command(folder.path(), &["export"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr_of(&first));
    // The same again, elsewhere, by way of a compressed file.
    let other = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.ndjson.zst");
    let saved = command(folder.path(), &["export", "--to", path.to_str().unwrap()]);
    assert_eq!(saved.status.code(), Some(0), "{}", stderr_of(&saved));
    let again = command(other.path(), &["import", path.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr_of(&again));
    let second = command(other.path(), &["export"]);
    let sorted = |output: &Output| {
        let mut lines: Vec<String> = stdout_of(output).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&first).len(), 51);
    assert_eq!(sorted(&first), sorted(&second));
    let served = Serving::start(serve(folder.path()));
    let line: serde_json::Value = serde_json::from_str(&sorted(&first)[0]).unwrap();
    assert_eq!(served.status_of(line["CID"].as_str().unwrap()), 200);
    let held = command(folder.path(), &["stats"]);
    assert_eq!(held.status.code(), Some(1));
    assert!(
        stderr_of(&held).contains("stop it, or choose another data directory"),
        "{}",
        stderr_of(&held)
    );
    served.signal("TERM");
    assert_eq!(served.end().0, Some(0));
    let records = sorted(&first);
    let peer = records.iter().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["Providers"][0]["ID"].as_str().map(str::to_owned)
    });
    let peer = peer.unwrap();
    let removed = command(folder.path(), &["remove", "--provider", &peer]);
    assert_eq!(removed.status.code(), Some(0), "{}", stderr_of(&removed));
    let left = command(folder.path(), &["export"]);
    assert!(!stdout_of(&left).contains(&peer) && stdout_of(&left).lines().count() > 1);
}

#[test]
fn an_export_is_whole_whatever_a_server_may_hold_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let strangers: Vec<_> = (0..10_000)
        .map(|number| {
            let (line, context) = (numbered_line(number), number / 1_000);
            let line = line.trim_end().strip_suffix('}').unwrap();
            format!(r#"{line},"Network":"192.0.2.0/24","Context":"f{context:02x}"}}"#)
        })
        .collect();
    let strangers = file(folder.path(), "strangers.ndjson", strangers.join("\n").as_bytes());
    let imported = command(folder.path(), &["import", strangers.to_str().unwrap()]);
    assert_eq!(imported.status.code(), Some(0), "{}", stderr_of(&imported));
    let small = |arguments: &[&str]| {
        let mut command = binary();
        command.env("FINGERPOST_DATA_DIR", folder.path().join("data"));
        command.env("FINGERPOST_INDEX_MEMORY_MAX", "400000").args(arguments).output().unwrap()
    };
    let exported = || stdout_of(&small(&["export"])).lines().count();
    assert_eq!(exported(), 10_000);
    assert!(stdout_of(&small(&["stats"])).contains("10,000"));
    // Where it is to be imported into, or served, that says so.
    let imported = small(&["import", "examples/providers.ndjson"]);
    let warning =
        "groups that strangers announced: the data directory holds more than index_memory_max";
    assert!(stderr_of(&imported).contains(warning), "{}", stderr_of(&imported));
    assert!((51..10_051).contains(&exported()));
    let mut command = serve(folder.path());
    command.env("FINGERPOST_INDEX_MEMORY_MAX", "350000");
    let served = Serving::start(command);
    served.signal("TERM");
    let (_, log) = served.end();
    assert!(log.contains("evicted what strangers announced"), "{log}");
}

#[test]
fn an_export_has_every_provider_of_a_key_whatever_a_network_may_have_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let strangers = (0..200).map(|number| {
        let record = peer_record(number, &[]);
        format!(r#"{{"CID":"{CID}","Providers":[{record}],"Network":"192.0.2.0/24"}}"#)
    });
    let strangers = strangers.collect::<Vec<_>>().join("\n");
    let strangers = file(folder.path(), "strangers.ndjson", strangers.as_bytes());
    let imported = command(folder.path(), &["import", strangers.to_str().unwrap()]);
    assert_eq!(imported.status.code(), Some(0), "{}", stderr_of(&imported));
    let mut export = binary();
    export.env("FINGERPOST_ANNOUNCE_KEY_NETWORK_MAX", "32").arg("export");
    export.arg("--data-dir").arg(folder.path().join("data"));
    assert_eq!(stdout_of(&export.output().unwrap()).lines().count(), 200);
}

#[test]
fn a_damaged_data_directory_is_refused_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        // Closing seals a segment, so that there are two.
        command(folder.path(), &["import", "examples/providers.ndjson"]);
        let lines = (0..50).map(|n| line(&fingerpost_cid(n))).collect::<Vec<_>>().join("\n");
        let more = file(folder.path(), "more.ndjson", lines.as_bytes());
        command(folder.path(), &["import", more.to_str().unwrap()]);
    }
    let whole = command(folder.path(), &["repair"]);
    assert_eq!(whole.status.code(), Some(0), "{} {}", stdout_of(&whole), stderr_of(&whole));
    let mut segments: Vec<_> = std::fs::read_dir(folder.path().join("data/journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    std::fs::write(&segments[0], bytes).unwrap();
    let refused = serve(folder.path()).output().unwrap();
    let stderr = stderr_of(&refused);
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("is damaged at byte") && stderr.contains("fingerpost repair"),
        "{stderr}"
    );
    let repaired = command(folder.path(), &["repair"]);
    assert_eq!(repaired.status.code(), Some(1), "{}", stderr_of(&repaired));
    assert!(
        stdout_of(&repaired).contains(segments[0].to_str().unwrap()),
        "{}",
        stdout_of(&repaired)
    );
    let serving = Serving::start(serve(folder.path()));
    serving.signal("TERM");
    assert_eq!(serving.end().0, Some(0));
}

/// The `number`th of any number of different CIDs.
fn fingerpost_cid(number: u8) -> String {
    multibase::encode(
        multibase::Base::Base32Lower,
        [&[1, 0x55, 0x12, 32][..], &[number; 32]].concat(),
    )
}

/// Runs a command under a limit on the size of the files that it writes, which stands in for a disk
/// that is full: the system refuses the write, and sends no signal where that is ignored.
fn with_small_files(blocks: u32, command: &Command) -> Command {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    shell.args(["-c", &script]).arg(command.get_program()).args(command.get_args());
    shell
}

#[test]
fn an_import_that_finds_no_room_says_what_is_in() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..20_000).map(numbered_line).collect();
    let path = file(folder.path(), "a.ndjson", lines.as_bytes());
    // Blocks are of 512 or 1,024 bytes: room for one batch or three, and never for all five.
    let mut import = binary();
    import.arg("import").arg(path).arg("--data-dir").arg(folder.path().join("data"));
    let output = with_small_files(400, &import).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (stdout, stderr) = (stdout_of(&output), stderr_of(&output));
    assert!(stderr.contains("a.ndjson: the import stopped\n"), "{stderr}");
    let stats = stdout_of(&command(folder.path(), &["stats"]));
    let entries = stats.lines().find_map(|line| line.strip_prefix("entries\t")).unwrap();
    let done: usize = entries.replace(',', "").parse().unwrap();
    assert!(done > 0 && done < 20_000 && done.is_multiple_of(4_096), "{done}");
    let expected = format!("a.ndjson: {entries} lines, {entries} keys, {entries} records (");
    assert!(stdout.contains(&expected), "{entries} are in: {stdout}");
    // Going on after what is done with loses nothing.
    let rest: String = (done..20_000).map(numbered_line).collect();
    let path = file(folder.path(), "rest.ndjson", rest.as_bytes());
    let resumed = command(folder.path(), &["import", path.to_str().unwrap()]);
    assert_eq!(resumed.status.code(), Some(0), "{}", stderr_of(&resumed));
    let exported = command(folder.path(), &["export"]);
    assert_eq!(stdout_of(&exported).lines().count(), 20_000);
}

fn numbered_line(number: usize) -> String {
    let digest = [&[1, 0x55, 0x12, 32][..], &[0; 24], &(number as u64).to_be_bytes()].concat();
    line(&multibase::encode(multibase::Base::Base32Lower, digest)) + "\n"
}

#[test]
fn a_named_pipe_is_read_once_and_from_its_first_byte() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let serving = Serving::start(serve(folder.path()));
    let url = serving.url("admin: ").to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    let (here, local) = (folder.path().join("data"), elsewhere.path().join("data"));
    let to_server = ["--to", &url, "--data-dir", here.to_str().unwrap()];
    for target in [&to_server[..], &["--data-dir", local.to_str().unwrap()]] {
        let mut import = binary().arg("import").arg(&pipe).args(target).spawn().unwrap();
        let (path, lines) = (pipe.clone(), (0..2_000).map(numbered_line).collect::<String>());
        let writer = std::thread::spawn(move || std::fs::write(path, lines));
        // A command that had closed the pipe would wait for another writer without end.
        let deadline = Instant::now() + Duration::from_secs(20);
        while import.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        // It has ended already unless the test fails.
        let _ = import.kill();
        let output = import.wait_with_output().unwrap();
        let stdout = stdout_of(&output);
        assert!(
            stdout.contains("pipe: 2,000 lines, 2,000 keys"),
            "{stdout} {}",
            stderr_of(&output)
        );
        writer.join().unwrap().unwrap();
    }
}

#[test]
fn a_removal_that_the_disk_refuses_holds_until_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // The ends of so many groups do not fit into a block or two, a new segment does.
    let lines: String = (0..200).map(|number| in_context(number) + "\n").collect();
    let path = file(folder.path(), "a.ndjson", lines.as_bytes());
    assert_eq!(command(folder.path(), &["import", path.to_str().unwrap()]).status.code(), Some(0));
    let mut limited = with_small_files(1, &serve(folder.path()));
    limited.env("FINGERPOST_ADMIN_PASSWORD", "pass");
    let serving = Serving::start(limited);
    assert_eq!(serving.status_of(&fingerpost_cid(7)), 200);
    for _ in 0..2 {
        let mut remove = binary();
        remove.env("FINGERPOST_ADMIN_PASSWORD", "pass");
        remove.args(["remove", "--provider", PEER, "--to", serving.url("admin: ")]);
        let output = remove.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stdout_of(&output));
        let expected =
            format!("provider {PEER} is gone from answers already, and for good as soon");
        assert!(stderr_of(&output).contains(&expected), "{}", stderr_of(&output));
        assert_eq!(serving.status_of(&fingerpost_cid(7)), 404);
    }
    serving.kill();
    let serving = Serving::start(serve(folder.path()));
    assert_eq!(serving.status_of(&fingerpost_cid(7)), 200, "the disk never had it");
    serving.signal("TERM");
    assert_eq!(serving.end().0, Some(0));
}

fn in_context(number: u8) -> String {
    let context = multibase::encode(multibase::Base::Base64Url, [number]);
    let line = line(&fingerpost_cid(number));
    line.replacen('{', &format!(r#"{{"Context":"{context}","#), 1)
}
