//! One step down a tree, and many: the same derivation as [`kdf`](crate::crypto::kdf) with the tree's label, laid out
//! block by block.
//!
//! A leaf is 64 steps deep. Through the general HMAC each step would set up, copy and wipe hashers of its own, which
//! costs twice as much as the hashing. Here one scratch area serves all steps and is wiped once.

use sha2::block_api::compress256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto::Key;

const BLOCK_BYTES: usize = 64;
/// What a step authenticates: `u32be(1) ‖ label ‖ 00 ‖ bit ‖ u32be(256)`.
const MESSAGE: &[u8] = b"\0\0\0\x01reelvault/tree\0\0\0\0\x01\0";
/// Where the bit stands in it.
const BIT_AT: usize = 4 + 14 + 1;
const _: () = assert!(MESSAGE.len() == BIT_AT + 1 + 4);

/// The initial state of SHA-256 (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A node of a tree, on its way down. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Walk {
    node: [u8; Key::BYTES],
    state: [u32; 8],
    block: [u8; BLOCK_BYTES],
}

impl Walk {
    pub(super) fn from(node: &Key) -> Self {
        Self { node: *node.expose(), state: INITIAL, block: [0; BLOCK_BYTES] }
    }

    /// The node it has come to.
    pub(super) fn node(&self) -> Key {
        Key::take(&mut self.node.clone())
    }

    /// Goes down to a child: HMAC-SHA-256 (RFC 2104) of the message of one block under the node as key.
    pub(super) fn down(&mut self, bit: u8) {
        self.pad(0x36);
        self.last_block(MESSAGE.len(), |block| {
            block[..MESSAGE.len()].copy_from_slice(MESSAGE);
            block[BIT_AT] = bit;
        });
        let inner = self.state;
        self.pad(0x5c);
        self.last_block(Key::BYTES, |block| put(&inner, block));
        put(&self.state, &mut self.node);
    }

    /// Hashes the key, padded to a block with `with`.
    fn pad(&mut self, with: u8) {
        self.block.fill(with);
        for (byte, key) in self.block.iter_mut().zip(&self.node) {
            *byte ^= key;
        }
        self.state = INITIAL;
        compress256(&mut self.state, std::slice::from_ref(&self.block));
    }

    /// Hashes the block after that, of `len` bytes, and the end that SHA-256 puts behind it.
    fn last_block(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        self.block.fill(0);
        fill(&mut self.block);
        self.block[len] = 0x80;
        let bits = 8 * (BLOCK_BYTES + len) as u64;
        self.block[BLOCK_BYTES - 8..].copy_from_slice(&bits.to_be_bytes());
        compress256(&mut self.state, std::slice::from_ref(&self.block));
    }
}

fn put(state: &[u32; 8], out: &mut [u8]) {
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::kdf;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_step_is_the_derivation_of_the_format(key: [u8; 32], bits in prop::collection::vec(0u8..2, 1..5)) {
            let mut expected = Key::take(&mut key.clone());
            let mut walk = Walk::from(&expected);
            for bit in bits {
                expected = kdf(&expected, "reelvault/tree", &[bit]);
                walk.down(bit);
                let node = walk.node();
                prop_assert_eq!(node.expose(), expected.expose());
            }
        }
    }
}
