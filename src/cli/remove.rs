//! `fingerpost remove`: removes what a provider announced, or what it announced under one context.
//!
//! Exit code 1 where there was nothing to remove: most likely a typo.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Method, StatusCode};
use tokio::runtime::Builder;

use super::admin_client::{AdminClient, RefusedRequest};
use super::data;
use crate::admin::RemovedGroups;
use crate::clock::Clock;
use crate::config::Settings;
use crate::http_client::ServerUrl;
use crate::store::ContextId;
use crate::types::PeerId;

/// What `fingerpost remove` takes beside the settings.
#[derive(Args, Debug)]
pub(super) struct RemoveArgs {
    /// Whose announcements
    #[arg(long, value_name = "PEERID", value_parser = parse_peer)]
    provider: PeerId,

    /// Only those under this context: multibase text, as an export names it
    #[arg(long, value_name = "CONTEXT", value_parser = parse_context)]
    context: Option<ContextId>,

    /// The admin listener of a running server to remove from, instead of the data directory
    #[arg(long, value_name = "URL", value_parser = ServerUrl::parse)]
    to: Option<ServerUrl>,
}

/// Removes, and says how much.
pub(super) fn run(
    args: &RemoveArgs,
    settings: &Settings,
    stdout: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let groups = runtime.block_on(async {
        match &args.to {
            Some(url) => at_server(args, &AdminClient::new("--to", url, settings)?).await,
            None => {
                let store = data::open(settings).await?.store;
                let (context, now_ms) = (args.context.as_ref(), Clock::System.now_ms());
                Ok(store.remove(&args.provider, context, now_ms).await?.groups)
            }
        }
    })?;
    let whose = whose(args);
    if groups == 0 {
        bail!("{whose} has nothing here");
    }
    let plural = if groups == 1 { "" } else { "s" };
    writeln!(stdout, "removed {groups} group{plural} of {whose}")?;
    Ok(ExitCode::SUCCESS)
}

async fn at_server(args: &RemoveArgs, client: &AdminClient) -> anyhow::Result<u64> {
    let context = args.context.as_ref().map(ContextId::to_text);
    let mut segments = vec!["admin", "providers", args.provider.as_str()];
    if let Some(context) = &context {
        segments.extend(["contexts", context]);
    }
    match client.json::<RemovedGroups>(client.request(Method::DELETE, client.url(&segments))).await
    {
        Ok(removed) => Ok(removed.groups),
        Err(error) => match error.downcast_ref::<RefusedRequest>() {
            // Another server's 404 is no problem of the admin API: it knows no such path.
            Some(refused) if refused.status == StatusCode::NOT_FOUND => match &refused.problem {
                Some(_) => Ok(0),
                None => Err(error),
            },
            Some(_) | None => Err(error),
        },
    }
}

fn whose(args: &RemoveArgs) -> String {
    match &args.context {
        Some(context) => format!("context {} of provider {}", context.to_text(), args.provider),
        None => format!("provider {}", args.provider),
    }
}

fn parse_peer(text: &str) -> Result<PeerId, crate::types::PeerIdError> {
    PeerId::parse(text)
}

fn parse_context(text: &str) -> Result<ContextId, crate::store::ContextIdError> {
    ContextId::from_text(text)
}
