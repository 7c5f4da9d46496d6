//! One journal file: making it, filling it with zeros ahead of its frames, writing and reading.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crypto::{Cipher, Nonce};
use crate::env::{Aligned, Disk, Env, File, Mode, read_exact_at};
use crate::error::{Damage, Error, Result};
use crate::format::frame::{FRAMES_FROM, end_mark};
use crate::format::header::{
    Codec, FILE_HEADER_BYTES, FileKind, UNIT_HEADER_BYTES, Unit, UnitKind,
};
use crate::format::manifest::JournalHead;
use crate::ids::FileId;
use crate::planted::{self, Bug};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::scan::are_whole_frames;

/// Folder of the journals in a store.
pub(crate) const JOURNAL_DIR: &str = "journal";
/// Name ending of a journal.
pub(crate) const JOURNAL_SUFFIX: &str = ".rvj";
/// Largest journal file: what it may be rotated at, one frame, the zeros ahead of it, and room to spare.
const FILE_BYTES_MAX: u32 = 3 << 30;
/// Zeros are written in pieces of this size: one buffer, whatever the step of filling.
const ZERO_PIECE_BYTES: usize = 1 << 20;
/// A file that is filled at once is synced after so many bytes: syncs of other journals wait behind what a disk has been given, and a whole journal takes it
/// a tenth of a second.
const FILL_SYNC_BYTES: u32 = 4 << 20;

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// An open journal.
pub(crate) struct Journal {
    pub(crate) id: FileId,
    pub(crate) head: JournalHead,
    /// The name within the store, for messages.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) cipher: Cipher,
    file: Arc<dyn File>,
    /// Frames before this offset are durable, and so visible.
    durable: AtomicU32,
    ended: AtomicBool,
    /// Everything before this offset has been written at least once, so that a frame there changes no metadata.
    filled: Mutex<u32>,
}

/// The name within the store of the journal with this id.
pub(crate) fn journal_name(id: FileId) -> String {
    format!("{JOURNAL_DIR}/{id}{JOURNAL_SUFFIX}")
}

/// What a journal is made from.
pub(crate) struct NewJournal<'a> {
    pub(crate) root: &'a Path,
    pub(crate) id: FileId,
    pub(crate) head: JournalHead,
    pub(crate) cipher: Cipher,
    pub(crate) nonce: Nonce,
    /// A journal whose chunks all stand in segments, to be written over.
    pub(crate) recycled: Option<PathBuf>,
    /// How far to fill a new file with zeros at once.
    pub(crate) fill_bytes: u32,
}

impl Journal {
    /// Makes a journal and syncs it and its directory. The caller publishes it before a frame goes into it.
    pub(crate) fn create(disk: &dyn Disk, new: NewJournal<'_>) -> Result<Self> {
        let name = journal_name(new.id);
        let path = new.root.join(&name);
        let page = head_page(new.id, &new.head, &new.cipher, &new.nonce);
        let doing = "making the journal";
        let made = match &new.recycled {
            Some(old) => write_over(disk, old, &path, &page),
            None => fill(disk, &path, &page, new.fill_bytes.max(FRAMES_FROM)),
        };
        let (file, filled) = made.map_err(|e| Error::io(doing, &path, e))?;
        let dir = new.root.join(JOURNAL_DIR);
        disk.sync_dir(&dir).map_err(|e| {
            let _ = disk.remove(&path);
            Error::io(doing, &dir, e)
        })?;
        Ok(Self {
            id: new.id,
            head: new.head,
            name,
            path,
            cipher: new.cipher,
            file,
            durable: AtomicU32::new(FRAMES_FROM),
            ended: AtomicBool::new(false),
            filled: Mutex::new(filled),
        })
    }

    /// Opens a journal that is there, for reading. None of its frames is visible before
    /// [`set_durable`](Self::set_durable).
    pub(crate) fn open(disk: &dyn Disk, root: &Path, id: FileId, cipher: Cipher) -> Result<Self> {
        let name = journal_name(id);
        let path = root.join(&name);
        let file = match disk.open(&path, Mode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::corrupt(&name, 0, Damage::Missing));
            }
            file => file.map_err(|e| Error::io("opening the journal", &path, e))?,
        };
        let failed = |e| unread(&name, &path, 0, e);
        let bytes = file.len().map_err(failed)?;
        let mut page = vec![0; bytes.min(FRAMES_FROM.into()) as usize];
        read_exact_at(&*file, &mut page, 0).map_err(failed)?;
        let head = parse_head(&name, id, &mut page, &cipher)?;
        let filled = u32::try_from(bytes)
            .ok()
            .filter(|&bytes| bytes <= FILE_BYTES_MAX)
            .ok_or_else(|| Error::corrupt(&name, 0, Damage::Malformed("journal length")))?;
        let (durable, ended) = (AtomicU32::new(FRAMES_FROM), AtomicBool::new(false));
        let filled = Mutex::new(filled);
        Ok(Self { id, head, name, path, cipher, file, durable, ended, filled })
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &dyn File {
        &*self.file
    }

    /// The length of the file in bytes.
    pub(crate) fn filled(&self) -> u32 {
        *self.filled.lock()
    }

    /// The end of what is durable and visible.
    pub(crate) fn durable(&self) -> u32 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn set_durable(&self, offset: u32) {
        self.durable.store(offset, Ordering::Release);
    }

    /// Writes frames at `offset`, filling the file first where they would pass what is filled.
    pub(crate) fn write(&self, frames: &[u8], offset: u32, fill_step: u32) -> Result<()> {
        let end = u64::from(offset) + frames.len() as u64;
        let end = u32::try_from(end)
            .map_err(|_| Error::corrupt(&self.name, end, Damage::Malformed("journal length")))?;
        self.fill(end, fill_step)?;
        self.file
            .write_at(frames, offset.into())
            .map_err(|e| Error::io("appending to the journal", &self.path, e))
    }

    /// Fills the file with zeros so that everything before `end` has been written, a step at a time.
    pub(crate) fn fill(&self, end: u32, step: u32) -> Result<()> {
        let mut filled = self.filled.lock();
        while *filled < end {
            // In whole pages: so can be written again whatever is in it.
            let to = filled.saturating_add(step.max(1)).max(end);
            let to = to.checked_next_multiple_of(FRAMES_FROM).unwrap_or(to);
            write_zeros(&*self.file, *filled, to)
                .map_err(|e| Error::io("filling the journal", &self.path, e))?;
            *filled = to;
        }
        Ok(())
    }

    /// Makes what was written durable. A failure is final: the caller poisons the shard.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut synced = self.file.sync();
        if synced.is_err() && planted::is(Bug::FailedSyncRetried) {
            synced = self.file.sync();
        }
        synced.map_err(|e| Error::io("syncing the journal", &self.path, e))
    }

    /// Writes the mark that ends the journal at `end`, and syncs it.
    pub(crate) fn write_end(&self, end: u32) -> Result<()> {
        self.write(&end_mark(self.id, self.cipher.suite(), end), end, 0)?;
        self.sync()?;
        self.set_ended();
        Ok(())
    }

    /// Whether the mark that ends the journal stands behind its frames.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Writes the bytes from `from` to `to` again as they are, and syncs them.
    ///
    /// After a failed sync the system shows bytes that it has not written and does not mean to write; a
    /// sync alone would pass over them. Writing them as usual is not enough either: ext4 (seen with Linux 6.18) then takes the blocks for
    /// written, syncs without an error, and shows zeros after the next start. So they go past the cache, in whole pages.
    pub(crate) fn write_again(&self, disk: &dyn Disk, from: u32, to: u32) -> Result<()> {
        let doing = "recovering the journal";
        let failed = |e| Error::io(doing, &self.path, e);
        let first = from;
        let from = first / FRAMES_FROM * FRAMES_FROM;
        let bytes = self.file.len().map_err(failed)?;
        let end = u64::from(to).next_multiple_of(FRAMES_FROM.into()).min(bytes);
        let bytes = end.saturating_sub(from.into()) as usize;
        let (mut pages, mut again) = (Aligned::new(bytes), Aligned::new(bytes));
        self.read_into(from, &mut pages)?;
        self.read_into(from, &mut again)?;
        // A read that went wrong on its way would be written over what is right: the frames are checked, and what else stands
        // in their pages, of which no checksum is at hand, must be read alike twice.
        let frames = pages.get((first - from) as usize..(to - from) as usize);
        let whole = frames.is_some_and(|frames| are_whole_frames(self.id, first, frames));
        if !whole || pages[..] != again[..] {
            return Err(Error::corrupt(&self.name, first.into(), Damage::Rot));
        }
        let write = || -> io::Result<()> {
            let file = disk.open_direct(&self.path, Mode::Write)?;
            file.write_at(&pages, from.into())?;
            file.sync()
        };
        write().map_err(failed)
    }

    /// Gives back the zeros after `end`, when no more frames will come.
    pub(crate) fn trim(&self, end: u32) -> Result<()> {
        let mut filled = self.filled.lock();
        self.file.set_len(end.into()).map_err(|e| Error::io("trimming", &self.path, e))?;
        *filled = end;
        Ok(())
    }

    /// Refuses a journal whose file has become another one's: the header is written over first, so if it is still the same, so
    /// is all that was read before.
    pub(crate) fn check_kept(&self) -> Result<()> {
        let mut header = [0; FILE_HEADER_BYTES];
        self.read_into(0, &mut header)?;
        match FileKind::JOURNAL.check(&self.name, &header) {
            Ok(id) if id == self.id => Ok(()),
            _ => Err(Error::corrupt(&self.name, 0, Damage::Missing)),
        }
    }

    /// Reads frames at `offset`.
    pub(crate) fn read_into(&self, offset: u32, buf: &mut [u8]) -> Result<()> {
        read_exact_at(&*self.file, buf, offset.into())
            .map_err(|e| unread(&self.name, &self.path, offset, e))
    }
}

/// Why a journal could not be read. One that is put together of pieces has been opened before it is known whether they are there.
fn unread(name: &str, path: &Path, offset: u32, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::NotFound => Error::corrupt(name, offset.into(), Damage::Missing),
        io::ErrorKind::UnexpectedEof => Error::corrupt(name, offset.into(), Damage::Truncated),
        _ => Error::io("reading the journal", path, e),
    }
}

/// A new file, filled with zeros, and how far.
fn fill(disk: &dyn Disk, path: &Path, head: &[u8], bytes: u32) -> io::Result<(Arc<dyn File>, u32)> {
    let file = disk.open(path, Mode::Create)?;
    let write = || -> io::Result<()> {
        file.write_at(head, 0)?;
        let mut filled = FRAMES_FROM;
        loop {
            let to = filled.saturating_add(FILL_SYNC_BYTES).min(bytes);
            write_zeros(&*file, filled, to)?;
            file.sync()?;
            filled = to;
            if filled == bytes {
                return Ok(());
            }
        }
    };
    // A disk may be full: what was begun is of no use to anyone.
    write().inspect_err(|_| drop(disk.remove(path)))?;
    Ok((file, bytes))
}

/// The file of another journal, under a new name, and how far it is filled.
fn write_over(
    disk: &dyn Disk,
    old: &Path,
    path: &Path,
    head: &[u8],
) -> io::Result<(Arc<dyn File>, u32)> {
    let write = || -> io::Result<(Arc<dyn File>, u32)> {
        let file = disk.open(old, Mode::Write)?;
        // Zeros where the first frame goes: what stands behind them is not of this journal.
        file.write_at(&[head, &[0; SECTOR_BYTES]].concat(), 0)?;
        file.sync()?;
        disk.rename(old, path)?;
        let filled = u32::try_from(file.len()?).unwrap_or(u32::MAX);
        Ok((file, filled))
    };
    // Nobody would take it a second time.
    write().inspect_err(|_| [old, path].into_iter().for_each(|name| drop(disk.remove(name))))
}

fn write_zeros(file: &dyn File, from: u32, to: u32) -> io::Result<()> {
    static ZEROS: [u8; ZERO_PIECE_BYTES] = [0; ZERO_PIECE_BYTES];
    let mut at = u64::from(from);
    while at < u64::from(to) {
        let piece = (u64::from(to) - at).min(ZERO_PIECE_BYTES as u64) as usize;
        file.write_at(&ZEROS[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

fn head_page(id: FileId, head: &JournalHead, cipher: &Cipher, nonce: &Nonce) -> Vec<u8> {
    let mut page = FileKind::JOURNAL.header_in(cipher.suite(), id).to_vec();
    page.resize(FILE_HEADER_BYTES + UNIT_HEADER_BYTES, 0);
    head.encode(&mut page);
    UnitKind::JOURNAL_HEAD.seal(
        Codec::Stored,
        cipher,
        nonce,
        &[&id.0],
        &mut page,
        FILE_HEADER_BYTES,
    );
    debug_assert!(page.len() <= FRAMES_FROM as usize);
    page.resize(FRAMES_FROM as usize, 0);
    page
}

fn parse_head(name: &str, id: FileId, page: &mut [u8], cipher: &Cipher) -> Result<JournalHead> {
    if FileKind::JOURNAL.check(name, page)? != id {
        return Err(Error::corrupt(name, 0, Damage::Swapped));
    }
    if page.len() < FRAMES_FROM as usize {
        return Err(Error::corrupt(name, 0, Damage::Truncated));
    }
    let at = FILE_HEADER_BYTES as u64;
    let (_, unit) = page.split_at_mut(FILE_HEADER_BYTES);
    let header = crate::format::header::parse_header(UnitKind::JOURNAL_HEAD, name, at, unit)?;
    let (unit, rest) = unit
        .split_at_mut_checked(UNIT_HEADER_BYTES + header.body_bytes)
        .ok_or_else(|| Error::corrupt(name, at, Damage::Malformed("journal head")))?;
    if rest.iter().any(|&b| b != 0) {
        return Err(Error::corrupt(name, at, Damage::Rot));
    }
    let text =
        Unit::check(UnitKind::JOURNAL_HEAD, name, at, unit)?.open(cipher, &[&id.0], name, at)?;
    JournalHead::decode(text).map_err(|m| Error::corrupt(name, at, Damage::Malformed(m.0)))
}

/// Removes a journal whose chunks all stand in segments. A file that is gone already is no error.
pub(crate) fn remove(env: &Env, path: &Path) -> Result<()> {
    match env.disk.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("removing the journal", path, e))
        }
        _ => Ok(()),
    }
}
