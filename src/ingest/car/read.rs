//! The bytes of CAR files.
//!
//! ```text
//! version 1   length (varint) | header, DAG-CBOR {roots: [CID...], version: 1}
//!             then sections:  length (varint) | CID | block
//! version 2   pragma, 11 bytes: 0a a1 67 "version" 02
//!             characteristics, 16 bytes | data offset, data size, index offset: u64, little endian
//!             at the data offset, for the data size: a whole file of version 1
//!             then an index, which nobody needs who reads from first to last
//! ```
//!
//! Length fields allocate nothing: memory grows with the bytes that arrive, and each length has a
//! bound. An empty section begins the padding (Filecoin pieces are CAR files padded with zeros): it
//! ends the blocks, and only zeros may follow.
//!
//! The characteristics and offsets of version 2 are written when the file is finalized. If they are
//! all zero, it never was: the data follows at once, up to where its writer stopped.

use std::io::{self, BufRead, Read};

use crate::types::{ContentKey, DIGEST_BYTES_MAX, KeyError};

/// The longest header: room for the CIDs of 25,000 roots.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// The longest section: sixteen times the largest block that goes over bitswap.
const SECTION_BYTES_MAX: u64 = 32 << 20;

/// The longest CID: version, codec, hash code and digest length, nine bytes each, and the digest.
const CID_BYTES_MAX: u64 = 4 * VARINT_BYTES_MAX as u64 + DIGEST_BYTES_MAX as u64;

const VARINT_BYTES_MAX: usize = 9;

const VERSION_KEY: &[u8] = b"\x67version";
const PRAGMA_BYTES: u64 = 11;
const V2_HEADER_BYTES: u64 = 40;

/// Reads the blocks of a CAR one after the other.
pub(super) struct CarReader<R> {
    source: R,
    offset: u64,
    /// Where the data ends; `None`: where the source ends.
    end: Option<u64>,
    cid: Vec<u8>,
    is_unfinalized: bool,
}

/// A whole block that has been read.
#[derive(Debug)]
pub(super) struct CarBlock {
    /// Where its section begins.
    pub(super) offset: u64,
    /// The key in its CID.
    pub(super) key: Result<ContentKey, KeyError>,
}

/// Why reading a CAR failed. Offsets count from the beginning of the (uncompressed) file.
#[derive(Debug)]
pub(super) enum CarError {
    Truncated { offset: u64, inside: String },
    Format { offset: u64, reason: String },
    Io { offset: u64, inside: String, source: io::Error },
}

impl<R: BufRead> CarReader<R> {
    /// Reads what comes before the first block.
    pub(super) fn open(source: R) -> Result<Self, CarError> {
        let mut reader =
            Self { source, offset: 0, end: None, cid: Vec::new(), is_unfinalized: false };
        match reader.header()? {
            1 => Ok(reader),
            2 if reader.offset == PRAGMA_BYTES => {
                reader.enter_version_2()?;
                let inner = reader.offset;
                match reader.header()? {
                    1 => Ok(reader),
                    version => {
                        let reason = format!("version {version} inside of a CAR of version 2");
                        Err(CarError::Format { offset: inner, reason })
                    }
                }
            }
            version => {
                let reason = format!("a CAR of version {version}, only 1 and 2 are read");
                Err(CarError::Format { offset: 0, reason })
            }
        }
    }

    /// Whether this is a CAR of version 2 whose header was never written.
    pub(super) fn is_unfinalized(&self) -> bool {
        self.is_unfinalized
    }

    /// Reads the next block; `None` at the end. Its content goes into `data`, if given.
    pub(super) fn next_block(
        &mut self,
        data: Option<&mut Vec<u8>>,
    ) -> Result<Option<CarBlock>, CarError> {
        match self.next_section(data) {
            // Its writer stopped in the middle of it.
            Err(CarError::Truncated { .. }) if self.is_unfinalized => Ok(None),
            read => read,
        }
    }

    fn next_section(
        &mut self,
        mut data: Option<&mut Vec<u8>>,
    ) -> Result<Option<CarBlock>, CarError> {
        let offset = self.offset;
        let inside = || format!("the section that begins at byte {offset}");
        let Some(length) = self.varint(&inside)? else { return Ok(None) };
        if length == 0 {
            self.check_padding(offset)?;
            return Ok(None);
        }
        self.check_length("section", length, SECTION_BYTES_MAX, offset)?;

        let mut cid = std::mem::take(&mut self.cid);
        cid.clear();
        self.append(length.min(CID_BYTES_MAX), &mut cid, &inside)?;
        let read = cid.len();
        let parsed = ContentKey::from_cid_prefix(&cid);
        let rest = length - read as u64;
        match (&parsed, &mut data) {
            (Ok((_, cid_length)), Some(data)) => {
                data.clear();
                data.extend(cid.drain(*cid_length..));
                self.append(rest, data, &inside)?;
            }
            (Ok(_), None) | (Err(_), _) => self.skip(rest, &inside)?,
        }
        self.cid = cid;
        Ok(Some(CarBlock { offset, key: parsed.map(|(key, _)| key) }))
    }

    /// Reads a header, and returns its version.
    fn header(&mut self) -> Result<u64, CarError> {
        let offset = self.offset;
        let inside = || "the header".to_owned();
        let not_a_car = |what: &str| CarError::Format {
            offset,
            reason: format!("{what}: this is no CAR file, or a damaged one"),
        };
        let Some(length) = self.varint(&inside)? else {
            return Err(CarError::Truncated { offset, inside: inside() });
        };
        self.check_length("header", length, HEADER_BYTES_MAX, offset)?;
        let mut header = Vec::new();
        self.append(length, &mut header, &inside)?;
        // Only the version of the header is needed; roots are not checked.
        if !matches!(header.first(), Some(0xa1 | 0xa2)) {
            return Err(not_a_car("no map where the header should be"));
        }
        let version = memchr::memmem::find(&header, VERSION_KEY)
            .and_then(|position| header.get(position + VERSION_KEY.len()));
        match version {
            // DAG-CBOR writes numbers below 24 as themselves.
            Some(version @ 0..24) => Ok(u64::from(*version)),
            Some(_) | None => Err(not_a_car("a header without a version")),
        }
    }

    /// Reads the header of version 2 and goes to the data.
    fn enter_version_2(&mut self) -> Result<(), CarError> {
        let inside = || "the header of version 2".to_owned();
        let offset = self.offset;
        let format = |reason: String| CarError::Format { offset, reason };
        let mut header = Vec::new();
        self.append(V2_HEADER_BYTES, &mut header, &inside)?;
        if header.iter().all(|byte| *byte == 0) {
            self.is_unfinalized = true;
            return Ok(());
        }
        let number = |at: usize| {
            let bytes = header.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.expect("the header has been read, all of its 40 bytes"))
        };
        let (data_offset, data_bytes) = (number(16), number(24));
        let Some(gap) = data_offset.checked_sub(self.offset) else {
            return Err(format(format!("data at byte {data_offset}, inside of the header")));
        };
        if data_bytes == 0 {
            return Err(format("data of no bytes".to_owned()));
        }
        let Some(end) = data_offset.checked_add(data_bytes) else {
            return Err(format(format!("data of {data_bytes} bytes")));
        };
        self.skip(gap, &|| "what stands before the data".to_owned())?;
        self.end = Some(end);
        Ok(())
    }

    fn check_length(
        &self,
        what: &str,
        length: u64,
        most: u64,
        offset: u64,
    ) -> Result<(), CarError> {
        if length > most {
            let reason = format!("a {what} of {length} bytes, at most {most} are read");
            return Err(CarError::Format { offset, reason });
        }
        match self.end {
            Some(end) if self.offset + length > end => {
                let reason = format!("a {what} of {length} bytes, but the data ends at byte {end}");
                Err(CarError::Format { offset, reason })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Reads a varint; `None` where the data ends before it.
    fn varint(&mut self, inside: &dyn Fn() -> String) -> Result<Option<u64>, CarError> {
        let offset = self.offset;
        let mut bytes = [0; VARINT_BYTES_MAX];
        for (position, slot) in bytes.iter_mut().enumerate() {
            if self.end == Some(self.offset) {
                if position == 0 {
                    return Ok(None);
                }
                let reason = "the data ends within a length".to_owned();
                return Err(CarError::Format { offset, reason });
            }
            let Some(byte) = self.fill(inside)?.first().copied() else {
                if position == 0 && self.end.is_none() {
                    return Ok(None);
                }
                return Err(self.truncated(inside));
            };
            self.consume(1);
            *slot = byte;
            if byte < 0x80 {
                break;
            }
        }
        match unsigned_varint::decode::u64(&bytes) {
            Ok((number, _)) => Ok(Some(number)),
            Err(_) => {
                let reason = "a length that is no varint of at most 63 bits".to_owned();
                Err(CarError::Format { offset, reason })
            }
        }
    }

    fn check_padding(&mut self, section: u64) -> Result<(), CarError> {
        let inside = || "the padding".to_owned();
        while self.end.is_none_or(|end| self.offset < end) {
            let most = self.end.map_or(u64::MAX, |end| end - self.offset);
            let chunk = self.fill(&inside)?;
            if chunk.is_empty() {
                break;
            }
            let padding = chunk.len().min(usize::try_from(most).unwrap_or(usize::MAX));
            if chunk.split_at(padding).0.iter().any(|byte| *byte != 0) {
                let reason = "a section of no bytes, and more than padding after it".to_owned();
                return Err(CarError::Format { offset: section, reason });
            }
            self.consume(padding);
        }
        Ok(())
    }

    /// Reads the next `length` bytes.
    fn append(
        &mut self,
        length: u64,
        out: &mut Vec<u8>,
        inside: &dyn Fn() -> String,
    ) -> Result<(), CarError> {
        let before = out.len();
        let result = self.source.by_ref().take(length).read_to_end(out);
        let read = (out.len() - before) as u64;
        self.offset += read;
        result.map_err(|source| CarError::Io { offset: self.offset, inside: inside(), source })?;
        if read < length { Err(self.truncated(inside)) } else { Ok(()) }
    }

    fn skip(&mut self, length: u64, inside: &dyn Fn() -> String) -> Result<(), CarError> {
        let mut left = length;
        while left > 0 {
            let here = self.fill(inside)?.len();
            if here == 0 {
                return Err(self.truncated(inside));
            }
            let skipped = here.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.consume(skipped);
            left -= skipped as u64;
        }
        Ok(())
    }

    fn fill(&mut self, inside: &dyn Fn() -> String) -> Result<&[u8], CarError> {
        let offset = self.offset;
        while let Err(source) = self.source.fill_buf() {
            if source.kind() != io::ErrorKind::Interrupted {
                return Err(CarError::Io { offset, inside: inside(), source });
            }
        }
        self.source.fill_buf().map_err(|source| CarError::Io { offset, inside: inside(), source })
    }

    fn consume(&mut self, bytes: usize) {
        self.source.consume(bytes);
        self.offset += bytes as u64;
    }

    fn truncated(&self, inside: &dyn Fn() -> String) -> CarError {
        CarError::Truncated { offset: self.offset, inside: inside() }
    }
}
