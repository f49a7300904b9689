//! Sections as an operator writes them: effective values, their origins, and problems.

use std::time::Duration;

use clap::Command;

use super::super::tests::load_file;
use super::super::{Loaded, load, with_settings};
use super::*;

const EAST: &str = "[[upstream]]\nname = 'East.1'\nurl = 'https://east.example/'\n";
const WEST: &str = "[[peer]]\nname = 'west'\nurl = 'http://west.example'\n\
    admin_url = 'http://admin.west.example'\npassword = 'hunter2'\naccept = ['g.providers']\n";
const METERED: &str = "[[endpoint]]\nname = 'm1'\nurl = 'https://me:hunter2@m.example'\n\
    daily_volume = 25_000\nhourly_rate = 10_000\n";

/// The problems of a file, one line each, without its path.
fn problems(text: &str) -> Vec<String> {
    let error = match load_file(text) {
        Ok(loaded) => panic!("nothing is wrong with it: {:?}", loaded.settings.remotes),
        Err(error) => error,
    };
    let lines = error.problems.iter().map(ToString::to_string);
    lines.map(|line| line.split_once("fingerpost.toml:").unwrap().1.to_owned()).collect()
}

fn loaded_with(flags: &[&str], text: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.toml");
    std::fs::write(&path, text).unwrap();
    let command = with_settings(Command::new("test").no_binary_name(true));
    let flags = flags.iter().copied().chain(["--config", path.to_str().unwrap()]);
    load(&command.try_get_matches_from(flags).unwrap(), Vec::new()).unwrap()
}

#[test]
fn every_section_is_read_with_the_defaults_of_its_keys() {
    let text = format!(
        "{EAST}timeout = '2s'\nconcurrency = 3\ndefault = false\n\
         [[fanout]]\nname = 'all'\naccounts = ['local', 'EAST1']\n{METERED}{WEST}user = 'us'\n\
         upstream.x = 1"
    );
    let text = text.replace("\nupstream.x = 1", "");
    let remotes = load_file(&text).unwrap().settings.remotes;
    let [upstream] = &remotes.upstreams[..] else { panic!("{remotes:?}") };
    assert_eq!((upstream.name.as_str(), upstream.url.reveal()), ("east1", "https://east.example"));
    assert!(!upstream.default);
    let expected = ClientSettings {
        timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(3),
        concurrency: 3,
        records_max: 1_000,
        body_bytes_max: 4 << 20,
        allow_private_addrs: false,
        providers: true,
        peers: true,
        ipns: true,
    };
    assert_eq!(upstream.client, expected);
    let [fanout] = &remotes.fanouts[..] else { panic!("{remotes:?}") };
    assert_eq!(
        (fanout.name.as_str(), fanout.accounts.to_string().as_str()),
        ("all", "local,east1")
    );
    let [endpoint] = &remotes.endpoints[..] else { panic!("{remotes:?}") };
    assert_eq!((endpoint.daily_volume, endpoint.hourly_rate), (25_000, 10_000));
    assert_eq!(endpoint.only_pool(), None);
    assert_eq!(endpoint.client.timeout, Duration::from_secs(10));
    let [peer] = &remotes.peers[..] else { panic!("{remotes:?}") };
    assert_eq!(peer.password.reveal(), Some("hunter2"));
    assert_eq!(peer.user.to_string(), "us");
    assert_eq!((peer.accept.to_string().as_str(), peer.routes_max), ("g.providers", 1_000));
    assert_eq!(peer.admin_url.to_string(), "http://admin.west.example");
}

#[test]
fn a_key_that_is_not_given_has_the_value_of_the_flat_setting_from_wherever_that_is() {
    let text = format!("upstream_timeout = '7s'\n{EAST}");
    let loaded = loaded_with(&["--upstream-connect-timeout", "1s"], &text);
    let client = &loaded.settings.remotes.upstreams[0].client;
    assert_eq!(client.timeout, Duration::from_secs(7));
    assert_eq!(client.connect_timeout, Duration::from_secs(1));
    let toml = loaded.to_toml();
    let line = |key: &str| toml.lines().rfind(|line| line.starts_with(key)).unwrap();
    assert!(line("timeout = \"7s\"").ends_with(" # setting upstream_timeout"), "{toml}");
    assert!(line("name = \"east1\"").ends_with("f.toml:3"), "{toml}");
    assert!(line("concurrency = 128").ends_with(" # default"), "{toml}");
}

#[test]
fn upstreams_of_the_list_come_after_those_of_the_file_with_all_options_at_their_default() {
    let flags = ["--upstreams", "https://b.example,c=http://c:1", "--upstream-timeout=4s"];
    let loaded = loaded_with(&flags, EAST);
    let upstreams = &loaded.settings.remotes.upstreams;
    let names: Vec<_> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["east1", "bexample", "c"]);
    assert_eq!(upstreams[1].client, upstreams[0].client);
    assert_eq!(upstreams[1].client.timeout, Duration::from_secs(4));
    assert!(upstreams[2].default);
    assert_eq!(loaded.sections().len(), 1, "the list is shown as a setting");
}

#[test]
fn what_is_printed_loads_again_without_the_secrets() {
    let list = "upstreams = ['a=https://me:hunter2@a.example', 'https://b.example']\n";
    let loaded = load_file(&format!("{list}{EAST}{METERED}{WEST}")).unwrap();
    let given: Vec<_> = loaded.given().map(ToString::to_string).collect();
    let sections: Vec<_> = loaded.sections().iter().map(ToString::to_string).collect();
    assert!(
        given[0].starts_with("upstreams = [\"a=https://a.example\", \"bexample=h"),
        "{given:?}"
    );
    assert!(given[0].ends_with(":1; its credentials are not shown)"), "{given:?}");
    assert!(sections[0].starts_with("[[upstream]] name = \"east1\" (file "), "{sections:?}");
    let toml = loaded.to_toml();
    assert!(toml.contains("\n# password is set and not shown"), "{toml}");
    let url = toml.lines().find(|line| line.starts_with("url = \"https://m.example\" ")).unwrap();
    assert!(url.ends_with(":7; its credentials are not shown"), "{url}");
    let shown = format!("{toml} {loaded:?} {given:?} {sections:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let again = load_file(&toml.replace("# password is set and not shown", "password = 'x' #"));
    let again = again.unwrap().settings.remotes;
    assert_eq!(again.upstreams.len(), 3);
    assert_eq!(again.fanouts, loaded.settings.remotes.fanouts);
    assert_eq!(again.peers[0].url, loaded.settings.remotes.peers[0].url);
    assert_eq!(again.endpoints[0].client, loaded.settings.remotes.endpoints[0].client);
}

#[test]
fn every_problem_of_a_section_is_named_with_its_line() {
    let text = "[[upstream]]\ntiemout = '1s'\ntimeout = 'soon'\nurl = 5\n\n[[upstream]]\n\
                zzz = 1\nname = 'a b'\nurl = 'east.example'\n[[fanuot]]\n[[peer]]\nuser = ''\n";
    assert_eq!(
        problems(text),
        [
            "1: [[upstream]]: `name` is missing",
            "2: `tiemout` is no key of [[upstream]], did you mean `timeout`?",
            "3: [[upstream]] timeout: expected a duration, such as 15s or 5m, found 'soon' \
             (expected number at 0)",
            "4: [[upstream]] url: expected a URL, such as https://router.example, found 5",
            "7: `zzz` is no key of [[upstream]]",
            "8: [[upstream]] name: expected a name of letters, digits, `-`, `_`, `~` and dots, \
             found 'a b' (' ' cannot stand in an account's name, only letters, digits and -_.~ can)",
            "9: [[upstream]] url: expected a URL, such as https://router.example, found \
             'east.example' (it has no scheme, write http:// or https:// before it)",
            "10: `fanuot` is no setting, did you mean `[[fanout]]`?",
            "11: [[peer]]: `name` is missing",
            "11: [[peer]]: `url` is missing",
            "11: [[peer]]: `admin_url` is missing",
            "11: [[peer]]: `password` is missing",
            "11: [[peer]]: `accept` is missing",
        ]
    );
}

#[test]
fn what_is_no_array_of_tables_says_how_it_is_written() {
    for text in ["upstream = 'https://a.example'", "[upstream]\nname = 'a'", "upstream = [1]"] {
        assert_eq!(
            problems(text),
            ["1: upstream: expected sections, each under a line [[upstream]]"]
        );
    }
    let inline = "upstream = [{ name = 'a', url = 'https://a.example' }]";
    assert_eq!(load_file(inline).unwrap().settings.remotes.upstreams.len(), 1);
    let list = problems("[[upstreams]]\nname = 'a'");
    assert!(list[0].contains("is a section, [[upstream]])"), "{list:?}");
}

#[test]
fn a_wrong_url_is_named_without_its_credentials() {
    for text in [
        "upstreams = 'https://me:hunter2@a.example?x'",
        "upstreams = ['a=https://me:hunter2@a.example', 'b']",
        "[[upstream]]\nname = 'a'\nurl = 'https://me:hun/hunter2@a.example:99999'",
    ] {
        let message = problems(text).join("\n");
        assert!(
            message.contains("<not shown>@a.example") && !message.contains("hunter2"),
            "{message}"
        );
    }
    let secret = problems(&WEST.replace("'hunter2'", "\"hunter2\\n\"")).join("\n");
    assert!(secret.contains("password: expected") && !secret.contains("hunter2"), "{secret}");
}

#[test]
fn names_that_mean_something_else_are_refused() {
    for name in ["local", "Discard", "de.fault", "dht", "default~fallback"] {
        let text = format!("[[upstream]]\nname = '{name}'\nurl = 'http://a'");
        let message = &problems(&text)[0];
        assert!(message.starts_with("2: [[upstream]] name: `"), "{message}");
        assert!(message.ends_with("means something else, choose another"), "{message}");
    }
    let admin = problems(&WEST.replace("'west'", "'Admin'"));
    assert!(admin[0].ends_with("`admin` means something else, choose another"), "{admin:?}");
    let message = problems("[[fanout]]\nname = '4.2'\naccounts = ['local']");
    assert_eq!(message, ["2: [[fanout]] name: `42` is an integer, which names a routing rule"]);
    let message = problems(&format!("router_name = 'West'\n{WEST}"));
    assert_eq!(message, ["3: [[peer]] name: `west` is this router itself (router_name)"]);
}

#[test]
fn names_that_collide_are_refused_and_both_places_named() {
    let fanout = "[[fanout]]\nname = 'EAST.1'\naccounts = ['local']\n";
    let message = problems(&format!("{EAST}{fanout}{}", WEST.replace("west'\n", "east1'\n")));
    let taken = "`east1` is taken already; capitals and dots in names do not count";
    assert_eq!(message.len(), 2, "{message:?}");
    assert!(message[0].starts_with(&format!("5: [[fanout]] name: {taken} (")), "{message:?}");
    assert!(message[0].ends_with(":2: [[upstream]] name)"), "{message:?}");
    assert!(message[1].starts_with(&format!("8: [[peer]] name: {taken}")), "{message:?}");
    let message = problems(&format!("upstreams = ['east1=http://a']\n{EAST}"));
    assert!(message[0].starts_with(&format!("1: upstreams: {taken}")), "{message:?}");
    assert!(message[0].ends_with(":3: [[upstream]] name)"), "{message:?}");
    // What an endpoint is called is no account.
    let endpoint = METERED.replace("m1", "east1");
    assert!(load_file(&format!("{EAST}{endpoint}")).is_ok());
    let message = problems(&format!("{endpoint}{endpoint}"));
    assert!(message[0].starts_with(&format!("7: [[endpoint]] name: {taken}")), "{message:?}");
}

#[test]
fn fan_outs_contain_upstreams_and_the_index_and_nothing_else() {
    let fanout = |accounts: &str| format!("[[fanout]]\nname = 'f'\naccounts = [{accounts}]\n");
    let message = |accounts: &str| problems(&format!("{}{EAST}{WEST}", fanout(accounts)));
    assert_eq!(
        message("'nobody'"),
        ["3: [[fanout]] accounts: there is no upstream called `nobody`"]
    );
    assert_eq!(message("'west'"), ["3: [[fanout]] accounts: there is no upstream called `west`"]);
    assert_eq!(
        message("'F'"),
        ["3: [[fanout]] accounts: `f` is a fan-out, which none can contain"]
    );
    assert_eq!(message("'local', 'local'"), ["3: [[fanout]] accounts: `local` stands there twice"]);
    assert_eq!(message(""), ["3: [[fanout]] accounts: names nobody"]);
    let list = format!("upstreams = ['b=http://b']\n{}", fanout("'b', 'local'"));
    assert!(load_file(&list).is_ok());
}

#[test]
fn values_that_would_make_a_server_useless_are_refused() {
    for (section, key, message) in [
        (EAST, "timeout = 0", "must be longer than 0s"),
        (EAST, "connect_timeout = '0s'", "must be longer than 0s"),
        (EAST, "concurrency = 0", "0 is below 1"),
        (EAST, "records_max = 0", "0 is below 1"),
        (EAST, "body_bytes_max = 0", "0 is below 1"),
        (WEST, "routes_max = 0", "0 is below 1"),
        (METERED, "timeout = 0", "must be longer than 0s"),
    ] {
        let found = problems(&format!("{section}{key}"));
        let line = section.lines().count() + 1;
        let name = key.split(' ').next().unwrap();
        let kind = section.lines().next().unwrap();
        assert_eq!(found, [format!("{line}: {kind} {name}: {message}")]);
    }
    for (section, from, to, message) in [
        (METERED, "25_000", "0", "4: [[endpoint]] daily_volume: 0 is below 1"),
        (METERED, "10_000", "0", "5: [[endpoint]] hourly_rate: 0 is below 1"),
        (WEST, "'hunter2'", "''", "5: [[peer]] password: is empty"),
        (WEST, "['g.providers']", "[]", "6: [[peer]] accept: is empty: nothing that it says"),
    ] {
        let found = problems(&section.replace(from, to));
        assert!(found.len() == 1 && found[0].starts_with(message), "{found:?}");
    }
    let nothing = format!("{EAST}providers = false\npeers = false\nipns = false");
    let message = "4: [[upstream]] providers: it is asked for nothing: no providers, peers, ipns";
    assert_eq!(problems(&nothing), [message]);
    // An invalid flat setting is reported once for itself and once for each section that inherits
    // it.
    let message = problems(&format!("upstream_timeout = 0\n{EAST}"));
    assert_eq!(message.len(), 2, "{message:?}");
}
