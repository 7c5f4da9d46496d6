//! One mirror: a place that holds a keyring file and its parts. This is all that a keyring asks of a place.
//!
//! In the file system that is a [`mod@file`] and a folder beside it; elsewhere [`object`]s, of which one for each generation.

mod file;
mod object;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(in crate::keyring) use file::parent;
pub(crate) use file::{make_dir, settle_above};

use super::part;
use super::pieces::PART_BYTES;
use crate::env::{Env, Place};
use crate::error::{Damage, Error, Result};
use crate::ids::FileId;
use crate::planted::{self, Bug};
use file::FileMirror;
use object::ObjectMirror;

/// Where a mirror is.
#[derive(Clone)]
pub(crate) enum MirrorAt {
    /// A file, and a folder beside it.
    File(PathBuf),
    /// A place for objects, which holds nothing else.
    Place(Arc<dyn Place>),
}

impl<P: AsRef<Path>> From<P> for MirrorAt {
    fn from(path: P) -> Self {
        Self::File(path.as_ref().to_owned())
    }
}

/// A part that is not written yet: its id, and its file.
pub(super) type NewPart = (FileId, Vec<u8>);

// A part that is allowed to be written can be read.
const _: () = assert!(PART_BYTES < part::PART_FILE_BYTES_MAX);

/// A mirror.
#[derive(Clone)]
pub(super) enum Mirror {
    File(FileMirror),
    Object(ObjectMirror),
}

/// What was written to a mirror and does not count yet.
///
/// All of it is written before any of it is made durable, in all mirrors: a file system that commits everything at once, as journalling
/// ones do, has nearly nothing left to do for the second sync and those after it.
pub(super) enum Written<'a> {
    File(file::Written<'a>),
    Object(object::Written<'a>),
}

/// Does the same with either kind.
macro_rules! either {
    ($of:expr, $it:ident => $does:expr) => {
        match $of {
            Self::File($it) => $does,
            Self::Object($it) => $does,
        }
    };
}

impl Mirror {
    pub(super) fn new(env: &Env, at: MirrorAt) -> Self {
        match at {
            MirrorAt::File(path) => Self::File(FileMirror::new(env, &path)),
            MirrorAt::Place(place) => Self::Object(ObjectMirror::new(place)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        either!(self, at => at.path())
    }

    /// What its keyring file is called in errors.
    pub(super) fn name(&self) -> String {
        self.path().display().to_string()
    }

    /// What a part is called in errors.
    pub(super) fn part_name(&self, id: FileId) -> String {
        either!(self, at => at.part_name(id))
    }

    pub(super) fn exists(&self) -> Result<bool> {
        either!(self, at => at.exists())
    }

    /// Reads the keyring file, at most so many bytes of it; nothing if there is none.
    pub(super) fn read(&self, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        either!(self, at => at.read(bytes_max))
    }

    /// Replaces the keyring file, durably, and reads it back. There is always the one before or this one, whole.
    pub(super) fn replace(&self, bytes: &[u8]) -> Result<()> {
        either!(self, at => at.replace(bytes))
    }

    /// Makes the directory in which it lies, where there is such a thing.
    pub(super) fn make_dir(&self) -> Result<()> {
        match self {
            Self::File(at) => at.make_dir(),
            Self::Object(_) => Ok(()),
        }
    }

    /// Whether it is in a bucket, which may be far away.
    pub(super) fn is_in_bucket(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Makes durable that this directory is there, and those above it.
    pub(super) fn settle_dir(&self) -> Result<()> {
        match self {
            Self::File(at) => at.settle_dir(),
            Self::Object(_) => Ok(()),
        }
    }

    /// Makes the keyring file that stands here durable. What it holds was synced before it was put in its place; that it is there may
    /// be known to nobody but the system, if the process that put it there was killed.
    pub(super) fn sync(&self) -> Result<()> {
        either!(self, at => at.sync())
    }

    /// Writes new parts and a keyring file, beside the one there is. Nothing of it counts yet, nor is it durable.
    pub(super) fn write<'a>(
        &'a self,
        parts: &'a [NewPart],
        bytes: &'a [u8],
    ) -> Result<Written<'a>> {
        Ok(match self {
            Self::File(at) => Written::File(at.write(parts, bytes)?),
            Self::Object(at) => Written::Object(at.write(parts, bytes)?),
        })
    }

    /// Reads a part.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not there, among others.
    pub(super) fn read_part(&self, id: FileId) -> Result<Vec<u8>> {
        either!(self, at => at.read_part(id))
    }

    /// Writes parts, durably, and reads them back. Nothing names them before that.
    pub(super) fn write_parts(&self, parts: &[NewPart]) -> Result<()> {
        either!(self, at => at.write_parts(parts))
    }

    /// The parts that are there, in use or not.
    pub(super) fn list_parts(&self) -> Result<Vec<FileId>> {
        either!(self, at => at.list_parts())
    }

    /// Removes a part that nothing names any more. Its key is gone, so it does not matter if it stays. One that is not there is no error.
    pub(super) fn remove_part(&self, id: FileId) -> io::Result<()> {
        either!(self, at => at.remove_part(id))
    }

    /// Removes the keyring file.
    pub(super) fn remove(&self) {
        either!(self, at => at.remove());
    }

    /// Removes what a crash left beside the keyring file. It is an attempt that never counted; if it cannot be removed, the next
    /// one is written over it.
    pub(super) fn remove_beside(&self) {
        if let Self::File(at) = self {
            at.remove_beside();
        }
    }

    /// The generation that it claims to hold, if that can be told without reading it.
    pub(super) fn named_generation(&self) -> Option<Result<Option<u64>>> {
        match self {
            Self::File(_) => None,
            Self::Object(at) => Some(at.newest().map(|newest| Some(newest?.0))),
        }
    }
}

impl Written<'_> {
    /// Whether its mirror is in a bucket.
    pub(super) fn is_in_bucket(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Makes it durable, where nothing names it, and reads it back.
    pub(super) fn sync(&mut self) -> Result<()> {
        if planted::is(Bug::MirrorUnsynced) {
            return Ok(());
        }
        either!(self, written => written.sync())
    }

    /// Puts the keyring file in the place of the one that is there. All mirrors must have been synced before.
    pub(super) fn replace(&self) -> Result<()> {
        either!(self, written => written.replace())
    }

    /// Makes that durable, and reads it back.
    pub(super) fn settle(&self) -> Result<()> {
        either!(self, written => written.settle())
    }
}

/// Compares what was read back with what was written.
fn same(name: &str, back: Result<Vec<u8>, Damage>, written: &[u8]) -> Result<()> {
    let damage = match back {
        Ok(back) if back == written => return Ok(()),
        Ok(_) => Damage::Rot,
        Err(damage) => damage,
    };
    Err(Error::corrupt(name, 0, damage))
}
