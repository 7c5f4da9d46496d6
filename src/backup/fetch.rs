//! Fetching objects of a repository into the files of a store that is being restored.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::body::{Meter, is_stopped};
use super::repository::Repository;
use super::{COPY_BYTES, in_parallel};
use crate::env::{Aligned, COPIERS, File, Mode, read_exact_at};
use crate::error::{Damage, Error, Result, is_of_medium};
use crate::format::repository::{JournalCut, Piece, Stored};
use crate::segment::writer::segment_name;
use crate::sync::Mutex;

/// Name ending of a segment that is not whole, or not durable.
const PART_SUFFIX: &str = ".part";
/// What was being done when an object could not be read.
const READING: &str = "reading";
/// What reads an object, or a file that is put together of objects.
const READS: [&str; 5] = [
    READING,
    "opening the segment",
    "reading the segment",
    "opening the journal",
    "reading the journal",
];
/// How often an object is read before what comes of it is taken as it is.
const READS_MAX: usize = 2;

/// Where a store is being restored to.
pub(super) struct Target<'a> {
    pub(super) dir: &'a Path,
    pub(super) meter: Meter<'a>,
    pub(super) damage: Mutex<Vec<Error>>,
}

impl Target<'_> {
    pub(super) fn tell(&self, damage: Error) {
        self.damage.lock().push(damage);
    }
}

/// What became of a segment that was to be copied.
pub(super) enum Fetched {
    Copied,
    /// An interrupted restore had copied it.
    Resumed,
    /// It is not there, or not all of it is. That is told.
    Lost,
}

/// A file that is filled, and from where on.
type Into<'a> = (&'a dyn File, &'a Path, u64);

impl Repository {
    /// Copies a segment as it is, unless it is there. It has its name when it is durable: of a file that an interrupted restore
    /// was still writing, a digest that is right says nothing about the disk.
    pub(super) fn copy_segment(&self, stored: &Stored, target: &Target<'_>) -> Result<Fetched> {
        let (entry, disk) = (&stored.entry, &self.env().disk);
        let path = target.dir.join(segment_name(entry.id));
        let failed = |e| Error::io("restoring", &path, e);
        if disk.exists(&path).map_err(failed)? {
            let there = disk.open(&path, Mode::Read).map_err(failed)?;
            if there.len().map_err(failed)? == entry.bytes
                && digest_of(&*there, entry.bytes).map_err(failed)? == entry.digest
            {
                count(&target.meter, entry.bytes)?;
                return Ok(Fetched::Resumed);
            }
            disk.remove(&path).map_err(failed)?;
        }
        let mut beside = path.clone().into_os_string();
        beside.push(PART_SUFFIX);
        let beside = PathBuf::from(beside);
        let file = disk.open_direct(&beside, Mode::Replace).map_err(failed)?;
        let piece = (&*self.segment_object(entry.id, stored.copy), entry.bytes, entry.digest);
        if !self.fetch(piece, (&*file, &beside, 0), target, &target.meter)? {
            disk.remove(&beside).map_err(failed)?;
            return Ok(Fetched::Lost);
        }
        file.sync().map_err(failed)?;
        disk.rename(&beside, &path).map_err(failed)?;
        Ok(Fetched::Copied)
    }

    /// Puts a file together of its pieces.
    pub(super) fn join(
        &self,
        name: &str,
        pieces: &[Piece],
        target: &Target<'_>,
        meter: &Meter<'_>,
    ) -> Result<()> {
        let path = target.dir.join(name);
        let failed = |e| Error::io("restoring", &path, e);
        let file = self.env().disk.open_direct(&path, Mode::Replace).map_err(failed)?;
        let mut to = 0;
        for piece in pieces {
            let of = (&*self.piece_object(piece.id), piece.bytes, piece.digest);
            // Where one is lost there is a hole: what follows stands in its place.
            let _ = self.fetch(of, (&*file, &path, to), target, meter)?;
            to += piece.bytes;
        }
        file.sync().map_err(failed)
    }

    /// Tells which pieces of journals are not what was put, for whoever takes only a part out of them, and so compares no digest.
    pub(super) fn tell_pieces(&self, journals: &[JournalCut], target: &Target<'_>) -> Result<()> {
        let pieces: Vec<&Piece> = journals.iter().flat_map(|journal| &journal.pieces).collect();
        in_parallel(COPIERS, &pieces, |piece| {
            let object = self.piece_object(piece.id);
            let file = self.place.open(&object, piece.bytes);
            let digest = file.and_then(|file| digest_of(&*file, piece.bytes));
            match digest.map_err(|e| self.reading(&object, e)) {
                Ok(digest) if digest == piece.digest => {}
                Ok(_) => target.tell(Error::corrupt(&object, 0, Damage::Rot)),
                Err(e) if is_damage(&e) => target.tell(e),
                Err(e) => return Err(e),
            }
            // Whoever watches is asked whether to go on.
            count(&target.meter, 0)
        })
    }

    /// Copies an object into a file; whether all of it is there, right or wrong. What is wrong with it is told.
    fn fetch(
        &self,
        (object, bytes, digest): (&str, u64, [u8; 32]),
        into: Into<'_>,
        target: &Target<'_>,
        meter: &Meter<'_>,
    ) -> Result<bool> {
        let mut outcome = Ok(());
        for _ in 0..READS_MAX {
            outcome = match self.copy(object, into, bytes, meter) {
                Ok(found) if found == digest => return Ok(true),
                Ok(_) => Ok(()),
                Err(e) if is_damage(&e) => Err(e),
                Err(e) => return Err(e),
            };
        }
        let is_all = outcome.is_ok();
        target.tell(outcome.err().unwrap_or_else(|| Error::corrupt(object, 0, Damage::Rot)));
        Ok(is_all)
    }

    pub(super) fn reading(&self, object: &str, e: io::Error) -> Error {
        match e.kind() {
            io::ErrorKind::NotFound => Error::corrupt(object, 0, Damage::Missing),
            io::ErrorKind::UnexpectedEof => Error::corrupt(object, 0, Damage::Truncated),
            _ => self.failed(READING, object, e),
        }
    }

    /// Copies an object to a place in a file; its digest.
    fn copy(
        &self,
        object: &str,
        (file, path, to): Into<'_>,
        bytes: u64,
        meter: &Meter<'_>,
    ) -> Result<[u8; 32]> {
        let source = self.place.open(object, bytes).map_err(|e| self.reading(object, e))?;
        let (mut digest, mut at) = (Sha256::new(), 0);
        let mut buf = Aligned::new(bytes.min(COPY_BYTES as u64) as usize);
        while at < bytes {
            let part = (bytes - at).min(COPY_BYTES as u64) as usize;
            let read = read_exact_at(&*source, &mut buf[..part], at);
            read.map_err(|e| self.reading(object, e))?;
            digest.update(&buf[..part]);
            let written = file.write_at(&buf[..part], to + at);
            written.map_err(|e| Error::io("restoring", path, e))?;
            at += part as u64;
            count(meter, part as u64)?;
        }
        Ok(digest.finalize().into())
    }
}

/// Whether an object is damaged or lost, or lies on a medium that does not give it back. Anything else may pass, and the restore goes on later.
pub(super) fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupt(_) | Error::Unsupported { .. } => true,
        // Not of what is written: that is the disk's that is restored to.
        Error::Io { doing, cause, .. } => READS.contains(doing) && is_lost(cause),
        _ => false,
    }
}

/// Whether an object is not there, or not all of it is, or the medium does not give it back.
pub(super) fn is_lost(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
        || is_of_medium(cause)
}

pub(super) fn count(meter: &Meter<'_>, bytes: u64) -> Result<()> {
    meter.add(bytes).map_err(|e| match is_stopped(&e) {
        true => Error::Interrupted,
        false => Error::io("restoring", PathBuf::new(), e),
    })
}

/// The digest of a file's first bytes.
pub(super) fn digest_of(file: &dyn File, bytes: u64) -> io::Result<[u8; 32]> {
    let (mut digest, mut at) = (Sha256::new(), 0);
    let mut buf = vec![0; bytes.min(COPY_BYTES as u64) as usize];
    while at < bytes {
        let part = (bytes - at).min(COPY_BYTES as u64) as usize;
        read_exact_at(file, &mut buf[..part], at)?;
        digest.update(&buf[..part]);
        at += part as u64;
    }
    Ok(digest.finalize().into())
}
