//! One page of a listing being put together: the parts of sessions from segments and journals, merged in order.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::ids::{SessionTag, SiteHandle, VisitorTag, day_of};
use crate::journal::table::Live;
use crate::limits::DAY_MS;
use crate::segment::reader::{Found, SegmentKeys, SiteIndex};
use crate::store::Site;
use crate::store::find::{ArchivedPart, Parts, SessionKey, first_key, visible};
use crate::store::info::SessionInfo;
use crate::store::state::{SegmentInfo, SegmentList};

use super::{Bounds, Cursor, Order, Page, Query, after, before};

/// The archiver moved frames into segments while the page was put together.
struct Moved;

/// One page being put together.
pub(super) struct Listing<'a> {
    site: &'a Site,
    query: &'a Query,
    bounds: Bounds,
    visitor: Option<VisitorTag>,
    segments: Arc<SegmentList>,
    /// The shard's epoch when the segments were looked up.
    epoch: u64,
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
                let parts = self.take(&mut sources, key);
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

    /// Notes damage, unless it is a segment that was dropped or written once more since the listing looked.
    fn note(&mut self, e: Error) -> Result<(), Moved> {
        let missing = matches!(&e, Error::Corrupt(c) if c.kind == Damage::Missing);
        let shard = self.site.inner.shard(self.site.site.handle());
        if missing && shard.state.lock().epoch != self.epoch {
            return Err(Moved);
        }
        self.damage.push(e);
        Ok(())
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
        let mut live = LiveSource { next: Some(bounds), batch: Vec::new() };
        live.fill(self)?;
        let mut sources = vec![Source::Live(live)];
        let shard = self.site.inner.shard(self.site.site.handle()).index;
        let segments = Arc::clone(&self.segments);
        let of_day = segments.get(usize::from(shard)).and_then(|by_day| by_day.get(&day));
        for segment in of_day.into_iter().flatten() {
            match self.segment_source(segment, bounds) {
                Ok(Some(source)) => sources.push(source),
                Ok(None) => {}
                // It went between two reads of it.
                Err(e) if self.site.may_lack(segment, &e) => {}
                Err(e) => self.note(e)?,
            }
        }
        let no_live =
            matches!(&sources[0], Source::Live(l) if l.batch.is_empty() && l.next.is_none());
        if let (true, [_, Source::Pages(pages)]) = (no_live, &mut sources[..]) {
            pages.may_skip = true;
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
            return Ok(Some(Source::Visitor { segment, found }));
        }
        let index = segments.index(&segment.entry, &keys).map_err(|e| self.site.name(e))?;
        let Some(index) = index else { return Ok(None) };
        let pages = &index.root.pages;
        let page = match self.query.order {
            Order::OldestFirst => Some(pages.partition_point(|p| p.last_start_ms < bounds.low.0)),
            Order::NewestFirst => {
                pages.partition_point(|p| p.first_start_ms <= bounds.high.0).checked_sub(1)
            }
        };
        let segment = Arc::clone(segment);
        Ok(Some(Source::Pages(PageSource {
            segment,
            keys,
            index,
            bounds,
            page,
            ready: Vec::new(),
            may_skip: false,
        })))
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
                    Source::Live(live) if live.next.is_some() => live.fill(self)?,
                    Source::Pages(pages) if pages.page.is_some() => {
                        if let Err(e) = pages.fill(self) {
                            pages.page = None;
                            if self.site.may_lack(&pages.segment, &e) {
                                continue;
                            }
                            self.note(self.site.name(e))?;
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

    /// Takes every part of a session from the sources.
    fn take(&mut self, sources: &mut [Source], key: SessionKey) -> Option<Parts> {
        let mut live = None;
        let mut archived = Vec::new();
        for source in sources {
            let at_key = source.peek() == Some(key);
            match source {
                Source::Live(source) if at_key => live = source.batch.pop(),
                Source::Visitor { segment, found } if at_key => {
                    let part = |found| ArchivedPart { segment: Arc::clone(segment), found };
                    archived.extend(found.pop().map(part));
                }
                Source::Pages(source) if at_key => {
                    let segment = Arc::clone(&source.segment);
                    let part = |found| ArchivedPart { segment, found };
                    archived.extend(source.ready.pop().map(part));
                }
                _ => {}
            }
        }
        Parts::new(live, archived)
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
        if first >= self.query.to_ms || last < self.query.from_ms {
            return Ok(None);
        }
        match self.site.describe(&parts) {
            Ok(info) => Ok(Some(info)),
            Err(e) if e.is_gone() => Ok(None),
            Err(e @ (Error::Corrupt(_) | Error::Unsupported { .. })) => {
                self.damage.push(e);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// Where parts of sessions come from. What is ready is kept in reverse: the next one is the last.
enum Source {
    Live(LiveSource),
    Pages(PageSource),
    Visitor { segment: Arc<SegmentInfo>, found: Vec<Found> },
}

impl Source {
    fn peek(&self) -> Option<SessionKey> {
        let found = match self {
            Self::Live(live) => {
                return live.batch.last().map(|l| (l.stamp.start_ms, l.stamp.tag));
            }
            Self::Pages(pages) => pages.ready.last(),
            Self::Visitor { found, .. } => found.last(),
        };
        found.map(|f| (f.entry().start_ms, f.entry().tag))
    }
}

/// Live sessions, copied in batches.
struct LiveSource {
    /// What is yet to be looked at.
    next: Option<Bounds>,
    batch: Vec<Live>,
}

impl LiveSource {
    fn fill(&mut self, listing: &Listing<'_>) -> Result<(), Moved> {
        let Some(bounds) = self.next.take() else { return Ok(()) };
        let handle: SiteHandle = listing.site.site.handle();
        let inner = &listing.site.inner;
        let state = inner.shard(handle).state.lock();
        if state.epoch != listing.epoch {
            return Err(Moved);
        }
        let wanted = |live: &&Live| listing.visitor.is_none_or(|v| live.stamp.visitor == v);
        let limit = listing.query.limit + 1;
        let range = state.table.range(handle, bounds.low..=bounds.high).filter(wanted);
        let mut taken: Vec<&Live> = match listing.query.order {
            Order::OldestFirst => range.take(limit).collect(),
            Order::NewestFirst => range.rev().take(limit).collect(),
        };
        if taken.len() == limit
            && let Some(last) = taken.last()
        {
            let key = (last.stamp.start_ms, last.stamp.tag);
            let rest = match listing.query.order {
                Order::OldestFirst => Bounds { low: after(key), ..bounds },
                Order::NewestFirst => Bounds { high: before(key), ..bounds },
            };
            self.next = Some(rest).filter(|b| b.low <= b.high);
        }
        taken.reverse();
        self.batch = taken.into_iter().filter_map(visible).collect();
        Ok(())
    }
}

/// The session pages of one segment, one at a time.
struct PageSource {
    segment: Arc<SegmentInfo>,
    keys: SegmentKeys,
    index: Arc<SiteIndex>,
    bounds: Bounds,
    /// The next page to read.
    page: Option<usize>,
    ready: Vec<Found>,
    /// Whether a page may be passed over that lies outside the window. Not where a session can have parts
    /// elsewhere: one before the window and one after it are a session that overlaps it.
    may_skip: bool,
}

impl PageSource {
    fn fill(&mut self, listing: &Listing<'_>) -> Result<()> {
        let order = listing.query.order;
        while let Some(number) = self.page {
            let Some(entry) = self.index.root.pages.get(number) else {
                self.page = None;
                return Ok(());
            };
            let past = match order {
                Order::OldestFirst => entry.first_start_ms > self.bounds.high.0,
                Order::NewestFirst => entry.last_start_ms < self.bounds.low.0,
            };
            self.page = match order {
                _ if past => None,
                Order::OldestFirst => Some(number + 1),
                Order::NewestFirst => number.checked_sub(1),
            };
            if past {
                return Ok(());
            }
            let query = listing.query;
            let outside =
                entry.last_event_ms < query.from_ms || entry.first_event_ms >= query.to_ms;
            if self.may_skip && outside {
                continue;
            }
            let segments = &listing.site.inner.segments;
            let page = segments.page(&self.segment.entry, &self.keys, &self.index, number)?;
            let wanted = |at: &usize| self.bounds.contains((page[*at].start_ms, page[*at].tag));
            let found = |at| Found { page: Arc::clone(&page), at };
            self.ready = match order {
                Order::OldestFirst => (0..page.len()).rev().filter(wanted).map(found).collect(),
                Order::NewestFirst => (0..page.len()).filter(wanted).map(found).collect(),
            };
            if !self.ready.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }
}
