//! An answer whose head has arrived: its status, its headers, and its body, decompressed as it is
//! read.
//!
//! The body's encoding is examined only when the body is read: a 404 with an unknown encoding is
//! still a 404. Memory is bounded by one chunk of the network and the output of one gzip step (32
//! KiB).

use std::io::{self, Write};
use std::time::Duration;

use bytes::{Buf, Bytes};
use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use reqwest::{Response, StatusCode};
use tokio::time;

use crate::media;
use crate::text::printable;

/// How much of an error's body is read for its first line: the bound of our own errors.
pub(crate) const ERROR_TEXT_BYTES_MAX: usize = 1024;

/// The timeout of reading that line: it comes with the head or right after it, and the error does
/// not depend on it.
const ERROR_TEXT_WAIT: Duration = Duration::from_millis(250);

/// An answer. Dropping it closes the request.
pub(crate) struct HttpAnswer {
    response: Response,
    /// `None` until the body is read for the first time.
    unpacking: Option<Unpacking>,
}

/// The encoding of the body.
enum Unpacking {
    Plain,
    Gzip(Box<Gunzip>),
}

/// Decompresses pushed chunks, a step at a time.
struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    packed: Bytes,
    is_empty: bool,
}

/// Why reading a body failed.
pub(super) enum ReadError {
    Http(reqwest::Error),
    Unpack(io::Error),
}

impl HttpAnswer {
    pub(super) fn new(response: Response) -> Self {
        Self { response, unpacking: None }
    }

    /// Its status.
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The value of a header; the first, if there are several.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&[u8]> {
        self.response.headers().get(name).map(|value| value.as_bytes())
    }

    /// The value of `Content-Type`, where it is text.
    pub(crate) fn content_type(&self) -> Option<&str> {
        self.response.headers().get(CONTENT_TYPE)?.to_str().ok()
    }

    /// Whether the body is a web page: the server is most likely no API.
    pub(crate) fn is_web_page(&self) -> bool {
        let essence = media::essence(self.header(CONTENT_TYPE).unwrap_or_default());
        matches!(&*essence, "text/html" | "application/xhtml+xml")
    }

    /// The next chunk of the body, decompressed; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        let unpacking = match &mut self.unpacking {
            Some(unpacking) => unpacking,
            none => none.insert(Unpacking::of(&self.response).map_err(ReadError::Unpack)?),
        };
        let gunzip = match unpacking {
            Unpacking::Plain => return self.response.chunk().await.map_err(ReadError::Http),
            Unpacking::Gzip(gunzip) => gunzip,
        };
        loop {
            if let Some(piece) = gunzip.step().map_err(ReadError::Unpack)? {
                return Ok(Some(piece));
            }
            match self.response.chunk().await.map_err(ReadError::Http)? {
                Some(packed) => gunzip.push(packed),
                None => return gunzip.finish().map_err(ReadError::Unpack),
            }
        }
    }

    /// The first line of the body, or the part that arrived in time; printable, empty if it cannot
    /// be read.
    pub(super) async fn first_line(mut self) -> String {
        let mut body = Vec::new();
        let read = async {
            while body.len() < ERROR_TEXT_BYTES_MAX && !body.contains(&b'\n') {
                match self.chunk().await {
                    Ok(Some(bytes)) => body.extend(bytes.iter().take(ERROR_TEXT_BYTES_MAX)),
                    Ok(None) | Err(_) => break,
                }
            }
        };
        // On timeout or error, what was read until then counts.
        let _ = time::timeout(ERROR_TEXT_WAIT, read).await;
        body.truncate(ERROR_TEXT_BYTES_MAX);
        let text = String::from_utf8_lossy(&body);
        printable(text.lines().next().unwrap_or_default().trim()).into_owned()
    }
}

impl Unpacking {
    fn of(response: &Response) -> io::Result<Self> {
        let values = response.headers().get_all(CONTENT_ENCODING);
        let all = values.iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let all = all.collect::<Vec<_>>().join(",").to_ascii_lowercase();
        let mut codings = all.split(',').map(str::trim);
        let mut codings = codings.by_ref().filter(|coding| !matches!(*coding, "" | "identity"));
        match (codings.next(), codings.next()) {
            (None, _) => Ok(Self::Plain),
            (Some("gzip" | "x-gzip"), None) => Ok(Self::Gzip(Box::new(Gunzip::new()))),
            _ => Err(io::Error::other(format!("its Content-Encoding is `{}`", printable(&all)))),
        }
    }
}

impl Gunzip {
    fn new() -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), packed: Bytes::new(), is_empty: true }
    }

    /// Takes the next chunk; the previous one must be consumed.
    fn push(&mut self, packed: Bytes) {
        debug_assert!(self.packed.is_empty(), "the piece before is not used up");
        self.is_empty &= packed.is_empty();
        self.packed = packed;
    }

    /// The next output; `None`: push more first.
    fn step(&mut self) -> io::Result<Option<Bytes>> {
        while self.decoder.get_ref().is_empty() {
            if self.packed.is_empty() {
                return Ok(None);
            }
            match self.decoder.write(&self.packed)? {
                0 => return Err(io::Error::other("the gzip data stands still")),
                taken => self.packed.advance(taken),
            }
        }
        Ok(Some(self.take()))
    }

    /// The output that remains at the end of the body. An empty body is not gzip data, and no
    /// error.
    fn finish(&mut self) -> io::Result<Option<Bytes>> {
        if self.is_empty {
            return Ok(None);
        }
        self.decoder.try_finish()?;
        let last = self.take();
        Ok((!last.is_empty()).then_some(last))
    }

    fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(self.decoder.get_mut()))
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// What comes out, and the largest piece of it.
    fn unpacked<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<(Vec<u8>, usize)> {
        let (mut gunzip, mut out, mut largest) = (Gunzip::new(), Vec::new(), 0);
        for piece in pieces {
            gunzip.push(Bytes::copy_from_slice(piece));
            while let Some(piece) = gunzip.step()? {
                largest = largest.max(piece.len());
                out.extend_from_slice(&piece);
            }
        }
        while let Some(piece) = gunzip.finish()? {
            largest = largest.max(piece.len());
            out.extend_from_slice(&piece);
        }
        Ok((out, largest))
    }

    #[test]
    fn what_comes_out_in_one_step_is_bounded_whatever_goes_in() {
        let bomb = gzipped(&vec![b' '; 20 << 20]);
        let (out, largest) = unpacked([&bomb[..]].into_iter()).unwrap();
        assert_eq!(out.len(), 20 << 20);
        assert!(largest <= 64 << 10, "{largest}");
    }

    #[test]
    fn what_is_cut_or_is_no_gzip_is_an_error_and_nothing_is_nothing() {
        let whole = gzipped(b"whole");
        let cut = &whole[..whole.len() - 1];
        for bad in [cut, b"this is no gzip", &[&whole[..], b"more"].concat()] {
            assert!(unpacked([bad].into_iter()).is_err(), "{bad:?}");
        }
        assert_eq!(unpacked([&b""[..]].into_iter()).unwrap().0, b"");
    }

    proptest! {
        #[test]
        fn members_in_any_pieces_come_out_as_they_went_in(
            parts in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..2_000), 1..4),
            piece in 1usize..300,
        ) {
            let packed: Vec<u8> = parts.iter().flat_map(|part| gzipped(part)).collect();
            let (out, _) = unpacked(packed.chunks(piece)).unwrap();
            prop_assert_eq!(out, parts.concat());
        }
    }
}
