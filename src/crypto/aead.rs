//! Authenticated encryption: the suites, and sealing in place.

use std::sync::OnceLock;

use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit, Tag};
use aes_gcm_siv::Aes256GcmSiv;

use super::gcm::Gcm;
use super::{Key, kdf};
use crate::planted::{self, Bug};

pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;

/// A nonce, drawn afresh for each seal.
pub(crate) type Nonce = [u8; NONCE_BYTES];

/// The cipher suite of a file or unit, as its number on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM (NIST SP 800-38D), 96-bit nonce, 128-bit tag.
    Aes256Gcm = 1,
    /// AES-256-GCM-SIV (RFC 8452), 96-bit nonce, 128-bit tag. A repeated nonce tells no more than that two messages are equal.
    Aes256GcmSiv = 2,
}

impl Suite {
    pub(crate) fn from_number(n: u8) -> Option<Self> {
        [Self::Aes256Gcm, Self::Aes256GcmSiv].into_iter().find(|suite| *suite as u8 == n)
    }
}

/// A key made ready for sealing in one suite, and for opening in any.
///
/// One key is never used with two ciphers: AES-256-GCM takes the key as it is, any other suite a key derived of it.
pub(crate) struct Cipher {
    suite: Suite,
    /// Boxed, like the ciphers, so that moving this leaves no copy behind that nothing wipes.
    key: Box<Key>,
    // Made at first use: most keys meet one suite alone.
    gcm: OnceLock<Gcm>,
    gcm_siv: OnceLock<Box<Aes256GcmSiv>>,
}

/// The tag is wrong: tampered with, or sealed under another key or for another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TagMismatch;

impl Cipher {
    /// Seals in the first suite: what is not data of the store, and so does not follow its suite for new data.
    pub(crate) fn new(key: &Key) -> Self {
        Self::with_suite(key, Suite::Aes256Gcm)
    }

    /// Seals in a suite.
    pub(crate) fn with_suite(key: &Key, suite: Suite) -> Self {
        let key = Box::new(key.clone());
        Self { suite, key, gcm: OnceLock::new(), gcm_siv: OnceLock::new() }
    }

    /// The suite in which this seals.
    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }

    fn gcm(&self) -> &Gcm {
        self.gcm.get_or_init(|| Gcm::new(&self.key))
    }

    fn gcm_siv(&self) -> &Aes256GcmSiv {
        self.gcm_siv.get_or_init(|| {
            let key = kdf(&self.key, "reelvault/suite", &[Suite::Aes256GcmSiv as u8]);
            Box::new(Aes256GcmSiv::new(key.expose().into()))
        })
    }

    /// Encrypts `buf[from..]` in place and appends the tag.
    pub(crate) fn seal(&self, nonce: &Nonce, aad: &[u8], buf: &mut Vec<u8>, from: usize) {
        self.seal_in(self.suite, nonce, aad, buf, from);
    }

    /// As [`Self::seal`], in a suite that need not be this cipher's: the seals of one unit have one suite.
    pub(crate) fn seal_in(
        &self,
        suite: Suite,
        nonce: &Nonce,
        aad: &[u8],
        buf: &mut Vec<u8>,
        from: usize,
    ) {
        #[cfg(feature = "sim")]
        super::ledger::note(&self.key, suite, nonce);
        let aad = if planted::is(Bug::PlaceUnbound) { &[] } else { aad };
        match suite {
            Suite::Aes256Gcm => {
                let tag = self.gcm().seal(nonce, aad, &mut buf[from..]);
                buf.extend_from_slice(&tag);
            }
            Suite::Aes256GcmSiv => seal(self.gcm_siv(), nonce, aad, buf, from),
        }
    }

    /// Decrypts in place what was sealed in this cipher's own suite. `buf` is ciphertext and tag; the plaintext is its
    /// beginning.
    pub(crate) fn open<'a>(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buf: &'a mut [u8],
    ) -> Result<&'a mut [u8], TagMismatch> {
        self.open_in(self.suite, nonce, aad, buf)
    }

    /// As [`Self::open`], in the suite that the unit names.
    pub(crate) fn open_in<'a>(
        &self,
        suite: Suite,
        nonce: &Nonce,
        aad: &[u8],
        buf: &'a mut [u8],
    ) -> Result<&'a mut [u8], TagMismatch> {
        let aad = if planted::is(Bug::PlaceUnbound) { &[] } else { aad };
        match suite {
            Suite::Aes256Gcm => self.gcm().open(nonce, aad, buf),
            Suite::Aes256GcmSiv => open(self.gcm_siv(), nonce, aad, buf),
        }
    }
}

fn seal<A>(aead: &A, nonce: &Nonce, aad: &[u8], buf: &mut Vec<u8>, from: usize)
where
    A: AeadInOut<NonceSize = U12, TagSize = U16>,
{
    match aead.encrypt_inout_detached(nonce.into(), aad, (&mut buf[from..]).into()) {
        Ok(tag) => buf.extend_from_slice(&tag),
        Err(_) => too_long(),
    }
}

/// Both suites refuse messages over 64 GiB; the engine's limits are thousands of times smaller.
pub(super) fn too_long() -> ! {
    unreachable!("a unit is far smaller than the limit of its suite")
}

pub(super) fn open<'a, A>(
    aead: &A,
    nonce: &Nonce,
    aad: &[u8],
    buf: &'a mut [u8],
) -> Result<&'a mut [u8], TagMismatch>
where
    A: AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let Some(at) = buf.len().checked_sub(TAG_BYTES) else { return Err(TagMismatch) };
    let (text, tag) = buf.split_at_mut(at);
    let tag = Tag::<A>::try_from(&*tag).map_err(|_| TagMismatch)?;
    aead.decrypt_inout_detached(nonce.into(), aad, (&mut *text).into(), &tag)
        .map_err(|_| TagMismatch)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(s: &str) -> Vec<u8> {
        (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    fn key(s: &str) -> Key {
        Key::take(&mut hex(s).try_into().unwrap())
    }

    /// Test case 16 of the GCM specification (McGrew and Viega 2005), AES-256 with associated data.
    #[test]
    fn gcm_agrees_with_its_specification() {
        let key = key("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let nonce: Nonce = hex("cafebabefacedbaddecaf888").try_into().unwrap();
        let text = hex(concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ));
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let cipher = Cipher::new(&key);
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

    /// Key, nonce, associated data, plaintext and result, from RFC 8452, appendix C.2.
    const GCM_SIV: [[&str; 5]; 5] = [
        [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "030000000000000000000000",
            "",
            "",
            "07f5f4169bbf55a8400cd47ea6fd400f",
        ],
        [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "030000000000000000000000",
            "",
            "0100000000000000",
            "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28",
        ],
        [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "030000000000000000000000",
            "01",
            "0200000000000000",
            "1de22967237a813291213f267e3b452f02d01ae33e4ec854",
        ],
        [
            "9745b3d1ae06556fb6aa7890bebc18fe6b3db4da3d57aa94842b9803a96e07fb",
            "6de71860f762ebfbd08284e4",
            "f37de21c7ff901cfe8a69615a93fdf7a98cad481796245709f",
            "21702de0de18baa9c9596291b08466",
            "793576dfa5c0f88729a7ed3c2f1bffb3080d28f6ebb5d3648ce97bd5ba67fd",
        ],
        [
            "3c535de192eaed3822a2fbbe2ca9dfc88255e14a661b8aa82cc54236093bbc23",
            "688089e55540db1872504e1c",
            "734320ccc9d9bbbb19cb81b2af4ecbc3e72834321f7aa0f70b7282b4f33df23f167541",
            "ced532ce4159b035277d4dfbb7db62968b13cd4eec",
            "626660c26ea6612fb17ad91e8e767639edd6c9faee9d6c7029675b89eaf4ba1ded1a286594",
        ],
    ];

    #[test]
    fn gcm_siv_agrees_with_rfc_8452() {
        for [key_, nonce, aad, text, result] in GCM_SIV {
            let siv = Aes256GcmSiv::new(key(key_).expose().into());
            let nonce: Nonce = hex(nonce).try_into().unwrap();
            let (aad, text) = (hex(aad), hex(text));
            let mut buf = text.clone();
            seal(&siv, &nonce, &aad, &mut buf, 0);
            assert_eq!(buf, hex(result));
            assert_eq!(open(&siv, &nonce, &aad, &mut buf.clone()).unwrap(), text);
            for i in 0..buf.len() {
                let mut bad = buf.clone();
                bad[i] ^= 1;
                assert!(open(&siv, &nonce, &aad, &mut bad).is_err());
            }
        }
    }

    /// The second key is that of the format document, computed with Python's hmac and hashlib.
    #[test]
    fn a_cipher_opens_either_suite_and_uses_a_key_of_its_own_for_each() {
        let key_ = key("fb59cf33babcf654cc1f38d168f19689d0fe847f7bf6ff715884261dbc94a946");
        let derived = key("49aa3a6a8ef22016fc5e1a56a36c7e7f2f302b41f663a63c5e6eba1f35f7d6b2");
        let (nonce, aad) = ([7; NONCE_BYTES], b"place");
        let siv = Aes256GcmSiv::new(derived.expose().into());
        let mut expected = b"text".to_vec();
        seal(&siv, &nonce, aad, &mut expected, 0);
        let suites = [Suite::Aes256Gcm, Suite::Aes256GcmSiv];
        for suite in suites {
            let (mine, other) =
                (Cipher::with_suite(&key_, suite), Cipher::with_suite(&key_, suites[0]));
            let mut buf = b"text".to_vec();
            mine.seal(&nonce, aad, &mut buf, 0);
            assert_eq!(buf == expected, suite == Suite::Aes256GcmSiv);
            let mut same = b"text".to_vec();
            other.seal_in(suite, &nonce, aad, &mut same, 0);
            assert_eq!(buf, same);
            for opened in suites {
                let text = other.open_in(opened, &nonce, aad, &mut buf.clone()).is_ok();
                assert_eq!(text, opened == suite);
            }
            assert_eq!(mine.open(&nonce, aad, &mut buf).unwrap(), b"text");
        }
    }

    #[test]
    fn suites_have_their_numbers() {
        for n in 0..=u8::MAX {
            let suite = Suite::from_number(n);
            assert_eq!(suite.map(|suite| suite as u8), (1..=2).contains(&n).then_some(n));
        }
    }
}
