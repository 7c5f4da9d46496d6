//! Giving back the space of erased sessions: a segment of which much was erased is written once more without them. The sealed
//! bytes of the others are copied as they are; no block is opened.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::error::{Damage, Error, Result};
use crate::format::header::FILE_HEADER_BYTES;
use crate::format::manifest::SegmentEntry;
use crate::format::segment::{Directory, SessionEntry};
use crate::ids::SiteHandle;
use crate::keyring::Site;
use crate::limits::DAY_MS;
use crate::segment::reader::SegmentKeys;
use crate::segment::writer::segment_name;

use super::Store;
use super::replay::READ_BYTES_MAX;
use super::state::{Inner, SegmentInfo};

/// The share of a segment's bytes that must have been erased before it is written once more, unless told otherwise.
pub const RECLAIM_SHARE: f64 = 0.5;

/// When a segment is tried again that the medium did not give back: a day later. Nothing waits for its space, and each attempt reads all that
/// there is of a shard's index.
const TRY_AGAIN_NS: u64 = DAY_MS * 1_000_000;

/// What reclaiming gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reclaimed {
    /// Segments that were to be looked at.
    pub looked_at: usize,
    /// Segments that were written once more, or dropped because nothing of them was left.
    pub segments: usize,
    /// Bytes given back.
    pub bytes: u64,
}

/// What of a segment can still be read.
struct Share {
    kept_bytes: u64,
    gone_bytes: u64,
}

impl Store {
    /// Gives back the space of erased sessions, in segments of which at least this share was erased. An open store does so by itself
    /// where it erases, from [`crate::Options::reclaim_share`] on; this looks at every segment but the copies of held sessions.
    ///
    /// # Errors
    /// Errors of the disk. Segments that are damaged are left alone; where the medium does not give one back, that is the answer when the others are
    /// done.
    pub fn reclaim(&self, share: f64) -> Result<Reclaimed> {
        let inner = &*self.inner;
        inner.check_writable()?;
        let all = inner.catalog.snapshot();
        let all = all.iter().flat_map(|days| days.values().flatten());
        let segments: Vec<_> = all.filter(|s| !s.entry.is_hold()).cloned().collect();
        let (reclaimed, unread) = inner.reclaim(&segments, share)?;
        unread.map_or(Ok(reclaimed), Err)
    }
}

impl Inner {
    /// Reclaims what was erased since the last round. What a medium does not give back is tried again the next day: it is erased already,
    /// and maintenance must not fail for it until its segment expires.
    pub(super) fn reclaim_erased(&self) -> Result<()> {
        let now_ns = self.env.clock.monotonic_ns();
        let due = |_: &SiteHandle, at: &mut u64| *at <= now_ns;
        let sites: Vec<_> = self.erased_at.lock().extract_if(due).map(|(site, _)| site).collect();
        if sites.is_empty() {
            return Ok(());
        }
        let all = self.catalog.snapshot();
        let mut shards: Vec<u16> = sites.iter().map(|site| self.shard(*site).index).collect();
        shards.sort_unstable();
        shards.dedup();
        let theirs = shards.iter().filter_map(|shard| all.get(usize::from(*shard)));
        let theirs = theirs.flat_map(|days| days.values().flatten());
        let segments: Vec<_> = theirs.filter(|s| !s.entry.is_hold()).cloned().collect();
        let (again_ns, outcome) = match self.reclaim(&segments, self.options.reclaim_share) {
            Ok((_, None)) => return Ok(()),
            Ok((_, Some(_))) => (now_ns.saturating_add(TRY_AGAIN_NS), Ok(())),
            Err(e) => (now_ns, Err(e)),
        };
        let mut erased_at = self.erased_at.lock();
        for site in sites {
            // Where something was erased meanwhile, it is looked at in the next round.
            erased_at.entry(site).or_insert(again_ns);
        }
        outcome
    }

    /// Also why the first segment could not be looked at of which the medium gave no answer.
    pub(super) fn reclaim(
        &self,
        segments: &[Arc<SegmentInfo>],
        share: f64,
    ) -> Result<(Reclaimed, Option<Error>)> {
        let mut reclaimed = Reclaimed { looked_at: segments.len(), ..Reclaimed::default() };
        let mut unread = None;
        for segment in segments {
            // Retention drops segments, too: one after the other.
            let _expiring = self.expiring.lock();
            if self.closed.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
            // Who reclaimed before, or retention, may have taken it meanwhile; its file may still be open here.
            if !self.names(segment) {
                continue;
            }
            let outcome = self.share(&segment.entry).and_then(|of| {
                let total = (of.kept_bytes + of.gone_bytes).max(1);
                if of.gone_bytes == 0 || (of.gone_bytes as f64) < share * total as f64 {
                    return Ok(None);
                }
                self.write_again(segment, of.kept_bytes > 0).map(Some)
            });
            match outcome {
                Ok(Some(bytes)) => {
                    reclaimed.segments += 1;
                    reclaimed.bytes += segment.entry.bytes.saturating_sub(bytes);
                }
                Ok(None) => {}
                // Its damage is told by whoever reads it; a segment whose day has passed is retention's.
                Err(Error::Corrupt(_) | Error::Unsupported { .. }) => {}
                Err(e) if e.is_gone() => {}
                // The others are none the worse for it.
                Err(e) if e.is_damage() => unread = unread.or(Some(e)),
                Err(e) => return Err(e),
            }
        }
        Ok((reclaimed, unread))
    }

    /// The keys of a site's index in a segment; `None` if the site was erased.
    pub(super) fn index_keys(
        &self,
        segment: &SegmentEntry,
        handle: &SiteHandle,
    ) -> Result<Option<OfSite>> {
        let Some(site) = self.keyring.site_by_handle(handle) else { return Ok(None) };
        let keys = self.segment_keys(&site, segment)?;
        Ok(Some(OfSite { site, keys }))
    }

    fn share(&self, segment: &SegmentEntry) -> Result<Share> {
        let mut share = Share { kept_bytes: 0, gone_bytes: 0 };
        let mut from = FILE_HEADER_BYTES as u64;
        for at in &self.directory_of(segment)?.sites {
            let end = at.root_offset + u64::from(at.root_bytes);
            match self.index_keys(segment, &at.site)? {
                None => share.gone_bytes += end.saturating_sub(from),
                Some(of) => self.each_session(segment, &of, |entry| {
                    let gone = of.site.is_erased(&entry.tag);
                    let bytes = if gone { &mut share.gone_bytes } else { &mut share.kept_bytes };
                    *bytes += entry.stored_bytes();
                    Ok(())
                })?,
            }
            from = end;
        }
        Ok(share)
    }

    pub(super) fn directory_of(&self, segment: &SegmentEntry) -> Result<Arc<Directory>> {
        let cipher = self.directory_cipher(segment)?;
        self.segments.directory(segment, &cipher)
    }

    pub(super) fn each_session(
        &self,
        segment: &SegmentEntry,
        of: &OfSite,
        mut visit: impl FnMut(&SessionEntry) -> Result<()>,
    ) -> Result<()> {
        let Some(index) = self.segments.index(segment, &of.keys)? else { return Ok(()) };
        for number in 0..index.root.pages.len() {
            let page = self.segments.page(segment, &of.keys, &index, number)?;
            page.iter().try_for_each(&mut visit)?;
        }
        Ok(())
    }

    /// Writes a segment without what was erased in its place, or drops it where nothing is left. Returns the bytes of the new one.
    fn write_again(&self, old: &Arc<SegmentInfo>, anything_left: bool) -> Result<u64> {
        let shard = &self.shards[usize::from(old.entry.shard)];
        let _archiving = shard.archiving.lock();
        if !anything_left {
            self.drop_segments(std::slice::from_ref(old))?;
            return Ok(0);
        }
        self.manifest.check_sure()?;
        self.check_digest(&old.entry)?;
        let keep = |site: &Site, entry: &SessionEntry| !site.is_erased(&entry.tag);
        let written = self.copy_segment(&old.entry, &self.env, &self.dir, &keep)?;
        let named = self.manifest.name_segments(&[written], |m| {
            m.segments.retain(|s| s.id != old.entry.id);
        });
        named.inspect_err(|_| self.manifest.disown_segments(&[written]))?;
        let mut state = shard.state.lock();
        state.epoch += 1;
        self.catalog.remove(&[old.entry.id].into());
        self.catalog.add(vec![SegmentInfo::new(written, None)]);
        drop(state);
        self.unlink(std::slice::from_ref(old))?;
        Ok(written.bytes)
    }

    /// Refuses a segment that is not what was written: copied, its damage would be sealed in a digest of its own.
    fn check_digest(&self, old: &SegmentEntry) -> Result<()> {
        let (mut digest, mut bytes, mut at) = (Sha256::new(), Vec::new(), 0);
        while at < old.bytes {
            let len = (old.bytes - at).min(READ_BYTES_MAX as u64);
            self.segments.read(old, at, len as usize, &mut bytes)?;
            digest.update(&bytes);
            at += len;
        }
        match <[u8; 32]>::from(digest.finalize()) == old.digest {
            true => Ok(()),
            false => Err(Error::corrupt(&segment_name(old.id), 0, Damage::Rot)),
        }
    }
}

/// A site, and the keys of its index in one segment.
pub(super) struct OfSite {
    pub(super) site: Arc<Site>,
    pub(super) keys: SegmentKeys,
}
