//! Randomness that repeats itself, for tests alone.

use std::io;

use parking_lot::Mutex;

use crate::env::Random;

/// Numbers that follow from a seed. **Danger: not for production**: whoever sees one knows all that follow.
///
/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): small, fast, and every seed is a
/// good one.
#[derive(Debug, Clone)]
pub struct SplitMix(u64);

impl SplitMix {
    /// The numbers of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if `end` is 0. The bias is far below what a test could see.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(end)) >> 64) as u64
    }

    /// Whether something came true that does one time in `of`.
    pub fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
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
            part.copy_from_slice(&random.draw().to_le_bytes()[..part.len()]);
        }
        Ok(())
    }
}
