//! Splits bytes into lines, in memory bounded by the longest accepted line.

use std::io::{self, BufRead};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A line, without its line end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Longer than accepted: only counted.
    TooLong { bytes: u64 },
}

/// The lines of a source, numbered from 1.
pub(super) struct Lines<R> {
    source: R,
    line_bytes_max: usize,
    buffer: Vec<u8>,
    number: u64,
    offset: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(source: R, line_bytes_max: usize) -> Self {
        Self { source, line_bytes_max, buffer: Vec::new(), number: 0, offset: 0 }
    }

    /// The number of the last line that was read.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes have been read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads a line; `None` at the end. Bytes before an error are not a line.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        self.buffer.clear();
        let mut bytes: u64 = 0;
        let mut ends_in_return = false;
        let mut is_ended = false;
        while !is_ended {
            let chunk = match self.source.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                if bytes == 0 {
                    return Ok(None);
                }
                break;
            }
            let newline = memchr::memchr(b'\n', chunk);
            is_ended = newline.is_some();
            let (part, _) = chunk.split_at(newline.unwrap_or(chunk.len()));
            // A `\r` and a byte order mark are read beyond the limit: they are no part of the line.
            let room = self.line_bytes_max.saturating_add(1 + BYTE_ORDER_MARK.len());
            let kept = part.len().min(room.saturating_sub(self.buffer.len()));
            self.buffer.extend_from_slice(part.split_at(kept).0);
            ends_in_return = part.last().map_or(ends_in_return, |last| *last == b'\r');
            let consumed = part.len() + usize::from(is_ended);
            bytes += consumed as u64;
            self.source.consume(consumed);
            self.offset += consumed as u64;
        }
        self.number += 1;
        bytes -= u64::from(is_ended) + u64::from(ends_in_return);
        Ok(Some((self.number, self.line(bytes))))
    }

    fn line(&self, bytes: u64) -> Line<'_> {
        let mark = self.number == 1 && self.buffer.starts_with(BYTE_ORDER_MARK);
        let skipped = if mark { BYTE_ORDER_MARK.len() } else { 0 };
        let length = bytes - skipped as u64;
        let whole = usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.line_bytes_max)
            .and_then(|length| self.buffer.get(skipped..skipped + length));
        whole.map_or(Line::TooLong { bytes: length }, Line::Whole)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use proptest::prelude::*;

    use super::*;

    /// A source that yields its bytes in chunks of the given sizes, repeating them.
    struct Chunks<'a> {
        bytes: &'a [u8],
        sizes: Vec<usize>,
        reads: usize,
    }

    impl Read for Chunks<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let size = self.sizes[self.reads % self.sizes.len()].min(out.len());
            self.reads += 1;
            self.bytes.by_ref().take(size as u64).read(out)
        }
    }

    fn naive(bytes: &[u8], line_bytes_max: usize) -> Vec<Result<Vec<u8>, u64>> {
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        if lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        lines
            .into_iter()
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .map(|line| {
                if line.len() <= line_bytes_max {
                    Ok(line.to_vec())
                } else {
                    Err(line.len() as u64)
                }
            })
            .collect()
    }

    fn ours(source: impl BufRead, line_bytes_max: usize) -> Vec<Result<Vec<u8>, u64>> {
        let mut lines = Lines::new(source, line_bytes_max);
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            found.push(match line {
                Line::Whole(bytes) => Ok(bytes.to_vec()),
                Line::TooLong { bytes } => Err(bytes),
            });
            assert_eq!(number, found.len() as u64);
        }
        found
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_lines_of_a_plain_split(
            has_mark in any::<bool>(),
            text in proptest::collection::vec(
                prop_oneof![3 => Just(b'\n'), 2 => Just(b'\r'), 8 => any::<u8>()], 0..200,
            ),
            sizes in proptest::collection::vec(1usize..20, 1..5),
            capacity in 1usize..40,
            line_bytes_max in 0usize..12,
        ) {
            let mark = if has_mark { BYTE_ORDER_MARK } else { &[] };
            let bytes = [mark, &text[..]].concat();
            // A mark alone is a line of nothing here, and no line at all to a plain split.
            prop_assume!(bytes != BYTE_ORDER_MARK);
            let source = Chunks { bytes: &bytes, sizes, reads: 0 };
            let found = ours(BufReader::with_capacity(capacity, source), line_bytes_max);
            prop_assert_eq!(found, naive(&bytes, line_bytes_max));
        }
    }

    #[test]
    fn a_line_of_100_megabytes_is_skipped_in_constant_memory() {
        const LONG: u64 = 100_000_000;
        let source = io::repeat(b'x').take(LONG).chain(&b"\nnext\n"[..]);
        let mut lines = Lines::new(BufReader::new(source), 1_000);
        assert_eq!(lines.next().unwrap(), Some((1, Line::TooLong { bytes: LONG })));
        assert_eq!(lines.next().unwrap(), Some((2, Line::Whole(b"next"))));
        assert_eq!(lines.next().unwrap(), None);
        assert!(lines.buffer.capacity() < 4_000, "{}", lines.buffer.capacity());
    }
}
