//! What a test does to a disk: faults and crashes, images of what they leave, and rot.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SimClock;
use super::content::{Content, PAGE_BYTES};
use super::disk::{SimDisk, State};
use super::inode::Inode;
use super::names::{Ino, Names, Node, ROOT, parts};
use super::random::SimRandom;
use super::schedule::{Fault, Kind, Operation, ReadFault, When};
use super::survival::{Chooser, Survival};
use crate::env::{Env, Random};

impl SimDisk {
    /// An empty disk with a root directory. There is no working directory: `a` is `/a`.
    #[must_use]
    pub fn new() -> Self {
        Self::with(State::new(Names::new(), Default::default(), ROOT))
    }

    /// An environment on this disk and clock. Give each opening a seed of its own, or the keys and
    /// nonces of the last one come again.
    #[must_use]
    pub fn env(&self, clock: &SimClock, seed: u64) -> Env {
        let random: Arc<dyn Random> = Arc::new(SimRandom::new(seed));
        Env { disk: Arc::new(self.clone()), clock: Arc::new(clock.clone()), random }
    }

    /// The number of operations so far that change the disk or make changes durable; also the number
    /// of the next one. Failed ones count, refused ones (a missing file, a held lock) do not.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.state.lock().schedule.operations
    }

    /// How many of them were of this kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        self.0.state.lock().schedule.counts[kind as usize]
    }

    /// The last operation, or the one that the crash prevented.
    #[must_use]
    pub fn last_operation(&self) -> Option<Operation> {
        self.0.state.lock().schedule.last.clone()
    }

    /// Calls `hook` before every operation, with no lock held, so that one run of a workload can be
    /// imaged at each. It may also be called for one that is then refused. A hook that reads what was
    /// acknowledged must do so before it takes the image. It must not change the disk.
    ///
    /// The disk owns the hook: one that owns the disk keeps both for ever.
    pub fn on_operation(&self, hook: impl Fn(&Self, &Operation) + Send + Sync + 'static) {
        *self.0.hook.lock() = Some(Arc::new(hook));
    }

    /// Crashes at the operation of this number: it does not happen, and from then on everything, reads
    /// too, answers an error.
    pub fn crash_at(&self, number: u64) {
        self.crash_within(number, 0);
    }

    /// Crashes at the operation of this number, after its first `bytes` bytes if it is a write. They are
    /// then as pending as any others: a process that is killed leaves them, a power cut may.
    pub fn crash_within(&self, number: u64, bytes: u64) {
        self.0.state.lock().schedule.crash = Some((number, bytes));
    }

    /// Whether the crash has come.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.0.state.lock().schedule.crashed
    }

    /// Plans a fault.
    pub fn fail(&self, when: When, fault: Fault) {
        self.0.state.lock().schedule.faults.push((when, fault));
    }

    /// The number of reads of files so far; also the number of the next one.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.0.state.lock().schedule.reads
    }

    /// Plans a fault of a read; reads are numbered for themselves.
    pub fn fail_read(&self, when: When, fault: ReadFault) {
        self.0.state.lock().schedule.read_faults.push((when, fault));
    }

    /// Takes back all planned faults and crashes; what a failed sync lost stays lost.
    pub fn heal(&self) {
        let schedule = &mut self.0.state.lock().schedule;
        schedule.faults.clear();
        schedule.read_faults.clear();
        schedule.crash = None;
        schedule.crashed = false;
    }

    /// Limits the disk to so many bytes, in whole pages of 4 KiB; a write beyond fills it up and then
    /// answers that it is full. Written zeros take up room and holes do not, as on a real file system,
    /// and so a zero-filled file can be written again on a full disk.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.state.lock().pages_max = bytes.map(|bytes| bytes / PAGE_BYTES as u64);
    }

    /// The bytes taken up by files that have a name or are open.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.0.state.lock().pages() * PAGE_BYTES as u64
    }

    /// The operations of which something is not yet durable, in order.
    #[must_use]
    pub fn pending_operations(&self) -> Vec<u64> {
        let state = self.0.state.lock();
        let mut numbers: BTreeSet<u64> = state.names.pending_operations().collect();
        for inode in state.files.values() {
            numbers.extend(inode.pending_operations());
        }
        numbers.into_iter().collect()
    }

    /// The disk as found after a power cut now: all that is there is durable, nothing is open or
    /// locked, no fault is planned, and operations count from 0. This disk goes on unharmed.
    #[must_use]
    pub fn crash_image(&self, survival: Survival) -> Self {
        let state = self.0.state.lock();
        let mut chooser = Chooser::new(survival);
        let names = state.names.survivor(&mut chooser);
        let mut survive = |inode: &Arc<Inode>| {
            if inode.is_settled() {
                return Arc::clone(inode);
            }
            let (units, lengths) = inode.pending();
            Arc::new(inode.survivor(&mut chooser.file(units, lengths), &state.freed))
        };
        let files = names
            .cached_files()
            .filter_map(|ino| Some((ino, survive(state.files.get(&ino)?))))
            .collect();
        let mut image = State::new(names, files, state.next);
        image.pages_max = state.pages_max;
        image.freed = state.freed.clone();
        Self::with(image)
    }

    /// The disk as found after the process was killed now: all that was written is there, but nothing
    /// became durable by it, and a later power cut can still take it. Operations count on from here;
    /// otherwise as [`SimDisk::crash_image`].
    #[must_use]
    pub fn kill_image(&self) -> Self {
        let state = self.0.state.lock();
        let mut image = State::new(state.names.clone(), state.files.clone(), state.next);
        image.pages_max = state.pages_max;
        image.freed = state.freed.clone();
        // What is pending carries numbers of this count; they must not come a second time.
        image.schedule.operations = state.schedule.operations;
        Self::with(image)
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

/// Looking at files and spoiling them, past all faults and also after a crash. None of this counts as an
/// operation, and all of it is durable at once.
impl SimDisk {
    /// All files, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.0.state.lock();
        let mut paths = Vec::new();
        let mut dirs = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, dir)) = dirs.pop() {
            for (name, node) in state.names.list(dir) {
                let path = path.join(&**name);
                match node {
                    Node::File(_) => paths.push(path),
                    Node::Dir(dir) => dirs.push((path, dir)),
                }
            }
        }
        paths.sort();
        paths
    }

    /// What a file holds.
    ///
    /// # Errors
    /// If there is none.
    pub fn file_bytes(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let state = self.0.state.lock();
        let content = state.inode(state.file(path.as_ref())?)?.content();
        let mut bytes = vec![0; usize::try_from(content.len()).unwrap_or(usize::MAX)];
        content.read(&mut bytes, 0);
        Ok(bytes)
    }

    /// Makes or replaces a file, and its directories. All pending names become durable with it.
    ///
    /// # Errors
    /// If a directory stands there, or a file in place of a directory.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let mut state = self.0.state.lock();
        let number = state.schedule.operations;
        let mut at = PathBuf::from("/");
        for name in parts(path.parent().unwrap_or(Path::new("")))? {
            at.push(name);
            let place = state.names.place(&at)?;
            if state.names.at(&place).is_none() {
                let ino = state.new_ino();
                state.names.add_dir(ino);
                state.names.link(number, place, Node::Dir(ino));
            }
        }
        let mut content = Content::default();
        content.write(bytes, 0, false, |_| {});
        let place = state.names.place(path)?;
        let ino = match state.names.at(&place) {
            Some(_) => state.names.file(&place)?,
            None => {
                let ino = state.new_ino();
                state.names.link(number, place, Node::File(ino));
                ino
            }
        };
        state.files.insert(ino, Arc::new(Inode::settled(content)));
        state.names.settle();
        Ok(())
    }

    /// Removes a file. All pending names become durable with it.
    ///
    /// # Errors
    /// If there is none.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut state = self.0.state.lock();
        let place = state.names.place(path.as_ref())?;
        state.names.file(&place)?;
        let number = state.schedule.operations;
        state.names.unlink(number, place);
        state.names.settle();
        Ok(())
    }

    /// Flips the bits of `mask` in one byte.
    ///
    /// # Errors
    /// If there is no such file or byte.
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: u64, mask: u8) -> io::Result<()> {
        let mut state = self.0.state.lock();
        let ino = state.file(path.as_ref())?;
        if offset >= state.inode(ino)?.content().len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.inode_mut(ino)?.tamper(|content| {
            let mut byte = [0];
            if content.read(&mut byte, offset) == 1 {
                content.write(&[byte[0] ^ mask], offset, false, |_| {});
            }
        });
        Ok(())
    }

    /// Makes the unit of 512 bytes at this offset unreadable until it is written anew: reads of it answer an input error.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn lose_sector(&self, path: impl AsRef<Path>, offset: u64) -> io::Result<()> {
        let mut state = self.0.state.lock();
        let ino = state.file(path.as_ref())?;
        state.inode_mut(ino)?.lose_unit(offset);
        Ok(())
    }

    /// Cuts a file off, or lengthens it with zeros.
    ///
    /// # Errors
    /// If there is none.
    pub fn truncate_file(&self, path: impl AsRef<Path>, len: u64) -> io::Result<()> {
        let mut state = self.0.state.lock();
        let ino = state.file(path.as_ref())?;
        state.inode_mut(ino)?.tamper(|content| content.set_len(len));
        Ok(())
    }
}

impl State {
    fn file(&self, path: &Path) -> io::Result<Ino> {
        self.names.file(&self.names.place(path)?)
    }
}
