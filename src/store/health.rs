//! What a service that watches over a store asks: its segments one by one, and what should have been deleted.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ids::{FileId, day_of};

use super::state::SegmentInfo;
use super::{Depth, Store, Verification};

/// A segment, as the manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentStatus {
    /// Its id, which is its name on disk.
    pub id: FileId,
    /// Its bytes.
    pub bytes: u64,
}

impl Store {
    /// The segments as they are now.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentStatus> {
        let status = |s: Arc<SegmentInfo>| SegmentStatus { id: s.entry.id, bytes: s.entry.bytes };
        self.all_segments().map(status).collect()
    }

    /// Verifies one segment, so that a scrub can go slowly; one that is no longer there is nothing to complain of.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_segment_only(&self, id: FileId, depth: Depth) -> Result<Verification> {
        let mut found = Verification::default();
        if let Some(segment) = self.all_segments().find(|s| s.entry.id == id) {
            self.verify_listed(&segment, depth, &mut found)?;
        }
        Ok(found)
    }

    /// Verifies the journals alone.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_journals_only(&self, depth: Depth) -> Result<Verification> {
        let mut found = Verification::default();
        self.verify_journals(depth, &mut found)?;
        Ok(found)
    }

    /// How many days ago the oldest segment should have been dropped; zero if none should. Retention works at the
    /// beginning of a day, so that one day is no reason to worry.
    #[must_use]
    pub fn overdue_days(&self) -> u32 {
        let today = day_of(self.inner.env.clock.now_ms());
        let due = self.all_segments().filter_map(|s| s.entry.expiry_day());
        due.map(|day| today.saturating_sub(day)).max().unwrap_or(0)
    }

    fn all_segments(&self) -> impl Iterator<Item = Arc<SegmentInfo>> + use<> {
        let all = self.inner.catalog.snapshot();
        let all: Vec<_> = all.iter().flat_map(|days| days.values().flatten()).cloned().collect();
        all.into_iter()
    }
}

impl Verification {
    /// Takes in what another verification found.
    pub fn add(&mut self, other: Self) {
        self.segments += other.segments;
        self.journals += other.journals;
        self.sessions += other.sessions;
        self.chunks += other.chunks;
        self.raw_bytes += other.raw_bytes;
        self.digested_bytes += other.digested_bytes;
        self.unreadable += other.unreadable;
        self.damage.extend::<Vec<Error>>(other.damage);
    }
}
