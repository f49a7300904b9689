//! `fingerpost routes`: who answers which lookups, on a running server: the routing table (`table`) and
//! pools of endpoints with budgets (`pools`).
//!
//! A table on a terminal; a line for each thing elsewhere, with tabs between what it has; with `--json`
//! what the server answers, as it came. Exit code 1 where the server says no.

mod output;
mod pools;
mod table;

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tokio::runtime::Builder;

use super::admin_client::AdminClient;
use crate::config::Settings;
use crate::http_client::ServerUrl;
use output::RouteFormat;

/// The flag that names the server.
const SERVER_FLAG: &str = "--server";

/// The longest list that is read, in bytes: a hundred thousand routes.
const LIST_BYTES_MAX: usize = 64 << 20;

/// What `fingerpost routes` takes beside the settings.
#[derive(Args, Debug)]
pub(super) struct RoutesArgs {
    /// The server's admin listener; without it the one that the setting admin_listen names
    #[arg(long, value_name = "URL", global = true, value_parser = ServerUrl::parse)]
    server: Option<ServerUrl>,

    /// Print what the server answers, as JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: RoutesCommand,
}

#[derive(Debug, Subcommand)]
enum RoutesCommand {
    /// List the routes: which part of the key space is answered by which account
    List(table::RouteListArgs),
    /// Tell who would answer a lookup, and why, without asking anybody
    Explain(table::ExplainArgs),
    /// Set a static route: send a part of the key space, or one CID, to an account
    Set(table::SetArgs),
    /// Remove a static route; what else there is for that part of the key space holds again at once
    Remove(table::RouteRemoveArgs),
    /// See and change pools of metered endpoints with budgets
    #[command(subcommand)]
    Pools(pools::PoolsCommand),
}

/// What a command works with.
struct Session<'a> {
    client: AdminClient,
    format: RouteFormat,
    out: &'a mut dyn Write,
    /// Where warnings go.
    err: &'a mut dyn Write,
}

/// Asks the server, and prints what it says.
pub(super) fn run(
    args: &RoutesArgs,
    settings: &Settings,
    stdout: &mut (impl Write + IsTerminal),
    stderr: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let url = match &args.server {
        Some(url) => url.clone(),
        None => url_of(settings)?,
    };
    let format = match (args.json, stdout.is_terminal()) {
        (true, _) => RouteFormat::Json,
        (false, true) => RouteFormat::Table,
        (false, false) => RouteFormat::Lines,
    };
    let client = AdminClient::new(SERVER_FLAG, &url, settings)?;
    let mut session = Session { client, format, out: stdout, err: stderr };
    let runtime =
        Builder::new_current_thread().enable_all().build().context("cannot set up the network")?;
    runtime.block_on(session.execute(&args.command))?;
    session.out.flush()?;
    Ok(ExitCode::SUCCESS)
}

impl Session<'_> {
    async fn execute(&mut self, command: &RoutesCommand) -> anyhow::Result<()> {
        match command {
            RoutesCommand::List(args) => table::list(self, args).await,
            RoutesCommand::Explain(args) => table::explain(self, args).await,
            RoutesCommand::Set(args) => table::set(self, args).await,
            RoutesCommand::Remove(args) => table::remove(self, args).await,
            RoutesCommand::Pools(command) => pools::execute(self, command).await,
        }
    }
}

/// The URL of the admin listener of a server on this machine with these settings.
fn url_of(settings: &Settings) -> anyhow::Result<ServerUrl> {
    let mut addr = settings.admin_listen;
    if addr.port() == 0 {
        bail!("admin_listen leaves the port open: name the server with {SERVER_FLAG}");
    }
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Ok(ServerUrl::parse(&format!("http://{addr}"))?)
}

#[cfg(test)]
mod tests;
