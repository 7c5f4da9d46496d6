//! One page of a listing being put together: the parts of sessions from segments and journals, merged in order.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::ids::{FileId, SessionTag, VisitorTag, day_of};
use crate::limits::DAY_MS;
use crate::store::Site;
use crate::store::find::{Parts, SessionKey, first_key};
use crate::store::info::SessionInfo;
use crate::store::state::{SegmentInfo, SegmentList};
use crate::store::verify::is_missing;

use super::source::{LiveSource, PageSource, Source, VisitorSource, Window};
use super::{Bounds, Cursor, Order, Page, Query, after, before};

/// The archiver moved frames into segments while the page was put together.
pub(super) struct Moved;

/// One page being put together.
pub(super) struct Listing<'a> {
    pub(super) site: &'a Site,
    pub(super) query: &'a Query,
    bounds: Bounds,
    pub(super) visitor: Option<VisitorTag>,
    segments: Arc<SegmentList>,
    /// The shard's epoch when the segments were looked up.
    pub(super) epoch: u64,
    /// Missing segments for which a reader has read the store again.
    looked_for: BTreeSet<FileId>,
    /// The last session that was looked at.
    last: Option<SessionKey>,
    /// The last session of the page.
    last_told: Option<SessionKey>,
    sessions: Vec<SessionInfo>,
    damage: Vec<Error>,
}

impl<'a> Listing<'a> {
    pub(super) fn new(site: &'a Site, query: &'a Query, bounds: Bounds) -> Self {
        let visitor = query.visitor.as_ref().map(|v| site.site.visitor_tag(Some(v)));
        let (epoch, segments) = site.look();
        Self {
            site,
            query,
            bounds,
            visitor,
            segments,
            epoch,
            looked_for: BTreeSet::new(),
            last: None,
            last_told: None,
            sessions: Vec::new(),
            damage: Vec::new(),
        }
    }

    /// Goes on after the last session, with the segments as they are now.
    pub(super) fn look_again(&mut self) {
        (self.epoch, self.segments) = self.site.look();
        if let Some(key) = self.last {
            match self.query.order {
                Order::NewestFirst => self.bounds.high = self.bounds.high.min(before(key)),
                Order::OldestFirst => self.bounds.low = self.bounds.low.max(after(key)),
            }
        }
    }

    /// The page; `None` if the archiver came between.
    pub(super) fn page(&mut self) -> Result<Option<Page>> {
        if self.bounds.low > self.bounds.high {
            return Ok(Some(self.finish(None)));
        }
        let Ok(days) = self.days() else { return Ok(None) };
        for day in days {
            let Ok(mut sources) = self.sources(day) else { return Ok(None) };
            loop {
                let key = match self.next_key(&mut sources) {
                    Ok(Some(key)) => key,
                    Ok(None) => break,
                    Err(Moved) => return Ok(None),
                };
                let Ok(parts) = self.take(&mut sources, key) else { return Ok(None) };
                let described = self.describe(parts)?;
                if described.is_some() && self.sessions.len() == self.query.limit {
                    let next = self.last_told.map(|key| self.site.cursor(self.query.order, key));
                    return Ok(Some(self.finish(next)));
                }
                self.last = Some(key);
                let Some(info) = described else { continue };
                self.last_told = Some(key);
                self.sessions.push(info);
            }
        }
        Ok(Some(self.finish(None)))
    }

    /// Notes damage of a segment, unless it may be missing, or was dropped or written once more since the listing looked.
    fn note(&mut self, segment: &SegmentInfo, e: Error) -> Result<(), Moved> {
        if self.site.may_lack(segment, &e) {
            return Ok(());
        }
        if is_missing(&e) && self.has_moved(segment) {
            return Err(Moved);
        }
        self.damage.push(self.site.name(e));
        Ok(())
    }

    /// Whether a segment that is missing was dropped, or written once more: by this process, or by the one that writes.
    fn has_moved(&mut self, segment: &SegmentInfo) -> bool {
        let inner = &self.site.inner;
        // Once for each segment: what is still named when the store has been read again is missing, and reading it again
        // moves the listing, too. Where it cannot be read again, the segment is as missing as it seems.
        let is_new = inner.read_only && self.looked_for.insert(segment.entry.id);
        if is_new && inner.refresh().is_ok() {
            return true;
        }
        !inner.names(segment)
    }

    fn finish(&mut self, next: Option<Cursor>) -> Page {
        let sessions = std::mem::take(&mut self.sessions);
        Page { sessions, next, damage: std::mem::take(&mut self.damage) }
    }

    /// The days on which sessions started that may be asked for, in the order of the query.
    fn days(&self) -> Result<Vec<u32>, Moved> {
        let handle = self.site.site.handle();
        let shard = self.site.inner.shard(handle);
        let (first, last) = (day_of(self.bounds.low.0), day_of(self.bounds.high.0));
        let mut days: BTreeSet<u32> = self
            .segments
            .get(usize::from(shard.index))
            .map(|by_day| by_day.range(first..=last).map(|(day, _)| *day).collect())
            .unwrap_or_default();
        let state = shard.state.lock();
        if state.epoch != self.epoch {
            return Err(Moved);
        }
        let mut at = self.bounds.low;
        while let Some(live) = state.table.range(handle, at..=self.bounds.high).next() {
            let day = day_of(live.stamp.start_ms);
            days.insert(day);
            at = first_key((u64::from(day) + 1) * DAY_MS);
            if at > self.bounds.high {
                break;
            }
        }
        Ok(match self.query.order {
            Order::OldestFirst => days.into_iter().collect(),
            Order::NewestFirst => days.into_iter().rev().collect(),
        })
    }

    fn sources(&mut self, day: u32) -> Result<Vec<Source>, Moved> {
        let day_start = u64::from(day) * DAY_MS;
        let bounds = Bounds {
            low: self.bounds.low.max(first_key(day_start)),
            high: self.bounds.high.min((day_start + DAY_MS - 1, SessionTag([0xff; 16]))),
        };
        let mut sources = vec![Source::Live(LiveSource::new(bounds))];
        let shard = self.site.inner.shard(self.site.site.handle()).index;
        let segments = Arc::clone(&self.segments);
        let of_day = segments.get(usize::from(shard)).and_then(|by_day| by_day.get(&day));
        for segment in of_day.into_iter().flatten() {
            match self.segment_source(segment, bounds) {
                Ok(Some(source)) => sources.push(source),
                Ok(None) => {}
                // It may have gone between two reads of it.
                Err(e) => self.note(segment, e)?,
            }
        }
        Ok(sources)
    }

    fn segment_source(&self, segment: &Arc<SegmentInfo>, bounds: Bounds) -> Result<Option<Source>> {
        let segments = &self.site.inner.segments;
        let keys = match self.site.segment_keys(&segment.entry) {
            Err(e) if e.is_gone() => return Ok(None),
            keys => keys?,
        };
        if !self.site.is_there(segment, &keys)? {
            return Ok(None);
        }
        if let Some(visitor) = self.visitor {
            let found = segments.of_visitor(&segment.entry, &keys, visitor);
            let mut found = found.map_err(|e| self.site.name(e))?;
            found.retain(|f| bounds.contains((f.entry().start_ms, f.entry().tag)));
            if self.query.order == Order::OldestFirst {
                found.reverse();
            }
            let segment = Arc::clone(segment);
            return Ok(Some(Source::Visitor(VisitorSource { segment, found })));
        }
        let index = segments.index(&segment.entry, &keys).map_err(|e| self.site.name(e))?;
        let Some(index) = index else { return Ok(None) };
        let source = PageSource::new(Arc::clone(segment), keys, index, bounds, self.query.order);
        Ok(Some(Source::Pages(source)))
    }

    /// The next key of any source, in the order of the query.
    fn next_key(&mut self, sources: &mut [Source]) -> Result<Option<SessionKey>, Moved> {
        let mut best: Option<SessionKey> = None;
        for source in sources {
            let key = loop {
                if let Some(key) = source.peek() {
                    break Some(key);
                }
                match source {
                    Source::Live(live) if live.has_more() => live.fill(self)?,
                    Source::Pages(pages) if pages.has_more() => {
                        if let Err(e) = pages.fill(self) {
                            // Other pages than a damaged one can be read.
                            if !is_damage(&e) {
                                pages.give_up();
                            }
                            self.note(&pages.segment, e)?;
                        }
                    }
                    _ => break None,
                }
            };
            best = match (best, key, self.query.order) {
                (Some(a), Some(b), Order::OldestFirst) => Some(a.min(b)),
                (Some(a), Some(b), Order::NewestFirst) => Some(a.max(b)),
                (a, b, _) => a.or(b),
            };
        }
        Ok(best)
    }

    /// Takes every part of a session from the sources, with what they passed over.
    fn take(&mut self, sources: &mut [Source], key: SessionKey) -> Result<Option<Parts>, Moved> {
        let beside = !Window::of(self.query).contains(key.0);
        let mut live = None;
        let mut archived = Vec::new();
        for source in sources {
            let at_key = source.peek() == Some(key);
            match source {
                Source::Live(source) if at_key => live = source.take(),
                Source::Visitor(source) if at_key => archived.extend(source.take()),
                Source::Pages(source) if at_key => archived.extend(source.take()),
                Source::Live(_) if beside => live = LiveSource::passed(self, key)?,
                Source::Pages(source) if beside => loop {
                    match source.passed(self, key) {
                        Ok(part) => break archived.extend(part),
                        Err(e) => self.note(&source.segment, e)?,
                    }
                },
                _ => {}
            }
        }
        Ok(Parts::new(live, archived))
    }

    /// The description of a session, if it is asked for and can be read.
    fn describe(&mut self, parts: Option<Parts>) -> Result<Option<SessionInfo>> {
        let Some(parts) = parts else { return Ok(None) };
        let (mut first, mut last) = (u64::MAX, 0);
        for part in &parts.archived {
            first = first.min(part.entry().first_ms);
            last = last.max(part.entry().last_ms);
        }
        for frame in parts.live.iter().flat_map(|l| &l.frames) {
            first = first.min(frame.first_ms);
            last = last.max(frame.last_ms());
        }
        if !Window::of(self.query).overlaps(first, last) {
            return Ok(None);
        }
        match self.site.describe(&parts) {
            Ok(info) => Ok(Some(info)),
            Err(e) if e.is_gone() => Ok(None),
            Err(e) if e.is_damage() => {
                self.damage.push(e);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// Whether an error is of one unit alone, and not of its whole file.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupt(damage) => damage.kind != Damage::Missing,
        Error::Unsupported { .. } => true,
        _ => false,
    }
}
