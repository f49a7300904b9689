//! The settings: the one place where they are named, documented and given a default.
//!
//! Each field is a key of the file, an environment variable and a flag of the same name, and its
//! comment is what `--help` and the example file say. Every setting has a default, which holds when
//! it is given nowhere. What a range or another setting forbids is in `rules.rs`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, FromArgMatches};

use super::burst::Burst;
use super::choices::{AnnounceMode, EmptyStatus, LogFormat, RecordSchema};
use super::duration::parse_duration;
use super::list::{PeerIds, Prefixes};
use super::log_filter::LogFilter;
use super::networks::Networks;
use super::optional_target::OptionalTarget;
use super::remotes::Remotes;
use super::schema::SettingsSchema;
use super::secret::Secret;
use super::upstream_list::UpstreamList;
use super::workers::WorkerCount;

const PLACES: &str = "Listeners, threads and data";
const ADMIN: &str = "Admin API";
const ANSWERS: &str = "Answers";
const CACHING: &str = "How long answers may be cached";
const ANNOUNCING: &str = "Signed announcements";
const NAMES: &str = "IPNS";
const UPSTREAMS: &str = "Other routers";
const ROUTES: &str = "Routes to and from peers";
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

    /// Free bytes that strangers leave on the journal's disk; 0: a sixteenth of it, 1 GiB at most
    ///
    /// While less is free what they announce newly gets 507 with Retry-After, and below half of it what
    /// refreshes, too. The rest is for removals, imports and compaction, which needs
    /// `journal_segment_bytes`. A disk that does not say how large it is has no reserve.
    #[arg(long, value_name = "BYTES", default_value = "0", help_heading = PLACES, hide_short_help = true)]
    pub journal_disk_reserve: u64,

    /// Bytes of memory that the index may take; 0: three quarters of what the process may use
    ///
    /// An eighth is kept for imports. Of the rest, those who announce from one network may hold no more
    /// than what is left free; past it they get 507 with Retry-After. Where imports or light newcomers need
    /// room, what the heaviest networks announced is evicted. Lookups, removals and what refreshes go on.
    #[arg(long, value_name = "BYTES", default_value = "0", help_heading = PLACES, hide_short_help = true)]
    pub index_memory_max: u64,

    /// Threads that serve the public API
    ///
    /// A number from 1 to 1024, or `auto`: one for each core.
    #[arg(long, value_name = "COUNT", default_value = "auto", help_heading = PLACES)]
    pub workers: WorkerCount,

    /// Password of the user `admin` on the admin listener
    ///
    /// Without one, a random one is made at the first start and kept in the file `admin-password` of
    /// `data_dir`, for its owner's eyes only; the log says where. On the command line it would be
    /// seen by every user of the machine: better give it in the environment or the file.
    #[arg(long, value_name = "PASSWORD", default_value = "", help_heading = ADMIN,
        hide_env_values = true)]
    pub admin_password: Secret,

    /// File with the password of the user `admin`, in its first line
    ///
    /// For secrets that are mounted as files, instead of `admin_password`; it must be there. Empty:
    /// see `admin_password`.
    #[arg(long, value_name = "FILE", default_value = "", help_heading = ADMIN,
        value_parser = parse_path_or_none)]
    pub admin_password_file: PathBuf,

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

    /// Serve addresses of providers that not all clients read
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

    /// Most records in an NDJSON answer, after filtering; 0 is 100,000
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
    pub announce_allowlist: PeerIds,

    /// Keys in one request to announce: at least 1; past it the answer is 413
    #[arg(long, value_name = "COUNT", default_value = "1000", help_heading = ANNOUNCING,
        hide_short_help = true)]
    pub announce_keys_max: usize,

    /// Announcements a minute that one peer may make, wherever it sends them from; 0 is no limit
    ///
    /// Past the limit it gets 429 with Retry-After. Kubo packs up to 100 keys into one.
    #[arg(long, value_name = "COUNT", default_value = "600", help_heading = ANNOUNCING)]
    pub announce_peer_rate_limit: u32,

    /// Keys that one peer may hold at one time by announcing itself; each announced record counts as 40
    ///
    /// Past it what it announces newly gets 507 with Retry-After; what it holds it may refresh.
    #[arg(long, value_name = "COUNT", default_value = "10000000", help_heading = ANNOUNCING,
        hide_short_help = true)]
    pub announce_peer_keys_max: u64,

    /// Keys that the peers of one network may hold together; each announced record counts as 40
    ///
    /// A network is an IPv4 /24 or an IPv6 /36. See also `index_memory_max`.
    #[arg(long, value_name = "COUNT", default_value = "20000000", help_heading = ANNOUNCING,
        hide_short_help = true)]
    pub announce_network_keys_max: u64,

    /// Providers of one key from one network, where it has more than 32: at least 32
    ///
    /// A network is an IPv4 /24 or an IPv6 /36. Past it those are kept that have been announced longest
    /// without a gap. The operator's imports are not counted.
    #[arg(long, value_name = "COUNT", default_value = "1000", help_heading = ANNOUNCING,
        hide_short_help = true)]
    pub announce_key_network_max: usize,

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
    /// Past it a record of a new name is refused with 503, unless expired ones can go, or it comes from a
    /// network with less than half as many as the heaviest one: then that one's record goes that expires
    /// first. A record has at most 10 KiB, and as a rule 400 bytes.
    #[arg(long, value_name = "COUNT", default_value = "100000", help_heading = NAMES,
        hide_short_help = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub ipns_records_max: u64,

    /// IPNS records that the clients of one network may have here: at least 1
    ///
    /// A network is an IPv4 /24 or an IPv6 /36. Past it a record of a new name is refused with 507, unless
    /// expired ones of the network can go; newer records of its names are taken. A router or a proxy that
    /// forwards records without naming its clients (see `trusted_proxies`) counts as one client.
    #[arg(long, value_name = "COUNT", default_value = "10000", help_heading = NAMES,
        hide_short_help = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub ipns_network_names_max: u64,

    /// Routers that are asked for what is not known here: `NAME=URL`, or a URL, named after its host
    ///
    /// The name is an account of the routing table. An upstream with options of its own is a section
    /// of the file, `[[upstream]]`; both may be there. A user name and a password in a URL are sent as
    /// Basic authentication. Empty is none.
    #[arg(long, value_name = "UPSTREAMS", default_value = "", help_heading = UPSTREAMS)]
    pub upstreams: UpstreamList,

    /// How long one request to an upstream may take, its answer included
    #[arg(long, value_name = "DURATION", default_value = "10s", help_heading = UPSTREAMS,
        hide_short_help = true, value_parser = parse_duration)]
    pub upstream_timeout: Duration,

    /// How long it may take to connect to an upstream, name resolution and TLS included
    #[arg(long, value_name = "DURATION", default_value = "3s", help_heading = UPSTREAMS,
        hide_short_help = true, value_parser = parse_duration)]
    pub upstream_connect_timeout: Duration,

    /// How long a JSON answer that has records waits for further upstreams
    ///
    /// An answer without records waits for all of them, up to `lookup_timeout`. A streamed answer
    /// holds nothing back.
    #[arg(long, value_name = "DURATION", default_value = "500ms", help_heading = UPSTREAMS,
        hide_short_help = true, value_parser = parse_duration)]
    pub upstream_gather_timeout: Duration,

    /// Keep addresses in upstreams' records that the public cannot reach: private, loopback, link-local
    #[arg(long, value_name = "BOOL", default_value = "false", help_heading = UPSTREAMS,
        hide_short_help = true, value_parser = BoolishValueParser::new(), action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true)]
    pub upstream_allow_private_addrs: bool,

    /// Bytes of memory for upstreams' answers; 0 keeps none
    #[arg(long, value_name = "BYTES", default_value = "67108864", help_heading = UPSTREAMS,
        hide_short_help = true)]
    pub upstream_cache_bytes: u64,

    /// How long an upstream's answer with records is used without asking again
    #[arg(long, value_name = "DURATION", default_value = "5m", help_heading = UPSTREAMS,
        hide_short_help = true, value_parser = parse_duration)]
    pub upstream_cache_found_max_age: Duration,

    /// How long an upstream's empty answer is used without asking again
    #[arg(long, value_name = "DURATION", default_value = "15s", help_heading = UPSTREAMS,
        hide_short_help = true, value_parser = parse_duration)]
    pub upstream_cache_empty_max_age: Duration,

    /// How long after that an answer is still used while the upstream is asked again
    #[arg(long, value_name = "DURATION", default_value = "10m", help_heading = UPSTREAMS,
        hide_short_help = true, value_parser = parse_duration)]
    pub upstream_cache_stale_while_revalidate: Duration,

    /// How long after that an answer with records is used when the upstream fails
    #[arg(long, value_name = "DURATION", default_value = "48h", help_heading = UPSTREAMS,
        hide_short_help = true, value_parser = parse_duration)]
    pub upstream_cache_stale_if_error: Duration,

    /// Name of this router in the paths of the routes that it advertises
    ///
    /// Letters, digits, `-`, `_`, `~`; capitals and dots do not count. Empty: one is made at the first
    /// start and kept.
    #[arg(long, value_name = "NAME", default_value = "", help_heading = ROUTES)]
    pub router_name: OptionalTarget,

    /// Parts of the key space that this router is authoritative for, advertised to peers: prefixes
    /// of lookup addresses
    ///
    /// Such as `g.providers.sha2-256.c`; empty is none.
    #[arg(long, value_name = "PREFIXES", default_value = "", help_heading = ROUTES)]
    pub advertise: Prefixes,

    /// Secret from which the `auth` of every route is made: 32 bytes or more
    ///
    /// Empty: a random one is made at the first start and kept. A shorter one is taken with a warning.
    #[arg(long, value_name = "SECRET", default_value = "", help_heading = ROUTES,
        hide_short_help = true, hide_env_values = true)]
    pub routing_secret: Secret,

    /// Requests a second that one client may make; 0 is no limit
    ///
    /// A client is an IPv4 address or an IPv6 /64 network. Past the limit it gets 429 with
    /// Retry-After.
    #[arg(long, value_name = "COUNT", default_value = "100", help_heading = RATE_LIMIT)]
    pub rate_limit: u32,

    /// Requests that one client may make at once before `rate_limit` holds it back
    ///
    /// A number from 1, or `auto`: five times `rate_limit`.
    #[arg(long, value_name = "COUNT", default_value = "auto", help_heading = RATE_LIMIT)]
    pub rate_limit_burst: Burst,

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

    /// The other servers: what the sections of the file and `upstreams` come to, put together when
    /// settings are loaded.
    #[arg(skip)]
    pub remotes: Remotes,
}

/// Shorter, a secret could be found by trying.
const ROUTING_SECRET_BYTES_MIN: usize = 32;

impl Settings {
    /// Settings that are legal but probably a mistake, for the log at startup.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let short = self.routing_secret.reveal().filter(|it| it.len() < ROUTING_SECRET_BYTES_MIN);
        let warn = |secret: &str| {
            format!(
                "routing_secret has {} bytes; with {ROUTING_SECRET_BYTES_MIN} or more it could not \
                 be found by trying",
                secret.len()
            )
        };
        short.map(warn).into_iter().collect()
    }
}

impl Default for Settings {
    /// The settings when nothing is given anywhere.
    fn default() -> Self {
        let matches = SettingsSchema::new().parse(std::iter::empty::<String>());
        Self::from_arg_matches(&matches).expect("the schema is made from this struct")
    }
}

/// A path as text: a file of settings could not carry any other.
fn parse_path(text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() { Err("an empty path") } else { Ok(PathBuf::from(text)) }
}

/// A path, or the empty one, which stands for none.
fn parse_path_or_none(text: &str) -> Result<PathBuf, Infallible> {
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_is_worth_a_warning_that_does_not_repeat_it() {
        let with = |secret: &str| Settings {
            routing_secret: secret.parse().unwrap(),
            ..Settings::default()
        };
        let warnings = with("hunter2").warnings();
        assert!(warnings[0].contains("has 7 bytes") && !warnings[0].contains("hunter2"));
        for secret in [String::new(), "x".repeat(32)] {
            assert_eq!(with(&secret).warnings(), Vec::<String>::new());
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let settings = Settings::default();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8190");
        assert_eq!(settings.admin_listen.to_string(), "127.0.0.1:8191");
        assert_eq!(settings.data_dir, PathBuf::from("./fingerpost-data"));
        assert_eq!(settings.workers, WorkerCount::Auto);
        assert_eq!(settings.empty_status, EmptyStatus::NotFound);
        assert_eq!(settings.record_schema, RecordSchema::Announced);
        assert_eq!((settings.json_records_max, settings.ndjson_records_max), (100, 1_000));
        assert_eq!(settings.cache_found_max_age, Duration::from_mins(5));
        assert_eq!(settings.cache_found_stale_if_error, Duration::from_hours(48));
        assert_eq!((settings.rate_limit, settings.rate_limit_burst), (100, Burst::Auto));
        assert_eq!(settings.rate_limit_exempt.to_string(), "127.0.0.0/8,::1/128");
        assert_eq!(
            (settings.ipns, settings.ipns_records_max, settings.ipns_network_names_max),
            (true, 100_000, 10_000)
        );
        assert!(settings.trusted_proxies.is_empty());
        assert_eq!(settings.announce, AnnounceMode::Signed);
        assert_eq!((settings.announce_keys_max, settings.announce_peer_rate_limit), (1_000, 600));
        assert_eq!(settings.announce_key_network_max, 1_000);
        assert_eq!(settings.announce_peer_keys_max, 10_000_000);
        assert_eq!(
            (settings.announce_network_keys_max, settings.index_memory_max),
            (20_000_000, 0)
        );
        assert_eq!(settings.announce_timestamp_age_max, Duration::from_hours(24));
        assert_eq!(settings.announce_timestamp_ahead_max, Duration::from_mins(5));
        assert_eq!(settings.announce_ttl_max, Duration::from_hours(48));
        assert!(settings.announce_allowlist.is_empty() && !settings.allow_private_addrs);
        assert_eq!(settings.log.to_string(), "info,actix_server=warn,actix_http=off");
        assert_eq!((settings.admin_password.reveal(), settings.metrics_auth), (None, false));
        assert_eq!(settings.import_idle_timeout, Duration::from_mins(1));
        assert!(settings.upstreams.is_empty() && settings.remotes == Remotes::default());
        assert_eq!(settings.upstream_timeout, Duration::from_secs(10));
        assert_eq!(settings.upstream_connect_timeout, Duration::from_secs(3));
        assert_eq!(settings.upstream_gather_timeout, Duration::from_millis(500));
        assert_eq!(settings.upstream_cache_bytes, 64 << 20);
        assert_eq!(settings.upstream_cache_found_max_age, Duration::from_mins(5));
        assert_eq!(settings.upstream_cache_empty_max_age, Duration::from_secs(15));
        assert_eq!(settings.upstream_cache_stale_while_revalidate, Duration::from_mins(10));
        assert_eq!(settings.upstream_cache_stale_if_error, Duration::from_hours(48));
        assert!(!settings.upstream_allow_private_addrs);
        assert_eq!((settings.router_name.get(), settings.routing_secret.reveal()), (None, None));
        assert!(settings.advertise.is_empty());
        assert_eq!(settings.admin_password_file, PathBuf::new());
        assert!(!settings.access_log && !settings.keep_unparsable_addrs);
    }
}
