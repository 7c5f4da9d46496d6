//! Writing a segment: blocks of each session, then the index of each site, then the directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::crypto::{Cipher, Nonce, Suite, TAG_BYTES};
use crate::env::{Env, File, Mode};
use crate::error::{Damage, Error, Result};
use crate::format::header::{Codec, FileKind, UNIT_HEADER_BYTES, UnitKind};
use crate::format::manifest::SegmentEntry;
use crate::format::segment::{
    BlockEntry, BlockSnapshot, ChunkEntry, Directory, Footer, PageEntry, SessionEntry, SiteEntry,
    SiteRoot, TagEntry, TagPageEntry, put_chunk_table, put_session_page, put_tag_page,
};
use crate::ids::{FileId, SiteHandle, VisitorTag, expiry_day_of};
use crate::limits::{BLOCK_BYTES_MAX, BLOCK_BYTES_TARGET, INDEX_UNIT_BYTES_MAX};
use crate::planted::{self, Bug};
use crate::zst::Packer;

/// Folder of the segments in a store.
pub(crate) const SEGMENT_DIR: &str = "segment";
/// Name ending of a segment.
pub(crate) const SEGMENT_SUFFIX: &str = ".rvs";
/// What is written at once.
const WRITE_BYTES: usize = 1 << 20;
/// A segment is synced after so many bytes, and not all of it at its end: syncs of journals wait behind what a disk has been given.
const SYNC_BYTES: u64 = 8 << 20;
/// Room for what is to be written: most of a write, and a block that does not compress. Only what is used of it
/// takes memory.
const OUT_BYTES: usize = WRITE_BYTES + BLOCK_BYTES_MAX + (256 << 10);
/// A compression context is kept for the next job up to this size: high levels take a hundred times as much.
const PACKER_KEPT_BYTES: usize = 8 << 20;
/// A session page ends at this size: small enough to decrypt for one session, large enough for a listing.
const PAGE_BYTES: usize = 32 << 10;
/// Snapshots of a block that its index lists: to start at one of so many is near enough, and it bounds the index.
const BLOCK_SNAPSHOTS_MAX: usize = 4096;
/// Entries of a tag page.
const TAG_PAGE_ENTRIES: usize = 4096;

/// The name within the store of the segment with this id.
pub(crate) fn segment_name(id: FileId) -> String {
    format!("{SEGMENT_DIR}/{id}{SEGMENT_SUFFIX}")
}

/// Which sessions a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentClass {
    pub(crate) shard: u16,
    pub(crate) retention_days: u32,
    pub(crate) day: u32,
}

impl SegmentClass {
    /// The first day on which its sessions are no longer kept.
    pub(crate) fn expiry_day(&self) -> u32 {
        expiry_day_of(self.day, self.retention_days)
    }
}

/// What writing a segment needs much memory for, used again for the next one.
#[derive(Default)]
pub(crate) struct Buffers {
    packer: Option<Packer>,
    /// What is to be written.
    out: Vec<u8>,
    /// The chunks of the block that is forming.
    raw: Vec<u8>,
}

impl Buffers {
    /// Gives back what is more than archiving needs at its usual level.
    pub(crate) fn shrink(&mut self) {
        self.packer.take_if(|packer| packer.bytes() > PACKER_KEPT_BYTES);
        self.raw.clear();
        self.raw.shrink_to(BLOCK_BYTES_MAX);
        self.out.clear();
        self.out.shrink_to(OUT_BYTES);
    }
}

/// Writes one segment from its beginning to its end. What is not finished is removed when dropped.
pub(crate) struct SegmentWriter<'a> {
    env: &'a Env,
    path: PathBuf,
    file: Arc<dyn File>,
    id: FileId,
    class: SegmentClass,
    packer: &'a mut Packer,
    out: &'a mut Vec<u8>,
    raw: &'a mut Vec<u8>,
    flushed: u64,
    /// How much of that has been synced.
    synced: u64,
    digest: Sha256,
    directory: Vec<SiteEntry>,
    site: SiteIndex,
    totals: Totals,
    finished: bool,
}

#[derive(Default)]
struct Totals {
    sessions: u32,
    raw_bytes: u64,
    last_event_ms: u64,
}

/// The index of the site being written.
#[derive(Default)]
struct SiteIndex {
    page: Vec<SessionEntry>,
    page_bytes: usize,
    pages: Vec<Vec<SessionEntry>>,
    tags: Vec<TagEntry>,
    visitors: Vec<TagEntry>,
    sessions: u64,
}

/// The blocks of the session being written.
pub(crate) struct SessionBlocks {
    /// What is known of the session; blocks, counts and times are filled in.
    entry: SessionEntry,
    blocks: Vec<BlockEntry>,
    chunks: Vec<ChunkEntry>,
}

impl SessionBlocks {
    pub(crate) fn new(entry: SessionEntry) -> Self {
        Self { entry, blocks: Vec::new(), chunks: Vec::new() }
    }
}

impl<'a> SegmentWriter<'a> {
    pub(crate) fn create(
        env: &'a Env,
        root: &Path,
        id: FileId,
        class: SegmentClass,
        suite: Suite,
        level: i32,
        buffers: &'a mut Buffers,
    ) -> Result<Self> {
        let path = root.join(segment_name(id));
        let doing = "making the segment";
        let Buffers { packer, out, raw } = buffers;
        let packer = match packer {
            Some(packer) => packer,
            none => none.insert(Packer::for_blocks(level).map_err(|e| Error::io(doing, &path, e))?),
        };
        let file = env.disk.open(&path, Mode::Create).map_err(|e| Error::io(doing, &path, e))?;
        // Something may be left of a segment that was given up. Reserved once, the buffers do not grow by
        // doubling, which would leave as much again behind in the heap.
        raw.clear();
        raw.reserve_exact(BLOCK_BYTES_MAX);
        out.clear();
        out.reserve_exact(OUT_BYTES);
        out.extend_from_slice(&FileKind::SEGMENT.header_in(suite, id));
        Ok(Self {
            env,
            path,
            file,
            id,
            class,
            packer,
            out,
            raw,
            flushed: 0,
            synced: 0,
            digest: Sha256::new(),
            directory: Vec::new(),
            site: SiteIndex::default(),
            totals: Totals::default(),
            finished: false,
        })
    }

    /// Adds a chunk to a session; chunks come by rising sequence number. `unpack` appends its events to the block.
    pub(crate) fn chunk(
        &mut self,
        site: SiteHandle,
        session: &mut SessionBlocks,
        cipher: &Cipher,
        chunk: ChunkEntry,
        unpack: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        debug_assert!(session.chunks.last().is_none_or(|before| before.seq < chunk.seq));
        debug_assert!(!session.chunks.is_empty() || self.raw.is_empty());
        let playable = !chunk.snapshots.is_empty() && self.raw.len() >= BLOCK_BYTES_TARGET;
        if playable || self.raw.len() + chunk.raw_bytes as usize > BLOCK_BYTES_MAX {
            self.block(site, session, cipher)?;
        }
        unpack(self.raw)?;
        session.chunks.push(chunk);
        Ok(())
    }

    fn block(
        &mut self,
        site: SiteHandle,
        session: &mut SessionBlocks,
        cipher: &Cipher,
    ) -> Result<()> {
        let Some(first) = session.chunks.first() else { return Ok(()) };
        let (first_seq, chunk_count) = (first.seq, session.chunks.len() as u32);
        let first_ms = session.chunks.iter().map(|c| c.first_ms).min().unwrap_or(0);
        let last_ms = session.chunks.iter().map(|c| c.last_ms).max().unwrap_or(0);
        let from = self.out.len();
        let offset = self.flushed + from as u64;
        self.out.resize(from + UNIT_HEADER_BYTES, 0);
        put_chunk_table(&session.chunks, self.out);
        self.packer
            .pack(self.raw, self.out)
            .map_err(|e| Error::io("compressing a block", &self.path, e))?;
        let nonce = self.nonce()?;
        let context: [&[u8]; 4] =
            [&site.0, &session.entry.tag.0, &first_seq.to_le_bytes(), &chunk_count.to_le_bytes()];
        UnitKind::BLOCK.seal(Codec::Zstd, cipher, &nonce, &context, self.out, from);
        if session.blocks.is_empty() {
            session.entry.offset = offset;
        }
        let snapshots = session
            .chunks
            .iter()
            .zip(0..)
            .flat_map(|(c, chunk)| {
                c.snapshots.iter().map(move |s| BlockSnapshot { ms: s.ms, chunk, offset: s.offset })
            })
            .take(BLOCK_SNAPSHOTS_MAX)
            .collect();
        session.blocks.push(BlockEntry {
            unit_bytes: (self.out.len() - from) as u32,
            raw_bytes: self.raw.len() as u32,
            first_seq,
            chunks: chunk_count,
            first_ms,
            last_ms,
            snapshots,
        });
        session.entry.first_ms = session.entry.first_ms.min(first_ms);
        session.entry.last_ms = session.entry.last_ms.max(last_ms);
        for chunk in session.chunks.drain(..) {
            session.entry.events += u64::from(chunk.events);
            session.entry.seqs.insert(chunk.seq);
        }
        self.raw.clear();
        self.raw.shrink_to(BLOCK_BYTES_MAX);
        self.flush(WRITE_BYTES)
    }

    /// Ends a session. Sessions of a site come by start and tag.
    pub(crate) fn end_session(
        &mut self,
        site: SiteHandle,
        mut session: SessionBlocks,
        cipher: &Cipher,
    ) -> Result<()> {
        self.block(site, &mut session, cipher)?;
        let mut entry = session.entry;
        entry.blocks = session.blocks.into();
        self.index_session(entry);
        Ok(())
    }

    /// Takes over sealed bytes of a session's blocks as they are.
    pub(crate) fn copy(&mut self, sealed: &[u8]) -> Result<()> {
        self.out.extend_from_slice(sealed);
        self.flush(WRITE_BYTES)
    }

    /// Lists a session; its blocks stand where it says.
    pub(crate) fn index_session(&mut self, entry: SessionEntry) {
        self.totals.sessions += 1;
        self.totals.raw_bytes += entry.raw_bytes();
        self.totals.last_event_ms = self.totals.last_event_ms.max(entry.last_ms);
        let index = &mut self.site;
        let page = index.pages.len() as u32;
        let prefix = |tag: &[u8; 16]| *tag.first_chunk().unwrap_or(&[0; 8]);
        index.tags.push((prefix(&entry.tag.0), page));
        if entry.visitor != VisitorTag::NONE {
            index.visitors.push((prefix(&entry.visitor.0), page));
        }
        index.sessions += 1;
        let mut encoded = Vec::new();
        entry.encode(&mut encoded);
        index.page_bytes += encoded.len();
        index.page.push(entry);
        if index.page_bytes >= PAGE_BYTES {
            index.end_page();
        }
    }

    /// Ends a site: writes its index. Sites come by handle.
    pub(crate) fn end_site(&mut self, site: SiteHandle, cipher: &Cipher) -> Result<()> {
        let mut index = std::mem::take(&mut self.site);
        index.end_page();
        let index_offset = self.offset();
        let mut root = SiteRoot { sessions: index.sessions, ..SiteRoot::default() };
        let (mut first_start_ms, mut last_end_ms) = (u64::MAX, 0);
        for (page, number) in index.pages.iter().zip(0u32..) {
            let (Some(first), Some(last)) = (page.first(), page.last()) else { continue };
            let first_event_ms = page.iter().map(|s| s.first_ms).min().unwrap_or(0);
            let last_event_ms = page.iter().map(|s| s.last_ms).max().unwrap_or(0);
            let (offset, unit_bytes) =
                self.index_unit(UnitKind::SESSION_PAGE, site, number, cipher, |out| {
                    put_session_page(page, out);
                })?;
            root.pages.push(PageEntry {
                offset,
                unit_bytes,
                first_start_ms: first.start_ms,
                last_start_ms: last.start_ms,
                first_event_ms,
                last_event_ms,
            });
            first_start_ms = first_start_ms.min(first.start_ms);
            last_end_ms = last_end_ms.max(last_event_ms);
        }
        index.visitors.sort_unstable();
        index.visitors.dedup();
        index.tags.sort_unstable();
        root.tag_pages = self.tag_pages(UnitKind::TAG_PAGE, site, cipher, &index.tags)?;
        root.visitor_pages =
            self.tag_pages(UnitKind::VISITOR_PAGE, site, cipher, &index.visitors)?;
        let root_offset = self.offset();
        let from = self.out.len();
        self.out.resize(from + UNIT_HEADER_BYTES, 0);
        root.encode(self.out);
        let nonce = self.nonce()?;
        let context: [&[u8]; 2] = [&self.id.0, &site.0];
        UnitKind::SITE_ROOT.seal(Codec::Stored, cipher, &nonce, &context, self.out, from);
        let root_bytes = (self.out.len() - from) as u32;
        self.directory.push(SiteEntry {
            site,
            index_offset,
            root_offset,
            root_bytes,
            sessions: index.sessions,
            first_start_ms,
            last_end_ms,
        });
        self.flush(WRITE_BYTES)
    }

    fn tag_pages(
        &mut self,
        kind: UnitKind,
        site: SiteHandle,
        cipher: &Cipher,
        tags: &[TagEntry],
    ) -> Result<Vec<TagPageEntry>> {
        tags.chunks(TAG_PAGE_ENTRIES)
            .zip(0u32..)
            .map(|(page, number)| {
                let first = page.first().map(|e| e.0).unwrap_or_default();
                let (offset, unit_bytes) =
                    self.index_unit(kind, site, number, cipher, |out| put_tag_page(page, out))?;
                Ok(TagPageEntry { offset, unit_bytes, first })
            })
            .collect()
    }

    fn index_unit(
        &mut self,
        kind: UnitKind,
        site: SiteHandle,
        number: u32,
        cipher: &Cipher,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(u64, u32)> {
        let offset = self.offset();
        let from = self.out.len();
        self.out.resize(from + UNIT_HEADER_BYTES, 0);
        encode(self.out);
        if self.out.len() - from + TAG_BYTES > INDEX_UNIT_BYTES_MAX {
            // A reader would refuse it; the chunks stay in their journals.
            let name = segment_name(self.id);
            return Err(Error::corrupt(&name, offset, Damage::Malformed("size of an index unit")));
        }
        let nonce = self.nonce()?;
        let context: [&[u8]; 3] = [&self.id.0, &site.0, &number.to_le_bytes()];
        kind.seal(Codec::Stored, cipher, &nonce, &context, self.out, from);
        let bytes = (self.out.len() - from) as u32;
        self.flush(WRITE_BYTES)?;
        Ok((offset, bytes))
    }

    /// Writes directory and footer, and syncs the file. Its directory is synced by whoever publishes it.
    pub(crate) fn finish(mut self, directory: &Cipher) -> Result<SegmentEntry> {
        let directory_offset = self.offset();
        let from = self.out.len();
        let first_start_ms = self.directory.iter().map(|s| s.first_start_ms).min().unwrap_or(0);
        self.out.resize(from + UNIT_HEADER_BYTES, 0);
        Directory {
            shard: self.class.shard,
            day: self.class.day,
            retention_days: self.class.retention_days,
            sites: std::mem::take(&mut self.directory),
        }
        .encode(self.out);
        let nonce = self.nonce()?;
        let context: [&[u8]; 1] = [&self.id.0];
        UnitKind::DIRECTORY.seal(Codec::Stored, directory, &nonce, &context, self.out, from);
        let directory_bytes = (self.out.len() - from) as u32;
        let footer = Footer { directory_offset, directory_bytes, id: self.id };
        self.out.extend_from_slice(&footer.encode());
        self.flush(0)?;
        self.sync()?;
        self.finished = true;
        Ok(SegmentEntry {
            id: self.id,
            shard: self.class.shard,
            day: self.class.day,
            retention_days: self.class.retention_days,
            bytes: self.flushed,
            digest: std::mem::take(&mut self.digest).finalize().into(),
            sessions: self.totals.sessions,
            first_start_ms,
            last_event_ms: self.totals.last_event_ms,
            raw_bytes: self.totals.raw_bytes,
        })
    }

    /// Where the next byte goes.
    pub(crate) fn offset(&self) -> u64 {
        self.flushed + self.out.len() as u64
    }

    fn nonce(&self) -> Result<Nonce> {
        let mut nonce = Nonce::default();
        let random = self.env.random.fill(&mut nonce);
        random.map_err(|e| Error::io("drawing a nonce", &self.path, e))?;
        Ok(nonce)
    }

    /// Writes what has gathered, once it is at least `bytes_min`.
    fn flush(&mut self, bytes_min: usize) -> Result<()> {
        if self.out.len() < bytes_min || self.out.is_empty() {
            return Ok(());
        }
        self.digest.update(&*self.out);
        self.file
            .write_at(self.out, self.flushed)
            .map_err(|e| Error::io("writing the segment", &self.path, e))?;
        self.flushed += self.out.len() as u64;
        self.out.clear();
        self.out.shrink_to(OUT_BYTES);
        if self.flushed - self.synced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        if !planted::is(Bug::SegmentUnsynced) {
            self.file.sync().map_err(|e| Error::io("syncing the segment", &self.path, e))?;
        }
        self.synced = self.flushed;
        Ok(())
    }
}

impl Drop for SegmentWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing names the file yet; if it stays, opening the store removes it.
            let _ = self.env.disk.remove(&self.path);
        }
    }
}

impl SiteIndex {
    fn end_page(&mut self) {
        if !self.page.is_empty() {
            self.pages.push(std::mem::take(&mut self.page));
            self.page_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_buffers_are_kept_and_large_ones_given_back() {
        let raw = b"{\"a\":1}\n".repeat(BLOCK_BYTES_MAX / 8);
        for (level, kept) in [(5, true), (19, false)] {
            let mut packer = Packer::for_blocks(level).unwrap();
            let mut out = Vec::new();
            packer.pack(&raw, &mut out).unwrap();
            let raw = Vec::with_capacity(4 * BLOCK_BYTES_MAX);
            let mut buffers = Buffers { packer: Some(packer), out, raw };
            buffers.shrink();
            assert_eq!(buffers.packer.is_some(), kept, "level {level}");
            assert!(buffers.raw.capacity() <= 2 * BLOCK_BYTES_MAX);
        }
    }
}
