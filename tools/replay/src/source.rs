//! Where sessions come from: a live store, or whatever else can be opened as a [`Store`] that is only read.

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
