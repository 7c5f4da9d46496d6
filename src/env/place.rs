//! Places for objects: what a repository of backups, or a mirror of the keyring, needs of a directory or a bucket.

use std::io;
use std::sync::Arc;

use super::{Entry, File};

/// How many copy at once: some read and digest while others wait for the disk.
pub(crate) const COPIERS: usize = 4;

/// A place for objects: bytes under a name, written once, visible whole or not at all.
///
/// Names are relative, of at most three parts between slashes, each of `a-z 0-9 . -`. Calls may come from several threads at once. An error may
/// be answered though the work was done: whoever creates an object that matters looks whether it is there.
///
/// Kinds of errors that have a meaning: `NotFound`, `AlreadyExists`, `PermissionDenied` (of credentials that may do less),
/// `StorageFull`; all others are told as they are.
pub trait Place: Send + Sync {
    /// The place as a person would name it, for messages; without secrets.
    fn name(&self) -> String;

    /// An object, whole.
    ///
    /// # Errors
    /// `NotFound`; `InvalidData` if it has more than `bytes_max` bytes.
    fn get(&self, name: &str, bytes_max: usize) -> io::Result<Vec<u8>>;

    /// An object to read parts of; each read is one request. It is said to have `bytes` bytes.
    ///
    /// # Errors
    /// `NotFound`, here or at the first read.
    fn open(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>>;

    /// Makes a small object if there is none of this name. It is durable when this returns, and so is all that was put before.
    ///
    /// # Errors
    /// `AlreadyExists`, and then nothing has changed.
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes an object of any size; one of this name is replaced by what must be the same bytes. It is durable after the next
    /// [`create`](Self::create) at the latest. If the body fails, nothing becomes visible.
    ///
    /// # Errors
    /// The place's, and the body's.
    fn put(&self, name: &str, body: &mut dyn Body) -> io::Result<()>;

    /// How many objects are put at once. Each takes memory, if parts of it are held while they are on their way.
    fn copiers(&self) -> usize {
        COPIERS
    }

    /// The objects in a folder by name, from the first on, at most so many. A folder without objects is not there, and that is no error.
    ///
    /// # Errors
    /// The place's.
    fn list(&self, folder: &str, entries_max: usize) -> io::Result<Vec<Entry>>;

    /// How many bytes an object has.
    ///
    /// # Errors
    /// `NotFound`; the place's.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Removes an object. One that is not there is no error.
    ///
    /// # Errors
    /// The place's; `PermissionDenied` where objects are locked.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// What time it is by the place's own clock, Unix milliseconds: several machines agree about it.
    ///
    /// # Errors
    /// The place's.
    fn now_ms(&self) -> io::Result<u64>;

    /// Tries whether the place keeps what is promised here: that of several that create one object at once, one succeeds, and
    /// that parts of objects are read right.
    ///
    /// # Errors
    /// `Unsupported`, saying what it does not keep; the place's.
    fn probe(&self, nonce: [u8; 16]) -> io::Result<()> {
        super::probe::probe(self, nonce)
    }
}

/// What is put: bytes that are handed out once, from the first to the last.
pub trait Body: Send {
    /// How many bytes there are.
    fn bytes(&self) -> u64;

    /// Fills `buf` with the next bytes; it is never asked for more than are left.
    ///
    /// # Errors
    /// Those of the source. With the last byte it may find that what it handed out is not what it should have been.
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<()>;
}

/// Bytes in memory.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Body for Bytes<'_> {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn fill(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let (taken, rest) =
            self.0.split_at_checked(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(taken);
        self.0 = rest;
        Ok(())
    }
}
