//! `fingerpost lookup CID`: asks a Routing V1 server who has a CID.
//!
//! Records go to standard output: a table on a terminal, one line a record elsewhere, NDJSON with
//! `--json`. Messages go to standard error. The exit code is 0 when a provider was found, 1 when
//! none was, 2 when the question could not be answered. The CID is checked before anyone is asked.
//! What the router sent is untrusted and never reaches the terminal raw.

mod output;

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use reqwest::StatusCode;
use thiserror::Error;

use crate::http_client::{ClientOptions, HttpClientError, Redirects};
use crate::text::{printable, with_root_cause};
use crate::types::{ContentKey, KeyError};
use crate::upstream::{AnswerLimits, ProvidersAnswer, ProvidersQuery, RoutingClient};
use output::RecordFormat;

/// Where a Fingerpost of default settings listens.
const DEFAULT_ROUTER: &str = "http://127.0.0.1:8190";

/// How many redirects one request follows.
const REDIRECTS_MAX: usize = 3;

/// Asks a router who has a CID.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 providers found, 1 none found, 2 error.")]
pub(crate) struct LookupArgs {
    /// What to look up: a CID, version 0 (`Qm...`) or 1 in any base
    #[arg(value_name = "CID")]
    cid: String,
    /// The router to ask: the URL of any Routing V1 server, with or without `/routing/v1`
    #[arg(long, value_name = "URL", default_value = DEFAULT_ROUTER)]
    router: String,
    /// Print the records as NDJSON, one object a line, as the router sent them
    #[arg(long)]
    json: bool,
    /// The time for the whole request
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_timeout)]
    timeout: Duration,
    /// Only addresses with one of these multiaddr protocols (`!` before one: without it), such as
    /// `tcp,quic-v1,!p2p-circuit`; `unknown`: records without addresses too
    #[arg(long, value_name = "PROTOCOLS")]
    filter_addrs: Option<String>,
    /// Only records with one of these transfer protocols, such as `transport-bitswap`; `unknown`:
    /// records without protocols too
    #[arg(long, value_name = "PROTOCOLS")]
    filter_protocols: Option<String>,
}

/// How a lookup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookupOutcome {
    Found,
    NoneFound,
    Failed,
}

/// Why a lookup failed.
#[derive(Debug, Error)]
enum LookupError {
    #[error("`{}` is not a CID", printable(.cid))]
    Cid { cid: String, source: KeyError },
    #[error(transparent)]
    Router(#[from] HttpClientError),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
}

/// Looks up, prints, and says how it ended.
pub(crate) fn run(args: LookupArgs) -> anyhow::Result<ExitCode> {
    let stdout = io::stdout().lock();
    let format = match (args.json, stdout.is_terminal()) {
        (true, _) => RecordFormat::Json,
        (false, true) => RecordFormat::for_terminal(),
        (false, false) => RecordFormat::Lines,
    };
    let outcome = look_up(&args, format, &mut BufWriter::new(stdout), &mut io::stderr().lock());
    Ok(outcome.into())
}

impl From<LookupOutcome> for ExitCode {
    fn from(outcome: LookupOutcome) -> Self {
        Self::from(match outcome {
            LookupOutcome::Found => 0,
            LookupOutcome::NoneFound => 1,
            LookupOutcome::Failed => 2,
        })
    }
}

impl LookupError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Cid { cid, .. } if cid.contains('/') => {
                Some("give the CID alone, without `ipfs://`, `/ipfs/` or a path")
            }
            Self::Router(error) => advice(error),
            Self::Cid { .. } | Self::Runtime(_) | Self::Output(_) => None,
        }
    }

    /// The reader of standard output closed it, as `head` does.
    fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == ErrorKind::BrokenPipe)
    }
}

fn look_up(
    args: &LookupArgs,
    format: RecordFormat,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> LookupOutcome {
    match try_look_up(args, format, out, notes) {
        Ok(outcome) => outcome,
        Err(error) if error.is_broken_pipe() => LookupOutcome::Found,
        Err(error) => {
            note(notes, "error", &with_root_cause(&error));
            if let Some(advice) = error.advice() {
                note(notes, "hint", advice);
            }
            LookupOutcome::Failed
        }
    }
}

fn try_look_up(
    args: &LookupArgs,
    format: RecordFormat,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<LookupOutcome, LookupError> {
    let cid = args.cid.trim();
    ContentKey::from_cid_text(cid)
        .map_err(|source| LookupError::Cid { cid: cid.to_owned(), source })?;
    let options = ClientOptions {
        timeout: Some(args.timeout),
        // The user sees the answer and its source, so redirects may lead anywhere.
        redirects: Redirects::Anywhere { max: REDIRECTS_MAX },
        ..ClientOptions::default()
    };
    let client = RoutingClient::new(&args.router, options, AnswerLimits::default())?;
    let query = ProvidersQuery {
        cid_text: cid,
        filter_addrs: args.filter_addrs.as_deref(),
        filter_protocols: args.filter_protocols.as_deref(),
    };
    let answer = ask(&client, query)?;
    let router = client.url().as_str();
    note_defects(&answer, notes);
    if answer.records.is_empty() {
        note_none_found(&answer, query, router, notes);
        return Ok(LookupOutcome::NoneFound);
    }
    output::write_records(&answer.records, format, router, out)?;
    out.flush()?;
    Ok(LookupOutcome::Found)
}

fn ask(client: &RoutingClient, query: ProvidersQuery<'_>) -> Result<ProvidersAnswer, LookupError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LookupError::Runtime)?;
    let answer = runtime.block_on(client.providers(query));
    // A name resolution that hangs must not outlive the timeout.
    runtime.shutdown_background();
    Ok(answer?)
}

fn note_defects(answer: &ProvidersAnswer, notes: &mut impl Write) {
    if let Some(cut) = &answer.cut {
        note(notes, "warning", &format!("the answer is not whole: {}", with_root_cause(cut)));
    }
    if let Some(reason) = &answer.first_bad {
        let count = answer.records_bad;
        let message = format!("{count} unreadable records were left out, the first: {reason}");
        note(notes, "warning", &message);
    }
}

fn note_none_found(
    answer: &ProvidersAnswer,
    query: ProvidersQuery<'_>,
    router: &str,
    notes: &mut impl Write,
) {
    let is_filtered = query.filter_addrs.is_some() || query.filter_protocols.is_some();
    let scope = if is_filtered { " that passes the filters" } else { "" };
    let message = format!("no providers found: {router} knows none{scope} for {}", query.cid_text);
    // If standard error is closed, the failure cannot be reported.
    let _ = writeln!(notes, "{message}");
    if answer.is_web_page {
        let message =
            "the answer was a web page: check that the URL is that of a Routing V1 server";
        note(notes, "hint", message);
    }
}

fn note(notes: &mut impl Write, kind: &str, message: &str) {
    // If standard error is closed, the failure cannot be reported.
    let _ = writeln!(notes, "{kind}: {}", printable(message));
}

/// A hint for the user, if there is one.
fn advice(error: &HttpClientError) -> Option<&'static str> {
    match error {
        HttpClientError::BadUrl { .. } | HttpClientError::Redirect { .. } => None,
        HttpClientError::Setup(_) => {
            Some("install the system's root certificates (`ca-certificates`)")
        }
        HttpClientError::Connect { .. } => Some("check the URL, and that a router listens there"),
        HttpClientError::TimedOut { .. } => Some("give it more time, or ask another router"),
        HttpClientError::BrokeOff { .. } | HttpClientError::Packed { .. } => {
            Some("try again, or ask another router")
        }
        HttpClientError::Status { status, .. } => status_advice(*status),
        HttpClientError::Unusable { .. } => {
            Some("check that the URL is that of a Routing V1 server, not of a gateway or a page")
        }
        HttpClientError::TooLarge { .. } => Some("narrow the question with filters"),
    }
}

fn status_advice(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some("wait before asking again"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Some("the router does not answer everybody: ask its operator")
        }
        StatusCode::NOT_IMPLEMENTED => Some("the router does not offer provider lookups"),
        status if status.is_server_error() => Some("try again later, or ask another router"),
        _ => None,
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than nothing".to_owned()),
        Ok(timeout) => Ok(timeout),
        Err(error) => Err(format!("{error}; write `10s` or `500ms`")),
    }
}

#[cfg(test)]
mod tests;
