//! Reading a journal from its beginning: the frames, a torn tail, or damage. See *Recovery* in the format document.

use crate::error::{Damage, Error, Result};
use crate::format::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FRAMES_FROM, FrameHeader};
use crate::format::header::UnitKind;
use crate::format::manifest::NO_CUT;
use crate::ids::FileId;

use super::file::Journal;

/// How a journal that is damaged before valid frames is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recovery {
    /// It is an error.
    #[default]
    Strict,
    /// The damage is skipped and counted, and the frames after it are kept.
    Salvage,
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Scanned {
    /// Valid frames.
    pub(crate) frames: u64,
    /// The end of the last valid frame.
    pub(crate) end: u32,
    /// The highest offset before which a frame says that everything is durable.
    pub(crate) durable: u32,
    /// Whether the journal was ended in order: then nothing after its last frame was lost.
    pub(crate) ended: bool,
    /// Bytes skipped in salvage, before valid frames.
    pub(crate) skipped_bytes: u64,
}

/// The file is read in pieces of this size, or of a frame where that is larger.
const WINDOW_BYTES: usize = 4 << 20;

struct Window<'a> {
    journal: &'a Journal,
    /// Frames may not reach beyond this offset.
    limit: u32,
    from: u32,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `len` bytes at `offset`, or `None` beyond the end.
    fn at(&mut self, offset: u32, len: usize) -> Result<Option<&[u8]>> {
        if u64::from(offset) + len as u64 > u64::from(self.limit) {
            return Ok(None);
        }
        let inside = offset >= self.from && (offset - self.from) as usize + len <= self.bytes.len();
        if !inside {
            let want = len.max(WINDOW_BYTES).min((self.limit - offset) as usize);
            self.bytes.resize(want, 0);
            self.journal.read_into(offset, &mut self.bytes)?;
            self.from = offset;
        }
        let start = (offset - self.from) as usize;
        Ok(Some(&self.bytes[start..start + len]))
    }

    /// The valid frame at `offset`, if there is one.
    fn frame(&mut self, offset: u32) -> Result<Option<(FrameHeader, &[u8])>> {
        let id = self.journal.id;
        let Some(bytes) = self.at(offset, FRAME_HEADER_BYTES)? else { return Ok(None) };
        let Some(header) = FrameHeader::parse(id, offset, bytes) else { return Ok(None) };
        let Some(frame) = self.at(offset, header.frame_bytes())? else { return Ok(None) };
        Ok(header.body_is_whole(frame).then_some((header, frame)))
    }

    /// What is in memory from `offset` on, or as much as fits where that is too little for a header.
    fn from(&mut self, offset: u32) -> Result<Option<&[u8]>> {
        let end = self.from + self.bytes.len() as u32;
        let inside = (self.from..end).contains(&offset)
            && (end == self.limit || (end - offset) as usize >= FRAME_HEADER_BYTES);
        if inside {
            return Ok(Some(&self.bytes[(offset - self.from) as usize..]));
        }
        let len = WINDOW_BYTES.min(self.limit.saturating_sub(offset) as usize);
        if len < FRAME_HEADER_BYTES { Ok(None) } else { self.at(offset, len) }
    }

    /// The next offset at or after `from`, on the frames' alignment, where the magic of a frame stands.
    fn next_magic(&mut self, mut from: u32) -> Result<Option<u32>> {
        while let Some(bytes) = self.from(from)? {
            let found = memchr::memmem::find_iter(bytes, UnitKind::FRAME.0)
                .find(|i| (from as usize + i).is_multiple_of(FRAME_ALIGN));
            if let Some(i) = found {
                return Ok(Some(from + i as u32));
            }
            // The last bytes may hold the beginning of a magic: they are looked at again with what follows.
            let seen = (bytes.len() - (FRAME_HEADER_BYTES - 1).min(bytes.len() - 1)) as u32;
            from = (from + seen).next_multiple_of(FRAME_ALIGN as u32);
        }
        Ok(None)
    }

    /// Whether a valid frame stands at `offset`, by reading just that once more.
    fn is_frame_after_all(&self, offset: u32) -> Result<bool> {
        let fits = |bytes: usize| u64::from(offset) + bytes as u64 <= u64::from(self.limit);
        if !fits(FRAME_HEADER_BYTES) {
            return Ok(false);
        }
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        self.journal.read_into(offset, &mut frame)?;
        let Some(header) = FrameHeader::parse(self.journal.id, offset, &frame) else {
            return Ok(false);
        };
        if !fits(header.frame_bytes()) {
            return Ok(false);
        }
        frame.resize(header.frame_bytes(), 0);
        self.journal.read_into(offset, &mut frame)?;
        Ok(header.body_is_whole(&frame))
    }

    /// Forgets what was read, so that the file is read again.
    fn forget(&mut self) {
        self.bytes.clear();
        self.from = 0;
    }
}

/// Visits the valid frames of a journal in order.
///
/// # Errors
/// [`Damage::BeforeValidFrames`] in strict mode, errors of reading, and what `visit` returns.
pub(crate) fn scan(
    journal: &Journal,
    cut: u64,
    recovery: Recovery,
    visit: impl FnMut(u32, &FrameHeader, &[u8]) -> Result<()>,
) -> Result<Scanned> {
    scan_from(journal, FRAMES_FROM, cut, recovery, visit)
}

/// As [`scan`], from the end of a frame on.
pub(crate) fn scan_from(
    journal: &Journal,
    from: u32,
    cut: u64,
    recovery: Recovery,
    mut visit: impl FnMut(u32, &FrameHeader, &[u8]) -> Result<()>,
) -> Result<Scanned> {
    let filled = journal.filled();
    let limit = if cut == NO_CUT { filled } else { cut.min(filled.into()) as u32 };
    let mut window = Window { journal, limit, from: 0, bytes: Vec::new() };
    let mut scanned = Scanned { end: from, durable: from, ..Scanned::default() };
    let mut at = from;
    loop {
        while let Some((header, frame)) = window.frame(at)? {
            if header.is_end() {
                scanned.ended = true;
                return Ok(scanned);
            }
            visit(at, &header, frame)?;
            scanned.durable = scanned.durable.max(header.durable);
            at += header.frame_bytes() as u32;
            scanned.frames += 1;
            scanned.end = at;
        }
        // What ends here is dropped for good. A read that went wrong on its way must not be what ends it.
        if window.is_frame_after_all(at)? {
            window.forget();
            if window.frame(at)?.is_none() {
                return Err(Error::corrupt(&journal.name, at.into(), Damage::Rot));
            }
            continue;
        }
        let Some(next) = frame_that_proves_damage(&mut window, at)? else {
            // A cut stands at the end of a frame: what is missing up to there is no torn tail.
            if cut != NO_CUT && recovery == Recovery::Salvage {
                scanned.skipped_bytes += cut.saturating_sub(at.into());
            }
            return Ok(scanned);
        };
        // Another process may be writing: what proves damage now may be younger than what was read at this point.
        window.forget();
        if window.frame(at)?.is_some() {
            continue;
        }
        if recovery == Recovery::Strict {
            return Err(Error::corrupt(&journal.name, at.into(), Damage::BeforeValidFrames));
        }
        // Between the damage and the proof there may be whole frames: the first of them goes on.
        let resume = first_frame_after(&mut window, at, next)?;
        scanned.skipped_bytes += u64::from(resume - at);
        at = resume;
    }
}

/// Whether a journal without a frame is one in which none was ever finished: where the first would stand there are zeros, or the
/// beginning of one that was torn. Anything else was read from a wrong place, or has rotted.
pub(crate) fn was_never_used(journal: &Journal) -> Result<bool> {
    let bytes = journal.filled().saturating_sub(FRAMES_FROM).min(FRAME_HEADER_BYTES as u32);
    let mut first = vec![0; bytes as usize];
    journal.read_into(FRAMES_FROM, &mut first)?;
    Ok(first.iter().all(|b| *b == 0) || first.starts_with(UnitKind::FRAME.0))
}

/// Whether these bytes, which stand at `offset` of a journal, are frames and nothing else.
pub(super) fn are_whole_frames(id: FileId, mut offset: u32, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let header = bytes.get(..FRAME_HEADER_BYTES);
        let Some(header) = header.and_then(|h| FrameHeader::parse(id, offset, h)) else {
            return false;
        };
        let Some((frame, rest)) = bytes.split_at_checked(header.frame_bytes()) else {
            return false;
        };
        if !header.body_is_whole(frame) {
            return false;
        }
        (bytes, offset) = (rest, offset + frame.len() as u32);
    }
    true
}

/// A frame after `at` that was written when everything up to beyond `at` had been synced.
fn frame_that_proves_damage(window: &mut Window<'_>, at: u32) -> Result<Option<u32>> {
    let mut from = at.saturating_add(FRAME_ALIGN as u32);
    while let Some(offset) = window.next_magic(from)? {
        let id = window.journal.id;
        let header = window
            .at(offset, FRAME_HEADER_BYTES)?
            .and_then(|bytes| FrameHeader::parse(id, offset, bytes));
        if header.is_some_and(|h| h.durable > at) {
            return Ok(Some(offset));
        }
        from = offset + FRAME_ALIGN as u32;
    }
    Ok(None)
}

fn first_frame_after(window: &mut Window<'_>, at: u32, proof: u32) -> Result<u32> {
    let mut from = at.saturating_add(FRAME_ALIGN as u32);
    while let Some(offset) = window.next_magic(from)? {
        if offset >= proof || window.frame(offset)?.is_some() {
            return Ok(offset.max(at + FRAME_ALIGN as u32));
        }
        from = offset + FRAME_ALIGN as u32;
    }
    Ok(proof)
}
