//! What a segment has of a session: its blocks, read ahead, and decompressed as far as is played.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::format::codec::Malformed;
use crate::format::header::{UNIT_HEADER_BYTES, Unit, UnitKind};
use crate::format::segment::{BlockEntry, ChunkEntry, take_chunk_table};
use crate::keyring::SessionKeys;
use crate::limits::BLOCK_PLAIN_BYTES_MAX;
use crate::zst::Unpacking;

use super::super::Site;
use super::super::find::{ArchivedPart, part_file};
use super::READ_BYTES_MAX;

/// What the first read fetches at most where a replay begins in the middle: whoever jumps may soon jump again. Each read after it
/// fetches so many times as much.
const JUMP_READ_BYTES: usize = 512 << 10;
const JUMP_READ_TIMES: usize = 4;

pub(super) struct ArchivedSource {
    pub(super) part: ArchivedPart,
    /// Its own keys, if it is sealed under others than the rest of the session: the copy of a hold.
    keys: Option<Arc<SessionKeys>>,
    /// The next block to decompress.
    pub(super) next: usize,
    pub(super) offset: u64,
    /// Stored bytes that the next read fetches at most, unless a single block has more.
    ahead: usize,
    /// Bytes read ahead, and how many of them are used. Those are decrypted.
    pub(super) window: Vec<u8>,
    pub(super) used: usize,
    pub(super) chunks: std::vec::IntoIter<ChunkEntry>,
    /// The block whose chunks these are, and where in the window its zstd frame stands.
    block: Option<Unpacking>,
    frame: Range<usize>,
    raw_at: usize,
    /// The chunk last taken; it ends at `raw_at`.
    last: Option<ChunkEntry>,
}

impl ArchivedSource {
    /// What a segment has of a session, from the chunk with that number on.
    pub(super) fn new(part: &ArchivedPart, from: u32) -> Self {
        let blocks = &part.entry().blocks;
        let end = part.entry().seqs.runs().last().map_or(0, |&(_, end)| end);
        let next = match end <= from {
            true => blocks.len(),
            // The last block that begins at or before the wanted number may hold it.
            false => blocks.partition_point(|b| b.first_seq <= from).saturating_sub(1),
        };
        let before: u64 = blocks[..next].iter().map(|b| u64::from(b.unit_bytes)).sum();
        Self {
            offset: part.entry().offset + before,
            part: part.clone(),
            keys: None,
            next,
            ahead: if from == 0 { READ_BYTES_MAX } else { JUMP_READ_BYTES },
            window: Vec::new(),
            used: 0,
            chunks: Vec::new().into_iter(),
            block: None,
            frame: 0..0,
            raw_at: 0,
            last: None,
        }
    }

    /// The same, sealed under keys of its own.
    pub(super) fn sealed_under(mut self, keys: &Arc<SessionKeys>) -> Self {
        self.keys = Some(Arc::clone(keys));
        self
    }

    /// Brings the block of the next chunk into memory, if there is one.
    pub(super) fn load(&mut self, site: &Site, keys: &SessionKeys, read_max: usize) -> Result<()> {
        if !self.chunks.as_slice().is_empty() {
            return Ok(());
        }
        let Some(block) = self.part.entry().blocks.get(self.next).cloned() else { return Ok(()) };
        let loaded = self
            .read_ahead(site, &block, read_max)
            .and_then(|()| self.load_block(site, keys, &block));
        if loaded.is_err() {
            // Opening it has spoilt it: whoever tries again is to read it again.
            self.window.clear();
            self.used = 0;
        }
        loaded
    }

    /// Moves past the next chunk; returns its number and time.
    pub(super) fn take(&mut self) -> Option<(u32, u64)> {
        let entry = self.chunks.next()?;
        let taken = (entry.seq, entry.first_ms);
        self.raw_at += entry.raw_bytes as usize;
        self.last = Some(entry);
        Some(taken)
    }

    /// The chunk last taken, and its events, if they are decompressed.
    pub(super) fn last(&self) -> Option<(&ChunkEntry, &[u8])> {
        let entry = self.last.as_ref()?;
        let from = self.raw_at.checked_sub(entry.raw_bytes as usize)?;
        Some((entry, self.block.as_ref()?.filled().get(from..self.raw_at)?))
    }

    /// Reads the next block and as many after it as fit into one read.
    pub(super) fn read_ahead(
        &mut self,
        site: &Site,
        block: &BlockEntry,
        read_max: usize,
    ) -> Result<()> {
        if self.window.len() - self.used >= block.unit_bytes as usize {
            return Ok(());
        }
        let mut bytes = 0usize;
        for block in &self.part.entry().blocks[self.next..] {
            let with = bytes + block.unit_bytes as usize;
            if bytes > 0 && with > read_max.min(self.ahead) {
                break;
            }
            bytes = with;
        }
        self.ahead = self.ahead.saturating_mul(JUMP_READ_TIMES);
        if block.unit_bytes as usize > BLOCK_PLAIN_BYTES_MAX {
            return Err(self.damaged(Damage::Malformed("block bytes")));
        }
        let segments = &site.inner.segments;
        segments.read(&self.part.segment.entry, self.offset, bytes, &mut self.window)?;
        self.used = 0;
        Ok(())
    }

    fn load_block(&mut self, site: &Site, keys: &SessionKeys, block: &BlockEntry) -> Result<()> {
        let (table, frame) = self.open_block(site, keys, block)?;
        // Memory of the block before is used again.
        let out = self.block.take().map(Unpacking::into_out).unwrap_or_default();
        let begun = Unpacking::new(&self.window[frame.clone()], block.raw_bytes as usize, out);
        self.block = Some(begun.map_err(|m| self.damaged(Damage::Malformed(m.0)))?);
        self.frame = frame;
        self.raw_at = 0;
        self.chunks = table.into_iter();
        self.last = None;
        self.pass(block);
        Ok(())
    }

    /// Decompresses as far as the chunk last taken reaches.
    pub(super) fn unpack(&mut self) -> Result<()> {
        let filled = match (&mut self.block, self.window.get(self.frame.clone())) {
            (Some(block), Some(frame)) => block.fill(frame, self.raw_at),
            _ => Err(Malformed("chunk")),
        };
        filled.map_err(|m| self.damaged(Damage::Malformed(m.0)))
    }

    /// Decrypts the next block, which was read ahead: its chunks, and where in the window its zstd frame stands.
    pub(super) fn open_block(
        &mut self,
        site: &Site,
        keys: &SessionKeys,
        block: &BlockEntry,
    ) -> Result<(Vec<ChunkEntry>, Range<usize>)> {
        let name = part_file(&self.part);
        let offset = self.offset;
        let unit = &mut self.window[self.used..self.used + block.unit_bytes as usize];
        let tag = self.part.found.entry().tag;
        let context: [&[u8]; 4] = [
            &site.site.handle().0,
            &tag.0,
            &block.first_seq.to_le_bytes(),
            &block.chunks.to_le_bytes(),
        ];
        let text = Unit::check(UnitKind::BLOCK, &name, offset, unit)?.open(
            self.keys.as_deref().unwrap_or(keys).cipher(),
            &context,
            &name,
            offset,
        )?;
        let malformed = |field| Error::corrupt(&name, offset, Damage::Malformed(field));
        let (table, frame) = take_chunk_table(text).map_err(|m| malformed(m.0))?;
        let (text_bytes, frame_bytes) = (text.len(), frame.len());
        let raw_bytes: u64 = table.iter().map(|c| u64::from(c.raw_bytes)).sum();
        if raw_bytes != u64::from(block.raw_bytes)
            || raw_bytes > BLOCK_PLAIN_BYTES_MAX as u64
            || table.len() != block.chunks as usize
        {
            return Err(malformed("chunk table"));
        }
        let end = self.used + UNIT_HEADER_BYTES + text_bytes;
        Ok((table, end - frame_bytes..end))
    }

    /// Moves past a block that was opened.
    pub(super) fn pass(&mut self, block: &BlockEntry) {
        self.used += block.unit_bytes as usize;
        self.offset += u64::from(block.unit_bytes);
        self.next += 1;
    }

    /// Moves past the next block without looking into it.
    pub(super) fn skip(&mut self) {
        let Some(block) = self.part.entry().blocks.get(self.next).cloned() else { return };
        if self.window.len() - self.used < block.unit_bytes as usize {
            // It was not read; what is read next begins behind it.
            self.window.clear();
            self.used = 0;
            self.offset += u64::from(block.unit_bytes);
            self.next += 1;
        } else {
            self.pass(&block);
        }
    }

    fn damaged(&self, damage: Damage) -> Error {
        Error::corrupt(&part_file(&self.part), self.offset, damage)
    }
}
