//! What a keyring holds, and the plaintext of its body.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::hold::{HOLD_BYTES_MIN, Hold};
use super::site::{SITE_BYTES_MIN, Site};
use super::tree::{TIME_DEPTH, Tree};
use crate::crypto::{Key, Suite, hmac, kdf};
use crate::format::codec::{Malformed, Put, Take};
use crate::ids::{HoldId, SiteHandle, SiteId, StoreId};
use crate::limits::{SITES_MAX, STATE_BYTES_MAX};

/// All that is of one length, and the longest varints.
const FIXED_BYTES: usize = 16 + 8 + 1 + Key::BYTES + 4 + (8 + 32) + 4 * 10;
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

/// One generation of a keyring. Copies share their sites.
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
    pub(super) erased: BTreeSet<[u8; ERASED_BYTES]>,
    pub(super) holds: BTreeMap<HoldId, Arc<Hold>>,
    by_handle: BTreeMap<SiteHandle, Arc<Site>>,
    by_id: HashMap<SiteId, Arc<Site>>,
}

impl State {
    /// The first generation, without sites.
    pub(super) fn new(store_id: StoreId, store_key: Key, time_root: Key) -> Self {
        Self {
            store_id,
            generation: 1,
            suite: Suite::Aes256Gcm as u8,
            store_key,
            time: Tree::new(TIME_DEPTH, time_root),
            first_day: 0,
            log: LogHead::empty(),
            erased: BTreeSet::new(),
            holds: BTreeMap::new(),
            by_handle: BTreeMap::new(),
            by_id: HashMap::new(),
        }
    }

    /// Adds a site; false, and nothing changes, if its handle or its id is there.
    pub(super) fn insert(&mut self, site: &Arc<Site>) -> bool {
        if self.by_handle.contains_key(&site.handle()) || self.by_id.contains_key(site.id()) {
            return false;
        }
        self.by_handle.insert(site.handle(), site.clone());
        self.by_id.insert(site.id().clone(), site.clone());
        true
    }

    pub(super) fn site(&self, id: &SiteId) -> Option<&Arc<Site>> {
        self.by_id.get(id)
    }

    pub(super) fn site_by_handle(&self, handle: &SiteHandle) -> Option<&Arc<Site>> {
        self.by_handle.get(handle)
    }

    /// By handle.
    pub(super) fn sites(&self) -> impl ExactSizeIterator<Item = &Arc<Site>> {
        self.by_handle.values()
    }

    /// Puts `site` in the place of the one with the same id and handle.
    pub(super) fn replace(&mut self, site: &Arc<Site>) {
        self.by_handle.insert(site.handle(), site.clone());
        self.by_id.insert(site.id().clone(), site.clone());
    }

    /// Takes a site away.
    pub(super) fn remove(&mut self, handle: &SiteHandle) -> Option<Arc<Site>> {
        let site = self.by_handle.remove(handle)?;
        self.by_id.remove(site.id());
        Some(site)
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
            + self.sites().map(|site| site.encoded_bytes_max()).sum::<usize>()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.store_id.0);
        out.put_u64(self.generation);
        out.put_u8(self.suite);
        out.put(self.store_key.expose());
        self.time.encode(out);
        out.put_u32(self.first_day);
        out.put_u64(self.log.count);
        out.put(&self.log.digest);
        out.put_bytes(&self.log.last);
        out.put_varint(self.erased.len() as u64);
        self.erased.iter().for_each(|hash| out.put(hash));
        out.put_varint(self.holds.len() as u64);
        self.holds.values().for_each(|hold| hold.encode(out));
        out.put_varint(self.by_handle.len() as u64);
        self.sites().for_each(|site| site.encode(out));
    }

    pub(super) fn decode(plain: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(plain);
        let store_id = StoreId(take.array("store id")?);
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
        let erased = decode_erased(&mut take)?;
        let holds = decode_holds(&mut take)?;
        let count = take.count(SITE_BYTES_MIN, "site count")?;
        if count > SITES_MAX {
            return Err(Malformed("site count"));
        }
        let (by_handle, by_id) = (BTreeMap::new(), HashMap::with_capacity(count));
        let mut state = Self {
            store_id,
            generation,
            suite,
            store_key,
            time,
            first_day,
            log,
            erased,
            holds,
            by_handle,
            by_id,
        };
        for _ in 0..count {
            let site = Site::decode(&mut take)?;
            let last = state.by_handle.last_key_value();
            if last.is_some_and(|(handle, _)| *handle >= site.handle()) {
                return Err(Malformed("site order"));
            }
            if !state.insert(&Arc::new(site)) {
                return Err(Malformed("site id"));
            }
        }
        take.end("end of the keyring")?;
        Ok(state)
    }
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
