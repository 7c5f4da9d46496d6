//! A snapshot as a store that is only read: a disk whose files are put together of the repository's objects.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fetch::is_lost;
use super::repository::{PIECES, Repository};
use crate::env::{Disk, Entry, Env, File, Locking, Mode, Place};
use crate::error::{Error, Result};
use crate::format::repository::{Piece, SnapshotBody, Stored, bytes_of};
use crate::ids::FileId;
use crate::journal::file::journal_name;
use crate::journal::scan::Recovery;
use crate::retention::log::LOG;
use crate::segment::writer::segment_name;
use crate::store::manifest::{self, MANIFEST};
use crate::store::{Options, Store};

/// A disk on which the files of one snapshot lie below a path, and all others where they are: mirrors of the keyring, a store
/// that is restored.
struct View {
    below: Arc<dyn Disk>,
    root: PathBuf,
    place: Arc<dyn Place>,
    files: HashMap<PathBuf, Content>,
    /// As in [`Joined`].
    around: bool,
}

/// What a file consists of.
enum Content {
    Memory(Arc<[u8]>),
    Object(String, u64),
    /// Each with where it begins.
    Pieces(Arc<[(u64, String, u64)]>),
}

impl Content {
    fn bytes(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Object(_, bytes) => *bytes,
            Self::Pieces(pieces) => pieces.last().map_or(0, |(from, _, bytes)| from + bytes),
        }
    }
}

impl Repository {
    /// Opens a snapshot where it lies, as a store that is only read.
    ///
    /// Opening takes two reads, and one for the journals of each shard; then a segment takes one read at its end, a session of it one
    /// more for the site's index, its replay one more. What is kept of indexes is bounded by
    /// [`Options::cache_bytes`]. What was erased or has expired since the snapshot was made is erased or expired here.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`]; as [`Store::open_read_only`]; the place's.
    pub fn open_snapshot(&self, number: u64) -> Result<Store> {
        let body = self.snapshot(number)?;
        let segments = self.segments(&body)?;
        self.open_body(&body, &segments, self.options.recovery)
    }

    /// One snapshot.
    pub(super) fn snapshot(&self, number: u64) -> Result<SnapshotBody> {
        match self.read_snapshot(number) {
            Err(Error::Corrupt(c)) if c.kind == crate::error::Damage::Missing => {
                Err(Error::NoSnapshot(self.name()))
            }
            read => read.map(|(_, body)| body),
        }
    }

    pub(super) fn open_body(
        &self,
        body: &SnapshotBody,
        segments: &[Stored],
        recovery: Recovery,
    ) -> Result<Store> {
        let env = self.env();
        let root = PathBuf::from(format!("/snapshot {} of {}", body.number, self.name()));
        let mut files = HashMap::new();
        let cipher = self.keyring.manifest_cipher();
        let mut manifest = body.manifest(segments);
        for (entry, journal) in manifest.journals.iter_mut().zip(&body.journals) {
            // Pieces end with a whole frame: without it, one is lost, and not the tail torn.
            entry.cut = bytes_of(&journal.pieces);
        }
        let sealed = manifest::seal(&manifest, &cipher, &*env.random);
        let sealed = sealed.map_err(|e| Error::io("sealing the manifest of", &root, e))?;
        files.insert(root.join(MANIFEST), Content::Memory(sealed.into()));
        for stored in segments {
            let object = self.segment_object(stored.entry.id, stored.copy);
            let path = root.join(segment_name(stored.entry.id));
            files.insert(path, Content::Object(object, stored.entry.bytes));
        }
        for journal in &body.journals {
            files.insert(root.join(journal_name(journal.id)), self.pieces(&journal.pieces));
        }
        if bytes_of(&body.deletions) > 0 {
            files.insert(root.join(LOG), self.pieces(&body.deletions));
        }
        let (below, place) = (Arc::clone(&env.disk), Arc::clone(&self.place));
        let around = recovery == Recovery::Salvage;
        let view = View { below, root: root.clone(), place, files, around };
        let env = Env { disk: Arc::new(view), ..env.clone() };
        let options = Options { dir: root, env, recovery, ..self.options.clone() };
        Store::open_read_only(options)
    }

    fn pieces(&self, pieces: &[Piece]) -> Content {
        let mut at = 0;
        let placed = pieces.iter().map(|piece| {
            let from = at;
            at += piece.bytes;
            (from, self.piece_object(piece.id), piece.bytes)
        });
        Content::Pieces(placed.collect())
    }

    pub(super) fn piece_object(&self, id: FileId) -> String {
        self.object(PIECES, id)
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl View {
    fn is_ours(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }
}

impl Disk for View {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        if !self.is_ours(path) {
            return self.below.open(path, mode);
        }
        if mode != Mode::Read {
            return read_only();
        }
        let content = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let bytes = content.bytes();
        match content {
            Content::Memory(memory) => Ok(Arc::new(Memory(Arc::clone(memory)))),
            Content::Object(name, bytes) => self.place.open(name, *bytes),
            Content::Pieces(pieces) => {
                let (place, pieces) = (Arc::clone(&self.place), Arc::clone(pieces));
                Ok(Arc::new(Joined { place, pieces, bytes, around: self.around }))
            }
        }
    }

    fn open_direct(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        if self.is_ours(path) { read_only() } else { self.below.open_direct(path, mode) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.is_ours(from) || self.is_ours(to) {
            return read_only();
        }
        self.below.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.is_ours(from) || self.is_ours(to) {
            return read_only();
        }
        self.below.rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.is_ours(path) { read_only() } else { self.below.remove(path) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        if !self.is_ours(dir) {
            return self.below.list(dir);
        }
        let here = self.files.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, content): (&PathBuf, &Content)| Entry {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: content.bytes(),
        };
        Ok(here.map(entry).collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if self.is_ours(dir) { read_only() } else { self.below.create_dir(dir) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.is_ours(dir) { Ok(()) } else { self.below.sync_dir(dir) }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        if self.is_ours(path) { Ok(self.files.contains_key(path)) } else { self.below.exists(path) }
    }

    fn lock(&self, path: &Path, note: &str) -> io::Result<Locking> {
        if self.is_ours(path) { read_only() } else { self.below.lock(path, note) }
    }
}

/// A file in memory.
struct Memory(Arc<[u8]>);

impl File for Memory {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let rest = &self.0[from..];
        let bytes = rest.len().min(buf.len());
        buf[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        read_only()
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        read_only()
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

/// A file that is put together of pieces.
struct Joined {
    place: Arc<dyn Place>,
    pieces: Arc<[(u64, String, u64)]>,
    bytes: u64,
    /// Whether there are zeros where a piece is lost: of a journal, what stands behind them can be salvaged.
    around: bool,
}

impl Joined {
    /// Reads from one piece; of one that is lost, what there is of it.
    fn read_piece(&self, name: &str, bytes: u64, buf: &mut [u8], at: u64) -> io::Result<()> {
        let read = self.place.open(name, bytes).and_then(|file| file.read_at(buf, at));
        let there = match read {
            Err(e) if self.around && is_lost(&e) => 0,
            read => read?,
        };
        if there < buf.len() && !self.around {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf[there..].fill(0);
        Ok(())
    }
}

impl File for Joined {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        let first = self.pieces.partition_point(|(from, _, bytes)| from + bytes <= offset);
        for (from, name, bytes) in &self.pieces[first..] {
            let at = offset + done as u64 - from;
            let part = (bytes - at).min((buf.len() - done) as u64) as usize;
            self.read_piece(name, *bytes, &mut buf[done..done + part], at)?;
            done += part;
            if done == buf.len() {
                break;
            }
        }
        Ok(done)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        read_only()
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        read_only()
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }
}
