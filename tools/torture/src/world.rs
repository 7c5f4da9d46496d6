//! A simulated machine with a store on it: a disk, a clock, a bucket, and randomness that never comes twice.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use reelvault::backup::{Place, Repository, SimPlace};
use reelvault::env::sim::{START_MS, SimClock, SimDisk};
use reelvault::env::{Clock, Env};
use reelvault::{KeyFile, KeyProvider, Options, Recovery, Result, Store};

use crate::chance::Chance;

/// Where the store is.
pub(crate) const STORE: &str = "/store";
/// The mirrors of its keyring.
pub(crate) const MIRRORS: [&str; 2] = ["/keys/a/keyring", "/keys/b/keyring"];
/// What wraps it.
pub(crate) const KEY: &str = "/keys/key";

const DAY_MS: u64 = 86_400_000;

/// Small journals, so that a few appends fill one; a keyring that is in parts from the second erasure on.
const JOURNAL_BYTES: u32 = 64 << 10;
const FILL_BYTES: u32 = 16 << 10;
const KEYRING_PART_BYTES: usize = 3_000;

/// A simulated machine.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) clock: SimClock,
    pub(crate) bucket: SimPlace,
    seeds: Seeds,
}

/// Where seeds come from: each opening of a store has one of its own, on whatever copy of the machine, as the real source of
/// randomness has. That is what makes a pair of key and nonce that comes twice a bug of the engine.
#[derive(Clone)]
pub(crate) struct Seeds(Arc<AtomicU64>);

impl Seeds {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(Chance::new(seed).next())))
    }

    /// Of a case: other ones than those of the base, and than those of any other case.
    pub(crate) fn of(seed: u64, case: u64) -> Self {
        Self(Arc::new(AtomicU64::new(Chance::of(seed, case ^ 1 << 63).next())))
    }

    fn next(&self) -> u64 {
        Chance::new(self.0.fetch_add(1, Relaxed)).next()
    }
}

impl World {
    /// A machine with nothing on it but a key.
    pub(crate) fn new(seeds: &Seeds) -> Result<Self> {
        let world = Self::bare(seeds)?;
        KeyFile::create(&world.env(), KEY)?;
        Ok(world)
    }

    /// A machine with nothing on it but a directory for keys.
    pub(crate) fn bare(seeds: &Seeds) -> Result<Self> {
        let bucket = SimPlace::new(START_MS, seeds.next());
        let (disk, clock) = (SimDisk::new(), SimClock::new(START_MS));
        let world = Self { disk, clock, bucket, seeds: seeds.clone() };
        let env = world.env();
        let dir = Path::new("/keys");
        env.disk.create_dir(dir).and_then(|()| env.disk.sync_dir(Path::new("/"))).map_err(
            |cause| reelvault::Error::Io { doing: "making a directory", path: dir.into(), cause },
        )?;
        Ok(world)
    }

    /// The same machine with another disk, which goes on by itself.
    pub(crate) fn with_disk(&self, disk: SimDisk) -> Self {
        let clock = SimClock::new(self.now_ms());
        Self { disk, clock, bucket: self.bucket.image(), seeds: self.seeds.clone() }
    }

    /// The machine without a disk, for what its disk owns: clock and bucket go on with it.
    pub(crate) fn without_disk(&self) -> Self {
        Self { disk: SimDisk::new(), ..self.clone() }
    }

    /// The machine as it is, with randomness from another source.
    pub(crate) fn fork(&self, seeds: &Seeds) -> Self {
        Self { seeds: seeds.clone(), ..self.with_disk(self.disk.kill_image()) }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub(crate) fn today(&self) -> u32 {
        (self.now_ms() / DAY_MS) as u32
    }

    /// Lets time pass, here and at the bucket.
    pub(crate) fn pass_ms(&self, ms: u64) {
        self.clock.advance_ms(ms);
        self.bucket.set_now_ms(self.now_ms());
    }

    pub(crate) fn env(&self) -> Env {
        self.disk.env(&self.clock, self.seeds.next())
    }

    pub(crate) fn options(&self) -> Result<Options> {
        self.options_of(STORE)
    }

    fn options_of(&self, dir: &str) -> Result<Options> {
        let env = self.env();
        let provider: Arc<dyn KeyProvider> = Arc::new(KeyFile::open(&env, KEY)?);
        Ok(Options::new(dir, MIRRORS.map(PathBuf::from), provider)
            .env(env)
            .shards(2)
            .journal_bytes(JOURNAL_BYTES)
            .fill_bytes(FILL_BYTES)
            .keyring_part_bytes(KEYRING_PART_BYTES)
            .background(false))
    }

    pub(crate) fn open(&self) -> Result<Store> {
        Store::open(self.options()?)
    }

    /// Opens it as another process would that only reads.
    pub(crate) fn open_read_only(&self, recovery: Recovery) -> Result<Store> {
        Store::open_read_only(self.options()?.recovery(recovery))
    }

    /// Opens what was restored into a directory.
    pub(crate) fn open_restored(&self, dir: &str) -> Result<Store> {
        Store::open_read_only(self.options_of(dir)?)
    }

    /// The repository in the bucket.
    pub(crate) fn repository(&self) -> Result<Repository> {
        let place: Arc<dyn Place> = Arc::new(self.bucket.clone());
        Repository::open_or_make(place, self.options()?)
    }
}
