//! The keys of a session, and the memory of those and of the ciphers used lately.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::crypto::{Cipher, Key, Suite, hmac, kdf2};
use crate::ids::{FileId, SessionTag, SiteHandle, StoreId};
use crate::sync::Mutex;

/// Most session keys in memory: about 1 KiB each.
pub(crate) const SESSION_KEYS_MAX: usize = 8_192;
/// Most ciphers of envelopes, indexes and directories in memory: about 1 KiB each.
pub(crate) const CIPHERS_MAX: usize = 8_192;
/// Most day leaves in memory: three years of days.
pub(crate) const DAY_LEAVES_MAX: usize = 1_024;

/// What seals a session, and what proves that it is that key.
pub(crate) struct SessionKeys {
    cipher: Cipher,
    commitment: [u8; 32],
}

impl SessionKeys {
    /// Derives them. Both the key of the day or hold and the session's leaf are needed: HMAC is a pseudorandom function in
    /// its key and in its message.
    pub(super) fn derive(
        suite: Suite,
        kept_key: &Key,
        session_leaf: &Key,
        store: &StoreId,
        site: &SiteHandle,
        tag: &SessionTag,
        expiry_day: u32,
    ) -> Self {
        let secret = hmac(kept_key, session_leaf.expose());
        let context = [&store.0[..], &site.0, &tag.0, &expiry_day.to_le_bytes()].concat();
        let (key, commitment) = kdf2(&secret, "reelvault/session", &context);
        Self { cipher: Cipher::with_suite(&key, suite), commitment: *commitment.expose() }
    }

    pub(crate) fn cipher(&self) -> &Cipher {
        &self.cipher
    }

    /// What a unit sealed under this key carries: GCM itself does not commit to its key.
    pub(crate) fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Whether a unit with this commitment was sealed under this key. In constant time.
    pub(crate) fn commits_to(&self, commitment: &[u8; 32]) -> bool {
        self.commitment.ct_eq(commitment).into()
    }
}

/// Which session, and until which day.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Which {
    pub(super) site: SiteHandle,
    pub(super) tag: SessionTag,
    pub(super) expiry_day: u32,
}

/// What a remembered cipher seals, and until which day that is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Envelope(SiteHandle, FileId, u32),
    Index(SiteHandle, u32),
    Directory(u32),
}

/// Leaves of days, keys of sessions and ciphers that were derived lately.
///
/// What was derived from a tree before it lost a leaf must not be remembered after: each value is stored with the
/// epoch in which its derivation began, and forgetting everything begins another epoch.
pub(super) struct Cache {
    inner: Mutex<Inner>,
}

struct Inner {
    epoch: u64,
    days: Recent<u32, Key>,
    sessions: Recent<Which, SessionKeys>,
    /// Sessions that were found erased: a listing meets them again and again.
    gone: Recent<Which, ()>,
    ciphers: Recent<Purpose, Cipher>,
}

/// When a derivation began.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// Why the keys of a session are not in memory.
pub(super) enum Unknown {
    /// It was erased.
    Gone,
    /// They are to be derived; this is when that begins.
    Since(Epoch),
}

impl Cache {
    pub(super) fn new() -> Self {
        let inner = Inner {
            epoch: 0,
            days: Recent::new(DAY_LEAVES_MAX),
            sessions: Recent::new(SESSION_KEYS_MAX),
            gone: Recent::new(SESSION_KEYS_MAX),
            ciphers: Recent::new(CIPHERS_MAX),
        };
        Self { inner: Mutex::new(inner) }
    }

    pub(super) fn session(&self, which: &Which) -> Result<Arc<SessionKeys>, Unknown> {
        let mut inner = self.inner.lock();
        match inner.sessions.find(which) {
            Some(keys) => Ok(keys),
            None if inner.gone.find(which).is_some() => Err(Unknown::Gone),
            None => Err(Unknown::Since(Epoch(inner.epoch))),
        }
    }

    pub(super) fn note_gone(&self, epoch: Epoch, which: Which) {
        let mut inner = self.inner.lock();
        if inner.epoch == epoch.0 {
            inner.gone.keep(which, Arc::new(()));
        }
    }

    pub(super) fn day(&self, day: u32) -> Result<Arc<Key>, Epoch> {
        let mut inner = self.inner.lock();
        let epoch = Epoch(inner.epoch);
        inner.days.find(&day).ok_or(epoch)
    }

    pub(super) fn cipher(&self, purpose: &Purpose) -> Result<Arc<Cipher>, Epoch> {
        let mut inner = self.inner.lock();
        let epoch = Epoch(inner.epoch);
        inner.ciphers.find(purpose).ok_or(epoch)
    }

    pub(super) fn keep_session(&self, epoch: Epoch, which: Which, keys: &Arc<SessionKeys>) {
        let mut inner = self.inner.lock();
        if inner.epoch == epoch.0 {
            inner.sessions.keep(which, keys.clone());
        }
    }

    pub(super) fn keep_day(&self, epoch: Epoch, day: u32, leaf: &Arc<Key>) {
        let mut inner = self.inner.lock();
        if inner.epoch == epoch.0 {
            inner.days.keep(day, leaf.clone());
        }
    }

    pub(super) fn keep_cipher(&self, epoch: Epoch, purpose: Purpose, cipher: &Arc<Cipher>) {
        let mut inner = self.inner.lock();
        if inner.epoch == epoch.0 {
            inner.ciphers.keep(purpose, cipher.clone());
        }
    }

    /// Forgets everything, and everything that is being derived now.
    pub(super) fn forget(&self) {
        let mut inner = self.inner.lock();
        inner.epoch += 1;
        inner.days = Recent::new(DAY_LEAVES_MAX);
        inner.sessions = Recent::new(SESSION_KEYS_MAX);
        inner.gone = Recent::new(SESSION_KEYS_MAX);
        inner.ciphers = Recent::new(CIPHERS_MAX);
    }
}

/// A bounded map in two generations: what is found moves to the young one; when that is full it becomes the old
/// one, and what was old is let go. Cheaper than an exact order of use, and as good here.
struct Recent<K, V> {
    each_max: usize,
    young: HashMap<K, Arc<V>>,
    old: HashMap<K, Arc<V>>,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    fn new(entries_max: usize) -> Self {
        Self { each_max: entries_max / 2, young: HashMap::new(), old: HashMap::new() }
    }

    fn find(&mut self, key: &K) -> Option<Arc<V>> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.keep(*key, value.clone());
        Some(value)
    }

    fn keep(&mut self, key: K, value: Arc<V>) {
        if self.young.len() >= self.each_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(n: u8) -> Which {
        Which { site: SiteHandle([n; 16]), tag: SessionTag([n; 16]), expiry_day: 7 }
    }

    fn key() -> Key {
        Key::take(&mut [1; 32])
    }

    fn keys() -> Arc<SessionKeys> {
        let key = key();
        let (store, site, tag) = (StoreId([1; 16]), SiteHandle([2; 16]), SessionTag([3; 16]));
        Arc::new(SessionKeys::derive(Suite::Aes256Gcm, &key, &key, &store, &site, &tag, 7))
    }

    #[test]
    fn what_was_used_lately_stays_and_the_rest_goes() {
        let mut recent = Recent::new(8);
        for n in 0..100u32 {
            recent.keep(n, Arc::new(n));
            assert!(recent.young.len() + recent.old.len() <= 8);
            assert_eq!(recent.find(&0).as_deref(), Some(&0), "used all the time, at {n}");
        }
        assert!(recent.find(&50).is_none());
        assert!(recent.find(&99).is_some());
    }

    #[test]
    fn a_key_derived_before_everything_was_forgotten_is_not_remembered_after() {
        let cache = Cache::new();
        let Err(Unknown::Since(epoch)) = cache.session(&which(1)) else { panic!("never kept") };
        cache.keep_session(epoch, which(1), &keys());
        assert!(cache.session(&which(1)).is_ok());
        let Err(Unknown::Since(epoch)) = cache.session(&which(2)) else { panic!("never kept") };
        cache.forget();
        cache.keep_session(epoch, which(2), &keys());
        cache.keep_day(epoch, 7, &Arc::new(key()));
        cache.keep_cipher(epoch, Purpose::Directory(7), &Arc::new(Cipher::new(&key())));
        assert!(cache.cipher(&Purpose::Directory(7)).is_err());
        assert!(cache.session(&which(1)).is_err());
        assert!(cache.session(&which(2)).is_err());
        assert!(cache.day(7).is_err());
    }

    #[test]
    fn a_commitment_is_of_one_key_only() {
        let keys = keys();
        assert!(keys.commits_to(keys.commitment()));
        for i in 0..32 {
            let mut other = *keys.commitment();
            other[i] ^= 1;
            assert!(!keys.commits_to(&other));
        }
    }
}
