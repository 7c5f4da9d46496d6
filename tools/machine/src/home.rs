//! Where everything of a store lies, and how it is opened here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reelvault::backup::{DirPlace, Repository};
use reelvault::env::Env;
use reelvault::{Error, KeyFile, KeyProvider, Options, Result};

/// Small, so that journals are full, archived and recycled many times in a second of writing.
const JOURNAL_BYTES: u32 = 128 << 10;
const FILL_BYTES: u32 = 32 << 10;
/// Small, so that a few hundred sessions and erasures split the keyring into parts.
const KEYRING_PART_BYTES: usize = 4 << 10;
const SHARDS: u16 = 2;

/// A folder with a store, its keys, and a repository.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
    repository: PathBuf,
}

impl Home {
    /// A home in `dir`, with its repository in `repository`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, repository: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), repository: repository.into() }
    }

    /// The folder itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of the repository.
    #[must_use]
    pub fn repository_dir(&self) -> &Path {
        &self.repository
    }

    /// The folder of the store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Options of the store, with the threads that a service has.
    ///
    /// # Errors
    /// If the key file can neither be opened nor made.
    pub fn options(&self) -> Result<Options> {
        self.options_at(self.store())
    }

    /// The same for a copy of the store that lies elsewhere.
    ///
    /// # Errors
    /// As [`options`](Self::options).
    pub fn options_at(&self, store: PathBuf) -> Result<Options> {
        let path = self.dir.join("keys/key");
        let env = Env::real();
        let key = match KeyFile::create(&env, &path) {
            Err(Error::Exists(_)) => KeyFile::open(&env, &path),
            made => made,
        };
        let provider: Arc<dyn KeyProvider> = Arc::new(key?);
        let mirrors = ["a", "b"].map(|mirror| self.dir.join("keys").join(mirror).join("keyring"));
        Ok(Options::new(store, mirrors, provider)
            .shards(SHARDS)
            .journal_bytes(JOURNAL_BYTES)
            .fill_bytes(FILL_BYTES)
            .keyring_part_bytes(KEYRING_PART_BYTES))
    }

    /// The repository; it is made if there is none.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn repository(&self) -> Result<Repository> {
        let place = Arc::new(DirPlace::new(&Env::real(), &self.repository));
        Repository::open_or_make(place, self.options()?)
    }
}
