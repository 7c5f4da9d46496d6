//! The objects of a repository that say what it holds: root, snapshots, lists and marks. See *Repository* in the format
//! document. Segments and journals lie there as they are.

use super::codec::{Malformed, Put, Take};
use super::header::{FILE_HEADER_BYTES, FileKind, unsupported};
use super::manifest::{Manifest, NO_CUT, SEGMENT_ENTRY_BYTES};
use crate::error::{Damage, Error, Result};
use crate::format::manifest::{JournalEntry, SegmentEntry};
use crate::ids::{FileId, StoreId};
use crate::limits::PIECES_MAX;

/// Name of the root, in messages too.
pub(crate) const ROOT: &str = "reelvault";
/// Features that a root may require: nothing larger is allocated on its word.
const FEATURES_MAX: usize = 64;
/// Longest name of an object in a mark, in bytes.
pub(crate) const OBJECT_NAME_BYTES_MAX: usize = 128;

/// The bytes of a repository's root.
pub(crate) fn root(id: FileId) -> Vec<u8> {
    let mut out = FileKind::REPOSITORY.header(id).to_vec();
    out.put_u32(0);
    let crc = crc32fast::hash(&out);
    out.put_u32(crc);
    out
}

/// Checks a root, and that nothing is required of its readers that this build cannot do.
pub(crate) fn check_root(bytes: &[u8]) -> Result<FileId> {
    let id = FileKind::REPOSITORY.check(ROOT, bytes)?;
    let at = FILE_HEADER_BYTES as u64;
    let mut take = Take::new(bytes.get(FILE_HEADER_BYTES..).unwrap_or_default());
    let malformed = |m: Malformed| Error::corrupt(ROOT, at, Damage::Malformed(m.0));
    let count = take.u32("required features").map_err(malformed)? as usize;
    if count > FEATURES_MAX {
        return Err(malformed(Malformed("required features")));
    }
    let features: Result<Vec<u32>, _> = (0..count).map(|_| take.u32("required feature")).collect();
    let features = features.map_err(malformed)?;
    let crc = take.u32("checksum").map_err(malformed)?;
    take.end("root").map_err(malformed)?;
    if crc32fast::hash(&bytes[..bytes.len() - 4]) != crc {
        return Err(Error::corrupt(ROOT, at, Damage::Rot));
    }
    match features.first() {
        Some(feature) => Err(unsupported(ROOT, "required feature", (*feature).into())),
        None => Ok(id),
    }
}

/// What made a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Made {
    /// A backup.
    Once = 1,
    /// A step of a continuous backup.
    Following = 2,
}

/// A segment in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    pub(crate) entry: SegmentEntry,
    /// Which copy of it, 0 the first.
    pub(crate) copy: u32,
}

/// A part of a file that grows, as one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) id: FileId,
    pub(crate) bytes: u64,
    pub(crate) digest: [u8; 32],
}

/// A journal, as far as a snapshot has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalCut {
    pub(crate) id: FileId,
    pub(crate) shard: u16,
    pub(crate) number: u64,
    pub(crate) pieces: Vec<Piece>,
}

/// One point in time of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotBody {
    pub(crate) store: StoreId,
    pub(crate) number: u64,
    pub(crate) taken_ms: u64,
    pub(crate) made: Made,
    pub(crate) shards: u16,
    pub(crate) generation: u64,
    pub(crate) next_journal: u64,
    pub(crate) keyring_generation: u64,
    pub(crate) seen_ms: u64,
    /// The list on which it builds.
    pub(crate) list: Option<FileId>,
    /// Segments of the list that it does not have, by id.
    pub(crate) gone: Vec<FileId>,
    /// Segments that the list does not have.
    pub(crate) added: Vec<Stored>,
    pub(crate) journals: Vec<JournalCut>,
    pub(crate) deletions: Vec<Piece>,
}

const STORED_BYTES_MIN: usize = SEGMENT_ENTRY_BYTES + 1;
const PIECE_BYTES_MIN: usize = 16 + 1 + 32;
const JOURNAL_BYTES_MIN: usize = 16 + 2 + 8 + 1;

impl Stored {
    fn encode(&self, out: &mut Vec<u8>) {
        self.entry.encode(out);
        out.put_varint(self.copy.into());
    }

    fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(Self { entry: SegmentEntry::decode(take)?, copy: take.varint_u32("further copy")? })
    }
}

fn put_pieces(pieces: &[Piece], out: &mut Vec<u8>) {
    out.put_varint(pieces.len() as u64);
    for piece in pieces {
        out.put(&piece.id.0);
        out.put_varint(piece.bytes);
        out.put(&piece.digest);
    }
}

fn take_pieces(take: &mut Take<'_>) -> Result<Vec<Piece>, Malformed> {
    let count = take.count(PIECE_BYTES_MIN, "pieces")?;
    if count > PIECES_MAX {
        return Err(Malformed("pieces"));
    }
    let piece = |take: &mut Take<'_>| {
        Ok(Piece {
            id: FileId(take.array("piece")?),
            // Files that are put together have less than 2^32 bytes, or 2^30; a sum of these cannot overflow.
            bytes: take.varint_max(u32::MAX.into(), "bytes of a piece")?,
            digest: take.array("digest of a piece")?,
        })
    };
    (0..count).map(|_| piece(take)).collect()
}

impl SnapshotBody {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.store.0);
        out.put_u64(self.number);
        out.put_u64(self.taken_ms);
        out.put_u8(self.made as u8);
        out.put_u16(self.shards);
        out.put_u64(self.generation);
        out.put_u64(self.next_journal);
        out.put_u64(self.keyring_generation);
        out.put_u64(self.seen_ms);
        out.put(&self.list.map_or([0; 16], |id| id.0));
        out.put_varint(self.gone.len() as u64);
        self.gone.iter().for_each(|id| out.put(&id.0));
        put_stored(&self.added, out);
        out.put_varint(self.journals.len() as u64);
        for journal in &self.journals {
            out.put(&journal.id.0);
            out.put_u16(journal.shard);
            out.put_u64(journal.number);
            put_pieces(&journal.pieces, out);
        }
        put_pieces(&self.deletions, out);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        let store = StoreId(take.array("store id")?);
        let number = take.u64("number")?;
        let taken_ms = take.u64("time")?;
        let made = match take.u8("kind of snapshot")? {
            1 => Made::Once,
            2 => Made::Following,
            _ => return Err(Malformed("kind of snapshot")),
        };
        let shards = take.u16("shards")?;
        let generation = take.u64("generation")?;
        let next_journal = take.u64("next journal")?;
        let keyring_generation = take.u64("keyring generation")?;
        let seen_ms = take.u64("believed time")?;
        let list = Some(FileId(take.array("list")?)).filter(|id| id.0 != [0; 16]);
        let count = take.count(16, "segments that are gone")?;
        let gone = (0..count).map(|_| take.array("segment id").map(FileId));
        let gone = gone.collect::<Result<_, _>>()?;
        let added = take_stored(&mut take)?;
        let count = take.count(JOURNAL_BYTES_MIN, "journals")?;
        let journals = (0..count).map(|_| JournalCut::decode(&mut take));
        let journals = journals.collect::<Result<_, _>>()?;
        let deletions = take_pieces(&mut take)?;
        take.end("snapshot")?;
        Ok(Self {
            store,
            number,
            taken_ms,
            made,
            shards,
            generation,
            next_journal,
            keyring_generation,
            seen_ms,
            list,
            gone,
            added,
            journals,
            deletions,
        })
    }

    /// The manifest of the store as it was, given all its segments.
    pub(crate) fn manifest(&self, segments: &[Stored]) -> Manifest {
        let journal = |j: &JournalCut| JournalEntry {
            id: j.id,
            shard: j.shard,
            number: j.number,
            cut: NO_CUT,
        };
        Manifest {
            store: self.store,
            generation: self.generation,
            shards: self.shards,
            next_journal: self.next_journal,
            keyring_generation: self.keyring_generation,
            seen_ms: self.seen_ms,
            journals: self.journals.iter().map(journal).collect(),
            segments: segments.iter().map(|s| s.entry).collect(),
        }
    }
}

impl JournalCut {
    fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: FileId(take.array("journal id")?),
            shard: take.u16("shard of a journal")?,
            number: take.u64("journal number")?,
            pieces: take_pieces(take)?,
        })
    }

    /// Its length.
    pub(crate) fn bytes(&self) -> u64 {
        bytes_of(&self.pieces)
    }
}

/// The length of what pieces are put together to.
pub(crate) fn bytes_of(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.bytes).sum()
}

fn put_stored(segments: &[Stored], out: &mut Vec<u8>) {
    out.put_varint(segments.len() as u64);
    segments.iter().for_each(|s| s.encode(out));
}

fn take_stored(take: &mut Take<'_>) -> Result<Vec<Stored>, Malformed> {
    let count = take.count(STORED_BYTES_MIN, "segments")?;
    (0..count).map(|_| Stored::decode(take)).collect()
}

/// The plaintext of a list.
pub(crate) fn encode_list(segments: &[Stored], out: &mut Vec<u8>) {
    put_stored(segments, out);
}

/// Reads the plaintext of a list.
pub(crate) fn decode_list(bytes: &[u8]) -> Result<Vec<Stored>, Malformed> {
    let mut take = Take::new(bytes);
    let segments = take_stored(&mut take)?;
    take.end("list")?;
    Ok(segments)
}

/// What a prune found to be named by no snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MarkBody {
    /// When, by the place's clock, Unix milliseconds.
    pub(crate) at_ms: u64,
    /// Names of objects below the store's id.
    pub(crate) names: Vec<String>,
}

impl MarkBody {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.at_ms);
        out.put_varint(self.names.len() as u64);
        self.names.iter().for_each(|name| out.put_bytes(name.as_bytes()));
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        let at_ms = take.u64("time")?;
        let count = take.count(1, "names")?;
        let name = |take: &mut Take<'_>| Ok(take.text(OBJECT_NAME_BYTES_MAX, "name")?.to_owned());
        let names = (0..count).map(|_| name(&mut take)).collect::<Result<_, _>>()?;
        take.end("mark")?;
        Ok(Self { at_ms, names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(n: u8) -> Stored {
        let entry = SegmentEntry {
            id: FileId([n; 16]),
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
        Stored { entry, copy: n.into() }
    }

    fn snapshot() -> SnapshotBody {
        let piece = Piece { id: FileId([5; 16]), bytes: 77, digest: [6; 32] };
        let journal = JournalCut { id: FileId([7; 16]), shard: 1, number: 3, pieces: vec![piece] };
        SnapshotBody {
            store: StoreId([9; 16]),
            number: 4,
            taken_ms: 11,
            made: Made::Following,
            shards: 2,
            generation: 3,
            next_journal: 8,
            keyring_generation: 2,
            seen_ms: 12,
            list: Some(FileId([8; 16])),
            gone: vec![FileId([1; 16])],
            added: vec![stored(2), stored(3)],
            journals: vec![journal],
            deletions: vec![piece],
        }
    }

    #[test]
    fn a_snapshot_survives_and_any_cut_of_it_is_refused() {
        let mut bytes = Vec::new();
        snapshot().encode(&mut bytes);
        assert_eq!(SnapshotBody::decode(&bytes), Ok(snapshot()));
        for cut in 0..bytes.len() {
            assert!(SnapshotBody::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_list_and_a_mark_survive_and_any_cut_of_them_is_refused() {
        let mut bytes = Vec::new();
        encode_list(&[stored(1), stored(200)], &mut bytes);
        assert_eq!(decode_list(&bytes), Ok(vec![stored(1), stored(200)]));
        let mark = MarkBody { at_ms: 5, names: vec!["segment/1".into(), String::new()] };
        let mut of_mark = Vec::new();
        mark.encode(&mut of_mark);
        assert_eq!(MarkBody::decode(&of_mark), Ok(mark));
        assert!((0..bytes.len()).all(|cut| decode_list(&bytes[..cut]).is_err()));
        assert!((0..of_mark.len()).all(|cut| MarkBody::decode(&of_mark[..cut]).is_err()));
    }

    #[test]
    fn a_root_that_requires_something_unknown_is_refused_by_name() {
        let id = FileId([4; 16]);
        let mut bytes = root(id);
        assert_eq!(check_root(&bytes).unwrap(), id);
        assert!((0..bytes.len()).all(|cut| check_root(&bytes[..cut]).is_err()));
        bytes.truncate(FILE_HEADER_BYTES);
        bytes.put_u32(1);
        bytes.put_u32(7);
        let crc = crc32fast::hash(&bytes);
        bytes.put_u32(crc);
        let refused = check_root(&bytes).unwrap_err().to_string();
        assert_eq!(refused, "reelvault: unsupported required feature 7");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = (SnapshotBody::decode(&bytes), decode_list(&bytes), MarkBody::decode(&bytes));
            let _ = check_root(&bytes);
        }
    }
}
