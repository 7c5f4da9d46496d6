//! Replaying a session as it is stored: zstd frames, one after the other, that are one valid zstd body.
//!
//! A block or journal frame is passed on without being decompressed where all of it is wanted and all of it comes next.
//! Elsewhere, at a snapshot within a block, at the end of a window of time, and where journals and segments hold chunks
//! between each other's, the chunks are decompressed and packed anew. So what comes out decompresses to exactly what
//! [`Replay`] yields.

use std::fmt;

use crate::error::{Damage, Error, Result};
use crate::format::segment::BlockEntry;
use crate::ids::SessionId;
use crate::journal::read::open_frame;
use crate::limits::BLOCK_BYTES_TARGET;
use crate::zst;

use super::super::Site;
use super::super::find::{ArchivedPart, Started, part_file};
use super::super::info::SessionInfo;
use super::seek::{last_snapshot, nth_seq};
use super::{READ_BYTES_MAX, Replay, Source};

/// zstd level of what is packed anew: somebody waits for it.
const AGAIN_LEVEL: i32 = 1;

/// A session being replayed as zstd frames whose content is NDJSON. Drop it to stop.
pub struct PackedReplay {
    replay: Replay,
    /// Frames that were passed on as they are stored.
    passed: u64,
}

/// What one step of a packed replay yielded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    /// NDJSON bytes that the frame decompresses to.
    pub raw_bytes: u64,
    /// Whether it is passed on as it is stored.
    pub as_stored: bool,
}

impl fmt::Debug for PackedReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedReplay").field("passed", &self.passed).finish_non_exhaustive()
    }
}

/// Bytes of the unit that comes next, as far as indexes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NextBytes {
    /// Bytes that it takes on disk.
    pub stored: usize,
    /// NDJSON bytes that it holds.
    pub raw: usize,
}

/// What comes next, as far as indexes tell.
enum Next {
    /// All of the next block or frame of this source.
    Whole(usize),
    /// A part of something, or nothing.
    Chunks,
}

impl Site {
    /// Replays a session as it is stored, from the last snapshot at or before `from_ms`, Unix milliseconds; whole if there is
    /// none.
    ///
    /// # Errors
    /// As [`Site::replay`].
    pub fn replay_packed(&self, id: &SessionId, from_ms: Option<u64>) -> Result<PackedReplay> {
        let parts = self.find(id, Started::Last)?;
        let from = from_ms.map_or((0, 0), |ms| last_snapshot(&parts, ms));
        Ok(PackedReplay { replay: Replay::new(self, id, &parts, from)?, passed: 0 })
    }

    /// Replays as it is stored the very session that was listed, as [`Site::replay_listed`].
    ///
    /// # Errors
    /// As [`Site::replay`].
    pub fn replay_packed_listed(&self, info: &SessionInfo) -> Result<PackedReplay> {
        self.replay_packed_listed_from(info, None)
    }

    /// Replays as it is stored the very session that was listed, from the last snapshot at or before `from_ms`, Unix
    /// milliseconds; whole if there is none.
    ///
    /// # Errors
    /// As [`Site::replay`].
    pub fn replay_packed_listed_from(
        &self,
        info: &SessionInfo,
        from_ms: Option<u64>,
    ) -> Result<PackedReplay> {
        let replay = match from_ms {
            Some(ms) => self.replay_listed_from(info, ms)?,
            None => self.replay_listed(info)?,
        };
        Ok(PackedReplay { replay, passed: 0 })
    }
}

impl PackedReplay {
    /// Leaves out the chunks that begin after `ms`, Unix milliseconds.
    #[must_use]
    pub fn until(mut self, ms: u64) -> Self {
        self.replay = self.replay.until(ms);
        self
    }

    /// Reads at most this many stored bytes at once, unless a single block has more. Default [`READ_BYTES_MAX`], which it cannot
    /// exceed: a service that replays to many at once trades reads for memory.
    #[must_use]
    pub fn read_bytes_max(mut self, bytes: usize) -> Self {
        self.replay.read_max = bytes.min(READ_BYTES_MAX);
        self
    }

    /// How many frames were passed on as they are stored.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// How much the next step handles: whoever replays to many at once can bound what all of them take.
    #[must_use]
    pub fn next_bytes(&self) -> NextBytes {
        let heads = self.replay.sources.iter().filter_map(Source::ahead);
        let next = heads.min_by_key(|head| head.first_seq);
        next.map(|head| head.bytes).unwrap_or_default()
    }

    /// Whether there is nothing more to come: [`next_frame`](Self::next_frame) would yield `None`. It reads nothing.
    #[must_use]
    pub fn is_over(&mut self) -> bool {
        self.replay.pass_over();
        self.replay.sources.is_empty()
    }

    /// Appends the next zstd frame to `out`; `None` at the end.
    ///
    /// # Errors
    /// As [`Replay::next_chunk`]; then `out` is as it was.
    pub fn next_frame(&mut self, out: &mut Vec<u8>) -> Result<Option<Played>> {
        self.replay.check_still_kept()?;
        loop {
            self.replay.pass_over();
            let Next::Whole(source) = self.next() else { return self.pack_chunks(out) };
            let before = out.len();
            match self.replay.pass_on(source, out) {
                Ok(raw_bytes) => {
                    self.passed += 1;
                    return Ok(Some(Played { raw_bytes, as_stored: true }));
                }
                Err(e) => {
                    out.truncate(before);
                    if !self.replay.may_have_moved(&e) {
                        return Err(self.replay.site.name(e));
                    }
                    self.replay.find_again()?;
                }
            }
        }
    }

    /// Whether the unit with the lowest number can be passed on whole.
    fn next(&self) -> Next {
        let ahead = |source: &Source| source.ahead();
        let heads: Vec<_> = self.replay.sources.iter().map(ahead).collect();
        let lowest = heads.iter().enumerate().filter_map(|(i, head)| Some((i, head.as_ref()?)));
        let Some((i, head)) = lowest.min_by_key(|(_, head)| head.first_seq) else {
            return Next::Chunks;
        };
        let others = heads.iter().enumerate().filter(|(n, _)| *n != i);
        let alone = others.filter_map(|(_, h)| h.as_ref()).all(|h| h.first_seq > head.last_seq);
        let (seq, offset) = self.replay.from;
        let wanted = head.first_seq > seq || (head.first_seq == seq && offset == 0);
        match head.whole && alone && wanted && head.begins_last_ms <= self.replay.until_ms {
            true => Next::Whole(i),
            false => Next::Chunks,
        }
    }

    /// Packs chunks anew until a unit can be passed on again, or until there are enough of them.
    fn pack_chunks(&mut self, out: &mut Vec<u8>) -> Result<Option<Played>> {
        let mut raw = Vec::new();
        loop {
            match self.replay.next_chunk()? {
                Some(chunk) => raw.extend_from_slice(chunk.events),
                None if raw.is_empty() => return Ok(None),
                None => break,
            }
            if raw.len() >= BLOCK_BYTES_TARGET || matches!(self.next(), Next::Whole(_)) {
                break;
            }
        }
        let packed = zst::pack(AGAIN_LEVEL, &raw);
        let packed = packed.map_err(|e| Error::io("compressing a replay", "", e))?;
        out.extend_from_slice(&packed);
        Ok(Some(Played { raw_bytes: raw.len() as u64, as_stored: false }))
    }
}

/// The next unit of a source.
struct Head {
    first_seq: u32,
    last_seq: u32,
    /// The earliest time at which a chunk of it can begin.
    begins_first_ms: u64,
    /// The latest time at which a chunk of it can begin.
    begins_last_ms: u64,
    /// Whether nothing of it was taken yet.
    whole: bool,
    bytes: NextBytes,
}

impl Source {
    fn ahead(&self) -> Option<Head> {
        match self {
            Self::Live { frames, .. } => frames.front().map(|f| Head {
                first_seq: f.seq,
                last_seq: f.seq,
                begins_first_ms: f.first_ms,
                begins_last_ms: f.first_ms,
                whole: true,
                bytes: NextBytes { stored: f.bytes as usize, raw: f.raw_bytes as usize },
            }),
            Self::Archived(source) => match source.chunks.as_slice() {
                [] => source.part.entry().blocks.get(source.next).map(|b| head(&source.part, b)),
                [first, .., last] => Some(taken(first.seq, last.seq)),
                [only] => Some(taken(only.seq, only.seq)),
            },
        }
    }
}

impl Source {
    /// The number of the next chunk, as far as indexes tell: of a unit that is not in memory, the next one from `from` on.
    pub(super) fn next_seq(&self, from: u32) -> Option<u32> {
        let head = self.ahead()?;
        match self {
            Self::Archived(source) if head.whole => {
                source.part.entry().seqs.next_from(from.max(head.first_seq))
            }
            _ => Some(head.first_seq),
        }
    }

    /// Moves past the next unit without looking into it.
    pub(super) fn skip(&mut self) {
        match self {
            Self::Live { frames, .. } => drop(frames.pop_front()),
            Self::Archived(source) => source.skip(),
        }
    }
}

fn head(part: &ArchivedPart, block: &BlockEntry) -> Head {
    let last = nth_seq(part.entry().seqs.runs(), block.first_seq, block.chunks.saturating_sub(1));
    Head {
        first_seq: block.first_seq,
        last_seq: last,
        begins_first_ms: block.first_ms,
        begins_last_ms: block.last_ms,
        whole: true,
        bytes: NextBytes { stored: block.unit_bytes as usize, raw: block.raw_bytes as usize },
    }
}

fn taken(first_seq: u32, last_seq: u32) -> Head {
    let (begins_first_ms, begins_last_ms) = (0, u64::MAX);
    // It is in memory already.
    let bytes = NextBytes::default();
    Head { first_seq, last_seq, begins_first_ms, begins_last_ms, whole: false, bytes }
}

impl Replay {
    /// Moves past units of which everything begins too late, or was played from elsewhere, without reading them, and lets go of whatever has
    /// nothing more: what it has read takes memory.
    pub(super) fn pass_over(&mut self) {
        let (from, until_ms) = (self.from.0, self.until_ms);
        let is_unwanted =
            |head: &Head| head.whole && (head.begins_first_ms > until_ms || head.last_seq < from);
        self.sources.retain_mut(|source| {
            loop {
                match source.ahead() {
                    Some(head) if is_unwanted(&head) => source.skip(),
                    head => break head.is_some(),
                }
            }
        });
    }

    /// Appends the zstd frame of the next unit of a source to `out`; returns its NDJSON bytes.
    fn pass_on(&mut self, source: usize, out: &mut Vec<u8>) -> Result<u64> {
        let (site, keys) = (&self.site, &self.keys);
        let (last_seq, raw_bytes) = match &mut self.sources[source] {
            Source::Live { stamp, frames, chunk } => {
                // The caller has seen that it is there.
                let Some(frame) = frames.front() else { return Ok(0) };
                let mut bytes = Vec::new();
                let open = open_frame(frame, site.frame_keys(stamp, keys), &mut bytes)?;
                let (seq, raw_bytes) = (open.envelope.seq, open.envelope.raw_bytes);
                if !zst::is_frame(open.packed(), raw_bytes as usize) {
                    let (file, at) = (&frame.journal.name, frame.offset.into());
                    return Err(Error::corrupt(file, at, Damage::Malformed("zstd frame")));
                }
                out.extend_from_slice(open.packed());
                *chunk = None;
                frames.pop_front();
                (seq, raw_bytes)
            }
            Source::Archived(source) => {
                let Some(block) = source.part.entry().blocks.get(source.next).cloned() else {
                    return Ok(0);
                };
                source.read_ahead(site, &block, self.read_max)?;
                let (name, offset) = (part_file(&source.part), source.offset);
                let (table, frame) = source.open_block(site, keys, &block)?;
                let frame = &source.window[frame];
                let known = zst::is_frame(frame, block.raw_bytes as usize);
                // Only a block that ends where its index says may be passed on unseen.
                let last = table.last().map(|c| c.seq).filter(|_| known);
                out.extend_from_slice(frame);
                source.pass(&block);
                if source.used == source.window.len() {
                    // Between two steps, while a client takes its time, nothing is held.
                    (source.window, source.used) = (Vec::new(), 0);
                }
                let wrong = || Error::corrupt(&name, offset, Damage::Malformed("zstd frame"));
                (last.ok_or_else(wrong)?, block.raw_bytes)
            }
        };
        self.from = (last_seq + 1, 0);
        self.moved = None;
        Ok(raw_bytes.into())
    }
}
