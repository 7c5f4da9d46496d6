//! The local key file: a text file with numbered keys, each made for one store.
//!
//! Its slots are overwritten where they stand, and the file is never replaced: a file that is renamed over another leaves
//! the keys of the other in freed blocks. How final that is depends on what is below: a file system that copies on
//! write, snapshots of it, and flash memory may keep what was overwritten.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::mirror::{make_dir, parent, settle_above};
use super::provider::{LOCAL_WRAP_BYTES, unwrap_locally, wrap_locally};
use super::slots::{FIRST_LINE, KEY_FILE_BYTES_MAX, Slots, destroyed_line, live_line, offset};
use super::{DataKey, Destruction, KeyProvider, ProviderKind, draw, refuse};
use crate::crypto::Key;
use crate::env::{ALIGNMENT, Aligned, Env, File, Locking, Mode, read_exact_at};
use crate::error::{Damage, Error, Result};
use crate::ids::StoreId;
use crate::sync::{Mutex, thread};

/// Any permission of group and others.
const SHARED: u32 = 0o077;
/// How often and how long is waited for another process that changes the file, which takes it two writes and syncs.
const LOCK_ATTEMPTS: u32 = 500;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// A key provider whose keys lie in a local file of mode 0600.
///
/// Keep the file apart from the store and from its backups: with the keyring it opens everything, and without it
/// nothing opens. **Do not back it up as other files are backed up:** a copy of it opens the copies of the keyring that
/// were made at its time, and what was erased since. Several stores may share one.
///
/// The file is read whenever a key is needed, so every process sees what another changed, and no process keeps a key that
/// was destroyed.
pub struct KeyFile {
    env: Env,
    path: PathBuf,
    /// Changes are made one at a time; the lock beside the file keeps other processes out. Whether the file, as this process found it,
    /// is known to be durable.
    changing: Mutex<bool>,
    /// The stores of versions that were seen here: a slot may not tell its number any more when it is to be destroyed.
    stores: Mutex<BTreeMap<u32, StoreId>>,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile(…)")
    }
}

impl KeyFile {
    /// Makes a key file without keys, and its directory if there is none. Keys are made when stores need them.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is a file at this path, unless it is one that was only begun; [`Error::Io`] and [`Error::DiskFull`] if it cannot
    /// be written.
    pub fn create(env: &Env, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        make_dir(env, parent(path))?;
        let failed = |e| Error::io("make the key file", path, e);
        // An attempt that was killed may have made it, and nobody has told the disk.
        settle_above(env, parent(path)).map_err(failed)?;
        let here = Self::at(env, path);
        let file = match env.disk.open(path, Mode::Create) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let is_begun = || {
                    let there = env.disk.open(path, Mode::Read);
                    there.and_then(|file| is_unfinished(&*file)).map_err(failed)
                };
                if !is_begun()? {
                    return Err(Error::Exists(path.to_owned()));
                }
                // Another process may be making it, or have made it since and keep keys in it.
                let _lock = here.lock()?;
                if !is_begun()? {
                    return Err(Error::Exists(path.to_owned()));
                }
                // Not gone on with: of blocks that could not be written once, later syncs tell nothing.
                env.disk.remove(path).map_err(failed)?;
                env.disk.open(path, Mode::Create).map_err(failed)?
            }
            file => file.map_err(failed)?,
        };
        let written = file.write_at(FIRST_LINE.as_bytes(), 0).and_then(|()| file.sync());
        if let Err(e) = written.and_then(|()| env.disk.sync_dir(parent(path))) {
            // Half a key file helps no one, and would be in the way of the next attempt.
            let _ = env.disk.remove(path);
            return Err(Error::io("write the key file", path, e));
        }
        Ok(here)
    }

    /// Names a key file, and reads it once to see that it is one.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, or if anyone but its owner has any permission on it;
    /// [`Error::Corrupt`] and [`Error::Unsupported`] if it is not a key file of this format.
    pub fn open(env: &Env, path: impl AsRef<Path>) -> Result<Self> {
        let opened = Self::at(env, path.as_ref());
        opened.slots()?;
        Ok(opened)
    }

    fn at(env: &Env, path: &Path) -> Self {
        let (changing, stores) = (Mutex::new(false), Mutex::default());
        Self { env: env.clone(), path: path.to_owned(), changing, stores }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> Error {
        let path = self.path.clone();
        move |e| Error::io(doing, &path, e)
    }

    fn slots(&self) -> Result<Slots> {
        refuse_shared(&self.path)?;
        let failed = self.failed("read the key file");
        self.read(&*self.env.disk.open(&self.path, Mode::Read).map_err(failed)?)
    }

    fn read(&self, file: &dyn File) -> Result<Slots> {
        let failed = self.failed("read the key file");
        let len = usize::try_from(file.len().map_err(&failed)?).unwrap_or(usize::MAX);
        if len > KEY_FILE_BYTES_MAX {
            let damage = Damage::Malformed("size of the key file");
            return Err(Error::corrupt(&self.name(), 0, damage));
        }
        let mut text = Zeroizing::new(Aligned::new(len.next_multiple_of(ALIGNMENT)));
        // More, if another process has added a key since.
        match file.read_at(&mut text, 0).map_err(&failed)? {
            read if read < len => Err(failed(io::ErrorKind::UnexpectedEof.into())),
            _ => Slots::parse(&self.name(), &text[..len]),
        }
    }

    /// Reads the file and changes it, with every other change shut out.
    fn change<T>(&self, change: impl FnOnce(&dyn File, Slots) -> Result<T>) -> Result<T> {
        let mut is_durable = self.changing.lock();
        let _lock = self.lock()?;
        refuse_shared(&self.path)?;
        let failed = self.failed("open the key file");
        let file = self.env.disk.open(&self.path, Mode::Write).map_err(failed)?;
        let slots = self.read(&*file)?;
        if !*is_durable {
            // Whoever made it, or changed it last, may have been killed before that was durable.
            let synced = file.sync().and_then(|()| self.env.disk.sync_dir(parent(&self.path)));
            synced.map_err(self.failed("sync the key file"))?;
            *is_durable = true;
        }
        change(&*file, slots)
    }

    fn lock(&self) -> Result<Box<dyn Send + Sync>> {
        let mut beside = self.path.as_os_str().to_owned();
        beside.push(".lock");
        let beside = PathBuf::from(beside);
        let failed = |e| Error::io("lock the key file", &self.path, e);
        for attempt in 0..LOCK_ATTEMPTS {
            if attempt > 0 {
                thread::sleep(LOCK_WAIT);
            }
            // No note: writing one would need room on a full disk, where erasing still has to work.
            if let Locking::Held(lock) = self.env.disk.lock(&beside, "").map_err(failed)? {
                return Ok(lock);
            }
        }
        Err(failed(io::ErrorKind::WouldBlock.into()))
    }

    /// Writes slots, makes them durable and reads the file again, past the system's cache: of a block that could not be written
    /// once, some file systems (ext4) say later that it was, and the cache shows it whole until the next start.
    fn write(&self, file: &dyn File, slots: &[usize], line: &[u8]) -> Result<Slots> {
        let written = slots.iter().try_for_each(|slot| file.write_at(line, offset(*slot)));
        written.and_then(|()| file.sync()).map_err(self.failed("write the key file"))?;
        self.read_medium()
    }

    fn read_medium(&self) -> Result<Slots> {
        let medium = self.env.disk.open_direct(&self.path, Mode::Read);
        self.read(&*medium.map_err(self.failed("read the key file"))?)
    }
}

/// Whether a file is what a process left that was killed while it made a key file: a first line that is not whole, and no key.
fn is_unfinished(file: &dyn File) -> io::Result<bool> {
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if len > FIRST_LINE.len() {
        return Ok(false);
    }
    let mut there = vec![0; len];
    read_exact_at(file, &mut there, 0)?;
    let torn = there.iter().zip(FIRST_LINE.as_bytes()).all(|(b, whole)| *b == 0 || b == whole);
    Ok(torn && there != FIRST_LINE.as_bytes())
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

impl KeyProvider for KeyFile {
    fn kind(&self) -> ProviderKind {
        ProviderKind::KeyFile
    }

    fn new_version(&self, store: &StoreId) -> Result<u32> {
        let key = Key::take(&mut draw(&*self.env.random)?);
        self.change(|file, slots| {
            let full = || refuse("key file", "at most 1,024 versions");
            let Some(version) = slots.next_version() else { return full() };
            let Some(slot) = slots.free() else { return full() };
            // What was only read wrongly may be a version in use.
            if slots.has_torn(&[slot]) && self.read_medium()?.free() != Some(slot) {
                return Err(Error::corrupt(&self.name(), offset(slot), Damage::Rot));
            }
            let line = live_line(version, store, &key);
            let there = self.write(file, &[slot], &line)?;
            // What cannot be read back would be missing when the keyring needs it.
            match there.key(&self.name(), version)?.expose() == key.expose() {
                true => {
                    self.stores.lock().insert(version, *store);
                    Ok(version)
                }
                false => Err(Error::corrupt(&self.name(), offset(slot), Damage::Rot)),
            }
        })
    }

    fn versions(&self, store: &StoreId) -> Result<Vec<u32>> {
        let versions = self.slots()?.versions(store);
        self.stores.lock().extend(versions.iter().map(|version| (*version, *store)));
        Ok(versions)
    }

    fn versions_left(&self) -> Option<usize> {
        self.slots().ok().map(|slots| slots.left())
    }

    fn wrap(&self, version: u32, data_key: &DataKey, aad: &[u8]) -> Result<Vec<u8>> {
        let slots = self.slots()?;
        let key = slots.key(&self.name(), version)?;
        let mut bytes = Vec::new();
        wrap_locally(key, version, data_key, aad, &*self.env.random, &mut bytes)?;
        Ok(bytes)
    }

    fn unwrap_key(&self, version: u32, bytes: &[u8], aad: &[u8]) -> Result<DataKey> {
        let wrapped: &[u8; LOCAL_WRAP_BYTES] = bytes
            .try_into()
            .map_err(|_| Error::corrupt("keyring", 0, Damage::Malformed("wrapped data key")))?;
        let slots = self.slots()?;
        let key = slots.key(&self.name(), version)?;
        unwrap_locally(key, version, wrapped, aad)
            .ok_or(Error::WrongKey("the key file does not open the keyring"))
    }

    fn destroy(&self, version: u32) -> Result<Destruction> {
        self.change(|file, slots| {
            // Those that are destroyed already are written again: a sync that failed may have left a key on the
            // medium while the system shows zeros.
            let store = self.stores.lock().get(&version).copied();
            let wanted = |slots: &Slots| {
                let mut over = slots.to_overwrite(version, store.as_ref());
                over.extend(store.iter().flat_map(|store| slots.lost(version, store)));
                over
            };
            let others = slots.of_another(version);
            let mut over = wanted(&slots);
            if slots.has_torn(&over) {
                // One that was only read wrongly may be the one in use.
                let again = wanted(&self.read_medium()?);
                over.retain(|slot| again.contains(slot));
            }
            let there = self.write(file, &over, &destroyed_line())?;
            match there.numbered(version).into_iter().find(|slot| !others.contains(slot)) {
                None => {
                    self.stores.lock().remove(&version);
                    let done = match slots.has(version) {
                        true => "overwritten in place and synced",
                        false => {
                            "was not there; what is destroyed was overwritten again and synced"
                        }
                    };
                    Ok(Destruction::Destroyed {
                        receipt: format!("key file: version {version} {done}"),
                    })
                }
                Some(slot) => Err(Error::corrupt(&self.name(), offset(slot), Damage::Rot)),
            }
        })
    }
}
