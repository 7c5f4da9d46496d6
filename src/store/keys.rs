//! Which keys open what a store holds: those of a day, or those of a hold.

use std::sync::Arc;

use crate::crypto::Cipher;
use crate::error::{Damage, Error, Result};
use crate::format::manifest::SegmentEntry;
use crate::ids::HoldId;
use crate::journal::read::FrameKeys;
use crate::journal::table::Stamp;
use crate::keyring::{Hold, Kept, SessionKeys};
use crate::segment::reader::SegmentKeys;

use super::Site;
use super::find::Parts;
use super::state::Inner;

impl Inner {
    /// Tells `then` until when a segment is kept.
    ///
    /// # Errors
    /// [`Error::Erased`] if the hold to which a segment belongs is not in the keyring, or is not needed yet.
    fn kept<T>(
        &self,
        segment: &SegmentEntry,
        then: impl FnOnce(Kept<'_>) -> Result<T>,
    ) -> Result<T> {
        match segment.expiry_day() {
            Some(day) => then(Kept::Until(day)),
            None => {
                // As long as the original is there, its copy is in nobody's way.
                let hold = self.keyring.hold(&HoldId(segment.id.0)).ok_or(Error::Erased)?;
                if !self.has_passed(hold.expiry_day()) {
                    return Err(Error::Erased);
                }
                then(Kept::Held(&hold.key))
            }
        }
    }

    /// Opens the directory of a segment.
    ///
    /// # Errors
    /// [`Error::Expired`] if its day has passed, [`Error::Erased`] if its hold was released.
    pub(super) fn directory_cipher(&self, segment: &SegmentEntry) -> Result<Arc<Cipher>> {
        self.kept(segment, |kept| self.keyring.directory_cipher(kept))
    }
}

impl Inner {
    /// The keys with which a segment is searched for sessions of a site.
    ///
    /// # Errors
    /// As [`Inner::directory_cipher`].
    pub(super) fn segment_keys(
        &self,
        site: &crate::keyring::Site,
        segment: &SegmentEntry,
    ) -> Result<SegmentKeys> {
        self.kept(segment, |kept| {
            Ok(SegmentKeys {
                site: site.handle(),
                directory: self.keyring.directory_cipher(kept)?,
                index: self.keyring.index_cipher(site, kept)?,
            })
        })
    }
}

impl Site {
    /// The keys with which a segment is searched for sessions of this site.
    ///
    /// # Errors
    /// As [`Inner::directory_cipher`].
    pub(super) fn segment_keys(&self, segment: &SegmentEntry) -> Result<SegmentKeys> {
        self.inner.segment_keys(&self.site, segment)
    }

    /// The keys with which the copy of a held session is searched.
    pub(super) fn hold_keys(&self, hold: &Hold) -> Result<SegmentKeys> {
        let kept = Kept::Held(&hold.key);
        Ok(SegmentKeys {
            site: self.site.handle(),
            directory: self.inner.keyring.directory_cipher(kept)?,
            index: self.inner.keyring.index_cipher(&self.site, kept)?,
        })
    }

    /// The keys of a session, its commitment checked.
    pub(super) fn keys(&self, parts: &Parts) -> Result<Arc<SessionKeys>> {
        let (stamp, hold) = (&parts.stamp, parts.hold());
        let hold = hold.map(|id| self.inner.keyring.hold(&id).ok_or(Error::Erased)).transpose()?;
        let kept = match &hold {
            Some(hold) => Kept::Held(&hold.key),
            None => Kept::Until(stamp.expiry_day()),
        };
        let keys = self.inner.keyring.session_keys(&self.site, &stamp.tag, kept)?;
        self.check_commitment(&keys, &stamp.commitment)?;
        Ok(keys)
    }

    /// The keys with which the frames of a session are read.
    pub(super) fn frame_keys<'a>(&'a self, stamp: &Stamp, keys: &'a SessionKeys) -> FrameKeys<'a> {
        FrameKeys {
            keyring: &self.inner.keyring,
            site: &self.site,
            tag: stamp.tag,
            start_ms: stamp.start_ms,
            expiry_day: stamp.expiry_day(),
            session: keys.cipher(),
        }
    }

    pub(super) fn check_commitment(&self, keys: &SessionKeys, stored: &[u8; 32]) -> Result<()> {
        if keys.commits_to(stored) {
            return Ok(());
        }
        Err(self.name(Error::corrupt("session index", 0, Damage::Commitment)))
    }
}
