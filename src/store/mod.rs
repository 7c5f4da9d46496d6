//! The store: opening, sites, and what a recording service does with them.

mod append;
mod copy;
mod deed;
mod erase;
mod expire;
mod find;
mod health;
mod hold;
mod info;
mod keyring;
mod keys;
mod list;
mod maintain;
mod making;
pub(crate) mod manifest;
mod options;
mod reclaim;
mod recover;
mod refresh;
mod renew;
mod replay;
mod sealer;
mod state;
mod stats;
mod verify;

use std::path::Path;
use std::sync::Arc;

use crate::env::{Env, Locking};
use crate::error::{Error, Result};
use crate::format::frame::{FRAME_HEADER_BYTES, FRAMES_FROM};
use crate::format::manifest::Manifest;
use crate::ids::{SiteId, StoreId};
use crate::journal::file::JOURNAL_DIR;
use crate::keyring::{Keyring, make_dir, settle_above};
use crate::retention::log::DeletionLog;
use crate::segment::reader::Segments;
use crate::segment::writer::SEGMENT_DIR;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::channel::{self, Receiver, Sender};
use crate::sync::thread::{self, JoinHandle};

pub use append::{Appended, Durability, Position};
pub(crate) use copy::{Tally, Wanted};
pub use deed::Deletions;
pub use erase::{Erasure, Held};
pub use expire::{Expiry, Retention};
pub use health::SegmentStatus;
pub use hold::HoldInfo;
pub use info::SessionInfo;
pub use list::{Cursor, Order, Page, Query};
pub use options::Options;
pub use reclaim::{RECLAIM_SHARE, Reclaimed};
pub use replay::{
    NextBytes, PackedReplay, Played, READ_BYTES_MAX, Replay, ReplayError, ReplayedChunk,
};
pub use sealer::{PURPOSE_BYTES_MAX, SEALED_BYTES_MORE, Sealer};
pub use stats::Stats;
pub use verify::{Depth, Verification};

use manifest::{MANIFEST, ManifestFile};
use state::{Catalog, Counters, Inner, SegmentInfo, Shard};

const LOCK: &str = "lock";
/// The mark that ends a journal is a header alone.
const END_MARK_BYTES: u32 = FRAME_HEADER_BYTES as u32;

/// A store of session recordings.
///
/// It may be shared between threads; clones are the same store. It is closed when the last of them is dropped, and of
/// the [`Site`]s and [`Replay`]s that were taken from it; to see whether closing succeeds, call [`close`](Self::close).
#[derive(Clone)]
pub struct Store {
    inner: Arc<Open>,
}

/// One site of an open store.
#[derive(Clone)]
pub struct Site {
    inner: Arc<Inner>,
    /// Keeps the store open; what its own threads work with does not.
    _open: Option<Arc<Open>>,
    site: Arc<crate::keyring::Site>,
}

/// What is known of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteInfo {
    /// Its id.
    pub id: SiteId,
    /// When it was added, Unix milliseconds.
    pub created_ms: u64,
    /// The retention class of its new sessions, in days.
    pub retention_days: u32,
}

/// A store with its threads. The threads hold what is inside weakly, so that dropping this closes the store.
struct Open {
    inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Dropped to end the thread that syncs.
    syncing: Mutex<Option<Sender<()>>>,
}

impl std::ops::Deref for Open {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Store {
    /// Makes a store and its keyring, and opens it. An attempt that was killed, or failed, can be made again.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is a store or a keyring already; [`Error::Input`] for options out of range.
    pub fn create(options: Options) -> Result<Self> {
        options.check()?;
        let env = &options.env;
        let dir = &options.dir;
        let failed = |e| Error::io("making the store", dir, e);
        if env.disk.exists(&dir.join(MANIFEST)).map_err(failed)? {
            return Err(Error::Exists(dir.clone()));
        }
        for folder in [dir.clone(), dir.join(JOURNAL_DIR), dir.join(SEGMENT_DIR)] {
            make_dir(env, &folder)?;
        }
        // An attempt that was killed may have made them, and nobody has told the disk.
        settle_above(env, &dir.join(JOURNAL_DIR)).map_err(failed)?;
        let lock = lock(env, dir)?;
        // Another process may have made it since.
        if env.disk.exists(&dir.join(MANIFEST)).map_err(failed)? {
            return Err(Error::Exists(dir.clone()));
        }
        let keyring = making::keyring(&options)?;
        let first = Manifest {
            store: keyring.store_id(),
            generation: 0,
            shards: options.shards,
            next_journal: 1,
            keyring_generation: keyring.generation(),
            seen_ms: env.clock.now_ms(),
            journals: Vec::new(),
            segments: Vec::new(),
        };
        let cipher = keyring.manifest_cipher();
        let manifest = ManifestFile::create(env.clone(), dir.clone(), cipher, first)?;
        making::done(env, dir)?;
        Self::start(options, keyring, manifest, Some(lock))
    }

    /// Opens a store for reading and writing. What a crash left unfinished is recovered.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::Locked`] if another process writes, [`Error::WrongKey`], and damage.
    pub fn open(options: Options) -> Result<Self> {
        options.check()?;
        must_exist(&options)?;
        let lock = lock(&options.env, &options.dir)?;
        let provider = Arc::clone(&options.provider);
        let (env, part_bytes) = (&options.env, options.part_bytes);
        let keyring = Keyring::open(env, &options.keyring, provider, false, part_bytes)?;
        let (env, dir) = (options.env.clone(), options.dir.clone());
        let manifest = ManifestFile::open(env, dir, keyring.manifest_cipher(), false)?;
        Self::start(options, keyring, manifest, Some(lock))
    }

    /// Opens a store for reading, also while another process writes to it. No lock is taken and no byte is written.
    ///
    /// What is read is what was durable when the store was opened or last [refreshed](Self::refresh).
    ///
    /// # Errors
    /// As [`open`](Self::open), but never [`Error::Locked`].
    pub fn open_read_only(options: Options) -> Result<Self> {
        options.check()?;
        must_exist(&options)?;
        let provider = Arc::clone(&options.provider);
        let (env, part_bytes) = (&options.env, options.part_bytes);
        let keyring = Keyring::open(env, &options.keyring, provider, true, part_bytes)?;
        let (env, dir) = (options.env.clone(), options.dir.clone());
        let manifest = ManifestFile::open(env, dir, keyring.manifest_cipher(), true)?;
        Self::start(options, keyring, manifest, None)
    }

    fn start(
        options: Options,
        keyring: Keyring,
        manifest: ManifestFile,
        lock: Option<Box<dyn Send + Sync>>,
    ) -> Result<Self> {
        let current = manifest.current();
        if current.store != keyring.store_id() {
            return Err(Error::WrongKey("the keyring belongs to another store"));
        }
        if keyring.generation() < current.keyring_generation {
            // For a reader the writer may have gone on since it read the keyring, which it makes durable first.
            keyring.refresh()?;
        }
        if keyring.generation() < current.keyring_generation {
            return Err(Error::WrongKey(
                "the keyring is older than the store: an old copy of it was put back",
            ));
        }
        let read_only = lock.is_none();
        let watch = Arc::clone(&manifest.watch);
        let opened_day = crate::ids::day_of(watch.now(&*options.env.clock).0);
        let background = options.background && !read_only;
        let (wake, woken) = channel::bounded(1);
        let fill = options.fill_bytes;
        let inner = Arc::new(Inner {
            env: options.env.clone(),
            dir: options.dir.clone(),
            segments: Segments::new(
                options.env.clone(),
                &options.dir,
                options.cache_bytes,
                options.memory_maps,
            ),
            catalog: Catalog::new(
                current.shards,
                current.segments.iter().map(|s| SegmentInfo::new(*s, None)),
            ),
            shards: (0..current.shards).map(|n| Shard::new(n, fill)).collect(),
            archiver: Mutex::default(),
            counters: Counters::default(),
            deletions: DeletionLog::new(options.env.clone(), &options.dir),
            log_settled: AtomicBool::new(false),
            unlogged: Mutex::new(None),
            reserve_kept: AtomicBool::new(false),
            looked_ns: AtomicU64::new(0),
            looking: Mutex::new(0),
            committing: Mutex::new(()),
            expiring: Mutex::new(()),
            erased_at: Mutex::default(),
            watch,
            clock_doubt: Mutex::new(None),
            retention_day: AtomicU32::new(0),
            expiry_tries: Mutex::default(),
            opened_day,
            keyring,
            manifest,
            read_only,
            closed: AtomicBool::new(false),
            refreshing: Mutex::new(()),
            wake,
            background,
            options,
            _lock: lock,
        });
        if read_only {
            inner.refresh()?;
        } else {
            inner.recover(&current)?;
        }
        let open = Open { inner, threads: Mutex::default(), syncing: Mutex::default() };
        if background {
            open.start_threads(woken)?;
        }
        Ok(Self { inner: Arc::new(open) })
    }

    /// The store's random id.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.inner.keyring.store_id()
    }

    /// Adds a site whose sessions are kept for `retention_days` days unless they say otherwise.
    ///
    /// # Errors
    /// [`Error::SiteExists`], and [`Error::Input`] for a retention class out of range.
    pub fn add_site(&self, id: SiteId, retention_days: u32) -> Result<Site> {
        self.inner.check_writable()?;
        let now_ms = self.inner.env.clock.now_ms();
        let site = self.inner.keyring.add_site(id, retention_days, now_ms)?;
        self.inner.note_keyring()?;
        Ok(self.site_of(site))
    }

    /// Adds many sites at once: all of them or none.
    ///
    /// # Errors
    /// As [`add_site`](Self::add_site).
    pub fn add_sites(&self, sites: impl IntoIterator<Item = (SiteId, u32)>) -> Result<Vec<Site>> {
        self.inner.check_writable()?;
        let sites: Vec<(SiteId, u32)> = sites.into_iter().collect();
        let now_ms = self.inner.env.clock.now_ms();
        let added = self.inner.keyring.add_sites(sites, now_ms)?;
        self.inner.note_keyring()?;
        let open = |site| self.site_of(site);
        Ok(added.into_iter().map(open).collect())
    }

    /// One site.
    ///
    /// # Errors
    /// [`Error::UnknownSite`]; [`Error::Erased`] if it was erased. In a store that is only read, also why it cannot be told whether it was.
    pub fn site(&self, id: &SiteId) -> Result<Site> {
        self.inner.keep_up()?;
        match self.inner.keyring.site(id) {
            Some(site) => Ok(self.site_of(site)),
            None if self.inner.keyring.erased(id) => Err(Error::Erased),
            None => Err(Error::UnknownSite(id.clone())),
        }
    }

    fn site_of(&self, site: Arc<crate::keyring::Site>) -> Site {
        Site { inner: Arc::clone(&self.inner.inner), _open: Some(Arc::clone(&self.inner)), site }
    }

    /// All sites, by id. In a store that is only read, and cannot look whether one was erased, those that it knew last; what they hold is
    /// not told then.
    #[must_use]
    pub fn sites(&self) -> Vec<SiteInfo> {
        let _ = self.inner.keep_up();
        let mut sites: Vec<SiteInfo> =
            self.inner.keyring.sites().iter().map(|s| site_info(s)).collect();
        sites.sort_by(|a, b| a.id.cmp(&b.id));
        sites
    }

    /// Makes every chunk that was appended so far durable, those of deferred appends too.
    ///
    /// # Errors
    /// [`Error::DiskFull`] and [`Error::Poisoned`], of any shard; the others are synced all the same. Also once after deferred
    /// chunks were lost, when nobody waited for them.
    pub fn sync(&self) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.sync_all()
    }

    /// Archives everything: ends all journals and moves their chunks into segments. What is appended meanwhile may be left.
    ///
    /// # Errors
    /// Errors of the disk, and [`Error::Closed`] if the store is closed meanwhile; what was not archived stays in its journals.
    pub fn archive(&self) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.archive_all()
    }

    /// One pass of the work that the background thread does: it ends with what waits when it begins.
    ///
    /// # Errors
    /// Errors of the disk; what was not done is done in a later pass.
    pub fn maintain(&self) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.inner.maintain()
    }

    /// For a store opened read-only: takes in what its writer made durable since.
    ///
    /// # Errors
    /// Damage, and errors of the system.
    pub fn refresh(&self) -> Result<()> {
        if self.inner.read_only { self.inner.refresh() } else { Ok(()) }
    }

    /// Closes the store: makes everything durable and gives back the space that journals hold ahead.
    /// Appends that come later are refused.
    ///
    /// # Errors
    /// [`Error::DiskFull`] and [`Error::Poisoned`] if something could not be made durable.
    pub fn close(self) -> Result<()> {
        self.inner.shutdown()
    }
}

impl Site {
    /// The site's id.
    #[must_use]
    pub fn id(&self) -> &SiteId {
        self.site.id()
    }

    /// The random name under which the site stands on disk and in the log of deletions.
    #[must_use]
    pub fn handle(&self) -> crate::SiteHandle {
        self.site.handle()
    }

    /// What is known of the site.
    #[must_use]
    pub fn info(&self) -> SiteInfo {
        site_info(&self.site)
    }
}

fn site_info(site: &crate::keyring::Site) -> SiteInfo {
    SiteInfo {
        id: site.id().clone(),
        created_ms: site.created_ms(),
        retention_days: site.retention_days(),
    }
}

impl Open {
    fn start_threads(&self, woken: Receiver<()>) -> Result<()> {
        let failed = |e| Error::io("starting a background thread of", &self.inner.dir, e);
        let named = |name: &str| thread::Builder::new().name(name.into());
        let (syncing, closing) = channel::bounded(0);
        let (store, same) = (Arc::downgrade(&self.inner), Arc::downgrade(&self.inner));
        let mut threads = self.threads.lock();
        let archive = named("reelvault").spawn(move || maintain::run(&store, &woken));
        threads.push(archive.map_err(failed)?);
        let sync = named("reelvault-sync").spawn(move || maintain::run_sync(&same, &closing));
        threads.push(sync.map_err(failed)?);
        *self.syncing.lock() = Some(syncing);
        Ok(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Whoever wants to know how closing ends calls `Store::close`.
        let _ = self.inner.shutdown();
        self.syncing.lock().take();
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }
}

impl Inner {
    /// Brings back what journals hold, and tidies up.
    fn recover(&self, opened: &Manifest) -> Result<()> {
        let loaded = self.load_journals(opened)?;
        self.check_not_rolled_back(opened)?;
        let kept: Vec<_> = loaded.iter().flat_map(recover::Loaded::kept).collect();
        self.adopt(loaded);
        let keyring_generation = self.keyring.generation();
        if kept.len() < opened.journals.len() || keyring_generation > opened.keyring_generation {
            // Journals without a frame were made ahead; they are not worth keeping.
            let tidied = self.manifest.publish(|m| {
                m.journals.retain(|j| kept.contains(&j.id));
                m.keyring_generation = keyring_generation;
            });
            match tidied {
                // They stay for the next opening to remove: the store is wanted on a full disk, too.
                Err(Error::DiskFull { .. }) if !self.manifest.is_unsure() => {}
                tidied => tidied?,
            }
        }
        self.remove_leftovers()
    }

    /// Makes everything durable, each shard for itself; the first failure is told.
    fn sync_all(&self) -> Result<()> {
        let mut outcome = Ok(());
        for shard in &self.shards {
            let synced = self.sync_shard(shard);
            let told = shard.state.lock().log.tell_deferred();
            outcome = outcome.and(synced).and(told);
        }
        outcome
    }

    /// Refuses what comes later, makes durable what came before, and ends the journals in order.
    fn shutdown(&self) -> Result<()> {
        if self.read_only || self.closed.swap(true, Relaxed) {
            return Ok(());
        }
        let synced = self.sync_all();
        for shard in &self.shards {
            let mut state = shard.state.lock();
            // None of this is needed for what is durable.
            if let Some(journal) = state.log.journal().filter(|_| state.log.is_idle()) {
                let end = journal.durable();
                let _ = journal.write_end(end).and_then(|()| journal.trim(end + END_MARK_BYTES));
            }
            // The next process makes its own.
            if let Some(standby) = state.standby.take() {
                let _ = standby.trim(FRAMES_FROM);
            }
            for spare in state.recycled.drain(..) {
                let _ = crate::journal::file::remove(&self.env, &spare);
            }
            shard.room.notify_all();
        }
        self.wake();
        synced
    }
}

fn must_exist(options: &Options) -> Result<()> {
    let exists = options.env.disk.exists(&options.dir.join(MANIFEST));
    match exists.map_err(|e| Error::io("opening the store", &options.dir, e))? {
        true => Ok(()),
        false => Err(Error::NoStore(options.dir.clone())),
    }
}

/// Locks a store for the one who writes it, or makes it.
pub(crate) fn lock(env: &Env, dir: &Path) -> Result<Box<dyn Send + Sync>> {
    let path = dir.join(LOCK);
    let pid = std::process::id().to_string();
    match env.disk.lock(&path, &pid).map_err(|e| Error::io("locking the store", &path, e))? {
        Locking::Held(lock) => Ok(lock),
        Locking::Refused(by) => Err(Error::Locked { pid: by.parse().ok() }),
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
