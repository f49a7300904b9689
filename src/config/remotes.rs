//! The other servers: upstreams, fan-outs of several, endpoints of pools, peer routers. Each is a
//! section of the file, an array of tables: `[[upstream]]`.
//!
//! Each field is a key of its section and its comment is what the example file says. A key without a
//! default has to be there, but for those that [`SectionKind::inherited`] names: a flat setting is
//! their default. What keys and sections forbid each other is in `remotes/rules.rs`.

mod rules;
mod section;
mod write;

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use super::duration::parse_duration;
use super::list::{Prefixes, TargetList};
use super::optional_target::OptionalTarget;
use super::remote_url::RemoteUrl;
use super::secret::Secret;
use crate::types::TargetId;

pub(crate) use section::EffectiveSection;
pub(super) use section::{Section, SectionKind, combine};
pub(super) use write::example;

/// All other servers that the settings name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Remotes {
    /// Routers that lookups can be sent to: those of `[[upstream]]`, then those of `upstreams`.
    pub upstreams: Vec<UpstreamSettings>,
    /// Several of them under one name.
    pub fanouts: Vec<FanoutSettings>,
    /// Metered routers, from which pools are made.
    pub endpoints: Vec<EndpointSettings>,
    /// Routers that advertise which part of the key space they are authoritative for.
    pub peers: Vec<PeerSettings>,
}

/// How a server is asked.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct ClientSettings {
    /// How long one request may take, its answer included
    ///
    /// Without it `upstream_timeout` holds.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Duration,

    /// How long it may take to connect, name resolution and TLS included
    ///
    /// Without it `upstream_connect_timeout` holds.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub connect_timeout: Duration,

    /// Requests under way at once: at least 1
    ///
    /// Past it lookups wait their turn for up to a second, then this server is left out.
    #[arg(long, value_name = "COUNT", default_value = "128")]
    pub concurrency: usize,

    /// Records that are taken of one answer: at least 1
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub records_max: usize,

    /// Bytes that are read of one answer, unpacked: at least 1
    #[arg(long, value_name = "BYTES", default_value = "4194304")]
    pub body_bytes_max: usize,

    /// Keep addresses in its records that the public cannot reach: private, loopback, link-local
    ///
    /// Without it `upstream_allow_private_addrs` holds.
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new(),
        action = ArgAction::Set, hide_possible_values = true)]
    pub allow_private_addrs: bool,

    /// Ask it for providers
    #[arg(long, value_name = "BOOL", default_value = "true",
        value_parser = BoolishValueParser::new(), action = ArgAction::Set,
        hide_possible_values = true)]
    pub providers: bool,

    /// Ask it for peers
    #[arg(long, value_name = "BOOL", default_value = "true",
        value_parser = BoolishValueParser::new(), action = ArgAction::Set,
        hide_possible_values = true)]
    pub peers: bool,

    /// Ask it for IPNS records, and pass on to it those that are put
    #[arg(long, value_name = "BOOL", default_value = "true",
        value_parser = BoolishValueParser::new(), action = ArgAction::Set,
        hide_possible_values = true)]
    pub ipns: bool,
}

/// A router that lookups can be sent to.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct UpstreamSettings {
    /// Its name, an account of the routing table: letters, digits, `-`, `_`, `~`
    ///
    /// Capitals and dots do not count. Names of upstreams, fan-outs and peers are all different;
    /// integers, `local`, `discard`, `default` and `dht` mean something else.
    #[arg(long, value_name = "NAME", value_parser = TargetId::parse)]
    pub name: TargetId,

    /// Where its Routing V1 API is, with or without `/routing/v1`
    ///
    /// A user name and a password in it are sent as Basic authentication.
    #[arg(long, value_name = "URL")]
    pub url: RemoteUrl,

    /// Ask it for whatever no route sends elsewhere: it is part of the account `default`
    #[arg(long, value_name = "BOOL", default_value = "true",
        value_parser = BoolishValueParser::new(), action = ArgAction::Set,
        hide_possible_values = true)]
    pub default: bool,

    /// Of the account `default`, ask it only for what the others do not know
    #[arg(long, value_name = "BOOL", default_value = "false",
        value_parser = BoolishValueParser::new(), action = ArgAction::Set,
        hide_possible_values = true)]
    pub fallback: bool,

    /// How it is asked.
    #[command(flatten)]
    pub client: ClientSettings,
}

/// Several accounts under one name.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct FanoutSettings {
    /// Its name, an account of the routing table
    #[arg(long, value_name = "NAME", value_parser = TargetId::parse)]
    pub name: TargetId,

    /// Who is asked, all at once: names of upstreams, and `local` for what is known here
    #[arg(long, value_name = "ACCOUNTS")]
    pub accounts: TargetList,
}

/// A metered router.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct EndpointSettings {
    /// Its name; its spent budget is kept under it
    #[arg(long, value_name = "NAME", value_parser = TargetId::parse)]
    pub name: TargetId,

    /// Where its Routing V1 API is, with or without `/routing/v1`
    ///
    /// A user name and a password in it are sent as Basic authentication.
    #[arg(long, value_name = "URL")]
    pub url: RemoteUrl,

    /// Requests that it may be sent in a day of UTC: at least 1
    #[arg(long, value_name = "COUNT")]
    pub daily_volume: u64,

    /// Requests that it may be sent in an hour: at least 1
    #[arg(long, value_name = "COUNT")]
    pub hourly_rate: u64,

    /// The name of the only pool that may have it; empty: any
    #[arg(long, value_name = "NAME", default_value = "")]
    pub pool: String,

    /// How it is asked.
    #[command(flatten)]
    pub client: ClientSettings,
}

/// A peer router.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct PeerSettings {
    /// Its name: the account that its routes lead to, and the user name of its requests to us
    ///
    /// Not `admin`, which is the operator's.
    #[arg(long, value_name = "NAME", value_parser = TargetId::parse)]
    pub name: TargetId,

    /// Where its Routing V1 API is: lookups go there
    #[arg(long, value_name = "URL")]
    pub url: RemoteUrl,

    /// Where its admin listener is: routes are sent there
    #[arg(long, value_name = "URL")]
    pub admin_url: RemoteUrl,

    /// Our user name there; empty: `router_name`
    #[arg(long, value_name = "NAME", default_value = "")]
    pub user: OptionalTarget,

    /// The password between it and us, the same on both sides
    #[arg(long, value_name = "PASSWORD", hide_env_values = true)]
    pub password: Secret,

    /// The parts of the key space that it may be authoritative for: prefixes, each with all that is
    /// below it
    #[arg(long, value_name = "PREFIXES")]
    pub accept: Prefixes,

    /// Routes of it that are kept: at least 1; what is more is dropped
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub routes_max: usize,

    /// How it is asked.
    #[command(flatten)]
    pub client: ClientSettings,
}

impl EndpointSettings {
    /// The name of the only pool that may have it; `None`: any.
    pub(crate) fn only_pool(&self) -> Option<&str> {
        Some(self.pool.as_str()).filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests;
