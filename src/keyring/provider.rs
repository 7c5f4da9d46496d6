//! What wraps a keyring: the trait of key providers, and what the local ones share.

use std::fmt;

use crate::crypto::{Cipher, Key, NONCE_BYTES, TAG_BYTES};
use crate::env::Random;
use crate::error::Result;
use crate::ids::StoreId;

/// The kind of a key provider, as its number in the keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum ProviderKind {
    /// A local file with keys: [`KeyFile`](crate::KeyFile).
    KeyFile = 1,
    /// A passphrase: [`Passphrase`](crate::Passphrase).
    Passphrase = 2,
    /// One that the embedding program brings: a key service, say, or a hardware module.
    External = 3,
}

impl ProviderKind {
    pub(crate) fn from_number(n: u8) -> Option<Self> {
        [Self::KeyFile, Self::Passphrase, Self::External].into_iter().find(|kind| *kind as u8 == n)
    }
}

/// The key under which one generation of a keyring is sealed: the only thing a provider sees of it.
///
/// Wiped when dropped.
pub struct DataKey(pub(crate) Key);

impl DataKey {
    /// Takes over a key and wipes the caller's copy.
    #[must_use]
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        Self(Key::take(bytes))
    }

    /// The key itself, for a provider to wrap. Do not keep, print or send it.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

/// A data key as its provider made it unreadable.
pub(super) struct Wrapped {
    /// The version of the provider's key that wrapped it.
    pub(super) version: u32,
    /// What the provider needs to unwrap it.
    pub(super) bytes: Vec<u8>,
}

/// What came of destroying a version of a provider's key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destruction {
    /// The version is gone: what it wrapped opens no more.
    Destroyed {
        /// How, in the words of the provider: it stands in the certificate of an erasure.
        receipt: String,
    },
    /// A key of this kind cannot be destroyed.
    Impossible {
        /// Why not.
        why: &'static str,
    },
}

/// Wraps and unwraps the data keys of a keyring, and destroys the keys that did.
///
/// A provider never sees the keyring, only the 32 bytes of a data key, so that it can be a service or a
/// module that keeps its own key to itself. Its key has *versions*, numbered from 1. Each generation of a keyring is
/// wrapped under a fresh one; when it is in place, the older ones are destroyed, and with them every older copy of the
/// keyring. So deletion is as final as [`destroy`](Self::destroy) is.
///
/// The calls fit a key of Vault's transit engine (`rotate`; encrypt with `key_version`; decrypt; raise
/// `min_decryption_version` and `trim`) and a PKCS#11 module (one AES or RSA object a version, labelled with the store;
/// `C_DestroyObject`). There, destroying a version may destroy all older ones too, which is what a keyring does anyway: it
/// never asks, but of a [`KeyFile`](super::KeyFile), for the destruction of a version that is not older than the one in use.
///
/// `aad` is associated data, 25 bytes that name the store, the generation and the kind of provider. A wrapped key
/// must not unwrap with other associated data, nor as another version; a provider whose seal does not
/// already depend on the version adds it to the associated data, as four bytes little-endian.
pub trait KeyProvider: Send + Sync {
    /// Which kind this is: [`External`](ProviderKind::External) for one of your own.
    fn kind(&self) -> ProviderKind;

    /// Why versions of this key cannot be destroyed; nothing if they can.
    fn indestructible(&self) -> Option<&'static str> {
        None
    }

    /// Makes a version of the key for a store, higher than all before it. It is durable when this returns, and names the
    /// store as its owner from the first: whatever is sealed under it later, a crash cannot make it forgotten.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) and [`Error::DiskFull`](crate::Error::DiskFull) if the provider cannot do its work.
    fn new_version(&self, store: &StoreId) -> Result<u32>;

    /// The versions that were made for this store and are not destroyed, rising.
    ///
    /// # Errors
    /// As [`new_version`](Self::new_version).
    fn versions(&self, store: &StoreId) -> Result<Vec<u32>>;

    /// How many more versions can be made before some are destroyed; nothing where there is no bound, or none can be told. With few left, changes
    /// that fail are tried again rarely.
    fn versions_left(&self) -> Option<usize> {
        None
    }

    /// Wraps a data key under a version: at most 4,096 bytes.
    ///
    /// # Errors
    /// [`Error::MissingKeyVersion`](crate::Error::MissingKeyVersion) if the provider does not hold this version;
    /// [`Error::Io`](crate::Error::Io) if it cannot do its work.
    fn wrap(&self, version: u32, data_key: &DataKey, aad: &[u8]) -> Result<Vec<u8>>;

    /// Unwraps what [`wrap`](Self::wrap) made.
    ///
    /// # Errors
    /// [`Error::MissingKeyVersion`](crate::Error::MissingKeyVersion) if the provider does not hold this version,
    /// [`Error::WrongKey`](crate::Error::WrongKey) if its key does not open it,
    /// [`Error::Corrupt`](crate::Error::Corrupt) if `bytes` do not have the form that it gives them.
    fn unwrap_key(&self, version: u32, bytes: &[u8], aad: &[u8]) -> Result<DataKey>;

    /// Destroys a version, durably. One that is not there is destroyed already: it may be asked for again after an error.
    ///
    /// # Errors
    /// As [`new_version`](Self::new_version); the version must then be held for alive.
    fn destroy(&self, version: u32) -> Result<Destruction>;
}

/// A nonce and a data key sealed under a local key.
pub(super) const LOCAL_WRAP_BYTES: usize = NONCE_BYTES + Key::BYTES + TAG_BYTES;

fn bound(aad: &[u8], version: u32) -> Vec<u8> {
    [aad, &version.to_le_bytes()].concat()
}

/// Appends a fresh nonce and the data key, sealed under `key`.
pub(super) fn wrap_locally(
    key: &Key,
    version: u32,
    data_key: &DataKey,
    aad: &[u8],
    random: &dyn Random,
    out: &mut Vec<u8>,
) -> Result<()> {
    let nonce = super::draw::<NONCE_BYTES>(random)?;
    // Room for all of it at once: growing would leave a copy of the data key in freed memory.
    out.reserve_exact(LOCAL_WRAP_BYTES);
    out.extend_from_slice(&nonce);
    let from = out.len();
    out.extend_from_slice(data_key.expose());
    Cipher::new(key).seal(&nonce, &bound(aad, version), out, from);
    Ok(())
}

/// Opens what [`wrap_locally`] appended; nothing if this key did not seal it for this place.
pub(super) fn unwrap_locally(
    key: &Key,
    version: u32,
    wrapped: &[u8; LOCAL_WRAP_BYTES],
    aad: &[u8],
) -> Option<DataKey> {
    let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_BYTES>()?;
    let mut sealed = zeroize::Zeroizing::new(sealed.to_vec());
    let opened = Cipher::new(key).open(nonce, &bound(aad, version), &mut sealed).ok()?;
    opened.first_chunk_mut::<{ Key::BYTES }>().map(DataKey::take)
}
