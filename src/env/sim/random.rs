//! Randomness that repeats itself, for tests alone.

use std::io;

use parking_lot::Mutex;

use crate::env::Random;

/// splitmix64 (Steele, Lea and Flood 2014): small, fast, and every seed is a good one.
#[derive(Clone)]
pub(super) struct SplitMix(u64);

impl SplitMix {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if `end` is 0. The bias is far below what a test could see.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Whether something with `chances` in 16 came true.
    pub(super) fn is(&mut self, chances: u64) -> bool {
        self.below(16) < chances
    }
}

/// Random bytes that follow from a seed. **Danger: not for production**: whoever knows the seed knows
/// every key.
///
/// A store reopened after a simulated crash needs another seed, or keys and nonces repeat; the real
/// source would not repeat either.
pub struct SimRandom(Mutex<SplitMix>);

impl SimRandom {
    /// The bytes of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(SplitMix::new(seed)))
    }
}

impl Random for SimRandom {
    fn fill(&self, buf: &mut [u8]) -> io::Result<()> {
        let mut random = self.0.lock();
        for part in buf.chunks_mut(8) {
            part.copy_from_slice(&random.next().to_le_bytes()[..part.len()]);
        }
        Ok(())
    }
}
