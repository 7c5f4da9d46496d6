//! The log of deletions: a file in the store, sealed, of certificates, each naming the digest of the one before.
//!
//! The keyring holds the number and the digest of the last statement, and that statement itself: so the end of
//! the log cannot be cut off unseen, and a crash between the keyring and the log loses nothing.
//!
//! A process appends to what it has written itself. Before that, and after a sync that failed, it writes the log anew: what stands there may
//! be in the system's memory alone, and some file systems (ext4) tell of such a block once, and of later syncs that they succeeded.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::Certificate;
use crate::crypto::{Cipher, NONCE_BYTES};
use crate::env::{Env, File, Mode, read_exact_at};
use crate::error::{Damage, Error, Result};
use crate::format::header::{
    Codec, FILE_HEADER_BYTES, FileKind, UNIT_HEADER_BYTES, Unit, UnitKind, parse_header,
};
use crate::ids::FileId;
use crate::keyring::LogHead;
use crate::limits::STATE_BYTES_MAX;
use crate::sync::Mutex;

/// The file's name in the store.
pub(crate) const LOG: &str = "deletions";
/// The file that becomes the log when it is written anew.
const LOG_NEW: &str = "deletions.new";
/// Largest record in bytes: one that names as many sessions as a statement may, and its receipts. Nothing larger is
/// allocated on the word of the file.
const RECORD_BYTES_MAX: usize = 4 << 20;

/// The log of a store.
pub(crate) struct DeletionLog {
    env: Env,
    dir: PathBuf,
    /// Held by whoever appends: where the next record goes, if this process wrote the last one.
    tail: Mutex<Option<Tail>>,
}

/// Where a record goes.
enum End {
    /// Into a new log: there is none.
    Nothing,
    /// Into a new log: the file is none.
    Foreign,
    /// Into a new file of the same id, behind these bytes of the old one.
    Anew(FileId, Vec<u8>),
    /// Where it stands.
    Behind(Arc<dyn File>, Tail),
}

#[derive(Clone, Copy)]
struct Tail {
    id: FileId,
    end: u64,
}

/// What stands in the log.
#[derive(Default)]
pub(crate) struct Logged {
    pub(crate) certificates: Vec<Certificate>,
    /// What is not as it should be; what a crash tore at the end is no damage.
    pub(crate) damage: Vec<Error>,
    tail: Option<Tail>,
    /// Where the last whole record begins.
    last_from: Option<u64>,
    /// The file as it was read, sealed.
    sealed: Vec<u8>,
}

impl Logged {
    /// Where the last whole record ends; none if there is no log.
    pub(crate) fn end(&self) -> Option<u64> {
        self.tail.map(|tail| tail.end)
    }

    /// Whether its last statement is the one before this.
    fn ends_before(&self, next: &Certificate) -> bool {
        follows(self.certificates.last(), next, 0).is_ok()
    }

    /// Whether its last statement is this.
    fn ends_with(&self, this: &Certificate) -> bool {
        self.certificates.last().is_some_and(|last| last.digest == this.digest)
    }

    /// Whether all statements are there, up to the last one.
    fn ends_at(&self, head: &LogHead) -> bool {
        let last =
            self.certificates.last().map_or((0, [0; 32]), |c| (c.statement.number, c.digest));
        self.damage.is_empty() && last == (head.count, head.digest)
    }

    /// Whether all statements before this are there, and perhaps this.
    fn is_whole_before(&self, next: &Certificate) -> bool {
        self.damage.is_empty() && (self.ends_with(next) || self.ends_before(next))
    }
}

impl DeletionLog {
    pub(crate) fn new(env: Env, dir: &Path) -> Self {
        Self { env, dir: dir.to_owned(), tail: Mutex::default() }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    fn open(&self, mode: Mode) -> Result<Option<Arc<dyn File>>> {
        match self.env.disk.open(&self.path(), mode) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("opening the log of deletions", self.path(), e)),
        }
    }

    /// Reads it whole.
    pub(crate) fn read(&self, cipher: &Cipher) -> Result<Logged> {
        match self.open(Mode::Read)? {
            Some(file) => self.read_from(&*file, cipher),
            None => Ok(Logged::default()),
        }
    }

    fn read_from(&self, file: &dyn File, cipher: &Cipher) -> Result<Logged> {
        let failed = |e| Error::io("reading the log of deletions", self.path(), e);
        let len = file.len().map_err(failed)?;
        let mut logged = Logged::default();
        if len > STATE_BYTES_MAX as u64 {
            logged.damage.push(Error::corrupt(LOG, 0, Damage::Malformed("size of the log")));
            return Ok(logged);
        }
        let mut bytes = vec![0; len as usize];
        read_exact_at(file, &mut bytes, 0).map_err(failed)?;
        if bytes.len() < FILE_HEADER_BYTES {
            return Ok(logged);
        }
        let id = match FileKind::DELETIONS.check(LOG, &bytes) {
            Ok(id) => id,
            Err(e) => {
                logged.damage.push(e);
                return Ok(logged);
            }
        };
        let mut at = FILE_HEADER_BYTES;
        while at < bytes.len() {
            match record(&mut bytes[at..], at as u64, id, cipher) {
                Ok((certificate, len)) => {
                    let followed = follows(logged.certificates.last(), &certificate, at as u64);
                    logged.damage.extend(followed.err());
                    logged.certificates.push(certificate);
                    logged.last_from = Some(at as u64);
                    at += len;
                }
                Err(e) => {
                    // What nothing whole follows was torn by a crash: it had not been synced.
                    let Some(next) = next_record(&bytes, at + 1) else { break };
                    logged.damage.push(e);
                    at = next;
                }
            }
        }
        logged.tail = Some(Tail { id, end: at as u64 });
        logged.sealed = bytes;
        Ok(logged)
    }

    /// Makes durable what stands in the log up to `head`, before anything is done that follows on it: the keyring holds one
    /// statement, and of those before it this is the only place. What this process has written is durable.
    pub(crate) fn settle(&self, head: &LogHead, cipher: &Cipher) -> Result<()> {
        let mut known = self.tail.lock();
        if known.is_some() {
            return Ok(());
        }
        let Some(file) = self.open(Mode::Write)? else { return Ok(()) };
        let mut logged = self.read_from(&*file, cipher)?;
        if !logged.ends_at(head) {
            logged = self.read_from(&*file, cipher)?;
        }
        // A log that is not whole is not copied: what is damaged may have been read wrong.
        let Some(tail) = logged.tail.filter(|_| logged.ends_at(head)) else { return Ok(()) };
        let whole = logged.sealed.get(..tail.end as usize).unwrap_or_default();
        let settled = match self.write_anew(&[whole]) {
            // Deleting must go on there, too: the last record is written over where it stands, which takes no room.
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                let from = logged.last_from.unwrap_or(tail.end);
                let last = whole.get(from as usize..).unwrap_or_default();
                file.write_at(last, from).and_then(|()| file.sync())
            }
            settled => settled,
        };
        settled.map_err(|e| Error::io("writing the log of deletions", self.path(), e))?;
        *known = Some(tail);
        Ok(())
    }

    /// Appends a certificate behind the last whole record, and makes it durable.
    pub(crate) fn append(&self, certificate: &Certificate, cipher: &Cipher) -> Result<()> {
        let mut known = self.tail.lock();
        // After a failure it is not known what stands there: the next one looks again.
        let tail = known.take();
        let end = match (self.open(Mode::Write)?, tail) {
            (Some(file), Some(tail)) => End::Behind(file, tail),
            (Some(file), None) => self.find_end(file, certificate, cipher)?,
            (None, _) => End::Nothing,
        };
        let (id, at) = match &end {
            End::Behind(_, tail) => (tail.id, tail.end),
            End::Anew(id, kept) => (*id, kept.len() as u64),
            End::Nothing | End::Foreign => {
                (FileId(crate::keyring::draw(&*self.env.random)?), FILE_HEADER_BYTES as u64)
            }
        };
        let record = self.seal(certificate, cipher, id, at)?;
        let written = match end {
            End::Behind(file, _) => write_behind(&*file, at, &record),
            End::Anew(_, kept) => self.write_anew(&[&kept, &record]),
            End::Nothing => self.write_anew(&[&FileKind::DELETIONS.header(id), &record]),
            End::Foreign => {
                // It cannot be gone on with, and is not lost for that: it stays beside the new one.
                let aside = self.dir.join(format!("{LOG}.{id}"));
                let moved = self.env.disk.rename(&self.path(), &aside);
                moved.and_then(|()| self.write_anew(&[&FileKind::DELETIONS.header(id), &record]))
            }
        };
        written.map_err(|e| Error::io("writing the log of deletions", self.path(), e))?;
        *known = Some(Tail { id, end: at + record.len() as u64 });
        Ok(())
    }

    fn seal(
        &self,
        certificate: &Certificate,
        cipher: &Cipher,
        id: FileId,
        offset: u64,
    ) -> Result<Vec<u8>> {
        let nonce = crate::keyring::draw::<NONCE_BYTES>(&*self.env.random)?;
        let mut record = vec![0; UNIT_HEADER_BYTES];
        certificate.encode(&mut record);
        let context: &[&[u8]] = &[&id.0, &offset.to_le_bytes()];
        UnitKind::CERTIFICATE.seal(Codec::Stored, cipher, &nonce, context, &mut record, 0);
        Ok(record)
    }

    /// Puts a log of these parts in the place of the one there is: whole, or not at all.
    fn write_anew(&self, parts: &[&[u8]]) -> io::Result<()> {
        let new = self.dir.join(LOG_NEW);
        let write = || -> io::Result<()> {
            let file = self.env.disk.open(&new, Mode::Replace)?;
            file.write_at(&parts.concat(), 0)?;
            file.sync()
        };
        write().inspect_err(|_| {
            // A full disk needs the room.
            let _ = self.env.disk.remove(&new);
        })?;
        self.env.disk.rename(&new, &self.path())?;
        self.env.disk.sync_dir(&self.dir)
    }

    /// Finds where a certificate goes, in a log that this process has not just written.
    fn find_end(
        &self,
        file: Arc<dyn File>,
        certificate: &Certificate,
        cipher: &Cipher,
    ) -> Result<End> {
        let mut logged = self.read_from(&*file, cipher)?;
        if !logged.is_whole_before(certificate) {
            // What is not read is cut off, so a read that went wrong on its way must not decide.
            logged = self.read_from(&*file, cipher)?;
        }
        let Some(mut tail) = logged.tail else {
            return Ok(if logged.damage.is_empty() { End::Nothing } else { End::Foreign });
        };
        if logged.ends_with(certificate) {
            // By an attempt whose sync failed: it is written once more, in its place.
            tail.end = logged.last_from.unwrap_or(tail.end);
        }
        if logged.is_whole_before(certificate) {
            logged.sealed.truncate(tail.end as usize);
            return Ok(End::Anew(tail.id, logged.sealed));
        }
        // What is damaged stays as it is. If there seems to be no record before this one, that is not for a crash that tore it: it
        // was acknowledged and can't be read. It stays too, and is told as damage.
        if !logged.ends_with(certificate) && !logged.ends_before(certificate) {
            let failed = |e| Error::io("reading the log of deletions", self.path(), e);
            tail.end = file.len().map_err(failed)?;
        }
        Ok(End::Behind(file, tail))
    }
}

/// Writes a record behind others.
fn write_behind(file: &dyn File, at: u64, record: &[u8]) -> io::Result<()> {
    if file.len()? > at {
        // A torn record: nothing of it may stand behind this one.
        file.set_len(at)?;
    }
    file.write_at(record, at)?;
    file.sync()
}

/// The record at the beginning of `bytes`, which stand at `offset`, and its length.
fn record(
    bytes: &mut [u8],
    offset: u64,
    id: FileId,
    cipher: &Cipher,
) -> Result<(Certificate, usize)> {
    let corrupt = |damage| Error::corrupt(LOG, offset, damage);
    let body = parse_header(UnitKind::CERTIFICATE, LOG, offset, bytes)?.body_bytes;
    if body > RECORD_BYTES_MAX {
        return Err(corrupt(Damage::Malformed("record length")));
    }
    let len = UNIT_HEADER_BYTES + body;
    // Opened in a copy: what does not open is looked through for a whole record once more.
    let mut unit = bytes.get(..len).ok_or_else(|| corrupt(Damage::Truncated))?.to_vec();
    let plain = Unit::check(UnitKind::CERTIFICATE, LOG, offset, &mut unit)?.open(
        cipher,
        &[&id.0, &offset.to_le_bytes()],
        LOG,
        offset,
    )?;
    let certificate = Certificate::decode(plain).map_err(|m| corrupt(Damage::Malformed(m.0)))?;
    Ok((certificate, len))
}

/// Where the next header of a record stands, at or after `from`.
fn next_record(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find_iter(bytes.get(from..)?, UnitKind::CERTIFICATE.0)
        .map(|i| from + i)
        .find(|at| parse_header(UnitKind::CERTIFICATE, LOG, *at as u64, &bytes[*at..]).is_ok())
}

/// Whether a statement follows on the one before.
fn follows(before: Option<&Certificate>, this: &Certificate, offset: u64) -> Result<()> {
    let (number, digest) = before.map_or((0, [0; 32]), |c| (c.statement.number, c.digest));
    let statement = &this.statement;
    if statement.number == number + 1 && statement.previous == digest {
        return Ok(());
    }
    Err(Error::corrupt(LOG, offset, Damage::Malformed("chain of statements")))
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::crypto::Key;
    use crate::env::sim::{self, Survival};
    use crate::ids::StoreId;
    use crate::retention::record::{Deed, Receipt, Statement};

    fn cipher() -> Cipher {
        Cipher::new(&Key::take(&mut [7; 32]))
    }

    fn next(before: Option<&Certificate>) -> Certificate {
        let (number, previous) = before.map_or((0, [0; 32]), |c| (c.statement.number, c.digest));
        let statement = Statement {
            store: StoreId([9; 16]),
            number: number + 1,
            previous,
            at_ms: 1_800_000_000_000,
            before: number,
            after: number + 1,
            deed: Deed::Expired { through: number as u32 },
        };
        Certificate::new(statement, vec![Receipt { version: 1, destroyed: true, text: "x".into() }])
    }

    fn chain(n: usize) -> Vec<Certificate> {
        let mut chain: Vec<Certificate> = Vec::new();
        for _ in 0..n {
            chain.push(next(chain.last()));
        }
        chain
    }

    fn log(env: &Env) -> DeletionLog {
        DeletionLog::new(env.clone(), Path::new("/"))
    }

    #[test]
    fn what_is_appended_is_read_by_the_next_process_too() {
        let (env, ..) = sim::env(1);
        for certificate in chain(3) {
            log(&env).append(&certificate, &cipher()).unwrap();
        }
        let logged = log(&env).read(&cipher()).unwrap();
        assert_eq!(logged.certificates, chain(3));
        assert!(logged.damage.is_empty());
    }

    #[test]
    fn a_crash_leaves_whole_records_and_the_next_goes_behind_them() {
        for crash_at in 0.. {
            let (env, disk, _) = sim::env(1);
            disk.crash_at(crash_at);
            let log_here = log(&env);
            let done =
                chain(3).iter().take_while(|c| log_here.append(c, &cipher()).is_ok()).count();
            for seed in 0..10 {
                let image = disk.crash_image(Survival::Random(seed));
                let env = image.env(&sim::SimClock::new(sim::START_MS), seed);
                let there = log(&env).read(&cipher()).unwrap();
                assert!(there.damage.is_empty(), "{:?}", there.damage);
                assert!(there.certificates.len() >= done);
                let before = there.certificates.last().cloned();
                log(&env).append(&next(before.as_ref()), &cipher()).unwrap();
                let after = log(&env).read(&cipher()).unwrap();
                assert!(after.damage.is_empty());
                assert_eq!(after.certificates, chain(there.certificates.len() + 1));
            }
            if !disk.crashed() {
                return;
            }
        }
    }

    #[test]
    fn rot_removal_and_exchange_are_seen_and_the_rest_is_read() {
        let (env, disk, _) = sim::env(1);
        for certificate in chain(3) {
            log(&env).append(&certificate, &cipher()).unwrap();
        }
        let whole = disk.file_bytes("/deletions").unwrap();
        let put = |bytes: &[u8]| {
            let file = env.disk.open(Path::new("/deletions"), Mode::Replace).unwrap();
            file.write_at(bytes, 0).unwrap();
        };
        let record = (whole.len() - FILE_HEADER_BYTES) / 3;
        for at in FILE_HEADER_BYTES..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            put(&bad);
            let logged = log(&env).read(&cipher()).unwrap();
            assert_eq!(logged.certificates.len(), 2);
            let last = at >= whole.len() - record;
            assert_eq!(logged.damage.is_empty(), last, "byte {at}");
        }
        let mut without = whole.clone();
        without.drain(FILE_HEADER_BYTES + record..FILE_HEADER_BYTES + 2 * record);
        put(&without);
        assert!(log(&env).read(&cipher()).unwrap().certificates.len() < 3);
        let mut swapped = whole.clone();
        swapped[FILE_HEADER_BYTES..].rotate_left(record);
        put(&swapped);
        assert!(log(&env).read(&cipher()).unwrap().certificates.is_empty());
    }
}
