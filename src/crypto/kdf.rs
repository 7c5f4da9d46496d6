//! Keys, and how one is derived from another: NIST SP 800-108r1, counter mode, HMAC-SHA-256.

use std::fmt;

use ::hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret of 256 bits. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) const BYTES: usize = 32;

    /// Takes over a secret and wipes the caller's copy.
    pub(crate) fn take(bytes: &mut [u8; 32]) -> Self {
        let key = Self(*bytes);
        bytes.zeroize();
        key
    }

    /// The secret itself, for sealing and deriving.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// HMAC-SHA-256 of the parts, one after the other.
pub(crate) fn hmac_parts(key: &Key, parts: &[&[u8]]) -> Key {
    // HMAC takes keys of any length; a key of 32 bytes cannot be refused.
    let mut mac = match Hmac::<Sha256>::new_from_slice(&key.0) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    for part in parts {
        mac.update(part);
    }
    let mut out: [u8; 32] = mac.finalize().into_bytes().into();
    Key::take(&mut out)
}

/// HMAC-SHA-256 of one message.
pub(crate) fn hmac(key: &Key, message: &[u8]) -> Key {
    hmac_parts(key, &[message])
}

fn block(key: &Key, counter: u32, label: &str, context: &[u8], bits: u32) -> Key {
    hmac_parts(key, &[&counter.to_be_bytes(), label.as_bytes(), &[0], context, &bits.to_be_bytes()])
}

/// A key of 256 bits for one purpose, named by `label`, and one context.
pub(crate) fn kdf(key: &Key, label: &str, context: &[u8]) -> Key {
    block(key, 1, label, context, 256)
}

/// 512 bits: two keys.
pub(crate) fn kdf2(key: &Key, label: &str, context: &[u8]) -> (Key, Key) {
    (block(key, 1, label, context, 512), block(key, 2, label, context, 512))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn hmac_agrees_with_rfc_4231_case_1() {
        let mut key = [0u8; 32];
        key[..20].fill(0x0b); // HMAC pads keys with zeros, so 20 bytes and 12 zeros are the same key.
        let mac = hmac(&Key::take(&mut key), b"Hi There");
        assert_eq!(
            hex(mac.expose()),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn kdf_is_the_counter_mode_of_sp_800_108() {
        let key = Key::take(&mut [7; 32]);
        let by_hand = hmac(&key, b"\0\0\0\x01label\0context\0\0\x01\0");
        assert_eq!(kdf(&key, "label", b"context").expose(), by_hand.expose());
        let (a, b) = kdf2(&key, "label", b"context");
        assert_ne!(a.expose(), b.expose());
        assert_ne!(a.expose(), by_hand.expose(), "the length is part of the message");
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", Key::take(&mut [1; 32])), "Key(…)");
    }
}
