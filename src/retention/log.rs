//! The log of deletions: a file in the store, sealed, of certificates, each naming the digest of the one before.
//!
//! The keyring holds the number and the digest of the last statement, and that statement itself: so the end of
//! the log cannot be cut off unseen, and a crash between the keyring and the log loses nothing.

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
use crate::limits::STATE_BYTES_MAX;
use crate::sync::Mutex;

/// The file's name in the store.
pub(crate) const LOG: &str = "deletions";
/// The file that becomes the log when it is begun.
const LOG_NEW: &str = "deletions.new";
/// Largest record in bytes: one that names as many sessions as a statement may, and its receipts. Nothing larger is
/// allocated on the word of the file.
const RECORD_BYTES_MAX: usize = 4 << 20;

/// The log of a store.
pub(crate) struct DeletionLog {
    env: Env,
    dir: PathBuf,
    /// Held by whoever appends.
    known: Mutex<Known>,
}

/// What a process knows of the end of the log.
#[derive(Default)]
struct Known {
    /// Where the next record goes, if this process wrote the last one.
    tail: Option<Tail>,
    /// Where a record stands that a failed sync may have left in the system's memory alone, where it looks like any other.
    unsure_from: Option<u64>,
}

/// Where a record goes.
#[derive(Default)]
struct End {
    tail: Option<Tail>,
    /// What stands before it, and may not be durable: it is written once more.
    again: Vec<u8>,
    /// The file is no log.
    is_foreign: bool,
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
}

impl DeletionLog {
    pub(crate) fn new(env: Env, dir: &Path) -> Self {
        Self { env, dir: dir.to_owned(), known: Mutex::default() }
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

    /// Appends a certificate behind the last whole record, and makes it durable.
    pub(crate) fn append(&self, certificate: &Certificate, cipher: &Cipher) -> Result<()> {
        let mut known = self.known.lock();
        let failed = |e| Error::io("writing the log of deletions", self.path(), e);
        let file = self.open(Mode::Write)?;
        let end = match (&file, known.tail) {
            (None, _) => End::default(),
            (Some(_), Some(tail)) => End { tail: Some(tail), ..End::default() },
            (Some(file), None) => self.find_end(&**file, certificate, cipher, known.unsure_from)?,
        };
        if end.is_foreign {
            // It cannot be gone on with, and is not lost for that: it stays beside the new one.
            let id = FileId(crate::keyring::draw(&*self.env.random)?);
            let aside = self.dir.join(format!("{LOG}.{id}"));
            self.env.disk.rename(&self.path(), &aside).map_err(failed)?;
        }
        let (id, at) = match end.tail {
            Some(tail) => (tail.id, tail.end),
            None => (FileId(crate::keyring::draw(&*self.env.random)?), 0),
        };
        let mut bytes = if at == 0 { FileKind::DELETIONS.header(id).to_vec() } else { Vec::new() };
        let from = bytes.len();
        let offset = at + from as u64;
        let nonce = crate::keyring::draw::<NONCE_BYTES>(&*self.env.random)?;
        bytes.resize(from + UNIT_HEADER_BYTES, 0);
        certificate.encode(&mut bytes);
        let context: &[&[u8]] = &[&id.0, &offset.to_le_bytes()];
        UnitKind::CERTIFICATE.seal(Codec::Stored, cipher, &nonce, context, &mut bytes, from);
        let write = || -> io::Result<()> {
            let Some(file) = file.filter(|_| at > 0) else { return self.begin(&bytes) };
            if file.len()? > at {
                // A torn record: nothing of it may stand behind this one.
                file.set_len(at)?;
            }
            if !end.again.is_empty() {
                file.write_at(&end.again, at - end.again.len() as u64)?;
            }
            file.write_at(&bytes, at)?;
            file.sync()
        };
        // After a failure it is not known what stands there: the next one looks again.
        let unsure_from = known.unsure_from.map_or(at, |from| from.min(at));
        *known = Known { tail: None, unsure_from: Some(unsure_from) };
        write().map_err(failed)?;
        let tail = Some(Tail { id, end: at + bytes.len() as u64 });
        *known = Known { tail, unsure_from: None };
        Ok(())
    }

    /// Makes the log with its first record: whole, or not at all.
    fn begin(&self, bytes: &[u8]) -> io::Result<()> {
        let new = self.dir.join(LOG_NEW);
        let file = self.env.disk.open(&new, Mode::Replace)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        self.env.disk.rename(&new, &self.path())?;
        self.env.disk.sync_dir(&self.dir)
    }

    /// Finds where a certificate goes, in a log that this process has not just written.
    fn find_end(
        &self,
        file: &dyn File,
        certificate: &Certificate,
        cipher: &Cipher,
        unsure_from: Option<u64>,
    ) -> Result<End> {
        let mut logged = self.read_from(file, cipher)?;
        if !logged.ends_before(certificate) {
            // What is not read is cut off, so a read that went wrong on its way must not decide.
            logged = self.read_from(file, cipher)?;
        }
        let Some(mut tail) = logged.tail else {
            return Ok(End { is_foreign: !logged.damage.is_empty(), ..End::default() });
        };
        let last = logged.certificates.last();
        if last.is_some_and(|last| last.digest == certificate.digest) {
            // By an attempt whose sync failed: it is written once more, in its place.
            tail.end = logged.last_from.unwrap_or(tail.end);
        } else if !logged.ends_before(certificate) {
            // Not a torn record, but one that was acknowledged and can't be read: it stays, and is told as damage.
            let failed = |e| Error::io("reading the log of deletions", self.path(), e);
            tail.end = file.len().map_err(failed)?;
            return Ok(End { tail: Some(tail), ..End::default() });
        }
        // The process before may have been killed between writing the last record and syncing it, or the sync has failed.
        let from = [logged.last_from, unsure_from].into_iter().flatten().min();
        let again = from.and_then(|from| logged.sealed.get(from as usize..tail.end as usize));
        let again = again.unwrap_or_default().to_vec();
        Ok(End { tail: Some(tail), again, is_foreign: false })
    }
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
