//! What is copied into a repository: digested on its way, no faster than is allowed, and watched.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Progress, Watch};
use crate::env::{Body, Clock, File, read_exact_at};
use crate::format::header::{FILE_HEADER_BYTES, FileKind};
use crate::ids::FileId;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{Mutex, thread};

/// Keeps everything that is copied together below a rate.
pub(super) struct Throttle {
    clock: Arc<dyn Clock>,
    bytes_per_second: Option<u64>,
    /// When the next byte may go, by the monotonic clock.
    free_ns: Mutex<u64>,
}

impl Throttle {
    pub(super) fn new(clock: Arc<dyn Clock>, bytes_per_second: Option<u64>) -> Self {
        Self { clock, bytes_per_second, free_ns: Mutex::new(0) }
    }

    fn pass(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else { return };
        let wait_ns = {
            let (mut free_ns, now_ns) = (self.free_ns.lock(), self.clock.monotonic_ns());
            let from_ns = (*free_ns).max(now_ns);
            let takes_ns = (bytes as u64).saturating_mul(1_000_000_000) / rate.max(1);
            *free_ns = from_ns.saturating_add(takes_ns);
            from_ns - now_ns
        };
        thread::sleep(Duration::from_nanos(wait_ns));
    }
}

/// How much is done of all that is to be copied.
pub(super) struct Meter<'a> {
    pub(super) total: u64,
    done: AtomicU64,
    watch: Watch<'a>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(total: u64, watch: Watch<'a>) -> Self {
        Self { total, done: AtomicU64::new(0), watch }
    }

    /// Counts bytes.
    ///
    /// # Errors
    /// `Interrupted` if whoever watches does not want to go on.
    pub(super) fn add(&self, bytes: u64) -> io::Result<()> {
        // What had to be read twice counts once.
        let bytes = (self.done.fetch_add(bytes, Relaxed) + bytes).min(self.total);
        match (self.watch)(Progress { bytes, bytes_total: self.total }) {
            true => Ok(()),
            false => Err(stopped()),
        }
    }
}

/// The error that tells that whoever watches does not want to go on.
pub(super) fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, Stopped)
}

/// Whether an error is [`stopped`].
pub(super) fn is_stopped(e: &io::Error) -> bool {
    e.get_ref().is_some_and(|inner| inner.is::<Stopped>())
}

#[derive(Debug, thiserror::Error)]
#[error("stopped by whoever watches")]
struct Stopped;

/// A part of a file on its way.
pub(super) struct Part<'a> {
    pub(super) file: &'a dyn File,
    pub(super) from: u64,
    pub(super) bytes: u64,
    /// The journal that it must still be when the last byte has been read. A journal's file is written over when it is archived,
    /// its header first; so if that is still the same, so is all that was read.
    pub(super) journal: Option<FileId>,
    pub(super) done: u64,
    pub(super) digest: Sha256,
    /// Why the file could not be read. A place passes such an error on, and it must not be taken for its own.
    pub(super) trouble: Option<io::Error>,
    pub(super) throttle: &'a Throttle,
    pub(super) meter: &'a Meter<'a>,
}

impl<'a> Part<'a> {
    pub(super) fn new(
        file: &'a dyn File,
        (from, bytes): (u64, u64),
        journal: Option<FileId>,
        throttle: &'a Throttle,
        meter: &'a Meter<'a>,
    ) -> Self {
        let (done, digest, trouble) = (0, Sha256::new(), None);
        Self { file, from, bytes, journal, done, digest, trouble, throttle, meter }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<()> {
        read_exact_at(self.file, buf, self.from + self.done)?;
        self.digest.update(&*buf);
        self.done += buf.len() as u64;
        if let Some(id) = self.journal.filter(|_| self.done == self.bytes) {
            let mut header = [0; FILE_HEADER_BYTES];
            read_exact_at(self.file, &mut header, 0)?;
            if FileKind::JOURNAL.check("journal", &header).ok() != Some(id) {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        Ok(())
    }

    /// The digest of all that was handed out.
    pub(super) fn digest(self) -> [u8; 32] {
        self.digest.finalize().into()
    }
}

impl Body for Part<'_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn fill(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.throttle.pass(buf.len());
        self.read(buf).map_err(|e| {
            let kind = e.kind();
            self.trouble = Some(e);
            io::Error::from(kind)
        })?;
        self.meter.add(buf.len() as u64)
    }
}
