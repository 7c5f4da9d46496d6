//! The copying of a backup: segments, and what journals and the log of deletions have grown by.

use std::collections::{HashMap, HashSet};
use std::io;

use super::body::{Meter, Part, Throttle, is_stopped};
use super::fetch::digest_of;
use super::in_parallel;
use super::plan::{Growth, Plan};
use super::repository::PIECES;
use super::run::{Backup, Done};
use super::source::{Look, is_of_one_file};
use crate::env::{File, Mode};
use crate::error::{Damage, Error, Result};
use crate::format::manifest::Manifest;
use crate::format::repository::{Piece, Stored};
use crate::ids::FileId;
use crate::keyring::draw;
use crate::segment::writer::segment_name;
use crate::sync::Mutex;

/// How often a segment is read before it is left out.
const READS_MAX: usize = 2;
/// How long a continuous backup leaves alone a segment that it could not read, in nanoseconds: a failing disk takes its time for every answer.
const LEFT_OUT_NS: u64 = 10 * 60 * 1_000_000_000;

/// A segment that could not be read, and so is in no snapshot yet.
pub(super) struct LeftOut {
    why: Unread,
    until_ns: u64,
}

/// Why a segment could not be read.
#[derive(Clone, Copy)]
enum Unread {
    Damaged(Damage),
    System(io::ErrorKind, Option<i32>),
}

/// Segments that this process has copied, or compared, since its last snapshot: whether they are what they were. A backup that begins again finds them
/// in the repository and does not read them.
pub(super) type Sent = Mutex<HashMap<Stored, bool>>;

/// Segments that could not be read.
type Failed = Vec<(Stored, Unread)>;

impl Unread {
    fn of(cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::NotFound => Self::Damaged(Damage::Missing),
            io::ErrorKind::UnexpectedEof => Self::Damaged(Damage::Truncated),
            kind => Self::System(kind, cause.raw_os_error()),
        }
    }
}

impl Backup<'_> {
    /// Copies the segments that the repository lacks.
    ///
    /// One that cannot be read, and that the manifest names all the same, leaves the plan and is told of: it must not keep all others from being backed
    /// up. If the manifest does not name it any more, it has gone by right, and the backup begins again.
    pub(super) fn copy_segments(
        &mut self,
        plan: &mut Plan,
        throttle: &Throttle,
        meter: &Meter<'_>,
        done: &mut Done,
    ) -> Result<()> {
        let mut failed = self.try_segments(&plan.missing, throttle, meter)?;
        for _ in 1..READS_MAX {
            self.check_kept(&failed)?;
            let again: Vec<Stored> = failed.iter().map(|(stored, _)| *stored).collect();
            failed = self.try_segments(&again, throttle, meter)?;
        }
        self.check_kept(&failed)?;
        let until_ns = self.repository.env().clock.monotonic_ns().saturating_add(LEFT_OUT_NS);
        for (segment, why) in failed {
            let id = segment.entry.id;
            let stays = |stored: &Stored| stored.entry.id != id;
            plan.missing.retain(stays);
            done.damage.push(self.unread(id, why));
            // What is spoilt in the repository, too, is named as before.
            if !self.is_spoilt(&segment) {
                plan.segments.retain(stays);
                self.left_out.insert(id, LeftOut { why, until_ns });
            }
        }
        plan.describe(done);
        Ok(())
    }

    /// Forgets of segments that were left out those whose time has come, and those that are not there any more; tells of the others.
    pub(super) fn take_up_again(&mut self, manifest: &Manifest, done: &mut Done) {
        if self.left_out.is_empty() {
            return;
        }
        let now_ns = self.repository.env().clock.monotonic_ns();
        let kept: HashSet<FileId> = self.kept(manifest).map(|entry| entry.id).collect();
        self.left_out.retain(|id, left| kept.contains(id) && left.until_ns > now_ns);
        let left = self.left_out.iter().map(|(id, left)| self.unread(*id, left.why));
        done.damage.extend(left);
    }

    fn unread(&self, segment: FileId, why: Unread) -> Error {
        let name = segment_name(segment);
        match why {
            Unread::Damaged(damage) => Error::corrupt(&name, 0, damage),
            Unread::System(kind, code) => {
                let cause = code.map_or_else(|| kind.into(), io::Error::from_raw_os_error);
                Error::io("reading the segment", self.source.dir.join(name), cause)
            }
        }
    }

    /// Makes sure that the manifest, read after these segments could not be, still names them.
    fn check_kept(&self, failed: &Failed) -> Result<()> {
        if failed.is_empty() {
            return Ok(());
        }
        self.repository.keyring.refresh()?;
        let manifest = self.source.manifest(&self.repository.keyring)?;
        let kept: HashSet<FileId> = self.kept(&manifest).map(|entry| entry.id).collect();
        match failed.iter().find(|(stored, _)| !kept.contains(&stored.entry.id)) {
            Some((gone, _)) => {
                Err(Error::corrupt(&segment_name(gone.entry.id), 0, Damage::Missing))
            }
            None => Ok(()),
        }
    }

    /// Copies these segments; which of them could not be read.
    fn try_segments(
        &self,
        segments: &[Stored],
        throttle: &Throttle,
        meter: &Meter<'_>,
    ) -> Result<Failed> {
        let failed = Mutex::new(Failed::new());
        in_parallel(self.repository.place.copiers(), segments, |stored| {
            match self.copy_segment(stored, throttle, meter)? {
                Ok(is_whole) => {
                    self.sent.lock().insert(*stored, is_whole);
                }
                Err(why) => failed.lock().push((*stored, self.of_one_file(stored, why)?)),
            }
            Ok(())
        })?;
        Ok(failed.into_inner())
    }

    /// Why this segment cannot be read, if others can.
    fn of_one_file(&self, stored: &Stored, why: Unread) -> Result<Unread> {
        let e = self.unread(stored.entry.id, why);
        if is_of_one_file(&e) { Ok(why) } else { Err(e) }
    }

    fn unseen<'p>(&self, plan: &'p Plan) -> Vec<&'p Stored> {
        if self.is_write_only {
            // Which of them snapshots name is not known: that would be the whole store each time.
            return Vec::new();
        }
        let sent = self.sent.lock();
        plan.resumed.iter().filter(|stored| !sent.contains_key(*stored)).collect()
    }

    /// How much there is to compare.
    pub(super) fn unseen_bytes(&self, plan: &Plan) -> u64 {
        self.unseen(plan).iter().map(|stored| stored.entry.bytes).sum()
    }

    /// Reads the segments that another process has copied, and that it may have found damaged without coming to tell. Their objects stay: they may
    /// have been copied before.
    pub(super) fn compare_resumed(
        &self,
        plan: &Plan,
        meter: &Meter<'_>,
        done: &mut Done,
    ) -> Result<()> {
        let failed = Mutex::new(Failed::new());
        in_parallel(self.repository.place.copiers(), &self.unseen(plan), |stored| {
            match self.is_whole(stored) {
                Ok(is_whole) => {
                    self.sent.lock().insert(**stored, is_whole);
                }
                Err(e) => {
                    let why = self.of_one_file(stored, Unread::of(&e))?;
                    failed.lock().push((**stored, why));
                }
            }
            meter.add(stored.entry.bytes).map_err(|_| Error::Interrupted)
        })?;
        let failed = failed.into_inner();
        self.check_kept(&failed)?;
        done.damage.extend(failed.iter().map(|(stored, why)| self.unread(stored.entry.id, *why)));
        Ok(())
    }

    /// Whether a segment is what it was, in the store.
    fn is_whole(&self, stored: &Stored) -> io::Result<bool> {
        let path = self.source.dir.join(segment_name(stored.entry.id));
        let read = || -> io::Result<bool> {
            let file = self.repository.env().disk.open(&path, Mode::Read)?;
            Ok(digest_of(&*file, stored.entry.bytes)? == stored.entry.digest)
        };
        // Perhaps it was only read wrong.
        Ok(read()? || read()?)
    }

    /// Tells of segments that were copied as they are, which is not what they were; also in an earlier attempt.
    pub(super) fn tell_rotten(&self, plan: &Plan, done: &mut Done) {
        let sent = self.sent.lock();
        let copied = plan.missing.iter().chain(&plan.resumed);
        let rotten = copied.filter(|stored| sent.get(*stored) == Some(&false));
        let rot = |stored: &Stored| Error::corrupt(&segment_name(stored.entry.id), 0, Damage::Rot);
        done.damage.extend(rotten.map(rot));
    }

    /// Copies a segment as it is, and says whether that is what it was; or why it cannot be read. What is to be repaired is put again
    /// only if it is right.
    fn copy_segment(
        &self,
        stored: &Stored,
        throttle: &Throttle,
        meter: &Meter<'_>,
    ) -> Result<Result<bool, Unread>> {
        let (entry, name) = (&stored.entry, segment_name(stored.entry.id));
        let open = || {
            let file = self.repository.env().disk.open(&self.source.dir.join(&name), Mode::Read)?;
            // Nothing of one that is too short goes over a network in vain.
            if file.len()? < entry.bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let is_right =
                !self.is_spoilt(stored) || digest_of(&*file, entry.bytes)? == entry.digest;
            Ok((file, is_right))
        };
        let file = match open() {
            Ok((file, true)) => file,
            Ok((_, false)) => return Ok(Err(Unread::Damaged(Damage::Rot))),
            Err(e) => return Ok(Err(Unread::of(&e))),
        };
        let mut part = Part::new(&*file, (0, entry.bytes), None, throttle, meter);
        let object = self.repository.segment_object(entry.id, stored.copy);
        if let Err(e) = self.repository.place.put(&object, &mut part) {
            return match part.trouble.take() {
                Some(cause) => Ok(Err(Unread::of(&cause))),
                None => Err(self.put_failed(&object, e)),
            };
        }
        let is_whole = part.digest() == entry.digest;
        if is_whole {
            self.repair.is_done(&object);
        }
        Ok(Ok(is_whole))
    }

    pub(super) fn copy_grown(
        &self,
        look: &Look,
        plan: &mut Plan,
        throttle: &Throttle,
        meter: &Meter<'_>,
    ) -> Result<()> {
        for (growth, cut) in plan.journals.iter_mut().zip(&look.journals) {
            let (name, file) = (&cut.journal.name, cut.journal.file());
            self.copy_piece(name, file, Some(cut.entry.id), growth, throttle, meter)?;
        }
        if let Some((file, _)) = &look.deletions {
            self.copy_piece("deletions", &**file, None, &mut plan.deletions, throttle, meter)?;
        }
        Ok(())
    }

    fn copy_piece(
        &self,
        name: &str,
        file: &dyn File,
        journal: Option<FileId>,
        growth: &mut Growth,
        throttle: &Throttle,
        meter: &Meter<'_>,
    ) -> Result<()> {
        if growth.bytes == 0 {
            return Ok(());
        }
        let id = FileId(draw(&*self.repository.env().random)?);
        let (from, bytes) = (growth.from, growth.bytes);
        let mut part = Part::new(file, (from, bytes), journal, throttle, meter);
        let object = self.repository.object(PIECES, id);
        if let Err(e) = self.repository.place.put(&object, &mut part) {
            use io::ErrorKind::{NotFound, UnexpectedEof};
            return Err(match part.trouble.take() {
                // It has become another file's meanwhile, or was cut off: its chunks stand in segments.
                Some(cause) if matches!(cause.kind(), NotFound | UnexpectedEof) => {
                    Error::corrupt(name, 0, Damage::Missing)
                }
                Some(cause) => Error::io("reading", self.source.dir.join(name), cause),
                None => self.put_failed(&object, e),
            });
        }
        growth.pieces.push(Piece { id, bytes, digest: part.digest() });
        Ok(())
    }

    /// An error of the place, or of whoever watches.
    fn put_failed(&self, object: &str, e: io::Error) -> Error {
        match is_stopped(&e) {
            true => Error::Interrupted,
            false => self.repository.failed("writing", object, e),
        }
    }
}
