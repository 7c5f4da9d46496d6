//! What of the pending changes a power cut leaves: the choices, one by one.

use super::content::WHOLE_PAGE;
use super::random::SplitMix;

/// What a power cut leaves of the changes that were not yet durable.
///
/// Numbers are those of operations, see [`SimDisk::operations`](super::SimDisk::operations).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// None of them: the disk wrote only what it had to.
    Nothing,
    /// All of them: the disk was quick.
    Everything,
    /// All of the operations before this one and none from it on: a disk that keeps the order.
    Before(u64),
    /// This operation alone, with the directory changes that it stands on. If it grew a file then the
    /// length is kept too, and what earlier writes put there reads as zeros.
    Only(u64),
    /// All but this operation, and but the directory changes that stand on it.
    Without(u64),
    /// Any subset: units of 512 bytes or pages of 4 KiB in any order, lengths without their data (which then reads as zeros
    /// or as what removed files have left there) and data without their length, directory changes up to any point of each
    /// directory or, some of the time, in any order. The seed also draws the manner, so that the corners of the space are
    /// visited often.
    Random(u64),
}

/// Draws what is kept, in the order in which things were done.
pub(super) struct Chooser {
    survival: Survival,
    random: SplitMix,
}

/// Draws what is kept of one file.
pub(super) struct FileChooser {
    survival: Survival,
    random: SplitMix,
    units: Manner,
    lengths_kept: u64,
    /// Whether what a file grew by without its data shows what was on the disk before.
    stale: bool,
}

enum Manner {
    Nothing,
    Everything,
    Seldom,
    Half,
    Often,
    /// This many units more, then none: a write torn off.
    First(u64),
    /// None for this many units more, then all: the later overtook the earlier.
    Last(u64),
    /// Each operation as a whole.
    Operations(u64),
    /// Each page as a whole: a file system that keeps the order within a page.
    Pages(u64),
}

/// How directory changes are chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// What is lost takes with it all that follows in the same directory.
    Directory,
    /// What is lost takes with it only what follows on the same name.
    Name,
}

impl Chooser {
    pub(super) fn new(survival: Survival) -> Self {
        let seed = if let Survival::Random(seed) = survival { seed } else { 0 };
        Self { survival, random: SplitMix::new(seed) }
    }

    pub(super) fn survival(&self) -> Survival {
        self.survival
    }

    /// For a file with this many pending units and lengths.
    pub(super) fn file(&mut self, units: u64, lengths: u64) -> FileChooser {
        let mut random = SplitMix::new(self.random.draw());
        let manner = match random.below(9) {
            0 => Manner::Nothing,
            1 => Manner::Everything,
            2 => Manner::Seldom,
            3 => Manner::Half,
            4 => Manner::Often,
            5 => Manner::First(random.below(units + 1)),
            6 => Manner::Last(random.below(units + 1)),
            7 => Manner::Pages(random.draw()),
            _ => Manner::Operations(random.draw()),
        };
        let lengths_kept = match random.below(4) {
            0 => 0,
            1 => lengths,
            _ => random.below(lengths + 1),
        };
        let stale = matches!(self.survival, Survival::Random(_)) && random.is(6);
        FileChooser { survival: self.survival, random, units: manner, lengths_kept, stale }
    }

    /// The order of directory changes, and the chances in 16 for each to be kept.
    pub(super) fn directories(&mut self) -> (Order, u64) {
        match self.survival {
            Survival::Random(_) => match self.random.below(6) {
                0 => (Order::Directory, 0),
                1 => (Order::Directory, 16),
                2 => (Order::Directory, 8),
                3 => (Order::Directory, 14),
                4 => (Order::Name, 8),
                _ => (Order::Name, 14),
            },
            Survival::Only(_) | Survival::Without(_) => (Order::Name, 0),
            Survival::Nothing | Survival::Everything | Survival::Before(_) => (Order::Directory, 0),
        }
    }

    /// Whether a directory change of this operation is kept.
    pub(super) fn keeps_change(&mut self, number: u64, chances: u64) -> bool {
        match self.survival {
            Survival::Random(_) => self.random.is(chances),
            other => other.keeps(number),
        }
    }
}

impl Survival {
    fn keeps(self, number: u64) -> bool {
        match self {
            Self::Nothing | Self::Random(_) => false,
            Self::Everything => true,
            Self::Before(end) => number < end,
            Self::Only(one) => number == one,
            Self::Without(one) => number != one,
        }
    }
}

impl FileChooser {
    /// Whether what a file grew by without its data shows what was on the disk before.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Which of these units of a page are kept.
    pub(super) fn units(&mut self, number: u64, page: u64, units: u8) -> u8 {
        if !matches!(self.survival, Survival::Random(_)) {
            return if self.survival.keeps(number) { units } else { 0 };
        }
        let coins = |random: &mut SplitMix| {
            let r = random.draw().to_le_bytes();
            (r[0], r[1], r[2])
        };
        let kept = match &mut self.units {
            Manner::Nothing => 0,
            Manner::Everything => WHOLE_PAGE,
            Manner::Half => coins(&mut self.random).0,
            Manner::Seldom => {
                let (a, b, c) = coins(&mut self.random);
                a & b & c
            }
            Manner::Often => {
                let (a, b, c) = coins(&mut self.random);
                a | b | c
            }
            Manner::First(left) => first(units, left),
            Manner::Last(left) => !first(units, left),
            Manner::Operations(seed) => coin(*seed ^ number),
            Manner::Pages(seed) => coin(*seed ^ page),
        };
        kept & units
    }

    /// Whether the next length is kept; those of a file follow in order.
    pub(super) fn length(&mut self, number: u64) -> bool {
        match self.survival {
            Survival::Random(_) => {
                let keep = self.lengths_kept > 0;
                self.lengths_kept = self.lengths_kept.saturating_sub(1);
                keep
            }
            Survival::Only(one) => number <= one,
            // The hole is the hard case; that the length is lost too is `Before`.
            Survival::Without(_) => true,
            other => other.keeps(number),
        }
    }
}

/// All units or none.
fn coin(seed: u64) -> u8 {
    if SplitMix::new(seed).draw() & 1 == 0 { 0 } else { WHOLE_PAGE }
}

/// The first `left` of these units, and counts them off.
fn first(units: u8, left: &mut u64) -> u8 {
    let mut kept = 0;
    for bit in (0..8).map(|i| 1 << i).filter(|bit| units & bit != 0) {
        if *left == 0 {
            break;
        }
        *left -= 1;
        kept |= bit;
    }
    kept
}
