//! The commands against a server that answers as it is told: what is asked, what is printed, what is
//! said when something is wrong.

use clap::{Command, FromArgMatches};

use super::*;
use crate::cli::{command, print_error};
use crate::http_client::test_server::TestServer;

const ROUTE: &str = r#"{"id":1,"name":"my-route","requested_target_daily_volume":50000,"recommended_max_daily_volume":25000,"recommended_max_delivery_rate_per_hour":10000,"overflow_route":{"id":2,"name":"rest"},"routing_rule":{"id":42,"name":"my-route R1"}}"#;

const NO_ROUTE: &str = r#"{"success":false,"data":null,"error_code":"validation_failed","error_messages":["name: taken","overflow_route: a cycle"]}"#;

/// What came of a command.
struct Outcome {
    out: String,
    err: String,
    /// As it would be printed; empty where nothing went wrong.
    error: String,
    /// The first line of each request, in lower case, without the version.
    requests: Vec<String>,
    bodies: Vec<String>,
    heads: Vec<String>,
}

/// A server that gives these answers, each a status and a body, one after the other.
fn serving(answers: &[(&'static str, &str)]) -> TestServer {
    let answers: Vec<_> =
        answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
    let mut answers = answers.into_iter();
    TestServer::start(move |stream| {
        let (status, body) = answers.next().unwrap_or(("418 I'm a teapot", String::new()));
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    })
}

fn args(arguments: &[&str]) -> RoutesArgs {
    let routes = RoutesArgs::augment_args(Command::new("routes").no_binary_name(true));
    RoutesArgs::from_arg_matches(&routes.try_get_matches_from(arguments).unwrap()).unwrap()
}

/// Runs `fingerpost routes` with these arguments against such a server.
fn run_in(format: RouteFormat, arguments: &[&str], answers: &[(&'static str, &str)]) -> Outcome {
    let server = serving(answers);
    let settings = Settings { admin_password: "pass".parse().unwrap(), ..Settings::default() };
    let url = ServerUrl::parse(&server.url()).unwrap();
    let (mut out, mut err, mut error) = (Vec::new(), Vec::new(), Vec::new());
    let client = AdminClient::new(SERVER_FLAG, &url, &settings).unwrap();
    let mut session = Session { client, format, out: &mut out, err: &mut err };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    if let Err(failed) = runtime.block_on(session.execute(&args(arguments).command)) {
        print_error(&failed, &mut error);
    }
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let heads = server.heads();
    let first = |head: &String| head.lines().next().unwrap().replace(" http/1.1", "");
    Outcome {
        out: text(out),
        err: text(err),
        error: text(error),
        requests: heads.iter().map(first).collect(),
        bodies: server.bodies().into_iter().map(text).collect(),
        heads,
    }
}

fn run_lines(arguments: &[&str], answers: &[(&'static str, &str)]) -> Outcome {
    run_in(RouteFormat::Lines, arguments, answers)
}

fn page(routes: &str, token: &str) -> String {
    format!(
        r#"{{"routes":[{routes}],"pagination":{{"page":0,"per_page":100,"num_pages":1,"num_records":1,"next_page_token":{token}}}}}"#
    )
}

#[test]
fn routes_are_listed_as_they_came_as_lines_and_as_a_table() {
    let answer = r#"{"_embedded":{"routes":[{"routePrefix":"g","nextHopAccountId":"default","path":[],"expiresAt":null,"auth":"x="},{"routePrefix":"g.ipns","nextHopAccountId":"west","path":["west","\u001b[2J"],"expiresAt":"2026-01-01T00:00:00.000Z","auth":"y="}]},"page":{"size":"2","totalElements":"2","totalPages":"1","number":"0"}}"#;
    let list = run_lines(&["list"], &[("200 OK", answer)]);
    assert_eq!(list.requests, ["get /routes"]);
    assert!(list.heads[0].contains("\r\nauthorization: basic "), "{:?}", list.heads);
    assert_eq!(
        list.out,
        "g\tdefault\t-\t-\ng.ipns\twest\twest \u{fffd}[2J\t2026-01-01T00:00:00.000Z\n"
    );
    let json = run_in(RouteFormat::Json, &["list"], &[("200 OK", answer)]);
    assert_eq!(json.out, format!("{answer}\n"));
    let table = run_in(RouteFormat::Table, &["list"], &[("200 OK", answer)]);
    let lines: Vec<_> = table.out.lines().map(str::trim).collect();
    assert!(lines[1].starts_with("Prefix") && lines[1].ends_with("Expires"), "{}", table.out);
    assert!(lines[3].starts_with("g ") && lines[3].ends_with('-'), "{}", table.out);
    assert!(!table.out.contains('\u{1b}'), "{}", table.out);
}

#[test]
fn a_list_may_be_of_an_address_or_of_static_routes() {
    let empty = r#"{"_embedded":{"routes":[]},"page":{"size":"0","totalElements":"0","totalPages":"0","number":"0"}}"#;
    let of = run_in(RouteFormat::Table, &["list", "--address", "/ipfs/a b"], &[("200 OK", empty)]);
    assert_eq!(of.requests, ["get /routes?destinationaddress=%2fipfs%2fa+b"]);
    assert_eq!((of.out.as_str(), of.error.as_str()), ("no routes\n", ""));
    let statics = r#"{"_embedded":{"staticRoutes":[{"createdAt":"2026-01-01T00:00:00.000Z","modifiedAt":"2026-01-02T00:00:00.000Z","routePrefix":"g.a","nextHopAccountId":"east"}]},"page":{"size":"1","totalElements":"1","totalPages":"1","number":"0"}}"#;
    let list = run_lines(&["list", "--static"], &[("200 OK", statics)]);
    assert_eq!(list.requests, ["get /routes/static"]);
    assert_eq!(list.out, "g.a\teast\t2026-01-01T00:00:00.000Z\t2026-01-02T00:00:00.000Z\n");
    let routes = RoutesArgs::augment_args(Command::new("routes").no_binary_name(true));
    assert!(routes.try_get_matches_from(["list", "--static", "--address", "g"]).is_err());
}

fn explanation(rest: &str) -> String {
    format!(
        r#"{{"destinationAddress":"g.ipns.x","routePrefix":"g.ipns","nextHopAccountId":"{rest}}}"#
    )
}

#[test]
fn an_explanation_shows_the_way_of_a_lookup() {
    let known = explanation(
        r#"west","origin":"dynamic","path":["west","north"],"expiresAt":"2026-01-01T00:00:00.000Z","exists":true,"kind":"peer","upstreams":["west"],"notAsked":[{"name":"west","reason":"it rests"}],"pool":null"#,
    );
    let explained = run_lines(&["explain", "g.ipns.x"], &[("200 OK", &known)]);
    assert_eq!(explained.requests, ["get /routes/explain?destinationaddress=g.ipns.x"]);
    assert_eq!(
        explained.out,
        "address\tg.ipns.x\nprefix\tg.ipns (dynamic)\naccount\twest (peer)\npath\twest north\n\
         expires\t2026-01-01T00:00:00.000Z\nasks\twest\nnot west\tit rests\n"
    );
    let nobody = explanation(
        r#"nowhere","origin":"static","path":[],"expiresAt":null,"exists":false,"kind":null,"upstreams":[],"pool":null"#,
    );
    let explained = run_lines(&["explain", "g.ipns.x"], &[("200 OK", &nobody)]);
    let message = "account\tnowhere (there is no such account: lookups fail)\nasks\t-\n";
    assert!(explained.out.ends_with(message), "{}", explained.out);
    let json = run_in(RouteFormat::Json, &["explain", "g.ipns.x"], &[("200 OK", &nobody)]);
    assert_eq!(json.out, format!("{nobody}\n"));
}

#[test]
fn a_route_is_explained_with_what_is_left_of_its_budgets() {
    let route = explanation(
        r#"42","origin":"static","path":[],"expiresAt":null,"exists":true,"kind":"pool","upstreams":["m-1"],"pool":{"rule_id":42,"rule_name":"a R1","outcome":"ask","endpoint":"m-1","pool_id":1,"reason":null,"chain":[{"id":1,"name":"a","endpoints":[{"name":"m-1","daily_volume":10,"daily_left":7,"hourly_rate":5,"hourly_left":2,"held_back":null},{"name":"m-2","daily_volume":9,"daily_left":0,"hourly_rate":5,"hourly_left":5,"held_back":"its budget is used up for 3h"}]}]}"#,
    );
    let explained = run_lines(&["explain", "g.ipns.x"], &[("200 OK", &route)]);
    assert!(
        explained.out.ends_with(
            "account\t42 (pool)\nasks\tm-1\nrule\t42 (a R1)\nwould\task m-1\n\
             a: m-1\t7 of 10 left today, 2 of 5 this hour\n\
             a: m-2\t0 of 9 left today, 5 of 5 this hour; its budget is used up for 3h\n"
        ),
        "{}",
        explained.out
    );
    let table = run_in(RouteFormat::Table, &["explain", "g.ipns.x"], &[("200 OK", &route)]);
    assert!(table.out.lines().any(|line| line.contains("7 of 10 left today")), "{}", table.out);
}

const SET: &str = r#"{"createdAt":"2026-01-01T00:00:00.000Z","modifiedAt":"2026-01-01T00:00:00.000Z","routePrefix":"g.a","nextHopAccountId":"east"}"#;

const EXISTS: &str = r#"{"prefix":"g.a","type":"https://errors.interledger.org/routes/static/static-route-already-exists","title":"Static Route Already Exists (`g.a`)","status":409}"#;

fn reached(exists: bool) -> String {
    explanation(&format!(
        r#"east","origin":"static","path":[],"expiresAt":null,"exists":{exists},"kind":null,"upstreams":[],"pool":null"#
    ))
}

#[test]
fn a_route_is_set_and_one_to_nobody_is_worth_a_warning() {
    for (exists, warning) in [
        (true, ""),
        (false, "warning: there is no account east: lookups below g.a fail until there is\n"),
    ] {
        let answers = [("201 Created", SET), ("200 OK", &*reached(exists))];
        let set = run_lines(&["set", "g.a", "Ea.st"], &answers);
        assert_eq!(set.requests[0], "put /routes/static/g.a");
        assert_eq!(set.bodies[0], r#"{"routePrefix":"g.a","nextHopAccountId":"east"}"#);
        assert!(!set.heads[0].contains("if-match"), "{:?}", set.heads);
        assert_eq!(set.requests[1], "get /routes/explain?destinationaddress=g.a");
        assert_eq!(set.out, "created g.a -> east\n");
        assert_eq!((set.err.as_str(), set.error.as_str()), (warning, ""));
    }
    let never = reached(true).replacen('{', r#"{"neverMatches":true,"#, 1);
    let set = run_lines(&["set", "g.a", "east"], &[("201 Created", SET), ("200 OK", &never)]);
    assert_eq!(set.out, "created g.a -> east\n");
    assert_eq!(set.err, "warning: no lookup can have an address below g.a\n");
    // What the warning needs is asked for, but not needed.
    let json = run_in(RouteFormat::Json, &["set", "g.a", "east"], &[("201 Created", SET)]);
    assert_eq!(
        (json.out, json.err, json.error),
        (format!("{SET}\n"), String::new(), String::new())
    );
}

#[test]
fn a_route_that_is_there_is_replaced_only_when_asked() {
    let set = run_lines(&["set", "g.a", "east"], &[("409 Conflict", EXISTS)]);
    assert_eq!(
        set.error,
        "error: g.a has a static route; --replace has it replaced at once\n  caused by: the server \
         answered 409 Conflict: Static Route Already Exists (`g.a`)\n"
    );
    assert_eq!(set.requests.len(), 1);
    let answers = [("409 Conflict", EXISTS), ("200 OK", SET), ("200 OK", &*reached(true))];
    let set = run_lines(&["set", "g.a", "east", "--replace"], &answers);
    assert_eq!(set.error, "");
    assert!(set.out == "replaced g.a -> east\n", "{}", set.out);
    assert!(set.heads[1].contains("\r\nif-match: *\r\n"), "{}", set.heads[1]);
    let set = run_lines(&["set", "g.a", "east", "--replace"], &[("201 Created", SET)]);
    assert!(set.out == "created g.a -> east\n", "{}", set.out);
}

#[test]
fn a_cid_stands_for_itself_alone() {
    let cid = "bafkreig5ptgmcguatxltpkpmpwiukw2lcvlcj2gyvlp6ssv6lifyh7irde";
    let removed = run_lines(&["remove", cid], &[("204 No Content", "")]);
    let prefix = "g.providers.sha2-256.d.d.7.c.c.c.c.";
    assert!(removed.requests[0].starts_with(&format!("delete /routes/static/{prefix}")));
    assert!(removed.out.starts_with(&format!("removed the static route of {prefix}")));
    let routes = || RoutesArgs::augment_args(Command::new("routes").no_binary_name(true));
    for (arguments, message) in [
        (["remove", "g.a b"].as_slice(), "cannot stand in a prefix"),
        (&["remove", "nonsense"], "neither an address (`g.providers...`) nor a CID"),
        (&["set", "g", "a b"], "cannot stand in an account's name"),
        (&["set", "g..x", "local"], "'<PREFIX>': a prefix has no empty segments"),
        (&["set", "private.x.", "local"], "'<PREFIX>': a prefix has no empty segments"),
        (&["remove", "go.x"], "'<PREFIX>': a prefix begins with g, private"),
    ] {
        let error = routes().try_get_matches_from(arguments).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_refusal_of_the_server_is_shown() {
    let missing = EXISTS.replace("Already Exists", "Does Not Exist").replace("409", "404");
    let removed = run_lines(&["remove", "g.a"], &[("404 Not Found", &missing)]);
    let message = "error: the server answered 404 Not Found: Static Route Does Not Exist (`g.a`)\n";
    assert_eq!((removed.error.as_str(), removed.out.as_str()), (message, ""));
    let bad = r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"destinationAddress: \u001b[2J"}"#;
    let message = run_lines(&["explain", "x"], &[("400 Bad Request", bad)]).error;
    assert_eq!(
        message,
        "error: the server answered 400 Bad Request: destinationAddress: \u{fffd}[2J\n"
    );
    let pools = run_lines(&["pools", "show", "1"], &[("422 Unprocessable Entity", NO_ROUTE)]);
    assert_eq!(
        pools.error,
        "error: the server answered 422 Unprocessable Entity: name: taken; overflow_route: a cycle\n"
    );
    let other = run_lines(&["list"], &[("404 Not Found", "<html>")]).error;
    assert!(other.contains("--server wants the address of its admin listener"), "{other}");
    for answer in ["{}", "[", "null"] {
        let message = run_lines(&["list"], &[("200 OK", answer)]).error;
        assert!(message.starts_with("error: the answer is not that of an admin API"), "{message}");
    }
}

#[test]
fn pools_are_listed_over_all_pages() {
    let other =
        ROUTE.replace(r#""id":1,"#, r#""id":7,"#).replace(r#"{"id":2,"name":"rest"}"#, "null");
    let pages = [("200 OK", &*page(ROUTE, r#""a+b""#)), ("200 OK", &*page(&other, "null"))];
    let list = run_lines(&["pools", "list", "--name", "My"], &pages);
    assert_eq!(
        list.requests,
        ["get /ga/api/v3/eng/routes?name=my", "get /ga/api/v3/eng/routes?name=my&page_token=a%2bb"]
    );
    assert_eq!(
        list.out,
        "1\tmy-route\t50000\t25000\t10000\t2 (rest)\t42\n7\tmy-route\t50000\t25000\t10000\t-\t42\n"
    );
    let json = run_in(RouteFormat::Json, &["pools", "list"], &pages);
    assert_eq!(json.out.lines().collect::<Vec<_>>(), pages.map(|(_, page)| page));
    // A server that never comes to an end does not keep the command for ever.
    let empty = [("200 OK", &*page("", r#""x""#))];
    let list = run_in(RouteFormat::Table, &["pools", "list"], &empty);
    assert_eq!((list.out.as_str(), list.requests.len()), ("no pools\n", 1));
}

#[test]
fn a_pool_is_named_by_its_id_or_its_name() {
    let one = format!(r#"{{"route":{ROUTE}}}"#);
    let shown = run_lines(&["pools", "show", "1"], &[("200 OK", &one)]);
    assert_eq!(shown.requests, ["get /ga/api/v3/eng/routes/1"]);
    assert_eq!(
        shown.out,
        "id\t1\nname\tmy-route\nwanted a day\t50000\nmost a day\t25000\nmost an hour\t10000\n\
         overflow\t2 (rest)\nrule\t42 (my-route R1)\n"
    );
    let similar = ROUTE.replace("my-route", "my-route 2").replace(r#""id":1,"#, r#""id":3,"#);
    let found = page(&format!("{similar},{ROUTE}"), "null");
    let shown = run_lines(&["pools", "show", "MY-Route"], &[("200 OK", &found), ("200 OK", &one)]);
    assert_eq!(
        shown.requests,
        ["get /ga/api/v3/eng/routes?name=my-route", "get /ga/api/v3/eng/routes/1"]
    );
    let none = run_lines(&["pools", "delete", "my"], &[("200 OK", &found)]);
    assert_eq!(none.requests.len(), 1, "nothing is deleted by a part of its name");
    assert_eq!(
        none.error,
        "error: there is no pool called \"my\"; `routes pools list` lists them\n"
    );
    let done = r#"{"success":true}"#;
    let deleted = run_lines(&["pools", "delete", "1"], &[("200 OK", done)]);
    assert_eq!(deleted.requests, ["delete /ga/api/v3/eng/routes/1"]);
    assert_eq!(deleted.out, "deleted pool 1\n");
    let deleted = run_in(RouteFormat::Json, &["pools", "delete", "1"], &[("200 OK", done)]);
    assert_eq!(deleted.out, format!("{done}\n"));
}

#[test]
fn a_pool_is_created_and_changed_with_what_is_given_and_nothing_else() {
    let one = format!(r#"{{"route":{ROUTE}}}"#);
    for (arguments, request, body) in [
        (
            &["pools", "create", "a b", "--volume", "5"][..],
            "post /ga/api/v3/eng/routes",
            r#"{"route":{"name":"a b","requested_target_daily_volume":5}}"#,
        ),
        (
            &["pools", "create", "a", "--volume", "5", "--overflow", "2"],
            "post /ga/api/v3/eng/routes",
            r#"{"route":{"name":"a","overflow_route":{"id":2},"requested_target_daily_volume":5}}"#,
        ),
        (
            &["pools", "update", "1", "--overflow", "rest 2"],
            "put /ga/api/v3/eng/routes/1",
            r#"{"route":{"overflow_route":{"name":"rest 2"}}}"#,
        ),
        (
            &["pools", "update", "1", "--no-overflow", "--name", "b"],
            "put /ga/api/v3/eng/routes/1",
            r#"{"route":{"name":"b","overflow_route":null}}"#,
        ),
        (
            &["pools", "update", "1", "--volume", "9"],
            "put /ga/api/v3/eng/routes/1",
            r#"{"route":{"requested_target_daily_volume":9}}"#,
        ),
    ] {
        let done = run_lines(arguments, &[("200 OK", &one)]);
        assert_eq!((done.requests[0].as_str(), done.bodies[0].as_str()), (request, body));
        assert!(done.out.starts_with("id\t1\n") && done.error.is_empty(), "{}", done.error);
    }
    let routes = || RoutesArgs::augment_args(Command::new("routes").no_binary_name(true));
    for arguments in [
        &["pools", "update", "1"][..],
        &["pools", "update", "1", "--overflow", "2", "--no-overflow"],
        &["pools", "create", "a"],
    ] {
        assert!(routes().try_get_matches_from(arguments).is_err(), "{arguments:?}");
    }
    for volume in ["-5", "0", "many", "1.5", "9007199254740993"] {
        for arguments in [["pools", "create", "a"], ["pools", "update", "a"]] {
            let arguments = arguments.into_iter().chain(["--volume", volume]);
            let error = routes().try_get_matches_from(arguments).unwrap_err().to_string();
            let message =
                format!("invalid value '{volume}' for '--volume <COUNT>': give a whole number");
            assert!(error.contains(&message), "{error}");
        }
    }
}

#[test]
fn the_server_is_the_one_of_the_settings_unless_one_is_named() {
    let url = |admin_listen: &str| {
        let admin_listen = admin_listen.parse().unwrap();
        url_of(&Settings { admin_listen, ..Settings::default() }).map(|url| url.to_string())
    };
    assert_eq!(url("127.0.0.1:8191").unwrap(), "http://127.0.0.1:8191");
    assert_eq!(url("0.0.0.0:9").unwrap(), "http://127.0.0.1:9");
    assert_eq!(url("[::]:9").unwrap(), "http://[::1]:9");
    assert!(url("127.0.0.1:0").unwrap_err().to_string().contains("--server"));
}

#[test]
fn settings_and_flags_may_stand_anywhere() {
    for arguments in [
        ["routes", "--server", "http://h", "--json", "--admin-password", "p", "pools", "list"],
        ["routes", "pools", "list", "--server", "http://h", "--json", "--admin-password", "p"],
        ["routes", "pools", "--json", "list", "--admin-password", "p", "--server", "http://h"],
    ] {
        let arguments = ["fingerpost"].iter().chain(&arguments);
        let matches = command().try_get_matches_from(arguments).unwrap();
        let matches = matches.subcommand_matches("routes").unwrap();
        let args = RoutesArgs::from_arg_matches(matches).unwrap();
        assert!(args.json && args.server.is_some());
        let settings = crate::config::load(matches, Vec::new()).unwrap().settings;
        assert_eq!(settings.admin_password.reveal(), Some("p"));
    }
}
