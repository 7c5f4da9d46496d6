//! How a store is opened.

use std::path::PathBuf;
use std::sync::Arc;

use crate::env::{Env, Place};
use crate::error::{InputError, Result};
use crate::journal::scan::Recovery;
use crate::keyring::{KeyProvider, MirrorAt};
use crate::limits::{JOURNAL_BYTES_MAX, JOURNAL_BYTES_MIN, SHARDS_MAX};

/// Where a store is, what opens it, and how it works.
///
/// Only [`shards`](Self::shards) is fixed when the store is made; everything else may differ each time it is opened.
#[derive(Clone)]
pub struct Options {
    pub(crate) dir: PathBuf,
    pub(crate) keyring: Vec<MirrorAt>,
    pub(crate) provider: Arc<dyn KeyProvider>,
    pub(crate) env: Env,
    pub(crate) shards: u16,
    pub(crate) journal_bytes: u32,
    pub(crate) journal_age_ms: u64,
    pub(crate) fill_bytes: u32,
    pub(crate) backlog_bytes: u64,
    pub(crate) append_level: i32,
    pub(crate) archive_level: i32,
    pub(crate) cache_bytes: usize,
    pub(crate) memory_maps: bool,
    pub(crate) background: bool,
    pub(crate) recovery: Recovery,
    pub(crate) reclaim_share: f64,
    pub(crate) part_bytes: usize,
}

impl Options {
    /// A store in `dir`, whose keyring is kept in the files `keyring`, each a mirror of the others, and wrapped by `provider`.
    ///
    /// Beside each file lies a folder, `<file>.parts`, once the keyring is large.
    ///
    /// Keep the mirrors on other disks than the store and than each other: losing all of them loses the data.
    #[must_use]
    pub fn new(
        dir: impl Into<PathBuf>,
        keyring: impl IntoIterator<Item = PathBuf>,
        provider: Arc<dyn KeyProvider>,
    ) -> Self {
        Self {
            dir: dir.into(),
            keyring: keyring.into_iter().map(MirrorAt::from).collect(),
            provider,
            env: Env::real(),
            shards: 4,
            journal_bytes: 64 << 20,
            journal_age_ms: 3_600_000,
            fill_bytes: 4 << 20,
            backlog_bytes: 4 << 30,
            append_level: 1,
            archive_level: 5,
            cache_bytes: 16 << 20,
            memory_maps: false,
            background: true,
            recovery: Recovery::Strict,
            reclaim_share: crate::RECLAIM_SHARE,
            part_bytes: crate::keyring::PART_BYTES,
        }
    }

    /// Keeps one more mirror of the keyring in a place of its own for objects, a bucket: it is there when the machine is not.
    ///
    /// Each change puts one object more, which must not be there yet, and so a second writer that the lock of the store does not stop, on another machine, is
    /// found out. Not in the repository's own place alone: who holds both the backups and the key that opens this has all.
    #[must_use]
    pub fn mirror_in(mut self, place: Arc<dyn Place>) -> Self {
        self.keyring.push(MirrorAt::Place(place));
        self
    }

    /// Files, clock and randomness other than the operating system's.
    #[must_use]
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// How many journals are written side by side, 1 to 256; fixed when the store is made. Default 4.
    ///
    /// Appends of different sites wait for the same sync only within a shard. More shards than
    /// processors bring nothing.
    #[must_use]
    pub fn shards(mut self, shards: u16) -> Self {
        self.shards = shards;
        self
    }

    /// Size in bytes at which a journal is full and goes to the archiver, 64 KiB to 1 GiB. Default 64 MiB.
    #[must_use]
    pub fn journal_bytes(mut self, bytes: u32) -> Self {
        self.journal_bytes = bytes;
        self
    }

    /// Age in milliseconds at which a journal goes to the archiver though it is not full. Default one hour. It also goes at the end
    /// of the day (UTC).
    #[must_use]
    pub fn journal_age_ms(mut self, ms: u64) -> Self {
        self.journal_age_ms = ms;
        self
    }

    /// How many bytes a journal is filled with zeros ahead of its frames. Default 4 MiB.
    #[must_use]
    pub fn fill_bytes(mut self, bytes: u32) -> Self {
        self.fill_bytes = bytes;
        self
    }

    /// Bytes of journals waiting for the archiver, of one shard, at which appends begin to wait for it. Default 4 GiB.
    #[must_use]
    pub fn backlog_bytes(mut self, bytes: u64) -> Self {
        self.backlog_bytes = bytes;
        self
    }

    /// zstd level of journals. Default 1: it is on the path of every append.
    #[must_use]
    pub fn append_level(mut self, level: i32) -> Self {
        self.append_level = level;
        self
    }

    /// zstd level of segments. Default 5: it runs in the background, beside the appends. Level 2, with a window as large as a block, takes a third of
    /// the time and 6 % more space: for whoever records in long rushes.
    #[must_use]
    pub fn archive_level(mut self, level: i32) -> Self {
        self.archive_level = level;
        self
    }

    /// Bytes of memory for indexes read from segments. Default 16 MiB.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Reads segments through memory maps. Default off: under a map, a bad sector or a file that somebody
    /// shortens ends the process with SIGBUS, where a read returns an error. For offline tools.
    #[must_use]
    pub fn memory_maps(mut self, on: bool) -> Self {
        self.memory_maps = on;
        self
    }

    /// Whether threads of the store do its work by themselves: syncing deferred appends, rotating and archiving journals, deleting
    /// what has expired, giving back space. Default on; without it nothing of this is done, not even retention, until
    /// [`Store::maintain`](crate::Store::maintain) is called.
    #[must_use]
    pub fn background(mut self, on: bool) -> Self {
        self.background = on;
        self
    }

    /// What to do about a journal that is damaged before valid frames. Default: refuse to open.
    #[must_use]
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// The share of a segment that must have been erased before it is written once more without that, 0 to 1; above 1 never.
    /// Default [`RECLAIM_SHARE`](crate::RECLAIM_SHARE). Erasing does not depend on it: it only gives back space.
    #[must_use]
    pub fn reclaim_share(mut self, share: f64) -> Self {
        self.reclaim_share = share;
        self
    }

    /// Bytes at which the keyring is split into parts, so that a test sees them with few sessions.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    #[must_use]
    pub fn keyring_part_bytes(mut self, bytes: usize) -> Self {
        self.part_bytes = bytes.min(crate::keyring::PART_BYTES);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |name, why| Err(InputError::Option { name, why }.into());
        if !(1..=SHARDS_MAX).contains(&self.shards) {
            return wrong("shards", "1 to 256");
        }
        if !(JOURNAL_BYTES_MIN..=JOURNAL_BYTES_MAX).contains(&self.journal_bytes) {
            return wrong("journal_bytes", "64 KiB to 1 GiB");
        }
        if self.fill_bytes > self.journal_bytes {
            return wrong("fill_bytes", "at most journal_bytes");
        }
        for (name, level) in
            [("append_level", self.append_level), ("archive_level", self.archive_level)]
        {
            if !(-7..=22).contains(&level) {
                return wrong(name, "-7 to 22");
            }
        }
        if self.keyring.is_empty() {
            return wrong("keyring", "at least one file; two on different disks are wise");
        }
        Ok(())
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("dir", &self.dir).finish_non_exhaustive()
    }
}
