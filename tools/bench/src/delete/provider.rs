//! A key file that tells how long its keyring waited for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use reelvault::env::{Counted, Counts, Env};
use reelvault::{DataKey, Destruction, KeyFile, KeyProvider, ProviderKind, Result, StoreId};

/// A key file, the time that was spent in it, and what it did to the disk.
pub(super) struct Timed {
    file: KeyFile,
    disk: Arc<Counted>,
    ns: AtomicU64,
}

impl Timed {
    pub(super) fn create(env: &Env, path: &Path) -> Result<Self> {
        let disk = Arc::new(Counted::new(Arc::clone(&env.disk)));
        let env = Env { disk: Arc::clone(&disk) as _, ..env.clone() };
        Ok(Self { file: KeyFile::create(&env, path)?, disk, ns: AtomicU64::new(0) })
    }

    /// What it did to the disk so far.
    pub(super) fn counts(&self) -> Counts {
        self.disk.counts()
    }

    /// Milliseconds spent in it so far.
    pub(super) fn ms(&self) -> f64 {
        self.ns.load(Relaxed) as f64 / 1e6
    }

    fn timed<T>(&self, call: impl FnOnce(&KeyFile) -> T) -> T {
        let start = Instant::now();
        let outcome = call(&self.file);
        self.ns.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
        outcome
    }
}

impl KeyProvider for Timed {
    fn kind(&self) -> ProviderKind {
        self.file.kind()
    }
    fn indestructible(&self) -> Option<&'static str> {
        self.file.indestructible()
    }
    fn new_version(&self, store: &StoreId) -> Result<u32> {
        self.timed(|file| file.new_version(store))
    }
    fn versions(&self, store: &StoreId) -> Result<Vec<u32>> {
        self.timed(|file| file.versions(store))
    }
    fn wrap(&self, version: u32, data_key: &DataKey, aad: &[u8]) -> Result<Vec<u8>> {
        self.timed(|file| file.wrap(version, data_key, aad))
    }
    fn unwrap_key(&self, version: u32, bytes: &[u8], aad: &[u8]) -> Result<DataKey> {
        self.timed(|file| file.unwrap_key(version, bytes, aad))
    }
    fn destroy(&self, version: u32) -> Result<Destruction> {
        self.timed(|file| file.destroy(version))
    }
}
