//! `kill -9` while the control plane's state is written: every list of changes is there whole or not
//! at all, and none that was acknowledged is missing.
//!
//! The test starts itself as another process, which writes lists and prints which were acknowledged,
//! kills it at a random moment, and looks at what it left. `CRASH_ROUNDS` says how often.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fingerpost::data_dir::DataDir;
use fingerpost::state::{ControlChange, ControlStore, ControlTable, DurableControl};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use rand::RngExt;

const TEST: &str = "state_crash::what_was_acknowledged_survives_kill_9_and_each_list_is_whole";

/// The folder of the state: only the process that is killed has it.
const FOLDER_VARIABLE: &str = "STATE_CRASH_FOLDER";

/// What the acknowledged numbers are printed after.
const ACKNOWLEDGED: &str = "acknowledged ";

/// Lists that wait at a time.
const WAITING: usize = 8;

fn open(folder: &Path) -> DurableControl {
    DurableControl::open(&DataDir::lock(folder).unwrap()).unwrap()
}

/// Each list says its number in every table and adds a budget of its own.
fn list(number: u64) -> Vec<ControlChange> {
    let set = |table, key: &str| {
        let (key, text) = (key.to_owned(), Some(number.to_string()));
        ControlChange { table, key, text }
    };
    let mut changes: Vec<_> =
        ControlTable::ALL.into_iter().map(|table| set(table, "last")).collect();
    changes.push(set(ControlTable::Budgets, &format!("{number:09}")));
    changes
}

/// The number of the last list that is there, if all is as that list and those before it left it.
async fn last_whole(store: &DurableControl) -> u64 {
    let last = async |table| store.read(table).await.unwrap().get("last").cloned();
    let expected = last(ControlTable::Single).await;
    for table in ControlTable::ALL {
        assert_eq!(last(table).await, expected, "a mixture: {table:?}");
    }
    let number = expected.map_or(0, |text| text.parse().unwrap());
    let budgets = store.read(ControlTable::Budgets).await.unwrap();
    let numbers: Vec<u64> = budgets
        .iter()
        .filter(|(key, _)| *key != "last")
        .map(|(_, it)| it.parse().unwrap())
        .collect();
    assert_eq!(numbers, (1..=number).collect::<Vec<_>>(), "lists are missing or too many");
    number
}

/// Writes lists until it is killed.
async fn write_until_killed(folder: &Path) {
    let store = open(folder);
    let mut next = last_whole(&store).await + 1;
    let mut stdout = std::io::stdout();
    let mut waiting = FuturesOrdered::new();
    loop {
        while waiting.len() < WAITING {
            let (number, written) = (next, store.write(list(next), next));
            waiting.push_back(async move {
                written.await.unwrap();
                number
            });
            next += 1;
        }
        if let Some(number) = waiting.next().await {
            writeln!(stdout, "{ACKNOWLEDGED}{number}").unwrap();
        }
    }
}

/// Runs the writer, kills it, and says which list it acknowledged last.
fn kill_a_writer(folder: &Path) -> Option<u64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]).env(FOLDER_VARIABLE, folder);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reading = std::thread::spawn(move || {
        let numbers = stdout.lines().map_while(Result::ok).filter_map(|line| {
            line.split_once(ACKNOWLEDGED).and_then(|(_, number)| number.parse().ok())
        });
        numbers.last()
    });
    std::thread::sleep(Duration::from_millis(rand::rng().random_range(5..250)));
    assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    reading.join().unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_and_each_list_is_whole() {
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
        return write_until_killed(Path::new(&folder)).await;
    }
    let rounds: u32 = std::env::var("CRASH_ROUNDS").map_or(12, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..rounds {
        let acknowledged = kill_a_writer(folder.path()).unwrap_or(before);
        let there = last_whole(&open(folder.path())).await;
        assert!(there >= acknowledged, "round {round}: {acknowledged} acknowledged, {there} there");
        before = there;
    }
    assert!(before > 0, "no list came through");
    println!("{rounds} rounds: {before} lists, each whole");
}
