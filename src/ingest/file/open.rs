//! Opens a source: decompression, and a check of the first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::{DeclaredBy, ImportSource};
use crate::ingest::error::ImportError;
use crate::ingest::import::BytesRead;
use crate::ingest::options::{Compression, ImportKind};

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// The largest window of a zstd frame: 128 MiB, what the `zstd` tool itself accepts unasked.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Bytes that suffice to identify a file's kind.
const HEAD_BYTES: usize = 16;

impl ImportSource {
    /// Opens a file; the path `-` is standard input.
    pub(crate) fn open(path: &Path) -> Result<Self, ImportError> {
        let (kind, compression) = ImportKind::of_path(path);
        if path.as_os_str() == "-" {
            let reader = Box::new(io::stdin());
            let name = "standard input".into();
            let declared_by = DeclaredBy::Name;
            return Ok(Self { name, kind, compression, declared_by, size_bytes: None, reader });
        }
        let name: Arc<str> = path.display().to_string().into();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) =
            opened.map_err(|source| ImportError::Open { file: Arc::clone(&name), source })?;
        let size_bytes = metadata.is_file().then_some(metadata.len());
        let reader = Box::new(file);
        Ok(Self { name, kind, compression, declared_by: DeclaredBy::Name, size_bytes, reader })
    }

    /// NDJSON in memory.
    pub fn ndjson(name: &str, bytes: Vec<u8>) -> Self {
        Self::memory(name, ImportKind::Ndjson, bytes)
    }

    /// A CAR in memory.
    pub fn car(name: &str, bytes: Vec<u8>) -> Self {
        Self::memory(name, ImportKind::Car, bytes)
    }

    fn memory(name: &str, kind: ImportKind, bytes: Vec<u8>) -> Self {
        Self {
            name: name.into(),
            kind,
            compression: Compression::None,
            declared_by: DeclaredBy::Name,
            size_bytes: Some(bytes.len() as u64),
            reader: Box::new(Cursor::new(bytes)),
        }
    }
}

/// The declared kind of a source.
#[derive(Clone, Copy)]
pub(super) struct Declared {
    pub(super) kind: ImportKind,
    pub(super) compression: Compression,
    pub(super) declared_by: DeclaredBy,
}

/// The uncompressed content, and the position in the compressed one.
pub(super) fn content(
    name: &Arc<str>,
    declared: Declared,
    reader: Box<dyn Read + Send>,
) -> Result<(Box<dyn BufRead>, BytesRead), ImportError> {
    let position = BytesRead::default();
    let counting = Counting { reader, position: Rc::clone(&position) };
    let format = |reason| ImportError::Format { file: Arc::clone(name), reason };
    let read = |source| ImportError::read(name, 0, "its first bytes", source);

    let raw = BufReader::with_capacity(BUFFER_BYTES, counting);
    let (head, raw) = look_ahead(raw).map_err(read)?;
    check_compression(&head, declared).map_err(format)?;
    let plain = decompress(raw, declared.compression).map_err(read)?;
    let (head, plain) = look_ahead(plain).map_err(read)?;
    check_kind(&head, declared).map_err(format)?;
    Ok((Box::new(plain), position))
}

fn decompress(
    raw: impl BufRead + 'static,
    compression: Compression,
) -> io::Result<Box<dyn BufRead>> {
    Ok(match compression {
        Compression::None => Box::new(raw),
        Compression::Gzip => {
            let decoder = flate2::bufread::MultiGzDecoder::new(raw);
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
    })
}

/// The first bytes, and a reader that still begins with them.
fn look_ahead<R: BufRead>(mut reader: R) -> io::Result<(Vec<u8>, impl BufRead + use<R>)> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    reader.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}

fn check_compression(head: &[u8], declared: Declared) -> Result<(), String> {
    let Declared { compression, declared_by, .. } = declared;
    let found = if head.starts_with(GZIP_MAGIC) {
        Compression::Gzip
    } else if head.starts_with(ZSTD_MAGIC) {
        Compression::Zstd
    } else {
        Compression::None
    };
    // Skippable frames may come before the first one with the magic number.
    let is_zstd = found == Compression::Zstd || is_skippable_frame(head);
    if found == compression || (compression == Compression::Zstd && is_zstd) {
        return Ok(());
    }
    match found {
        Compression::Gzip => Err(undeclared("gzip", ".gz", declared_by)),
        Compression::Zstd => Err(undeclared("zstd", ".zst", declared_by)),
        Compression::None if compression == Compression::Gzip => {
            Err(mislabelled("gzip", ".gz", declared_by))
        }
        Compression::None => Err(mislabelled("zstd", ".zst", declared_by)),
    }
}

fn is_skippable_frame(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

fn undeclared(tool: &str, ending: &str, declared_by: DeclaredBy) -> String {
    match declared_by {
        DeclaredBy::Name => format!(
            "it is compressed with {tool}, but its name does not end in `{ending}`: rename it, or \
             decompress it first"
        ),
        DeclaredBy::Headers => {
            format!("it is compressed with {tool}: say so with `Content-Encoding: {tool}`")
        }
    }
}

fn mislabelled(tool: &str, ending: &str, declared_by: DeclaredBy) -> String {
    match declared_by {
        DeclaredBy::Name => {
            format!("its name ends in `{ending}`, but it is not compressed with {tool}: rename it")
        }
        DeclaredBy::Headers => {
            format!("it is not compressed with {tool}, though Content-Encoding says so")
        }
    }
}

fn check_kind(head: &[u8], declared: Declared) -> Result<(), String> {
    let advice = match (declared.kind, declared.declared_by) {
        (ImportKind::Ndjson, _) if !looks_like_car(head) => return Ok(()),
        (ImportKind::Car, _) if !looks_like_json(head) => return Ok(()),
        (ImportKind::Ndjson, DeclaredBy::Name) => {
            "it is a CAR file, but its name does not end in `.car`: rename it (`.car.gz` or \
             `.car.zst` if it is compressed)"
        }
        (ImportKind::Car, DeclaredBy::Name) => {
            "its name ends in `.car`, but it holds JSON: rename it to `.ndjson`"
        }
        (ImportKind::Ndjson, DeclaredBy::Headers) => {
            "it is a CAR: say so with `Content-Type: application/vnd.ipld.car`"
        }
        (ImportKind::Car, DeclaredBy::Headers) => "it holds JSON, though Content-Type says CAR",
    };
    Err(advice.to_owned())
}

/// A varint, then a CBOR map whose first key is one of the two that a CAR's header has.
fn looks_like_car(head: &[u8]) -> bool {
    let Ok((_, header)) = unsigned_varint::decode::u64(head) else { return false };
    match header {
        [0xa1 | 0xa2, key @ ..] => key.starts_with(b"\x65roots") || key.starts_with(b"\x67version"),
        _ => false,
    }
}

fn looks_like_json(head: &[u8]) -> bool {
    match head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head).trim_ascii_start() {
        [b'{', next, ..] => matches!(next, b'"' | b'}') || next.is_ascii_whitespace(),
        _ => false,
    }
}

struct Counting<R> {
    reader: R,
    position: BytesRead,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.reader.read(buffer)?;
        self.position.set(self.position.get() + bytes as u64);
        Ok(bytes)
    }
}
