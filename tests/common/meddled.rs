//! A disk on which something happens while a file is being opened.

use std::io;
use std::path::Path;
use std::sync::Arc;

use reelvault::env::{Disk, Entry, File, Locking, Mode};

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
