//! What an open store consists of: shards with their logs and tables, and the catalog of segments.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::archive;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::format::manifest::SegmentEntry;
use crate::ids::{FileId, SiteHandle};
use crate::journal::file::Journal;
use crate::journal::log::{HasLog, Log};
use crate::journal::table::Table;
use crate::keyring::Keyring;
use crate::retention::clock::{ClockDoubt, Watch};
use crate::retention::log::DeletionLog;
use crate::retention::record::Certificate;
use crate::segment::reader::Segments;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{Condvar, Mutex, RwLock};

use super::expire::Tries;
use super::manifest::ManifestFile;
use super::options::Options;

/// An open store.
pub(super) struct Inner {
    pub(super) env: Env,
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) keyring: Keyring,
    pub(super) manifest: ManifestFile,
    pub(super) segments: Segments,
    pub(super) catalog: Catalog,
    pub(super) shards: Vec<Shard>,
    /// Memory for whoever writes segments. Who archives a shard while it is taken has some of its own, so that there is at most one for
    /// each shard. Taken after a shard's `archiving`.
    pub(super) archiver: Mutex<archive::Workspace>,
    pub(super) counters: Counters,
    /// The log of deletions, and whether the last statement of the keyring is known to stand in it.
    pub(super) deletions: DeletionLog,
    pub(super) log_settled: AtomicBool,
    /// The last certificate, if it could not be logged.
    pub(super) unlogged: Mutex<Option<Certificate>>,
    /// Whether the reserve is known to be there.
    pub(super) reserve_kept: AtomicBool,
    /// When a reader began the last look that told whether there is a newer keyring, on the monotonic clock in nanoseconds; 0: never.
    pub(super) looked_ns: AtomicU64,
    /// Held by the one who looks: when the last look began that told nothing.
    pub(super) looking: Mutex<u64>,
    /// Held by whoever deletes: one statement follows on the other.
    pub(super) committing: Mutex<()>,
    pub(super) expiring: Mutex<()>,
    /// Sites of which something was erased, and when its space is to be reclaimed, on the monotonic clock in nanoseconds.
    pub(super) erased_at: Mutex<HashMap<SiteHandle, u64>>,
    /// Which day it is, for deletion.
    pub(super) watch: Arc<Watch>,
    pub(super) clock_doubt: Mutex<Option<ClockDoubt>>,
    /// The day up to which retention has run in this process.
    pub(super) retention_day: AtomicU32,
    pub(super) expiry_tries: Mutex<Tries>,
    /// The day on which the store was opened.
    pub(super) opened_day: u32,
    pub(super) read_only: bool,
    pub(super) closed: AtomicBool,
    /// Held by whoever reads the store again: an older view must not replace a newer one.
    pub(super) refreshing: Mutex<()>,
    /// Whether background threads work on this store.
    pub(super) background: bool,
    /// Wakes the background thread.
    pub(super) wake: crate::sync::channel::Sender<()>,
    /// The lock against a second writer, held while the store is open.
    pub(super) _lock: Option<Box<dyn Send + Sync>>,
}

/// One shard.
pub(super) struct Shard {
    pub(super) index: u16,
    pub(super) state: Mutex<ShardState>,
    /// Held by whoever archives this shard.
    pub(super) archiving: Mutex<()>,
    /// Signalled when the archiver has made room.
    pub(super) room: Condvar,
}

/// What a shard's lock guards.
pub(super) struct ShardState {
    pub(super) log: Log,
    pub(super) table: Table,
    /// Raised whenever frames move from journals to segments: what was looked up before is out of date.
    pub(super) epoch: u64,
    /// When the current journal took its place, Unix milliseconds.
    pub(super) begun_ms: u64,
    /// Journals that take no more frames, oldest first.
    pub(super) full: Vec<Arc<Journal>>,
    /// A journal made ahead, published and empty.
    pub(super) standby: Option<Arc<Journal>>,
    /// Files of archived journals, to be written over.
    pub(super) recycled: Vec<PathBuf>,
    /// Journals that the archiver could not read once.
    pub(super) suspected: HashSet<FileId>,
    /// Journals that the archiver could not read twice; they stay, and their sessions are read from them.
    pub(super) stuck: HashSet<FileId>,
    /// Journals that salvage could not even open; they stay.
    pub(super) unreadable: Vec<FileId>,
    /// Journals of which salvage passed something over when the store was opened, the unreadable ones among them: of which sessions that
    /// was, nobody knows.
    pub(super) salvaged: Vec<FileId>,
}

impl HasLog for ShardState {
    fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    fn forget_pending(&mut self, durable: u32) {
        if let Some(journal) = self.log.journal() {
            let id = journal.id;
            self.table.remove_frames(|f| f.journal.id == id && f.offset >= durable, false);
        }
    }
}

impl Shard {
    pub(super) fn new(index: u16, fill_bytes: u32) -> Self {
        let state = ShardState {
            log: Log::new(index, fill_bytes),
            table: Table::default(),
            epoch: 0,
            begun_ms: 0,
            full: Vec::new(),
            standby: None,
            recycled: Vec::new(),
            suspected: HashSet::new(),
            stuck: HashSet::new(),
            unreadable: Vec::new(),
            salvaged: Vec::new(),
        };
        Self { index, state: Mutex::new(state), archiving: Mutex::new(()), room: Condvar::new() }
    }
}

impl ShardState {
    /// The journals that wait for the archiver and that it can read, oldest first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Arc<Journal>> {
        self.full.iter().filter(|j| !self.stuck.contains(&j.id))
    }

    /// The number of the youngest journal that has taken frames, or is to take them next.
    pub(super) fn newest_number(&self) -> u64 {
        let current = self.log.journal();
        self.full.iter().chain(current).map(|j| j.head.number).max().unwrap_or(0)
    }

    /// Bytes of the journals that wait for the archiver.
    pub(super) fn backlog_bytes(&self) -> u64 {
        self.waiting().map(|j| u64::from(j.durable())).sum()
    }
}

/// What was counted since the store was opened.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) appended: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) raw_bytes: AtomicU64,
    pub(super) archived: AtomicU64,
    pub(super) segments_written: AtomicU64,
    pub(super) salvaged_bytes: AtomicU64,
    pub(super) doubtful_holds: AtomicU64,
    /// Whether the last round of background work ended in an error.
    pub(super) maintenance_failed: AtomicBool,
}

/// A segment that is alive.
pub(super) struct SegmentInfo {
    pub(super) entry: SegmentEntry,
    /// The upper halves of its sessions' places, sorted, where this process wrote it and it is young: a
    /// new session asks every young segment whether it is there already.
    pub(super) places: Mutex<Option<Box<[u32]>>>,
}

impl SegmentInfo {
    pub(super) fn new(entry: SegmentEntry, places: Option<Box<[u32]>>) -> Arc<Self> {
        Arc::new(Self { entry, places: Mutex::new(places) })
    }

    /// Whether a session at this place may be in the segment.
    pub(super) fn may_hold(&self, place: u64) -> bool {
        let upper = (place >> 32) as u32;
        self.places.lock().as_ref().is_none_or(|places| places.binary_search(&upper).is_ok())
    }
}

/// The segments of each shard by start day, replaced as a whole when it changes.
pub(super) type SegmentList = Vec<BTreeMap<u32, Vec<Arc<SegmentInfo>>>>;

/// The live segments.
pub(super) struct Catalog {
    list: RwLock<Arc<SegmentList>>,
}

impl Catalog {
    pub(super) fn new(shards: u16, segments: impl IntoIterator<Item = Arc<SegmentInfo>>) -> Self {
        let mut list: SegmentList = (0..shards).map(|_| BTreeMap::new()).collect();
        segments.into_iter().for_each(|s| add(&mut list, s));
        Self { list: RwLock::new(Arc::new(list)) }
    }

    /// The segments as they are now; later changes do not touch what is returned.
    pub(super) fn snapshot(&self) -> Arc<SegmentList> {
        Arc::clone(&self.list.read())
    }

    pub(super) fn add(&self, segments: Vec<Arc<SegmentInfo>>) {
        let mut list = self.list.write();
        let list = Arc::make_mut(&mut list);
        segments.into_iter().for_each(|s| add(list, s));
    }

    /// Takes segments out.
    pub(super) fn remove(&self, ids: &HashSet<FileId>) {
        let mut list = self.list.write();
        for days in Arc::make_mut(&mut list) {
            days.retain(|_, segments| {
                segments.retain(|s| !ids.contains(&s.entry.id));
                !segments.is_empty()
            });
        }
    }

    /// Takes over the segments of a manifest; those that are known stay what they are.
    pub(super) fn replace(&self, entries: &[SegmentEntry]) {
        let mut list = self.list.write();
        let mut known: std::collections::HashMap<FileId, Arc<SegmentInfo>> = list
            .iter()
            .flat_map(|days| days.values().flatten())
            .map(|s| (s.entry.id, Arc::clone(s)))
            .collect();
        let mut next: SegmentList = list.iter().map(|_| BTreeMap::new()).collect();
        for entry in entries {
            let info = known.remove(&entry.id).unwrap_or_else(|| SegmentInfo::new(*entry, None));
            add(&mut next, info);
        }
        *list = Arc::new(next);
    }
}

fn add(list: &mut SegmentList, segment: Arc<SegmentInfo>) {
    // A shard beyond the list is refused when the manifest is decoded.
    if let Some(days) = list.get_mut(usize::from(segment.entry.shard)) {
        days.entry(segment.entry.day).or_default().push(segment);
    }
}

impl Inner {
    /// The shard of a site: fixed by its handle, and so by chance.
    pub(super) fn shard(&self, site: SiteHandle) -> &Shard {
        let hash = u64::from_le_bytes(*site.0.first_chunk().unwrap_or(&[0; 8]));
        &self.shards[(hash % self.shards.len() as u64) as usize]
    }

    /// Whether the catalog still names a segment.
    pub(super) fn names(&self, segment: &SegmentInfo) -> bool {
        let all = self.catalog.snapshot();
        let shard = all.get(usize::from(segment.entry.shard));
        let of_day = shard.and_then(|days| days.get(&segment.entry.day));
        of_day.is_some_and(|segments| segments.iter().any(|s| s.entry.id == segment.entry.id))
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        if self.closed.load(Relaxed) {
            Err(Error::Closed)
        } else if self.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    pub(super) fn wake(&self) {
        // A wake-up that is waiting already is enough, and without a thread nobody listens.
        let _ = self.wake.try_send(());
    }

    pub(super) fn random_id(&self) -> Result<[u8; 16]> {
        let mut id = [0; 16];
        let random = self.env.random.fill(&mut id);
        random.map_err(|e| Error::io("drawing an id", &self.dir, e))?;
        Ok(id)
    }
}
