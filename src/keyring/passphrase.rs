//! The passphrase provider: Argon2id makes a key of a passphrase, and that key wraps.

use std::fmt;
use std::io;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::provider::{LOCAL_WRAP_BYTES, unwrap_locally, wrap_locally};
use super::{DataKey, Destruction, KeyProvider, ProviderKind, draw};
use crate::crypto::Key;
use crate::env::{Env, Random};
use crate::error::{Damage, Error, InputError, Result};
use crate::format::codec::{Malformed, Put, Take};
use crate::ids::StoreId;
use crate::sync::Mutex;

/// Most memory for Argon2id in KiB, 1 GiB: a keyring may not ask for more on its own word.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Most passes of Argon2id: with the most memory a minute's work.
pub const ARGON2_PASSES_MAX: u32 = 64;
/// Most lanes of Argon2id.
pub const ARGON2_LANES_MAX: u32 = 64;

/// A passphrase has one version: another passphrase is another key.
const VERSION: u32 = 1;
const INDESTRUCTIBLE: &str =
    "a passphrase cannot be taken back: who knows it opens older copies of the keyring";
const SALT_BYTES: usize = 16;

/// What Argon2id (RFC 9106) costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB: at least 8 for each lane, at most [`ARGON2_MEMORY_KIB_MAX`].
    pub memory_kib: u32,
    /// Passes over the memory: 1 to [`ARGON2_PASSES_MAX`].
    pub passes: u32,
    /// Lanes: 1 to [`ARGON2_LANES_MAX`].
    pub lanes: u32,
}

impl Argon2Cost {
    /// The second recommended option of RFC 9106, section 4: 64 MiB, three passes, four lanes.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };

    fn in_bounds(self) -> bool {
        (1..=ARGON2_LANES_MAX).contains(&self.lanes)
            && (1..=ARGON2_PASSES_MAX).contains(&self.passes)
            && (8 * self.lanes..=ARGON2_MEMORY_KIB_MAX).contains(&self.memory_kib)
    }
}

/// A key provider that derives its key from a passphrase with Argon2id.
///
/// It is as good as the passphrase: who holds a copy of a keyring can try passphrases without end. An erased key in
/// an old copy of the keyring stays readable with it, for a passphrase cannot destroy an older version of itself.
pub struct Passphrase {
    random: Arc<dyn Random>,
    secret: Zeroizing<Vec<u8>>,
    cost: Argon2Cost,
    /// The key made last, so that the generations of one keyring share a salt and the work is done once.
    made: Mutex<Option<Made>>,
}

#[derive(Clone)]
struct Made {
    salt: [u8; SALT_BYTES],
    cost: Argon2Cost,
    key: Key,
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl Passphrase {
    /// Takes over a passphrase, at the [recommended cost](Argon2Cost::RECOMMENDED). A `String` or `Vec` is taken
    /// without a copy and wiped in the end.
    ///
    /// # Errors
    /// [`InputError::Option`] if it is empty.
    pub fn new(env: &Env, secret: impl Into<Vec<u8>>) -> Result<Self> {
        Self::with_cost(env, secret, Argon2Cost::RECOMMENDED)
    }

    /// The same at another cost, which holds for keyrings written from now on; an existing keyring is opened at the
    /// cost it names.
    ///
    /// # Errors
    /// [`InputError::Option`] if the passphrase is empty or the cost out of bounds.
    pub fn with_cost(env: &Env, secret: impl Into<Vec<u8>>, cost: Argon2Cost) -> Result<Self> {
        let secret = Zeroizing::new(secret.into());
        let refuse = |name, why| Err(InputError::Option { name, why }.into());
        if secret.is_empty() {
            return refuse("passphrase", "it must not be empty");
        }
        if !cost.in_bounds() {
            return refuse(
                "passphrase cost",
                "8 KiB a lane to 1 GiB, 1 to 64 passes, 1 to 64 lanes",
            );
        }
        Ok(Self { random: env.random.clone(), secret, cost, made: Mutex::new(None) })
    }

    /// The key for a salt and cost: the one made last, or a new one.
    fn key(&self, salt: [u8; SALT_BYTES], cost: Argon2Cost) -> Result<Made> {
        let made = self.made.lock().clone();
        match made.filter(|made| made.salt == salt && made.cost == cost) {
            Some(made) => Ok(made),
            None => Ok(Made { salt, cost, key: argon2id(&self.secret, &salt, cost)? }),
        }
    }
}

fn argon2id(secret: &[u8], salt: &[u8], cost: Argon2Cost) -> Result<Key> {
    let failed =
        |kind: io::ErrorKind| Error::io("derive a key with", "Argon2id", io::Error::from(kind));
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(Key::BYTES))
        .map_err(|_| failed(io::ErrorKind::InvalidInput))?;
    let mut memory: Zeroizing<Vec<Block>> = Zeroizing::new(Vec::new());
    let blocks = params.block_count();
    memory.try_reserve_exact(blocks).map_err(|_| failed(io::ErrorKind::OutOfMemory))?;
    memory.resize(blocks, Block::new());
    let mut out = [0; Key::BYTES];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(secret, salt, &mut out, memory.as_mut_slice())
        .map_err(|_| failed(io::ErrorKind::InvalidInput))?;
    Ok(Key::take(&mut out))
}

struct Stored {
    salt: [u8; SALT_BYTES],
    cost: Argon2Cost,
    wrapped: [u8; LOCAL_WRAP_BYTES],
}

fn decode(bytes: &[u8]) -> Result<Stored, Malformed> {
    let mut take = Take::new(bytes);
    let salt = take.array("salt")?;
    let cost = Argon2Cost {
        memory_kib: take.u32("Argon2id memory")?,
        passes: take.u32("Argon2id passes")?,
        lanes: take.u32("Argon2id lanes")?,
    };
    let wrapped = take.array("wrapped data key")?;
    take.end("wrapped data key")?;
    if cost.in_bounds() {
        Ok(Stored { salt, cost, wrapped })
    } else {
        Err(Malformed("cost of Argon2id"))
    }
}

impl KeyProvider for Passphrase {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Passphrase
    }

    fn indestructible(&self) -> Option<&'static str> {
        Some(INDESTRUCTIBLE)
    }

    fn new_version(&self, _: &StoreId) -> Result<u32> {
        Ok(VERSION)
    }

    fn versions(&self, _: &StoreId) -> Result<Vec<u32>> {
        Ok(vec![VERSION])
    }

    fn wrap(&self, version: u32, data_key: &DataKey, aad: &[u8]) -> Result<Vec<u8>> {
        if version != VERSION {
            return Err(Error::MissingKeyVersion(version));
        }
        let made = self.made.lock().clone().filter(|made| made.cost == self.cost);
        let made = match made {
            Some(made) => made,
            None => self.key(draw(&*self.random)?, self.cost)?,
        };
        let mut bytes = Vec::with_capacity(SALT_BYTES + 12 + LOCAL_WRAP_BYTES);
        bytes.put(&made.salt);
        bytes.put_u32(made.cost.memory_kib);
        bytes.put_u32(made.cost.passes);
        bytes.put_u32(made.cost.lanes);
        wrap_locally(&made.key, VERSION, data_key, aad, &*self.random, &mut bytes)?;
        *self.made.lock() = Some(made);
        Ok(bytes)
    }

    fn unwrap_key(&self, version: u32, bytes: &[u8], aad: &[u8]) -> Result<DataKey> {
        if version != VERSION {
            return Err(Error::MissingKeyVersion(version));
        }
        let stored =
            decode(bytes).map_err(|m| Error::corrupt("keyring", 0, Damage::Malformed(m.0)))?;
        let made = self.key(stored.salt, stored.cost)?;
        let data_key = unwrap_locally(&made.key, version, &stored.wrapped, aad)
            .ok_or(Error::WrongKey("the passphrase does not open the keyring"))?;
        // Only a key that has opened something is kept: a hostile file cannot choose the next salt.
        *self.made.lock() = Some(made);
        Ok(data_key)
    }

    fn destroy(&self, _: u32) -> Result<Destruction> {
        Ok(Destruction::Impossible { why: INDESTRUCTIBLE })
    }
}

#[cfg(test)]
pub(super) const LIGHT: Argon2Cost = Argon2Cost { memory_kib: 32, passes: 1, lanes: 1 };

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tests of the reference implementation (P-H-C/phc-winner-argon2, test.c, version 0x13).
    #[test]
    fn argon2id_agrees_with_its_reference() {
        let cost = Argon2Cost { memory_kib: 256, passes: 2, lanes: 1 };
        let key = argon2id(b"password", b"somesalt", cost).unwrap();
        let hex: String = key.expose().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe");
    }
}
