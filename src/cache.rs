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
    /// Half of the bound: each generation's share.
    half: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    pub(crate) fn new(weight_max: usize) -> Self {
        Self { new: HashMap::new(), old: HashMap::new(), new_weight: 0, half: weight_max / 2 }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.new.get(key) {
            return Some(value.clone());
        }
        let (value, weight) = self.old.remove(key)?;
        self.put(key.clone(), value.clone(), weight);
        Some(value)
    }

    /// Keeps a value, unless it alone is over the bound of a generation.
    pub(crate) fn put(&mut self, key: K, value: V, weight: usize) {
        if weight > self.half {
            return;
        }
        if self.new_weight + weight > self.half {
            self.old = std::mem::take(&mut self.new);
            self.new_weight = 0;
        }
        if let Some((_, before)) = self.new.insert(key, (value, weight)) {
            self.new_weight -= before;
        }
        self.new_weight += weight;
    }

    /// Gives up the values whose keys `gone` names.
    pub(crate) fn remove_if(&mut self, gone: impl Fn(&K) -> bool) {
        self.old.retain(|key, _| !gone(key));
        let weight = &mut self.new_weight;
        self.new.retain(|key, (_, own)| {
            let goes = gone(key);
            *weight -= if goes { *own } else { 0 };
            !goes
        });
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
    }
}
