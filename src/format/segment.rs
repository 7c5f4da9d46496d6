//! Segments: chunk tables, index pages, the directory and the footer. See *Segment* in the format document.

use super::codec::{Malformed, Put, Take};
use super::frame::{put_snapshots, take_snapshots};
use super::header::{FORMAT_VERSION, unsupported};
use super::identity::SealedIdentity;
use crate::chunk::{Kind, Snapshot};
use crate::error::{Damage, Error, Result};
use crate::ids::{FileId, SessionTag, SiteHandle, VisitorTag};
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX, SEQUENCE_MAX};
use crate::seqset::SeqSet;

pub(crate) const FOOTER_BYTES: usize = 48;
const FOOTER_MAGIC: &[u8; 8] = b"RVLTSEGE";
const _: () = assert!(FOOTER_BYTES == 8 + 4 + 2 + 2 + 16 + 4 + 4 + 8);

/// One chunk in the table of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkEntry {
    pub(crate) seq: u32,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    pub(crate) raw_bytes: u32,
    pub(crate) events: u32,
    pub(crate) snapshots: Vec<Snapshot>,
}

/// Writes the table of a block, its length first.
pub(crate) fn put_chunk_table(chunks: &[ChunkEntry], out: &mut Vec<u8>) {
    let at = out.len();
    out.put_u32(0);
    let (mut seq, mut ms) = (0, 0);
    for c in chunks {
        out.put_varint((c.seq - seq).into());
        out.put_zigzag(c.first_ms.wrapping_sub(ms).cast_signed());
        out.put_varint(c.last_ms - c.first_ms);
        out.put_varint(c.raw_bytes.into());
        out.put_varint(c.events.into());
        put_snapshots(&c.snapshots, c.first_ms, out);
        (seq, ms) = (c.seq, c.first_ms);
    }
    let bytes = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
}

/// Splits a block's plaintext into its table and its zstd frame.
pub(crate) fn take_chunk_table(text: &[u8]) -> Result<(Vec<ChunkEntry>, &[u8]), Malformed> {
    let mut take = Take::new(text);
    let bytes = take.u32("chunk table")? as usize;
    let mut table = Take::new(take.bytes(bytes, "chunk table")?);
    let mut chunks: Vec<ChunkEntry> = Vec::new();
    let (mut seq, mut ms) = (0u32, 0u64);
    while !table.is_empty() {
        let step = table.varint_u32("sequence number")?;
        seq = seq
            .checked_add(step)
            .filter(|&s| u64::from(s) < SEQUENCE_MAX && (chunks.is_empty() || step > 0))
            .ok_or(Malformed("sequence number"))?;
        ms = ms.wrapping_add_signed(table.zigzag("first event")?);
        let last_ms = ms.checked_add(table.varint("duration")?).ok_or(Malformed("duration"))?;
        let raw_bytes = table.varint_max(CHUNK_BYTES_MAX as u64, "raw bytes")? as u32;
        let events = table.varint_max(CHUNK_EVENTS_MAX as u64, "events")? as u32;
        let snapshots = take_snapshots(&mut table, ms)?;
        chunks.push(ChunkEntry { seq, first_ms: ms, last_ms, raw_bytes, events, snapshots });
    }
    if chunks.is_empty() {
        return Err(Malformed("chunk table"));
    }
    Ok((chunks, take.rest()))
}

/// One block of a session, as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    pub(crate) unit_bytes: u32,
    pub(crate) raw_bytes: u32,
    pub(crate) first_seq: u32,
    pub(crate) chunks: u32,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    pub(crate) snapshots: Vec<BlockSnapshot>,
}

/// The beginning of a playable stretch, within its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockSnapshot {
    pub(crate) ms: u64,
    pub(crate) chunk: u32,
    pub(crate) offset: u32,
}

/// What one segment holds of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionEntry {
    pub(crate) tag: SessionTag,
    pub(crate) visitor: VisitorTag,
    pub(crate) commitment: [u8; 32],
    pub(crate) attempt: u8,
    pub(crate) kind: Kind,
    pub(crate) start_ms: u64,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    pub(crate) events: u64,
    pub(crate) seqs: SeqSet,
    /// Missing only where a journal was salvaged and the frame that carried it was lost.
    pub(crate) identity: Option<SealedIdentity>,
    pub(crate) offset: u64,
    pub(crate) blocks: Box<[BlockEntry]>,
}

impl SessionEntry {
    pub(crate) fn raw_bytes(&self) -> u64 {
        self.blocks.iter().map(|b| u64::from(b.raw_bytes)).sum()
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        self.blocks.iter().map(|b| u64::from(b.unit_bytes)).sum()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let from_start = |ms: u64| ms.wrapping_sub(self.start_ms).cast_signed();
        out.put(&self.tag.0);
        out.put(&self.visitor.0);
        out.put(&self.commitment);
        out.put(&[self.attempt, self.kind as u8]);
        out.put_varint(self.start_ms);
        out.put_zigzag(from_start(self.first_ms));
        out.put_varint(self.last_ms - self.first_ms);
        out.put_varint(self.events);
        out.put_varint(self.seqs.runs().len() as u64);
        let mut end = 0;
        for &(s, e) in self.seqs.runs() {
            out.put_varint((s - end).into());
            out.put_varint((e - s).into());
            end = e;
        }
        out.put_u8(self.identity.is_some().into());
        if let Some(identity) = &self.identity {
            identity.encode(out);
        }
        out.put_varint(self.offset);
        out.put_varint(self.blocks.len() as u64);
        for b in &self.blocks {
            out.put_varint(b.unit_bytes.into());
            out.put_varint(b.raw_bytes.into());
            out.put_varint(b.first_seq.into());
            out.put_varint(b.chunks.into());
            out.put_zigzag(from_start(b.first_ms));
            out.put_varint(b.last_ms - b.first_ms);
            out.put_varint(b.snapshots.len() as u64);
            for s in &b.snapshots {
                out.put_zigzag(s.ms.wrapping_sub(b.first_ms).cast_signed());
                out.put_varint(s.chunk.into());
                out.put_varint(s.offset.into());
            }
        }
    }

    fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let tag = SessionTag(take.array("session tag")?);
        let visitor = VisitorTag(take.array("visitor tag")?);
        let commitment = take.array("key commitment")?;
        let attempt = take.u8("attempt")?;
        let kind = Kind::from_number(take.u8("kind")?).ok_or(Malformed("kind"))?;
        let start_ms = take.varint("session start")?;
        let first_ms = start_ms.wrapping_add_signed(take.zigzag("first event")?);
        let last_ms =
            first_ms.checked_add(take.varint("last event")?).ok_or(Malformed("last event"))?;
        let events = take.varint("events")?;
        let seqs = take_runs(take)?;
        let identity = match take.u8("identity")? {
            0 => None,
            1 => Some(SealedIdentity::decode(take)?),
            _ => return Err(Malformed("identity")),
        };
        let offset = take.varint("offset of blocks")?;
        let count = take.count(7, "blocks")?;
        let blocks = (0..count)
            .map(|_| take_block(take, start_ms))
            .collect::<Result<Box<[_]>, Malformed>>()?;
        Ok(Self {
            tag,
            visitor,
            commitment,
            attempt,
            kind,
            start_ms,
            first_ms,
            last_ms,
            events,
            seqs,
            identity,
            offset,
            blocks,
        })
    }
}

fn take_runs(take: &mut Take<'_>) -> Result<SeqSet, Malformed> {
    const FIELD: &str = "sequence runs";
    let count = take.count(2, FIELD)?;
    let mut end = 0u32;
    let runs = (0..count)
        .map(|_| {
            let start = end.checked_add(take.varint_u32(FIELD)?).ok_or(Malformed(FIELD))?;
            end = start.checked_add(take.varint_u32(FIELD)?).ok_or(Malformed(FIELD))?;
            Ok((start, end))
        })
        .collect::<Result<Vec<_>, Malformed>>()?;
    SeqSet::from_runs(runs).ok_or(Malformed(FIELD))
}

fn take_block(take: &mut Take<'_>, start_ms: u64) -> Result<BlockEntry, Malformed> {
    let unit_bytes = take.varint_u32("block bytes")?;
    let raw_bytes = take.varint_u32("block raw bytes")?;
    let first_seq = take.varint_max(SEQUENCE_MAX - 1, "first sequence number")? as u32;
    let chunks = take.varint_max(SEQUENCE_MAX, "chunks of a block")? as u32;
    let first_ms = start_ms.wrapping_add_signed(take.zigzag("first event of a block")?);
    let last_ms = first_ms
        .checked_add(take.varint("last event of a block")?)
        .ok_or(Malformed("last event of a block"))?;
    let count = take.count(3, "snapshots of a block")?;
    let snapshots = (0..count)
        .map(|_| {
            let ms = first_ms.wrapping_add_signed(take.zigzag("snapshot time")?);
            let chunk = take.varint_u32("chunk of a snapshot")?;
            let offset = take.varint_u32("offset of a snapshot")?;
            Ok(BlockSnapshot { ms, chunk, offset })
        })
        .collect::<Result<Vec<_>, Malformed>>()?;
    Ok(BlockEntry { unit_bytes, raw_bytes, first_seq, chunks, first_ms, last_ms, snapshots })
}

/// Writes a session page.
pub(crate) fn put_session_page(sessions: &[SessionEntry], out: &mut Vec<u8>) {
    out.put_varint(sessions.len() as u64);
    sessions.iter().for_each(|s| s.encode(out));
}

/// Reads a session page. The sessions must be in order.
pub(crate) fn take_session_page(bytes: &[u8]) -> Result<Vec<SessionEntry>, Malformed> {
    let mut take = Take::new(bytes);
    let count = take.count(80, "sessions of a page")?;
    let page =
        (0..count).map(|_| SessionEntry::decode(&mut take)).collect::<Result<Vec<_>, _>>()?;
    take.end("session page")?;
    if !page.is_sorted_by_key(|s| (s.start_ms, s.tag)) {
        return Err(Malformed("order of sessions"));
    }
    Ok(page)
}

/// The first eight bytes of a tag, and the session page of what it stands for.
pub(crate) type TagEntry = ([u8; 8], u32);

/// Writes a tag page or a visitor page.
pub(crate) fn put_tag_page(entries: &[TagEntry], out: &mut Vec<u8>) {
    out.put_varint(entries.len() as u64);
    for (prefix, page) in entries {
        out.put(prefix);
        out.put_u32(*page);
    }
}

/// Reads a tag page or a visitor page. The entries must be in order.
pub(crate) fn take_tag_page(bytes: &[u8]) -> Result<Vec<TagEntry>, Malformed> {
    let mut take = Take::new(bytes);
    let count = take.count(12, "tags of a page")?;
    let page = (0..count)
        .map(|_| Ok((take.array("tag")?, take.u32("page of a tag")?)))
        .collect::<Result<Vec<_>, Malformed>>()?;
    take.end("tag page")?;
    if page.is_sorted() { Ok(page) } else { Err(Malformed("order of tags")) }
}

/// Where a session page stands, and which times it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageEntry {
    pub(crate) offset: u64,
    pub(crate) unit_bytes: u32,
    pub(crate) first_start_ms: u64,
    pub(crate) last_start_ms: u64,
    /// The earliest event of any of its sessions; before the first start if a chunk came late.
    pub(crate) first_event_ms: u64,
    pub(crate) last_event_ms: u64,
}

/// Where a tag page or visitor page stands, and its first tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TagPageEntry {
    pub(crate) offset: u64,
    pub(crate) unit_bytes: u32,
    pub(crate) first: [u8; 8],
}

/// The root of one site's index in one segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SiteRoot {
    pub(crate) sessions: u64,
    pub(crate) pages: Vec<PageEntry>,
    pub(crate) tag_pages: Vec<TagPageEntry>,
    pub(crate) visitor_pages: Vec<TagPageEntry>,
}

impl SiteRoot {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.sessions);
        out.put_varint(self.pages.len() as u64);
        for p in &self.pages {
            out.put_varint(p.offset);
            out.put_varint(p.unit_bytes.into());
            out.put_varint(p.first_start_ms);
            out.put_varint(p.last_start_ms - p.first_start_ms);
            out.put_zigzag(p.first_event_ms.wrapping_sub(p.first_start_ms).cast_signed());
            out.put_zigzag(p.last_event_ms.wrapping_sub(p.first_start_ms).cast_signed());
        }
        for pages in [&self.tag_pages, &self.visitor_pages] {
            out.put_varint(pages.len() as u64);
            for p in pages {
                out.put_varint(p.offset);
                out.put_varint(p.unit_bytes.into());
                out.put(&p.first);
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        let sessions = take.varint("sessions of a site")?;
        let count = take.count(5, "session pages")?;
        let pages = (0..count)
            .map(|_| {
                let offset = take.varint("offset of a page")?;
                let unit_bytes = take.varint_u32("bytes of a page")?;
                let first_start_ms = take.varint("first start")?;
                let last_start_ms = first_start_ms
                    .checked_add(take.varint("last start")?)
                    .ok_or(Malformed("last start"))?;
                let first_event_ms =
                    first_start_ms.wrapping_add_signed(take.zigzag("first event")?);
                let last_event_ms = first_start_ms.wrapping_add_signed(take.zigzag("last event")?);
                Ok(PageEntry {
                    offset,
                    unit_bytes,
                    first_start_ms,
                    last_start_ms,
                    first_event_ms,
                    last_event_ms,
                })
            })
            .collect::<Result<Vec<_>, Malformed>>()?;
        let tag_pages = take_tag_pages(&mut take)?;
        let visitor_pages = take_tag_pages(&mut take)?;
        take.end("site root")?;
        if !pages.is_sorted_by_key(|p| p.first_start_ms) {
            return Err(Malformed("order of pages"));
        }
        Ok(Self { sessions, pages, tag_pages, visitor_pages })
    }
}

fn take_tag_pages(take: &mut Take<'_>) -> Result<Vec<TagPageEntry>, Malformed> {
    let count = take.count(10, "tag pages")?;
    let pages = (0..count)
        .map(|_| {
            let offset = take.varint("offset of a page")?;
            let unit_bytes = take.varint_u32("bytes of a page")?;
            Ok(TagPageEntry { offset, unit_bytes, first: take.array("first tag")? })
        })
        .collect::<Result<Vec<_>, Malformed>>()?;
    if pages.is_sorted_by_key(|p| p.first) { Ok(pages) } else { Err(Malformed("order of tags")) }
}

/// One site in the directory of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SiteEntry {
    pub(crate) site: SiteHandle,
    pub(crate) index_offset: u64,
    pub(crate) root_offset: u64,
    pub(crate) root_bytes: u32,
    pub(crate) sessions: u64,
    pub(crate) first_start_ms: u64,
    pub(crate) last_end_ms: u64,
}

/// The directory of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) shard: u16,
    pub(crate) day: u32,
    pub(crate) retention_days: u32,
    pub(crate) sites: Vec<SiteEntry>,
}

impl Directory {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(self.shard);
        out.put_u32(self.day);
        out.put_u32(self.retention_days);
        out.put_varint(self.sites.len() as u64);
        for s in &self.sites {
            out.put(&s.site.0);
            out.put_varint(s.index_offset);
            out.put_varint(s.root_offset);
            out.put_varint(s.root_bytes.into());
            out.put_varint(s.sessions);
            out.put_varint(s.first_start_ms);
            out.put_zigzag(s.last_end_ms.wrapping_sub(s.first_start_ms).cast_signed());
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        let shard = take.u16("shard")?;
        let day = take.u32("start day")?;
        let retention_days = take.u32("retention class")?;
        let count = take.count(22, "sites")?;
        let sites = (0..count)
            .map(|_| {
                let site = SiteHandle(take.array("site handle")?);
                let index_offset = take.varint("offset of an index")?;
                let root_offset = take.varint("offset of a root")?;
                let root_bytes = take.varint_u32("bytes of a root")?;
                let sessions = take.varint("sessions of a site")?;
                let first_start_ms = take.varint("first start")?;
                let last_end_ms = first_start_ms.wrapping_add_signed(take.zigzag("last end")?);
                Ok(SiteEntry {
                    site,
                    index_offset,
                    root_offset,
                    root_bytes,
                    sessions,
                    first_start_ms,
                    last_end_ms,
                })
            })
            .collect::<Result<Vec<_>, Malformed>>()?;
        take.end("directory")?;
        if !sites.is_sorted_by_key(|s| s.site) {
            return Err(Malformed("order of sites"));
        }
        Ok(Self { shard, day, retention_days, sites })
    }

    pub(crate) fn site(&self, site: SiteHandle) -> Option<&SiteEntry> {
        self.sites.binary_search_by_key(&site, |s| s.site).ok().map(|i| &self.sites[i])
    }
}

/// The last bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) directory_offset: u64,
    pub(crate) directory_bytes: u32,
    pub(crate) id: FileId,
}

impl Footer {
    pub(crate) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut f = [0; FOOTER_BYTES];
        f[..8].copy_from_slice(&self.directory_offset.to_le_bytes());
        f[8..12].copy_from_slice(&self.directory_bytes.to_le_bytes());
        f[12..14].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        f[16..32].copy_from_slice(&self.id.0);
        let crc = crc32fast::hash(&f[..32]);
        f[32..36].copy_from_slice(&crc.to_le_bytes());
        f[40..].copy_from_slice(FOOTER_MAGIC);
        f
    }

    /// Reads the footer at the end of a file of `file_bytes` bytes.
    pub(crate) fn parse(file: &str, file_bytes: u64, f: &[u8; FOOTER_BYTES]) -> Result<Self> {
        let offset = file_bytes - FOOTER_BYTES as u64;
        let corrupt = |damage| Error::corrupt(file, offset, damage);
        let mut take = Take::new(f);
        let parsed = (|| {
            let directory_offset = take.u64("directory offset")?;
            let directory_bytes = take.u32("directory bytes")?;
            let version = take.u16("version")?;
            let zero = take.u16("zero")?;
            let id = FileId(take.array("file id")?);
            let crc = take.u32("checksum")?;
            let zero = zero == 0 && take.u32("zero")? == 0;
            Ok::<_, Malformed>((directory_offset, directory_bytes, version, id, crc, zero))
        })();
        let (directory_offset, directory_bytes, version, id, crc, zero) =
            parsed.map_err(|m| corrupt(Damage::Malformed(m.0)))?;
        if take.rest() != FOOTER_MAGIC {
            return Err(corrupt(Damage::Truncated));
        }
        if crc32fast::hash(&f[..32]) != crc || !zero {
            return Err(corrupt(Damage::Rot));
        }
        if version != FORMAT_VERSION {
            return Err(unsupported(file, "format version", version.into()));
        }
        if directory_offset.checked_add(directory_bytes.into()) != Some(offset) {
            return Err(corrupt(Damage::Malformed("directory offset")));
        }
        Ok(Self { directory_offset, directory_bytes, id })
    }
}
