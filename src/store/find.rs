//! Finding a session: in the journals, and in the segments of its day.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::format::segment::SessionEntry;
use crate::ids::{SessionId, SessionTag, day_of, expiry_day};
use crate::journal::table::{Live, Stamp};
use crate::keyring::SessionKeys;
use crate::limits::{DAY_MS, SESSION_SPAN_MS_MAX};
use crate::segment::reader::{Found, IndexKey};
use crate::segment::writer::segment_name;
use crate::seqset::SeqSet;

use super::Site;
use super::state::{SegmentInfo, SegmentList};

/// Tags that are tried for a session whose place in its site's tree is taken.
const ATTEMPTS_MAX: u8 = 4;

/// What one segment holds of a session.
#[derive(Clone)]
pub(super) struct ArchivedPart {
    pub(super) segment: Arc<SegmentInfo>,
    pub(super) found: Found,
}

impl ArchivedPart {
    pub(super) fn entry(&self) -> &SessionEntry {
        self.found.entry()
    }

    pub(super) fn stamp(&self) -> Stamp {
        let entry = self.entry();
        Stamp {
            start_ms: entry.start_ms,
            tag: entry.tag,
            visitor: entry.visitor,
            commitment: entry.commitment,
            attempt: entry.attempt,
            kind: entry.kind,
            retention_days: self.segment.entry.retention_days,
            identity: entry.identity.clone(),
        }
    }
}

/// All that a store holds of one session, as it was at one moment.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) stamp: Stamp,
    /// With durable frames alone.
    pub(super) live: Option<Live>,
    pub(super) archived: Vec<ArchivedPart>,
}

impl Parts {
    /// Puts together what was found under one start and tag; `None` if there is nothing.
    pub(super) fn new(live: Option<Live>, archived: Vec<ArchivedPart>) -> Option<Self> {
        let mut stamps =
            live.iter().map(|l| l.stamp.clone()).chain(archived.iter().map(ArchivedPart::stamp));
        let mut stamp = stamps.next()?;
        if stamp.identity.is_none() {
            stamp.identity = stamps.find_map(|s| s.identity);
        }
        Some(Self { stamp, live, archived })
    }
}

/// A live session as a reader may see it: without the frames that a crash could take back.
pub(super) fn visible(live: &Live) -> Option<Live> {
    let frames: Vec<_> = live.durable().cloned().collect();
    if frames.is_empty() {
        return None;
    }
    let shown = |seq: u32| frames.binary_search_by_key(&seq, |f| f.seq).is_ok();
    let snapshots = live.snapshots.iter().filter(|(seq, _)| shown(*seq)).copied().collect();
    Some(Live { stamp: live.stamp.clone(), archived: None, snapshots, frames })
}

/// The days on which a session may have started that has an event at `ms`.
fn start_days(ms: u64) -> RangeInclusive<u32> {
    let span = (SESSION_SPAN_MS_MAX / DAY_MS) as u32;
    let day = day_of(ms);
    day.saturating_sub(span)..=day.saturating_add(span)
}

impl Site {
    pub(super) fn index_key(&self) -> IndexKey<'_> {
        IndexKey { site: self.site.handle(), cipher: self.site.index() }
    }

    /// Names this site in an error of its data.
    pub(super) fn name(&self, error: Error) -> Error {
        error.at_site(self.site.id())
    }

    /// What a chunk at `ms` belongs to: the stamp of the session, and the numbers that segments hold.
    pub(super) fn find_for_append(
        &self,
        id: &SessionId,
        ms: u64,
    ) -> Result<Option<(Stamp, SeqSet)>> {
        let handle = self.site.handle();
        let shard = self.inner.shard(handle);
        let near = |start_ms: u64| start_ms.abs_diff(ms) <= SESSION_SPAN_MS_MAX;
        for attempt in 0..ATTEMPTS_MAX {
            let tag = self.site.session_tag(id, attempt);
            let state = shard.state.lock();
            let live = state.table.at_place(handle, tag.place());
            let live = live.filter(|l| l.stamp.tag == tag && near(l.stamp.start_ms));
            if let Some(live) = live
                && let Some(archived) = &live.archived
            {
                // Almost every append ends here: a live session at its first place.
                return Ok(Some((live.stamp.clone(), archived.clone())));
            }
            let recovered = live.map(|l| l.stamp.clone());
            drop(state);
            let segments = self.inner.catalog.snapshot();
            let parts = self.archived_at(&segments, tag.place(), start_days(ms))?;
            if let Some(stamp) = recovered {
                let key = (stamp.start_ms, tag);
                let mut seqs = SeqSet::default();
                let ours = |p: &&ArchivedPart| (p.entry().start_ms, p.entry().tag) == key;
                parts.iter().filter(ours).for_each(|p| seqs.extend(&p.entry().seqs));
                shard.state.lock().table.set_archived(handle, key, &seqs);
                return Ok(Some((stamp, seqs)));
            }
            let ours = |p: &&ArchivedPart| p.entry().tag == tag && near(p.entry().start_ms);
            if let Some(newest) = parts.iter().filter(ours).max_by_key(|p| p.entry().start_ms) {
                let mut seqs = SeqSet::default();
                let start_ms = newest.entry().start_ms;
                for part in parts.iter().filter(ours) {
                    if part.entry().start_ms == start_ms {
                        seqs.extend(&part.entry().seqs);
                    }
                }
                return Ok(Some((newest.stamp(), seqs)));
            }
        }
        Ok(None)
    }

    /// The tag of a session that begins: the first whose place no other session has.
    pub(super) fn free_tag(&self, id: &SessionId, ms: u64) -> Result<(SessionTag, u8)> {
        let handle = self.site.handle();
        let shard = self.inner.shard(handle);
        for attempt in 0..ATTEMPTS_MAX {
            let tag = self.site.session_tag(id, attempt);
            let live = shard.state.lock().table.at_place(handle, tag.place()).map(|l| l.stamp.tag);
            let segments = self.inner.catalog.snapshot();
            let taken = live.is_some_and(|other| other != tag)
                || self
                    .archived_at(&segments, tag.place(), start_days(ms))?
                    .iter()
                    .any(|p| p.entry().tag != tag);
            if !taken {
                return Ok((tag, attempt));
            }
        }
        // Four places of 2^64, each taken by chance: it does not happen, and if it does, the chunk is refused.
        Err(Error::corrupt("keyring", 0, Damage::Malformed("places of sessions"))
            .at_site(self.site.id()))
    }

    /// What the segments of some days hold at a place of the site's tree.
    fn archived_at(
        &self,
        segments: &SegmentList,
        place: u64,
        days: RangeInclusive<u32>,
    ) -> Result<Vec<ArchivedPart>> {
        let shard = self.inner.shard(self.site.handle());
        let Some(by_day) = segments.get(usize::from(shard.index)) else { return Ok(Vec::new()) };
        let mut parts = Vec::new();
        for segment in by_day.range(days).flat_map(|(_, list)| list) {
            if segment.may_hold(place) {
                let found = self
                    .inner
                    .segments
                    .at_place(&segment.entry, self.index_key(), place)
                    .map_err(|e| self.name(e))?;
                let part = |found| ArchivedPart { segment: Arc::clone(segment), found };
                parts.extend(found.into_iter().map(part));
            }
        }
        Ok(parts)
    }

    /// All that is held of a session of this id; of several with the same id, of the one that started last.
    pub(super) fn find(&self, id: &SessionId) -> Result<Parts> {
        let tags: Vec<SessionTag> = match id.lost_tag() {
            Some(tag) => vec![tag],
            None => (0..ATTEMPTS_MAX).map(|n| self.site.session_tag(id, n)).collect(),
        };
        tags.iter()
            .find_map(|tag| self.find_tag(*tag).transpose())
            .unwrap_or(Err(Error::UnknownSession))
    }

    fn find_tag(&self, tag: SessionTag) -> Result<Option<Parts>> {
        let handle = self.site.handle();
        let (live, segments) = {
            // Both under one lock: the archiver moves frames from one to the other.
            let state = self.inner.shard(handle).state.lock();
            let live = state.table.at_place(handle, tag.place());
            let live = live.filter(|l| l.stamp.tag == tag).and_then(visible);
            (live, self.inner.catalog.snapshot())
        };
        let mut parts = self.archived_at(&segments, tag.place(), 0..=u32::MAX)?;
        parts.retain(|p| p.entry().tag == tag);
        let starts = parts.iter().map(|p| p.entry().start_ms);
        let Some(start_ms) = starts.chain(live.iter().map(|l| l.stamp.start_ms)).max() else {
            return Ok(None);
        };
        parts.retain(|p| p.entry().start_ms == start_ms);
        Ok(Parts::new(live.filter(|l| l.stamp.start_ms == start_ms), parts))
    }

    /// The keys of a session, its commitment checked.
    pub(super) fn keys(&self, stamp: &Stamp) -> Result<Arc<SessionKeys>> {
        let day = expiry_day(stamp.start_ms, stamp.retention_days);
        let keys = self.inner.keyring.session_keys(&self.site, &stamp.tag, day)?;
        self.check_commitment(&keys, &stamp.commitment)?;
        Ok(keys)
    }

    pub(super) fn check_commitment(&self, keys: &SessionKeys, stored: &[u8; 32]) -> Result<()> {
        if keys.commits_to(stored) {
            return Ok(());
        }
        Err(self.name(Error::corrupt("session index", 0, Damage::Commitment)))
    }
}

/// The file in which damage of an archived part is reported.
pub(super) fn part_file(part: &ArchivedPart) -> String {
    segment_name(part.segment.entry.id)
}

/// The key of a session in all orders: its start, then its tag.
pub(super) type SessionKey = (u64, SessionTag);

/// The first key at or after a time.
pub(super) fn first_key(ms: u64) -> SessionKey {
    (ms, SessionTag([0; 16]))
}
