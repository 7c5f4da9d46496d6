//! Reading segments: one tail read opens one, one more read finds a session, one more replays it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::Cache;
use crate::crypto::Cipher;
use crate::env::{Env, File, Mapping, Mode, read_exact_at};
use crate::error::{Damage, Error, Result};
use crate::format::codec::Malformed;
use crate::format::header::{Unit, UnitKind};
use crate::format::manifest::SegmentEntry;
use crate::format::segment::{
    Directory, FOOTER_BYTES, Footer, SessionEntry, SiteEntry, SiteRoot, TagEntry, TagPageEntry,
    take_session_page, take_tag_page,
};
use crate::ids::{FileId, SessionTag, SiteHandle, VisitorTag};
use crate::limits::INDEX_UNIT_BYTES_MAX;
use crate::sync::Mutex;

use super::writer::segment_name;

/// What the one read at the end of a segment fetches: footer, directory, and often the last index.
const TAIL_BYTES: u64 = 64 << 10;
/// A site's index up to this size is fetched whole, in one read.
const INDEX_READ_BYTES_MAX: u64 = 512 << 10;
/// Open segment files that are kept; each costs a file descriptor.
const OPEN_FILES_MAX: usize = 256;

/// The segments of a store, opened as they are needed.
pub(crate) struct Segments {
    env: Env,
    root: PathBuf,
    memory_maps: bool,
    cache: Mutex<Cache<(FileId, u64), Cached>>,
    files: Mutex<Cache<FileId, Source>>,
}

#[derive(Clone)]
enum Cached {
    Directory(Arc<Directory>),
    Index(Arc<SiteIndex>),
    Page(Arc<Vec<SessionEntry>>),
    Tags(Arc<Vec<TagEntry>>),
}

/// The root of a site's index, and the sealed pages before it where they are few.
pub(crate) struct SiteIndex {
    pub(crate) root: SiteRoot,
    offset: u64,
    pages: Box<[u8]>,
}

/// Where a segment's bytes come from.
#[derive(Clone)]
enum Source {
    File(Arc<dyn File>),
    Map(Arc<Mapping>),
}

/// The keys with which the sessions of one site are found in a segment. Whoever has them knows that the segment is still
/// kept: what is cached of it is shown to nobody else.
#[derive(Clone)]
pub(crate) struct SegmentKeys {
    pub(crate) site: SiteHandle,
    pub(crate) directory: Arc<Cipher>,
    pub(crate) index: Arc<Cipher>,
}

/// A session in a page of an index.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) page: Arc<Vec<SessionEntry>>,
    pub(crate) at: usize,
}

impl Found {
    pub(crate) fn entry(&self) -> &SessionEntry {
        &self.page[self.at]
    }
}

impl Segments {
    pub(crate) fn new(env: Env, root: &Path, cache_bytes: usize, memory_maps: bool) -> Self {
        Self {
            env,
            root: root.to_owned(),
            memory_maps,
            cache: Mutex::new(Cache::new(cache_bytes)),
            files: Mutex::new(Cache::new(OPEN_FILES_MAX)),
        }
    }

    /// How the cache of indexes does.
    pub(crate) fn cached(&self) -> crate::cache::Figures {
        self.cache.lock().figures()
    }

    /// Gives up what is kept of a segment, its open file among it.
    pub(crate) fn forget(&self, id: FileId) {
        self.cache.lock().remove_if(|(of, _)| *of == id);
        self.files.lock().remove_if(|of| *of == id);
    }

    fn source(&self, segment: &SegmentEntry) -> Result<Source> {
        if let Some(source) = self.files.lock().get(&segment.id) {
            return Ok(source);
        }
        let name = segment_name(segment.id);
        let path = self.root.join(&name);
        let open = || -> io::Result<Source> {
            if self.memory_maps
                && let Some(map) = self.env.disk.map(&path)?
            {
                return Ok(Source::Map(Arc::new(map)));
            }
            self.env.disk.open(&path, Mode::Read).map(Source::File)
        };
        let source = match open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::corrupt(&name, 0, Damage::Missing));
            }
            source => source.map_err(|e| Error::io("opening the segment", &path, e))?,
        };
        let bytes = match &source {
            Source::Map(map) => map.len() as u64,
            Source::File(file) => {
                file.len().map_err(|e| Error::io("reading the segment", &path, e))?
            }
        };
        if bytes != segment.bytes {
            let damage = if bytes < segment.bytes { Damage::Truncated } else { Damage::Swapped };
            return Err(Error::corrupt(&name, bytes, damage));
        }
        self.files.lock().put(segment.id, source.clone(), 1);
        Ok(source)
    }

    /// Reads `bytes` bytes at `offset` with one read, into the beginning of `buf`.
    pub(crate) fn read(
        &self,
        segment: &SegmentEntry,
        offset: u64,
        bytes: usize,
        buf: &mut Vec<u8>,
    ) -> Result<()> {
        let name = segment_name(segment.id);
        let end = offset.checked_add(bytes as u64).filter(|&end| end <= segment.bytes);
        if end.is_none() {
            return Err(Error::corrupt(&name, offset, Damage::Malformed("offset")));
        }
        buf.clear();
        match self.source(segment)? {
            Source::Map(map) => {
                // The file is as long as the manifest says; the map cannot be shorter than that.
                buf.extend_from_slice(&map[offset as usize..offset as usize + bytes]);
                Ok(())
            }
            Source::File(file) => {
                buf.resize(bytes, 0);
                match read_exact_at(&*file, buf, offset) {
                    Ok(()) => Ok(()),
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                        Err(Error::corrupt(&name, offset, Damage::Truncated))
                    }
                    Err(e) => Err(Error::io("reading the segment", self.root.join(name), e)),
                }
            }
        }
    }

    /// The directory of a segment: one read at its end, and more where it is long or a sector before it is bad.
    pub(crate) fn directory(
        &self,
        segment: &SegmentEntry,
        cipher: &Cipher,
    ) -> Result<Arc<Directory>> {
        let key = (segment.id, u64::MAX);
        if let Some(Cached::Directory(directory)) = self.cache.lock().get(&key) {
            return Ok(directory);
        }
        let name = segment_name(segment.id);
        let damaged = |offset, damage| Error::corrupt(&name, offset, damage);
        let mut tail = Vec::new();
        let mut tail_from = segment.bytes.saturating_sub(TAIL_BYTES);
        let read = |from, tail: &mut Vec<u8>| {
            self.read(segment, from, (segment.bytes - from) as usize, tail)
        };
        match read(tail_from, &mut tail) {
            // A bad sector of what stands before the directory is no damage of that.
            Err(e) if e.is_damage() => {
                tail_from = segment.bytes.saturating_sub(FOOTER_BYTES as u64);
                read(tail_from, &mut tail)?;
            }
            read => read?,
        }
        let footer = tail.last_chunk::<FOOTER_BYTES>();
        let footer = footer.ok_or_else(|| damaged(0, Damage::Truncated))?;
        let footer = Footer::parse(&name, segment.bytes, footer)?;
        if footer.id != segment.id {
            return Err(damaged(tail_from, Damage::Swapped));
        }
        let at = footer.directory_offset;
        let bytes = unit_bytes(&name, at, footer.directory_bytes)?;
        let mut unit = if at >= tail_from {
            let from = (at - tail_from) as usize;
            tail.split_off(from).into_iter().take(bytes).collect()
        } else {
            let mut unit = Vec::new();
            self.read(segment, at, bytes, &mut unit)?;
            unit
        };
        let text = Unit::check(UnitKind::DIRECTORY, &name, at, &mut unit)?.open(
            cipher,
            &[&segment.id.0],
            &name,
            at,
        )?;
        let directory = Directory::decode(text).map_err(|m| damaged(at, Damage::Malformed(m.0)))?;
        if (directory.shard, directory.day, directory.retention_days)
            != (segment.shard, segment.day, segment.retention_days)
        {
            return Err(damaged(at, Damage::Swapped));
        }
        let directory = Arc::new(directory);
        let weight = 64 + directory.sites.len() * size_of::<SiteEntry>();
        self.cache.lock().put(key, Cached::Directory(Arc::clone(&directory)), weight);
        Ok(directory)
    }

    /// The index of a site, if the segment holds anything of it.
    pub(crate) fn index(
        &self,
        segment: &SegmentEntry,
        keys: &SegmentKeys,
    ) -> Result<Option<Arc<SiteIndex>>> {
        let directory = self.directory(segment, &keys.directory)?;
        let Some(site) = directory.site(keys.site) else { return Ok(None) };
        let name = segment_name(segment.id);
        let at = site.root_offset;
        let cache_key = (segment.id, at);
        if let Some(Cached::Index(index)) = self.cache.lock().get(&cache_key) {
            return Ok(Some(index));
        }
        let root_bytes = unit_bytes(&name, at, site.root_bytes)?;
        let pages_bytes = at
            .checked_sub(site.index_offset)
            .ok_or_else(|| Error::corrupt(&name, at, Damage::Malformed("offset of an index")))?;
        let from = if pages_bytes <= INDEX_READ_BYTES_MAX { site.index_offset } else { at };
        let mut bytes = Vec::new();
        self.read(segment, from, (at - from) as usize + root_bytes, &mut bytes)?;
        let mut unit = bytes.split_off((at - from) as usize);
        let context: [&[u8]; 2] = [&segment.id.0, &keys.site.0];
        let text = Unit::check(UnitKind::SITE_ROOT, &name, at, &mut unit)?.open(
            &keys.index,
            &context,
            &name,
            at,
        )?;
        let root = SiteRoot::decode(text)
            .map_err(|m| Error::corrupt(&name, at, Damage::Malformed(m.0)))?;
        let weight = bytes.len() + root_bytes * 2 + 128;
        let index = Arc::new(SiteIndex { root, offset: from, pages: bytes.into() });
        self.cache.lock().put(cache_key, Cached::Index(Arc::clone(&index)), weight);
        Ok(Some(index))
    }

    fn index_unit<T>(
        &self,
        segment: &SegmentEntry,
        keys: &SegmentKeys,
        index: &SiteIndex,
        unit: IndexUnit,
        decode: impl Fn(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T> {
        let name = segment_name(segment.id);
        let at = unit.offset;
        let bytes = unit_bytes(&name, at, unit.bytes)?;
        let inside = at
            .checked_sub(index.offset)
            .and_then(|from| index.pages.get(from as usize..from as usize + bytes));
        let context: [&[u8]; 3] = [&segment.id.0, &keys.site.0, &unit.number.to_le_bytes()];
        let open = |sealed: &mut [u8]| {
            let unit = Unit::check(unit.kind, &name, at, sealed)?;
            let text = unit.open(&keys.index, &context, &name, at)?;
            decode(text).map_err(|m| Error::corrupt(&name, at, Damage::Malformed(m.0)))
        };
        if let Some(inside) = inside {
            match open(&mut inside.to_vec()) {
                // It was read along with the root, and not looked at. One reading that went wrong must not last as long as the cache.
                Err(Error::Corrupt(_)) => self.forget(segment.id),
                outcome => return outcome,
            }
        }
        let mut sealed = Vec::new();
        self.read(segment, at, bytes, &mut sealed)?;
        open(&mut sealed)
    }

    /// One session page of a site.
    pub(crate) fn page(
        &self,
        segment: &SegmentEntry,
        keys: &SegmentKeys,
        index: &SiteIndex,
        number: usize,
    ) -> Result<Arc<Vec<SessionEntry>>> {
        let entry = index.root.pages.get(number).ok_or_else(|| {
            Error::corrupt(&segment_name(segment.id), 0, Damage::Malformed("page number"))
        })?;
        let cache_key = (segment.id, entry.offset);
        if let Some(Cached::Page(page)) = self.cache.lock().get(&cache_key) {
            return Ok(page);
        }
        let unit = IndexUnit {
            kind: UnitKind::SESSION_PAGE,
            number: number as u32,
            offset: entry.offset,
            bytes: entry.unit_bytes,
        };
        let page = Arc::new(self.index_unit(segment, keys, index, unit, take_session_page)?);
        let blocks: usize = page.iter().map(|s| s.blocks.len()).sum();
        let weight = page.len() * (size_of::<SessionEntry>() + 128) + blocks * 64;
        self.cache.lock().put(cache_key, Cached::Page(Arc::clone(&page)), weight);
        Ok(page)
    }

    fn tag_page(
        &self,
        segment: &SegmentEntry,
        keys: &SegmentKeys,
        index: &SiteIndex,
        kind: UnitKind,
        number: usize,
        entry: &TagPageEntry,
    ) -> Result<Arc<Vec<TagEntry>>> {
        let cache_key = (segment.id, entry.offset);
        if let Some(Cached::Tags(page)) = self.cache.lock().get(&cache_key) {
            return Ok(page);
        }
        let unit = IndexUnit {
            kind,
            number: number as u32,
            offset: entry.offset,
            bytes: entry.unit_bytes,
        };
        let page = Arc::new(self.index_unit(segment, keys, index, unit, take_tag_page)?);
        let weight = page.len() * size_of::<TagEntry>() + 64;
        self.cache.lock().put(cache_key, Cached::Tags(Arc::clone(&page)), weight);
        Ok(page)
    }

    /// The session pages that hold a tag beginning with `prefix`.
    fn pages_with(
        &self,
        segment: &SegmentEntry,
        keys: &SegmentKeys,
        index: &SiteIndex,
        kind: UnitKind,
        prefix: [u8; 8],
    ) -> Result<Vec<u32>> {
        let pages = match kind {
            UnitKind::TAG_PAGE => &index.root.tag_pages,
            _ => &index.root.visitor_pages,
        };
        // The entries of one tag may go over from one page to the next.
        let from = pages.partition_point(|p| p.first < prefix).saturating_sub(1);
        let mut found = Vec::new();
        for (number, entry) in pages.iter().enumerate().skip(from) {
            if entry.first > prefix {
                break;
            }
            let page = self.tag_page(segment, keys, index, kind, number, entry)?;
            let at = page.partition_point(|e| e.0 < prefix);
            found.extend(page[at..].iter().take_while(|e| e.0 == prefix).map(|e| e.1));
        }
        Ok(found)
    }

    /// The sessions of a site at a place of its tree, oldest first.
    pub(crate) fn at_place(
        &self,
        segment: &SegmentEntry,
        keys: &SegmentKeys,
        place: u64,
    ) -> Result<Vec<Found>> {
        let matches = |s: &SessionEntry| s.tag.place() == place;
        self.lookup(segment, keys, UnitKind::TAG_PAGE, place.to_be_bytes(), matches)
    }

    /// The sessions of a visitor, oldest first.
    pub(crate) fn of_visitor(
        &self,
        segment: &SegmentEntry,
        keys: &SegmentKeys,
        visitor: VisitorTag,
    ) -> Result<Vec<Found>> {
        let prefix = *visitor.0.first_chunk().unwrap_or(&[0; 8]);
        self.lookup(segment, keys, UnitKind::VISITOR_PAGE, prefix, |s| s.visitor == visitor)
    }

    fn lookup(
        &self,
        segment: &SegmentEntry,
        keys: &SegmentKeys,
        kind: UnitKind,
        prefix: [u8; 8],
        matches: impl Fn(&SessionEntry) -> bool,
    ) -> Result<Vec<Found>> {
        let Some(index) = self.index(segment, keys)? else { return Ok(Vec::new()) };
        let mut numbers = self.pages_with(segment, keys, &index, kind, prefix)?;
        numbers.dedup();
        let mut found = Vec::new();
        for number in numbers {
            let page = self.page(segment, keys, &index, number as usize)?;
            let hits: Vec<usize> = (0..page.len()).filter(|&i| matches(&page[i])).collect();
            found.extend(hits.into_iter().map(|at| Found { page: Arc::clone(&page), at }));
        }
        Ok(found)
    }

    /// What a segment holds of one session.
    pub(crate) fn session(
        &self,
        segment: &SegmentEntry,
        keys: &SegmentKeys,
        start_ms: u64,
        tag: SessionTag,
    ) -> Result<Option<Found>> {
        let found = self.at_place(segment, keys, tag.place())?;
        Ok(found.into_iter().find(|f| f.entry().tag == tag && f.entry().start_ms == start_ms))
    }
}

struct IndexUnit {
    kind: UnitKind,
    number: u32,
    offset: u64,
    bytes: u32,
}

/// The size of an index unit, if it is one that the engine writes.
fn unit_bytes(name: &str, offset: u64, bytes: u32) -> Result<usize> {
    if bytes as usize <= INDEX_UNIT_BYTES_MAX {
        Ok(bytes as usize)
    } else {
        Err(Error::corrupt(name, offset, Damage::Malformed("size of an index unit")))
    }
}
