//! What another process has changed: a reader takes it in, and an older keyring is told from a newer.

use std::io::ErrorKind;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Damage, Error, Result};

use super::state::{Inner, SegmentInfo};

/// How long a reader goes on without looking whether its writer has taken keys away: a second.
const LOOK_EVERY_NS: u64 = 1_000_000_000;
/// So long after the beginning of a look, others go on with what it told while one looks again: thirty seconds. A mirror that is out of reach, as
/// a bucket may be, takes long to say so, and must not stop everybody where another one answers.
const LOOK_TIME_MAX_NS: u64 = 30_000_000_000;
/// How often a reader tries again when the writer archived a journal between the manifest and the file.
const REFRESH_ATTEMPTS: usize = 8;

impl Inner {
    /// Lets the manifest remember the generation of the keyring, so that an older one is refused from now on, and
    /// take up its suite.
    pub(super) fn note_keyring(&self) -> Result<()> {
        self.manifest.seal_with(self.keyring.manifest_cipher());
        let generation = self.keyring.generation();
        self.manifest.publish(|m| m.keyring_generation = m.keyring_generation.max(generation))
    }

    /// A reader learns within a second what its writer has erased, without being told to look. As long as it cannot look, nothing is
    /// served: what was read before may be erased.
    pub(super) fn keep_up(&self) -> Result<()> {
        if !self.read_only || self.has_looked_within(LOOK_EVERY_NS) {
            return Ok(());
        }
        let came_ns = self.env.clock.monotonic_ns();
        let mut failed_ns = match self.looking.try_lock() {
            Some(failed_ns) => failed_ns,
            None if self.has_looked_within(LOOK_TIME_MAX_NS) => return Ok(()),
            None => self.looking.lock(),
        };
        // What a look told, or did not, that began since holds for all who waited: else each would look, one after the other.
        if self.looked_ns.load(Relaxed) > came_ns || self.has_looked_within(LOOK_EVERY_NS) {
            return Ok(());
        }
        if *failed_ns > came_ns {
            let path = self.keyring.path();
            return Err(Error::io("looking for what was erased", path, ErrorKind::TimedOut.into()));
        }
        // What is erased while it is being looked may be missed: it counts from its beginning.
        let began_ns = self.env.clock.monotonic_ns().max(1);
        match self.keyring.refresh() {
            Ok(_) => self.looked_ns.store(began_ns, Relaxed),
            Err(e) => {
                *failed_ns = began_ns;
                return Err(e);
            }
        }
        Ok(())
    }

    fn has_looked_within(&self, ns: u64) -> bool {
        let (now_ns, last_ns) = (self.env.clock.monotonic_ns(), self.looked_ns.load(Relaxed));
        last_ns != 0 && now_ns.saturating_sub(last_ns) < ns
    }

    /// Reads the manifest and the journals of a store that another process writes.
    pub(super) fn refresh(&self) -> Result<()> {
        let _refreshing = self.refreshing.lock();
        let mut last = None;
        for _ in 0..REFRESH_ATTEMPTS {
            self.keyring.refresh()?;
            let manifest = self.manifest.refresh()?;
            let loaded = self.load_journals(&manifest);
            match loaded.and_then(|l| self.check_not_rolled_back(&manifest).map(|()| l)) {
                Ok(loaded) => {
                    // In this order a chunk may be seen twice for a moment, which is noticed, but not missed.
                    self.catalog.replace(&manifest.segments);
                    self.adopt(loaded);
                    return Ok(());
                }
                // The writer has made or archived a journal since it published this manifest.
                Err(Error::Corrupt(c)) if may_be_moving(c.kind) => last = Some(Error::Corrupt(c)),
                Err(e) => return Err(e),
            }
        }
        last.map_or(Ok(()), Err)
    }
}

impl Inner {
    /// Whether a segment has been dropped, or written once more, since it was looked up: by this process, or by the one that writes.
    pub(super) fn was_replaced(&self, segment: &SegmentInfo) -> Result<bool> {
        if self.read_only {
            self.refresh()?;
        }
        Ok(!self.names(segment))
    }
}

fn may_be_moving(damage: Damage) -> bool {
    damage != Damage::BeforeValidFrames
}
