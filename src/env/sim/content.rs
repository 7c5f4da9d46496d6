//! What a file holds: sparse pages that are shared between the states and images of a disk.
//!
//! A clone costs two reference counts; a write copies the pages it touches and the small tables above
//! them. A page of zeros is absent, so a zero-filled journal weighs nothing but its length.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What the page cache holds and shares.
pub(super) const PAGE_BYTES: usize = 4096;
/// What a disk writes whole or not at all.
pub(super) const UNIT_BYTES: usize = 512;
/// Pages under one node of the tree: few enough that copying a node is cheap, many enough that a
/// file of some MiB has a handful of nodes.
const NODE_PAGES: usize = 64;

/// A mask that names every unit of a page.
pub(super) const WHOLE_PAGE: u8 = u8::MAX;

type Bytes = [u8; PAGE_BYTES];
/// A page; `None` is zeros.
pub(super) type Page = Option<Arc<Bytes>>;
type Node = [Page; NODE_PAGES];

static ZEROS: Bytes = [0; PAGE_BYTES];

/// The bytes of a file and its length. Beyond the length all is zero.
#[derive(Clone, Default)]
pub(super) struct Content {
    len: u64,
    nodes: Arc<BTreeMap<u64, Arc<Node>>>,
    /// Page numbers that take up room, as sorted and disjoint `[start, end)`. Written zeros count,
    /// holes do not, as on a real file system.
    allocated: Arc<Vec<(u64, u64)>>,
}

/// What a write did to one page: the units that changed, and the page after it.
pub(super) struct Piece {
    pub(super) page: u64,
    pub(super) units: u8,
    pub(super) data: Page,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads up to the end; answers how much.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let n = buf.len().min(there);
        for (page, within, part) in split(offset, n) {
            let buf = &mut buf[part];
            match self.page(page) {
                Some(bytes) => buf.copy_from_slice(&bytes[within..within + buf.len()]),
                None => buf.fill(0),
            }
        }
        n
    }

    /// Writes, and names each page with units that came to differ, or with every unit touched if `all`.
    pub(super) fn write(
        &mut self,
        buf: &[u8],
        offset: u64,
        all: bool,
        mut changed: impl FnMut(Piece),
    ) {
        for (page, within, part) in split(offset, buf.len()) {
            let new = &buf[part];
            let old = self.page(page);
            if !all && old.is_none() && *new == ZEROS[..new.len()] {
                continue;
            }
            let mut bytes = old.as_deref().copied().unwrap_or(ZEROS);
            bytes[within..within + new.len()].copy_from_slice(new);
            let before: &Bytes = old.as_deref().unwrap_or(&ZEROS);
            let mut units = 0;
            for unit in within / UNIT_BYTES..(within + new.len()).div_ceil(UNIT_BYTES) {
                let range = unit * UNIT_BYTES..(unit + 1) * UNIT_BYTES;
                if all || before[range.clone()] != bytes[range] {
                    units |= 1 << unit;
                }
            }
            if units != 0 {
                let data = (bytes != ZEROS).then(|| Arc::new(bytes));
                self.put(page, data.clone());
                changed(Piece { page, units, data });
            }
        }
        let end = offset + buf.len() as u64;
        if !buf.is_empty() {
            self.allocate(offset / PAGE_BYTES as u64, end.div_ceil(PAGE_BYTES as u64));
        }
        self.len = self.len.max(end);
    }

    /// Puts the units of a page there, also beyond the length: see [`Content::trim`].
    pub(super) fn put_units(&mut self, page: u64, units: u8, data: &Page) {
        if units == 0 {
            return;
        }
        self.allocate(page, page + 1);
        if units == WHOLE_PAGE {
            return self.put(page, data.clone());
        }
        let mut bytes = self.page(page).as_deref().copied().unwrap_or(ZEROS);
        let from: &Bytes = data.as_deref().unwrap_or(&ZEROS);
        for unit in (0..PAGE_BYTES / UNIT_BYTES).filter(|unit| units >> unit & 1 == 1) {
            let range = unit * UNIT_BYTES..(unit + 1) * UNIT_BYTES;
            bytes[range.clone()].copy_from_slice(&from[range]);
        }
        self.put(page, (bytes != ZEROS).then(|| Arc::new(bytes)));
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.len = len;
            self.trim();
        }
        self.len = len;
    }

    /// Drops what lies beyond the length.
    pub(super) fn trim(&mut self) {
        let (page, within) = place(self.len);
        let end = self.len.div_ceil(PAGE_BYTES as u64);
        if self.allocated.last().is_some_and(|last| last.1 > end) {
            let ranges = Arc::make_mut(&mut self.allocated);
            ranges.retain(|range| range.0 < end);
            if let Some(last) = ranges.last_mut() {
                last.1 = last.1.min(end);
            }
        }
        let last = self.nodes.last_key_value().map_or(0, |(&at, _)| (at + 1) * NODE_PAGES as u64);
        if last < end || self.nodes.is_empty() {
            return;
        }
        let nodes = Arc::make_mut(&mut self.nodes);
        drop(nodes.split_off(&end.div_ceil(NODE_PAGES as u64)));
        if let Some(node) = nodes.get_mut(&(end / NODE_PAGES as u64)) {
            let first = (end % NODE_PAGES as u64) as usize;
            if node[first..].iter().any(Option::is_some) {
                Arc::make_mut(node)[first..].fill(None);
            }
        }
        if within != 0
            && let Some(mut bytes) = self.page(page).as_deref().copied()
        {
            bytes[within..].fill(0);
            self.put(page, (bytes != ZEROS).then(|| Arc::new(bytes)));
        }
    }

    /// Some of what is there, for those who come after.
    pub(super) fn some_pages(&self, max: usize) -> Vec<Page> {
        let all = self.nodes.values().flat_map(|node| node.iter());
        all.filter(|page| page.is_some()).take(max).cloned().collect()
    }

    /// Pages that take up room.
    pub(super) fn pages(&self) -> u64 {
        self.allocated.iter().map(|(start, end)| end - start).sum()
    }

    /// Whether this page takes up room.
    pub(super) fn has_room_at(&self, page: u64) -> bool {
        self.has_room_for(page, page + 1)
    }

    fn has_room_for(&self, start: u64, end: u64) -> bool {
        let after = self.allocated.partition_point(|range| range.0 <= start);
        after.checked_sub(1).is_some_and(|at| end <= self.allocated[at].1)
    }

    fn page(&self, page: u64) -> Page {
        let node = self.nodes.get(&(page / NODE_PAGES as u64))?;
        node[(page % NODE_PAGES as u64) as usize].clone()
    }

    fn put(&mut self, page: u64, data: Page) {
        let at = page / NODE_PAGES as u64;
        if data.is_none() && !self.nodes.contains_key(&at) {
            return;
        }
        let node = Arc::make_mut(&mut self.nodes)
            .entry(at)
            .or_insert_with(|| Arc::new([const { None }; NODE_PAGES]));
        Arc::make_mut(node)[(page % NODE_PAGES as u64) as usize] = data;
    }

    fn allocate(&mut self, mut start: u64, mut end: u64) {
        if self.has_room_for(start, end) {
            return;
        }
        let ranges = Arc::make_mut(&mut self.allocated);
        ranges.retain(|range| {
            let touches = range.0 <= end && start <= range.1;
            if touches {
                start = start.min(range.0);
                end = end.max(range.1);
            }
            !touches
        });
        let at = ranges.partition_point(|range| range.0 < start);
        ranges.insert(at, (start, end));
    }
}

fn place(offset: u64) -> (u64, usize) {
    (offset / PAGE_BYTES as u64, (offset % PAGE_BYTES as u64) as usize)
}

/// Cuts `len` bytes at `offset` at the pages: page number, start within it, range of the buffer.
fn split(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (page, within) = place(offset + done as u64);
        let n = (PAGE_BYTES - within).min(len - done);
        let part = done..done + n;
        done += n;
        (n > 0).then_some((page, within, part))
    })
}
