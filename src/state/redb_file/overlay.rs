//! A copy-on-write overlay, for reading a database whose disk takes no writes.
//!
//! redb opens a database that was not closed well by writing to it. Here its writes stay in memory, and the
//! disk is only read; what was committed is on it. Nothing that is written here lasts.

use std::collections::BTreeMap;
use std::io;

use parking_lot::RwLock;
use redb::StorageBackend;

/// The unit in which changes are kept, in bytes.
const BLOCK_BYTES: u64 = 4_096;

/// Reads of blocks that were not written fall through to the base.
#[derive(Debug)]
pub(crate) struct Overlay<B> {
    base: B,
    written: RwLock<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// The bytes of the base that still count: fewer than its length once it was truncated.
    base_length: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl<B: StorageBackend> Overlay<B> {
    pub(crate) fn new(base: B) -> io::Result<Self> {
        let length = base.len()?;
        let written = Written { length, base_length: length, blocks: BTreeMap::new() };
        Ok(Self { base, written: RwLock::new(written) })
    }

    /// A block as it was before anything was written to it; zeros after the end.
    fn base_block(&self, number: u64, base_length: u64) -> io::Result<Vec<u8>> {
        let start = number * BLOCK_BYTES;
        let mut block = vec![0; to_usize(BLOCK_BYTES)];
        let there = to_usize(base_length.saturating_sub(start).min(BLOCK_BYTES));
        if let Some(there) = block.get_mut(..there).filter(|there| !there.is_empty()) {
            self.base.read(start, there)?;
        }
        Ok(block)
    }
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.read().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written.read();
        if offset + out.len() as u64 > written.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, part) in parts(offset, out) {
            let base;
            let block = match written.blocks.get(&number) {
                Some(block) => block,
                None => {
                    base = self.base_block(number, written.base_length)?;
                    &base
                }
            };
            part.copy_from_slice(slice(block, within, part.len())?);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written.write();
        written.length = length;
        if length < written.base_length {
            written.base_length = length;
        }
        let kept = length.div_ceil(BLOCK_BYTES);
        written.blocks.split_off(&kept);
        let rest = to_usize(length % BLOCK_BYTES);
        if let Some(last) = written.blocks.get_mut(&(length / BLOCK_BYTES))
            && let Some(cut) = last.get_mut(rest..)
        {
            cut.fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written.write();
        let mut data = data.to_vec();
        for (number, within, part) in parts(offset, &mut data) {
            if !written.blocks.contains_key(&number) {
                let block = self.base_block(number, written.base_length)?;
                written.blocks.insert(number, block);
            }
            let block = written.blocks.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
            let target = block.get_mut(within..within + part.len());
            target.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(part);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.base.close()
    }
}

/// The blocks that bytes at an offset touch: the number of each, where in it they begin, and which.
fn parts(offset: u64, bytes: &mut [u8]) -> impl Iterator<Item = (u64, usize, &mut [u8])> {
    let head = to_usize(BLOCK_BYTES - offset % BLOCK_BYTES).min(bytes.len());
    let (first, rest) = bytes.split_at_mut(head);
    let following = rest.chunks_mut(to_usize(BLOCK_BYTES));
    let number = offset / BLOCK_BYTES;
    let first = std::iter::once((number, to_usize(offset % BLOCK_BYTES), first));
    first.chain((number + 1..).zip(following).map(|(number, part)| (number, 0, part)))
}

fn slice(block: &[u8], within: usize, length: usize) -> io::Result<&[u8]> {
    block.get(within..within + length).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Only for numbers of at most [`BLOCK_BYTES`].
fn to_usize(within_block: u64) -> usize {
    usize::try_from(within_block).expect("at most the bytes of a block")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLength(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let data = prop::collection::vec(any::<u8>(), 0..9_000);
        prop_oneof![
            4 => (0..20_000_u64, data).prop_map(|(offset, data)| Step::Write(offset, data)),
            1 => (0..30_000_u64).prop_map(Step::SetLength),
        ]
    }

    fn content(backend: &impl StorageBackend) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(backend.len().unwrap()).unwrap()];
        backend.read(0, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        // Each case moves a megabyte.
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn it_reads_like_a_file_that_was_written_and_leaves_its_base_alone(
            initial in prop::collection::vec(any::<u8>(), 0..20_000),
            steps in prop::collection::vec(step(), 0..20),
        ) {
            let base = InMemoryBackend::new();
            base.set_len(initial.len() as u64).unwrap();
            base.write(0, &initial).unwrap();
            let overlay = Overlay::new(base).unwrap();
            let mut model = initial.clone();
            for step in steps {
                match step {
                    Step::Write(offset, data) => {
                        let start = usize::try_from(offset).unwrap().min(model.len());
                        let data = &data[..data.len().min(model.len() - start)];
                        overlay.write(start as u64, data).unwrap();
                        model[start..start + data.len()].copy_from_slice(data);
                    }
                    Step::SetLength(length) => {
                        overlay.set_len(length).unwrap();
                        model.resize(usize::try_from(length).unwrap(), 0);
                    }
                }
                prop_assert_eq!(&content(&overlay), &model);
            }
            prop_assert_eq!(content(&overlay.base), initial);
        }
    }
}
