//! What a keyring holds, and the plaintext of its body.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::coding::{Before, Failed, Loader, Sealer};
use super::hold::{HOLD_BYTES_MIN, Hold};
use super::index::Index;
use super::part::Of;
use super::pieces::{Editing, Pieces};
use super::place::Place;
use super::site::{Record, Site};
use super::tree::{TIME_DEPTH, Tree};
use crate::crypto::{Key, Suite, hmac, kdf};
use crate::error::Result;
use crate::format::codec::{Malformed, Put, Take};
use crate::ids::{FileId, HoldId, SiteHandle, SiteId, StoreId};
use crate::limits::{SITES_MAX, STATE_BYTES_MAX};

/// All that is of one length, and the longest varints.
const FIXED_BYTES: usize = 16 + 8 + 1 + Key::BYTES + 4 + (8 + 32) + 1 + 4 * 10;
const ERASED_BYTES: usize = 16;

/// Where the log of deletions ends.
///
/// The last record is kept whole, so that one that a crash kept out of the log can be appended after it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LogHead {
    /// Records so far.
    pub(crate) count: u64,
    /// SHA-256 of the last record's statement; zero without records.
    pub(crate) digest: [u8; 32],
    /// The last record; empty without records.
    pub(crate) last: Arc<[u8]>,
}

impl LogHead {
    fn empty() -> Self {
        Self { count: 0, digest: [0; 32], last: Arc::default() }
    }

    /// The head after one more record.
    pub(super) fn after(&self, record: &[u8], digest: [u8; 32]) -> Self {
        Self { count: self.count + 1, digest, last: record.into() }
    }
}

/// One generation of a keyring. Copies share all but a few bytes.
#[derive(Clone)]
pub(super) struct State {
    pub(super) store_id: StoreId,
    pub(super) generation: u64,
    /// The number of the cipher suite for new data.
    pub(super) suite: u8,
    pub(super) store_key: Key,
    pub(super) time: Tree,
    /// The leaves of all days before it are gone.
    pub(super) first_day: u32,
    pub(super) log: LogHead,
    /// Keyed hashes of the ids of erased sites.
    pub(super) erased: Arc<BTreeSet<[u8; ERASED_BYTES]>>,
    pub(super) holds: Arc<BTreeMap<HoldId, Arc<Hold>>>,
    /// By handle.
    pub(super) sites: Pieces<Record>,
    index: Index,
    pub(super) edit: Editing,
}

impl State {
    /// The first generation, without sites.
    pub(super) fn new(
        store_id: StoreId,
        store_key: Key,
        time_root: Key,
        part_bytes: usize,
    ) -> Self {
        Self {
            store_id,
            generation: super::Keyring::FIRST_GENERATION,
            suite: Suite::Aes256Gcm as u8,
            store_key,
            time: Tree::new(TIME_DEPTH, time_root),
            first_day: 0,
            log: LogHead::empty(),
            erased: Arc::default(),
            holds: Arc::default(),
            sites: Pieces::of(Vec::new()),
            index: Index::new(),
            edit: Editing::new(part_bytes),
        }
    }

    /// What the next generation begins as.
    pub(super) fn next(&self, generation: u64) -> Self {
        let edit = Editing::new(self.edit.part_bytes);
        Self { generation, edit, ..self.clone() }
    }

    /// Adds a site; false, and nothing changes, if its place or its id is taken.
    pub(super) fn insert(&mut self, record: Record) -> bool {
        let site = &record.site;
        let taken = self.is_taken(&site.handle());
        if taken || !self.index.insert(site.id(), site.handle()) {
            return false;
        }
        self.sites.insert(record, &mut self.edit);
        true
    }

    /// Whether a site of this handle would stand where one stands.
    pub(super) fn is_taken(&self, handle: &SiteHandle) -> bool {
        self.sites.find(Record::at(handle)).is_some()
    }

    pub(super) fn site(&self, id: &SiteId) -> Option<&Arc<Site>> {
        self.site_by_handle(&self.index.get(id)?)
    }

    pub(super) fn site_by_handle(&self, handle: &SiteHandle) -> Option<&Arc<Site>> {
        self.record(handle).map(|record| &record.site)
    }

    pub(super) fn record(&self, handle: &SiteHandle) -> Option<&Record> {
        let found = self.sites.find(Record::at(handle))?;
        (found.site.handle() == *handle).then_some(found)
    }

    /// Removes sessions' places from a site's tree; how many of them were there.
    pub(super) fn puncture(&mut self, handle: &SiteHandle, places: &[u64]) -> usize {
        let Some(mut record) = self.record(handle).cloned() else { return 0 };
        let removed = record.tree.puncture(places, &mut self.edit);
        if removed > 0 {
            let at = [Record::at(handle)];
            self.sites.edit(&at, &mut self.edit, &mut |_, _, out| out.push(record.clone()));
        }
        removed
    }

    /// Takes a site away.
    pub(super) fn remove(&mut self, handle: &SiteHandle) -> Option<Arc<Site>> {
        let record = self.record(handle)?.clone();
        record.tree.pieces().drop_all(&mut self.edit);
        self.sites.edit(&[Record::at(handle)], &mut self.edit, &mut |_, _, _| {});
        self.index.remove(record.site.id());
        Some(record.site)
    }

    /// The ids of all parts.
    pub(super) fn parts(&self) -> impl Iterator<Item = FileId> {
        let sites = self.sites.below().filter_map(|piece| piece.part().get());
        let nodes = self.sites.iter().flat_map(|record| record.tree.pieces().below());
        sites.chain(nodes.filter_map(|piece| piece.part().get())).map(|part| part.id)
    }

    /// Bytes of all parts.
    pub(super) fn part_bytes(&self) -> u64 {
        let sites = self.sites.below().filter_map(|piece| piece.part().get());
        let nodes = self.sites.iter().flat_map(|record| record.tree.pieces().below());
        let parts = sites.chain(nodes.filter_map(|piece| piece.part().get()));
        parts.map(|part| u64::from(part.bytes)).sum()
    }

    /// What is remembered of a site after it was erased: enough to know its id again, and nothing to read it from.
    pub(super) fn erased_hash(&self, id: &SiteId) -> [u8; ERASED_BYTES] {
        let key = kdf(&self.store_key, "reelvault/erased site", &[]);
        *hmac(&key, id.as_str().as_bytes()).expose().first_chunk().unwrap_or(&[0; ERASED_BYTES])
    }

    /// Upper bound of the bytes that [`Self::encode`] appends.
    pub(super) fn encoded_bytes_max(&self) -> usize {
        FIXED_BYTES
            + self.time.encoded_bytes_max()
            + self.log.last.len()
            + self.erased.len() * ERASED_BYTES
            + self.holds.values().map(|hold| hold.encoded_bytes_max()).sum::<usize>()
            + self.sites.top().bytes_max()
    }

    /// Appends the body of the keyring file. Parts that are new are sealed for it.
    pub(super) fn encode(&self, out: &mut Vec<u8>, sealer: &mut Sealer<'_>) -> Result<()> {
        out.put(&self.store_id.0);
        out.put_u64(self.generation);
        out.put_u8(self.suite);
        out.put(self.store_key.expose());
        // It is never in parts: days go as a prefix, which leaves few nodes.
        self.time.encode(Of::Sites, out, sealer)?;
        out.put_u32(self.first_day);
        out.put_u64(self.log.count);
        out.put(&self.log.digest);
        out.put_bytes(&self.log.last);
        out.put_varint(self.erased.len() as u64);
        self.erased.iter().for_each(|hash| out.put(hash));
        out.put_varint(self.holds.len() as u64);
        self.holds.values().for_each(|hold| hold.encode(out));
        out.put_u8(self.sites.top().height());
        sealer.encode(self.sites.top(), Place::ROOT, Of::Sites, out)
    }

    /// Reads the body of a keyring file, and the parts that it names.
    pub(super) fn decode(
        plain: &[u8],
        loader: &mut Loader<'_>,
        part_bytes: usize,
    ) -> Result<Self, Failed> {
        let mut take = Take::new(plain);
        let store_id = StoreId(take.array("store id")?);
        loader.store = store_id;
        let generation = take.u64("generation")?;
        let suite = take.u8("cipher suite")?;
        let store_key = Key::take(&mut take.array("store key")?);
        let time = Tree::decode(TIME_DEPTH, &mut take)?;
        let first_day = take.u32("first day kept")?;
        let log = LogHead {
            count: take.u64("count of erasures")?,
            digest: take.array("digest of the last erasure")?,
            last: take.byte_string(STATE_BYTES_MAX, "last erasure")?.into(),
        };
        let erased = Arc::new(decode_erased(&mut take)?);
        let holds = Arc::new(decode_holds(&mut take)?);
        let height = take.u8("levels of parts")?;
        let sites = loader.list(height, Of::Sites, &mut take)?;
        take.end("end of the keyring")?;
        if sites.len() > SITES_MAX {
            return Err(Malformed("site count").into());
        }
        let index = index(&sites, loader.before)?;
        Ok(Self {
            store_id,
            generation,
            suite,
            store_key,
            time,
            first_day,
            log,
            erased,
            holds,
            sites,
            index,
            edit: Editing::new(part_bytes),
        })
    }
}

/// Which of these sites has an id; made of what was known before, where there is such.
fn index(sites: &Pieces<Record>, before: Option<&Before>) -> Result<Index, Malformed> {
    let none = Pieces::of(Vec::new());
    let (mut index, old) = match before {
        Some(before) => (before.state.index.clone(), &before.state.sites),
        None => (Index::new(), &none),
    };
    for gone in old.iter_without(sites) {
        index.remove(gone.site.id());
    }
    for new in sites.iter_without(old) {
        if !index.insert(new.site.id(), new.site.handle()) {
            return Err(Malformed("site id"));
        }
    }
    Ok(index)
}

fn decode_erased(take: &mut Take<'_>) -> Result<BTreeSet<[u8; ERASED_BYTES]>, Malformed> {
    let mut erased = BTreeSet::new();
    for _ in 0..take.count(ERASED_BYTES, "count of erased sites")? {
        let hash = take.array("erased site")?;
        if erased.last().is_some_and(|last| *last >= hash) {
            return Err(Malformed("order of erased sites"));
        }
        erased.insert(hash);
    }
    Ok(erased)
}

fn decode_holds(take: &mut Take<'_>) -> Result<BTreeMap<HoldId, Arc<Hold>>, Malformed> {
    let mut holds = BTreeMap::new();
    for _ in 0..take.count(HOLD_BYTES_MIN, "count of holds")? {
        let hold = Hold::decode(take)?;
        if holds.last_key_value().is_some_and(|(last, _)| *last >= hold.id) {
            return Err(Malformed("order of holds"));
        }
        holds.insert(hold.id, Arc::new(hold));
    }
    Ok(holds)
}
