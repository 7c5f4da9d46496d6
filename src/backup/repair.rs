//! Repairing a repository: what is missing or spoilt there is taken from the store again.

use super::Watch;
use super::check::{Named, ReadShare, Spoilt};
use super::fetch::is_damage;
use super::plan::Plan;
use super::repository::SEGMENTS;
use super::run::{Backup, Done};
use crate::error::Result;
use crate::format::repository::{Piece, Stored};
use crate::sync::Mutex;

/// What a repair has found, and what is left of it to put right.
#[derive(Default)]
pub(super) struct Repair {
    pub(super) found: u64,
    left: Mutex<Spoilt>,
}

impl Repair {
    fn has(&self, object: &str) -> bool {
        self.left.lock().contains_key(object)
    }

    pub(super) fn is_done(&self, object: &str) {
        self.left.lock().remove(object);
    }
}

impl Backup<'_> {
    /// Reads all that the newest snapshot names, of those that can be read; what is missing or spoilt of it.
    pub(super) fn find_spoilt(&self, watch: Watch<'_>) -> Result<Repair> {
        let repository = self.repository;
        repository.keyring.refresh()?;
        for number in repository.numbers(usize::MAX)? {
            let mut named = Named::new();
            let snapshot = repository.read_snapshot(number);
            match snapshot.and_then(|(_, body)| repository.name_all(&body, &mut None, &mut named)) {
                Ok(()) => {
                    let present = repository.present()?;
                    let (left, _) = repository.spoilt(named, &present, ReadShare::All, watch)?;
                    return Ok(Repair { found: left.len() as u64, left: Mutex::new(left) });
                }
                // The backup tells of it, and builds nothing on it.
                Err(e) if is_damage(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Repair::default())
    }

    pub(super) fn is_spoilt(&self, stored: &Stored) -> bool {
        // A continuous backup asks for every segment at each step, and no name is put together for that.
        self.repair.found > 0
            && self.repair.has(&self.repository.segment_object(stored.entry.id, stored.copy))
    }

    pub(super) fn has_spoilt(&self, pieces: &[Piece]) -> bool {
        self.repair.found > 0
            && pieces.iter().any(|piece| self.repair.has(&self.repository.piece_object(piece.id)))
    }

    /// Tells how much was put right, and of what is still named as it is: of segments that are spoilt in the store, too, or that it does not have any
    /// more, and of files that cannot be read there.
    pub(super) fn tell_repaired(&self, plan: &Plan, done: &mut Done) {
        if self.repair.found == 0 {
            return;
        }
        let segments = plan.segments.iter();
        let segments = segments.map(|s| self.repository.segment_object(s.entry.id, s.copy));
        let unreadable = plan.unreadable.iter().flat_map(|journal| &journal.pieces);
        let pieces = unreadable.chain(&plan.deletions.pieces);
        let pieces = pieces.map(|piece| self.repository.piece_object(piece.id));
        let mut left = self.repair.left.lock();
        let before = done.damage.len();
        done.damage.extend(segments.chain(pieces).filter_map(|object| left.remove(&object)));
        // The others are pieces in whose place there is a new one, and segments that earlier snapshots go on to lack.
        let segment = self.repository.folder(SEGMENTS);
        done.damage
            .extend(left.extract_if(.., |object, _| object.starts_with(&segment)).map(|(_, e)| e));
        done.repaired_objects = self.repair.found - (done.damage.len() - before) as u64;
    }
}
