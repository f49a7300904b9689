//! The settings: the one place where they are named, documented and given a default.
//!
//! Each field is a key of the file, an environment variable and a flag of the same name, and its
//! comment is what `--help` and the example file say. Every setting has a default, which holds when
//! it is given nowhere. What a range or another setting forbids is in `rules.rs`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, FromArgMatches};

use super::choices::{AnnounceMode, EmptyStatus, LogFormat, RecordSchema};
use super::duration::parse_duration;
use super::log_filter::LogFilter;
use super::networks::Networks;
use super::peers::Peers;
use super::schema::Schema;
use super::secret::Secret;
use super::workers::Workers;

const PLACES: &str = "Listeners, threads and data";
const ADMIN: &str = "Admin API";
const ANSWERS: &str = "Answers";
const CACHING: &str = "How long answers may be cached";
const ANNOUNCING: &str = "Signed announcements";
const NAMES: &str = "IPNS";
const RATE_LIMIT: &str = "Rate limit";
const CLIENTS: &str = "Connections and slow clients";
const IMPORTS: &str = "Imports";
const LOGS: &str = "Logs";

/// All settings of Fingerpost, each with a value.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Address and port of the public API
    ///
    /// Port 0 takes any free port; the log says which.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8190", help_heading = PLACES)]
    pub listen: SocketAddr,

    /// Address and port of the admin listener: health, metrics, admin API
    ///
    /// Keep it away from the public: it is meant for the operator's network only. Port 0 takes any
    /// free port; the log says which.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8191", help_heading = PLACES)]
    pub admin_listen: SocketAddr,

    /// Directory for what must outlive a restart
    ///
    /// Created at start, private to its owner. A relative path is relative to the directory in
    /// which Fingerpost is started.
    #[arg(long, value_name = "DIRECTORY", default_value = "./fingerpost-data",
        help_heading = PLACES, value_parser = parse_path)]
    pub data_dir: PathBuf,

    /// Bytes of a segment of the journal in the data directory: 65536 to 1073741824
    ///
    /// A full segment is closed and another begun. Compaction needs about as much room on the disk
    /// beside the journal.
    #[arg(long, value_name = "BYTES", default_value = "134217728", help_heading = PLACES, hide_short_help = true, value_parser = clap::value_parser!(u64).range(65_536..=1_073_741_824))]
    pub journal_segment_bytes: u64,

    /// Threads that serve the public API
    ///
    /// A number from 1 to 1024, or `auto`: one for each core.
    #[arg(long, value_name = "COUNT", default_value = "auto", help_heading = PLACES)]
    pub workers: Workers,

    /// Password of the user `admin` on the admin listener
    ///
    /// Without one, a random one is made at the first start and kept in the file `admin-password` of
    /// `data_dir`, for its owner's eyes only; the log says where. On the command line it would be
    /// seen by every user of the machine: better give it in the environment or the file.
    #[arg(long, value_name = "PASSWORD", default_value = "", help_heading = ADMIN,
        hide_env_values = true)]
    pub admin_password: Secret,

    /// Ask for the password on /metrics too
    ///
    /// /healthz and /readyz are always open.
    #[arg(long, value_name = "BOOL", default_value = "false", help_heading = ADMIN,
        value_parser = BoolishValueParser::new(), action = ArgAction::Set, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub metrics_auth: bool,

    /// Status of an answer when nobody has the content
    #[arg(long, value_name = "STATUS", default_value = "404", help_heading = ANSWERS)]
    pub empty_status: EmptyStatus,

    /// Schema under which provider records are served
    #[arg(long, value_name = "SCHEMA", default_value = "announced", help_heading = ANSWERS)]
    pub record_schema: RecordSchema,

    /// Serve addresses of providers that Fingerpost cannot parse
    ///
    /// Without it they are left out of answers; the record itself is served all the same.
    #[arg(long, value_name = "BOOL", default_value = "false", help_heading = ANSWERS,
        hide_short_help = true, value_parser = BoolishValueParser::new(), action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true)]
    pub keep_unparsable_addrs: bool,

    /// Most records in a JSON answer, after filtering: 1 to 100
    #[arg(long, value_name = "COUNT", default_value = "100", help_heading = ANSWERS,
        hide_short_help = true)]
    pub json_records_max: usize,

    /// Most records in an NDJSON answer, after filtering; 0 is no cap
    #[arg(long, value_name = "COUNT", default_value = "1000", help_heading = ANSWERS,
        hide_short_help = true)]
    pub ndjson_records_max: usize,

    /// How long a lookup may take, streamed answers included
    ///
    /// An NDJSON answer ends then with what was found; an answer that has not begun is 504.
    #[arg(long, value_name = "DURATION", default_value = "25s", help_heading = ANSWERS,
        hide_short_help = true, value_parser = parse_duration)]
    pub lookup_timeout: Duration,

    /// How long an answer with records is fresh (max-age)
    ///
    /// Whole seconds, as all times of this group.
    #[arg(long, value_name = "DURATION", default_value = "5m", help_heading = CACHING,
        hide_short_help = true, value_parser = parse_duration)]
    pub cache_found_max_age: Duration,

    /// How long a stale answer with records may be used while a fresh one is fetched
    #[arg(long, value_name = "DURATION", default_value = "10m", help_heading = CACHING,
        hide_short_help = true, value_parser = parse_duration)]
    pub cache_found_stale_while_revalidate: Duration,

    /// How long a stale answer with records may be used when no fresh one can be had
    #[arg(long, value_name = "DURATION", default_value = "48h", help_heading = CACHING,
        hide_short_help = true, value_parser = parse_duration)]
    pub cache_found_stale_if_error: Duration,

    /// How long an empty answer is fresh (max-age)
    #[arg(long, value_name = "DURATION", default_value = "15s", help_heading = CACHING,
        hide_short_help = true, value_parser = parse_duration)]
    pub cache_empty_max_age: Duration,

    /// How long a stale empty answer may be used while a fresh one is fetched
    #[arg(long, value_name = "DURATION", default_value = "1m", help_heading = CACHING,
        hide_short_help = true, value_parser = parse_duration)]
    pub cache_empty_stale_while_revalidate: Duration,

    /// How long a stale empty answer may be used when no fresh one can be had
    #[arg(long, value_name = "DURATION", default_value = "1h", help_heading = CACHING,
        hide_short_help = true, value_parser = parse_duration)]
    pub cache_empty_stale_if_error: Duration,

    /// Whose signed announcements (PUT /routing/v1/providers) are taken in
    #[arg(long, value_name = "WHOSE", default_value = "signed", help_heading = ANNOUNCING)]
    pub announce: AnnounceMode,

    /// Peer IDs that may announce with `announce = "allowlist"`
    #[arg(long, value_name = "PEERS", default_value = "", help_heading = ANNOUNCING)]
    pub announce_allowlist: Peers,

    /// Keys in one request to announce: at least 1; past it the answer is 413
    #[arg(long, value_name = "COUNT", default_value = "1000", help_heading = ANNOUNCING,
        hide_short_help = true)]
    pub announce_keys_max: usize,

    /// Announcements a minute that one peer may make, wherever it sends them from; 0 is no limit
    ///
    /// Past the limit it gets 429 with Retry-After. Kubo packs up to 100 keys into one.
    #[arg(long, value_name = "COUNT", default_value = "600", help_heading = ANNOUNCING)]
    pub announce_peer_rate_limit: u32,

    /// How long ago an announcement may have been made, by its Timestamp
    #[arg(long, value_name = "DURATION", default_value = "24h", help_heading = ANNOUNCING,
        hide_short_help = true, value_parser = parse_duration)]
    pub announce_timestamp_age_max: Duration,

    /// How far the Timestamp of an announcement may be ahead of this server's clock
    #[arg(long, value_name = "DURATION", default_value = "5m", help_heading = ANNOUNCING,
        hide_short_help = true, value_parser = parse_duration)]
    pub announce_timestamp_ahead_max: Duration,

    /// How long an announcement holds at most, whatever its AdvisoryTTL: at least 1m
    #[arg(long, value_name = "DURATION", default_value = "48h", help_heading = ANNOUNCING,
        value_parser = parse_duration)]
    pub announce_ttl_max: Duration,

    /// Take in announced addresses that the public cannot reach: private, loopback, link-local
    ///
    /// For routers within one network. Without it such addresses are left out of the record.
    #[arg(long, value_name = "BOOL", default_value = "false", help_heading = ANNOUNCING,
        value_parser = BoolishValueParser::new(), action = ArgAction::Set, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub allow_private_addrs: bool,
    /// Keep and serve IPNS records
    ///
    /// Without it /routing/v1/ipns answers 501.
    #[arg(long, value_name = "BOOL", default_value = "true", help_heading = NAMES,
        value_parser = BoolishValueParser::new(), action = ArgAction::Set, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub ipns: bool,

    /// IPNS records that are kept, one a name: at least 1
    ///
    /// Past it a record of a new name is refused with 503, unless expired ones can go. A record has
    /// at most 10 KiB, and as a rule 400 bytes.
    #[arg(long, value_name = "COUNT", default_value = "100000", help_heading = NAMES,
        hide_short_help = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub ipns_records_max: u64,

    /// Requests a second that one client may make; 0 is no limit
    ///
    /// A client is an IPv4 address or an IPv6 /64 network. Past the limit it gets 429 with
    /// Retry-After.
    #[arg(long, value_name = "COUNT", default_value = "100", help_heading = RATE_LIMIT)]
    pub rate_limit: u32,

    /// Requests that one client may make at once before `rate_limit` holds it back: at least 1
    #[arg(long, value_name = "COUNT", default_value = "500", help_heading = RATE_LIMIT)]
    pub rate_limit_burst: u32,

    /// Networks whose clients are not limited; empty is nobody
    #[arg(long, value_name = "NETWORKS", default_value = "127.0.0.0/8,::1/128",
        help_heading = RATE_LIMIT)]
    pub rate_limit_exempt: Networks,

    /// Clients that the rate limit remembers, which bounds its memory: at least 1
    ///
    /// As many peers are remembered for `announce_peer_rate_limit`.
    #[arg(long, value_name = "COUNT", default_value = "100000", help_heading = RATE_LIMIT,
        hide_short_help = true)]
    pub rate_limit_clients_max: usize,

    /// Networks of proxies whose X-Forwarded-For and Forwarded are believed; empty is nobody
    ///
    /// Name the proxy in front of Fingerpost here, or all its clients count as one.
    #[arg(long, value_name = "NETWORKS", default_value = "", help_heading = RATE_LIMIT)]
    pub trusted_proxies: Networks,

    /// Open connections on the public listener: at least 1
    ///
    /// Shared evenly among the workers, at least one each; further ones wait until it is their
    /// turn.
    #[arg(long, value_name = "COUNT", default_value = "10000", help_heading = CLIENTS,
        hide_short_help = true)]
    pub connections_max: usize,

    /// Bytes of a request's head: at least 1024; past it the answer is 431
    #[arg(long, value_name = "BYTES", default_value = "16384", help_heading = CLIENTS,
        hide_short_help = true)]
    pub header_bytes_max: usize,

    /// Bytes of a request's body, as its Content-Length says: at least 1; past it the answer is 413
    #[arg(long, value_name = "BYTES", default_value = "1048576", help_heading = CLIENTS,
        hide_short_help = true)]
    pub body_bytes_max: usize,

    /// How long a client may take to send the head of a request, and then its body
    #[arg(long, value_name = "DURATION", default_value = "10s", help_heading = CLIENTS,
        hide_short_help = true, value_parser = parse_duration)]
    pub client_timeout: Duration,

    /// How long an idle connection is kept; 0 closes it after each answer
    #[arg(long, value_name = "DURATION", default_value = "30s", help_heading = CLIENTS,
        hide_short_help = true, value_parser = parse_duration)]
    pub keep_alive: Duration,

    /// How long a client may take nothing of its answer before it is cut off
    #[arg(long, value_name = "DURATION", default_value = "30s", help_heading = CLIENTS,
        hide_short_help = true, value_parser = parse_duration)]
    pub write_timeout: Duration,

    /// How long requests in flight may take to finish when Fingerpost stops
    #[arg(long, value_name = "DURATION", default_value = "10s", help_heading = CLIENTS,
        hide_short_help = true, value_parser = parse_duration)]
    pub shutdown_timeout: Duration,

    /// Bytes of one record's JSON in an import: at least 1
    #[arg(long, value_name = "BYTES", default_value = "65536", help_heading = IMPORTS,
        hide_short_help = true)]
    pub record_bytes_max: usize,

    /// Bytes of one line of NDJSON in an import: at least `record_bytes_max`
    #[arg(long, value_name = "BYTES", default_value = "4194304", help_heading = IMPORTS,
        hide_short_help = true)]
    pub line_bytes_max: usize,

    /// How long an import over HTTP may bring nothing before it is ended
    ///
    /// What was acknowledged before stays.
    #[arg(long, value_name = "DURATION", default_value = "1m", help_heading = IMPORTS,
        hide_short_help = true, value_parser = parse_duration)]
    pub import_idle_timeout: Duration,

    /// What is logged on standard error: a level, or directives by module
    ///
    /// Levels are error, warn, info, debug, trace and off; a directive for a module looks like
    /// `warn,fingerpost=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info,actix_server=warn,actix_http=off", help_heading = LOGS)]
    pub log: LogFilter,

    /// Form of the log
    #[arg(long, value_name = "FORMAT", default_value = "auto", help_heading = LOGS)]
    pub log_format: LogFormat,

    /// Log one line a request
    #[arg(long, value_name = "BOOL", default_value = "false", help_heading = LOGS,
        value_parser = BoolishValueParser::new(), action = ArgAction::Set, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub access_log: bool,
}

impl Default for Settings {
    /// The settings when nothing is given anywhere.
    fn default() -> Self {
        let matches = Schema::new().parse(std::iter::empty::<String>());
        Self::from_arg_matches(&matches).expect("the schema is made from this struct")
    }
}

/// A path as text: a file of settings could not carry any other.
fn parse_path(text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() { Err("an empty path") } else { Ok(PathBuf::from(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let settings = Settings::default();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8190");
        assert_eq!(settings.admin_listen.to_string(), "127.0.0.1:8191");
        assert_eq!(settings.data_dir, PathBuf::from("./fingerpost-data"));
        assert_eq!(settings.workers, Workers::Auto);
        assert_eq!(settings.empty_status, EmptyStatus::NotFound);
        assert_eq!(settings.record_schema, RecordSchema::Announced);
        assert_eq!((settings.json_records_max, settings.ndjson_records_max), (100, 1_000));
        assert_eq!(settings.cache_found_max_age, Duration::from_mins(5));
        assert_eq!(settings.cache_found_stale_if_error, Duration::from_hours(48));
        assert_eq!((settings.rate_limit, settings.rate_limit_burst), (100, 500));
        assert_eq!(settings.rate_limit_exempt.to_string(), "127.0.0.0/8,::1/128");
        assert_eq!((settings.ipns, settings.ipns_records_max), (true, 100_000));
        assert!(settings.trusted_proxies.is_empty());
        assert_eq!(settings.announce, AnnounceMode::Signed);
        assert_eq!((settings.announce_keys_max, settings.announce_peer_rate_limit), (1_000, 600));
        assert_eq!(settings.announce_timestamp_age_max, Duration::from_hours(24));
        assert_eq!(settings.announce_timestamp_ahead_max, Duration::from_mins(5));
        assert_eq!(settings.announce_ttl_max, Duration::from_hours(48));
        assert!(settings.announce_allowlist.is_empty() && !settings.allow_private_addrs);
        assert_eq!(settings.log.to_string(), "info,actix_server=warn,actix_http=off");
        assert_eq!((settings.admin_password.reveal(), settings.metrics_auth), (None, false));
        assert_eq!(settings.import_idle_timeout, Duration::from_mins(1));
        assert!(!settings.access_log && !settings.keep_unparsable_addrs);
    }
}
