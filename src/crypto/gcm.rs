//! AES-256-GCM by one of two libraries: RustCrypto's, or, with the feature `aws-lc`, AWS-LC.
//!
//! AWS-LC is written in C and assembler, two to three times as fast, and has a module validated by FIPS 140-3, which a program
//! gets by the feature `fips` of `aws-lc-rs`. What one seals the other opens: both are NIST SP 800-38D, with nonces that are drawn by
//! the caller.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};

use super::aead::{Nonce, TAG_BYTES, TagMismatch};
use crate::crypto::Key;

/// A key made ready.
#[cfg(not(feature = "aws-lc"))]
pub(super) type Gcm = ByRustCrypto;
/// A key made ready.
#[cfg(feature = "aws-lc")]
pub(super) type Gcm = aws_lc::ByAwsLc;

#[cfg_attr(all(feature = "aws-lc", not(test)), allow(dead_code, reason = "the tests compare"))]
pub(super) struct ByRustCrypto(Box<Aes256Gcm>);

#[cfg_attr(all(feature = "aws-lc", not(test)), allow(dead_code, reason = "the tests compare"))]
impl ByRustCrypto {
    pub(super) fn new(key: &Key) -> Self {
        Self(Box::new(Aes256Gcm::new(key.expose().into())))
    }

    pub(super) fn seal(&self, nonce: &Nonce, aad: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        match self.0.encrypt_inout_detached(nonce.into(), aad, text.into()) {
            Ok(tag) => tag.into(),
            Err(_) => super::aead::too_long(),
        }
    }

    /// Opens text with its tag behind it; the plaintext is its beginning.
    pub(super) fn open<'a>(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buf: &'a mut [u8],
    ) -> Result<&'a mut [u8], TagMismatch> {
        super::aead::open(&*self.0, nonce, aad, buf)
    }
}

#[cfg(feature = "aws-lc")]
mod aws_lc {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce as Number, UnboundKey};

    use super::{Key, Nonce, TAG_BYTES, TagMismatch};

    /// "Less safe" is what leaves the nonces to the caller, which draws them (see the page on nonces in `crypto`).
    pub(in crate::crypto) struct ByAwsLc(LessSafeKey);

    impl ByAwsLc {
        pub(in crate::crypto) fn new(key: &Key) -> Self {
            match UnboundKey::new(&AES_256_GCM, key.expose()) {
                Ok(key) => Self(LessSafeKey::new(key)),
                // It refuses keys of another length alone.
                Err(_) => unreachable!("a key has 32 bytes"),
            }
        }

        pub(in crate::crypto) fn seal(
            &self,
            nonce: &Nonce,
            aad: &[u8],
            text: &mut [u8],
        ) -> [u8; TAG_BYTES] {
            let nonce = Number::assume_unique_for_key(*nonce);
            let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
            match tag.ok().and_then(|tag| tag.as_ref().try_into().ok()) {
                Some(tag) => tag,
                None => super::super::aead::too_long(),
            }
        }

        pub(in crate::crypto) fn open<'a>(
            &self,
            nonce: &Nonce,
            aad: &[u8],
            buf: &'a mut [u8],
        ) -> Result<&'a mut [u8], TagMismatch> {
            let nonce = Number::assume_unique_for_key(*nonce);
            self.0.open_in_place(nonce, Aad::from(aad), buf).map_err(|_| TagMismatch)
        }
    }
}

#[cfg(all(test, feature = "aws-lc"))]
mod tests {
    use super::*;

    #[test]
    fn what_one_library_seals_the_other_opens() {
        let key = Key::take(&mut [7; 32]);
        let (one, other) = (ByRustCrypto::new(&key), aws_lc::ByAwsLc::new(&key));
        for bytes in [0, 1, 15, 16, 17, 255, 4_096, 70_001] {
            let text: Vec<u8> = (0..bytes).map(|n: u32| (n * 31) as u8).collect();
            let nonce = [bytes as u8; 12];
            let (mut left, mut right) = (text.clone(), text.clone());
            let tag = one.seal(&nonce, b"place", &mut left);
            left.extend(tag);
            let same = other.seal(&nonce, b"place", &mut right);
            assert_eq!(tag, same);
            right.extend(same);
            assert_eq!(left, right);
            assert_eq!(other.open(&nonce, b"place", &mut left.clone()), Ok(&mut text.clone()[..]));
            assert_eq!(one.open(&nonce, b"place", &mut right.clone()), Ok(&mut text.clone()[..]));
            right[bytes as usize / 2] ^= 1;
            assert_eq!(one.open(&nonce, b"place", &mut right.clone()), Err(TagMismatch));
            assert_eq!(other.open(&nonce, b"place", &mut right), Err(TagMismatch));
            assert_eq!(other.open(&nonce, b"place", &mut [0; 15]), Err(TagMismatch));
        }
    }
}
