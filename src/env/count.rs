//! A disk that counts what is done on it: reads, writes, syncs and their bytes.
//!
//! Figures that a timer cannot show reliably (one read for a replay, syncs for each acknowledged chunk,
//! bytes written for each byte stored) are counted here, in tests and in `reelvault bench`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Disk, Entry, File, Locking, Mapping, Mode};

/// What was done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that read from a file.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Calls that wrote to a file.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Syncs of a file.
    pub syncs: u64,
    /// Syncs of a directory.
    pub dir_syncs: u64,
}

#[derive(Default)]
struct Counters {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    written_bytes: AtomicU64,
    syncs: AtomicU64,
    dir_syncs: AtomicU64,
}

/// A disk around another one that counts.
pub struct Counted {
    inner: Arc<dyn Disk>,
    counters: Arc<Counters>,
}

impl Counted {
    /// Counts what is done on `inner` through this value.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, counters: Arc::default() }
    }

    fn counted(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(CountedFile { inner, counters: Arc::clone(&self.counters) })
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let c = &self.counters;
        Counts {
            reads: c.reads.load(Relaxed),
            read_bytes: c.read_bytes.load(Relaxed),
            writes: c.writes.load(Relaxed),
            written_bytes: c.written_bytes.load(Relaxed),
            syncs: c.syncs.load(Relaxed),
            dir_syncs: c.dir_syncs.load(Relaxed),
        }
    }
}

impl std::ops::Sub for Counts {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            read_bytes: self.read_bytes - earlier.read_bytes,
            writes: self.writes - earlier.writes,
            written_bytes: self.written_bytes - earlier.written_bytes,
            syncs: self.syncs - earlier.syncs,
            dir_syncs: self.dir_syncs - earlier.dir_syncs,
        }
    }
}

impl Disk for Counted {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        Ok(self.counted(self.inner.open(path, mode)?))
    }
    fn open_direct(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        Ok(self.counted(self.inner.open_direct(path, mode)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename_new(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.counters.dir_syncs.fetch_add(1, Relaxed);
        self.inner.sync_dir(dir)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }
    fn lock(&self, path: &Path, note: &str) -> io::Result<Locking> {
        self.inner.lock(path, note)
    }
    fn map(&self, path: &Path) -> io::Result<Option<Mapping>> {
        self.inner.map(path)
    }
}

struct CountedFile {
    inner: Arc<dyn File>,
    counters: Arc<Counters>,
}

impl File for CountedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let n = self.inner.read_at(buf, offset)?;
        self.counters.reads.fetch_add(1, Relaxed);
        self.counters.read_bytes.fetch_add(n as u64, Relaxed);
        Ok(n)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.counters.writes.fetch_add(1, Relaxed);
        self.counters.written_bytes.fetch_add(buf.len() as u64, Relaxed);
        self.inner.write_at(buf, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Relaxed);
        self.inner.sync()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
