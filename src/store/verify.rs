//! Verifying a store: every segment's digest, every index, every block; every frame of every journal.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::error::{Damage, Error, Result};
use crate::format::header::{FILE_HEADER_BYTES, FileKind};
use crate::ids::{FileId, VisitorTag};
use crate::journal::scan::{Recovery, scan};
use crate::segment::writer::{SEGMENT_DIR, segment_name};

use super::find::{ArchivedPart, Parts, visible};
use super::recover::Loaded;
use super::state::{SegmentInfo, Shard};
use super::{END_MARK_BYTES, Replay, Site, Store};

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Depth {
    /// Files are there and have the digests that the manifest names: no key of any site is used.
    Digests,
    /// Also every index is opened, and every block and frame decrypted, decompressed and compared with its index.
    #[default]
    Content,
}

/// What a verification looked at and found.
#[must_use = "it tells of the damage that was met"]
#[derive(Debug, Default)]
pub struct Verification {
    /// Segments looked at.
    pub segments: u64,
    /// Journals looked at.
    pub journals: u64,
    /// Session parts whose content was read.
    pub sessions: u64,
    /// Chunks read.
    pub chunks: u64,
    /// NDJSON bytes read.
    pub raw_bytes: u64,
    /// Bytes of files whose digest was computed.
    pub digested_bytes: u64,
    /// Sessions that cannot be read because they were erased or have expired.
    pub unreadable: u64,
    /// Damage, each as the error that reading there would meet.
    pub damage: Vec<Error>,
}

/// Bytes of a file that are digested at a time.
const DIGEST_BYTES: usize = 1 << 20;

impl Store {
    /// Verifies the store. `progress` is told the bytes of files done and of all.
    ///
    /// # Errors
    /// Only errors that make going on senseless; damage is listed in what is returned.
    pub fn verify(&self, depth: Depth, mut progress: impl FnMut(u64, u64)) -> Result<Verification> {
        let mut found = Verification::default();
        let segments = self.inner.catalog.snapshot();
        let all: Vec<Arc<SegmentInfo>> =
            segments.iter().flat_map(|days| days.values().flatten()).cloned().collect();
        let total: u64 = all.iter().map(|s| s.entry.bytes).sum();
        let mut done = 0;
        for segment in &all {
            self.verify_listed(segment, depth, &mut found)?;
            done += segment.entry.bytes;
            progress(done, total);
        }
        self.verify_journals(depth, &mut found)?;
        Ok(found)
    }

    /// Verifies one segment of the catalog.
    pub(super) fn verify_listed(
        &self,
        segment: &Arc<SegmentInfo>,
        depth: Depth,
        found: &mut Verification,
    ) -> Result<()> {
        found.segments += 1;
        if matches!(self.inner.directory_cipher(&segment.entry), Err(e) if e.is_gone()) {
            // It is waiting to be dropped, or is being dropped now.
            found.unreadable += u64::from(segment.entry.sessions);
            return Ok(());
        }
        let before = found.damage.len();
        let outcome = match self.digest(segment, found) {
            Ok(true) if depth == Depth::Content => self.verify_segment(segment, found),
            outcome => outcome.map(drop),
        };
        found.note(outcome)?;
        if found.damage[before..].iter().any(is_missing)
            && (self.inner.may_be_missing(&segment.entry)
                || self.inner.was_replaced(segment).unwrap_or(false))
        {
            // Dropped, or written once more, since the catalog was read, be it between two reads of it.
            let of_segment = found.damage.split_off(before);
            found.damage.extend(of_segment.into_iter().filter(|e| !is_missing(e)));
        }
        Ok(())
    }

    /// Whether a segment has the digest that the manifest names. If not, the damage is listed, as exactly as it
    /// can be found.
    fn digest(&self, segment: &Arc<SegmentInfo>, found: &mut Verification) -> Result<bool> {
        let entry = &segment.entry;
        let name = segment_name(entry.id);
        let mut digest = Sha256::new();
        let mut buf = Vec::new();
        let mut at = 0;
        while at < entry.bytes {
            let bytes = (entry.bytes - at).min(DIGEST_BYTES as u64);
            self.inner.segments.read(entry, at, bytes as usize, &mut buf)?;
            if at == 0 {
                let head = buf.get(..FILE_HEADER_BYTES).unwrap_or(&buf);
                if FileKind::SEGMENT.check(&name, head)? != entry.id {
                    return Err(Error::corrupt(&name, 0, Damage::Swapped));
                }
            }
            digest.update(&buf);
            at += bytes;
        }
        found.digested_bytes += entry.bytes;
        if <[u8; 32]>::from(digest.finalize()) == entry.digest {
            return Ok(true);
        }
        // Where exactly, the content may tell; that it is damaged is certain.
        let mut exact = Verification::default();
        let outcome = self.verify_segment(segment, &mut exact);
        exact.note(outcome)?;
        if exact.is_sound() {
            return Err(Error::corrupt(&name, 0, Damage::Rot));
        }
        found.damage.append(&mut exact.damage);
        Ok(false)
    }

    fn verify_segment(&self, segment: &Arc<SegmentInfo>, found: &mut Verification) -> Result<()> {
        let cipher = self.inner.directory_cipher(&segment.entry)?;
        let directory = self.inner.segments.directory(&segment.entry, &cipher)?;
        for entry in &directory.sites {
            let Some(site) = self.inner.keyring.site_by_handle(&entry.site) else {
                found.unreadable += entry.sessions;
                continue;
            };
            let site = self.site_of(site);
            site.verify_in(segment, found).map_err(|e| site.name(e))?;
        }
        Ok(())
    }

    pub(super) fn verify_journals(&self, depth: Depth, found: &mut Verification) -> Result<()> {
        self.verify_unreadable(found)?;
        for shard in &self.inner.shards {
            let (journals, sessions) = {
                let state = shard.state.lock();
                let mut journals = state.full.clone();
                journals.extend(state.log.journal().cloned());
                let sessions: Vec<_> = match depth {
                    Depth::Digests => Vec::new(),
                    Depth::Content => state
                        .table
                        .iter()
                        .filter_map(|(site, live)| Some((site, visible(live)?)))
                        .collect(),
                };
                (journals, sessions)
            };
            for journal in journals {
                found.journals += 1;
                let mark = if journal.is_ended() { END_MARK_BYTES } else { 0 };
                let cut = u64::from(journal.durable() + mark);
                let scanned = scan(&journal, cut, Recovery::Strict, |_, _, _| Ok(()));
                let outcome = scanned.and_then(|s| {
                    if s.end == journal.durable() && s.ended == journal.is_ended() {
                        return Ok(());
                    }
                    Err(Error::corrupt(&journal.name, s.end.into(), Damage::BeforeValidFrames))
                });
                if outcome.is_err() && self.inner.read_only && self.is_retired(journal.id)? {
                    continue;
                }
                found.note(outcome)?;
            }
            for (handle, live) in sessions {
                let Some(site) = self.inner.keyring.site_by_handle(&handle) else {
                    found.unreadable += 1;
                    continue;
                };
                let site = self.site_of(site);
                let Some(parts) = Parts::new(Some(live), Vec::new()) else { continue };
                let outcome = site.verify_parts(&parts, found);
                found.note(outcome.map_err(|e| site.name(e)))?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// Lists the journals that salvage passed over whole.
    fn verify_unreadable(&self, found: &mut Verification) -> Result<()> {
        let passed = |shard: &Shard| shard.state.lock().unreadable.clone();
        let passed: Vec<FileId> = self.inner.shards.iter().flat_map(passed).collect();
        let manifest = self.inner.manifest.current();
        for entry in manifest.journals.iter().filter(|j| passed.contains(&j.id)) {
            found.journals += 1;
            let read = self.inner.load_sound(entry, &manifest, &mut Loaded::default());
            if read.is_err() && self.inner.read_only && self.is_retired(entry.id)? {
                continue;
            }
            found.note(read.map(drop))?;
        }
        Ok(())
    }

    /// Whether the writer of a store that is only read here has archived a journal meanwhile.
    fn is_retired(&self, id: FileId) -> Result<bool> {
        Ok(self.inner.manifest.refresh()?.journals.iter().all(|j| j.id != id))
    }
}

impl Site {
    /// Reads everything that a segment holds of the site.
    fn verify_in(&self, segment: &Arc<SegmentInfo>, found: &mut Verification) -> Result<()> {
        let segments = &self.inner.segments;
        let keys = &self.segment_keys(&segment.entry)?;
        let Some(index) = segments.index(&segment.entry, keys)? else { return Ok(()) };
        for number in 0..index.root.pages.len() {
            let page = segments.page(&segment.entry, keys, &index, number)?;
            for at in 0..page.len() {
                let entry = &page[at];
                let by_tag = segments.session(&segment.entry, keys, entry.start_ms, entry.tag)?;
                let by_visitor = entry.visitor == VisitorTag::NONE
                    || segments
                        .of_visitor(&segment.entry, keys, entry.visitor)?
                        .iter()
                        .any(|f| f.entry().tag == entry.tag);
                if by_tag.is_none() || !by_visitor {
                    let name = segment_name(segment.entry.id);
                    let missing = Damage::Malformed("tag page or visitor page");
                    return Err(Error::corrupt(&name, entry.offset, missing));
                }
                let found_entry = crate::segment::reader::Found { page: Arc::clone(&page), at };
                let part = ArchivedPart { segment: Arc::clone(segment), found: found_entry };
                if let Some(parts) = Parts::new(None, vec![part]) {
                    let outcome = self.verify_parts(&parts, found);
                    found.note(outcome.map_err(|e| self.name(e)))?;
                }
            }
        }
        Ok(())
    }

    /// Reads a session and compares it with what its index says. It may be erased meanwhile.
    fn verify_parts(&self, parts: &Parts, found: &mut Verification) -> Result<()> {
        match self.read_parts(parts, found) {
            Err(e) if e.is_gone() => {
                found.unreadable += 1;
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn read_parts(&self, parts: &Parts, found: &mut Verification) -> Result<()> {
        let info = self.describe(parts)?;
        let mut replay = Replay::new(self, &info.id, parts, (0, 0))?;
        let (mut chunks, mut raw_bytes) = (0u32, 0u64);
        while let Some(chunk) = replay.next_chunk()? {
            chunks += 1;
            raw_bytes += chunk.events.len() as u64;
        }
        found.sessions += 1;
        found.chunks += u64::from(chunks);
        found.raw_bytes += raw_bytes;
        if (chunks, raw_bytes) == (info.chunks, info.raw_bytes) {
            return Ok(());
        }
        Err(Error::corrupt(SEGMENT_DIR, 0, Damage::Malformed("counts of a session")))
    }
}

/// Whether an error says that a file is not there.
pub(super) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Corrupt(c) if c.kind == Damage::Missing)
}

impl Verification {
    /// Lists damage, a file that the medium does not give back among it; any other error ends the verification. What is erased
    /// meanwhile is none.
    fn note(&mut self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(e) if e.is_damage() => {
                self.damage.push(e);
                Ok(())
            }
            Err(e) if e.is_gone() => Ok(()),
            outcome => outcome,
        }
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}
