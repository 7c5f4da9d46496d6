//! Where something stands among 2^64 places: all those that begin with the same bits.

/// The places below one prefix: 0 bits of it are the whole space, 64 a single place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    level: u8,
    /// In the low `level` bits.
    prefix: u64,
}

/// Bits of a place.
pub(super) const LEVELS: u8 = 64;

impl Place {
    /// All places.
    pub(super) const ROOT: Self = Self { level: 0, prefix: 0 };

    /// A single place.
    pub(super) fn single(at: u64) -> Self {
        Self { level: LEVELS, prefix: at }
    }

    pub(super) fn level(self) -> u8 {
        self.level
    }

    pub(super) fn prefix(self) -> u64 {
        self.prefix
    }

    pub(super) fn first(self) -> u64 {
        self.prefix.checked_shl(u32::from(LEVELS - self.level)).unwrap_or(0)
    }

    pub(super) fn last(self) -> u64 {
        self.first() | u64::MAX.checked_shr(u32::from(self.level)).unwrap_or(0)
    }

    pub(super) fn covers(self, at: u64) -> bool {
        (self.first()..=self.last()).contains(&at)
    }

    /// Whether the other is this place or a part of it.
    pub(super) fn contains(self, other: Self) -> bool {
        self.level <= other.level && self.covers(other.first())
    }

    /// Which half leads to `at`: 0 or 1. Not for a single place.
    pub(super) fn turn(self, at: u64) -> u8 {
        (at >> (LEVELS - 1 - self.level) & 1) as u8
    }

    /// One of the halves. Not for a single place.
    pub(super) fn half(self, bit: u8) -> Self {
        Self { level: self.level + 1, prefix: self.prefix << 1 | u64::from(bit) }
    }
}

/// Something that stands at a place. Lists of such are in order, and their places disjoint.
pub(super) trait Placed {
    fn place(&self) -> Place;
}

/// The one that covers a place.
pub(super) fn covering<T: Placed>(items: &[T], at: u64) -> Option<usize> {
    let after = items.partition_point(|item| item.place().first() <= at);
    let before = after.checked_sub(1)?;
    items.get(before)?.place().covers(at).then_some(before)
}
