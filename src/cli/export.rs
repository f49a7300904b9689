//! `fingerpost export`: writes everything that a data directory or a running server holds, as
//! NDJSON that imports again.
//!
//! A file gets its name only when it is whole and on disk: until then it is called `.part`, and an
//! export that fails removes that. On standard output only the exit code tells whether the export
//! is whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use clap::Args;
use flate2::write::GzEncoder;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use indicatif::HumanCount;
use reqwest::Method;
use tokio::runtime::Builder;

use super::admin_client::AdminClient;
use super::data;
use crate::admin::write_export_line;
use crate::clock::Clock;
use crate::config::Settings;
use crate::http_client::ServerUrl;
use crate::ingest::{Compression, ImportKind};
use crate::store::Exported;

/// What `fingerpost export` takes beside the settings.
#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// The file to write, compressed if its name ends in .gz or .zst; standard output without it
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,

    /// The admin listener of a running server to export from, instead of the data directory
    #[arg(long, value_name = "URL", value_parser = ServerUrl::parse)]
    from: Option<ServerUrl>,
}

/// Pieces of NDJSON; an error is the last one.
type Pieces = BoxStream<'static, anyhow::Result<Bytes>>;

/// Exports, and says how much that was if it went to a file.
pub(super) fn run(args: &ExportArgs, settings: &Settings) -> anyhow::Result<ExitCode> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(async {
        let pieces = match &args.from {
            Some(url) => from_server(&AdminClient::new("--from", url, settings)?).await?,
            None => from_data_dir(settings).await?,
        };
        match &args.to {
            Some(path) => {
                let entries = to_file(pieces, path).await?;
                let entries = HumanCount(entries);
                writeln!(io::stderr(), "exported {entries} entries to {}", path.display())?;
            }
            None => {
                let mut stdout = BufWriter::new(io::stdout().lock());
                copy(pieces, &mut stdout).await?;
                stdout.flush()?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn from_server(client: &AdminClient) -> anyhow::Result<Pieces> {
    let answer = client.send(client.request(Method::GET, client.url(&["admin", "export"]))).await?;
    let pieces = client.pieces(answer);
    Ok(pieces.map_err(|error| anyhow!(error).context("the export was cut short")).boxed())
}

async fn from_data_dir(settings: &Settings) -> anyhow::Result<Pieces> {
    let stores = data::open(settings).await?;
    let entries = stores.store.export(Clock::System.now_ms());
    // The stores must live as long as the export.
    let pieces = stream::try_unfold((stores, entries), |(stores, mut entries)| async {
        let Some(next) = entries.next().await else { return Ok(None) };
        Ok(Some((lines(&next.context("the export was cut short")?), (stores, entries))))
    });
    Ok(pieces.boxed())
}

fn lines(entries: &[Exported]) -> Bytes {
    let mut lines = String::new();
    entries.iter().for_each(|entry| write_export_line(entry, &mut lines));
    lines.into()
}

/// Writes all pieces, and counts their lines.
async fn copy(mut pieces: Pieces, out: &mut dyn Write) -> anyhow::Result<u64> {
    let mut count = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        count += memchr::memchr_iter(b'\n', &piece).count() as u64;
        out.write_all(&piece)?;
    }
    Ok(count)
}

async fn to_file(pieces: Pieces, path: &Path) -> anyhow::Result<u64> {
    let mut part = OsString::from(path);
    part.push(".part");
    let part = PathBuf::from(part);
    let written = write_part(pieces, path, &part).await;
    let named = written.and_then(|entries| {
        fs::rename(&part, path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(entries)
    });
    if named.is_err() {
        // It may not exist; if removing fails, its name still says that it is not whole.
        let _ = fs::remove_file(&part);
    }
    named
}

async fn write_part(pieces: Pieces, path: &Path, part: &Path) -> anyhow::Result<u64> {
    let failed = || format!("cannot write {}", part.display());
    let file = File::create(part).with_context(failed)?;
    let mut out = Out::new(BufWriter::new(file), path).with_context(failed)?;
    let entries = copy(pieces, &mut out).await?;
    let file = out.finish().with_context(failed)?;
    file.sync_all().with_context(failed)?;
    Ok(entries)
}

/// A file, compressed as the ending of its name says.
enum Out {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

impl Out {
    fn new(file: BufWriter<File>, path: &Path) -> io::Result<Self> {
        let (_, compression): (ImportKind, _) = ImportKind::of_path(path);
        Ok(match compression {
            Compression::None => Self::Plain(file),
            Compression::Gzip => Self::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Compression::Zstd => {
                let level = zstd::DEFAULT_COMPRESSION_LEVEL;
                Self::Zstd(zstd::stream::write::Encoder::new(file, level)?)
            }
        })
    }

    fn finish(self) -> io::Result<File> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
