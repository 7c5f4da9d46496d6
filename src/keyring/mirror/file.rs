//! A mirror in the file system: a keyring file, and a folder beside it with its parts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{NewPart, same};
use crate::env::{Env, File, Mode, read_exact_at};
use crate::error::{Damage, Error, Result};
use crate::ids::FileId;
use crate::keyring::part;
use crate::limits::STATE_BYTES_MAX;

/// A mirror in the file system.
#[derive(Clone)]
pub(in crate::keyring) struct FileMirror {
    env: Env,
    path: PathBuf,
}

impl FileMirror {
    pub(super) fn new(env: &Env, path: &Path) -> Self {
        Self { env: env.clone(), path: path.to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What its keyring file is called in errors.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What a part is called in errors.
    pub(super) fn part_name(&self, id: FileId) -> String {
        self.part_path(id).display().to_string()
    }

    pub(super) fn exists(&self) -> Result<bool> {
        let exists = self.env.disk.exists(&self.path);
        exists.map_err(|e| Error::io("look for a keyring at", &self.path, e))
    }

    /// Reads the keyring file, at most so many bytes of it; nothing if there is none.
    pub(super) fn read(&self, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        self.read_file(&self.path, bytes_max, STATE_BYTES_MAX)
    }

    /// Replaces the keyring file, durably, and reads it back. There is always the one before or this one, whole.
    pub(super) fn replace(&self, bytes: &[u8]) -> Result<()> {
        let written = self.write(&[], bytes).and_then(|mut written| {
            written.sync()?;
            Ok(written)
        });
        let written = written.inspect_err(|_| self.remove_beside())?;
        written.replace()?;
        written.settle()
    }

    pub(super) fn make_dir(&self) -> Result<()> {
        make_dir(&self.env, parent(&self.path))
    }

    pub(super) fn settle_dir(&self) -> Result<()> {
        let dir = parent(&self.path);
        settle_above(&self.env, dir).map_err(|e| Error::io("sync the directories above", dir, e))
    }

    /// Makes the keyring file that stands here durable. What it holds was synced before it was put in its place; that it is there may
    /// be known to nobody but the system, if the process that put it there was killed.
    pub(super) fn sync(&self) -> Result<()> {
        self.sync_dir(parent(&self.path))
    }

    /// Writes new parts and a keyring file, beside the one there is. Nothing of it counts yet, nor is it durable.
    pub(super) fn write<'a>(
        &'a self,
        parts: &'a [NewPart],
        bytes: &'a [u8],
    ) -> Result<Written<'a>> {
        self.make_dir()?;
        let mut written = Written { mirror: self, open: Vec::new(), parts, bytes };
        written.write_parts()?;
        written.write_file(self.beside(), bytes)?;
        Ok(written)
    }

    /// Reads a part.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not there, among others.
    pub(super) fn read_part(&self, id: FileId) -> Result<Vec<u8>> {
        let bytes = self.read_file(&self.part_path(id), usize::MAX, part::PART_FILE_BYTES_MAX)?;
        bytes.ok_or_else(|| Error::corrupt(&self.part_name(id), 0, Damage::Missing))
    }

    /// Writes parts, durably, and reads them back. Nothing names them before that.
    pub(super) fn write_parts(&self, parts: &[NewPart]) -> Result<()> {
        let mut written = Written { mirror: self, open: Vec::new(), parts, bytes: &[] };
        written.write_parts()?;
        written.sync()
    }

    /// The parts that are there, in use or not.
    pub(super) fn list_parts(&self) -> Result<Vec<FileId>> {
        let dir = self.parts_dir();
        match self.env.disk.list(&dir) {
            Ok(entries) => Ok(entries.iter().filter_map(|e| FileId::parse(&e.name)).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Error::io("list the parts of the keyring in", dir, e)),
        }
    }

    /// Removes a part that nothing names any more. Its key is gone, so it does not matter if it stays. One that is not there is no error.
    pub(super) fn remove_part(&self, id: FileId) -> io::Result<()> {
        match self.env.disk.remove(&self.part_path(id)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Removes the keyring file.
    pub(super) fn remove(&self) {
        let _ = self.env.disk.remove(&self.path);
    }

    /// Removes what a crash left beside the keyring file. It is an attempt that never counted; if it cannot be removed, the next
    /// one is written over it.
    pub(super) fn remove_beside(&self) {
        let beside = self.beside();
        if self.env.disk.exists(&beside).unwrap_or(false) {
            let _ = self.env.disk.remove(&beside);
        }
    }

    /// Where the keyring file is written before it is renamed.
    fn beside(&self) -> PathBuf {
        with_suffix(&self.path, ".new")
    }

    fn parts_dir(&self) -> PathBuf {
        with_suffix(&self.path, ".parts")
    }

    fn part_path(&self, id: FileId) -> PathBuf {
        self.parts_dir().join(id.to_string())
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.env.disk.sync_dir(dir).map_err(|e| Error::io("sync the directory", dir, e))
    }

    /// Reads the beginning of a file; nothing if there is none.
    fn read_file(&self, path: &Path, bytes_max: usize, file_max: usize) -> Result<Option<Vec<u8>>> {
        let failed = |e| Error::io("read the keyring", path, e);
        let file = match self.env.disk.open(path, Mode::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let len = usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX);
        if len > file_max {
            let damage = Damage::Malformed("size of the keyring");
            return Err(Error::corrupt(&path.display().to_string(), 0, damage));
        }
        let mut bytes = vec![0; len.min(bytes_max)];
        read_exact_at(&*file, &mut bytes, 0).map_err(failed)?;
        Ok(Some(bytes))
    }
}

/// Most files that are written before the first of them is synced: far fewer than a process may have open.
const OPEN_FILES_MAX: usize = 64;

/// What was written to a mirror and does not count yet.
///
/// All of it is written before any of it is synced, in all mirrors: a file system that commits everything at once, as journalling
/// ones do, has nearly nothing left to do for the second sync and those after it.
pub(in crate::keyring) struct Written<'a> {
    mirror: &'a FileMirror,
    /// Files that are not synced.
    open: Vec<(PathBuf, Arc<dyn File>)>,
    parts: &'a [NewPart],
    bytes: &'a [u8],
}

impl Written<'_> {
    fn write_parts(&mut self) -> Result<()> {
        if !self.parts.is_empty() {
            make_dir(&self.mirror.env, &self.mirror.parts_dir())?;
        }
        for (id, bytes) in self.parts {
            self.write_file(self.mirror.part_path(*id), bytes)?;
        }
        Ok(())
    }

    fn write_file(&mut self, path: PathBuf, bytes: &[u8]) -> Result<()> {
        let file = self.mirror.env.disk.open(&path, Mode::Replace);
        let written = file.and_then(|file| file.write_at(bytes, 0).map(|()| file));
        let file = written.map_err(|e| Error::io("write the keyring", &path, e))?;
        self.open.push((path, file));
        if self.open.len() < OPEN_FILES_MAX { Ok(()) } else { self.sync_files() }
    }

    fn sync_files(&mut self) -> Result<()> {
        for (path, file) in self.open.drain(..) {
            file.sync().map_err(|e| Error::io("write the keyring", path, e))?;
        }
        Ok(())
    }

    /// Makes it durable, where nothing names it, and reads it back.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.sync_files()?;
        if self.parts.is_empty() {
            return Ok(());
        }
        // One sync of the folder for all of them.
        self.mirror.sync_dir(&self.mirror.parts_dir())?;
        self.parts.iter().try_for_each(|(id, bytes)| {
            same(&self.mirror.part_name(*id), Ok(self.mirror.read_part(*id)?), bytes)
        })
    }

    /// Puts the keyring file in the place of the one that is there. All mirrors must have been synced before.
    pub(super) fn replace(&self) -> Result<()> {
        let (from, to) = (self.mirror.beside(), &self.mirror.path);
        let renamed = self.mirror.env.disk.rename(&from, to);
        renamed.map_err(|e| {
            self.mirror.remove_beside();
            Error::io("write the keyring", to, e)
        })
    }

    /// Makes that durable, and reads it back.
    pub(super) fn settle(&self) -> Result<()> {
        self.mirror.sync_dir(parent(&self.mirror.path))?;
        let back = self.mirror.read(usize::MAX)?.ok_or(Damage::Missing);
        same(&self.mirror.name(), back, self.bytes)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The directory that a file lies in.
pub(in crate::keyring) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Makes a directory and those above it, and makes their names durable.
pub(crate) fn make_dir(env: &Env, dir: &Path) -> Result<()> {
    let failed = |e| Error::io("make the directory", dir, e);
    let mut missing = Vec::new();
    for above in dir.ancestors().filter(|d| !d.as_os_str().is_empty()) {
        if env.disk.exists(above).map_err(failed)? {
            break;
        }
        missing.push(above);
    }
    if missing.is_empty() {
        return Ok(());
    }
    env.disk.create_dir(dir).map_err(failed)?;
    missing.iter().rev().try_for_each(|made| env.disk.sync_dir(parent(made))).map_err(failed)
}

/// Makes durable that a directory is there, and those above it: a process that was killed may have made them and not have come to that. Those that are
/// not ours to open, or whose file system does not take it, were not made by us.
pub(crate) fn settle_above(env: &Env, dir: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    let others = [InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported];
    let above = dir.ancestors().skip(1);
    for above in above.map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir }) {
        match env.disk.sync_dir(above) {
            Err(e) if others.contains(&e.kind()) => {}
            synced => synced?,
        }
    }
    Ok(())
}
