//! Authenticated encryption: the suites, and sealing in place.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce as GcmNonce, Tag};

use super::Key;

pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;

/// A nonce, drawn afresh for each seal.
pub(crate) type Nonce = [u8; NONCE_BYTES];

/// The cipher suite of a file or unit, as its number on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Suite {
    /// AES-256-GCM (NIST SP 800-38D), 96-bit nonce, 128-bit tag.
    Aes256Gcm = 1,
}

impl Suite {
    pub(crate) fn from_number(n: u8) -> Option<Self> {
        (n == Self::Aes256Gcm as u8).then_some(Self::Aes256Gcm)
    }
}

/// A key made ready for sealing and opening.
pub(crate) struct Cipher(Aes256Gcm);

/// The tag is wrong: tampered with, or sealed under another key or for another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TagMismatch;

impl Cipher {
    pub(crate) fn new(key: &Key) -> Self {
        Self(Aes256Gcm::new(key.expose().into()))
    }

    /// Encrypts `buf[from..]` in place and appends the tag.
    pub(crate) fn seal(&self, nonce: &Nonce, aad: &[u8], buf: &mut Vec<u8>, from: usize) {
        let nonce: &GcmNonce<_> = nonce.into();
        match self.0.encrypt_inout_detached(nonce, aad, (&mut buf[from..]).into()) {
            Ok(tag) => buf.extend_from_slice(&tag),
            // GCM refuses messages over 64 GiB; the engine's limits are thousands of times smaller.
            Err(_) => unreachable!("a unit is far smaller than the limit of GCM"),
        }
    }

    /// Decrypts in place. `buf` is ciphertext and tag; the plaintext is its beginning.
    pub(crate) fn open<'a>(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buf: &'a mut [u8],
    ) -> Result<&'a mut [u8], TagMismatch> {
        let Some(at) = buf.len().checked_sub(TAG_BYTES) else { return Err(TagMismatch) };
        let (text, tag) = buf.split_at_mut(at);
        let tag = Tag::try_from(&*tag).map_err(|_| TagMismatch)?;
        let nonce: &GcmNonce<_> = nonce.into();
        self.0
            .decrypt_inout_detached(nonce, aad, (&mut *text).into(), &tag)
            .map_err(|_| TagMismatch)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 16 of the GCM specification (McGrew and Viega 2005), AES-256 with associated data.
    #[test]
    fn gcm_agrees_with_its_specification() {
        let hex = |s: &str| -> Vec<u8> {
            (0..s.len() / 2)
                .map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap())
                .collect()
        };
        let mut key: [u8; 32] =
            hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
                .try_into()
                .unwrap();
        let nonce: Nonce = hex("cafebabefacedbaddecaf888").try_into().unwrap();
        let text = hex(concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ));
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let cipher = Cipher::new(&Key::take(&mut key));
        let mut buf = text.clone();
        cipher.seal(&nonce, &aad, &mut buf, 0);
        assert_eq!(
            buf,
            hex(concat!(
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
                "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
                "76fc6ece0f4e1768cddf8853bb2d551b"
            ))
        );
        assert_eq!(cipher.open(&nonce, &aad, &mut buf.clone()).unwrap(), text);
        for i in 0..buf.len() {
            let mut bad = buf.clone();
            bad[i] ^= 1;
            assert!(cipher.open(&nonce, &aad, &mut bad).is_err());
        }
        assert!(cipher.open(&nonce, b"", &mut buf).is_err());
        assert!(cipher.open(&nonce, b"", &mut [0; 15]).is_err());
    }
}
