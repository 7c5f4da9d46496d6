//! What is compared: one small adapter for each way to keep recordings.
//!
//! All of them are given the same: rows of chunks and, with each of them, the row of its session as it is by then. All acknowledge a chunk
//! when it is durable, its session's row with it.

mod files;
#[cfg(feature = "fjall")]
mod fjall;
#[cfg(any(feature = "fjall", feature = "redb", feature = "sqlite"))]
mod gather;
#[cfg(feature = "redb")]
mod redb;
mod reelvault;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "surrealkv")]
mod surrealkv;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::seal::Sealer;
use crate::workload::{Named, Row};
use crate::{PeerError, Result};

/// How a peer is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Track {
    /// Everything is compressed with zstd 3 and sealed with AES-256-GCM under a key of its site before a peer that can't do that sees it.
    EqualSecurity,
    /// As the peer's manual recommends, without encryption where it has none.
    Native,
}

/// What is compared, by name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    Reelvault,
    Files,
    #[cfg(feature = "rocksdb")]
    Rocksdb,
    #[cfg(feature = "fjall")]
    Fjall,
    #[cfg(feature = "redb")]
    Redb,
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "sqlite")]
    Sqlcipher,
    #[cfg(feature = "surrealkv")]
    Surrealkv,
}

/// Where a session stands: its site, and the day and time of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Of {
    pub(crate) site: u32,
    pub(crate) session: u64,
    pub(crate) start_ms: u64,
}

impl Of {
    pub(crate) fn day(&self) -> u32 {
        day(self.start_ms)
    }
}

pub(crate) const DAY_MS: u64 = 86_400_000;

pub(crate) fn day(ms: u64) -> u32 {
    (ms / DAY_MS) as u32
}

/// One way to keep recordings, open. Shared by all threads.
pub(crate) trait Engine: Send + Sync {
    /// Keeps a chunk, and its session's row as it is by then. Durable when it returns: so many bytes, as the peer was given them, packed and
    /// sealed where they are.
    fn append(&self, row: &Row<'_>) -> Result<u64>;
    /// All chunks of a session in order, each given to `to` as it was appended.
    fn replay(&self, of: Of, to: &mut dyn FnMut(&[u8])) -> Result<()>;
    /// What a player needs that jumps to `ms`: from the last full snapshot before it to `until_ms`.
    fn seek(&self, of: Of, ms: u64, until_ms: u64, to: &mut dyn FnMut(&[u8])) -> Result<()>;
    /// The newest sessions of a site on a day, the newest first.
    fn list(&self, site: u32, day: u32, limit: usize) -> Result<Vec<Named>>;
    /// Deletes all sessions that started on a day, and gives their space back.
    fn drop_day(&self, day: u32) -> Result<()>;
    /// Deletes one session for good: nothing of it may be left on the disk that could be read with the keys there are.
    fn erase(&self, of: Of) -> Result<()>;
    /// Copies into a directory what a backup there does not have yet, as the peer's own backups do. See [`Peer::backs_up`].
    fn back_up(&self, _to: &Path) -> Result<()> {
        Err(PeerError::Harness("a backup of a peer that has none"))
    }
    /// Does all work that was put off, as the peer's manual says it is to be done.
    fn settle(&self) -> Result<()>;
    /// Ends in order.
    fn close(self: Box<Self>) -> Result<()>;
}

/// What an engine is opened with.
pub(crate) struct Setup {
    pub(crate) dir: PathBuf,
    pub(crate) track: Track,
    pub(crate) sites: u32,
    /// Memory for caches, in bytes: the same for all.
    pub(crate) cache_bytes: usize,
    /// The level of zstd of what the harness packs.
    pub(crate) pack_level: i32,
    /// The days of which sessions come.
    #[allow(dead_code, reason = "peers that need it can be left out")]
    pub(crate) days: std::ops::Range<u32>,
}

impl Setup {
    /// What compresses and seals for a peer that can't.
    fn sealer(&self) -> Result<Option<Sealer>> {
        let seals = self.track == Track::EqualSecurity;
        seals.then(|| Sealer::new(self.pack_level)).transpose()
    }

    /// The share of the memory for caches that each of so many has, or a least one: what is shared by none.
    #[allow(dead_code, reason = "peers that need it can be left out")]
    fn cache_of(&self, parts: usize, least: usize) -> usize {
        (self.cache_bytes / parts.max(1)).max(least)
    }
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reelvault => "reelvault",
            Self::Files => "files",
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => "RocksDB",
            #[cfg(feature = "fjall")]
            Self::Fjall => "fjall",
            #[cfg(feature = "redb")]
            Self::Redb => "redb",
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "SQLite",
            #[cfg(feature = "sqlite")]
            Self::Sqlcipher => "SQLCipher",
            #[cfg(feature = "surrealkv")]
            Self::Surrealkv => "SurrealKV",
        }
    }

    /// Whether it has incremental backups of its own.
    pub(crate) fn backs_up(self) -> bool {
        match self {
            Self::Reelvault => true,
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => true,
            #[allow(unreachable_patterns, reason = "peers can be left out")]
            _ => false,
        }
    }

    /// Restores the last backup in a directory to where it can be opened; `live` is where the backup was made.
    pub(crate) fn restore(self, live: &Setup, backup: &Path, to: &Setup) -> Result<()> {
        match self {
            Self::Reelvault => reelvault::restore(live, backup, to),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => rocksdb::restore(backup, &to.dir),
            #[allow(unreachable_patterns, reason = "peers can be left out")]
            _ => Err(PeerError::Harness("a backup of a peer that has none")),
        }
    }

    /// Opens it, or makes it.
    pub(crate) fn open(self, setup: &Setup) -> Result<Box<dyn Engine>> {
        make_dir(&setup.dir)?;
        Ok(match self {
            Self::Reelvault => Box::new(reelvault::open(setup)?),
            Self::Files => Box::new(files::open(setup)?),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => Box::new(rocksdb::open(setup)?),
            #[cfg(feature = "fjall")]
            Self::Fjall => Box::new(fjall::open(setup)?),
            #[cfg(feature = "redb")]
            Self::Redb => Box::new(redb::open(setup)?),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => Box::new(sqlite::open(setup, false)?),
            #[cfg(feature = "sqlite")]
            Self::Sqlcipher => Box::new(sqlite::open(setup, true)?),
            #[cfg(feature = "surrealkv")]
            Self::Surrealkv => Box::new(surrealkv::open(setup)?),
        })
    }
}

/// Removes a file, durably.
#[cfg(feature = "redb")]
fn remove(path: &Path) -> Result<()> {
    let removed = std::fs::remove_file(path)
        .and_then(|()| std::fs::File::open(path.parent().unwrap_or(path))?.sync_all());
    removed.map_err(|e| PeerError::Io(path.to_owned(), e))
}

/// Removes all files whose names begin with a day, durably.
#[cfg(feature = "sqlite")]
fn remove_of_day(dir: &Path, day: u32) -> Result<()> {
    let remove = || -> std::io::Result<()> {
        let begins = format!("{day}-");
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&begins) {
                std::fs::remove_file(entry.path())?;
            }
        }
        std::fs::File::open(dir)?.sync_all()
    };
    remove().map_err(|e| PeerError::Io(dir.to_owned(), e))
}

fn make_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|e| PeerError::Io(dir.to_owned(), e))
}
