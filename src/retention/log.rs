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
/// Largest record in bytes: one that names as many sessions as a statement may, and its receipts. Nothing larger is
/// allocated on the word of the file.
const RECORD_BYTES_MAX: usize = 4 << 20;

/// The log of a store.
pub(crate) struct DeletionLog {
    env: Env,
    dir: PathBuf,
    /// Where the next record goes, once that is known; held by whoever appends.
    tail: Mutex<Option<Tail>>,
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
}

impl Logged {
    /// Where the last whole record ends; none if there is no log.
    pub(crate) fn end(&self) -> Option<u64> {
        self.tail.map(|tail| tail.end)
    }
}

impl DeletionLog {
    pub(crate) fn new(env: Env, dir: &Path) -> Self {
        Self { env, dir: dir.to_owned(), tail: Mutex::new(None) }
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
        Ok(logged)
    }

    /// Appends a certificate behind the last whole record, and makes it durable.
    pub(crate) fn append(&self, certificate: &Certificate, cipher: &Cipher) -> Result<()> {
        let mut tail = self.tail.lock();
        let failed = |e| Error::io("writing the log of deletions", self.path(), e);
        let file = match self.open(Mode::Write)? {
            Some(file) => file,
            None => {
                *tail = None;
                self.env.disk.open(&self.path(), Mode::Create).map_err(failed)?
            }
        };
        let mut file = file;
        if tail.is_none() {
            let logged = self.read_from(&*file, cipher)?;
            if logged.tail.is_none() && !logged.damage.is_empty() {
                // It cannot be gone on with, and is not lost for that: it stays beside the new one.
                let id = FileId(crate::keyring::draw(&*self.env.random)?);
                let aside = self.dir.join(format!("{LOG}.{id}"));
                self.env.disk.rename(&self.path(), &aside).map_err(failed)?;
                file = self.env.disk.open(&self.path(), Mode::Create).map_err(failed)?;
            }
            *tail = logged.tail;
        }
        let (id, at) = match *tail {
            Some(known) => (known.id, known.end),
            // New, or torn before its header was durable, or not to be read at all.
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
            if file.len()? > at {
                // A torn record: nothing of it may stand behind this one.
                file.set_len(at)?;
            }
            file.write_at(&bytes, at)?;
            file.sync()?;
            if at == 0 { self.env.disk.sync_dir(&self.dir) } else { Ok(()) }
        };
        // After a failure it is not known what stands there: the next one looks again.
        *tail = None;
        write().map_err(failed)?;
        *tail = Some(Tail { id, end: at + bytes.len() as u64 });
        Ok(())
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
