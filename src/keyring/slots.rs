//! The text of a key file: a first line, then slots of one size. No input or output.
//!
//! A slot may be torn by a crash, for it is written in place. What still can be told of a torn slot is the number it
//! begins with, if those digits made it to the disk; so it can be destroyed by its number like any other. Unless rot has made
//! that the number of another store's version: then it is taken for none.

use zeroize::{Zeroize, Zeroizing};

use crate::crypto::Key;
use crate::error::{Damage, Error, Result};
use crate::format::header::unsupported;
use crate::ids::{FileId, StoreId};

/// Most versions in a key file: one a store is in use, and others, older ones and those of changes that failed, are kept only until one has succeeded.
pub(crate) const KEY_VERSIONS_MAX: usize = 1_024;

const FIRST: &str = "reelvault key file ";
const TEXT_VERSION: &str = "1";
pub(super) const FIRST_LINE: &str = "reelvault key file 1\n";
pub(super) const SLOT_BYTES: usize = CHECKED_BYTES + 8 + 1;
const VERSION_DIGITS: usize = 10;
const STORE_AT: usize = VERSION_DIGITS + 1;
const KEY_AT: usize = STORE_AT + 32 + 1;
/// The part of a slot before its checksum.
const CHECKED_BYTES: usize = KEY_AT + 2 * Key::BYTES + 1;
const _: () = assert!(SLOT_BYTES == 118 && CHECKED_BYTES == 109);
/// Largest key file in bytes: it bounds what is read on the word of a path.
pub(super) const KEY_FILE_BYTES_MAX: usize = FIRST_LINE.len() + KEY_VERSIONS_MAX * SLOT_BYTES;

/// What stands in a slot.
pub(super) enum Slot {
    Live {
        version: u32,
        store: StoreId,
        key: Key,
    },
    Destroyed,
    /// A wrong checksum or form: torn, or rot. Number and store, as far as they can be told; number 0 is a
    /// destruction that was torn.
    Torn {
        version: Option<u32>,
        store: Option<StoreId>,
    },
}

/// The slots of a key file.
pub(super) struct Slots(pub(super) Vec<Slot>);

/// Where a slot stands in its file.
pub(super) fn offset(slot: usize) -> u64 {
    (FIRST_LINE.len() + slot * SLOT_BYTES) as u64
}

impl Slots {
    pub(super) fn parse(name: &str, text: &[u8]) -> Result<Self> {
        let line = text.iter().position(|b| *b == b'\n');
        let first = text.get(..line.unwrap_or(text.len())).unwrap_or_default();
        let Some(found) = first.strip_prefix(FIRST.as_bytes()) else {
            return Err(Error::corrupt(name, 0, Damage::Foreign));
        };
        if line.is_none() {
            return Err(Error::corrupt(name, 0, Damage::Truncated));
        }
        if found != TEXT_VERSION.as_bytes() {
            let malformed =
                || Error::corrupt(name, 0, Damage::Malformed("version of the key file"));
            let found = std::str::from_utf8(found).ok().and_then(|text| text.parse::<u32>().ok());
            let found = found.ok_or_else(malformed)?;
            return Err(unsupported(name, "version of the key file", found.into()));
        }
        let rest = text.get(FIRST_LINE.len()..).unwrap_or_default();
        Ok(Self(rest.chunks(SLOT_BYTES).map(Slot::parse).collect()))
    }

    /// The key of a version.
    ///
    /// # Errors
    /// [`Error::MissingKeyVersion`]; [`Error::Corrupt`] if the slot that should hold it is torn.
    pub(super) fn key(&self, name: &str, version: u32) -> Result<&Key> {
        let live = self.0.iter().find_map(|slot| match slot {
            Slot::Live { version: held, key, .. } if *held == version => Some(key),
            _ => None,
        });
        live.ok_or_else(|| match self.0.iter().position(|slot| slot.number() == Some(version)) {
            Some(torn) => Error::corrupt(name, offset(torn), Damage::Rot),
            None => Error::MissingKeyVersion(version),
        })
    }

    /// The versions of a store, rising, torn ones too.
    pub(super) fn versions(&self, of: &StoreId) -> Vec<u32> {
        let mut versions: Vec<u32> = self
            .0
            .iter()
            .filter_map(|slot| match slot {
                Slot::Live { version, store, .. } if store == of => Some(*version),
                Slot::Torn { version: Some(version), store: Some(store) }
                    if store == of && !self.is_of_another(*version, store) =>
                {
                    Some(*version)
                }
                _ => None,
            })
            .filter(|version| *version != 0)
            .collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    /// The slots that can still take a version.
    pub(super) fn left(&self) -> usize {
        let taken = self.0.iter().filter(|slot| !slot.is_free()).count();
        KEY_VERSIONS_MAX.saturating_sub(taken)
    }

    /// The number for a new version: above all that are there.
    pub(super) fn next_version(&self) -> Option<u32> {
        let (highest, plausible) = self.highest();
        let torn = self.0.iter().filter_map(Slot::number).filter(|n| *n <= plausible).max();
        highest.max(torn.unwrap_or(0)).checked_add(1)
    }

    /// The highest version that is whole, and the highest number that a torn slot can have been given.
    fn highest(&self) -> (u32, u32) {
        let live = |slot: &Slot| match slot {
            Slot::Live { version, .. } => Some(*version),
            _ => None,
        };
        let highest = self.0.iter().filter_map(live).max().unwrap_or(0);
        // A torn number counts, so that it is not given again; but not one that rot made far too high.
        (highest, highest.saturating_add(KEY_VERSIONS_MAX as u32))
    }

    /// Where a new version goes; nothing if the file is full.
    pub(super) fn free(&self) -> Option<usize> {
        let destroyed = self.0.iter().position(Slot::is_free);
        // A torn slot at the end of the file may be cut short; it is not counted as one to append after.
        destroyed.or_else(|| (self.0.len() < KEY_VERSIONS_MAX).then_some(self.0.len()))
    }

    /// Whether a slot, whole or torn, has this number.
    pub(super) fn has(&self, version: u32) -> bool {
        self.0.iter().any(|slot| slot.number() == Some(version))
    }

    /// Whether one of these slots is torn, or was read wrongly.
    pub(super) fn has_torn(&self, among: &[usize]) -> bool {
        among.iter().any(|i| matches!(self.0.get(*i), Some(Slot::Torn { .. })))
    }

    /// The slots to overwrite when a version, of this store if that is known, is destroyed: its own, and all that are destroyed already.
    pub(super) fn to_overwrite(&self, version: u32, of: Option<&StoreId>) -> Vec<usize> {
        let others = self.of_another(version);
        self.positions(|slot| match slot {
            // A torn slot may have been taken for it, and so the number for that store's.
            Slot::Live { version: held, store, .. } => {
                *held == version && of.is_none_or(|of| of == store)
            }
            slot => slot.is_free() || slot.number() == Some(version),
        })
        .into_iter()
        .filter(|slot| !others.contains(slot))
        .collect()
    }

    /// The slots that have this number.
    pub(super) fn numbered(&self, version: u32) -> Vec<usize> {
        self.positions(|slot| slot.number() == Some(version))
    }

    /// The torn slots that rot has given this number, which a whole slot of another store has.
    pub(super) fn of_another(&self, version: u32) -> Vec<usize> {
        self.positions(|slot| match slot {
            Slot::Torn { version: Some(held), store: Some(store) } => {
                *held == version && self.is_of_another(version, store)
            }
            _ => false,
        })
    }

    /// The slots among which a version of a store may be that no slot has by its number: the store's torn ones whose numbers no version has, or
    /// one of another store. Nobody can ask for those by their numbers. None, unless a higher version of the store is whole: else it may be the one in use.
    pub(super) fn lost(&self, version: u32, of: &StoreId) -> Vec<usize> {
        let newer = |slot: &Slot| match slot {
            Slot::Live { version: held, store, .. } => *held > version && store == of,
            _ => false,
        };
        if self.has(version) || !self.0.iter().any(newer) {
            return Vec::new();
        }
        let (_, plausible) = self.highest();
        self.positions(|slot| match slot {
            Slot::Torn { version, store: Some(store) } => {
                let is_wrong = |n| n > plausible || self.is_of_another(n, store);
                store == of && version.is_none_or(is_wrong)
            }
            _ => false,
        })
    }

    /// Whether a whole slot of another store has this number, so that a torn one of this store was given another.
    fn is_of_another(&self, version: u32, of: &StoreId) -> bool {
        self.0.iter().any(|slot| match slot {
            Slot::Live { version: held, store, .. } => *held == version && store != of,
            _ => false,
        })
    }

    fn positions(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<usize> {
        (0..self.0.len()).filter(|i| self.0.get(*i).is_some_and(&wanted)).collect()
    }
}

impl Slot {
    fn number(&self) -> Option<u32> {
        match self {
            Self::Live { version, .. } => Some(*version),
            Self::Destroyed => None,
            Self::Torn { version, .. } => *version,
        }
    }

    fn is_free(&self) -> bool {
        matches!(self, Self::Destroyed | Self::Torn { version: Some(0), .. })
    }

    fn parse(line: &[u8]) -> Self {
        let field = |from: usize, len: usize| line.get(from..from + len).unwrap_or_default();
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let digits = field(0, VERSION_DIGITS);
        let version = match digits.len() == VERSION_DIGITS && digits.iter().all(u8::is_ascii_digit)
        {
            true => text(digits).parse::<u32>().ok(),
            // The file grew, and what it grew by never came.
            false => line.iter().all(|b| *b == 0).then_some(0),
        };
        let store = FileId::parse(text(field(STORE_AT, 32))).map(|id| StoreId(id.0));
        let crc = format!("{:08x}\n", crc32fast::hash(field(0, CHECKED_BYTES)));
        let spaces = [STORE_AT - 1, KEY_AT - 1, CHECKED_BYTES - 1];
        let well_formed = line.len() == SLOT_BYTES
            && field(CHECKED_BYTES, 9) == crc.as_bytes()
            && spaces.iter().all(|at| line.get(*at) == Some(&b' '));
        let key = hexadecimal(field(KEY_AT, 2 * Key::BYTES));
        match (version, store, key) {
            (Some(0), _, Some(key)) if well_formed && *key.expose() == [0; Key::BYTES] => {
                Self::Destroyed
            }
            (Some(version), Some(store), Some(key)) if well_formed && version > 0 => {
                Self::Live { version, store, key }
            }
            _ => Self::Torn { version, store },
        }
    }
}

/// The line of a version.
pub(super) fn live_line(version: u32, store: &StoreId, key: &Key) -> Zeroizing<Vec<u8>> {
    line(version, store, key.expose())
}

/// The line of a slot that is destroyed.
pub(super) fn destroyed_line() -> Zeroizing<Vec<u8>> {
    line(0, &StoreId([0; 16]), &[0; Key::BYTES])
}

fn line(version: u32, store: &StoreId, key: &[u8; Key::BYTES]) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Room for all of it at once: growing would leave a key in freed memory.
    let mut line = Zeroizing::new(Vec::with_capacity(SLOT_BYTES));
    line.extend_from_slice(format!("{version:010} {store} ").as_bytes());
    for byte in key {
        line.push(DIGITS[usize::from(byte >> 4)]);
        line.push(DIGITS[usize::from(byte & 15)]);
    }
    line.push(b' ');
    let crc = crc32fast::hash(&line);
    line.extend_from_slice(format!("{crc:08x}\n").as_bytes());
    line
}

fn hexadecimal(digits: &[u8]) -> Option<Key> {
    if digits.len() != 2 * Key::BYTES {
        return None;
    }
    let mut bytes = [0; Key::BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |d: u8| match d {
            b'0'..=b'9' => Some(d - b'0'),
            b'a'..=b'f' => Some(d - b'a' + 10),
            _ => None,
        };
        let both = value(pair[0]).zip(value(pair[1]));
        let Some((high, low)) = both else {
            bytes.zeroize();
            return None;
        };
        *byte = high << 4 | low;
    }
    Some(Key::take(&mut bytes))
}
