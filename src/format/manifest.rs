//! The manifest and the head of a journal. See *Manifest* and *Journal* in the format document.

use super::codec::{Malformed, Put, Take};
use crate::ids::{FileId, StoreId, expiry_day_of};

/// Frames of a journal are valid up to its end.
pub(crate) const NO_CUT: u64 = u64::MAX;

/// Everything that is alive in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) store: StoreId,
    pub(crate) generation: u64,
    pub(crate) shards: u16,
    pub(crate) next_journal: u64,
    /// The highest generation of the keyring that the store has seen.
    pub(crate) keyring_generation: u64,
    /// The latest time that was believed, Unix milliseconds.
    pub(crate) seen_ms: u64,
    pub(crate) journals: Vec<JournalEntry>,
    pub(crate) segments: Vec<SegmentEntry>,
}

/// A journal that the manifest names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalEntry {
    pub(crate) id: FileId,
    pub(crate) shard: u16,
    pub(crate) number: u64,
    /// Frames at or beyond this offset are void.
    pub(crate) cut: u64,
}

/// A segment that the manifest names, and what is known of it without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SegmentEntry {
    pub(crate) id: FileId,
    pub(crate) shard: u16,
    pub(crate) day: u32,
    pub(crate) retention_days: u32,
    pub(crate) bytes: u64,
    pub(crate) digest: [u8; 32],
    pub(crate) sessions: u32,
    pub(crate) first_start_ms: u64,
    pub(crate) last_event_ms: u64,
    pub(crate) raw_bytes: u64,
}

const JOURNAL_ENTRY_BYTES: usize = 16 + 2 + 8 + 8;
pub(super) const SEGMENT_ENTRY_BYTES: usize = 16 + 2 + 4 + 4 + 8 + 32 + 4 + 8 + 8 + 8;

impl Manifest {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.store.0);
        out.put_u64(self.generation);
        out.put_u16(self.shards);
        out.put_u64(self.next_journal);
        out.put_u64(self.keyring_generation);
        out.put_u64(self.seen_ms);
        out.put_varint(self.journals.len() as u64);
        for j in &self.journals {
            out.put(&j.id.0);
            out.put_u16(j.shard);
            out.put_u64(j.number);
            out.put_u64(j.cut);
        }
        out.put_varint(self.segments.len() as u64);
        self.segments.iter().for_each(|s| s.encode(out));
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        let store = StoreId(take.array("store id")?);
        let generation = take.u64("generation")?;
        let shards = take.u16("shards")?;
        let next_journal = take.u64("next journal")?;
        let keyring_generation = take.u64("keyring generation")?;
        let seen_ms = take.u64("time")?;
        let count = take.count(JOURNAL_ENTRY_BYTES, "journals")?;
        let journals = (0..count)
            .map(|_| {
                Ok(JournalEntry {
                    id: FileId(take.array("journal id")?),
                    shard: take.u16("shard of a journal")?,
                    number: take.u64("journal number")?,
                    cut: take.u64("cut")?,
                })
            })
            .collect::<Result<Vec<_>, Malformed>>()?;
        let count = take.count(SEGMENT_ENTRY_BYTES, "segments")?;
        let segments =
            (0..count).map(|_| SegmentEntry::decode(&mut take)).collect::<Result<Vec<_>, _>>()?;
        take.end("manifest")?;
        let shard_is_known = |shard: u16| shard < shards;
        if !journals.iter().all(|j| shard_is_known(j.shard))
            || !segments.iter().all(|s| shard_is_known(s.shard))
        {
            return Err(Malformed("shard"));
        }
        if shards == 0 {
            return Err(Malformed("shards"));
        }
        Ok(Self {
            store,
            generation,
            shards,
            next_journal,
            keyring_generation,
            seen_ms,
            journals,
            segments,
        })
    }
}

impl SegmentEntry {
    /// Whether it is the copy of a held session.
    pub(crate) fn is_hold(&self) -> bool {
        self.retention_days == 0
    }

    /// The first day on which the segment is no longer kept; `None` if it belongs to a hold.
    pub(crate) fn expiry_day(&self) -> Option<u32> {
        (self.retention_days > 0).then(|| expiry_day_of(self.day, self.retention_days))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.id.0);
        out.put_u16(self.shard);
        out.put_u32(self.day);
        out.put_u32(self.retention_days);
        out.put_u64(self.bytes);
        out.put(&self.digest);
        out.put_u32(self.sessions);
        out.put_u64(self.first_start_ms);
        out.put_u64(self.last_event_ms);
        out.put_u64(self.raw_bytes);
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: FileId(take.array("segment id")?),
            shard: take.u16("shard of a segment")?,
            day: take.u32("start day")?,
            retention_days: take.u32("retention class")?,
            bytes: take.u64("segment bytes")?,
            digest: take.array("digest")?,
            sessions: take.u32("sessions")?,
            first_start_ms: take.u64("first start")?,
            last_event_ms: take.u64("last event")?,
            raw_bytes: take.u64("raw bytes")?,
        })
    }
}

/// What the head of a journal says, under its seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalHead {
    pub(crate) store: StoreId,
    pub(crate) shard: u16,
    pub(crate) number: u64,
    pub(crate) created_ms: u64,
    pub(crate) manifest_generation: u64,
}

impl JournalHead {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.store.0);
        out.put_u16(self.shard);
        out.put_u64(self.number);
        out.put_u64(self.created_ms);
        out.put_u64(self.manifest_generation);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        let head = Self {
            store: StoreId(take.array("store id")?),
            shard: take.u16("shard")?,
            number: take.u64("journal number")?,
            created_ms: take.u64("creation time")?,
            manifest_generation: take.u64("manifest generation")?,
        };
        take.end("journal head")?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_and_any_cut_of_it_is_refused() {
        let journal = JournalEntry { id: FileId([1; 16]), shard: 1, number: 7, cut: NO_CUT };
        let segment = SegmentEntry {
            id: FileId([2; 16]),
            shard: 0,
            day: 20_000,
            retention_days: 30,
            bytes: 9,
            digest: [3; 32],
            sessions: 4,
            first_start_ms: 5,
            last_event_ms: 6,
            raw_bytes: 10,
        };
        let manifest = Manifest {
            store: StoreId([9; 16]),
            generation: 3,
            shards: 2,
            next_journal: 8,
            keyring_generation: 2,
            seen_ms: 11,
            journals: vec![journal],
            segments: vec![segment; 3],
        };
        let mut bytes = Vec::new();
        manifest.encode(&mut bytes);
        assert_eq!(Manifest::decode(&bytes).as_ref(), Ok(&manifest));
        for cut in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..cut]).is_err());
        }
        let mut wrong = manifest;
        wrong.shards = 1;
        bytes.clear();
        wrong.encode(&mut bytes);
        assert_eq!(Manifest::decode(&bytes), Err(Malformed("shard")));
    }
}
