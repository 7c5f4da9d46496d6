//! A small log of sealed records, each chained to the one before: the audit log of a site, the log of incidents.
//!
//! A log is a folder of files, each named by the number of its first record, sixteen digits. A file is records back to back:
//!
//! | bytes | field |
//! |---|---|
//! | 4 | length of the sealed record, little-endian |
//! | 32 | SHA-256 of the sealed record before; zeros before the first |
//! | … | the record as a [`Sealer`] makes it; its place is its number (`u64`, little-endian) and those 32 bytes |
//!
//! So nothing can be changed, left out or put elsewhere unseen, but for records cut off at the very end; the digest of the
//! last record, which is told to whoever reads the log, makes that provable too. What a crash tore is at the end, was never
//! acknowledged, and is written over.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reelvault::env::{Env, File, Mode};
use reelvault::{Error, SEALED_BYTES_MORE, Sealer};
use sha2::{Digest, Sha256};

use crate::limits::{LOG_FILE_BYTES, RECORD_BYTES_MAX};

const HEAD_BYTES: usize = 4 + 32;
const NAME_END: &str = ".rvl";

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A record is not what was written, or one is missing.
    #[error("the log is damaged at record {0}")]
    Damaged(u64),
    /// The site was erased, and its log with it; or the store refused.
    #[error(transparent)]
    Store(#[from] Error),
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A record is larger than [`RECORD_BYTES_MAX`].
    #[error("a record of {0} bytes")]
    TooLarge(usize),
}

type Result<T, E = LogError> = std::result::Result<T, E>;

/// A log that is open for appending.
pub(crate) struct SealedLog {
    env: Env,
    folder: PathBuf,
    sealer: Sealer,
    next: u64,
    head: [u8; 32],
    file: Option<(Arc<dyn File>, u64)>,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) plain: Vec<u8>,
}

/// What is in one file, or in a whole log.
struct Scan {
    records: Vec<Record>,
    next: u64,
    head: [u8; 32],
    /// Bytes up to the end of the last whole record.
    bytes: u64,
}

fn place(number: u64, before: &[u8; 32]) -> Vec<u8> {
    [&number.to_le_bytes()[..], before].concat()
}

/// The numbers with which a log's files begin, rising.
fn files(env: &Env, folder: &Path) -> Result<Vec<u64>> {
    let entries = match env.disk.list(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let number = |name: &str| name.strip_suffix(NAME_END)?.parse().ok();
    let mut numbers: Vec<u64> = entries.iter().filter_map(|e| number(&e.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn file_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:016}{NAME_END}"))
}

/// Reads one file. `before` is the digest it must begin with; `None` believes what stands there, for a log that is read from
/// its end. A torn end is an error unless it is the end of the log.
fn scan(
    env: &Env,
    folder: &Path,
    sealer: &Sealer,
    first: u64,
    before: Option<[u8; 32]>,
    last: bool,
) -> Result<Scan> {
    let file = env.disk.open(&file_path(folder, first), Mode::Read)?;
    let bytes = file.len()?;
    if bytes > LOG_FILE_BYTES + (HEAD_BYTES + RECORD_BYTES_MAX + SEALED_BYTES_MORE) as u64 {
        return Err(LogError::Damaged(first));
    }
    let mut all = vec![0; bytes as usize];
    let read = file.read_at(&mut all, 0)?;
    all.truncate(read);
    let mut scan =
        Scan { records: Vec::new(), next: first, head: before.unwrap_or_default(), bytes: 0 };
    let mut rest = &all[..];
    while !rest.is_empty() {
        let Some((length, chained, sealed)) = split(rest) else {
            // Only the end of the log can be torn, and only where nothing whole follows.
            let torn = last && !has_record(rest, scan.next + 1, sealer);
            return if torn { Ok(scan) } else { Err(LogError::Damaged(scan.next)) };
        };
        let known = scan.bytes > 0 || before.is_some();
        if known && chained != scan.head {
            return Err(LogError::Damaged(scan.next));
        }
        let plain = match sealer.open(&place(scan.next, &chained), sealed) {
            Err(Error::Corrupt(_) | Error::Unsupported { .. }) => {
                return Err(LogError::Damaged(scan.next));
            }
            plain => plain?,
        };
        scan.records.push(Record { number: scan.next, plain });
        scan.head = Sha256::digest(sealed).into();
        scan.next += 1;
        scan.bytes += length as u64;
        rest = &rest[length..];
    }
    Ok(scan)
}

/// The first record of some bytes: its length with its head, what it is chained to, and its seal.
fn split(bytes: &[u8]) -> Option<(usize, [u8; 32], &[u8])> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    if !(SEALED_BYTES_MORE..=RECORD_BYTES_MAX + SEALED_BYTES_MORE).contains(&length) {
        return None;
    }
    let chained = *bytes.get(4..HEAD_BYTES)?.first_chunk()?;
    Some((HEAD_BYTES + length, chained, bytes.get(HEAD_BYTES..HEAD_BYTES + length)?))
}

/// Whether the record of that number stands anywhere in some bytes.
fn has_record(bytes: &[u8], number: u64, sealer: &Sealer) -> bool {
    (1..bytes.len()).any(|at| {
        let found = split(&bytes[at..]);
        found.is_some_and(|(_, head, sealed)| sealer.open(&place(number, &head), sealed).is_ok())
    })
}

impl SealedLog {
    /// Opens a log, or begins one.
    pub(crate) fn open(env: &Env, folder: &Path, sealer: Sealer) -> Result<Self> {
        env.disk.create_dir(folder)?;
        let mut log = Self {
            env: env.clone(),
            folder: folder.to_owned(),
            sealer,
            next: 1,
            head: [0; 32],
            file: None,
        };
        if let Some(&first) = files(env, folder)?.last() {
            let before = (first == 1).then_some([0; 32]);
            let found = scan(env, folder, &log.sealer, first, before, true)?;
            log.next = found.next;
            log.head = found.head;
            if found.records.is_empty() && first > 1 {
                // A file whose first record was torn: what it is chained to stands in the file before.
                log.head = head_before(env, folder, &log.sealer, first)?;
            }
            let file = env.disk.open(&file_path(folder, first), Mode::Write)?;
            file.set_len(found.bytes)?;
            log.file = Some((file, found.bytes));
        }
        if log.next == 1 {
            // No record is durable in a folder that is not.
            settle(env, folder)?;
        }
        Ok(log)
    }

    /// Appends a record; [`sync`](Self::sync) makes it durable. Returns its number.
    pub(crate) fn append(&mut self, plain: &[u8]) -> Result<u64> {
        if plain.len() > RECORD_BYTES_MAX {
            return Err(LogError::TooLarge(plain.len()));
        }
        let number = self.next;
        let sealed = self.sealer.seal(&place(number, &self.head), plain)?;
        let mut bytes = (sealed.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.head);
        bytes.extend_from_slice(&sealed);
        let (file, at) = match self.file.take() {
            Some((file, at)) if at < LOG_FILE_BYTES => (file, at),
            full => {
                if let Some((file, _)) = full {
                    // What comes later must not be durable before it.
                    file.sync()?;
                }
                let file = self.env.disk.open(&file_path(&self.folder, number), Mode::Create)?;
                self.env.disk.sync_dir(&self.folder)?;
                (file, 0)
            }
        };
        let written = file.write_at(&bytes, at);
        // After a failed write the next one goes over the same place.
        self.file = Some((file, if written.is_ok() { at + bytes.len() as u64 } else { at }));
        written?;
        self.head = Sha256::digest(&sealed).into();
        self.next += 1;
        Ok(number)
    }

    /// The file that is appended to, to be synced while others append: what is in files before it is durable.
    pub(crate) fn file(&self) -> Option<Arc<dyn File>> {
        self.file.as_ref().map(|(file, _)| Arc::clone(file))
    }

    /// Makes everything durable that was appended.
    pub(crate) fn sync(&self) -> Result<()> {
        if let Some((file, _)) = &self.file {
            file.sync()?;
        }
        Ok(())
    }
}

/// Makes durable that a folder is there, and those above it. Those that are not ours to open, or whose file system does not take it,
/// were not made by us.
fn settle(env: &Env, folder: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    for above in folder.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match env.disk.sync_dir(above) {
            Err(e)
                if matches!(
                    e.kind(),
                    InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported
                ) => {}
            synced => synced?,
        }
    }
    Ok(())
}

fn head_before(env: &Env, folder: &Path, sealer: &Sealer, first: u64) -> Result<[u8; 32]> {
    let all = files(env, folder)?;
    let before = all.iter().rev().find(|n| **n < first).ok_or(LogError::Damaged(first))?;
    let found = scan(env, folder, sealer, *before, None, false)?;
    if found.next == first { Ok(found.head) } else { Err(LogError::Damaged(found.next)) }
}

/// The records before number `before`, newest first, at most `limit`. `before` may be any number above the last.
pub(crate) fn newest(
    env: &Env,
    folder: &Path,
    sealer: &Sealer,
    before: u64,
    limit: usize,
) -> Result<Vec<Record>> {
    let all = files(env, folder)?;
    let mut records: Vec<Record> = Vec::new();
    let mut chained: Option<(u64, u64)> = None;
    for (i, &first) in all.iter().enumerate().rev() {
        if first >= before {
            continue;
        }
        let start = (first == 1).then_some([0; 32]);
        let found = scan(env, folder, sealer, first, start, i + 1 == all.len())?;
        if let Some((next_file, _)) = chained
            && found.next != next_file
        {
            return Err(LogError::Damaged(found.next));
        }
        chained = Some((first, found.next));
        let wanted = found.records.into_iter().rev().filter(|r| r.number < before);
        records.extend(wanted.take(limit - records.len()));
        if records.len() == limit {
            break;
        }
    }
    Ok(records)
}

/// Reads a whole log, oldest first, its chain from the first record to the last. Returns the digest of the last record.
pub(crate) fn read_all(
    env: &Env,
    folder: &Path,
    sealer: &Sealer,
    mut each: impl FnMut(Record),
) -> Result<[u8; 32]> {
    let all = files(env, folder)?;
    let (mut next, mut head) = (1, [0; 32]);
    for (i, &first) in all.iter().enumerate() {
        if first != next {
            return Err(LogError::Damaged(next));
        }
        let found = scan(env, folder, sealer, first, Some(head), i + 1 == all.len())?;
        found.records.into_iter().for_each(&mut each);
        (next, head) = (found.next, found.head);
    }
    Ok(head)
}

#[cfg(test)]
#[path = "sealed_log_tests.rs"]
mod tests;
