//! The operating system's files, clock and randomness.
#![allow(clippy::disallowed_methods, reason = "the one module that implements what the others use")]

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::direct::DirectFile;
use super::{Clock, Disk, Entry, File, Locking, Mapping, Mode, NOTE_BYTES, Random, padded};

/// The operating system's file system.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk;

/// The operating system's clock.
#[derive(Debug, Clone, Copy)]
pub struct RealClock;

/// The operating system's source of random bytes.
///
/// Each call asks the kernel: a generator of our own would repeat itself in a cloned virtual machine.
#[derive(Debug, Clone, Copy)]
pub struct RealRandom;

struct RealFile(fs::File);

/// Recordings are private: no one but the owner reads what the engine makes.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

fn open(path: &Path, mode: Mode) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).mode(FILE_MODE);
    match mode {
        Mode::Read => {}
        Mode::Write => {
            options.write(true);
        }
        Mode::Create => {
            options.write(true).create_new(true);
        }
        Mode::Replace => {
            options.write(true).create(true).truncate(true);
        }
    }
    options.open(path)
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(open(path, mode)?)))
    }

    fn open_direct(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let file = open(path, mode)?;
        let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        let writes = mode != Mode::Read;
        match OpenOptions::new().read(true).write(writes).custom_flags(flags).open(path) {
            Ok(direct) => Ok(Arc::new(DirectFile::new(file, direct))),
            // A file system without it.
            Err(_) => Ok(Arc::new(RealFile(file))),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from) {
            // Some file systems, of networks above all, do not know that flag; a second name is as exclusive.
            Err(e)
                if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                fs::hard_link(from, to)?;
                fs::remove_file(from)
            }
            renamed => renamed,
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                // Removed between the two calls, by the writer of a store that we only read.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                entries.push(Entry { name, bytes: meta.len() });
            }
        }
        Ok(entries)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn lock(&self, path: &Path, note: &str) -> io::Result<Locking> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {
                if let Some(note) = padded(note) {
                    file.write_all_at(note.as_bytes(), 0)?;
                }
                Ok(Locking::Held(Box::new(file)))
            }
            Err(TryLockError::WouldBlock) => {
                let mut held_by = String::new();
                file.take(NOTE_BYTES as u64).read_to_string(&mut held_by)?;
                Ok(Locking::Refused(held_by.trim().to_owned()))
            }
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn map(&self, path: &Path) -> io::Result<Option<Mapping>> {
        Mapping::new(&fs::File::open(path)?).map(Some)
    }
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_up_to(file: &fs::File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        read_up_to(&self.0, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl Clock for RealClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic_ns(&self) -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        let elapsed = START.get_or_init(Instant::now).elapsed();
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Random for RealRandom {
    fn fill(&self, buf: &mut [u8]) -> io::Result<()> {
        getrandom::fill(buf).map_err(|e| io::Error::other(e.to_string()))
    }
}
