//! A file system in memory that remembers every operation, fails when told to, and says what a
//! crash at any moment would have left.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::journal::disk::{Disk, DiskFile, DiskRoom};

/// Devices write pieces of this size whole.
const SECTOR: usize = 512;

type Inode = usize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DiskOperation {
    Create(PathBuf, Inode),
    Write(Inode, u64, Vec<u8>),
    SetLength(Inode, u64),
    Sync(Inode),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDirectory,
}

/// Decides whether an operation fails.
type Fault = Box<dyn FnMut(&DiskOperation) -> Option<io::ErrorKind> + Send>;

#[derive(Default)]
struct DiskState {
    /// What was there before the first operation, by name; the first files.
    base: Vec<(PathBuf, Vec<u8>)>,
    log: Vec<DiskOperation>,
    names: BTreeMap<PathBuf, Inode>,
    files: Vec<Vec<u8>>,
    fault: Option<Fault>,
    bytes_max: Option<usize>,
}

#[derive(Clone, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<DiskState>>);

/// What of the operations that were not synced a crash leaves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Crash {
    /// All of them: the process was killed.
    KeepAll,
    /// None of them.
    KeepSynced,
    /// Some sectors of some writes, some of the names; by a seed.
    Torn(u64),
}

impl MemoryDisk {
    pub(super) fn fail_when(
        &self,
        fault: impl FnMut(&DiskOperation) -> Option<io::ErrorKind> + Send + 'static,
    ) {
        self.0.lock().fault = Some(Box::new(fault));
    }

    pub(super) fn work_again(&self) {
        let mut state = self.0.lock();
        state.fault = None;
        state.bytes_max = None;
    }

    /// Leaves so much room and no more.
    pub(super) fn leave_room(&self, bytes: usize) {
        let mut state = self.0.lock();
        state.bytes_max = Some(state.used() + bytes);
    }

    pub(super) fn operations(&self) -> usize {
        self.0.lock().log.len()
    }

    /// Flips a bit, unnoticed.
    pub(super) fn damage(&self, path: &Path, at: usize) {
        let mut state = self.0.lock();
        let inode = state.names[path];
        state.files[inode][at] ^= 1;
    }

    /// The names and contents of all files.
    pub(super) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.0.lock();
        let files =
            state.names.iter().map(|(path, inode)| (path.clone(), state.files[*inode].clone()));
        files.collect()
    }

    pub(super) fn with_files(files: Vec<(PathBuf, Vec<u8>)>) -> Self {
        let mut state = DiskState::default();
        for (path, content) in &files {
            state.names.insert(path.clone(), state.files.len());
            state.files.push(content.clone());
        }
        state.base = files;
        Self(Arc::new(Mutex::new(state)))
    }

    /// The disk that a crash after so many operations would leave.
    pub(super) fn image(&self, operations: usize, crash: Crash) -> Self {
        let state = self.0.lock();
        let mut image = Image::default();
        for (inode, (path, content)) in state.base.iter().enumerate() {
            image.names.insert(path.clone(), inode);
            image.files.insert(inode, content.clone());
        }
        state.log[..operations].iter().for_each(|operation| image.apply(operation));
        let mut chance = match crash {
            Crash::Torn(seed) => Some(StdRng::seed_from_u64(seed)),
            Crash::KeepAll | Crash::KeepSynced => None,
        };
        let mut keep = || match (crash, &mut chance) {
            (Crash::KeepAll, _) => true,
            (_, Some(chance)) => chance.random_bool(0.5),
            _ => false,
        };
        Self::with_files(image.build_ledger(&mut keep))
    }
}

/// What is durable, and what is on its way.
#[derive(Default)]
struct Image {
    files: BTreeMap<Inode, Vec<u8>>,
    names: BTreeMap<PathBuf, Inode>,
    files_pending: BTreeMap<Inode, Vec<DiskOperation>>,
    names_pending: Vec<DiskOperation>,
}

impl Image {
    fn apply(&mut self, operation: &DiskOperation) {
        match operation {
            DiskOperation::Create(..) | DiskOperation::Rename(..) | DiskOperation::Remove(_) => {
                self.names_pending.push(operation.clone());
            }
            DiskOperation::Write(inode, ..) | DiskOperation::SetLength(inode, _) => {
                self.files_pending.entry(*inode).or_default().push(operation.clone());
            }
            DiskOperation::Sync(inode) => {
                let content = self.files.entry(*inode).or_default();
                for operation in self.files_pending.remove(inode).unwrap_or_default() {
                    change(content, &operation, &mut || true);
                }
            }
            DiskOperation::SyncDirectory => {
                for operation in std::mem::take(&mut self.names_pending) {
                    rename(&mut self.names, &operation);
                }
            }
        }
    }

    fn build_ledger(mut self, keep: &mut impl FnMut() -> bool) -> Vec<(PathBuf, Vec<u8>)> {
        for operation in self.names_pending.iter().take_while(|_| keep()) {
            rename(&mut self.names, operation);
        }
        for (inode, pending) in &self.files_pending {
            let content = self.files.entry(*inode).or_default();
            pending.iter().for_each(|operation| change(content, operation, keep));
        }
        let files = &self.files;
        let content = |inode: &Inode| files.get(inode).cloned().unwrap_or_default();
        self.names.iter().map(|(path, inode)| (path.clone(), content(inode))).collect()
    }
}

fn rename(names: &mut BTreeMap<PathBuf, Inode>, operation: &DiskOperation) {
    match operation {
        DiskOperation::Create(path, inode) => drop(names.insert(path.clone(), *inode)),
        DiskOperation::Remove(path) => drop(names.remove(path)),
        DiskOperation::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        DiskOperation::Write(..)
        | DiskOperation::SetLength(..)
        | DiskOperation::Sync(_)
        | DiskOperation::SyncDirectory => unreachable!("only names change here"),
    }
}

/// Changes a file by those sectors that are to be kept.
fn change(content: &mut Vec<u8>, operation: &DiskOperation, keep: &mut impl FnMut() -> bool) {
    match operation {
        DiskOperation::SetLength(_, length) => {
            if keep() {
                content.resize(usize::try_from(*length).unwrap(), 0);
            }
        }
        DiskOperation::Write(_, offset, bytes) => {
            let offset = usize::try_from(*offset).unwrap();
            let mut done = 0;
            while done < bytes.len() {
                let end = (offset + done + 1).next_multiple_of(SECTOR).min(offset + bytes.len());
                if keep() {
                    content.resize(content.len().max(end), 0);
                    content[offset + done..end].copy_from_slice(&bytes[done..end - offset]);
                }
                done = end - offset;
            }
        }
        DiskOperation::Create(..)
        | DiskOperation::Sync(_)
        | DiskOperation::Rename(..)
        | DiskOperation::Remove(_)
        | DiskOperation::SyncDirectory => unreachable!("only contents change here"),
    }
}

impl DiskState {
    fn used(&self) -> usize {
        self.names.values().map(|inode| self.files[*inode].len()).sum()
    }

    fn fail(&mut self, operation: &DiskOperation) -> io::Result<()> {
        let kind = self.fault.as_mut().and_then(|fault| fault(operation));
        kind.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl Disk for MemoryDisk {
    fn create_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        let inside = state.names.keys().filter(|name| name.parent() == Some(path));
        Ok(inside.map(|name| name.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        let inode = state.files.len();
        let operation = DiskOperation::Create(path.to_owned(), inode);
        state.fail(&operation)?;
        rename(&mut state.names, &operation);
        state.log.push(operation);
        state.files.push(Vec::new());
        Ok(Box::new(MemoryFile { disk: self.clone(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.0.lock();
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change_names(DiskOperation::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change_names(DiskOperation::Remove(path.to_owned()))
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.fail(&DiskOperation::SyncDirectory)?;
        state.log.push(DiskOperation::SyncDirectory);
        Ok(())
    }

    fn room(&self, _: &Path) -> io::Result<DiskRoom> {
        let state = self.0.lock();
        let total = state.bytes_max.unwrap_or_default();
        let free = total.saturating_sub(state.used());
        Ok(DiskRoom { free_bytes: free as u64, total_bytes: total as u64 })
    }
}

impl MemoryDisk {
    fn change_names(&self, operation: DiskOperation) -> io::Result<()> {
        let mut state = self.0.lock();
        state.fail(&operation)?;
        let (DiskOperation::Rename(path, _) | DiskOperation::Remove(path)) = &operation else {
            unreachable!("only names change here")
        };
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        rename(&mut state.names, &operation);
        state.log.push(operation);
        Ok(())
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    inode: Inode,
}

impl DiskFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().files[self.inode].len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.0.lock();
        let start = usize::try_from(offset).unwrap();
        let bytes = state.files[self.inode].get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let whole = DiskOperation::Write(self.inode, offset, bytes.to_vec());
        let mut result = state.fail(&whole);
        let room = state.bytes_max.map_or(usize::MAX, |max| max.saturating_sub(state.used()));
        if bytes.len() > room {
            result = Err(io::ErrorKind::StorageFull.into());
        }
        // A write that fails has written something more often than not.
        let written = if result.is_ok() { bytes.len() } else { (bytes.len() / 2).min(room) };
        let operation = DiskOperation::Write(self.inode, offset, bytes[..written].to_vec());
        change(&mut state.files[self.inode], &operation, &mut || true);
        state.log.push(operation);
        result
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let operation = DiskOperation::SetLength(self.inode, length);
        state.fail(&operation)?;
        change(&mut state.files[self.inode], &operation, &mut || true);
        state.log.push(operation);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let operation = DiskOperation::Sync(self.inode);
        state.fail(&operation)?;
        state.log.push(operation);
        Ok(())
    }
}
