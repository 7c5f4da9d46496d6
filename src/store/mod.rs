//! The store: opening, sites, and what a recording service does with them.

mod append;
mod find;
mod info;
mod list;
mod maintain;
mod manifest;
mod options;
mod recover;
mod replay;
mod state;
mod stats;
mod verify;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::env::{Env, Locking};
use crate::error::{Damage, Error, Result};
use crate::format::manifest::Manifest;
use crate::ids::{SessionId, SiteId, StoreId};
use crate::journal::file::JOURNAL_DIR;
use crate::keyring::Keyring;
use crate::segment::reader::Segments;
use crate::segment::writer::SEGMENT_DIR;

pub use append::{Appended, Durability, Position};
pub use info::SessionInfo;
pub use list::{Cursor, Order, Page, Query};
pub use options::Options;
pub use replay::{READ_BYTES_MAX, Replay, ReplayError, ReplayedChunk};
pub use stats::Stats;
pub use verify::{Depth, Verification};

use manifest::{MANIFEST, ManifestFile};
use state::{Catalog, Counters, Inner, SegmentInfo, Shard};

const LOCK: &str = "lock";
/// How often a reader tries again when the writer archived a journal between the manifest and the file.
const REFRESH_ATTEMPTS: usize = 8;

/// A store of session recordings.
///
/// It may be shared between threads; clones are the same store. Dropping the last one closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    // Dropped with the last clone, after `inner`: it ends the background thread and waits for it.
    _worker: Arc<Worker>,
}

/// One site of an open store.
#[derive(Clone)]
pub struct Site {
    inner: Arc<Inner>,
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

struct Worker(Mutex<Option<JoinHandle<()>>>);

impl Store {
    /// Makes a store and its keyring, and opens it.
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
            env.disk.create_dir(&folder).map_err(failed)?;
        }
        let lock = lock(env, dir)?;
        let provider = Arc::clone(&options.provider);
        let keyring = Keyring::create(env, &options.keyring, provider)?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            env.disk.sync_dir(parent).map_err(failed)?;
        }
        let first = Manifest {
            store: keyring.store_id(),
            generation: 0,
            shards: options.shards,
            next_journal: 1,
            journals: Vec::new(),
            segments: Vec::new(),
        };
        let cipher = keyring.manifest_cipher();
        let manifest = ManifestFile::create(env.clone(), dir.clone(), cipher, first)?;
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
        let keyring = Keyring::open(&options.env, &options.keyring, provider, false)?;
        let (env, dir) = (options.env.clone(), options.dir.clone());
        let manifest = ManifestFile::open(env, dir, keyring.manifest_cipher())?;
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
        let keyring = Keyring::open(&options.env, &options.keyring, provider, true)?;
        let (env, dir) = (options.env.clone(), options.dir.clone());
        let manifest = ManifestFile::open(env, dir, keyring.manifest_cipher())?;
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
        let read_only = lock.is_none();
        let background = options.background && !read_only;
        let (wake, woken) = crossbeam::channel::bounded(1);
        let fill = options.fill_bytes;
        let inner = Arc::new(Inner {
            env: options.env.clone(),
            dir: options.dir.clone(),
            segments: Segments::new(
                options.env.clone(),
                &options.dir,
                keyring.directory_cipher(),
                options.cache_bytes,
                options.memory_maps,
            ),
            catalog: Catalog::new(
                current.shards,
                current.segments.iter().map(|s| SegmentInfo::new(*s, None)),
            ),
            shards: (0..current.shards).map(|n| Shard::new(n, fill)).collect(),
            counters: Counters::default(),
            keyring,
            manifest,
            read_only,
            closed: AtomicBool::new(false),
            wake: background.then_some(wake),
            options,
            _lock: lock,
        });
        if read_only {
            inner.refresh()?;
        } else {
            inner.recover(&current)?;
        }
        let worker = Arc::downgrade(&inner);
        let run = move || maintain::run(&worker, &woken);
        let worker = match background {
            true => Some(
                std::thread::Builder::new()
                    .name("reelvault".into())
                    .spawn(run)
                    .map_err(|e| Error::io("starting the background thread of", &inner.dir, e))?,
            ),
            false => None,
        };
        Ok(Self { inner, _worker: Arc::new(Worker(Mutex::new(worker))) })
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
        Ok(Site { inner: Arc::clone(&self.inner), site })
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
        let open = |site| Site { inner: Arc::clone(&self.inner), site };
        Ok(added.into_iter().map(open).collect())
    }

    /// One site.
    ///
    /// # Errors
    /// [`Error::UnknownSite`].
    pub fn site(&self, id: &SiteId) -> Result<Site> {
        let site = self.inner.keyring.site(id).ok_or_else(|| Error::UnknownSite(id.clone()))?;
        Ok(Site { inner: Arc::clone(&self.inner), site })
    }

    /// All sites, by id.
    #[must_use]
    pub fn sites(&self) -> Vec<SiteInfo> {
        let mut sites: Vec<SiteInfo> =
            self.inner.keyring.sites().iter().map(|s| site_info(s)).collect();
        sites.sort_by(|a, b| a.id.cmp(&b.id));
        sites
    }

    /// Makes every chunk that was appended so far durable, those of deferred appends too.
    ///
    /// # Errors
    /// [`Error::DiskFull`] and [`Error::Poisoned`].
    pub fn sync(&self) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.shards.iter().try_for_each(|shard| self.inner.sync_shard(shard))
    }

    /// Archives everything: ends all journals and moves their chunks into segments.
    ///
    /// # Errors
    /// Errors of the disk; what was not archived stays in its journals.
    pub fn archive(&self) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.archive_all()
    }

    /// One round of the work that the background thread does.
    ///
    /// # Errors
    /// Errors of the disk; what was not done is done in a later round.
    pub fn maintain(&self) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.maintain()
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
        let synced = if self.inner.read_only { Ok(()) } else { self.sync() };
        self.inner.close();
        synced
    }
}

impl Site {
    /// The site's id.
    #[must_use]
    pub fn id(&self) -> &SiteId {
        self.site.id()
    }

    /// What is known of the site.
    #[must_use]
    pub fn info(&self) -> SiteInfo {
        site_info(&self.site)
    }

    /// What is known of one session.
    ///
    /// # Errors
    /// [`Error::UnknownSession`], [`Error::Erased`], [`Error::Expired`], and damage.
    pub fn session(&self, id: &SessionId) -> Result<SessionInfo> {
        self.describe(&self.find(id)?)
    }
}

fn site_info(site: &crate::keyring::Site) -> SiteInfo {
    SiteInfo {
        id: site.id().clone(),
        created_ms: site.created_ms(),
        retention_days: site.retention_days(),
    }
}

impl Inner {
    /// Brings back what journals hold, and tidies up.
    fn recover(&self, manifest: &Manifest) -> Result<()> {
        self.load_journals(manifest)?;
        let kept: Vec<_> =
            self.shards.iter().flat_map(|s| s.state.lock().full.clone()).map(|j| j.id).collect();
        if kept.len() < manifest.journals.len() {
            // Journals without a frame were made ahead; they are not worth keeping.
            self.manifest.publish(|m| m.journals.retain(|j| kept.contains(&j.id)))?;
        }
        recover::remove_leftovers(&self.env, &self.dir, &self.manifest.current())
    }

    /// Reads the manifest and the journals of a store that another process writes.
    pub(super) fn refresh(&self) -> Result<()> {
        let mut last = None;
        for _ in 0..REFRESH_ATTEMPTS {
            self.keyring.refresh()?;
            let manifest = self.manifest.refresh()?;
            match self.load_journals(&manifest) {
                Ok(()) => {
                    self.catalog.replace(&manifest.segments);
                    return Ok(());
                }
                // The writer has archived a journal since it published this manifest.
                Err(Error::Corrupt(c)) if may_be_moving(c.kind) => last = Some(Error::Corrupt(c)),
                Err(e) => return Err(e),
            }
        }
        last.map_or(Ok(()), Err)
    }

    fn close(&self) {
        if self.closed.swap(true, Relaxed) || self.read_only {
            return;
        }
        for shard in &self.shards {
            let state = shard.state.lock();
            if let Some(journal) = state.log.journal().filter(|_| state.log.is_idle()) {
                // Zeros that are not given back cost space and nothing else.
                let _ = journal.trim(journal.durable());
            }
            shard.room.notify_all();
        }
        self.wake();
    }
}

fn may_be_moving(damage: Damage) -> bool {
    !matches!(damage, Damage::RolledBack | Damage::BeforeValidFrames)
}

fn must_exist(options: &Options) -> Result<()> {
    let exists = options.env.disk.exists(&options.dir.join(MANIFEST));
    match exists.map_err(|e| Error::io("opening the store", &options.dir, e))? {
        true => Ok(()),
        false => Err(Error::NoStore(options.dir.clone())),
    }
}

fn lock(env: &Env, dir: &Path) -> Result<Box<dyn Send + Sync>> {
    let path = dir.join(LOCK);
    let pid = std::process::id().to_string();
    match env.disk.lock(&path, &pid).map_err(|e| Error::io("locking the store", &path, e))? {
        Locking::Held(lock) => Ok(lock),
        Locking::Refused(by) => Err(Error::Locked { pid: by.trim().parse().ok() }),
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(worker) = self.0.lock().take() {
            let _ = worker.join();
        }
    }
}
