//! Finding a session: in the journals, and in the segments of its day.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::format::segment::SessionEntry;
use crate::ids::{HoldId, SessionId, SessionTag, day_of};
use crate::journal::table::{Live, Stamp};
use crate::limits::{DAY_MS, SESSION_SPAN_MS_MAX};
use crate::planted::{self, Bug};
use crate::segment::reader::{Found, SegmentKeys};
use crate::segment::writer::segment_name;
use crate::seqset::SeqSet;

use super::Site;
use super::info::SessionInfo;
use super::state::{SegmentInfo, SegmentList};

/// Tags that are tried for a session whose place in its site's tree is taken.
pub(super) const ATTEMPTS_MAX: u8 = 4;

/// How often a look-up begins again because segments were dropped or written once more under it. Each of them is work of the writer, which comes
/// to an end; this is for a mistake that would not.
const LOOKS_MAX: usize = 256;

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

/// Which of the sessions of one id: an id may be used again two days after a session's start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    /// The one that started last.
    Last,
    /// The one that started at this time, Unix milliseconds.
    At(u64),
    /// The one that started on this day. There is one at most.
    On(u32),
}

impl Started {
    fn is(self, start_ms: u64) -> bool {
        match self {
            Self::Last => true,
            Self::At(ms) => ms == start_ms,
            Self::On(day) => day == day_of(start_ms),
        }
    }

    fn days(self) -> RangeInclusive<u32> {
        match self {
            Self::Last => 0..=u32::MAX,
            Self::At(ms) => day_of(ms)..=day_of(ms),
            Self::On(day) => day..=day,
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
    /// The hold by which the session is kept, if it is no longer kept otherwise.
    pub(super) fn hold(&self) -> Option<HoldId> {
        let held = self.archived.iter().find(|part| part.segment.entry.is_hold());
        held.map(|part| HoldId(part.segment.entry.id.0))
    }

    /// The numbers of all chunks.
    pub(super) fn seqs(&self) -> SeqSet {
        let mut all = SeqSet::default();
        self.archived.iter().for_each(|part| all.extend(&part.entry().seqs));
        for frame in self.live.iter().flat_map(|live| &live.frames) {
            all.insert(frame.seq);
        }
        all
    }

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
    /// Names this site in an error of its data.
    pub(super) fn name(&self, error: Error) -> Error {
        error.at_site(self.site.id())
    }

    /// What a chunk at `ms` belongs to: the stamp of the session, and the numbers that segments hold.
    pub(super) fn find_for_append(
        &self,
        id: &SessionId,
        ms: u64,
        epoch: u64,
    ) -> Result<Option<(Stamp, SeqSet)>> {
        let handle = self.site.handle();
        let shard = self.inner.shard(handle);
        let near = |start_ms: u64| start_ms.abs_diff(ms) <= SESSION_SPAN_MS_MAX;
        for attempt in 0..ATTEMPTS_MAX {
            let tag = self.site.session_tag(id, attempt);
            let (recovered, mut taken) = {
                let state = shard.state.lock();
                let mut holders = state.table.at_place(handle, tag.place()).peekable();
                let taken = holders.peek().is_some();
                let live = holders.find(|l| l.stamp.tag == tag && near(l.stamp.start_ms));
                if let Some(live) = live
                    && let Some(archived) = &live.archived
                {
                    // Almost every append ends here: a live session at its first place.
                    return Ok(Some((live.stamp.clone(), archived.clone())));
                }
                (live.map(|l| l.stamp.clone()), taken)
            };
            let segments = self.inner.catalog.snapshot();
            let parts = self.archived_for_append(&segments, tag.place(), ms)?;
            taken |= !parts.is_empty();
            if let Some(stamp) = recovered {
                let key = (stamp.start_ms, tag);
                let mut seqs = SeqSet::default();
                let ours = |p: &&ArchivedPart| (p.entry().start_ms, p.entry().tag) == key;
                parts.iter().filter(ours).for_each(|p| seqs.extend(&p.entry().seqs));
                let mut state = shard.state.lock();
                if state.epoch == epoch {
                    state.table.set_archived(handle, key, &seqs);
                }
                return Ok(Some((stamp, seqs)));
            }
            let ours = |p: &&ArchivedPart| p.entry().tag == tag && near(p.entry().start_ms);
            if let Some(newest) = parts.iter().filter(ours).max_by_key(|p| p.entry().start_ms) {
                let mut seqs = SeqSet::default();
                let start_ms = newest.entry().start_ms;
                for part in parts.iter().filter(ours) {
                    if planted::is(Bug::ArchivedNumbersForgotten) {
                        continue;
                    }
                    if part.entry().start_ms == start_ms {
                        seqs.extend(&part.entry().seqs);
                    }
                }
                return Ok(Some((newest.stamp(), seqs)));
            }
            if !taken {
                // Nobody was ever in the way at this place, so the session is not at a later one.
                return Ok(None);
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
            let other_lives =
                shard.state.lock().table.at_place(handle, tag.place()).any(|l| l.stamp.tag != tag);
            let segments = self.inner.catalog.snapshot();
            let taken = other_lives
                || self
                    .archived_for_append(&segments, tag.place(), ms)?
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

    /// What the segments of the days around `ms` hold at a place. A segment that is damaged is passed over: it must not keep new sessions out, and
    /// it is told by whatever reads it.
    fn archived_for_append(
        &self,
        segments: &SegmentList,
        place: u64,
        ms: u64,
    ) -> Result<Vec<ArchivedPart>> {
        let mut parts = Vec::new();
        for segment in self.segments_of(segments, start_days(ms)) {
            // A read that went wrong on its way is tried once more: what is passed over here splits a session in two.
            let found = self.at_place_in(segment, place).or_else(|e| match e {
                e if e.is_damage() => self.at_place_in(segment, place),
                e => Err(e),
            });
            match found {
                Ok(found) => parts.extend(found),
                // What a medium does not give back now it may give back later, when nobody would put the parts together.
                Err(Error::Corrupt(_) | Error::Unsupported { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(parts)
    }

    /// The segments of this site's shard with sessions that started on some days.
    fn segments_of<'a>(
        &self,
        segments: &'a SegmentList,
        days: RangeInclusive<u32>,
    ) -> impl Iterator<Item = &'a Arc<SegmentInfo>> {
        let shard = self.inner.shard(self.site.handle()).index;
        let by_day = segments.get(usize::from(shard));
        by_day.into_iter().flat_map(move |by_day| by_day.range(days.clone()).flat_map(|(_, l)| l))
    }

    /// The tags of the sessions that segments hold at the place of this one. Damage is noted, not fatal: what cannot be looked
    /// at must not keep the rest from being erased.
    pub(super) fn archived_tags(
        &self,
        tag: SessionTag,
        damage: &mut Vec<Error>,
    ) -> Result<Vec<SessionTag>> {
        let segments = self.inner.catalog.snapshot();
        let mut tags = Vec::new();
        for segment in self.segments_of(&segments, 0..=u32::MAX) {
            match self.at_place_in(segment, tag.place()) {
                Ok(found) => tags.extend(found.iter().map(|part| part.entry().tag)),
                Err(e) if e.is_damage() => damage.push(e),
                Err(e) => return Err(e),
            }
        }
        Ok(tags)
    }

    /// What one segment holds at a place of the site's tree; nothing if nobody can read it any more.
    fn at_place_in(&self, segment: &Arc<SegmentInfo>, place: u64) -> Result<Vec<ArchivedPart>> {
        if !segment.may_hold(place) {
            return Ok(Vec::new());
        }
        let keys = match self.segment_keys(&segment.entry) {
            Err(e) if e.is_gone() => return Ok(Vec::new()),
            keys => keys?,
        };
        if !self.is_there(segment, &keys)? {
            return Ok(Vec::new());
        }
        match self.inner.segments.at_place(&segment.entry, &keys, place) {
            // It went between two reads of it.
            Err(e) if self.may_lack(segment, &e) => Ok(Vec::new()),
            Err(e) => Err(self.name(e)),
            Ok(found) => {
                let part = |found| ArchivedPart { segment: Arc::clone(segment), found };
                Ok(found.into_iter().map(part).collect())
            }
        }
    }

    /// Whether a segment is there; one that is on its way out may not be.
    pub(super) fn is_there(&self, segment: &SegmentInfo, keys: &SegmentKeys) -> Result<bool> {
        // The directory is of all sites: damage of it is not this site's.
        match self.inner.segments.directory(&segment.entry, &keys.directory) {
            Err(e) if self.may_lack(segment, &e) => Ok(false),
            directory => directory.map(|_| true),
        }
    }

    /// Whether an error says that a segment is missing which may be.
    pub(super) fn may_lack(&self, segment: &SegmentInfo, error: &Error) -> bool {
        matches!(error, Error::Corrupt(c) if c.kind == Damage::Missing)
            && self.inner.may_be_missing(&segment.entry)
    }

    /// All that is held of a session of this id.
    pub(super) fn find(&self, id: &SessionId, started: Started) -> Result<Parts> {
        self.inner.keep_up()?;
        for attempt in 0..ATTEMPTS_MAX {
            let tag = self.site.session_tag(id, attempt);
            match self.find_tag(tag, started)? {
                Looked::Found(parts) => return Ok(*parts),
                Looked::Taken => {}
                Looked::Free => break,
            }
        }
        if let Some(tag) = id.lost_tag()
            && let Looked::Found(parts) = self.find_tag(tag, started)?
        {
            return Ok(*parts);
        }
        match self.has_erased(id) {
            true => Err(Error::Erased),
            false => Err(Error::UnknownSession),
        }
    }

    /// The tags that sessions of this id have, whether there are any or not.
    pub(crate) fn possible_tags(&self, id: &SessionId) -> Vec<SessionTag> {
        let drawn = (0..ATTEMPTS_MAX).map(|attempt| self.site.session_tag(id, attempt));
        drawn.chain(id.lost_tag()).collect()
    }

    /// Whether the keyring says that sessions of this id were erased.
    pub(crate) fn has_erased(&self, id: &SessionId) -> bool {
        self.site.is_erased(&self.site.session_tag(id, 0))
    }

    /// The very session that was listed.
    pub(super) fn find_listed(&self, info: &SessionInfo) -> Result<Parts> {
        match self.find(&info.id, Started::At(info.start_ms)) {
            Err(Error::UnknownSession) if self.inner.has_passed(info.expiry_day) => {
                Err(Error::Expired { expiry_day: info.expiry_day })
            }
            parts => parts,
        }
    }

    pub(super) fn find_tag(&self, tag: SessionTag, started: Started) -> Result<Looked> {
        for _ in 1..LOOKS_MAX {
            match self.look_for(tag, started, None) {
                Err(Error::Corrupt(c)) if c.kind == Damage::Missing => {
                    if self.inner.read_only {
                        self.inner.refresh()?;
                    }
                    // Otherwise it was dropped or written once more since the catalog was read.
                    if self.is_named(&c.file) {
                        return Err(Error::Corrupt(c));
                    }
                }
                outcome => return outcome,
            }
        }
        self.look_for(tag, started, None)
    }

    /// As [`Self::find_tag`], for who would rather have some of a session than none: segments that cannot be read are passed over, and told.
    pub(super) fn find_around(
        &self,
        tag: SessionTag,
        started: Started,
        damage: &mut Vec<Error>,
    ) -> Result<Looked> {
        self.look_for(tag, started, Some(damage))
    }

    /// Whether the catalog names a segment.
    fn is_named(&self, file: &str) -> bool {
        let segments = self.inner.catalog.snapshot();
        self.segments_of(&segments, 0..=u32::MAX).any(|s| segment_name(s.entry.id) == file)
    }

    /// `damage` takes that of segments that are passed over; without it, damage ends the search.
    fn look_for(
        &self,
        tag: SessionTag,
        started: Started,
        mut damage: Option<&mut Vec<Error>>,
    ) -> Result<Looked> {
        let handle = self.site.handle();
        let (live, mut taken, segments) = {
            // Both under one lock: the archiver moves frames from one to the other.
            let state = self.inner.shard(handle).state.lock();
            let mut holders = state.table.at_place(handle, tag.place()).peekable();
            let taken = holders.peek().is_some();
            let live = holders
                .find(|l| l.stamp.tag == tag && started.is(l.stamp.start_ms))
                .and_then(visible);
            (live, taken, self.inner.catalog.snapshot())
        };
        let mut parts = Vec::new();
        for segment in self.segments_of(&segments, started.days()) {
            match (self.at_place_in(segment, tag.place()), damage.as_deref_mut()) {
                (Err(e), Some(damage)) if e.is_damage() => damage.push(e),
                (found, _) => parts.extend(found?),
            }
        }
        taken |= !parts.is_empty();
        parts.retain(|p| p.entry().tag == tag && started.is(p.entry().start_ms));
        let starts = parts.iter().map(|p| p.entry().start_ms);
        let newest = starts.chain(live.iter().map(|l| l.stamp.start_ms)).max();
        parts.retain(|p| Some(p.entry().start_ms) == newest);
        let live = live.filter(|l| Some(l.stamp.start_ms) == newest);
        Ok(match Parts::new(live, parts) {
            Some(parts) => Looked::Found(Box::new(parts)),
            None if taken => Looked::Taken,
            None => Looked::Free,
        })
    }
}

/// What stands at a place of a site's tree.
pub(super) enum Looked {
    Found(Box<Parts>),
    /// Another session; the one looked for may be at its next place.
    Taken,
    /// Nothing.
    Free,
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
