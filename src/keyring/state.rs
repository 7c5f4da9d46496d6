//! What a keyring holds, and the plaintext of its body.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::site::{SITE_BYTES_MIN, Site};
use super::tree::{TIME_DEPTH, Tree};
use crate::crypto::{Key, Suite};
use crate::format::codec::{Malformed, Put, Take};
use crate::ids::{SiteHandle, SiteId, StoreId};
use crate::limits::SITES_MAX;

/// The bytes before the time tree, and the longest varint.
const FIXED_BYTES: usize = 16 + 8 + 1 + Key::BYTES + 10;

/// One generation of a keyring. Copies share their sites.
#[derive(Clone)]
pub(super) struct State {
    pub(super) store_id: StoreId,
    pub(super) generation: u64,
    /// The number of the cipher suite for new data.
    pub(super) suite: u8,
    pub(super) store_key: Key,
    pub(super) time: Tree,
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

    /// Upper bound of the bytes that [`Self::encode`] appends.
    pub(super) fn encoded_bytes_max(&self) -> usize {
        FIXED_BYTES
            + self.time.encoded_bytes_max()
            + self.sites().map(|site| site.encoded_bytes_max()).sum::<usize>()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.store_id.0);
        out.put_u64(self.generation);
        out.put_u8(self.suite);
        out.put(self.store_key.expose());
        self.time.encode(out);
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
        let count = take.count(SITE_BYTES_MIN, "site count")?;
        if count > SITES_MAX {
            return Err(Malformed("site count"));
        }
        let (by_handle, by_id) = (BTreeMap::new(), HashMap::with_capacity(count));
        let mut state = Self { store_id, generation, suite, store_key, time, by_handle, by_id };
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
