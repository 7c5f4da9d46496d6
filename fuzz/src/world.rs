//! A simulated machine with a store on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reelvault::backup::SimPlace;
use reelvault::env::sim::{SimClock, SimDisk, Survival};
use reelvault::{Argon2Cost, Error, KeyFile, KeyProvider, Options, Passphrase, Recovery, Store};

use crate::{NOON, SITES, site_id};

/// Where the store is.
pub const DIR: &str = "/store";
/// Where the key file is.
pub const KEY: &str = "/keys/key";
/// Where the mirrors of the keyring are.
pub const MIRRORS: [&str; 2] = ["/keys/a/keyring", "/keys/b/keyring"];
/// What a passphrase costs here: as little as it may.
pub const COST: Argon2Cost = Argon2Cost { memory_kib: 8, passes: 1, lanes: 1 };

/// A machine, and how its keyring is kept. Clones are the same one.
#[derive(Clone)]
pub struct World {
    pub disk: SimDisk,
    pub clock: SimClock,
    /// One more mirror of the keyring.
    pub bucket: Option<SimPlace>,
    /// Bytes at which the keyring is split into parts.
    pub part_bytes: usize,
    /// Whether a passphrase wraps the keyring in place of a key file.
    pub passphrase: bool,
}

impl World {
    /// A machine with nothing on it.
    pub fn new(seed: u64) -> Self {
        let (env, disk, clock) = reelvault::env::sim::env(seed);
        clock.set_ms(NOON);
        env.disk.create_dir(Path::new("/keys")).expect("a directory");
        KeyFile::create(&env, KEY).expect("a key file");
        Self { disk, clock, bucket: None, part_bytes: usize::MAX, passphrase: false }
    }

    /// Makes a store without sessions.
    pub fn with_store(self, seed: u64) -> Self {
        let store = Store::create(self.options(seed).expect("keys")).expect("a store");
        for at in 0..SITES.len() {
            store.add_site(site_id(at), 30).expect("a site");
        }
        store.close().expect("closed");
        self
    }

    /// The same machine once more; what is done to either does not touch the other.
    pub fn copy(&self) -> Self {
        let disk = self.disk.crash_image(Survival::Everything);
        Self { disk, bucket: self.bucket.as_ref().map(copy_of), ..self.clone() }
    }

    /// Options of its store.
    pub fn options(&self, seed: u64) -> Result<Options, Error> {
        self.options_at(DIR, seed)
    }

    /// Options of a store in another directory with the same keyring.
    pub fn options_at(&self, dir: &str, seed: u64) -> Result<Options, Error> {
        let env = self.disk.env(&self.clock, seed);
        let provider: Arc<dyn KeyProvider> = match self.passphrase {
            true => Arc::new(Passphrase::with_cost(&env, "a passphrase", COST)?),
            false => Arc::new(KeyFile::open(&env, KEY)?),
        };
        let options = Options::new(dir, MIRRORS.map(PathBuf::from), provider)
            .env(env)
            .shards(2)
            .journal_bytes(64 << 10)
            .fill_bytes(0)
            .keyring_part_bytes(self.part_bytes)
            .background(false);
        Ok(match &self.bucket {
            Some(bucket) => options.mirror_in(Arc::new(bucket.clone())),
            None => options,
        })
    }

    pub fn open(&self, recovery: Recovery, seed: u64) -> Result<Store, Error> {
        Store::open(self.options(seed)?.recovery(recovery))
    }

    /// Files whose path contains `part`.
    pub fn files(&self, part: &str) -> Vec<PathBuf> {
        let all = self.disk.paths();
        all.into_iter().filter(|p| p.to_string_lossy().contains(part)).collect()
    }
}

/// A bucket that holds the same.
pub fn copy_of(bucket: &SimPlace) -> SimPlace {
    let copy = SimPlace::new(NOON, 2);
    bucket.objects().iter().for_each(|(name, bytes)| copy.spoil(name, bytes));
    copy
}
