//! Which site has an id.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::ids::{SiteHandle, SiteId};

/// Buckets: with as many sites as there may be, a thousand in each.
const BUCKETS: usize = 1_024;

/// The handles of sites by their ids. Copies share their buckets, so that one more site costs one bucket.
#[derive(Clone)]
pub(super) struct Index {
    hasher: Arc<RandomState>,
    buckets: Arc<Vec<Arc<HashMap<SiteId, SiteHandle>>>>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            hasher: Arc::new(RandomState::new()),
            buckets: Arc::new(vec![Arc::default(); BUCKETS]),
        }
    }

    pub(super) fn get(&self, id: &SiteId) -> Option<SiteHandle> {
        self.buckets.get(self.bucket_of(id))?.get(id).copied()
    }

    /// Adds a site; false, and nothing changes, if the id is there.
    pub(super) fn insert(&mut self, id: &SiteId, handle: SiteHandle) -> bool {
        self.get(id).is_none() && self.bucket(id, |bucket| bucket.insert(id.clone(), handle))
    }

    pub(super) fn remove(&mut self, id: &SiteId) {
        self.bucket(id, |bucket| bucket.remove(id));
    }

    fn bucket_of(&self, id: &SiteId) -> usize {
        (self.hasher.hash_one(id) % BUCKETS as u64) as usize
    }

    fn bucket<T>(
        &mut self,
        id: &SiteId,
        change: impl FnOnce(&mut HashMap<SiteId, SiteHandle>) -> T,
    ) -> bool {
        let at = self.bucket_of(id);
        let bucket = Arc::make_mut(&mut self.buckets).get_mut(at);
        bucket.map(|bucket| change(Arc::make_mut(bucket))).is_some()
    }
}
