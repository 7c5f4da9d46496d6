//! The manifest file: reading it, and replacing it atomically.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::crypto::{Cipher, NONCE_BYTES, Nonce, Suite, TAG_BYTES};
use crate::env::{Env, Mode, Random, read_exact_at};
use crate::error::{Damage, Error, Result};
use crate::format::header::{
    Codec, FILE_HEADER_BYTES, FileKind, UNIT_HEADER_BYTES, Unit, UnitKind,
};
use crate::format::manifest::{Manifest, SegmentEntry};
use crate::ids::FileId;
use crate::limits::STATE_BYTES_MAX;
use crate::planted::{self, Bug};
use crate::retention::clock::Watch;
use crate::segment::writer::{SEGMENT_DIR, segment_name};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};

pub(crate) const MANIFEST: &str = "manifest";
/// The key check stands behind the file header: nonce, tag, and their checksum.
const CRC_AT: usize = FILE_HEADER_BYTES + NONCE_BYTES + TAG_BYTES;
const UNIT_AT: usize = CRC_AT + 4;
const _: () = assert!(UNIT_AT == 64);
const MANIFEST_NEW: &str = "manifest.new";

/// The manifest, on disk and in memory.
pub(super) struct ManifestFile {
    env: Env,
    dir: PathBuf,
    cipher: RwLock<Cipher>,
    current: Mutex<Manifest>,
    next_journal: AtomicU64,
    /// The clock as far as it is believed; each manifest remembers it.
    pub(super) watch: Arc<Watch>,
    /// Whether a new manifest was put in place and it is not certain that it stays: neither it nor the one
    /// before may be built upon.
    unsure: AtomicBool,
}

impl ManifestFile {
    /// Writes the first manifest of a store.
    pub(super) fn create(env: Env, dir: PathBuf, cipher: Cipher, first: Manifest) -> Result<Self> {
        let next_journal = AtomicU64::new(first.next_journal);
        let watch = Arc::new(Watch::new(first.seen_ms, &*env.clock));
        let current = Mutex::new(first);
        let (cipher, unsure) = (RwLock::new(cipher), AtomicBool::new(false));
        let file = Self { env, dir, cipher, current, next_journal, watch, unsure };
        file.publish(|_| {})?;
        Ok(file)
    }

    /// Opens it for a writer, or for a reader, who changes nothing.
    pub(super) fn open(env: Env, dir: PathBuf, cipher: Cipher, read_only: bool) -> Result<Self> {
        let current = read(&env, &dir, &cipher)?;
        if !read_only {
            // A process that was killed may have put it in place without making that durable. A writer removes files that it does
            // not name: after a power cut the one before, which names them, must not come back.
            let synced = env.disk.sync_dir(&dir);
            synced.map_err(|e| Error::io("syncing the manifest", &dir, e))?;
        }
        let next_journal = AtomicU64::new(current.next_journal);
        let watch = Arc::new(Watch::new(current.seen_ms, &*env.clock));
        let (current, unsure) = (Mutex::new(current), AtomicBool::new(false));
        let cipher = RwLock::new(cipher);
        Ok(Self { env, dir, cipher, current, next_journal, watch, unsure })
    }

    /// Reads the manifest again, for a reader of a store that another process writes.
    pub(super) fn refresh(&self) -> Result<Manifest> {
        let manifest = read(&self.env, &self.dir, &self.cipher.read())?;
        self.current.lock().clone_from(&manifest);
        Ok(manifest)
    }

    /// Seals the next manifests with the same key and perhaps in another suite.
    pub(super) fn seal_with(&self, cipher: Cipher) {
        *self.cipher.write() = cipher;
    }

    pub(super) fn current(&self) -> Manifest {
        self.current.lock().clone()
    }

    /// A number for a new journal, higher than any before.
    pub(super) fn next_journal_number(&self) -> u64 {
        self.next_journal.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn generation(&self) -> u64 {
        self.current.lock().generation
    }

    /// Whether it is not certain which manifest the disk holds.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure.load(Ordering::Relaxed)
    }

    /// Refuses to make files that could not be named: nothing is published any more.
    pub(super) fn check_sure(&self) -> Result<()> {
        if self.is_unsure() { Err(Error::ManifestUnsure) } else { Ok(()) }
    }

    /// Names segments that were written, with what else changes then, once their own names are durable.
    pub(super) fn name_segments(
        &self,
        written: &[SegmentEntry],
        change: impl FnOnce(&mut Manifest),
    ) -> Result<()> {
        if !planted::is(Bug::SegmentDirectoryUnsynced) {
            let folder = self.dir.join(SEGMENT_DIR);
            let synced = self.env.disk.sync_dir(&folder);
            synced.map_err(|e| Error::io("syncing the segments", folder, e))?;
        }
        self.publish(|m| {
            change(m);
            m.segments.extend(written);
        })
    }

    /// Removes segments that could not be named.
    pub(super) fn disown_segments(&self, written: &[SegmentEntry]) {
        self.disown(written.iter().map(|entry| self.dir.join(segment_name(entry.id))));
    }

    /// Removes files that could not be named: left behind, they would fill the disk at each attempt. Where it is not certain which
    /// manifest the disk holds, it may name them, and they stay until the store is opened again.
    pub(super) fn disown(&self, files: impl IntoIterator<Item = PathBuf>) {
        if self.is_unsure() {
            return;
        }
        for file in files {
            let _ = self.env.disk.remove(&file);
        }
    }

    /// Changes the manifest and makes the change durable. On an error the change is not in effect. If it is not
    /// certain that the disk agrees, nothing more is published until the store is opened again.
    pub(super) fn publish<T>(&self, change: impl FnOnce(&mut Manifest) -> T) -> Result<T> {
        let mut current = self.current.lock();
        self.check_sure()?;
        let mut next = current.clone();
        let outcome = change(&mut next);
        next.generation += 1;
        next.seen_ms = self.watch.seen_ms();
        self.write(&next)?;
        *current = next;
        Ok(outcome)
    }

    fn write(&self, manifest: &Manifest) -> Result<()> {
        let path = self.dir.join(MANIFEST);
        let new = self.dir.join(MANIFEST_NEW);
        let failed = |e| Error::io("writing the manifest", &path, e);
        let sealed = seal(manifest, &self.cipher.read(), &*self.env.random);
        let bytes = sealed.map_err(failed)?;
        let write = || -> io::Result<()> {
            let file = self.env.disk.open(&new, Mode::Replace)?;
            file.write_at(&bytes, 0)?;
            if planted::is(Bug::ManifestUnsynced) {
                return Ok(());
            }
            file.sync()
        };
        write().map_err(failed)?;
        let replace = || -> io::Result<()> {
            self.env.disk.rename(&new, &path)?;
            if planted::is(Bug::ManifestDirectoryUnsynced) {
                return Ok(());
            }
            self.env.disk.sync_dir(&self.dir)
        };
        replace().map_err(|e| {
            self.unsure.store(true, Ordering::Relaxed);
            failed(e)
        })
    }
}

/// The bytes of a manifest file.
pub(crate) fn seal(
    manifest: &Manifest,
    cipher: &Cipher,
    random: &dyn Random,
) -> io::Result<Vec<u8>> {
    let (mut id, mut nonce, mut check) = (FileId([0; 16]), Nonce::default(), Nonce::default());
    random.fill(&mut id.0)?;
    random.fill(&mut nonce)?;
    random.fill(&mut check)?;
    let mut bytes = FileKind::MANIFEST.header_in(cipher.suite(), id).to_vec();
    bytes.extend_from_slice(&check);
    cipher.seal(&check, &check_context(id), &mut bytes, FILE_HEADER_BYTES + NONCE_BYTES);
    let crc = crc32fast::hash(&bytes[FILE_HEADER_BYTES..]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.resize(UNIT_AT + UNIT_HEADER_BYTES, 0);
    manifest.encode(&mut bytes);
    UnitKind::MANIFEST.seal(Codec::Stored, cipher, &nonce, &[&id.0], &mut bytes, UNIT_AT);
    Ok(bytes)
}

/// Reads and opens the manifest of the store in a directory.
pub(crate) fn read(env: &Env, dir: &std::path::Path, cipher: &Cipher) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    let failed = |e| Error::io("reading the manifest", &path, e);
    let damaged = |damage| Error::corrupt(MANIFEST, 0, damage);
    let file = match env.disk.open(&path, Mode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(damaged(Damage::Missing)),
        file => file.map_err(failed)?,
    };
    let bytes = file.len().map_err(failed)?;
    if bytes > STATE_BYTES_MAX as u64 {
        return Err(damaged(Damage::Malformed("size of the manifest")));
    }
    let mut bytes = vec![0; bytes as usize];
    read_exact_at(&*file, &mut bytes, 0).map_err(failed)?;
    let (id, suite) = FileKind::MANIFEST.check_with_suite(MANIFEST, &bytes)?;
    check_key(id, suite, &mut bytes, cipher)?;
    let at = UNIT_AT as u64;
    let unit = &mut bytes[UNIT_AT..];
    let text = Unit::check(UnitKind::MANIFEST, MANIFEST, at, unit)?.open(
        cipher,
        &[&id.0],
        MANIFEST,
        at,
    )?;
    Manifest::decode(text).map_err(|m| damaged(Damage::Malformed(m.0)))
}

fn check_context(id: FileId) -> Vec<u8> {
    [&b"RVkc"[..], &id.0].concat()
}

/// Tells the keyring of another store from a manifest that was tampered with.
fn check_key(id: FileId, suite: Suite, bytes: &mut [u8], cipher: &Cipher) -> Result<()> {
    let damaged = |damage| Error::corrupt(MANIFEST, FILE_HEADER_BYTES as u64, damage);
    let check = bytes.get_mut(FILE_HEADER_BYTES..UNIT_AT);
    let check = check.ok_or_else(|| damaged(Damage::Truncated))?;
    let (token, crc) = check.split_at_mut(NONCE_BYTES + TAG_BYTES);
    if crc32fast::hash(token).to_le_bytes() != *crc {
        return Err(damaged(Damage::Rot));
    }
    let (nonce, tag) = token.split_at_mut(NONCE_BYTES);
    let nonce = Nonce::try_from(&*nonce).map_err(|_| damaged(Damage::Truncated))?;
    match cipher.open_in(suite, &nonce, &check_context(id), tag) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::WrongKey("the keyring belongs to another store")),
    }
}
