//! A repository: its root, and the objects that say what it holds, sealed and opened.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::fetch::is_damage;
use crate::crypto::{Cipher, Nonce};
use crate::env::{Bytes, Env, Place};
use crate::error::{Damage, Error, Result};
use crate::format::codec::Malformed;
use crate::format::header::{
    Codec, FILE_HEADER_BYTES, FileKind, UNIT_HEADER_BYTES, Unit, UnitKind,
};
use crate::format::repository::{
    MarkBody, ROOT, SnapshotBody, Stored, check_root, decode_list, encode_list, root,
};
use crate::ids::{FileId, StoreId};
use crate::keyring::{Keyring, draw};
use crate::limits::STATE_BYTES_MAX;
use crate::store::Options;

pub(super) const SEGMENTS: &str = "segment";
pub(super) const PIECES: &str = "piece";
pub(super) const LISTS: &str = "list";
pub(super) const SNAPSHOTS: &str = "snapshot";
pub(super) const MARKS: &str = "mark";
/// Largest root in bytes.
const ROOT_BYTES_MAX: usize = 4 << 10;

/// What prunes have marked, each mark with its name.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) sound: Vec<(String, MarkBody)>,
    /// Those that cannot be read, and may name anything.
    pub(super) damaged: Vec<(String, Error)>,
}

/// The backups of one store in a repository.
///
/// It holds the keyring open for reading: without it, nothing in a repository can be read, and what was erased or has expired since a
/// backup was made cannot be read with it either.
pub struct Repository {
    pub(super) place: Arc<dyn Place>,
    pub(super) options: Options,
    pub(super) keyring: Keyring,
    cipher: Cipher,
    /// The folder of the store's objects.
    folder: String,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("place", &self.place.name()).finish_non_exhaustive()
    }
}

impl Repository {
    /// Opens a repository. Of the options the keyring, its key provider and the environment are used; the store itself
    /// need not exist any more.
    ///
    /// # Errors
    /// [`Error::NoRepository`]; those of opening a keyring; damage of the root, and features that it requires and this build
    /// does not have; the place's errors.
    pub fn open(place: Arc<dyn Place>, options: Options) -> Result<Self> {
        match place.get(ROOT, ROOT_BYTES_MAX) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoRepository(place.name()));
            }
            bytes => {
                check_root(&bytes.map_err(|e| failed("opening the repository", &*place, ROOT, e))?)?
            }
        };
        let provider = Arc::clone(&options.provider);
        let keyring =
            Keyring::open(&options.env, &options.keyring, provider, true, options.part_bytes)?;
        let cipher = keyring.repository_cipher();
        let folder = keyring.store_id().to_string();
        Ok(Self { place, options, keyring, cipher, folder })
    }

    /// Opens a repository, and makes it first if there is none. What cannot keep a repository's promises is refused.
    ///
    /// # Errors
    /// As [`open`](Self::open); of kind `Unsupported` if the place does not keep what [`Place`] promises.
    pub fn open_or_make(place: Arc<dyn Place>, options: Options) -> Result<Self> {
        match Self::open(Arc::clone(&place), options.clone()) {
            Err(Error::NoRepository(_)) => {}
            opened => return opened,
        }
        let making = |e| failed("making the repository", &*place, ROOT, e);
        place.probe(draw(&*options.env.random)?).map_err(making)?;
        match place.create(ROOT, &root(FileId(draw(&*options.env.random)?))) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(making(e)),
            _ => Self::open(place, options),
        }
    }

    /// The store whose backups these are.
    #[must_use]
    pub fn store(&self) -> StoreId {
        self.keyring.store_id()
    }

    /// Where it lies, as a person would name it.
    #[must_use]
    pub fn name(&self) -> String {
        self.place.name()
    }

    /// Tries whether the place keeps what a repository needs of it.
    ///
    /// # Errors
    /// Of kind `Unsupported`, saying what it does not keep; the place's errors.
    pub fn probe(&self) -> Result<()> {
        let nonce = draw(&*self.env().random)?;
        self.place.probe(nonce).map_err(|e| self.failed("probing the repository", "probe", e))
    }

    pub(super) fn env(&self) -> &Env {
        &self.options.env
    }

    /// The whole name of one of the store's objects.
    pub(super) fn object(&self, folder: &str, name: impl std::fmt::Display) -> String {
        format!("{}/{folder}/{name}", self.folder)
    }

    pub(super) fn folder(&self, folder: &str) -> String {
        format!("{}/{folder}", self.folder)
    }

    pub(super) fn failed(&self, doing: &'static str, name: &str, cause: io::Error) -> Error {
        failed(doing, &*self.place, name, cause)
    }

    /// The names in a folder, in order, at most so many.
    pub(super) fn names(&self, folder: &str, names_max: usize) -> Result<Vec<crate::env::Entry>> {
        let folder = self.folder(folder);
        let listed = self.place.list(&folder, names_max);
        listed.map_err(|e| self.failed("listing the repository", &folder, e))
    }

    fn seal(
        &self,
        file: FileKind,
        unit: UnitKind,
        context: &[u8],
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(FileId, Vec<u8>)> {
        let random = &*self.env().random;
        let (id, nonce): (FileId, Nonce) = (FileId(draw(random)?), draw(random)?);
        let mut bytes = file.header_in(self.cipher.suite(), id).to_vec();
        bytes.resize(FILE_HEADER_BYTES + UNIT_HEADER_BYTES, 0);
        encode(&mut bytes);
        let at = FILE_HEADER_BYTES;
        unit.seal(Codec::Stored, &self.cipher, &nonce, &[&id.0, context], &mut bytes, at);
        Ok((id, bytes))
    }

    fn unseal<T>(
        &self,
        name: &str,
        (file, unit): (FileKind, UnitKind),
        context: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<(FileId, T)> {
        let read = self.place.get(name, STATE_BYTES_MAX);
        let mut bytes = read.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::corrupt(name, 0, Damage::Missing),
            _ => self.failed("reading", name, e),
        })?;
        let id = file.check(name, &bytes)?;
        let at = FILE_HEADER_BYTES as u64;
        let body = Unit::check(unit, name, at, &mut bytes[FILE_HEADER_BYTES..])?;
        let plain = body.open(&self.cipher, &[&id.0, context], name, at)?;
        let decoded = decode(plain);
        Ok((id, decoded.map_err(|m| Error::corrupt(name, at, Damage::Malformed(m.0)))?))
    }

    pub(super) fn seal_snapshot(&self, body: &SnapshotBody) -> Result<(FileId, Vec<u8>)> {
        let number = body.number.to_le_bytes();
        self.seal(FileKind::SNAPSHOT, UnitKind::SNAPSHOT, &number, |out| body.encode(out))
    }

    pub(super) fn snapshot_name(&self, number: u64) -> String {
        self.object(SNAPSHOTS, format_args!("{:016x}", u64::MAX - number))
    }

    /// One snapshot, and its token.
    pub(super) fn read_snapshot(&self, number: u64) -> Result<(FileId, SnapshotBody)> {
        let (name, context) = (self.snapshot_name(number), number.to_le_bytes());
        let kind = (FileKind::SNAPSHOT, UnitKind::SNAPSHOT);
        let (token, body) = self.unseal(&name, kind, &context, SnapshotBody::decode)?;
        if body.number != number || body.store != self.store() {
            return Err(Error::corrupt(&name, 0, Damage::Swapped));
        }
        Ok((token, body))
    }

    /// The numbers of the snapshots, the newest first, at most so many.
    pub(super) fn numbers(&self, numbers_max: usize) -> Result<Vec<u64>> {
        let list = |names_max| -> Result<(bool, Vec<u64>)> {
            let listed = self.names(SNAPSHOTS, names_max)?;
            let numbers = listed.iter().filter_map(|entry| number_of(&entry.name));
            Ok((listed.len() == names_max, numbers.collect()))
        };
        let (is_cut, mut numbers) = list(numbers_max)?;
        if is_cut && numbers.len() < numbers_max {
            // Strangers' files stand before them: `.DS_Store`, what is left of one removed on NFS.
            numbers = list(usize::MAX)?.1;
            numbers.truncate(numbers_max);
        }
        Ok(numbers)
    }

    /// All segments of a snapshot.
    pub(super) fn segments(&self, snapshot: &SnapshotBody) -> Result<Vec<Stored>> {
        let Some(list) = snapshot.list else { return Ok(snapshot.added.clone()) };
        Ok(apply(self.read_list(list)?, snapshot))
    }

    pub(super) fn read_list(&self, id: FileId) -> Result<Vec<Stored>> {
        let name = self.object(LISTS, id);
        let (found, list) =
            self.unseal(&name, (FileKind::LIST, UnitKind::LIST), &[], decode_list)?;
        match found == id {
            true => Ok(list),
            false => Err(Error::corrupt(&name, 0, Damage::Swapped)),
        }
    }

    pub(super) fn write_list(&self, segments: &[Stored]) -> Result<FileId> {
        let encode = |out: &mut Vec<u8>| encode_list(segments, out);
        let (id, bytes) = self.seal(FileKind::LIST, UnitKind::LIST, &[], encode)?;
        self.put_bytes(&self.object(LISTS, id), &bytes)?;
        Ok(id)
    }

    pub(super) fn write_mark(&self, mark: &MarkBody) -> Result<()> {
        let encode = |out: &mut Vec<u8>| mark.encode(out);
        let (id, bytes) = self.seal(FileKind::MARK, UnitKind::MARK, &[], encode)?;
        let name = self.object(MARKS, id);
        self.place.create(&name, &bytes).map_err(|e| self.failed("writing", &name, e))
    }

    /// The marks, none for credentials that may not read them: no prune may run beside such a backup.
    pub(super) fn marks_if_readable(&self) -> Result<Marks> {
        match self.marks() {
            Err(Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::PermissionDenied => {
                Ok(Marks::default())
            }
            marks => marks,
        }
    }

    /// The marks that lie there. One that is being removed is passed over, and what has no mark's name.
    pub(super) fn marks(&self) -> Result<Marks> {
        let mut marks = Marks::default();
        let listed = self.names(MARKS, usize::MAX)?;
        for id in listed.iter().filter_map(|entry| FileId::parse(&entry.name)) {
            let name = self.object(MARKS, id);
            match self.unseal(&name, (FileKind::MARK, UnitKind::MARK), &[], MarkBody::decode) {
                Ok((_, mark)) => marks.sound.push((name, mark)),
                Err(Error::Corrupt(c)) if c.kind == Damage::Missing => {}
                Err(e) if is_damage(&e) => marks.damaged.push((name, e)),
                Err(e) => return Err(e),
            }
        }
        Ok(marks)
    }

    pub(super) fn put_bytes(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let put = self.place.put(name, &mut Bytes(bytes));
        put.map_err(|e| self.failed("writing", name, e))
    }

    /// The name of a segment's object.
    pub(super) fn segment_object(&self, id: FileId, copy: u32) -> String {
        match copy {
            0 => self.object(SEGMENTS, id),
            n => self.object(SEGMENTS, format_args!("{id}.{n}")),
        }
    }
}

/// The number of the snapshot that has this name in its folder.
fn number_of(name: &str) -> Option<u64> {
    let hex = name.len() == 16 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    hex.then(|| u64::from_str_radix(name, 16).ok().map(|rank| u64::MAX - rank)).flatten()
}

/// A list without what is gone, and with what was added.
fn apply(mut list: Vec<Stored>, snapshot: &SnapshotBody) -> Vec<Stored> {
    if !snapshot.gone.is_empty() {
        let gone: std::collections::HashSet<FileId> = snapshot.gone.iter().copied().collect();
        list.retain(|stored| !gone.contains(&stored.entry.id));
    }
    list.extend_from_slice(&snapshot.added);
    list
}

fn failed(doing: &'static str, place: &dyn Place, name: &str, cause: io::Error) -> Error {
    Error::io(doing, PathBuf::from(format!("{}/{name}", place.name())), cause)
}
