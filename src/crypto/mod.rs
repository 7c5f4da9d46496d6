//! Sealing and key derivation.
//!
//! # Why a nonce cannot repeat under one key
//!
//! Every seal takes a fresh 96-bit nonce from [`Random`](crate::env::Random), which asks the kernel each time; the
//! process keeps no generator whose state a fork, a clone of the machine or a restored copy could repeat. What is
//! left is chance: among *n* random nonces two are equal with probability at most n² / 2^97.
//!
//! * A session key seals at most one payload for each of its 2^18 sequence numbers in a journal, one block for
//!   each of them in a segment, and one identity a segment; a crash in the middle of archiving seals
//!   blocks a second time. All that stays below [`SEALS_PER_KEY_MAX`] = 2^20, so the chance is below 2^-57;
//!   SP 800-38D (8.3) allows 2^-32.
//! * Journal, envelope, index, directory and manifest keys seal small units: a journal key those of one file (a
//!   frame is at least 136 bytes, a file at most 1 GiB: below 2^23), an envelope key those of one site. At
//!   2^31 frames of one site the bound is 2^-35; a site that large is rotated to a new key long before by its retention.
//! * The three seals of a frame share one nonce under three different keys, which is as good as three nonces:
//!   uniqueness is asked of the pair of key and nonce.
//!
//! The keys themselves are wiped when dropped and have no `Debug` that shows them.

mod aead;
mod kdf;

pub(crate) use aead::{Cipher, NONCE_BYTES, Nonce, Suite, TAG_BYTES};
pub(crate) use kdf::{Key, hmac, hmac_parts, kdf, kdf2};

/// The most messages one session key may seal; see the argument above.
const SEALS_PER_KEY_MAX: u64 = 1 << 20;
// Frames, blocks, and as many again for archiving that crashes interrupted.
const _: () = assert!(4 * crate::limits::SEQUENCE_MAX <= SEALS_PER_KEY_MAX);
