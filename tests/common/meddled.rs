//! A disk and a bucket in which something happens while they are being read.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use reelvault::backup::{Body, Place, SimPlace};
use reelvault::env::{Disk, Entry, File, Locking, Mode};

/// A disk on which something happens before a file is opened.
pub(crate) struct Meddled {
    disk: Arc<dyn Disk>,
    before_opening: Box<dyn Fn(&Path) + Send + Sync>,
}

impl Meddled {
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        before_opening: impl Fn(&Path) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let before_opening = Box::new(before_opening);
        Arc::new(Self { disk: Arc::clone(disk), before_opening })
    }
}

impl Disk for Meddled {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        (self.before_opening)(path);
        self.disk.open(path, mode)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename_new(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn lock(&self, path: &Path, note: &str) -> io::Result<Locking> {
        self.disk.lock(path, note)
    }
}

type BeforeReading = Box<dyn Fn(&SimPlace, &str) + Send + Sync>;

/// A bucket in which something happens before an object is read whole or made, or a folder listed.
pub(crate) struct MeddledBucket {
    sim: SimPlace,
    before: BeforeReading,
    /// Whether it makes no object, as for who may only read.
    pub(crate) refuses: AtomicBool,
}

impl MeddledBucket {
    pub(crate) fn new(
        sim: SimPlace,
        before: impl Fn(&SimPlace, &str) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { sim, before: Box::new(before), refuses: AtomicBool::new(false) })
    }
}

impl Place for MeddledBucket {
    fn name(&self) -> String {
        format!("meddled with: {}", self.sim.name())
    }
    fn get(&self, name: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        (self.before)(&self.sim, name);
        self.sim.get(name, bytes_max)
    }
    fn open(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        self.sim.open(name, bytes)
    }
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        (self.before)(&self.sim, name);
        if self.refuses.load(Relaxed) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.sim.create(name, bytes)
    }
    fn put(&self, name: &str, body: &mut dyn Body) -> io::Result<()> {
        self.sim.put(name, body)
    }
    fn list(&self, folder: &str, entries_max: usize) -> io::Result<Vec<Entry>> {
        (self.before)(&self.sim, folder);
        self.sim.list(folder, entries_max)
    }
    fn length(&self, name: &str) -> io::Result<u64> {
        self.sim.length(name)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.sim.remove(name)
    }
    fn now_ms(&self) -> io::Result<u64> {
        self.sim.now_ms()
    }
}
