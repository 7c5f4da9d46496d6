//! Where sessions come from: a live store, or the backups of one, opened where they lie.

use std::sync::Arc;

use parking_lot::RwLock;
use reelvault::backup::Repository;
use reelvault::env::Clock;
use reelvault::{Result, Store};

/// A place of sessions. Everything here may block.
pub trait Source: Send + Sync {
    /// What is to be read now. Cheap: a handle.
    fn store(&self) -> Store;

    /// Takes in what is new there.
    ///
    /// # Errors
    /// Damage, and errors of the system; what was read before can still be read.
    fn refresh(&self) -> Result<()>;

    /// Opens the same store for writing, for as long as the value lives; `None` where nothing can be written.
    ///
    /// # Errors
    /// [`reelvault::Error::Locked`] if another process writes to it.
    fn writable(&self) -> Result<Option<Store>>;

    /// How old the newest backup is that is served, in milliseconds; `None` for a live store.
    fn backup_age_ms(&self) -> Option<u64> {
        None
    }

    /// What it is called in logs and on the status page.
    fn name(&self) -> &'static str;
}

/// Opens a store for writing.
pub type OpenForWriting = Box<dyn Fn() -> Result<Store> + Send + Sync>;

/// A live store, which another process may be writing.
pub struct LiveStore {
    store: Store,
    write: Option<OpenForWriting>,
}

impl std::fmt::Debug for LiveStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LiveStore")
    }
}

impl LiveStore {
    /// Serves a store that was opened read-only; `write` opens it for an administrator's deeds.
    #[must_use]
    pub fn new(store: Store, write: Option<OpenForWriting>) -> Self {
        Self { store, write }
    }
}

impl Source for LiveStore {
    fn store(&self) -> Store {
        self.store.clone()
    }

    fn refresh(&self) -> Result<()> {
        self.store.refresh()
    }

    fn writable(&self) -> Result<Option<Store>> {
        self.write.as_ref().map(|open| open()).transpose()
    }

    fn name(&self) -> &'static str {
        "store"
    }
}

/// The newest snapshot in a repository. Any number of instances can serve one; a newer snapshot appears by itself.
pub struct Backups {
    repository: Repository,
    clock: Arc<dyn Clock>,
    serving: RwLock<Serving>,
}

struct Serving {
    number: u64,
    taken_ms: u64,
    store: Store,
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backups")
    }
}

impl Backups {
    /// Serves the newest snapshot.
    ///
    /// # Errors
    /// [`reelvault::Error::NoSnapshot`] if there is none; damage, and errors of the place.
    pub fn new(repository: Repository, clock: Arc<dyn Clock>) -> Result<Self> {
        let newest = repository.newest()?;
        let store = repository.open_snapshot(newest.number)?;
        let serving = Serving { number: newest.number, taken_ms: newest.taken_ms, store };
        Ok(Self { repository, clock, serving: RwLock::new(serving) })
    }
}

impl Source for Backups {
    fn store(&self) -> Store {
        self.serving.read().store.clone()
    }

    fn refresh(&self) -> Result<()> {
        // One look at the repository; the snapshot is read when there is a new one.
        if self.repository.latest(None)? == self.serving.read().number {
            return Ok(());
        }
        let newest = self.repository.newest()?;
        let store = self.repository.open_snapshot(newest.number)?;
        // Who is in the middle of a replay goes on with the snapshot that was begun.
        *self.serving.write() = Serving { number: newest.number, taken_ms: newest.taken_ms, store };
        Ok(())
    }

    fn writable(&self) -> Result<Option<Store>> {
        Ok(None)
    }

    fn backup_age_ms(&self) -> Option<u64> {
        Some(self.clock.now_ms().saturating_sub(self.serving.read().taken_ms))
    }

    fn name(&self) -> &'static str {
        "repository"
    }
}
