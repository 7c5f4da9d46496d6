//! The copies of a keyring on disk: which one counts, and how a new one is written.
//!
//! # Which one counts
//!
//! The newest generation that opens. A copy that is missing, damaged or behind is written again by a writable open.
//! A copy that is whole and newer, but does not open with the key given, is never passed over for an older one: the
//! key is the wrong one then, and writing would destroy the newest keys. Nor is a file touched that is no keyring
//! or could not be read.
//!
//! # Why a crash leaves a whole generation
//!
//! A copy is replaced by renaming a synced file over it, so at each path there is an old or a new generation, whole.
//! The mirrors are written one after the other, and only when all are written does the caller hear of it. A crash
//! before that leaves the new generation in the first of them or in none; the next open takes what is newest.

use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};

use super::KeyProvider;
use super::file::{Outer, PREFIX_BYTES, binding};
use super::provider::ProviderKind;
use super::state::State;
use crate::env::{Env, Mode, read_exact_at};
use crate::error::{Damage, Error, Result};
use crate::ids::StoreId;
use crate::limits::STATE_BYTES_MAX;

/// The generation that counts, as it was found.
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) bytes: Vec<u8>,
    pub(super) sealed: Sealed,
    /// The mirrors that hold something else.
    pub(super) stale: Vec<usize>,
    /// How the other generations are sealed that were found.
    pub(super) older: Vec<Sealed>,
    /// The highest generation that any copy claims to be.
    pub(super) newest: u64,
}

/// How a copy is sealed: what a provider needs to open it, but not the copy.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) store: StoreId,
    pub(super) generation: u64,
    pub(super) version: u32,
    pub(super) wrapped: Vec<u8>,
}

/// The bytes at one mirror.
pub(super) struct Copy {
    outer: Outer,
    bytes: Vec<u8>,
}

impl Copy {
    pub(super) fn sealed(&self) -> Sealed {
        let (version, wrapped) = self.outer.wrapped(&self.bytes);
        let (store, generation) = (self.outer.store_id, self.outer.generation);
        Sealed { store, generation, version, wrapped: wrapped.to_vec() }
    }

    /// Opens the copy that was read at this path.
    pub(super) fn unseal(&self, path: &Path, provider: &dyn KeyProvider) -> Result<State> {
        unseal(&name(path), self, provider)
    }
}

/// Reads all mirrors and opens the one that counts.
pub(super) fn load(
    env: &Env,
    mirrors: &[PathBuf],
    provider: &dyn KeyProvider,
    writable: bool,
) -> Result<Loaded> {
    let mut copies = Vec::new();
    let mut damage = None;
    for (mirror, path) in mirrors.iter().enumerate() {
        match read_copy(env, path) {
            Ok(copy) => copies.extend(copy.map(|copy| (mirror, copy))),
            Err(e) if writable && !mendable(&e) => return Err(e),
            Err(e) => damage = damage.or(Some(e)),
        }
    }
    if copies.windows(2).any(|pair| pair[0].1.outer.store_id != pair[1].1.outer.store_id) {
        return Err(Error::WrongKey("the mirrors are keyrings of different stores"));
    }
    copies.sort_by_key(|(_, copy)| Reverse(copy.outer.generation));
    let Some((state, at)) = choose(mirrors, &copies, provider, &mut damage)? else {
        let missing = || {
            let path = mirrors.first().cloned().unwrap_or_default();
            Error::io("open the keyring", path, io::ErrorKind::NotFound.into())
        };
        return Err(damage.unwrap_or_else(missing));
    };
    let chosen = &copies[at].1;
    let current = |i: &usize| copies.iter().any(|(m, c)| m == i && c.bytes == chosen.bytes);
    let stale = (0..mirrors.len()).filter(|i| !current(i)).collect();
    let sealed = chosen.sealed();
    let mut older: Vec<Sealed> = copies.iter().map(|(_, copy)| copy.sealed()).collect();
    older.retain(|copy| *copy != sealed);
    let newest = copies.iter().map(|(_, copy)| copy.outer.generation).max().unwrap_or(0);
    let bytes = copies.swap_remove(at).1.bytes;
    Ok(Loaded { state, bytes, sealed, stale, older, newest })
}

/// Reads a mirror and checks what can be checked without a key; nothing if there is none.
pub(super) fn read_copy(env: &Env, path: &Path) -> Result<Option<Copy>> {
    let Some(bytes) = read(env, path)? else { return Ok(None) };
    let outer = Outer::parse(&name(path), &bytes)?;
    Ok(Some(Copy { outer, bytes }))
}

/// The first copy that opens; `copies` are newest first.
fn choose(
    mirrors: &[PathBuf],
    copies: &[(usize, Copy)],
    provider: &dyn KeyProvider,
    damage: &mut Option<Error>,
) -> Result<Option<(State, usize)>> {
    let mut chosen: Option<(State, usize)> = None;
    let mut refused: Option<(u64, Error)> = None;
    for (i, (mirror, copy)) in copies.iter().enumerate() {
        if chosen.as_ref().is_some_and(|(state, _)| copy.outer.generation < state.generation) {
            break;
        }
        if copies[..i].iter().any(|other| other.1.bytes == copy.bytes) {
            continue;
        }
        let file = name(&mirrors[*mirror]);
        match unseal(&file, copy, provider) {
            // Two histories of one keyring: each may hold keys that the other lacks, so neither is overwritten.
            Ok(_) if chosen.is_some() => {
                let fork = "generation: another mirror holds a different keyring of the same";
                return Err(Error::corrupt(&file, 0, Damage::Malformed(fork)));
            }
            Ok(state) => chosen = Some((state, i)),
            Err(e) if mendable(&e) => *damage = damage.take().or(Some(e)),
            Err(e) => refused = refused.or(Some((copy.outer.generation, e))),
        }
    }
    match (chosen, refused) {
        (Some((state, _)), Some((generation, e))) if generation > state.generation => Err(e),
        (None, Some((_, e))) => Err(e),
        (chosen, _) => Ok(chosen),
    }
}

fn unseal(file: &str, copy: &Copy, provider: &dyn KeyProvider) -> Result<State> {
    let outer = &copy.outer;
    let kind = outer.provider(file)?;
    if kind != provider.kind() {
        return Err(Error::WrongKey(match kind {
            ProviderKind::KeyFile => "the keyring is wrapped by a key file",
            ProviderKind::Passphrase => "the keyring is wrapped by a passphrase",
        }));
    }
    let (version, wrapped) = outer.wrapped(&copy.bytes);
    let aad = binding(&outer.store_id, outer.generation, kind);
    let data_key = provider.unwrap_key(version, wrapped, &aad).map_err(|mut e| {
        if let Error::Corrupt(c) = &mut e {
            // A provider does not know which file it looks at.
            c.file = file.to_owned();
        }
        e
    })?;
    outer.open(file, &copy.bytes, &data_key)
}

/// Whether the copy may be replaced by a good one. A file of another kind may be here by a slip of the hand.
fn mendable(e: &Error) -> bool {
    matches!(e, Error::Corrupt(c) if c.kind != Damage::Foreign)
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn read(env: &Env, path: &Path) -> Result<Option<Vec<u8>>> {
    read_up_to(env, path, usize::MAX)
}

/// Reads the beginning of a file; nothing if there is none.
fn read_up_to(env: &Env, path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>> {
    let failed = |e| Error::io("read the keyring", path, e);
    let file = match env.disk.open(path, Mode::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let len = usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX);
    if len > STATE_BYTES_MAX {
        return Err(Error::corrupt(&name(path), 0, Damage::Malformed("size of the keyring")));
    }
    let mut bytes = vec![0; len.min(bytes_max)];
    read_exact_at(&*file, &mut bytes, 0).map_err(failed)?;
    Ok(Some(bytes))
}

/// The newest generation that any mirror claims to hold. It is not verified; 0 if there is none.
pub(super) fn newest_claimed(env: &Env, mirrors: &[PathBuf]) -> u64 {
    let claimed = |path: &PathBuf| {
        let bytes = read_up_to(env, path, PREFIX_BYTES).ok()??;
        Some(Outer::parse(&name(path), &bytes).ok()?.generation)
    };
    mirrors.iter().filter_map(claimed).max().unwrap_or(0)
}

/// Where a mirror is written before it is renamed.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    PathBuf::from(beside)
}

/// Removes what a crash left beside a mirror. It is an attempt that never counted; if it cannot be removed, the next one
/// is written over it.
pub(super) fn remove_beside(env: &Env, path: &Path) {
    let beside = beside(path);
    if env.disk.exists(&beside).unwrap_or(false) {
        let _ = env.disk.remove(&beside);
    }
}

/// Replaces a mirror, and reads it back.
pub(super) fn write(env: &Env, path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = parent(path);
    make_dir(env, dir)?;
    let beside = beside(path);
    let written = (|| {
        let file = env.disk.open(&beside, Mode::Replace)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        env.disk.rename(&beside, path)
    })();
    if let Err(e) = written {
        let _ = env.disk.remove(&beside);
        return Err(Error::io("write the keyring", path, e));
    }
    env.disk.sync_dir(dir).map_err(|e| Error::io("sync the directory", dir, e))?;
    match read(env, path)? {
        Some(there) if there == bytes => Ok(()),
        Some(_) => Err(Error::corrupt(&name(path), 0, Damage::Rot)),
        None => Err(Error::corrupt(&name(path), 0, Damage::Missing)),
    }
}

/// The directory that a file lies in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Makes a directory and those above it, and makes their names durable.
pub(crate) fn make_dir(env: &Env, dir: &Path) -> Result<()> {
    let failed = |e| Error::io("make the directory", dir, e);
    let mut missing = Vec::new();
    for above in dir.ancestors().filter(|d| !d.as_os_str().is_empty()) {
        if env.disk.exists(above).map_err(failed)? {
            break;
        }
        missing.push(above);
    }
    if missing.is_empty() {
        return Ok(());
    }
    env.disk.create_dir(dir).map_err(failed)?;
    missing.iter().rev().try_for_each(|made| env.disk.sync_dir(parent(made))).map_err(failed)
}
