//! A backup: copies what a repository lacks, and makes a snapshot.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Watch;
use super::body::{Meter, Throttle};
use super::copy::{LeftOut, Sent};
use super::fetch::is_damage;
use super::plan::{Growth, Plan};
use super::repair::Repair;
use super::repository::Repository;
use super::source::{Cut, Look, Source};
use crate::error::{Damage, Error, Result};
use crate::format::repository::{JournalCut, Made, SnapshotBody, Stored};
use crate::ids::FileId;
use crate::limits::PRUNE_GRACE_MS_MIN;
use crate::planted::{self, Bug};
use crate::store::manifest::MANIFEST;

/// A snapshot names at least so many differences to its list before the list is written anew.
const DIFFERENCES_MIN: usize = 256;
/// How long what was seen of marks holds, in nanoseconds.
const LOOK_HOLDS_NS: u64 = PRUNE_GRACE_MS_MIN / 4 * 1_000_000;
/// The last steps of a continuous backup, which are all kept: two minutes of steps every two seconds.
const STEPS_KEPT: usize = 64;
const MINUTE_MS: u64 = 60_000;
/// How often a backup begins again because files went away under it, or others made snapshots.
const ATTEMPTS_MAX: usize = 32;

/// How a backup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct How {
    /// Only find out what would be copied.
    pub dry_run: bool,
    /// Bytes a second that are copied at most; without it, as fast as it goes.
    pub bytes_per_second: Option<u64>,
    /// Also read, before, all that the newest snapshot names, and copy again what is missing or spoilt. A segment is put under the name that it has, so
    /// earlier snapshots are whole again, too; a journal is copied whole. [`follow`](Backup::follow) does not.
    pub repair: bool,
}

/// What a backup did, or would do.
#[must_use = "it tells of the damage that was met"]
#[derive(Debug, Default)]
pub struct Done {
    /// The snapshot's number; none if it was only tried, or if there was nothing to follow.
    pub snapshot: Option<u64>,
    /// Segments in the store, without those that could not be read.
    pub segments: u64,
    /// Bytes of the store's segments, journals and log of deletions.
    pub bytes: u64,
    /// Segments that were copied.
    pub copied_segments: u64,
    /// Bytes that were copied.
    pub copied_bytes: u64,
    /// Segments that an interrupted backup had copied. They are read in the store, to tell of those that are damaged, unless
    /// the credentials may not read the newest snapshot: then these are all that any backup has copied.
    pub resumed_segments: u64,
    /// Objects that were spoilt, and were put again, and pieces of journals that this snapshot needs no more; if it was only tried, those that were found.
    pub repaired_objects: u64,
    /// Damage that was met: of the store, or a snapshot or mark of the repository that cannot be read. What is damaged in the store was copied as it is; a segment that cannot be read is not in the snapshot, unless an
    /// interrupted backup had copied it, and of such a journal only what an earlier one has. A later backup tries again. Also what could not be
    /// repaired.
    pub damage: Vec<Error>,
}

/// Makes backups of one store, one after the other.
pub struct Backup<'a> {
    pub(super) repository: &'a Repository,
    pub(super) source: Source,
    pub(super) base: Option<Base>,
    /// Whether the credentials may not read the newest snapshot: what earlier backups have copied is not known then.
    pub(super) is_write_only: bool,
    /// The steps of this continuous backup, oldest first: number and time. Most are forgotten when they are old.
    steps: VecDeque<(u64, u64)>,
    /// Segments that could not be read lately.
    pub(super) left_out: HashMap<FileId, LeftOut>,
    pub(super) sent: Sent,
    pub(super) repair: Repair,
}

/// The newest snapshot, on which the next one builds.
pub(super) struct Base {
    pub(super) body: SnapshotBody,
    /// The list of the snapshot.
    list: Vec<Stored>,
    pub(super) all: HashMap<FileId, Stored>,
}

impl<'a> Backup<'a> {
    /// Gets ready to back up the store in a directory.
    ///
    /// # Errors
    /// [`Error::NoStore`]; errors of the disk.
    pub fn new(repository: &'a Repository, dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let exists = repository.env().disk.exists(&dir.join(MANIFEST));
        if !exists.map_err(|e| Error::io("opening the store", dir, e))? {
            return Err(Error::NoStore(dir.to_owned()));
        }
        let source = Source::new(repository.env(), dir);
        let (steps, left_out, repair) = (VecDeque::new(), HashMap::new(), Repair::default());
        let (base, sent) = (None, Sent::default());
        let is_write_only = false;
        Ok(Self { repository, source, base, is_write_only, steps, left_out, sent, repair })
    }

    /// Makes a backup: copies what the repository lacks, and makes a snapshot of the store as it is now.
    ///
    /// The store may be written meanwhile. What was copied before an error need not be copied again.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `watch` says so; errors of the disk and of the place; damage of the manifest.
    pub fn run(&mut self, how: &How, watch: Watch<'_>) -> Result<Done> {
        self.left_out.clear();
        // Once: it may take longer than what is seen of marks holds.
        self.repair = if how.repair { self.find_spoilt(watch)? } else { Repair::default() };
        let outcome = self.make(how, Made::Once, watch);
        self.repair = Repair::default();
        outcome
    }

    /// A step of a continuous backup: makes a snapshot if anything has changed since the last one.
    ///
    /// It also forgets older steps that this [`Backup`] has made: the last 64 are kept, and of those before them the first of each minute. Other
    /// snapshots are left alone. A segment that cannot be read is tried again after some minutes, not at every step.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn follow(&mut self, how: &How, watch: Watch<'_>) -> Result<Done> {
        let done = self.make(how, Made::Following, watch)?;
        if let Some((number, base)) = done.snapshot.zip(self.base.as_ref()) {
            self.steps.push_back((number, base.body.taken_ms));
            self.thin();
        }
        Ok(done)
    }

    /// Of its own steps that are not among the last ones, keeps the first of each minute. What cannot be forgotten,
    /// prune forgets, or nobody may.
    fn thin(&mut self) {
        let minute = |ms: u64| ms / MINUTE_MS;
        while self.steps.len() > STEPS_KEPT {
            let Some((_, before_ms)) = self.steps.pop_front() else { break };
            let Some((number, ms)) = self.steps.front().copied() else { break };
            if minute(ms) == minute(before_ms) {
                let _ = self.repository.forget(&[number]);
                if let Some(first) = self.steps.front_mut() {
                    // The next one is measured by the step that stays.
                    first.1 = before_ms;
                }
            }
        }
    }

    fn make(&mut self, how: &How, made: Made, watch: Watch<'_>) -> Result<Done> {
        let mut last = None;
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(how, made, watch) {
                // A file went away under the backup: retention dropped it, or its journal was archived.
                Err(Error::Corrupt(c)) if c.kind == Damage::Missing => last = Some(c),
                outcome => return outcome,
            }
        }
        Err(last.map_or(Error::Closed, Error::Corrupt))
    }

    fn attempt(&mut self, how: &How, made: Made, watch: Watch<'_>) -> Result<Done> {
        let clock = Arc::clone(&self.repository.env().clock);
        let begun_ns = clock.monotonic_ns();
        self.repository.keyring.refresh()?;
        let newest = self.repository.numbers(1)?.first().copied();
        let mut done = Done::default();
        self.take_base(newest, &mut done)?;
        let taken_ms = clock.now_ms();
        let mut look = self.source.look(&self.repository.keyring)?;
        done.damage.append(&mut look.damage);
        self.take_up_again(&look.manifest, &mut done);
        let mut plan = self.plan(&look)?;
        done.damage.append(&mut plan.damage);
        plan.describe(&mut done);
        let is_idle = |backup: &Self, plan: &Plan| {
            made == Made::Following && !backup.has_changed(&look, plan)
        };
        if how.dry_run || is_idle(self, &plan) {
            done.repaired_objects = self.repair.found;
            return Ok(done);
        }
        let meter = Meter::new(done.copied_bytes + self.unseen_bytes(&plan), watch);
        let throttle = Throttle::new(Arc::clone(&clock), how.bytes_per_second);
        if planted::is(Bug::SnapshotFirst) {
            let body = self.body(&look, &plan, made, taken_ms)?;
            self.publish(body)?;
        }
        self.copy_segments(&mut plan, &throttle, &meter, &mut done)?;
        self.compare_resumed(&plan, &meter, &mut done)?;
        if is_idle(self, &plan) {
            return Ok(done);
        }
        self.copy_grown(&look, &mut plan, &throttle, &meter)?;
        if clock.monotonic_ns().saturating_sub(begun_ns) > LOOK_HOLDS_NS {
            // What was taken for given may have been marked since. All that was copied is found there.
            return self.attempt(how, made, watch);
        }
        self.tell_rotten(&plan, &mut done);
        self.tell_repaired(&plan, &mut done);
        let body = self.body(&look, &plan, made, taken_ms)?;
        done.snapshot = Some(self.publish(body)?);
        self.sent.lock().clear();
        Ok(done)
    }

    /// Reads the newest snapshot, unless it is the one that is known.
    fn take_base(&mut self, newest: Option<u64>, done: &mut Done) -> Result<()> {
        self.is_write_only = false;
        let Some(number) = newest else {
            self.base = None;
            return Ok(());
        };
        if self.base.as_ref().is_some_and(|base| base.body.number == number) {
            return Ok(());
        }
        let read = || {
            let (_, body) = self.repository.read_snapshot(number)?;
            let list = body.list.map(|list| self.repository.read_list(list)).transpose()?;
            let list = list.unwrap_or_default();
            let all = self.repository.segments(&body)?;
            let all = all.into_iter().map(|s| (s.entry.id, s)).collect();
            Ok(Base { body, list, all })
        };
        match read() {
            Ok(base) => self.base = Some(base),
            Err(e) if is_damage(&e) => {
                // Nothing is built on it, and what it names is found by listing.
                done.damage.push(e);
                self.base = None;
            }
            // Credentials that may only write: the same.
            Err(Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::PermissionDenied => {
                self.base = None;
                self.is_write_only = true;
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn has_changed(&self, look: &Look, plan: &Plan) -> bool {
        let Some(base) = &self.base else { return true };
        let journals = look.journals.iter().map(|cut| cut.entry.id);
        let journals: HashSet<_> = journals.chain(plan.unreadable.iter().map(|j| j.id)).collect();
        plan.segments.len() != base.all.len()
            || plan.segments.iter().any(|s| base.all.get(&s.entry.id) != Some(s))
            || plan.journals.iter().chain([&plan.deletions]).any(|growth| growth.bytes > 0)
            || journals != base.body.journals.iter().map(|j| j.id).collect()
    }

    /// The snapshot that this makes, its number still to be found.
    fn body(&self, look: &Look, plan: &Plan, made: Made, taken_ms: u64) -> Result<SnapshotBody> {
        let manifest = &look.manifest;
        let (list, gone, added) = self.differences(&plan.segments)?;
        let journal = |(growth, cut): (&Growth, &Cut)| JournalCut {
            id: cut.entry.id,
            shard: cut.entry.shard,
            number: cut.entry.number,
            pieces: growth.pieces.clone(),
        };
        let journals = plan.journals.iter().zip(&look.journals).map(journal);
        Ok(SnapshotBody {
            store: manifest.store,
            number: 0,
            taken_ms,
            made,
            shards: manifest.shards,
            generation: manifest.generation,
            next_journal: manifest.next_journal,
            keyring_generation: manifest.keyring_generation,
            seen_ms: manifest.seen_ms,
            list,
            gone,
            added,
            journals: journals.chain(plan.unreadable.iter().cloned()).collect(),
            deletions: plan.deletions.pieces.clone(),
        })
    }

    /// What is told of the segments: a list, and the differences to it. The list is written anew when there are many.
    fn differences(
        &self,
        segments: &[Stored],
    ) -> Result<(Option<FileId>, Vec<FileId>, Vec<Stored>)> {
        let list = self.base.as_ref().map_or(&[][..], |base| &base.list);
        let in_list: HashSet<&Stored> = list.iter().collect();
        let now: HashSet<&Stored> = segments.iter().collect();
        let gone: Vec<FileId> =
            list.iter().filter(|s| !now.contains(s)).map(|s| s.entry.id).collect();
        let added: Vec<Stored> =
            segments.iter().filter(|s| !in_list.contains(s)).copied().collect();
        if gone.len() + added.len() > DIFFERENCES_MIN.max(list.len() / 4) {
            return Ok((Some(self.repository.write_list(segments)?), Vec::new(), Vec::new()));
        }
        Ok((self.base.as_ref().and_then(|base| base.body.list), gone, added))
    }

    /// Makes the snapshot visible, under the next number that is free.
    fn publish(&mut self, mut body: SnapshotBody) -> Result<u64> {
        let mut failed = None;
        for _ in 0..ATTEMPTS_MAX {
            let newest = self.repository.numbers(1)?.first().copied();
            body.number = newest.map_or(1, |newest| newest + 1);
            let (token, bytes) = self.repository.seal_snapshot(&body)?;
            let name = self.repository.snapshot_name(body.number);
            match self.repository.place.create(&name, &bytes) {
                Ok(()) => return self.published(body),
                // An error may come after the deed; the token tells whose it is that stands there.
                Err(e) => match self.repository.read_snapshot(body.number) {
                    Ok((found, _)) if found == token => return self.published(body),
                    // Another backup of this store was faster.
                    Ok(_) => {}
                    Err(_) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(_) => failed = Some(self.repository.failed("writing", &name, e)),
                },
            }
            if let Some(e) = failed.take_if(|e| !is_passing(e)) {
                return Err(e);
            }
        }
        Err(failed.unwrap_or(Error::Closed))
    }

    fn published(&mut self, body: SnapshotBody) -> Result<u64> {
        let number = body.number;
        let known = self.base.take().filter(|base| base.body.list == body.list);
        let list = match (known, body.list) {
            (Some(base), _) => base.list,
            (None, Some(list)) => self.repository.read_list(list).unwrap_or_default(),
            (None, None) => Vec::new(),
        };
        // If it could not be read, the next step reads the snapshot.
        if body.list.is_some() != list.is_empty() {
            let gone: HashSet<FileId> = body.gone.iter().copied().collect();
            let kept = list.iter().filter(|s| !gone.contains(&s.entry.id));
            let all = kept.chain(&body.added).map(|s| (s.entry.id, *s)).collect();
            self.base = Some(Base { body, list, all });
        }
        Ok(number)
    }
}

/// Whether trying once more may help.
fn is_passing(error: &Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut, WouldBlock};
    let passing = [ConnectionAborted, ConnectionReset, Interrupted, TimedOut, WouldBlock];
    matches!(error, Error::Io { cause, .. } if passing.contains(&cause.kind()))
}
