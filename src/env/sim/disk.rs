//! The simulated disk as the engine sees it: [`SimDisk`] is a [`Disk`], its files are [`File`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::content::{PAGE_BYTES, Page};
use super::inode::Inode;
use super::names::{Ino, Names, Node, Place, ROOT, parts};
use super::schedule::{Denied, Fault, Kind, Operation, ReadFault, Schedule};
use crate::env::{Disk, Entry, File, Locking, Mode, NOTE_BYTES, padded};
use crate::sync::point;

/// A disk in memory that knows what a power cut could take. A clone is the same disk.
#[derive(Clone)]
pub struct SimDisk(pub(super) Arc<Shared>);

type Hook = Arc<dyn Fn(&SimDisk, &Operation) + Send + Sync>;

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) hook: Mutex<Option<Hook>>,
}

pub(super) struct State {
    pub(super) names: Names,
    pub(super) files: BTreeMap<Ino, Arc<Inode>>,
    pub(super) next: Ino,
    pub(super) handles: BTreeMap<Ino, u32>,
    pub(super) locks: BTreeSet<Ino>,
    pub(super) schedule: Schedule,
    pub(super) pages_max: Option<u64>,
    /// What removed files have left on the disk.
    pub(super) freed: Vec<Page>,
}

struct SimFile {
    shared: Arc<Shared>,
    ino: Ino,
    path: Arc<Path>,
    writable: bool,
}

/// A lock; the file stays open with it.
struct Guard(SimFile);

/// What is remembered of removed files: enough that a tail of stale pages looks like different things.
const FREED_PAGES_MAX: usize = 32;

impl SimDisk {
    pub(super) fn with(state: State) -> Self {
        Self(Arc::new(Shared { state: Mutex::new(state), hook: Mutex::new(None) }))
    }

    fn handle(&self, state: &mut State, ino: Ino, path: Arc<Path>, writable: bool) -> SimFile {
        *state.handles.entry(ino).or_insert(0) += 1;
        SimFile { shared: Arc::clone(&self.0), ino, path, writable }
    }
}

impl Shared {
    /// Tells the hook, without the lock: it takes images.
    fn before(self: &Arc<Self>, kind: Kind, path: &Arc<Path>) {
        point();
        let hook = self.hook.lock().clone();
        if let Some(hook) = hook {
            let (crashed, number) = {
                let schedule = &self.state.lock().schedule;
                (schedule.crashed, schedule.operations)
            };
            if !crashed {
                let operation = Operation { number, kind, path: Arc::clone(path) };
                hook(&SimDisk(Arc::clone(self)), &operation);
            }
        }
    }
}

impl State {
    pub(super) fn new(names: Names, files: BTreeMap<Ino, Arc<Inode>>, next: Ino) -> Self {
        Self {
            names,
            files,
            next,
            handles: BTreeMap::new(),
            locks: BTreeSet::new(),
            schedule: Schedule::default(),
            pages_max: None,
            freed: Vec::new(),
        }
    }

    pub(super) fn new_ino(&mut self) -> Ino {
        self.next += 1;
        self.next
    }

    pub(super) fn inode(&self, ino: Ino) -> io::Result<&Inode> {
        self.files.get(&ino).map(Arc::as_ref).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn inode_mut(&mut self, ino: Ino) -> io::Result<&mut Inode> {
        self.files.get_mut(&ino).map(Arc::make_mut).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&mut self, number: u64, place: Place) -> Ino {
        let ino = self.new_ino();
        self.files.insert(ino, Arc::default());
        self.names.link(number, place, Node::File(ino));
        ino
    }

    /// Writes as much as there is room for.
    fn write(&mut self, number: u64, ino: Ino, buf: &[u8], offset: u64) -> io::Result<()> {
        let room = match self.pages_max {
            None => buf.len(),
            Some(max) => self.room(ino, offset, buf.len(), max.saturating_sub(self.pages())),
        };
        self.inode_mut(ino)?.write(number, &buf[..room], offset);
        if room < buf.len() { Err(Fault::Full.error()) } else { Ok(()) }
    }

    /// How many of `len` bytes go in with `pages` pages to give away.
    fn room(&self, ino: Ino, offset: u64, len: usize, mut pages: u64) -> usize {
        let Ok(inode) = self.inode(ino) else { return 0 };
        let first = offset / PAGE_BYTES as u64;
        let end = (offset + len as u64).div_ceil(PAGE_BYTES as u64);
        for page in (first..end).filter(|page| !inode.content().has_room_at(*page)) {
            if pages == 0 {
                let fits = (page * PAGE_BYTES as u64).saturating_sub(offset);
                return usize::try_from(fits).unwrap_or(len);
            }
            pages -= 1;
        }
        len
    }

    /// Pages that are taken by files with a name and by open ones.
    pub(super) fn pages(&self) -> u64 {
        let mut live: BTreeSet<Ino> = self.names.cached_files().collect();
        live.extend(self.handles.keys());
        live.iter().filter_map(|ino| self.files.get(ino)).map(|inode| inode.content().pages()).sum()
    }

    /// Forgets files that nothing can reach any more.
    fn sweep(&mut self) {
        let named = self.names.files();
        let (handles, freed) = (&self.handles, &mut self.freed);
        self.files.retain(|ino, inode| {
            let stays = named.contains(ino) || handles.contains_key(ino);
            if !stays {
                freed.extend(inode.content().some_pages(FREED_PAGES_MAX / 2));
            }
            stays
        });
        freed.drain(..freed.len().saturating_sub(FREED_PAGES_MAX));
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let path: Arc<Path> = path.into();
        match mode {
            Mode::Create => self.0.before(Kind::Create, &path),
            Mode::Replace if self.exists(&path)? => self.0.before(Kind::SetLen, &path),
            Mode::Replace => self.0.before(Kind::Create, &path),
            Mode::Read | Mode::Write => point(),
        }
        let mut state = self.0.state.lock();
        state.schedule.alive()?;
        let place = state.names.place(&path)?;
        let found = state.names.file(&place);
        let ino = match (mode, found) {
            (Mode::Create, Ok(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Mode::Create | Mode::Replace, Err(e)) if e.kind() == io::ErrorKind::NotFound => {
                let number = state.schedule.begin(Kind::Create, &path, true, 0)?;
                state.create(number, place)
            }
            (Mode::Replace, Ok(ino)) => {
                let number = state.schedule.begin(Kind::SetLen, &path, false, 0)?;
                state.inode_mut(ino)?.set_len(number, 0);
                ino
            }
            (_, found) => found?,
        };
        Ok(Arc::new(self.handle(&mut state, ino, path, mode != Mode::Read)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_as(from, to, true)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_as(from, to, false)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path: Arc<Path> = path.into();
        self.0.before(Kind::Remove, &path);
        let mut state = self.0.state.lock();
        state.schedule.alive()?;
        let place = state.names.place(&path)?;
        state.names.file(&place)?;
        let number = state.schedule.begin(Kind::Remove, &path, false, 0)?;
        state.names.unlink(number, place);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        point();
        let state = self.0.state.lock();
        state.schedule.alive()?;
        let mut entries = Vec::new();
        for (name, node) in state.names.list(state.names.dir(dir)?) {
            if let Node::File(ino) = node {
                let bytes = state.inode(ino)?.content().len();
                entries.push(Entry { name: name.to_string(), bytes });
            }
        }
        Ok(entries)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut path = PathBuf::from("/");
        for name in parts(dir)? {
            path.push(name);
            if self.exists(&path)? {
                continue;
            }
            let path: Arc<Path> = path.as_path().into();
            self.0.before(Kind::CreateDir, &path);
            let mut state = self.0.state.lock();
            state.schedule.alive()?;
            let place = state.names.place(&path)?;
            // Another thread may have made it meanwhile.
            if state.names.at(&place).is_none() {
                let number = state.schedule.begin(Kind::CreateDir, &path, true, 0)?;
                let ino = state.new_ino();
                state.names.add_dir(ino);
                state.names.link(number, place, Node::Dir(ino));
            }
        }
        let state = self.0.state.lock();
        state.names.dir(dir).map(drop)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let path: Arc<Path> = dir.into();
        self.0.before(Kind::SyncDir, &path);
        let mut state = self.0.state.lock();
        state.schedule.alive()?;
        let dir = state.names.dir(dir)?;
        state.schedule.begin(Kind::SyncDir, &path, false, 0)?;
        state.names.sync(dir);
        state.sweep();
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        point();
        let state = self.0.state.lock();
        state.schedule.alive()?;
        if state.names.dir(path).is_ok_and(|dir| dir == ROOT) {
            return Ok(true);
        }
        match state.names.place(path) {
            Ok(place) => Ok(state.names.at(&place).is_some()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn lock(&self, path: &Path, note: &str) -> io::Result<Locking> {
        let path: Arc<Path> = path.into();
        self.0.before(Kind::Lock, &path);
        let mut state = self.0.state.lock();
        state.schedule.alive()?;
        let place = state.names.place(&path)?;
        let found = match state.names.file(&place) {
            Ok(ino) => Some(ino),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        if let Some(ino) = found.filter(|ino| state.locks.contains(ino)) {
            let mut held_by = vec![0; NOTE_BYTES];
            let n = state.inode(ino)?.content().read(&mut held_by, 0);
            let held_by = String::from_utf8_lossy(&held_by[..n]);
            return Ok(Locking::Refused(held_by.trim().to_owned()));
        }
        let number = state.schedule.begin(Kind::Lock, &path, found.is_none(), 0)?;
        let ino = found.unwrap_or_else(|| state.create(number, place));
        if let Some(note) = padded(note) {
            state.write(number, ino, note.as_bytes(), 0)?;
        }
        state.locks.insert(ino);
        Ok(Locking::Held(Box::new(Guard(self.handle(&mut state, ino, path, true)))))
    }
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

/// No file is longer, as on Linux: offsets are signed.
fn check_end(offset: u64, len: usize) -> io::Result<()> {
    match offset.checked_add(len as u64).map(i64::try_from) {
        Some(Ok(_)) => Ok(()),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        point();
        let mut state = self.shared.state.lock();
        state.schedule.alive()?;
        let (number, fault) = state.schedule.read();
        let inode = state.inode(self.ino)?;
        if inode.is_unreadable(offset, buf.len()) {
            return Err(Fault::Io.error());
        }
        let content = inode.content();
        match fault {
            None => Ok(content.read(buf, offset)),
            Some(ReadFault::Io) => Err(Fault::Io.error()),
            Some(ReadFault::Short) => {
                let half = buf.len() / 2;
                Ok(content.read(&mut buf[..half], offset))
            }
            Some(ReadFault::Misdirected) => {
                let page = PAGE_BYTES as u64;
                let elsewhere = offset.checked_sub(page).unwrap_or(offset + page);
                let there = content.read(buf, offset);
                content.read(&mut buf[..there], elsewhere);
                Ok(there)
            }
            Some(ReadFault::Rot) => {
                let there = content.read(buf, offset);
                if let Some(byte) = buf[..there].get_mut(number as usize * 31 % there.max(1)) {
                    *byte ^= 1 << (number % 8);
                }
                Ok(there)
            }
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        check_end(offset, buf.len())?;
        self.shared.before(Kind::Write, &self.path);
        let mut state = self.shared.state.lock();
        state.schedule.alive()?;
        let needs_space = state.room(self.ino, offset, buf.len(), 0) < buf.len();
        match state.schedule.begin(Kind::Write, &self.path, needs_space, buf.len()) {
            Ok(number) => state.write(number, self.ino, buf, offset),
            Err(Denied { number, error, issued, .. }) => {
                state.write(number, self.ino, &buf[..issued], offset)?;
                Err(error)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.before(Kind::Sync, &self.path);
        let mut state = self.shared.state.lock();
        state.schedule.alive()?;
        let begun = state.schedule.begin(Kind::Sync, &self.path, false, 0);
        let inode = state.inode_mut(self.ino)?;
        match begun {
            Ok(_) => inode.sync(),
            Err(denied) => {
                if !denied.crash {
                    inode.fail_sync();
                }
                return Err(denied.error);
            }
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.check_writable()?;
        check_end(bytes, 0)?;
        self.shared.before(Kind::SetLen, &self.path);
        let mut state = self.shared.state.lock();
        state.schedule.alive()?;
        let number = state.schedule.begin(Kind::SetLen, &self.path, false, 0)?;
        state.inode_mut(self.ino)?.set_len(number, bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        point();
        let state = self.shared.state.lock();
        state.schedule.alive()?;
        Ok(state.inode(self.ino)?.content().len())
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(count) = state.handles.get_mut(&self.ino) {
            *count -= 1;
            if *count == 0 {
                state.handles.remove(&self.ino);
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.shared.state.lock().locks.remove(&self.0.ino);
    }
}

impl SimDisk {
    fn rename_as(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let path: Arc<Path> = to.into();
        self.0.before(Kind::Rename, &path);
        let mut state = self.0.state.lock();
        state.schedule.alive()?;
        let (from, to) = (state.names.place(from)?, state.names.place(to)?);
        match (state.names.at(&from), state.names.at(&to)) {
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
            (Some(_), Some(_)) if !replace => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::Dir(_)), Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::File(_)), Some(Node::Dir(_))) => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            _ => {}
        }
        let number = state.schedule.begin(Kind::Rename, &path, false, 0)?;
        state.names.rename(number, from, to);
        Ok(())
    }
}
