//! A cache bounded by weight: two generations, the older of which is dropped whole.
//!
//! What is used stays, since a hit in the older generation moves to the newer one. It costs one hash
//! look-up, keeps no list in order, and is never above its bound.

use std::collections::HashMap;
use std::hash::Hash;

/// Values by key, up to a total weight.
pub(crate) struct Cache<K, V> {
    new: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    new_weight: usize,
    old_weight: usize,
    /// Half of the bound: each generation's share.
    half: usize,
    hits: u64,
    misses: u64,
}

/// How a cache has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// The weight of what it holds.
    pub(crate) weight: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    pub(crate) fn new(weight_max: usize) -> Self {
        let half = weight_max / 2;
        let (new, old) = (HashMap::new(), HashMap::new());
        Self { new, old, new_weight: 0, old_weight: 0, half, hits: 0, misses: 0 }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.new.get(key) {
            self.hits += 1;
            return Some(value.clone());
        }
        let Some((value, weight)) = self.old.remove(key) else {
            self.misses += 1;
            return None;
        };
        self.hits += 1;
        self.old_weight -= weight;
        self.put(key.clone(), value.clone(), weight);
        Some(value)
    }

    pub(crate) fn figures(&self) -> Figures {
        let weight = self.new_weight + self.old_weight;
        Figures { hits: self.hits, misses: self.misses, weight }
    }

    /// Keeps a value, unless it alone is over the bound of a generation.
    pub(crate) fn put(&mut self, key: K, value: V, weight: usize) {
        if weight > self.half {
            return;
        }
        if self.new_weight + weight > self.half {
            self.old = std::mem::take(&mut self.new);
            self.old_weight = std::mem::take(&mut self.new_weight);
        }
        if let Some((_, before)) = self.new.insert(key, (value, weight)) {
            self.new_weight -= before;
        }
        self.new_weight += weight;
    }

    /// Gives up the values whose keys `gone` names.
    pub(crate) fn remove_if(&mut self, gone: impl Fn(&K) -> bool) {
        for (values, weight) in
            [(&mut self.new, &mut self.new_weight), (&mut self.old, &mut self.old_weight)]
        {
            values.retain(|key, (_, own)| {
                let goes = gone(key);
                *weight -= if goes { *own } else { 0 };
                !goes
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let mut cache = Cache::new(20);
        for i in 0..100 {
            cache.put(i, i, 1);
            assert_eq!(cache.get(&0), Some(0), "used at every step");
            assert!(cache.new.len() + cache.old.len() <= 20);
        }
        assert_eq!(cache.get(&50), None);
        cache.remove_if(|key| *key == 0);
        assert_eq!(cache.get(&0), None);
        cache.put(1000, 7, 11);
        assert_eq!(cache.get(&1000), None, "too heavy to keep");
        let held = cache.new.len() + cache.old.len();
        assert_eq!(cache.figures(), Figures { hits: 100, misses: 3, weight: held });
    }
}
