//! Ranges, and rules between settings: the checks that need the typed settings.
//!
//! All broken rules are reported, each under the setting that has to be changed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::choices::AnnounceMode;
use super::duration::format_duration;
use super::settings::Settings;

/// More records than this are no answer that a browser reads at once.
const JSON_RECORDS_MAX: usize = 100;

/// An ordinary browser's request head may exceed anything lower.
const HEADER_BYTES_MIN: usize = 1_024;

/// Up to so many providers of a key are kept whatever their networks.
const KEY_NETWORK_MIN: usize = 32;

/// The shortest time that an announcement holds.
const ANNOUNCE_TTL_MIN: Duration = Duration::from_mins(1);

/// A broken rule.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Violation {
    /// The setting that has to be changed.
    pub(super) name: &'static str,
    /// The rule, and the offending value.
    pub(super) message: String,
}

/// Every rule that `settings` break.
pub(super) fn validate(settings: &Settings) -> Vec<Violation> {
    [
        listeners(settings),
        password(settings),
        ranges(settings),
        durations(settings),
        announcing(settings),
        routing(settings),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn listeners(settings: &Settings) -> Vec<Violation> {
    let (public, admin) = (settings.listen, settings.admin_listen);
    if !collide(public, admin) {
        return Vec::new();
    }
    vec![Violation {
        name: "admin_listen",
        message: format!("{admin} collides with listen ({public}), give it a port of its own"),
    }]
}

/// Whether the two cannot be bound side by side.
fn collide(left: SocketAddr, right: SocketAddr) -> bool {
    let same_family = left.is_ipv4() == right.is_ipv4();
    let either_is_any = left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() != 0
        && left.port() == right.port()
        && (left.ip() == right.ip() || (same_family && either_is_any))
}

fn password(settings: &Settings) -> Vec<Violation> {
    let both = settings.admin_password.reveal().is_some()
        && settings.admin_password_file != PathBuf::new();
    let both = both.then(|| Violation {
        name: "admin_password_file",
        message: "admin_password is set too, give one of the two".to_owned(),
    });
    both.into_iter().collect()
}

fn routing(settings: &Settings) -> Vec<Violation> {
    let name = settings.router_name.get().filter(|name| name.is_integer());
    let integer = name.map(|name| Violation {
        name: "router_name",
        message: format!("`{name}` is an integer, which names a routing rule"),
    });
    integer.into_iter().collect()
}

fn ranges(settings: &Settings) -> Vec<Violation> {
    let at_least = [
        ("json_records_max", settings.json_records_max, 1),
        ("rate_limit_clients_max", settings.rate_limit_clients_max, 1),
        ("connections_max", settings.connections_max, 1),
        ("header_bytes_max", settings.header_bytes_max, HEADER_BYTES_MIN),
        ("body_bytes_max", settings.body_bytes_max, 1),
        ("announce_keys_max", settings.announce_keys_max, 1),
        ("announce_key_network_max", settings.announce_key_network_max, KEY_NETWORK_MIN),
        ("record_bytes_max", settings.record_bytes_max, 1),
        ("line_bytes_max", settings.line_bytes_max, settings.record_bytes_max),
    ];
    let too_small = at_least
        .into_iter()
        .filter(|(_, value, min)| value < min)
        .map(|(name, value, min)| Violation { name, message: format!("{value} is below {min}") });
    let too_large = (settings.json_records_max > JSON_RECORDS_MAX).then(|| Violation {
        name: "json_records_max",
        message: format!("{} is above {JSON_RECORDS_MAX}", settings.json_records_max),
    });
    too_small.chain(too_large).collect()
}

fn durations(settings: &Settings) -> Vec<Violation> {
    let positive = [
        ("lookup_timeout", settings.lookup_timeout),
        ("upstream_timeout", settings.upstream_timeout),
        ("upstream_connect_timeout", settings.upstream_connect_timeout),
        ("client_timeout", settings.client_timeout),
        ("write_timeout", settings.write_timeout),
        ("import_idle_timeout", settings.import_idle_timeout),
        ("announce_timestamp_age_max", settings.announce_timestamp_age_max),
    ];
    let whole_seconds = [
        ("cache_found_max_age", settings.cache_found_max_age),
        ("cache_found_stale_while_revalidate", settings.cache_found_stale_while_revalidate),
        ("cache_found_stale_if_error", settings.cache_found_stale_if_error),
        ("cache_empty_max_age", settings.cache_empty_max_age),
        ("cache_empty_stale_while_revalidate", settings.cache_empty_stale_while_revalidate),
        ("cache_empty_stale_if_error", settings.cache_empty_stale_if_error),
    ];
    let no_limit = positive
        .into_iter()
        .filter(|(_, duration)| duration.is_zero())
        .map(|(name, _)| Violation { name, message: "must be longer than 0s".to_owned() });
    let broken = whole_seconds
        .into_iter()
        .filter(|(_, duration)| *duration != Duration::from_secs(duration.as_secs()))
        .map(|(name, duration)| Violation {
            name,
            message: format!("{} is not a whole number of seconds", format_duration(duration)),
        });
    no_limit.chain(broken).collect()
}

fn announcing(settings: &Settings) -> Vec<Violation> {
    let nobody =
        settings.announce == AnnounceMode::Allowlist && settings.announce_allowlist.is_empty();
    let nobody = nobody.then(|| Violation {
        name: "announce_allowlist",
        message: "names nobody; name a peer, or say announce = \"off\"".to_owned(),
    });
    let ttl_max = settings.announce_ttl_max;
    let too_short = (ttl_max < ANNOUNCE_TTL_MIN).then(|| Violation {
        name: "announce_ttl_max",
        message: format!(
            "{} is below {}",
            format_duration(ttl_max),
            format_duration(ANNOUNCE_TTL_MIN)
        ),
    });
    nobody.into_iter().chain(too_short).collect()
}

#[cfg(test)]
mod tests {
    use super::super::schema::SettingsSchema;
    use super::*;

    fn violations(change: impl FnOnce(&mut Settings)) -> Vec<&'static str> {
        let mut settings = Settings::default();
        change(&mut settings);
        let violations = validate(&settings);
        let schema = SettingsSchema::new();
        for violation in &violations {
            assert!(schema.find(violation.name).is_some(), "{violation:?}");
        }
        violations.into_iter().map(|violation| violation.name).collect()
    }

    #[test]
    fn the_defaults_break_no_rule() {
        assert_eq!(validate(&Settings::default()), []);
    }

    #[test]
    fn listeners_that_cannot_be_bound_side_by_side_are_refused() {
        for (public, admin, collides) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "[::1]:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let found = violations(|settings| {
                settings.listen = public.parse().unwrap();
                settings.admin_listen = admin.parse().unwrap();
            });
            assert_eq!(found == ["admin_listen"], collides, "{public} {admin}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused_under_its_name() {
        assert_eq!(violations(|settings| settings.json_records_max = 0), ["json_records_max"]);
        assert_eq!(violations(|settings| settings.json_records_max = 101), ["json_records_max"]);
        assert_eq!(violations(|settings| settings.header_bytes_max = 9), ["header_bytes_max"]);
        assert_eq!(violations(|settings| settings.line_bytes_max = 65_535), ["line_bytes_max"]);
        assert_eq!(
            violations(|settings| {
                settings.connections_max = 0;
                settings.body_bytes_max = 0;
            }),
            ["connections_max", "body_bytes_max"]
        );
    }

    #[test]
    fn what_means_no_limit_is_allowed() {
        let found = violations(|settings| {
            settings.rate_limit = 0;
            settings.ndjson_records_max = 0;
            settings.keep_alive = Duration::ZERO;
            settings.shutdown_timeout = Duration::ZERO;
            settings.cache_empty_max_age = Duration::ZERO;
        });
        assert_eq!(found, Vec::<&str>::new());
    }

    #[test]
    fn an_allowlist_names_somebody_and_a_ttl_is_at_least_a_minute() {
        assert_eq!(
            violations(|settings| settings.announce = AnnounceMode::Allowlist),
            ["announce_allowlist"]
        );
        let named = violations(|settings| {
            settings.announce = AnnounceMode::Allowlist;
            let peer = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";
            settings.announce_allowlist = peer.parse().unwrap();
        });
        assert_eq!(named, Vec::<&str>::new());
        assert_eq!(
            violations(|settings| settings.announce_ttl_max = Duration::from_secs(59)),
            ["announce_ttl_max"]
        );
        assert_eq!(violations(|settings| settings.announce_keys_max = 0), ["announce_keys_max"]);
    }

    #[test]
    fn a_password_is_given_once_and_a_router_is_not_called_as_a_rule() {
        assert_eq!(
            violations(|settings| {
                settings.admin_password = "pass".parse().unwrap();
                settings.admin_password_file = "/run/secrets/admin".into();
            }),
            ["admin_password_file"]
        );
        assert_eq!(
            violations(|settings| settings.router_name = "4.2".parse().unwrap()),
            ["router_name"]
        );
    }

    #[test]
    fn durations_that_would_be_lost_are_refused() {
        assert_eq!(
            violations(|settings| settings.write_timeout = Duration::ZERO),
            ["write_timeout"]
        );
        assert_eq!(
            violations(|settings| settings.cache_empty_max_age = Duration::from_millis(1_500)),
            ["cache_empty_max_age"]
        );
    }
}
