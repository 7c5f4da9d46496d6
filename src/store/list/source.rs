//! Where a listing's parts of sessions come from, and what of it is passed over.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::Result;
use crate::format::segment::SessionEntry;
use crate::journal::table::Live;
use crate::segment::reader::{Found, SegmentKeys, SiteIndex};
use crate::store::find::{ArchivedPart, SessionKey, visible};
use crate::store::state::SegmentInfo;

use super::merge::{Listing, Moved};
use super::{Bounds, Order, Query, after, before};

/// The times that are asked for.
#[derive(Clone, Copy)]
pub(super) struct Window {
    from_ms: u64,
    to_ms: u64,
}

impl Window {
    pub(super) fn of(query: &Query) -> Self {
        Self { from_ms: query.from_ms, to_ms: query.to_ms }
    }

    pub(super) fn contains(&self, ms: u64) -> bool {
        self.overlaps(ms, ms)
    }

    pub(super) fn overlaps(&self, first_ms: u64, last_ms: u64) -> bool {
        first_ms < self.to_ms && last_ms >= self.from_ms
    }

    /// Whether parts of sessions lie on one side of the window, with the starts of their sessions. They can be passed over: if such a
    /// session overlaps the window all the same, it has another part that reaches into it or to its other side, and that one leads to the rest.
    fn is_beside(&self, (first_start, last_start): (u64, u64), (first, last): (u64, u64)) -> bool {
        let after = first_start >= self.to_ms && first >= self.to_ms;
        let before = last_start < self.from_ms && last < self.from_ms;
        after || before
    }
}

/// What is ready is kept in reverse: the next one is the last.
pub(super) enum Source {
    Live(LiveSource),
    Pages(PageSource),
    Visitor(VisitorSource),
}

impl Source {
    pub(super) fn peek(&self) -> Option<SessionKey> {
        match self {
            Self::Live(live) => live.batch.last().map(|l| (l.stamp.start_ms, l.stamp.tag)),
            Self::Pages(pages) => pages.ready.last().map(|at| key_of(&pages.page[*at])),
            Self::Visitor(visitor) => visitor.found.last().map(|f| key_of(f.entry())),
        }
    }
}

fn key_of(entry: &SessionEntry) -> SessionKey {
    (entry.start_ms, entry.tag)
}

/// Live sessions, copied in batches.
pub(super) struct LiveSource {
    /// What is yet to be looked at.
    next: Option<Bounds>,
    batch: Vec<Live>,
}

impl LiveSource {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { next: Some(bounds), batch: Vec::new() }
    }

    pub(super) fn has_more(&self) -> bool {
        self.next.is_some()
    }

    pub(super) fn take(&mut self) -> Option<Live> {
        self.batch.pop()
    }

    pub(super) fn fill(&mut self, listing: &Listing<'_>) -> Result<(), Moved> {
        let Some(bounds) = self.next.take() else { return Ok(()) };
        let handle = listing.site.site.handle();
        let state = listing.site.inner.shard(handle).state.lock();
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
        let window = Window::of(listing.query);
        taken.retain(|live| !is_beside(window, live));
        taken.reverse();
        self.batch = taken.into_iter().filter_map(visible).collect();
        Ok(())
    }

    /// What was passed over of a session.
    pub(super) fn passed(listing: &Listing<'_>, key: SessionKey) -> Result<Option<Live>, Moved> {
        let handle = listing.site.site.handle();
        let state = listing.site.inner.shard(handle).state.lock();
        if state.epoch != listing.epoch {
            return Err(Moved);
        }
        Ok(state.table.get(handle, key).and_then(visible))
    }
}

fn is_beside(window: Window, live: &Live) -> bool {
    let start = live.stamp.start_ms;
    let beside = |first, last| window.is_beside((start, start), (first, last));
    live.frames.iter().all(|frame| beside(frame.first_ms, frame.last_ms()))
}

/// The session pages of one segment, one at a time.
pub(super) struct PageSource {
    pub(super) segment: Arc<SegmentInfo>,
    keys: SegmentKeys,
    index: Arc<SiteIndex>,
    bounds: Bounds,
    /// The next page to look at.
    next: Option<usize>,
    page: Arc<Vec<SessionEntry>>,
    /// Places in the page.
    ready: Vec<usize>,
    passed: Passed,
}

/// The pages with sessions that were passed over and may be looked up yet, in the order of the query.
#[derive(Default)]
struct Passed {
    pages: VecDeque<usize>,
    /// The one that was looked into last.
    open: Option<(usize, Arc<Vec<SessionEntry>>)>,
}

impl PageSource {
    pub(super) fn new(
        segment: Arc<SegmentInfo>,
        keys: SegmentKeys,
        index: Arc<SiteIndex>,
        bounds: Bounds,
        order: Order,
    ) -> Self {
        let pages = &index.root.pages;
        let next = match order {
            Order::OldestFirst => Some(pages.partition_point(|p| p.last_start_ms < bounds.low.0)),
            Order::NewestFirst => {
                pages.partition_point(|p| p.first_start_ms <= bounds.high.0).checked_sub(1)
            }
        };
        let (page, ready, passed) = (Arc::default(), Vec::new(), Passed::default());
        Self { segment, keys, index, bounds, next, page, ready, passed }
    }

    pub(super) fn has_more(&self) -> bool {
        self.next.is_some()
    }

    pub(super) fn give_up(&mut self) {
        self.next = None;
    }

    pub(super) fn take(&mut self) -> Option<ArchivedPart> {
        let at = self.ready.pop()?;
        Some(self.part(Arc::clone(&self.page), at))
    }

    fn part(&self, page: Arc<Vec<SessionEntry>>, at: usize) -> ArchivedPart {
        ArchivedPart { segment: Arc::clone(&self.segment), found: Found { page, at } }
    }

    fn read(&self, listing: &Listing<'_>, number: usize) -> Result<Arc<Vec<SessionEntry>>> {
        let segments = &listing.site.inner.segments;
        segments.page(&self.segment.entry, &self.keys, &self.index, number)
    }

    pub(super) fn fill(&mut self, listing: &Listing<'_>) -> Result<()> {
        let order = listing.query.order;
        let window = Window::of(listing.query);
        while let Some(number) = self.next {
            let Some(entry) = self.index.root.pages.get(number) else {
                self.next = None;
                return Ok(());
            };
            let past = match order {
                Order::OldestFirst => entry.first_start_ms > self.bounds.high.0,
                Order::NewestFirst => entry.last_start_ms < self.bounds.low.0,
            };
            self.next = match order {
                _ if past => None,
                Order::OldestFirst => Some(number + 1),
                Order::NewestFirst => number.checked_sub(1),
            };
            if past {
                return Ok(());
            }
            let starts = (entry.first_start_ms, entry.last_start_ms);
            if window.is_beside(starts, (entry.first_event_ms, entry.last_event_ms)) {
                self.passed.pages.push_back(number);
                continue;
            }
            self.page = self.read(listing, number)?;
            self.choose(window, order);
            if self.ready.len() < self.page.len() {
                self.passed.pages.push_back(number);
            }
            if !self.ready.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes ready what is wanted of the page.
    fn choose(&mut self, window: Window, order: Order) {
        let wanted = |s: &SessionEntry| {
            let beside = window.is_beside((s.start_ms, s.start_ms), (s.first_ms, s.last_ms));
            self.bounds.contains(key_of(s)) && !beside
        };
        let page = self.page.iter().enumerate();
        self.ready = page.filter(|(_, s)| wanted(s)).map(|(at, _)| at).collect();
        if order == Order::OldestFirst {
            self.ready.reverse();
        }
    }

    /// What was passed over of a session. Sessions are asked for in the order of the query, so that each page is looked into once; after an error
    /// there may be more in the next one.
    pub(super) fn passed(
        &mut self,
        listing: &Listing<'_>,
        key: SessionKey,
    ) -> Result<Option<ArchivedPart>> {
        let order = listing.query.order;
        while let Some(&number) = self.passed.pages.front() {
            let Some(entry) = self.index.root.pages.get(number) else { break };
            let (first, last) = (entry.first_start_ms, entry.last_start_ms);
            let (is_ahead, is_behind) = match order {
                Order::OldestFirst => (first > key.0, last < key.0),
                Order::NewestFirst => (last < key.0, first > key.0),
            };
            if is_ahead {
                break;
            }
            if !is_behind {
                let page = match self.passed.open.take().filter(|(open, _)| *open == number) {
                    Some((_, page)) => page,
                    None => self.read(listing, number).inspect_err(|_| {
                        self.passed.pages.pop_front();
                    })?,
                };
                self.passed.open = Some((number, Arc::clone(&page)));
                match (page.binary_search_by_key(&key, key_of), order) {
                    (Ok(at), _) => return Ok(Some(self.part(page, at))),
                    // Between two sessions of it.
                    (Err(at), Order::OldestFirst) if at < page.len() => break,
                    (Err(at), Order::NewestFirst) if at > 0 => break,
                    (Err(_), _) => {}
                }
            }
            self.passed.pages.pop_front();
        }
        Ok(None)
    }
}

/// What one segment holds of a visitor's sessions.
pub(super) struct VisitorSource {
    pub(super) segment: Arc<SegmentInfo>,
    pub(super) found: Vec<Found>,
}

impl VisitorSource {
    pub(super) fn take(&mut self) -> Option<ArchivedPart> {
        let found = self.found.pop()?;
        Some(ArchivedPart { segment: Arc::clone(&self.segment), found })
    }
}
