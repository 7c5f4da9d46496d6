//! Listing the sessions of a site by time, a page at a time.
//!
//! Days are visited one by one, so that a page near its beginning opens the segments of one day only. Within a day the
//! parts of sessions come from each of its segments and from the journals, each in order, and are merged ([`merge`]).

mod merge;
mod source;

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::error::{Error, InputError, Result};
use crate::ids::{SessionTag, VisitorId};
use crate::limits::{PAGE_SESSIONS_MAX, SESSION_SPAN_MS_MAX};

use super::Site;
use super::find::{SessionKey, first_key};
use super::info::SessionInfo;
use super::state::SegmentList;
use merge::Listing;

/// The order of a listing, by start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The session that started last comes first.
    #[default]
    NewestFirst,
    /// The session that started first comes first.
    OldestFirst,
}

/// Which sessions of a site are asked for.
#[derive(Debug, Clone)]
pub struct Query {
    from_ms: u64,
    to_ms: u64,
    order: Order,
    visitor: Option<VisitorId>,
    limit: usize,
    after: Option<Cursor>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            from_ms: 0,
            to_ms: u64::MAX,
            order: Order::NewestFirst,
            visitor: None,
            limit: 100,
            after: None,
        }
    }
}

impl Query {
    /// All sessions, newest first, 100 a page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sessions that overlap the time from `from_ms` to before `to_ms`, Unix milliseconds.
    #[must_use]
    pub fn between(mut self, from_ms: u64, to_ms: u64) -> Self {
        (self.from_ms, self.to_ms) = (from_ms, to_ms);
        self
    }

    /// In this order.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Of this visitor alone.
    #[must_use]
    pub fn visitor(mut self, visitor: VisitorId) -> Self {
        self.visitor = Some(visitor);
        self
    }

    /// At most this many a page, 1 to 1,000; other numbers are taken to the nearer end.
    #[must_use]
    pub fn limit(mut self, sessions: usize) -> Self {
        self.limit = sessions.clamp(1, PAGE_SESSIONS_MAX);
        self
    }

    /// After the last session of an earlier page of the same query.
    #[must_use]
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }
}

/// Where a page ended. It stays valid while sessions are added and removed, and is bound to its site and order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor([u8; CURSOR_BYTES]);

/// Order, start, tag, and a keyed check of them.
const CURSOR_BYTES: usize = 1 + 8 + 16 + 8;

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::str::FromStr for Cursor {
    type Err = InputError;
    fn from_str(s: &str) -> Result<Self, InputError> {
        let mut bytes = [0; CURSOR_BYTES];
        // Parsing a number alone would take a plus sign for a digit.
        if s.len() != 2 * CURSOR_BYTES || !s.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InputError::Cursor);
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&s[2 * i..2 * i + 2], 16).map_err(|_| InputError::Cursor)?;
        }
        Ok(Self(bytes))
    }
}

/// A page of sessions.
#[derive(Debug)]
pub struct Page {
    /// The sessions, in order.
    pub sessions: Vec<SessionInfo>,
    /// Where the next page begins; `None` if there is none.
    pub next: Option<Cursor>,
    /// Damage that was met: what it hides is missing from the page, and everything else is there.
    pub damage: Vec<Error>,
}

/// The range of starts that a query looks at, its ends included.
#[derive(Clone, Copy)]
struct Bounds {
    low: SessionKey,
    high: SessionKey,
}

impl Bounds {
    fn contains(&self, key: SessionKey) -> bool {
        self.low <= key && key <= self.high
    }
}

impl Site {
    /// A page of the site's sessions.
    ///
    /// # Errors
    /// [`InputError::TimesReversed`], [`InputError::Cursor`], and errors of the system. Damage is told in the page.
    pub fn sessions(&self, query: &Query) -> Result<Page> {
        if query.from_ms > query.to_ms {
            let (from, to) = (query.from_ms, query.to_ms);
            return Err(InputError::TimesReversed { from, to }.into());
        }
        self.inner.keep_up()?;
        let Some(bounds) = self.bounds(query)? else {
            return Ok(Page { sessions: Vec::new(), next: None, damage: Vec::new() });
        };
        let mut listing = Listing::new(self, query, bounds);
        loop {
            if let Some(page) = listing.page()? {
                return Ok(page);
            }
            listing.look_again();
        }
    }

    /// The starts a query looks at; `None` if there are none.
    fn bounds(&self, query: &Query) -> Result<Option<Bounds>> {
        let Some(last_ms) = query.to_ms.checked_sub(1) else { return Ok(None) };
        let mut bounds = Bounds {
            low: first_key(query.from_ms.saturating_sub(SESSION_SPAN_MS_MAX)),
            high: (last_ms.saturating_add(SESSION_SPAN_MS_MAX), SessionTag([0xff; 16])),
        };
        if let Some(cursor) = &query.after {
            let key = self.open_cursor(cursor, query.order)?;
            match query.order {
                Order::NewestFirst => bounds.high = bounds.high.min(before(key)),
                Order::OldestFirst => bounds.low = bounds.low.max(after(key)),
            }
        }
        Ok((bounds.low <= bounds.high).then_some(bounds))
    }

    /// The segments as they are now, and the epoch of the site's shard.
    fn look(&self) -> (u64, Arc<SegmentList>) {
        let state = self.inner.shard(self.site.handle()).state.lock();
        (state.epoch, self.inner.catalog.snapshot())
    }

    fn cursor(&self, order: Order, key: SessionKey) -> Cursor {
        let mut bytes = [0; CURSOR_BYTES];
        bytes[0] = order as u8;
        bytes[1..9].copy_from_slice(&key.0.to_le_bytes());
        bytes[9..25].copy_from_slice(&key.1.0);
        let check = self.site.cursor_mac(&bytes[..25]);
        bytes[25..].copy_from_slice(&check[..8]);
        Cursor(bytes)
    }

    fn open_cursor(&self, cursor: &Cursor, order: Order) -> Result<SessionKey> {
        let bytes = &cursor.0;
        let start_ms = u64::from_le_bytes(*bytes[1..].first_chunk().unwrap_or(&[0; 8]));
        let tag = SessionTag(*bytes[9..].first_chunk().unwrap_or(&[0; 16]));
        let key = (start_ms, tag);
        let genuine: bool = self.cursor(order, key).0.ct_eq(bytes).into();
        if genuine { Ok(key) } else { Err(InputError::Cursor.into()) }
    }
}

fn before((ms, tag): SessionKey) -> SessionKey {
    match u128::from_be_bytes(tag.0).checked_sub(1) {
        Some(n) => (ms, SessionTag(n.to_be_bytes())),
        None => (ms.saturating_sub(1), SessionTag([0xff; 16])),
    }
}

fn after((ms, tag): SessionKey) -> SessionKey {
    match u128::from_be_bytes(tag.0).checked_add(1) {
        Some(n) => (ms, SessionTag(n.to_be_bytes())),
        None => first_key(ms.saturating_add(1)),
    }
}
