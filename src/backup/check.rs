//! Checking a repository: that every snapshot can be opened, that everything it names is there, and that it is what was put there.

use std::collections::{BTreeMap, HashMap};

use super::body::Meter;
use super::fetch::{digest_of, is_damage};
use super::repository::{LISTS, PIECES, Repository, SEGMENTS};
use super::{Watch, in_parallel};
use crate::env::COPIERS;
use crate::error::{Damage, Error, Result};
use crate::format::repository::{Piece, SnapshotBody, Stored};
use crate::ids::FileId;
use crate::sync::Mutex;

/// The list that was read last: snapshots that follow on each other share it.
pub(super) type LastList = Option<(FileId, Vec<Stored>)>;

/// How much of the data is read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ReadShare {
    /// None: only what says what there is, and sizes.
    #[default]
    Nothing,
    /// About this share of the objects, 0 to 1, drawn anew each time.
    Share(f64),
    /// Everything.
    All,
}

/// What a check looked at and found.
#[must_use = "it tells of the damage that was met"]
#[derive(Debug, Default)]
pub struct Checked {
    /// Snapshots.
    pub snapshots: u64,
    /// Segments and pieces that they name.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were read and compared with their digests.
    pub read_bytes: u64,
    /// Objects that no snapshot names: left by interrupted backups, or by snapshots that were forgotten. Prune removes them.
    pub unnamed_objects: u64,
    /// Damage: snapshots that cannot be opened, objects that are missing or are not what was put there, marks that cannot be read.
    pub damage: Vec<Error>,
}

/// What snapshots name: for each object its size and digest.
pub(super) type Named = BTreeMap<String, (u64, [u8; 32])>;

/// Objects that are missing or are not what was put there, and what is wrong with each.
pub(super) type Spoilt = BTreeMap<String, Error>;

impl Repository {
    pub(super) fn segments_with(
        &self,
        body: &SnapshotBody,
        last: &mut LastList,
    ) -> Result<Vec<Stored>> {
        let Some(list) = body.list else { return Ok(body.added.clone()) };
        if last.as_ref().is_none_or(|(id, _)| *id != list) {
            *last = Some((list, self.read_list(list)?));
        }
        let list = last.as_ref().map(|(_, list)| &list[..]).unwrap_or_default();
        let gone: std::collections::HashSet<FileId> = body.gone.iter().copied().collect();
        let kept = list.iter().filter(|s| !gone.contains(&s.entry.id));
        Ok(kept.chain(&body.added).copied().collect())
    }

    /// Adds what a snapshot names, without what has expired.
    pub(super) fn name_all(
        &self,
        body: &SnapshotBody,
        last: &mut LastList,
        named: &mut Named,
    ) -> Result<()> {
        let expired = self.keyring.expired_through();
        for stored in self.segments_with(body, last)? {
            let day = stored.entry.expiry_day();
            if day.zip(expired).is_some_and(|(day, last)| day <= last) {
                continue;
            }
            let name = self.segment_object(stored.entry.id, stored.copy);
            named.insert(name, (stored.entry.bytes, stored.entry.digest));
        }
        let piece = |piece: &Piece| (self.piece_object(piece.id), (piece.bytes, piece.digest));
        let journals = body.journals.iter().flat_map(|journal| &journal.pieces);
        named.extend(journals.chain(&body.deletions).map(piece));
        Ok(())
    }

    /// Every object in the folders of data, with its size.
    pub(super) fn present(&self) -> Result<HashMap<String, u64>> {
        let mut present = HashMap::new();
        for folder in [SEGMENTS, PIECES] {
            let entries = self.names(folder, usize::MAX)?;
            present.extend(entries.into_iter().map(|e| (self.object(folder, &e.name), e.bytes)));
        }
        Ok(present)
    }

    /// Checks the repository, as deep as is wished. It changes nothing, and backups may go on meanwhile.
    ///
    /// # Errors
    /// Only errors that make going on senseless; damage is listed in what is returned.
    pub fn check(&self, read: ReadShare, watch: Watch<'_>) -> Result<Checked> {
        self.keyring.refresh()?;
        let (mut checked, mut named, mut last) = (Checked::default(), Named::new(), None);
        // What is listed before the snapshots are read may lack objects of the youngest; so it is listed after.
        for number in self.numbers(usize::MAX)? {
            match self.if_kept(number, |body| self.name_all(&body, &mut last, &mut named)) {
                Ok(kept) => checked.snapshots += u64::from(kept.is_some()),
                Err(e) if is_damage(&e) => checked.damage.push(e),
                Err(e) => return Err(e),
            }
        }
        // Beside one that cannot be read a backup takes nothing for given that no snapshot names.
        checked.damage.extend(self.marks_if_readable()?.damaged.into_iter().map(|(_, e)| e));
        let present = self.present()?;
        checked.unnamed_objects =
            present.keys().filter(|name| !named.contains_key(*name)).count() as u64;
        checked.objects = named.len() as u64;
        checked.bytes = named.values().map(|(bytes, _)| bytes).sum();
        let (spoilt, read_bytes) = self.spoilt(named, &present, read, watch)?;
        checked.read_bytes = read_bytes;
        checked.damage.extend(spoilt.into_values());
        Ok(checked)
    }

    /// Which of these are not as they are named, and how many bytes were read to see it.
    pub(super) fn spoilt(
        &self,
        named: Named,
        present: &HashMap<String, u64>,
        read: ReadShare,
        watch: Watch<'_>,
    ) -> Result<(Spoilt, u64)> {
        let (mut spoilt, mut chosen) = (Spoilt::new(), Vec::new());
        for (name, (bytes, digest)) in named {
            match present.get(&name) {
                Some(there) if *there == bytes => {
                    if self.draws(read)? {
                        chosen.push((name, bytes, digest));
                    }
                }
                there => {
                    let damage = there.map_or(Damage::Missing, |_| Damage::Truncated);
                    let damage = Error::corrupt(&name, 0, damage);
                    spoilt.insert(name, damage);
                }
            }
        }
        let meter = Meter::new(chosen.iter().map(|(_, bytes, _)| bytes).sum(), watch);
        let found = Mutex::new(spoilt);
        in_parallel(COPIERS, &chosen, |(name, bytes, digest)| {
            let read = self.place.open(name, *bytes).and_then(|file| digest_of(&*file, *bytes));
            let damage = match read.map_err(|e| self.reading(name, e)) {
                Ok(read) if read == *digest => None,
                Ok(_) => Some(Error::corrupt(name, 0, Damage::Rot)),
                Err(e) if is_damage(&e) => Some(e),
                Err(e) => return Err(e),
            };
            found.lock().extend(damage.map(|damage| (name.clone(), damage)));
            meter.add(*bytes).map_err(|_| Error::Interrupted)
        })?;
        Ok((found.into_inner(), meter.total))
    }

    fn draws(&self, read: ReadShare) -> Result<bool> {
        match read {
            ReadShare::Nothing => Ok(false),
            ReadShare::All => Ok(true),
            ReadShare::Share(share) => {
                let drawn = u32::from_le_bytes(crate::keyring::draw(&*self.env().random)?);
                Ok(f64::from(drawn) < share * f64::from(u32::MAX))
            }
        }
    }

    /// The folders whose objects prune looks after.
    pub(super) const KEPT_FOLDERS: [&'static str; 3] = [SEGMENTS, PIECES, LISTS];
}
