//! Sealing and key derivation.
//!
//! # Why a nonce cannot repeat under one key
//!
//! Every seal takes a fresh 96-bit nonce from [`Random`](crate::env::Random), which asks the kernel each time; the
//! process keeps no generator whose state a fork, a clone of the machine or a restored copy could repeat. What is
//! left is chance: among *n* random nonces two are equal with probability at most n² / 2^97.
//!
//! * A session key seals one payload for each of its at most 2^18 sequence numbers in a journal, one block for
//!   each few of them in a segment, and one identity whenever a process first meets the session. Appends that are
//!   refused or repeated, and archiving that an error or a crash interrupts, seal again; archiving backs off after
//!   an error. In all that stays below 2^20, so the chance is below 2^-57; SP 800-38D (8.3) allows 2^-32.
//! * The locators and envelopes of a journal are sealed under keys of that one file: a frame is at least 140 bytes and a
//!   file little more than 1 GiB, so they are below 2^23, and the chance below 2^-51.
//! * The index and directory keys of a day seal a few units for each of its segments, the manifest key two for each
//!   publication, its key check and its body, the repository key one for each snapshot, list and mark. A manifest replaced six
//!   times a second for ten years stays below 2^32, and the chance below 2^-33.
//! * A part of the keyring, and its body, have a key of their own for their one seal.
//! * A sealer's key seals the small records of one purpose; its documentation asks for fewer than 2^32 of them.
//! * The three seals of a frame share one nonce under three different keys, which is as good as three nonces:
//!   uniqueness is asked of the pair of key and nonce.
//!
//! AES-256-GCM-SIV is the second suite: it keeps its promise for other messages even if a nonce repeats, so all of the above
//! holds for it the more. A key that is used with it is derived of the one that AES-256-GCM would take.
//!
//! The keys themselves are wiped when dropped and have no `Debug` that shows them.

mod aead;
mod gcm;
mod kdf;
#[cfg(feature = "sim")]
pub mod ledger;

pub use aead::Suite;
pub(crate) use aead::{Cipher, NONCE_BYTES, Nonce, TAG_BYTES};
pub(crate) use kdf::{Key, hmac, hmac_parts, kdf, kdf2};

// Frames, blocks, and as many again for what is repeated: 2^20 messages under one session key.
const _: () = assert!(4 * crate::limits::SEQUENCE_MAX <= 1 << 20);
