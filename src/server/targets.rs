//! Builds the configured targets: upstreams, fan-outs, endpoints of pools, and peers, each with its resolver.
//!
//! Nothing is queried while they are built. A client that cannot be set up is an error: a
//! configured but unusable upstream must not look like "none found".

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::clock::Clock;
use crate::config::{ClientSettings, RemoteUrl, Settings};
use crate::control::{EndpointParts, RuleResolver, Target, TargetKind, Targets};
use crate::http_client::ClientOptions;
use crate::metrics::Metrics;
use crate::resolve::{
    AnswerCache, CacheOptions, Fallback, FallbackParts, Fanout, FanoutOptions, FanoutParts,
    Resolver, Upstream,
};
use crate::store::IpnsStore;
use crate::types::{TargetId, UnparsableAddrs};
use crate::upstream::{
    AnswerLimits, RouterUrl, RoutingV1Upstream, UpstreamOffers, UpstreamOptions,
};

use super::{Parts, ServerError};

/// The configured targets.
pub(super) struct Configured {
    pub(super) targets: Targets,
    /// The resolver of the target `default`.
    pub(super) default: Arc<dyn Resolver>,
    pub(super) endpoints: Vec<EndpointParts>,
    /// The cache of upstreams' answers, shared by all targets.
    pub(super) cache: Arc<AnswerCache>,
}

/// Builds the configured targets.
pub(super) fn configured(settings: &Settings, parts: &Parts) -> Result<Configured, ServerError> {
    let maker = Maker::new(settings, parts);
    let mut targets = maker.upstreams()?;
    targets.extend(maker.fanouts(&targets));
    let peers = maker.peers()?;
    let default = maker.default_target(&targets);
    let local = maker.local_target();
    let resolver = default.resolver.clone();
    let all = targets
        .into_iter()
        .chain(peers)
        .chain([(own(TargetId::LOCAL), local), (own(TargetId::DEFAULT), default)]);
    let endpoints = maker.endpoints()?;
    let rules = maker.rules();
    Ok(Configured {
        targets: Targets::new(all, rules),
        default: resolver,
        endpoints,
        cache: maker.cache,
    })
}

struct Maker<'a> {
    settings: &'a Settings,
    local: Arc<dyn Resolver>,
    ipns: Arc<dyn IpnsStore>,
    metrics: Arc<Metrics>,
    clock: Clock,
    cache: Arc<AnswerCache>,
    runtime: Handle,
}

impl<'a> Maker<'a> {
    fn new(settings: &'a Settings, parts: &Parts) -> Self {
        let cache = AnswerCache::new(CacheOptions {
            bytes_max: settings.upstream_cache_bytes,
            found_fresh: settings.upstream_cache_found_max_age,
            empty_fresh: settings.upstream_cache_empty_max_age,
            stale_while_revalidate: settings.upstream_cache_stale_while_revalidate,
            stale_if_error: settings.upstream_cache_stale_if_error,
            ..CacheOptions::default()
        });
        Self {
            settings,
            local: parts.local.clone(),
            ipns: parts.ipns.clone(),
            metrics: parts.metrics.clone(),
            clock: parts.clock.clone(),
            cache: Arc::new(cache),
            runtime: Handle::current(),
        }
    }

    fn upstreams(&self) -> Result<Vec<(TargetId, Target)>, ServerError> {
        let upstreams = self.settings.remotes.upstreams.iter();
        upstreams
            .map(|upstream| {
                let name = upstream.name.clone();
                let upstream = self.upstream(self.upstream_options(
                    &name,
                    &upstream.url,
                    &upstream.client,
                )?)?;
                let made = self.made(TargetKind::Upstream, &name, None, vec![upstream]);
                Ok((name, made))
            })
            .collect()
    }

    fn fanouts(&self, upstreams: &[(TargetId, Target)]) -> Vec<(TargetId, Target)> {
        let fanouts = self.settings.remotes.fanouts.iter();
        fanouts
            .map(|fanout| {
                let has_local = fanout.accounts.iter().any(|it| *it == own(TargetId::LOCAL));
                let named = upstreams
                    .iter()
                    .filter(|(name, _)| fanout.accounts.iter().any(|it| it == name));
                let asked = named.flat_map(|(_, target)| target.upstreams.clone()).collect();
                let local = has_local.then(|| self.local.clone());
                (fanout.name.clone(), self.made(TargetKind::Fanout, &fanout.name, local, asked))
            })
            .collect()
    }

    /// The local index and its upstreams, followed by the fallback upstreams.
    fn default_target(&self, upstreams: &[(TargetId, Target)]) -> Target {
        let settings = self.settings.remotes.upstreams.iter().filter(|upstream| upstream.default);
        let (last, first): (Vec<_>, Vec<_>) = settings.partition(|upstream| upstream.fallback);
        let asked = |part: Vec<&crate::config::UpstreamSettings>| -> Vec<Arc<dyn Upstream>> {
            let is_part = |name: &TargetId| part.iter().any(|upstream| upstream.name == *name);
            let named = upstreams.iter().filter(|(name, _)| is_part(name));
            named.flat_map(|(_, target)| target.upstreams.clone()).collect()
        };
        let (first, last) = (asked(first), asked(last));
        if first.is_empty() && last.is_empty() {
            return Self::with_local(TargetKind::Default, self.local.clone(), Vec::new());
        }
        let asks: Vec<_> = first.iter().chain(&last).cloned().collect();
        let with_local =
            |asked| self.fanout(&own(TargetId::DEFAULT), Some(self.local.clone()), asked);
        // Without upstreams this is the local index itself.
        let (is_first_local, first) = (first.is_empty(), with_local(first));
        let resolver = if last.is_empty() {
            first
        } else {
            let then = self.fanout(&own(TargetId::FALLBACK), None, last);
            let names = with_local(asks.clone());
            Arc::new(Fallback::new(FallbackParts { first, is_first_local, then, names }))
        };
        Self::with_local(TargetKind::Default, resolver, asks)
    }

    fn local_target(&self) -> Target {
        Self::with_local(TargetKind::Local, self.local.clone(), Vec::new())
    }

    /// The peers, to which dynamic routes lead.
    fn peers(&self) -> Result<Vec<(TargetId, Target)>, ServerError> {
        let peers = self.settings.remotes.peers.iter();
        peers
            .map(|peer| {
                let upstream =
                    self.upstream(self.upstream_options(&peer.name, &peer.url, &peer.client)?)?;
                let made = self.made(TargetKind::Peer, &peer.name, None, vec![upstream]);
                Ok((peer.name.clone(), made))
            })
            .collect()
    }

    fn endpoints(&self) -> Result<Vec<EndpointParts>, ServerError> {
        let endpoints = self.settings.remotes.endpoints.iter();
        endpoints
            .map(|endpoint| {
                let options =
                    self.upstream_options(&endpoint.name, &endpoint.url, &endpoint.client)?;
                Ok(EndpointParts {
                    name: endpoint.name.to_string(),
                    daily_volume: endpoint.daily_volume,
                    hourly_rate: endpoint.hourly_rate,
                    pool: endpoint.only_pool().map(str::to_owned),
                    upstream: self.upstream(UpstreamOptions { is_metered: true, ..options })?,
                })
            })
            .collect()
    }

    /// How routing rules become resolvers.
    fn rules(&self) -> RuleResolver {
        let (cache, ipns, clock) = (self.cache.clone(), self.ipns.clone(), self.clock.clone());
        let (options, metrics, runtime) =
            (self.options(), self.metrics.clone(), self.runtime.clone());
        Box::new(move |target, upstream| {
            Arc::new(Fanout::new(FanoutParts {
                target: target.clone(),
                local: None,
                upstreams: vec![upstream],
                ipns: ipns.clone(),
                cache: cache.clone(),
                options,
                clock: clock.clone(),
                counts: metrics.answers().clone(),
                runtime: runtime.clone(),
            }))
        })
    }

    fn made(
        &self,
        kind: TargetKind,
        name: &TargetId,
        local: Option<Arc<dyn Resolver>>,
        upstreams: Vec<Arc<dyn Upstream>>,
    ) -> Target {
        if local.is_some() {
            return Self::with_local(kind, self.fanout(name, local, upstreams.clone()), upstreams);
        }
        let resolver = self.fanout(name, None, upstreams.clone());
        let asks = upstreams.iter().map(|it| it.id().clone()).collect();
        Target { kind, resolver, asks, upstreams }
    }

    /// A target whose resolver asks the local index and these upstreams.
    fn with_local(
        kind: TargetKind,
        resolver: Arc<dyn Resolver>,
        upstreams: Vec<Arc<dyn Upstream>>,
    ) -> Target {
        let asks = upstreams.iter().map(|it| it.id().clone());
        let asks = std::iter::once(own(TargetId::LOCAL)).chain(asks).collect();
        Target { kind, resolver, asks, upstreams }
    }

    fn fanout(
        &self,
        name: &TargetId,
        local: Option<Arc<dyn Resolver>>,
        upstreams: Vec<Arc<dyn Upstream>>,
    ) -> Arc<dyn Resolver> {
        Arc::new(Fanout::new(FanoutParts {
            target: name.clone(),
            local,
            upstreams,
            ipns: self.ipns.clone(),
            cache: self.cache.clone(),
            options: self.options(),
            clock: self.clock.clone(),
            counts: self.metrics.answers().clone(),
            runtime: self.runtime.clone(),
        }))
    }

    fn options(&self) -> FanoutOptions {
        let gather_timeout = self.settings.upstream_gather_timeout;
        FanoutOptions { gather_timeout, ..FanoutOptions::default() }
    }

    fn upstream_options(
        &self,
        name: &TargetId,
        url: &RemoteUrl,
        client: &ClientSettings,
    ) -> Result<UpstreamOptions, ServerError> {
        let url = RouterUrl::parse(url.reveal())
            .map_err(|source| ServerError::Upstream { name: name.clone(), source })?;
        let defaults = UpstreamOptions::new(name.clone(), url);
        Ok(UpstreamOptions {
            client: ClientOptions {
                timeout: Some(client.timeout),
                connect_timeout: client.connect_timeout,
                ..defaults.client
            },
            limits: AnswerLimits {
                body_bytes_max: client.body_bytes_max,
                records_max: client.records_max,
                ..defaults.limits
            },
            requests_max: client.concurrency,
            schema: self.settings.record_schema.into(),
            unparsable_addrs: if self.settings.keep_unparsable_addrs {
                UnparsableAddrs::Keep
            } else {
                UnparsableAddrs::Drop
            },
            allow_private_addrs: client.allow_private_addrs,
            offers: UpstreamOffers {
                providers: client.providers,
                peers: client.peers,
                ipns: client.ipns,
            },
            ..defaults
        })
    }

    fn upstream(&self, options: UpstreamOptions) -> Result<Arc<dyn Upstream>, ServerError> {
        let name = options.id.clone();
        RoutingV1Upstream::new(options, self.clock.clone(), &self.metrics)
            .map(|upstream| Arc::new(upstream) as Arc<dyn Upstream>)
            .map_err(|source| ServerError::Upstream { name, source })
    }
}

fn own(name: &str) -> TargetId {
    TargetId::parse(name).expect("it is a legal name")
}
