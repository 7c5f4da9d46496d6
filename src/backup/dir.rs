//! A directory as a place for a repository.
//!
//! An object is written beside, synced, and renamed to its name where there is none: so it is there whole or not at all. Folders are
//! synced once for all objects that were put into them, or found in them, before the next object is created: what is found may have
//! been put there by a process that was killed before it came to that.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::COPY_BYTES;
use crate::env::{Aligned, Body, Bytes, Entry, Env, File, Mode, Place, read_exact_at};
use crate::ids::FileId;
use crate::keyring::{make_dir, settle_above};
use crate::sync::Mutex;

/// Where objects of a store are written before they have their names. What a crash leaves there is removed by prune, like
/// everything that no snapshot names.
pub(super) const BESIDE: &str = "tmp";

/// A repository's place in a directory, on this machine or mounted from another.
pub struct DirPlace {
    env: Env,
    root: PathBuf,
    /// Folders with names that may not be durable yet.
    unsynced: Mutex<BTreeSet<PathBuf>>,
    /// Folders that are known to be there.
    made: Mutex<BTreeSet<PathBuf>>,
}

impl DirPlace {
    /// Names a directory. It is made, for its owner alone, when the first object is.
    #[must_use]
    pub fn new(env: &Env, root: impl AsRef<Path>) -> Self {
        let root = root.as_ref().to_owned();
        Self { env: env.clone(), root, unsynced: Mutex::default(), made: Mutex::default() }
    }

    fn folder_of(&self, path: &Path) -> PathBuf {
        path.parent().unwrap_or(&self.root).to_owned()
    }

    fn make(&self, folder: &Path) -> io::Result<()> {
        if self.made.lock().contains(folder) {
            return Ok(());
        }
        make_dir(&self.env, folder).map_err(io::Error::other)?;
        settle_above(&self.env, folder)?;
        self.made.lock().insert(folder.to_owned());
        Ok(())
    }

    /// Writes an object beside and syncs it; returns where.
    fn write(&self, name: &str, body: &mut dyn Body) -> io::Result<PathBuf> {
        let mut id = FileId([0; 16]);
        self.env.random.fill(&mut id.0)?;
        let store = name.split_once('/').map_or("", |(store, _)| store);
        let folder = self.root.join(store).join(BESIDE);
        self.make(&folder)?;
        let path = folder.join(id.to_string());
        let written = self.copy(&path, body);
        if written.is_err() {
            let _ = self.env.disk.remove(&path);
        }
        written.map(|()| path)
    }

    fn copy(&self, path: &Path, body: &mut dyn Body) -> io::Result<()> {
        let (mut at, bytes) = (0, body.bytes());
        let file = match bytes >= COPY_BYTES as u64 {
            true => self.env.disk.open_direct(path, Mode::Create)?,
            false => self.env.disk.open(path, Mode::Create)?,
        };
        let mut buf = Aligned::new(bytes.min(COPY_BYTES as u64) as usize);
        while at < bytes {
            let part = (bytes - at).min(COPY_BYTES as u64) as usize;
            body.fill(&mut buf[..part])?;
            file.write_at(&buf[..part], at)?;
            at += part as u64;
        }
        file.sync()
    }

    /// An object was found in a folder, and a snapshot may come to name it.
    fn found(&self, folder: PathBuf) {
        self.unsynced.lock().insert(folder);
    }

    /// Makes all names durable that objects were given or found under.
    fn settle(&self) -> io::Result<()> {
        let unsynced = std::mem::take(&mut *self.unsynced.lock());
        let synced = unsynced.iter().try_for_each(|folder| self.env.disk.sync_dir(folder));
        if synced.is_err() {
            self.unsynced.lock().extend(unsynced);
        }
        synced
    }
}

impl Place for DirPlace {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn get(&self, name: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        let path = self.root.join(name);
        let file = self.env.disk.open(&path, Mode::Read)?;
        self.found(self.folder_of(&path));
        let bytes = file.len()?;
        if bytes > bytes_max as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut all = vec![0; bytes as usize];
        read_exact_at(&*file, &mut all, 0)?;
        Ok(all)
    }

    fn open(&self, name: &str, _bytes: u64) -> io::Result<Arc<dyn File>> {
        self.env.disk.open(&self.root.join(name), Mode::Read)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.root.join(name);
        let folder = self.folder_of(&path);
        self.make(&folder)?;
        self.settle()?;
        let beside = self.write(name, &mut Bytes(bytes))?;
        if let Err(e) = self.env.disk.rename_new(&beside, &path) {
            let _ = self.env.disk.remove(&beside);
            return Err(e);
        }
        self.env.disk.sync_dir(&folder)
    }

    fn put(&self, name: &str, body: &mut dyn Body) -> io::Result<()> {
        let path = self.root.join(name);
        let folder = self.folder_of(&path);
        self.make(&folder)?;
        let beside = self.write(name, body)?;
        if let Err(e) = self.env.disk.rename(&beside, &path) {
            let _ = self.env.disk.remove(&beside);
            return Err(e);
        }
        self.unsynced.lock().insert(folder);
        Ok(())
    }

    fn list(&self, folder: &str, entries_max: usize) -> io::Result<Vec<Entry>> {
        let folder = self.root.join(folder);
        let mut entries = match self.env.disk.list(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        if !entries.is_empty() {
            self.found(folder);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.truncate(entries_max);
        Ok(entries)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        let path = self.root.join(name);
        let bytes = self.env.disk.open(&path, Mode::Read)?.len()?;
        self.found(self.folder_of(&path));
        Ok(bytes)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.root.join(name);
        match self.env.disk.remove(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => {
                removed?;
                self.unsynced.lock().insert(self.folder_of(&path));
                Ok(())
            }
        }
    }

    fn now_ms(&self) -> io::Result<u64> {
        Ok(self.env.clock.now_ms())
    }
}
