//! Replaying a session: its chunks by sequence number, from journals and segments alike, with bounded memory.
//!
//! The blocks of a session lie together in each segment, so that each segment costs one read, or one for each
//! [`READ_BYTES_MAX`] of a very large session. A replay that begins in the middle reads little at first.

mod archived;
mod packed;
mod seek;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use crate::chunk::Snapshot;
use crate::error::{Error, Result};
use crate::format::segment::ChunkEntry;
use crate::ids::{HoldId, SessionId, SessionTag};
use crate::journal::read::{FrameKeys, read_frame};
use crate::journal::table::{FrameRef, Stamp};
use crate::keyring::SessionKeys;

use super::Site;
use super::find::{ArchivedPart, Parts, Started};
use super::info::SessionInfo;

use archived::ArchivedSource;
pub use packed::{NextBytes, PackedReplay, Played};
use seek::last_snapshot;

/// Stored bytes that one read of a segment fetches at most: the bound of a replay's memory, together with one
/// block decompressed. Segments that hold chunks between each other's, as of late ones, take as much each.
pub const READ_BYTES_MAX: usize = 8 << 20;

/// A chunk as it is replayed.
pub struct ReplayedChunk<'a> {
    /// Its sequence number.
    pub seq: u64,
    /// Time of its first event, Unix milliseconds.
    pub first_ms: u64,
    /// Time of its last event, Unix milliseconds.
    pub last_ms: u64,
    /// Its events, NDJSON, byte for byte as they were appended. A replay that starts at a snapshot begins
    /// with the snapshot's event.
    pub events: &'a [u8],
    /// Its snapshots, their offsets within `events`.
    pub snapshots: Vec<Snapshot>,
}

// A recording's content must not reach a log through `{:?}`.
impl fmt::Debug for ReplayedChunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplayedChunk {{ seq: {}, bytes: {} }}", self.seq, self.events.len())
    }
}

/// A session being replayed. Drop it to stop.
pub struct Replay {
    site: Site,
    id: SessionId,
    start_ms: u64,
    keys: Arc<SessionKeys>,
    /// By which it is kept, and the keyring's epoch in which that was last looked at.
    tag: SessionTag,
    expiry_day: u32,
    hold: Option<HoldId>,
    epoch: u64,
    sources: Vec<Source>,
    /// The sequence number from which to replay, and the offset in that chunk.
    from: (u32, u32),
    until_ms: u64,
    /// Stored bytes that one read fetches, unless a single block has more.
    read_max: usize,
    /// The file for whose sake the store was read again since the last chunk: its writer may have moved the frames.
    moved: Option<String>,
    beside: Option<Beside>,
    /// Damage that was read around; none, where damage ends the replay.
    around: Option<Vec<Error>>,
}

/// The copy of a hold, played together with what it was made of: each may have chunks that the other has lost.
#[derive(Clone)]
pub(super) struct Beside {
    pub(super) part: ArchivedPart,
    pub(super) keys: Arc<SessionKeys>,
    /// Whether chunks that both have are read of the copy.
    pub(super) is_first: bool,
}

enum Source {
    Live { stamp: Box<Stamp>, frames: VecDeque<FrameRef>, chunk: Option<Loaded> },
    Archived(ArchivedSource),
}

/// A chunk of a journal in memory.
struct Loaded {
    entry: ChunkEntry,
    raw: Vec<u8>,
}

impl Site {
    /// Replays a session whole.
    ///
    /// # Errors
    /// [`Error::UnknownSession`], [`Error::Erased`], [`Error::Expired`], and damage.
    pub fn replay(&self, id: &SessionId) -> Result<Replay> {
        let parts = self.find(id, Started::Last)?;
        Replay::new(self, id, &parts, (0, 0))
    }

    /// Replays the very session that was listed, where others have the same id: a session's id may be used again
    /// two days after its start.
    ///
    /// # Errors
    /// As [`replay`](Self::replay).
    pub fn replay_listed(&self, info: &SessionInfo) -> Result<Replay> {
        Replay::new(self, &info.id, &self.find_listed(info)?, (0, 0))
    }

    /// Replays the very session that was listed from the last snapshot at or before `ms`, Unix milliseconds; from its
    /// beginning if there is none.
    ///
    /// # Errors
    /// As [`replay`](Self::replay).
    pub fn replay_listed_from(&self, info: &SessionInfo, ms: u64) -> Result<Replay> {
        let parts = self.find_listed(info)?;
        Replay::new(self, &info.id, &parts, last_snapshot(&parts, ms))
    }

    /// Replays a session from the last snapshot at or before `ms`, Unix milliseconds; from its beginning if there is none.
    ///
    /// # Errors
    /// As [`replay`](Self::replay).
    pub fn replay_from(&self, id: &SessionId, ms: u64) -> Result<Replay> {
        let parts = self.find(id, Started::Last)?;
        let from = last_snapshot(&parts, ms);
        Replay::new(self, id, &parts, from)
    }
}

impl Replay {
    pub(super) fn new(
        site: &Site,
        id: &SessionId,
        parts: &Parts,
        from: (u32, u32),
    ) -> Result<Self> {
        Ok(Self {
            site: site.clone(),
            id: id.clone(),
            start_ms: parts.stamp.start_ms,
            epoch: site.inner.keyring.epoch(),
            keys: site.keys(parts)?,
            tag: parts.stamp.tag,
            expiry_day: parts.stamp.expiry_day(),
            hold: parts.hold(),
            sources: sources(parts, None, from.0),
            from,
            until_ms: u64::MAX,
            read_max: READ_BYTES_MAX,
            moved: None,
            beside: None,
            around: None,
        })
    }

    /// Plays a session whole, and what the copy of its hold has of it.
    pub(super) fn with_copy(
        site: &Site,
        id: &SessionId,
        parts: &Parts,
        beside: Option<Beside>,
    ) -> Result<Self> {
        let sources = sources(parts, beside.as_ref(), 0);
        Ok(Self { sources, beside, ..Self::new(site, id, parts, (0, 0))? })
    }

    /// Passes over blocks and frames that cannot be read, each after it was tried twice.
    pub(super) fn around_damage(mut self) -> Self {
        self.around = Some(Vec::new());
        // What is read with others cannot be told from them.
        self.read_max = 0;
        self
    }

    /// What was passed over.
    pub(super) fn passed_over(self) -> Vec<Error> {
        self.around.unwrap_or_default()
    }

    /// Leaves out the chunks that begin after `ms`, Unix milliseconds.
    #[must_use]
    pub fn until(mut self, ms: u64) -> Self {
        self.until_ms = ms;
        self
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// Damage, and errors of the system. After one, the replay can go on only where it says so.
    pub fn next_chunk(&mut self) -> Result<Option<ReplayedChunk<'_>>> {
        self.check_still_kept()?;
        loop {
            self.pass_over();
            let source = match self.next_source() {
                Ok(source) => source,
                Err(e) if self.may_have_moved(&e) => {
                    self.find_again()?;
                    continue;
                }
                Err(e) => return Err(self.site.name(e)),
            };
            let Some(source) = source else { return Ok(None) };
            // Taking the chunk by index and borrowing it later keeps the loop free of the borrow.
            let entry = self.sources[source].take();
            let Some((seq, first_ms)) = entry else { continue };
            let wanted = seq >= self.from.0 && first_ms <= self.until_ms;
            if seq >= self.from.0 {
                let trim = if seq == self.from.0 { self.from.1 } else { 0 };
                self.from = (seq + 1, 0);
                // Only a chunk that is new counts: those before it are met again each time the store is read again.
                self.moved = None;
                if wanted {
                    self.sources[source].unpack().map_err(|e| self.site.name(e))?;
                    return Ok(self.sources[source].chunk(trim));
                }
            }
        }
    }

    /// Writes all events that are left; returns their bytes.
    ///
    /// # Errors
    /// As [`next_chunk`](Self::next_chunk), and errors of `out`.
    pub fn write_to(&mut self, out: &mut dyn Write) -> Result<u64, ReplayError> {
        let mut bytes = 0;
        while let Some(chunk) = self.next_chunk()? {
            out.write_all(chunk.events).map_err(ReplayError::Write)?;
            bytes += chunk.events.len() as u64;
        }
        Ok(bytes)
    }

    /// The source whose next chunk has the lowest number, that chunk being in memory. Of the others nothing is read: indexes tell where they begin.
    fn next_source(&mut self) -> Result<Option<usize>> {
        loop {
            let heads = self.sources.iter().enumerate();
            let heads = heads.filter_map(|(at, source)| Some((source.next_seq(self.from.0)?, at)));
            let Some((_, next)) = heads.min() else { return Ok(None) };
            let source = &mut self.sources[next];
            let mut load = || source.load(&self.site, &self.keys, self.read_max);
            match (load(), &mut self.around) {
                (Err(e), Some(damage)) if e.is_damage() => match load() {
                    Ok(()) => return Ok(Some(next)),
                    Err(e) => {
                        damage.push(self.site.name(e));
                        source.skip();
                        self.pass_over();
                    }
                },
                (loaded, _) => return loaded.map(|()| Some(next)),
            }
        }
    }

    /// Refuses to go on with what was erased or has expired since.
    fn check_still_kept(&mut self) -> Result<()> {
        let inner = &self.site.inner;
        inner.keep_up()?;
        let epoch = inner.keyring.epoch();
        if epoch == self.epoch {
            return Ok(());
        }
        if self.site.site.is_erased(&self.tag) {
            return Err(Error::Erased);
        }
        let kept = match &self.hold {
            Some(hold) => inner.keyring.hold(hold).is_some(),
            None => !inner.has_passed(self.expiry_day),
        };
        if !kept {
            return Err(Error::Expired { expiry_day: self.expiry_day });
        }
        self.epoch = epoch;
        Ok(())
    }

    /// Whether an error may only mean that the frames were archived meanwhile, or the segment written once more.
    ///
    /// It is damage once the same file fails again. Another one does not: under a reader of another process frames may move
    /// more than once between two looks.
    fn may_have_moved(&mut self, error: &Error) -> bool {
        match error {
            Error::Corrupt(c) if self.moved.as_deref() != Some(&*c.file) => {
                self.moved = Some(c.file.clone());
                true
            }
            _ => false,
        }
    }

    fn find_again(&mut self) -> Result<()> {
        if self.site.inner.read_only {
            self.site.inner.refresh()?;
        }
        let parts = self.site.find(&self.id, Started::At(self.start_ms))?;
        self.keys = self.site.keys(&parts)?;
        self.sources = sources(&parts, self.beside.as_ref(), self.from.0);
        Ok(())
    }
}

/// Why a replay could not be written out.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] Error),
    /// The other side could not be written.
    #[error("writing the replay: {0}")]
    Write(io::Error),
}

fn sources(parts: &Parts, beside: Option<&Beside>, from: u32) -> Vec<Source> {
    let live = parts.live.iter().map(|live| {
        let at = live.frames.partition_point(|f| f.seq < from);
        Source::Live {
            stamp: Box::new(live.stamp.clone()),
            frames: live.frames.iter().skip(at).cloned().collect(),
            chunk: None,
        }
    });
    let archived =
        parts.archived.iter().map(|part| Source::Archived(ArchivedSource::new(part, from)));
    let mut sources: Vec<_> = live.chain(archived).collect();
    if let Some(Beside { part, keys, is_first }) = beside {
        // Of chunks that several have, the first of them is read.
        let at = if *is_first { 0 } else { sources.len() };
        let copy = ArchivedSource::new(part, from).sealed_under(keys);
        sources.insert(at, Source::Archived(copy));
    }
    sources
}

impl Source {
    /// Brings the next chunk into memory, if there is one.
    fn load(&mut self, site: &Site, keys: &SessionKeys, read_max: usize) -> Result<()> {
        match self {
            Self::Live { stamp, frames, chunk } => {
                // A chunk that was handed out stays until the next one is asked for.
                if let Some(frame) = frames.front() {
                    *chunk = Some(load(frame, site.frame_keys(stamp, keys))?);
                }
                Ok(())
            }
            Self::Archived(source) => source.load(site, keys, read_max),
        }
    }

    /// Moves past the next chunk; returns its number and time.
    fn take(&mut self) -> Option<(u32, u64)> {
        match self {
            Self::Live { frames, .. } => frames.pop_front().map(|f| (f.seq, f.first_ms)),
            Self::Archived(source) => source.take(),
        }
    }

    /// Decompresses as far as the chunk last taken reaches.
    fn unpack(&mut self) -> Result<()> {
        match self {
            Self::Live { .. } => Ok(()),
            Self::Archived(source) => source.unpack(),
        }
    }

    /// The chunk last taken, from `trim` on. It is decompressed.
    fn chunk(&self, trim: u32) -> Option<ReplayedChunk<'_>> {
        let (entry, raw): (&ChunkEntry, &[u8]) = match self {
            Self::Live { chunk, .. } => chunk.as_ref().map(|c| (&c.entry, &c.raw[..]))?,
            Self::Archived(source) => source.last()?,
        };
        let snapshots = entry
            .snapshots
            .iter()
            .filter(|s| s.offset >= trim)
            .map(|s| Snapshot { offset: s.offset - trim, ms: s.ms })
            .collect();
        Some(ReplayedChunk {
            seq: entry.seq.into(),
            first_ms: entry.first_ms,
            last_ms: entry.last_ms,
            events: raw.get(trim as usize..)?,
            snapshots,
        })
    }
}

fn load(frame: &FrameRef, keys: FrameKeys<'_>) -> Result<Loaded> {
    let mut raw = Vec::new();
    let e = read_frame(frame, keys, &mut raw)?;
    let entry = ChunkEntry {
        seq: e.seq,
        first_ms: e.first_ms,
        last_ms: e.last_ms,
        raw_bytes: e.raw_bytes,
        events: e.events,
        snapshots: e.snapshots,
    };
    Ok(Loaded { entry, raw })
}
