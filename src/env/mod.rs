//! The world outside: files, clock and randomness behind small traits.
//!
//! The engine does all its input and output through an [`Env`]. [`Env::real`] is the operating system;
//! the feature `sim` adds a simulated one that can crash at every operation. Nothing here knows
//! anything of formats or keys.

mod count;
mod direct;
#[allow(unsafe_code)]
mod map;
mod place;
mod probe;
mod real;
#[cfg(feature = "sim")]
pub mod sim;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use count::{Counted, Counts};
pub(crate) use direct::{ALIGNMENT, Aligned};
pub use map::Mapping;
pub use place::{Body, Place};
pub(crate) use place::{Bytes, COPIERS};
pub use real::{RealClock, RealDisk, RealRandom};

/// Files, clock and randomness.
#[derive(Clone)]
pub struct Env {
    /// Where files live.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub random: Arc<dyn Random>,
}

impl Env {
    /// The operating system's.
    #[must_use]
    pub fn real() -> Self {
        Self { disk: Arc::new(RealDisk), clock: Arc::new(RealClock), random: Arc::new(RealRandom) }
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; it must not exist.
    Create,
    /// For reading and writing; made, or emptied if it exists.
    Replace,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name without its directory.
    pub name: String,
    /// The file's length in bytes.
    pub bytes: u64,
}

/// A file system, as far as the engine needs one.
pub trait Disk: Send + Sync {
    /// Opens a file. New files are readable by their owner alone.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>>;
    /// Opens a file past the system's cache, where there is such a way: to write once, in large pieces, what is not read soon, or to read what
    /// stands on the medium.
    ///
    /// # Errors
    /// The system's.
    fn open_direct(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        self.open(path, mode)
    }
    /// Renames a file, replacing what stands at `to`.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file to a name that nothing has.
    ///
    /// # Errors
    /// `AlreadyExists`, and then nothing has changed; the system's.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The regular files in a directory, in no particular order.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Makes a directory and its parents; it may exist. New ones are open to their owner alone.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes renames, new names and removals in a directory durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether something stands at this path.
    ///
    /// # Errors
    /// The system's.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Takes a lock that ends with the returned value or with the process, and writes `note` into its
    /// file; or answers what the holder wrote there.
    ///
    /// # Errors
    /// The system's.
    fn lock(&self, path: &Path, note: &str) -> io::Result<Locking>;
    /// A memory map of a whole file for reading, where the disk has such a thing.
    ///
    /// # Errors
    /// The system's.
    fn map(&self, path: &Path) -> io::Result<Option<Mapping>> {
        let _ = path;
        Ok(None)
    }
}

/// The bytes of a lock file.
const NOTE_BYTES: usize = 64;

/// What a lock file holds, if anything: always as long, so that it is written in place on a full disk and no rest of an older note stays.
fn padded(note: &str) -> Option<String> {
    (!note.is_empty()).then(|| format!("{note:NOTE_BYTES$}"))
}

/// What came of an attempt to lock.
pub enum Locking {
    /// The lock is held until this value is dropped.
    Held(Box<dyn Send + Sync>),
    /// Another holds it, and wrote this.
    Refused(String),
}

/// An open file. Offsets and lengths are in bytes.
#[allow(clippy::len_without_is_empty, reason = "a file is not a collection")]
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf`.
    ///
    /// # Errors
    /// The system's; then any part of it may have been written.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes everything written so far durable, and the length if it grew.
    ///
    /// # Errors
    /// The system's; then what was written since the last sync must be held for lost, and a second
    /// sync proves nothing.
    fn sync(&self) -> io::Result<()>;
    /// Sets the length.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// The length.
    ///
    /// # Errors
    /// The system's.
    fn len(&self) -> io::Result<u64>;
}

/// What time it is.
pub trait Clock: Send + Sync {
    /// Unix milliseconds. It may jump, in both directions.
    fn now_ms(&self) -> u64;
    /// Nanoseconds of a clock that never goes back, from an arbitrary start.
    fn monotonic_ns(&self) -> u64;
}

/// Where random bytes come from.
pub trait Random: Send + Sync {
    /// Fills `buf` with bytes fit for keys and nonces.
    ///
    /// # Errors
    /// The system's, at an early boot; nothing may be sealed then.
    fn fill(&self, buf: &mut [u8]) -> io::Result<()>;
}

/// Reads exactly `buf.len()` bytes.
pub(crate) fn read_exact_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    if file.read_at(buf, offset)? == buf.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
