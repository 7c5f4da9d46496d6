//! The local key file: a text file with numbered keys, the last of which is in use.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

use super::mirrors::{make_dir, parent};
use super::provider::{LOCAL_WRAP_BYTES, unwrap_locally, wrap_locally};
use super::{DataKey, KeyProvider, ProviderKind, Wrapped, draw};
use crate::crypto::Key;
use crate::env::{Env, Mode, Random, read_exact_at};
use crate::error::{Damage, Error, Result};
use crate::format::header::unsupported;

/// Most versions in a key file: one is in use, and older ones are kept only until they are destroyed.
pub(crate) const KEY_VERSIONS_MAX: usize = 1_024;
/// Largest key file in bytes: it bounds what is read on the word of a path.
pub(crate) const KEY_FILE_BYTES_MAX: usize = 32 + KEY_VERSIONS_MAX * (10 + 1 + 2 * Key::BYTES + 2);

const FIRST_LINE: &str = "reelvault key file ";
const TEXT_VERSION: &str = "1";
/// Any permission of group and others.
const SHARED: u32 = 0o077;

/// A key provider whose keys lie in a local file of mode 0600.
///
/// Keep the file apart from the store and from its backups: with the keyring it opens everything, and without it
/// nothing opens.
pub struct KeyFile {
    random: Arc<dyn Random>,
    /// By version, rising; never empty.
    keys: Vec<(u32, Key)>,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile(…)")
    }
}

impl KeyFile {
    /// Makes a key file with one fresh key, and its directory if there is none.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is a file at this path; [`Error::Io`] and [`Error::DiskFull`] if it cannot
    /// be written.
    pub fn create(env: &Env, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let key = Key::take(&mut draw(&*env.random)?);
        let keys = vec![(1, key)];
        make_dir(env, parent(path))?;
        let file = env.disk.open(path, Mode::Create).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
            _ => Error::io("make the key file", path, e),
        })?;
        let written = file.write_at(print(&keys).as_bytes(), 0).and_then(|()| file.sync());
        if let Err(e) = written.and_then(|()| env.disk.sync_dir(parent(path))) {
            // Half a key file helps no one, and would be in the way of the next attempt.
            let _ = env.disk.remove(path);
            return Err(Error::io("write the key file", path, e));
        }
        Ok(Self { random: env.random.clone(), keys })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, or if anyone but its owner has any permission on it;
    /// [`Error::Corrupt`] and [`Error::Unsupported`] if it is not a key file of this format.
    pub fn open(env: &Env, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        refuse_shared(path)?;
        let failed = |e| Error::io("read the key file", path, e);
        let file = env.disk.open(path, Mode::Read).map_err(failed)?;
        let len = usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX);
        let name = path.display().to_string();
        if len > KEY_FILE_BYTES_MAX {
            return Err(Error::corrupt(&name, 0, Damage::Malformed("size of the key file")));
        }
        let mut text = Zeroizing::new(vec![0; len]);
        read_exact_at(&*file, &mut text, 0).map_err(failed)?;
        Ok(Self { random: env.random.clone(), keys: parse(&name, &text)? })
    }
}

/// Refuses a file that others than its owner may use.
///
/// The environment has no notion of permissions: the real file system is asked, and a path that it does not know
/// belongs to a simulated one.
fn refuse_shared(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(path) {
        Ok(meta) if meta.permissions().mode() & SHARED != 0 => {
            let why = "others than its owner may use it; give it mode 0600";
            let cause = io::Error::new(io::ErrorKind::PermissionDenied, why);
            Err(Error::io("read the key file", path, cause))
        }
        _ => Ok(()),
    }
}

fn print(keys: &[(u32, Key)]) -> Zeroizing<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Room for all of it at once: growing would leave keys in freed memory.
    let mut text =
        Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX.min(32 + keys.len() * 80)));
    text.push_str(FIRST_LINE);
    text.push_str(TEXT_VERSION);
    for (version, key) in keys {
        text.push_str(&format!("\n{version} "));
        for byte in key.expose() {
            text.push(DIGITS[usize::from(byte >> 4)].into());
            text.push(DIGITS[usize::from(byte & 15)].into());
        }
    }
    text.push('\n');
    text
}

fn parse(name: &str, text: &[u8]) -> Result<Vec<(u32, Key)>> {
    let malformed = |at: usize, what| Error::corrupt(name, at as u64, Damage::Malformed(what));
    let mut lines = text.split(|b| *b == b'\n');
    let first = lines.next().unwrap_or_default();
    let Some(version) = first.strip_prefix(FIRST_LINE.as_bytes()) else {
        return Err(Error::corrupt(name, 0, Damage::Foreign));
    };
    if version != TEXT_VERSION.as_bytes() {
        let found = number(version).ok_or_else(|| malformed(0, "version of the key file"))?;
        return Err(unsupported(name, "version of the key file", found.into()));
    }
    let mut keys: Vec<(u32, Key)> =
        Vec::with_capacity((text.len() / (2 * Key::BYTES)).min(KEY_VERSIONS_MAX));
    let mut at = first.len() + 1;
    let mut ended = false;
    for line in lines {
        if ended {
            return Err(malformed(at, "line of the key file"));
        }
        if line.is_empty() {
            // What follows the last line feed; anywhere else an empty line is an error.
            ended = true;
            continue;
        }
        let space = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
        let (number_text, key_text) = line.split_at(space);
        let version = number(number_text).ok_or_else(|| malformed(at, "key version"))?;
        if version == 0 || keys.last().is_some_and(|(last, _)| *last >= version) {
            return Err(malformed(at, "order of key versions"));
        }
        let digits = key_text.get(1..).unwrap_or_default();
        let key = hexadecimal(digits).ok_or_else(|| malformed(at, "key"))?;
        if keys.len() == KEY_VERSIONS_MAX {
            return Err(malformed(at, "number of key versions"));
        }
        keys.push((version, key));
        at += line.len() + 1;
    }
    if keys.is_empty() || !ended {
        return Err(Error::corrupt(name, text.len() as u64, Damage::Truncated));
    }
    Ok(keys)
}

/// A decimal number as it is printed: no sign, no leading zero.
fn number(text: &[u8]) -> Option<u32> {
    let canonical =
        text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || !text.starts_with(b"0"));
    if canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

fn hexadecimal(digits: &[u8]) -> Option<Key> {
    if digits.len() != 2 * Key::BYTES {
        return None;
    }
    let mut bytes = [0; Key::BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |d: u8| char::from(d).to_digit(16);
        let both = value(pair[0]).zip(value(pair[1]));
        let Some((high, low)) = both else {
            bytes.zeroize();
            return None;
        };
        *byte = (high << 4 | low) as u8;
    }
    Some(Key::take(&mut bytes))
}

impl KeyProvider for KeyFile {
    fn kind(&self) -> ProviderKind {
        ProviderKind::KeyFile
    }

    fn wrap(&self, data_key: &DataKey, aad: &[u8]) -> Result<Wrapped> {
        let Some((version, key)) = self.keys.last() else {
            return Err(Error::MissingKeyVersion(0));
        };
        let mut bytes = Vec::new();
        wrap_locally(key, *version, data_key, aad, &*self.random, &mut bytes)?;
        Ok(Wrapped { version: *version, bytes })
    }

    fn unwrap_key(&self, version: u32, bytes: &[u8], aad: &[u8]) -> Result<DataKey> {
        let (_, key) = self
            .keys
            .iter()
            .find(|(held, _)| *held == version)
            .ok_or(Error::MissingKeyVersion(version))?;
        let wrapped: &[u8; LOCAL_WRAP_BYTES] = bytes
            .try_into()
            .map_err(|_| Error::corrupt("keyring", 0, Damage::Malformed("wrapped data key")))?;
        unwrap_locally(key, version, wrapped, aad)
            .ok_or(Error::WrongKey("the key file does not open the keyring"))
    }
}
