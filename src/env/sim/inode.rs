//! One file: what programs see, what is durable, and what lies between.

use std::collections::BTreeSet;

use super::content::{Content, PAGE_BYTES, Page, UNIT_BYTES, WHOLE_PAGE};
use super::survival::FileChooser;

/// A file, whatever its names are.
#[derive(Clone, Default)]
pub(super) struct Inode {
    cached: Content,
    durable: Content,
    pending: Vec<Pending>,
    /// A sync failed: the cache shows bytes that no later sync will write.
    diverged: bool,
    /// Units that the medium does not give back until they are written anew.
    unreadable: BTreeSet<u64>,
}

#[derive(Clone)]
struct Pending {
    number: u64,
    change: Change,
}

#[derive(Clone)]
enum Change {
    /// Units of a page, as the cache held them after the write. A disk writes units whole, so the
    /// later version of a unit carries the earlier writes to it.
    Units {
        page: u64,
        units: u8,
        data: Page,
    },
    Length(u64),
}

impl Inode {
    /// A file that lies on the disk as it is.
    pub(super) fn settled(content: Content) -> Self {
        Self { durable: content.clone(), cached: content, ..Self::default() }
    }

    pub(super) fn content(&self) -> &Content {
        &self.cached
    }

    pub(super) fn write(&mut self, number: u64, buf: &[u8], offset: u64) {
        if !self.unreadable.is_empty() {
            let units = units_of(offset, buf.len());
            self.unreadable.retain(|unit| !units.contains(unit));
        }
        let before = self.cached.len();
        let pending = &mut self.pending;
        // What a failed sync left in the cache is clean: written again, even the same bytes count.
        self.cached.write(buf, offset, self.diverged, |piece| {
            let change = Change::Units { page: piece.page, units: piece.units, data: piece.data };
            pending.push(Pending { number, change });
        });
        if self.cached.len() != before {
            self.pending.push(Pending { number, change: Change::Length(self.cached.len()) });
        }
    }

    pub(super) fn set_len(&mut self, number: u64, len: u64) {
        if self.cached.len() != len {
            self.cached.set_len(len);
            self.pending.push(Pending { number, change: Change::Length(len) });
        }
    }

    pub(super) fn sync(&mut self) {
        if self.diverged {
            self.durable = self.after(|_| true, |_, _, _| WHOLE_PAGE);
        } else {
            self.durable = self.cached.clone();
        }
        self.pending.clear();
    }

    /// The data goes to nowhere and the cache forgets that it owed it; lengths wait for the next sync.
    pub(super) fn fail_sync(&mut self) {
        let before = self.pending.len();
        self.pending.retain(|p| matches!(p.change, Change::Length(_)));
        self.diverged |= self.pending.len() != before;
    }

    /// The file after a power cut; `freed` is what removed files have left on the disk.
    pub(super) fn survivor(&self, chooser: &mut FileChooser, freed: &[Page]) -> Self {
        let stale = chooser.is_stale();
        // Two closures need the one chooser, and one of them notes what was kept.
        let chooser = std::cell::RefCell::new(chooser);
        let kept = std::cell::RefCell::new(BTreeSet::new());
        let mut content = self.after(
            |number| chooser.borrow_mut().length(number),
            |number, page, units| {
                let units = chooser.borrow_mut().units(number, page, units);
                if stale {
                    kept.borrow_mut().extend(bits(page, units));
                }
                units
            },
        );
        if stale && !freed.is_empty() {
            let grown = units_of(self.durable.len(), 0).end;
            let end = content.len().div_ceil(UNIT_BYTES as u64);
            let kept = kept.into_inner();
            for unit in (grown..end).filter(|unit| !kept.contains(unit)) {
                let (page, within) = (unit / UNITS, unit % UNITS);
                content.put_units(page, 1 << within, &freed[page as usize % freed.len()]);
            }
            content.trim();
        }
        Self { unreadable: self.unreadable.clone(), ..Self::settled(content) }
    }

    fn after(&self, length: impl Fn(u64) -> bool, units: impl Fn(u64, u64, u8) -> u8) -> Content {
        let mut content = self.durable.clone();
        for Pending { number, change } in &self.pending {
            match change {
                Change::Units { page, units: mask, data } => {
                    content.put_units(*page, units(*number, *page, *mask) & mask, data);
                }
                Change::Length(len) if length(*number) => content.set_len(*len),
                Change::Length(_) => {}
            }
        }
        content.trim();
        content
    }

    /// Whether a power cut could change what is read.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty() && !self.diverged
    }

    /// Pending units and pending lengths.
    pub(super) fn pending(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for pending in &self.pending {
            match &pending.change {
                Change::Units { units, .. } => counts.0 += u64::from(units.count_ones()),
                Change::Length(_) => counts.1 += 1,
            }
        }
        counts
    }

    /// The operations that are not yet durable, in order, with repetitions.
    pub(super) fn pending_operations(&self) -> impl Iterator<Item = u64> {
        self.pending.iter().map(|p| p.number)
    }

    /// From now on the unit at this offset can't be read.
    pub(super) fn lose_unit(&mut self, offset: u64) {
        self.unreadable.insert(offset / UNIT_BYTES as u64);
    }

    /// Whether a read of these bytes meets a unit that can't be read.
    pub(super) fn is_unreadable(&self, offset: u64, bytes: usize) -> bool {
        !self.unreadable.is_empty()
            && self.unreadable.range(units_of(offset, bytes)).next().is_some()
    }

    /// Changes what is read and what is durable alike, as rot does.
    pub(super) fn tamper(&mut self, change: impl Fn(&mut Content)) {
        change(&mut self.cached);
        change(&mut self.durable);
    }
}

/// Units of a page.
const UNITS: u64 = (PAGE_BYTES / UNIT_BYTES) as u64;

/// The units that these bytes touch.
fn units_of(offset: u64, bytes: usize) -> std::ops::Range<u64> {
    offset / UNIT_BYTES as u64..(offset + bytes as u64).div_ceil(UNIT_BYTES as u64)
}

/// The numbers of the units of a page that a mask names.
fn bits(page: u64, units: u8) -> impl Iterator<Item = u64> {
    (0..UNITS).filter(move |bit| units >> bit & 1 == 1).map(move |bit| page * UNITS + bit)
}
