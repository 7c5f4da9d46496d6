//! Backups: encrypted, incremental for ever, and served from where they lie.
//!
//! A [`Repository`] lies in a [`Place`]: a directory ([`DirPlace`]) or a bucket. Segments are sealed and never change, so a [`Backup`] copies the
//! bytes of those that the repository lacks, and of journals what was added to them, and then makes one small snapshot. It
//! decrypts no recording: only the manifest, the heads of journals and the log of deletions, and of the repository earlier snapshots, lists and
//! marks. A snapshot is opened in place as a store that is only read
//! ([`Repository::open_snapshot`]), or [restored](Repository::restore) whole, for one site, or for one session.
//!
//! What is damaged does not keep the rest from being backed up or restored: as much is saved as can be, and the damage is told, in
//! [`Done::damage`] and [`Restored::damage`]. What has been spoilt in a repository is copied again on request ([`How::repair`]).
//!
//! Backups hold no keys. Whoever reads one needs the store's keyring as it is *now*: what was erased or has expired since cannot be
//! read out of any backup. The layout is described under *Repository* in the [format](mod@crate::format).
//!
//! | file | what |
//! |---|---|
//! | `dir` | a directory as a [`Place`] |
//! | `repository` | root, snapshots, lists and marks, sealed and opened |
//! | `source`, `plan`, `run`, `copy` | what there is to back up; what of it the repository lacks; doing it, and the copying in it |
//! | `view`, `restore`, `fetch` | a snapshot as a store; a store out of a snapshot, and the copying for it |
//! | `check`, `repair`, `prune` | whether everything is there; putting again what is not; removing what is not needed |

mod body;
mod check;
mod copy;
mod dir;
mod fetch;
mod plan;
mod prune;
mod repair;
mod repository;
mod restore;
mod run;
#[cfg(feature = "sim")]
mod sim;
mod snapshots;
mod source;
mod view;

use crate::parallel;
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};

pub use crate::env::{Body, Place};
pub use check::{Checked, ReadShare};
pub use dir::DirPlace;
pub use prune::{Keep, Pruned};
pub use repository::Repository;
pub use restore::{Restored, What};
pub use run::{Backup, Done, How};
#[cfg(feature = "sim")]
pub use sim::{SimPlace, Trouble};
pub use snapshots::Snapshot;

/// How far something is that takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes done.
    pub bytes: u64,
    /// Bytes to do.
    pub bytes_total: u64,
}

/// Whoever watches, from several threads: is told how far it is, and says whether to go on.
pub type Watch<'a> = &'a (dyn Fn(Progress) -> bool + Sync);

/// What is copied at once: large enough to be written past the system's cache at a disk's speed, and to be asked of a bucket in one request.
const COPY_BYTES: usize = 2 << 20;

/// Does something with each of these in a few threads. After a failure, which is told, nothing more is begun.
fn in_parallel<T: Sync>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> crate::Result<()> + Sync,
) -> crate::Result<()> {
    let failed = AtomicBool::new(false);
    let outcomes = parallel::each(threads, items, |item| {
        if failed.load(Relaxed) {
            return Ok(());
        }
        work(item).inspect_err(|_| failed.store(true, Relaxed))
    });
    outcomes.into_iter().collect()
}
