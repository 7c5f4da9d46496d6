//! Restoring: a store out of a snapshot, whole or in part, in an empty directory.
//!
//! Everything passes the keyring as it is now. Segments whose day has passed or whose hold has ended are left out; of segments in which sessions were erased
//! the others' sealed bytes are copied, and nothing is decrypted. The keyring is only read.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::body::{Meter, is_stopped};
use super::repository::Repository;
use super::{COPY_BYTES, Watch, in_parallel};
use crate::env::{Aligned, COPIERS, File, Mode, read_exact_at};
use crate::error::{Damage, Error, Result};
use crate::format::manifest::SegmentEntry;
use crate::format::repository::{Piece, SnapshotBody, Stored, bytes_of};
use crate::ids::{SessionId, SessionTag, SiteHandle, SiteId};
use crate::journal::file::{JOURNAL_DIR, journal_name};
use crate::keyring::make_dir;
use crate::retention::log::LOG;
use crate::segment::writer::{SEGMENT_DIR, segment_name};
use crate::store::manifest::{self, MANIFEST};
use crate::store::{Store, Tally, Wanted};
use crate::sync::Mutex;

/// Stands in a directory for as long as a store is being restored into it.
const RESTORING: &str = "restoring";

/// What is to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Everything.
    All,
    /// The sessions of one site.
    Site(SiteId),
    /// One session of a site.
    Session(SiteId, SessionId),
}

/// What was restored, and what was not because nobody may have it any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// The snapshot.
    pub snapshot: u64,
    /// Segments.
    pub segments: u64,
    /// Journals.
    pub journals: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Sessions in what was restored; one that lies in two files counts twice.
    pub sessions: u64,
    /// Sessions that were erased since the snapshot was made. They are not restored.
    pub erased_sessions: u64,
    /// Segments whose retention has ended since, or their hold. They are not restored.
    pub expired_segments: u64,
    /// Segments that a restore that was interrupted had written.
    pub resumed_segments: u64,
}

/// What becomes of a segment.
struct Step {
    stored: Stored,
    whole: bool,
}

impl Repository {
    /// Restores a snapshot into a directory that is empty, or that an interrupted restore of the same has left. The keyring is not restored: the one
    /// that is in use opens what this makes.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], [`Error::NotEmpty`], [`Error::Interrupted`]; [`Error::UnknownSite`], [`Error::UnknownSession`], [`Error::Erased`] and
    /// [`Error::Expired`] of what was asked for; damage; errors of the disk and of the place.
    pub fn restore(
        &self,
        number: u64,
        dir: impl AsRef<Path>,
        what: &What,
        watch: Watch<'_>,
    ) -> Result<Restored> {
        let dir = dir.as_ref();
        self.keyring.refresh()?;
        let body = self.snapshot(number)?;
        let segments = self.segments(&body)?;
        let from = self.open_body(&body, &segments)?;
        let wanted = wanted(&from, what)?;
        let mut restored = Restored { snapshot: number, ..Restored::default() };
        let steps = self.steps(&from, &segments, &*wanted, &mut restored)?;
        self.prepare(dir)?;
        let whole = matches!(what, What::All);
        let grown: u64 = match whole {
            true => body.journals.iter().map(|j| j.bytes()).sum(),
            false => 0,
        };
        let total = steps.iter().map(|step| step.stored.entry.bytes).sum::<u64>() + grown;
        let meter = Meter::new(total, watch);
        let entries = self.write_segments(&from, steps, dir, &*wanted, &meter, &mut restored)?;
        let mut manifest = body.manifest(&[]);
        manifest.segments = entries;
        if whole {
            self.write_journals(&body, dir, &meter)?;
            restored.journals = body.journals.len() as u64;
        } else {
            manifest.journals.clear();
            let env = self.env();
            manifest.segments.extend(from.archive_wanted(env, dir, &*wanted)?);
        }
        let tally = from.tally_journals(&*wanted);
        restored.sessions += tally.kept;
        restored.erased_sessions += tally.erased;
        self.write_log(&body, dir)?;
        restored.segments = manifest.segments.len() as u64;
        restored.bytes = manifest.segments.iter().map(|s| s.bytes).sum::<u64>() + grown;
        self.finish(dir, &manifest)?;
        Ok(restored)
    }

    /// What is to be done with each segment.
    fn steps(
        &self,
        from: &Store,
        segments: &[Stored],
        wanted: Wanted<'_>,
        restored: &mut Restored,
    ) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for stored in segments {
            let Tally { kept, erased, others } = match from.tally(&stored.entry, wanted) {
                Err(e) if e.is_gone() => {
                    restored.expired_segments += u64::from(!self.is_idle_hold(&stored.entry));
                    if self.is_idle_hold(&stored.entry) {
                        steps.push(Step { stored: *stored, whole: true });
                    }
                    continue;
                }
                // Its damage is told by whoever reads it: what can still be read of it is not lost for that.
                Err(Error::Corrupt(_) | Error::Unsupported { .. }) => Tally::default(),
                tally => tally?,
            };
            restored.sessions += kept;
            restored.erased_sessions += erased;
            let whole = erased == 0 && others == 0;
            if kept > 0 || whole {
                steps.push(Step { stored: *stored, whole });
            }
        }
        Ok(steps)
    }

    /// Whether a segment is the copy of a hold that lasts, whose session is still kept without it: nobody reads it yet.
    fn is_idle_hold(&self, entry: &SegmentEntry) -> bool {
        entry.is_hold() && self.keyring.hold(&crate::ids::HoldId(entry.id.0)).is_some()
    }

    /// Makes the directory, or sees that it is one that may be written to.
    fn prepare(&self, dir: &Path) -> Result<()> {
        let (env, disk) = (self.env(), &self.env().disk);
        let failed = |e| Error::io("restoring into", dir, e);
        let mark = dir.join(RESTORING);
        if !disk.exists(&mark).map_err(failed)? {
            for folder in [dir.to_owned(), dir.join(SEGMENT_DIR), dir.join(JOURNAL_DIR)] {
                let exists = disk.exists(&folder).map_err(failed)?;
                if exists && !disk.list(&folder).map_err(failed)?.is_empty() {
                    return Err(Error::NotEmpty(dir.to_owned()));
                }
            }
            make_dir(env, dir)?;
            disk.open(&mark, Mode::Replace).map_err(failed)?;
        }
        make_dir(env, &dir.join(SEGMENT_DIR))?;
        make_dir(env, &dir.join(JOURNAL_DIR))?;
        disk.sync_dir(dir).map_err(failed)
    }

    fn write_segments(
        &self,
        from: &Store,
        steps: Vec<Step>,
        dir: &Path,
        wanted: Wanted<'_>,
        meter: &Meter<'_>,
        restored: &mut Restored,
    ) -> Result<Vec<SegmentEntry>> {
        self.remove_others(dir, &steps)?;
        let (entries, resumed) = (Mutex::new(Vec::new()), Mutex::new(0));
        in_parallel(COPIERS, &steps, |Step { stored, whole }| {
            let entry = match whole {
                true => {
                    *resumed.lock() += u64::from(self.copy_segment(stored, dir, meter)?);
                    stored.entry
                }
                false => {
                    let env = self.env();
                    let written = from.copy_wanted(&stored.entry, env, dir, wanted)?;
                    count(meter, stored.entry.bytes)?;
                    written
                }
            };
            entries.lock().push(entry);
            Ok(())
        })?;
        restored.resumed_segments = resumed.into_inner();
        let mut entries = entries.into_inner();
        entries.sort_by_key(|entry| (entry.day, entry.shard, entry.id.0));
        Ok(entries)
    }

    /// Removes what an interrupted restore left and this one does not need: what it had rewritten has random names.
    fn remove_others(&self, dir: &Path, steps: &[Step]) -> Result<()> {
        let (folder, disk) = (dir.join(SEGMENT_DIR), &self.env().disk);
        let failed = |e| Error::io("restoring into", &folder, e);
        let whole = steps.iter().filter(|step| step.whole);
        let needed: HashSet<PathBuf> =
            whole.map(|step| dir.join(segment_name(step.stored.entry.id))).collect();
        for entry in disk.list(&folder).map_err(failed)? {
            let path = folder.join(&entry.name);
            if !needed.contains(&path) {
                disk.remove(&path).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Copies a segment as it is, unless it is there; whether it was.
    fn copy_segment(&self, stored: &Stored, dir: &Path, meter: &Meter<'_>) -> Result<bool> {
        let (entry, disk) = (&stored.entry, &self.env().disk);
        let name = segment_name(entry.id);
        let path = dir.join(&name);
        let object = self.segment_object(entry.id, stored.copy);
        let failed = |e| Error::io("restoring", &path, e);
        if disk.exists(&path).map_err(failed)? {
            let there = disk.open(&path, Mode::Read).map_err(failed)?;
            if there.len().map_err(failed)? == entry.bytes
                && digest_of(&*there, entry.bytes).map_err(failed)? == entry.digest
            {
                count(meter, entry.bytes)?;
                return Ok(true);
            }
        }
        let source = self.place.open(&object, entry.bytes);
        let source = source.map_err(|e| self.reading(&object, e))?;
        let file = disk.open_direct(&path, Mode::Replace).map_err(failed)?;
        let digest = self.copy(&object, &*source, (&*file, &path, 0), entry.bytes, meter)?;
        file.sync().map_err(failed)?;
        match digest == entry.digest {
            true => Ok(false),
            false => Err(Error::corrupt(&object, 0, Damage::Rot)),
        }
    }

    fn reading(&self, object: &str, e: io::Error) -> Error {
        match e.kind() {
            io::ErrorKind::NotFound => Error::corrupt(object, 0, Damage::Missing),
            io::ErrorKind::UnexpectedEof => Error::corrupt(object, 0, Damage::Truncated),
            _ => self.failed("reading", object, e),
        }
    }

    /// Copies an object to a place in a file; its digest.
    fn copy(
        &self,
        object: &str,
        source: &dyn File,
        (file, path, to): (&dyn File, &Path, u64),
        bytes: u64,
        meter: &Meter<'_>,
    ) -> Result<[u8; 32]> {
        let (mut digest, mut at) = (Sha256::new(), 0);
        let mut buf = Aligned::new(bytes.min(COPY_BYTES as u64) as usize);
        while at < bytes {
            let part = (bytes - at).min(COPY_BYTES as u64) as usize;
            let read = read_exact_at(source, &mut buf[..part], at);
            read.map_err(|e| self.reading(object, e))?;
            digest.update(&buf[..part]);
            let written = file.write_at(&buf[..part], to + at);
            written.map_err(|e| Error::io("restoring", path, e))?;
            at += part as u64;
            count(meter, part as u64)?;
        }
        Ok(digest.finalize().into())
    }

    fn write_journals(&self, body: &SnapshotBody, dir: &Path, meter: &Meter<'_>) -> Result<()> {
        in_parallel(COPIERS, &body.journals, |journal| {
            self.join(&dir.join(journal_name(journal.id)), &journal.pieces, meter)
        })
    }

    /// Puts a file together of its pieces.
    fn join(&self, path: &Path, pieces: &[Piece], meter: &Meter<'_>) -> Result<()> {
        let failed = |e| Error::io("restoring", path, e);
        let file = self.env().disk.open_direct(path, Mode::Replace).map_err(failed)?;
        let mut to = 0;
        for piece in pieces {
            let object = self.piece_object(piece.id);
            let source = self.place.open(&object, piece.bytes);
            let source = source.map_err(|e| self.reading(&object, e))?;
            let digest = self.copy(&object, &*source, (&*file, path, to), piece.bytes, meter)?;
            if digest != piece.digest {
                return Err(Error::corrupt(&object, 0, Damage::Rot));
            }
            to += piece.bytes;
        }
        file.sync().map_err(failed)
    }

    /// The log of deletions is that of the newest snapshot: the keyring knows of later deletions than an older one has.
    fn write_log(&self, body: &SnapshotBody, dir: &Path) -> Result<()> {
        let newest = self.numbers(1)?.first().copied().filter(|newest| *newest != body.number);
        let newest = newest.and_then(|newest| self.read_snapshot(newest).ok());
        let pieces = newest.map_or_else(|| body.deletions.clone(), |(_, newest)| newest.deletions);
        if bytes_of(&pieces) == 0 {
            return Ok(());
        }
        self.join(&dir.join(LOG), &pieces, &Meter::new(0, &|_| true))
    }

    /// Makes everything durable, and then the store one.
    fn finish(&self, dir: &Path, manifest: &crate::format::manifest::Manifest) -> Result<()> {
        let env = self.env();
        let disk = &env.disk;
        let failed = |e| Error::io("restoring into", dir, e);
        let sealed = manifest::seal(manifest, &self.keyring.manifest_cipher(), &*env.random);
        let bytes = sealed.map_err(failed)?;
        let beside = dir.join(format!("{MANIFEST}.new"));
        let write = || -> io::Result<()> {
            disk.sync_dir(&dir.join(SEGMENT_DIR))?;
            disk.sync_dir(&dir.join(JOURNAL_DIR))?;
            disk.sync_dir(dir)?;
            let file = disk.open(&beside, Mode::Replace)?;
            file.write_at(&bytes, 0)?;
            file.sync()?;
            disk.rename(&beside, &dir.join(MANIFEST))?;
            disk.sync_dir(dir)?;
            disk.remove(&dir.join(RESTORING))?;
            disk.sync_dir(dir)
        };
        write().map_err(failed)
    }
}

fn count(meter: &Meter<'_>, bytes: u64) -> Result<()> {
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

type Choice = Arc<dyn Fn(&SiteHandle, &SessionTag) -> bool + Send + Sync>;

/// Which sessions are wanted; an error if what is asked for by name is not there.
fn wanted(from: &Store, what: &What) -> Result<Choice> {
    Ok(match what {
        What::All => Arc::new(|_, _| true),
        What::Site(site) => {
            let handle = from.site(site)?.handle();
            Arc::new(move |site, _| *site == handle)
        }
        What::Session(site, session) => {
            let site = from.site(site)?;
            let (handle, tag) = (site.handle(), site.session(session)?.tag);
            Arc::new(move |site, of| *site == handle && *of == tag)
        }
    })
}
