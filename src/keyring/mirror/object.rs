//! A mirror in a bucket: an object for each generation, and one for each part.
//!
//! | name | object |
//! |---|---|
//! | `keyring/<16 hex digits>` | a keyring file; the digits are 2^64 - 1 less its generation, so that the newest is listed first |
//! | `parts/<id>` | a part |
//!
//! A generation is made by one put that succeeds only where there is no object of that name: of two writers that made the same one, one hears
//! of it. An error is no answer: what was asked for may have been done, so it is read back. The generations before are removed
//! after that; where nothing may be removed they stay, as dead as every other copy of them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{NewPart, same};
use crate::env::{Bytes, Place};
use crate::error::{Damage, Error, Result};
use crate::ids::FileId;
use crate::keyring::file::Outer;
use crate::keyring::part;
use crate::limits::STATE_BYTES_MAX;

const GENERATIONS: &str = "keyring";
const PARTS: &str = "parts";
/// How often the newest generation is looked for again because it was removed before it was read: its writer went on.
const ATTEMPTS: u32 = 32;

#[derive(Clone)]
pub(in crate::keyring) struct ObjectMirror {
    place: Arc<dyn Place>,
    /// The place's name, for messages.
    path: PathBuf,
}

fn object_name(generation: u64) -> String {
    format!("{GENERATIONS}/{:016x}", !generation)
}

fn part_object(id: FileId) -> String {
    format!("{PARTS}/{id}")
}

impl ObjectMirror {
    pub(super) fn new(place: Arc<dyn Place>) -> Self {
        let path = PathBuf::from(place.name());
        Self { place, path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn part_name(&self, id: FileId) -> String {
        format!("{}/{}", self.path.display(), part_object(id))
    }

    fn failed(&self, doing: &'static str, e: io::Error) -> Error {
        Error::io(doing, &self.path, e)
    }

    /// The newest generation by name, and how many bytes it has.
    pub(super) fn newest(&self) -> Result<Option<(u64, u64)>> {
        let listed = self.place.list(GENERATIONS, 1);
        let listed = listed.map_err(|e| self.failed("look for a keyring in", e))?;
        let Some(first) = listed.first() else { return Ok(None) };
        match generation_of(&first.name) {
            Some(generation) => Ok(Some((generation, first.bytes))),
            None => Err(self.foreign(&first.name)),
        }
    }

    fn foreign(&self, name: &str) -> Error {
        let name = format!("{}/{GENERATIONS}/{name}", self.path.display());
        Error::corrupt(&name, 0, Damage::Foreign)
    }

    pub(super) fn exists(&self) -> Result<bool> {
        Ok(self.newest()?.is_some())
    }

    pub(super) fn read(&self, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for _ in 0..ATTEMPTS {
            let Some((generation, _)) = self.newest()? else { return Ok(None) };
            let name = object_name(generation);
            match self.place.get(&name, STATE_BYTES_MAX) {
                Ok(mut bytes) => {
                    bytes.truncate(bytes_max);
                    return Ok(Some(bytes));
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => last = e,
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    let damage = Damage::Malformed("size of the keyring");
                    return Err(Error::corrupt(&name, 0, damage));
                }
                Err(e) => return Err(self.failed("read the keyring in", e)),
            }
        }
        Err(self.failed("read the keyring in", last))
    }

    pub(super) fn sync(&self) -> Result<()> {
        Ok(())
    }

    pub(super) fn write<'a>(
        &'a self,
        parts: &'a [NewPart],
        bytes: &'a [u8],
    ) -> Result<Written<'a>> {
        self.put_parts(parts)?;
        Ok(Written { mirror: self, parts, bytes })
    }

    fn put_parts(&self, parts: &[NewPart]) -> Result<()> {
        parts.iter().try_for_each(|(id, bytes)| {
            let put = self.place.put(&part_object(*id), &mut Bytes(bytes));
            put.map_err(|e| self.failed("write the keyring to", e))
        })
    }

    pub(super) fn read_part(&self, id: FileId) -> Result<Vec<u8>> {
        let name = self.part_name(id);
        self.place.get(&part_object(id), part::PART_FILE_BYTES_MAX).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::corrupt(&name, 0, Damage::Missing),
            io::ErrorKind::InvalidData => {
                Error::corrupt(&name, 0, Damage::Malformed("size of the keyring"))
            }
            _ => self.failed("read the keyring in", e),
        })
    }

    pub(super) fn write_parts(&self, parts: &[NewPart]) -> Result<()> {
        self.put_parts(parts)?;
        self.check_parts(parts)
    }

    fn check_parts(&self, parts: &[NewPart]) -> Result<()> {
        parts
            .iter()
            .try_for_each(|(id, bytes)| same(&self.part_name(*id), Ok(self.read_part(*id)?), bytes))
    }

    pub(super) fn list_parts(&self) -> Result<Vec<FileId>> {
        let listed = self.place.list(PARTS, usize::MAX);
        let listed = listed.map_err(|e| self.failed("list the parts of the keyring in", e))?;
        Ok(listed.iter().filter_map(|entry| FileId::parse(&entry.name)).collect())
    }

    pub(super) fn remove_part(&self, id: FileId) -> io::Result<()> {
        self.place.remove(&part_object(id))
    }

    /// Removes all generations.
    pub(super) fn remove(&self) {
        self.remove_all_but(None);
    }

    fn remove_all_but(&self, kept: Option<u64>) {
        let listed = self.place.list(GENERATIONS, usize::MAX).unwrap_or_default();
        let numbers = listed.iter().rev().filter_map(|entry| generation_of(&entry.name));
        let numbers: Vec<u64> = numbers.filter(|number| Some(*number) != kept).collect();
        // Newer ones would be read in its place; one that may not be removed is in the way of no other.
        let (newer, older): (Vec<u64>, Vec<u64>) =
            numbers.into_iter().partition(|number| kept.is_some_and(|kept| *number > kept));
        newer.into_iter().for_each(|number| drop(self.place.remove(&object_name(number))));
        // The oldest first: if it may not be removed yet, none may, and a refused request for each would be more with every change.
        for number in older {
            let removed = self.place.remove(&object_name(number));
            if removed.is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied) {
                break;
            }
        }
    }

    /// Puts a keyring file in the place of whatever is there, which is damaged, behind, or missing.
    pub(super) fn replace(&self, bytes: &[u8]) -> Result<()> {
        let generation = self.generation_in(bytes)?;
        let name = object_name(generation);
        if self.place.get(&name, STATE_BYTES_MAX).ok().as_deref() != Some(bytes) {
            let put = self.place.put(&name, &mut Bytes(bytes));
            put.map_err(|e| self.failed("write the keyring to", e))?;
        }
        // What is named as newer is damaged: a whole one that does not open is never replaced.
        self.remove_all_but(Some(generation));
        self.check(bytes)
    }

    fn generation_in(&self, bytes: &[u8]) -> Result<u64> {
        Ok(Outer::parse(&self.path.display().to_string(), bytes)?.generation)
    }

    fn check(&self, bytes: &[u8]) -> Result<()> {
        let back = self.read(usize::MAX)?.ok_or(Damage::Missing);
        same(&self.path.display().to_string(), back, bytes)
    }

    /// Makes a generation that there is not yet.
    fn create(&self, bytes: &[u8]) -> Result<()> {
        let name = object_name(self.generation_in(bytes)?);
        let Err(e) = self.place.create(&name, bytes) else { return Ok(()) };
        match (self.place.get(&name, STATE_BYTES_MAX), e.kind()) {
            (Ok(there), _) if there == bytes => Ok(()),
            (Ok(_), io::ErrorKind::AlreadyExists) => {
                let fork = "generation: another process made a different keyring of the same";
                Err(Error::corrupt(&name, 0, Damage::Malformed(fork)))
            }
            _ => Err(self.failed("write the keyring to", e)),
        }
    }
}

fn generation_of(name: &str) -> Option<u64> {
    let hex = name.len() == 16 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(name, 16).ok().filter(|_| hex).map(|inverted| !inverted)
}

/// What was written to a mirror and does not count yet.
pub(in crate::keyring) struct Written<'a> {
    mirror: &'a ObjectMirror,
    parts: &'a [NewPart],
    bytes: &'a [u8],
}

impl Written<'_> {
    pub(super) fn sync(&mut self) -> Result<()> {
        self.mirror.check_parts(self.parts)
    }

    pub(super) fn replace(&self) -> Result<()> {
        self.mirror.create(self.bytes)
    }

    pub(super) fn settle(&self) -> Result<()> {
        self.mirror.check(self.bytes)?;
        self.mirror.remove_all_but(Some(self.mirror.generation_in(self.bytes)?));
        Ok(())
    }
}
