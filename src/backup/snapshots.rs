//! Snapshots as their operator sees them: listed, chosen, forgotten.

use super::fetch::is_damage;
use super::repository::Repository;
use crate::error::{Damage, Error, Result};
use crate::format::repository::{Made, SnapshotBody, bytes_of};

/// One point in time of a store, in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number; each has a higher one than those before.
    pub number: u64,
    /// When it was taken, by the clock of the machine that took it, Unix milliseconds.
    pub taken_ms: u64,
    /// Whether it is a step of a continuous backup.
    pub following: bool,
    /// Segments.
    pub segments: u64,
    /// Bytes of segments, journals and log of deletions.
    pub bytes: u64,
    /// NDJSON bytes in the segments.
    pub raw_bytes: u64,
}

impl Repository {
    /// The snapshots, the newest first. Those that are damaged are told beside.
    ///
    /// # Errors
    /// The place's.
    pub fn snapshots(&self) -> Result<(Vec<Snapshot>, Vec<Error>)> {
        let (mut snapshots, mut damage) = (Vec::new(), Vec::new());
        let mut list = None;
        for number in self.numbers(usize::MAX)? {
            match self.if_kept(number, |body| self.describe(&body, &mut list)) {
                Ok(snapshot) => snapshots.extend(snapshot),
                Err(e) if is_damage(&e) => damage.push(e),
                Err(e) => return Err(e),
            }
        }
        Ok((snapshots, damage))
    }

    /// The newest snapshot.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`]; damage; the place's.
    pub fn newest(&self) -> Result<Snapshot> {
        let body = self.snapshot(self.latest(None)?)?;
        self.describe(&body, &mut None)
    }

    /// Reads a snapshot that was listed and does something with it; nothing if somebody has forgotten it meanwhile, as a continuous
    /// backup does with its steps.
    pub(super) fn if_kept<T>(
        &self,
        number: u64,
        with: impl FnOnce(SnapshotBody) -> Result<T>,
    ) -> Result<Option<T>> {
        match self.read_snapshot(number).and_then(|(_, body)| with(body)) {
            Err(Error::Corrupt(c)) if c.kind == Damage::Missing && !self.is_there(number)? => {
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    fn is_there(&self, number: u64) -> Result<bool> {
        let name = self.snapshot_name(number);
        match self.place.length(&name) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(self.failed("looking for", &name, e)),
        }
    }

    /// `list` is the one that was read last: neighbours build on the same.
    fn describe(&self, body: &SnapshotBody, list: &mut super::check::LastList) -> Result<Snapshot> {
        let segments = self.segments_with(body, list)?;
        let journals: u64 = body.journals.iter().map(|j| j.bytes()).sum();
        Ok(Snapshot {
            number: body.number,
            taken_ms: body.taken_ms,
            following: body.made == Made::Following,
            segments: segments.len() as u64,
            bytes: segments.iter().map(|s| s.entry.bytes).sum::<u64>()
                + journals
                + bytes_of(&body.deletions),
            raw_bytes: segments.iter().map(|s| s.entry.raw_bytes).sum(),
        })
    }

    /// The newest snapshot, or the newest of those that can be read that was taken at this time (Unix milliseconds) or before.
    ///
    /// # Errors
    /// As [`latest_at`](Self::latest_at).
    pub fn latest(&self, at_ms: Option<u64>) -> Result<u64> {
        match at_ms {
            Some(at_ms) => self.latest_at(at_ms).map(|(snapshot, _)| snapshot.number),
            None => self.numbers(1)?.first().copied().ok_or_else(|| self.none()),
        }
    }

    /// The newest snapshot that was taken at this time (Unix milliseconds) or before. Newer ones that are damaged are passed over, and told
    /// beside: one of them may have been meant.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`]; damage, if there is no other; the place's.
    pub fn latest_at(&self, at_ms: u64) -> Result<(Snapshot, Vec<Error>)> {
        let mut damage = Vec::new();
        for number in self.numbers(usize::MAX)? {
            let describe = |body: SnapshotBody| match body.taken_ms <= at_ms {
                true => self.describe(&body, &mut None).map(Some),
                false => Ok(None),
            };
            match self.if_kept(number, describe) {
                Ok(found) => {
                    if let Some(found) = found.flatten() {
                        return Ok((found, damage));
                    }
                }
                Err(e) if is_damage(&e) => damage.push(e),
                Err(e) => return Err(e),
            }
        }
        Err(damage.into_iter().next().unwrap_or_else(|| self.none()))
    }

    fn none(&self) -> Error {
        Error::NoSnapshot(self.name())
    }

    /// Forgets snapshots. Their space is given back by the next prunes; to keep anything from being read, erase it.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] if one is not there, and then none is forgotten; the place's.
    pub fn forget(&self, numbers: &[u64]) -> Result<()> {
        for number in numbers {
            if !self.is_there(*number)? {
                return Err(self.none());
            }
        }
        self.remove_snapshots(numbers)
    }

    /// Forgets snapshots, also those that somebody else has forgotten meanwhile.
    pub(super) fn remove_snapshots(&self, numbers: &[u64]) -> Result<()> {
        for number in numbers {
            let name = self.snapshot_name(*number);
            let removed = self.place.remove(&name);
            removed.map_err(|e| self.failed("removing", &name, e))?;
        }
        Ok(())
    }
}
