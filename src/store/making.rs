//! Making a store, so that an attempt that was killed can be made again.
//!
//! The first manifest is sealed with the keyring, so the keyring is durable before there is a store. A keyring that is found where a new one
//! should go is never written over: it may open another store, or be all that is left of one. So that one left by a killed attempt is
//! told from those, the file `making` notes the id that the new store will have, durably and before its keyring is begun. A keyring of that id in
//! its first generation has no site, and nothing was ever sealed under it: the next attempt takes it over.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Options;
use crate::env::{Env, Mode, read_exact_at};
use crate::error::{Error, Result};
use crate::format::header::{FILE_HEADER_BYTES, FileKind};
use crate::ids::{FileId, StoreId};
use crate::keyring::{Keyring, draw};

/// The note's name in the store.
const MAKING: &str = "making";

/// The keyring of a new store: made now, or by an attempt that did not get further. The store's directory must be there, and locked.
pub(super) fn keyring(options: &Options) -> Result<Keyring> {
    let (env, dir) = (&options.env, &options.dir);
    let noted = noted(env, dir)?;
    if let Some(store) = noted
        && let Some(keyring) = take_over(options, store)?
    {
        return Ok(keyring);
    }
    Keyring::make_room(env, &options.keyring)?;
    let store = match noted {
        // The provider may have made a key for it already, which is destroyed with this store's own.
        Some(store) => store,
        None => StoreId(draw(&*env.random)?),
    };
    note(env, dir, store).map_err(|e| Error::io("making the store", path(dir), e))?;
    let provider = Arc::clone(&options.provider);
    Keyring::create(env, &options.keyring, provider, options.part_bytes, store)
}

/// Forgets that a store is being made: it is there.
pub(super) fn done(env: &Env, dir: &Path) -> Result<()> {
    match env.disk.remove(&path(dir)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("removing a left-over", path(dir), e))
        }
        _ => Ok(()),
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(MAKING)
}

/// The keyring of an earlier attempt, if it got so far as to write one.
fn take_over(options: &Options, store: StoreId) -> Result<Option<Keyring>> {
    let open = |read_only| {
        let provider = Arc::clone(&options.provider);
        Keyring::open(&options.env, &options.keyring, provider, read_only, options.part_bytes)
    };
    // Looked at first: opening to write mends mirrors and destroys keys, and it may be another store's.
    let found = match open(true) {
        Err(Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        // That attempt failed, destroyed its key and removed the keyring, and a power cut brought it back.
        Err(Error::MissingKeyVersion(_)) => {
            return Keyring::discard(&options.env, &options.keyring, store).map(|()| None);
        }
        found => found?,
    };
    if found.store_id() != store || found.generation() != Keyring::FIRST_GENERATION {
        return Err(Error::Exists(found.path()));
    }
    open(false).map(Some)
}

/// The id of a store that was to be made here. What is no whole note was not durable before anything depended on it.
fn noted(env: &Env, dir: &Path) -> Result<Option<StoreId>> {
    let failed = |e| Error::io("making the store", path(dir), e);
    let file = match env.disk.open(&path(dir), Mode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mut bytes = [0; FILE_HEADER_BYTES];
    match read_exact_at(&*file, &mut bytes, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read.map_err(failed)?,
    }
    Ok(FileKind::MAKING.check(MAKING, &bytes).ok().map(|id| StoreId(id.0)))
}

fn note(env: &Env, dir: &Path, store: StoreId) -> io::Result<()> {
    let file = env.disk.open(&path(dir), Mode::Replace)?;
    file.write_at(&FileKind::MAKING.header(FileId(store.0)), 0)?;
    file.sync()?;
    env.disk.sync_dir(dir)
}
