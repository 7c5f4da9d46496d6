//! A ledger of the pairs of key and nonce under which something was sealed: for simulations, which crash, clone and restore
//! one store thousands of times, in one process.
//!
//! A pair that comes a second time breaks AES-GCM: whoever sees both ciphertexts learns the difference of the texts and can forge.
//! The ledger keeps 16 bytes of a SHA-256 of each pair, so that it holds no key, and is off until a simulation begins it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{Key, Nonce, Suite};

static IS_ON: AtomicBool = AtomicBool::new(false);
static PAIRS: Mutex<Option<Pairs>> = Mutex::new(None);

/// What was sealed since the ledger was begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seals {
    /// Seals under different pairs.
    pub pairs: u64,
    /// Seals under a pair that was used before: there must be none.
    pub repeated: u64,
}

#[derive(Default)]
struct Pairs {
    known: HashSet<u128>,
    repeated: u64,
}

/// Begins an empty ledger. Simulations of one process share it, and each opening of a store needs a seed of its own: the
/// real source of randomness does not repeat itself either.
pub fn begin() {
    *PAIRS.lock() = Some(Pairs::default());
    IS_ON.store(true, Relaxed);
}

/// What the ledger holds.
#[must_use]
pub fn look() -> Seals {
    let pairs = PAIRS.lock();
    pairs.as_ref().map_or_else(Seals::default, |pairs| Seals {
        pairs: pairs.known.len() as u64,
        repeated: pairs.repeated,
    })
}

/// Notes a seal.
pub(super) fn note(key: &Key, suite: Suite, nonce: &Nonce) {
    if !IS_ON.load(Relaxed) {
        return;
    }
    let digest =
        Sha256::new().chain_update(key.expose()).chain_update([suite as u8]).chain_update(nonce);
    let digest: [u8; 32] = digest.finalize().into();
    let pair = u128::from_le_bytes(std::array::from_fn(|n| digest[n]));
    if let Some(pairs) = PAIRS.lock().as_mut()
        && !pairs.known.insert(pair)
    {
        pairs.repeated += 1;
    }
}
