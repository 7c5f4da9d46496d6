//! The life of a store's keys, as its operator sees it.

use std::path::Path;
use std::sync::Arc;

use crate::crypto::Suite;
use crate::env::Place;
use crate::error::Result;
use crate::keyring::{KeyStatus, MirrorAt, MirrorStatus};
use crate::retention::record::{Certificate, Deed};

use super::Store;

impl Store {
    /// What the keyring says of itself: its generation, what wraps it, and whether older copies of it still open.
    ///
    /// # Errors
    /// What the key provider answers.
    pub fn key_status(&self) -> Result<KeyStatus> {
        self.inner.keyring.status()
    }

    /// Reads every mirror of the keyring and tells how it is.
    #[must_use]
    pub fn check_mirrors(&self) -> Vec<MirrorStatus> {
        self.inner.keyring.check()
    }

    /// Wraps the keyring anew, under a fresh version of the provider's key, and destroys the older ones: after a key may have been
    /// seen. No data is written again.
    ///
    /// # Errors
    /// What the key provider and the disk answer.
    pub fn rotate_keys(&self) -> Result<Certificate> {
        self.inner.check_writable()?;
        self.inner.commit(|_| Ok(((), Deed::RotatedKeys))).map(|((), certificate)| certificate)
    }

    /// Writes the keyring to one more file, and from then on with every change. Name it, too, whenever the store is opened.
    ///
    /// # Errors
    /// [`crate::Error::Exists`] if something stands there; errors of the disk.
    pub fn add_mirror(&self, path: impl AsRef<Path>) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.keyring.add_mirror(path.as_ref())?;
        self.inner.note_keyring()
    }

    /// As [`add_mirror`](Self::add_mirror), in a bucket. Name it, too, whenever the store is opened: [`Options::mirror_in`](crate::Options::mirror_in).
    ///
    /// # Errors
    /// As [`add_mirror`](Self::add_mirror), and the place's.
    pub fn add_mirror_in(&self, place: Arc<dyn Place>) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.keyring.add_mirror(MirrorAt::Place(place))?;
        self.inner.note_keyring()
    }

    /// The cipher suite in which new data is sealed.
    #[must_use]
    pub fn cipher_suite(&self) -> Suite {
        self.inner.keyring.suite()
    }

    /// Seals new data in another suite. What is there stays as it is, and readable: every unit names its own.
    ///
    /// # Errors
    /// What the key provider and the disk answer.
    pub fn set_cipher_suite(&self, suite: Suite) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.keyring.change(|next| {
            next.set_suite(suite);
            Ok(())
        })?;
        self.inner.note_keyring()
    }
}
