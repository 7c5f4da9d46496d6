//! Chance that repeats itself.

use reelvault::env::sim::SplitMix;

/// What happens by chance in one case.
#[derive(Clone)]
pub(crate) struct Chance(SplitMix);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SplitMix::new(seed))
    }

    /// Of a case of a campaign: near seeds and near cases have nothing in common.
    pub(crate) fn of(seed: u64, case: u64) -> Self {
        Self::new(Self::new(seed).next() ^ Self::new(case).next().rotate_left(32))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.draw()
    }

    /// A number below `end`; 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    /// One of these; there must be one.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Whether something came true that does one time in `of`.
    pub(crate) fn one_in(&mut self, of: u64) -> bool {
        self.0.one_in(of)
    }
}
