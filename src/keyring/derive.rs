//! What is derived of the live keyring: the keys of sessions, and the ciphers of everything that describes them.
//!
//! Whatever describes sessions of a day needs that day's leaf of the time tree, and what describes held sessions the
//! hold's key. So it is gone from every copy when the leaf or the hold's key is.

use std::sync::Arc;

use super::session::{Purpose, SessionKeys, Unknown, Which};
use super::{EXPIRY_DAY_MAX, Keyring, Site};
use crate::crypto::{Cipher, Key, Suite, hmac, kdf};
use crate::error::{Error, InputError, Result};
use crate::ids::{FileId, SessionTag};
use crate::limits::DAY_MS;

/// Until when something is kept: what its keys depend on besides its site or session.
#[derive(Clone, Copy)]
pub(crate) enum Kept<'a> {
    /// Until this day, the first on which it is no longer kept, in days since 1970-01-01. Its keys need the day's leaf of
    /// the time tree.
    Until(u32),
    /// Until a hold is released. Its keys need the hold's key, and no day.
    Held(&'a Key),
}

/// In place of the expiry day in the context of a held session's key: the time tree has no such day.
const HELD: u32 = u32::MAX;
const _: () = assert!(HELD > EXPIRY_DAY_MAX);

impl Keyring {
    /// The keys of a session.
    ///
    /// # Errors
    /// [`Error::Expired`] and [`Error::Erased`] if the leaf of the day or of the session was removed;
    /// [`InputError::TimeRange`] if the day is beyond the time tree.
    pub(crate) fn session_keys(
        &self,
        site: &Site,
        tag: &SessionTag,
        kept: Kept<'_>,
    ) -> Result<Arc<SessionKeys>> {
        let derive = |kept_key: &Key, expiry_day| {
            let leaf = site.leaf(tag.place()).ok_or(Error::Erased)?;
            let (suite, store, handle) = (self.suite(), self.store_id(), site.handle());
            let keys =
                SessionKeys::derive(suite, kept_key, &leaf, &store, &handle, tag, expiry_day);
            Ok::<_, Error>(Arc::new(keys))
        };
        let expiry_day = match kept {
            Kept::Until(day) => day,
            // Holds are few: their keys are derived each time, and nothing is to be forgotten when one is released.
            Kept::Held(key) => return derive(key, HELD),
        };
        let which = Which { site: site.handle(), tag: *tag, expiry_day };
        let epoch = match self.cache.session(&which) {
            Ok(keys) => return Ok(keys),
            Err(Unknown::Gone) => return Err(Error::Erased),
            Err(Unknown::Since(epoch)) => epoch,
        };
        let derived = derive(&*self.day_key(expiry_day)?, expiry_day);
        if let Err(Error::Erased) = &derived {
            self.cache.note_gone(epoch, which);
        }
        let keys = derived?;
        self.cache.keep_session(epoch, which, &keys);
        Ok(keys)
    }

    /// Seals the envelopes of a site's frames in one journal whose sessions are kept until the same day.
    ///
    /// # Errors
    /// [`Error::Expired`] if the leaf of the day was removed; [`InputError::TimeRange`] if it is beyond the time tree.
    pub(crate) fn envelope_cipher(
        &self,
        site: &Site,
        journal: &FileId,
        expiry_day: u32,
    ) -> Result<Arc<Cipher>> {
        let purpose = |day| Purpose::Envelope(site.handle(), *journal, day);
        self.bound(Kept::Until(expiry_day), purpose, |day_key| site.envelope(day_key, journal))
    }

    /// Seals the pages of a site's index in the segments of one day, or of one hold.
    ///
    /// # Errors
    /// As [`Self::envelope_cipher`].
    pub(crate) fn index_cipher(&self, site: &Site, kept: Kept<'_>) -> Result<Arc<Cipher>> {
        let purpose = |day| Purpose::Index(site.handle(), day);
        self.bound(kept, purpose, |kept_key| site.index(kept_key))
    }

    /// Seals the directories of the segments of one day, or of one hold.
    ///
    /// # Errors
    /// As [`Self::envelope_cipher`].
    pub(crate) fn directory_cipher(&self, kept: Kept<'_>) -> Result<Arc<Cipher>> {
        self.bound(kept, Purpose::Directory, |kept_key| {
            let store = kdf(&self.live.read().store_key, "reelvault/directory", &[]);
            kdf(&hmac(kept_key, store.expose()), "reelvault/segment directory", &[])
        })
    }

    /// A cipher that needs the key of a day or of a hold. Those of days are remembered: an append needs one.
    fn bound(
        &self,
        kept: Kept<'_>,
        purpose: impl FnOnce(u32) -> Purpose,
        derive: impl FnOnce(&Key) -> Key,
    ) -> Result<Arc<Cipher>> {
        let expiry_day = match kept {
            Kept::Until(day) => day,
            Kept::Held(key) => return Ok(Arc::new(self.sealing(&derive(key)))),
        };
        let purpose = purpose(expiry_day);
        let epoch = match self.cache.cipher(&purpose) {
            Ok(cipher) => return Ok(cipher),
            Err(epoch) => epoch,
        };
        let cipher = Arc::new(self.sealing(&derive(&*self.day_key(expiry_day)?)));
        self.cache.keep_cipher(epoch, purpose, &cipher);
        Ok(cipher)
    }

    /// The key of a day: its leaf of the time tree.
    fn day_key(&self, expiry_day: u32) -> Result<Arc<Key>> {
        let epoch = match self.cache.day(expiry_day) {
            Ok(leaf) => return Ok(leaf),
            Err(epoch) => epoch,
        };
        if expiry_day > EXPIRY_DAY_MAX {
            let ms = |day: u32| u64::from(day) * DAY_MS;
            let (ms, max) = (ms(expiry_day), ms(EXPIRY_DAY_MAX));
            return Err(InputError::TimeRange { ms, min: 0, max }.into());
        }
        let leaf = self.live.read().time.leaf(expiry_day.into());
        let leaf = Arc::new(leaf.ok_or(Error::Expired { expiry_day })?);
        self.cache.keep_day(epoch, expiry_day, &leaf);
        Ok(leaf)
    }

    /// Seals the head of a journal and the locators of its frames.
    pub(crate) fn journal_cipher(&self, id: &FileId) -> Cipher {
        self.store_cipher("reelvault/journal", &id.0)
    }

    /// Seals the log of deletions.
    pub(crate) fn log_cipher(&self) -> Cipher {
        self.store_cipher("reelvault/deletions", &[])
    }

    /// Seals manifests.
    pub(crate) fn manifest_cipher(&self) -> Cipher {
        self.store_cipher("reelvault/manifest", &[])
    }

    /// Seals what says what a repository holds.
    pub(crate) fn repository_cipher(&self) -> Cipher {
        self.store_cipher("reelvault/repository", &[])
    }

    /// Seals for a purpose of its own what is of no site.
    pub(crate) fn purpose_cipher(&self, purpose: &str) -> Cipher {
        self.store_cipher("reelvault/sealer", purpose.as_bytes())
    }

    /// Seals for a purpose of its own what is of one site.
    pub(crate) fn site_purpose_cipher(&self, site: &Site, purpose: &str) -> Cipher {
        self.sealing(&site.purpose_key(purpose))
    }

    fn store_cipher(&self, label: &str, context: &[u8]) -> Cipher {
        let key = kdf(&self.live.read().store_key, label, context);
        self.sealing(&key)
    }

    /// The suite in which new data is sealed. What is there names its own.
    pub(crate) fn suite(&self) -> Suite {
        // A keyring that names another one is refused when it is opened.
        Suite::from_number(self.live.read().suite).unwrap_or(Suite::Aes256Gcm)
    }

    /// A cipher for new data: the one place where its suite is chosen. A change of it is a new generation of the keyring,
    /// with which remembered ciphers are forgotten.
    fn sealing(&self, key: &Key) -> Cipher {
        Cipher::with_suite(key, self.suite())
    }
}
