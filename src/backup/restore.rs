//! Restoring: a store out of a snapshot, whole or in part, in an empty directory.
//!
//! Everything passes the keyring as it is now. Segments whose day has passed or whose hold has ended are left out; of segments in which sessions were erased
//! the others' sealed bytes are copied, and no recording is decrypted. The keyring is only read.
//!
//! What is damaged, in the store that was backed up or in the repository, does not keep the rest from being restored: it is copied as it is, and
//! told. The manifest knows what it should be.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::body::Meter;
use super::fetch::{Fetched, Target, count, is_damage};
use super::repository::Repository;
use super::{Watch, in_parallel};
use crate::env::{COPIERS, Mode};
use crate::error::{Error, Result};
use crate::format::manifest::{Manifest, SegmentEntry};
use crate::format::repository::{JournalCut, SnapshotBody, Stored, bytes_of};
use crate::ids::{HoldId, SessionId, SessionTag, SiteHandle, SiteId};
use crate::journal::file::{JOURNAL_DIR, journal_name};
use crate::journal::scan::Recovery;
use crate::keyring::{Hold, make_dir, settle_above};
use crate::retention::log::LOG;
use crate::segment::writer::{SEGMENT_DIR, segment_name};
use crate::store::manifest::{self, MANIFEST};
use crate::store::{self, Store, Tally, Wanted};
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
#[must_use = "it tells of the damage that was met"]
#[derive(Debug, Default)]
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
    /// Damage of the store, or of the repository, that was met; all else was restored. A file that is damaged is restored as it is, so whoever verifies or
    /// reads what was restored is told, too; a store with a damaged journal is opened with [`Recovery::Salvage`](crate::Recovery::Salvage). A segment
    /// that is not there, or not all of it, is left out, and of a site or a session alone, what is damaged.
    pub damage: Vec<Error>,
}

/// What becomes of a segment.
struct Step {
    stored: Stored,
    whole: bool,
    /// Sessions that are to be copied, where that is known.
    sessions: u64,
}

impl Step {
    fn whole(stored: &Stored) -> Self {
        Self { stored: *stored, whole: true, sessions: 0 }
    }
}

impl Repository {
    /// Restores a snapshot into a directory that is empty, or that an interrupted restore has left. One that was over but for its mark has made a
    /// store: that is [`Error::NotEmpty`]. The keyring is not restored: the one
    /// that is in use opens what this makes.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], [`Error::NotEmpty`], [`Error::Locked`], [`Error::Interrupted`]; [`Error::UnknownSite`], [`Error::UnknownSession`], [`Error::Erased`] and
    /// [`Error::Expired`] of what was asked for, unless damage may hide it; damage of the snapshot itself; errors of the disk and of the place.
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
        let mut restored = Restored { snapshot: number, ..Restored::default() };
        // Strictly, even for whoever wishes to read around damage: it is told.
        let from = match self.open_body(&body, &segments, Recovery::Strict) {
            // A damaged journal, perhaps: then what else there is is to be had.
            Err(e) if is_damage(&e) => {
                restored.damage.push(e);
                self.open_body(&body, &segments, Recovery::Salvage)?
            }
            opened => opened?,
        };
        let wanted = wanted(&from, what, restored.damage.is_empty())?;
        let whole = matches!(what, What::All);
        let steps = self.steps(&from, &segments, (&*wanted, whole), &mut restored)?;
        let _lock = self.prepare(dir)?;
        let grown: u64 = match whole {
            true => body.journals.iter().map(|j| j.bytes()).sum(),
            false => 0,
        };
        let total = steps.iter().map(|step| step.stored.entry.bytes).sum::<u64>() + grown;
        let target = Target { dir, meter: Meter::new(total, watch), damage: Mutex::default() };
        let entries =
            self.write_segments(&from, steps, (&*wanted, whole), &target, &mut restored)?;
        let mut manifest = body.manifest(&[]);
        manifest.segments = entries;
        let journals = if whole { &body.journals[..] } else { &[] };
        self.write_journals(journals, &target)?;
        restored.journals = journals.len() as u64;
        if !whole {
            manifest.journals.clear();
            self.tell_pieces(&body.journals, &target)?;
            let env = self.env();
            manifest.segments.extend(from.archive_wanted(env, dir, &*wanted)?);
        }
        let tally = from.tally_journals(&*wanted);
        restored.sessions += tally.kept;
        restored.erased_sessions += tally.erased;
        self.write_log(&body, &target)?;
        restored.segments = manifest.segments.len() as u64;
        restored.bytes = manifest.segments.iter().map(|s| s.bytes).sum::<u64>() + grown;
        self.finish(dir, &manifest)?;
        restored.damage.append(&mut target.damage.into_inner());
        Ok(restored)
    }

    /// What is to be done with each segment.
    fn steps(
        &self,
        from: &Store,
        segments: &[Stored],
        (wanted, all): (Wanted<'_>, bool),
        restored: &mut Restored,
    ) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for stored in segments {
            let tally = || from.tally(&stored.entry, wanted);
            // Perhaps it was only read wrong.
            let tally = tally().or_else(|e| if is_damage(&e) { tally() } else { Err(e) });
            let Tally { kept, erased, others } = match tally {
                Err(e) if e.is_gone() => {
                    match self.idle_hold(&stored.entry) {
                        // It is another's to ask for, too: what it holds can be read once the day has passed.
                        Some(hold) if wanted(&hold.site, &hold.tag) => {
                            steps.push(Step::whole(stored));
                        }
                        Some(_) => {}
                        None => restored.expired_segments += 1,
                    }
                    continue;
                }
                // What can still be read of it is not lost for that; copying it tells what is wrong.
                Err(e) if all && is_damage(&e) => Tally::default(),
                // Whose sessions it holds is not known: they may be others'.
                Err(e) if is_damage(&e) => {
                    restored.damage.push(e);
                    continue;
                }
                tally => tally?,
            };
            restored.sessions += kept;
            restored.erased_sessions += erased;
            let whole = erased == 0 && others == 0;
            if kept > 0 || whole {
                steps.push(Step { stored: *stored, whole, sessions: kept });
            }
        }
        Ok(steps)
    }

    /// The hold whose copy a segment is, if it lasts and the session is still kept without it: nobody reads the copy yet.
    fn idle_hold(&self, entry: &SegmentEntry) -> Option<Arc<Hold>> {
        entry.is_hold().then(|| self.keyring.hold(&HoldId(entry.id.0))).flatten()
    }

    /// Makes the directory, or sees that it is one that may be written to, and locks it against whoever restores or writes there.
    fn prepare(&self, dir: &Path) -> Result<Box<dyn Send + Sync>> {
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
        // A lock that outlived the mark in a power cut would pass for something of another's. A restore that was killed may have made the mark.
        disk.sync_dir(dir).map_err(failed)?;
        let lock = store::lock(env, dir)?;
        if disk.exists(&dir.join(MANIFEST)).map_err(failed)? {
            // The restore was over but for its mark, and the store may have been written since.
            let settle = || {
                disk.sync_dir(dir)?;
                disk.remove(&mark)?;
                disk.sync_dir(dir)
            };
            settle().map_err(failed)?;
            return Err(Error::NotEmpty(dir.to_owned()));
        }
        make_dir(env, &dir.join(SEGMENT_DIR))?;
        make_dir(env, &dir.join(JOURNAL_DIR))?;
        // A restore that was killed may have made it, and nobody has told the disk.
        settle_above(env, dir).map_err(failed)?;
        disk.sync_dir(dir).map_err(failed)?;
        Ok(lock)
    }

    fn write_segments(
        &self,
        from: &Store,
        steps: Vec<Step>,
        (wanted, all): (Wanted<'_>, bool),
        target: &Target<'_>,
        restored: &mut Restored,
    ) -> Result<Vec<SegmentEntry>> {
        // What an interrupted restore had rewritten has random names.
        let whole = steps.iter().filter(|step| step.whole);
        let needed = whole.map(|step| segment_name(step.stored.entry.id)).collect();
        self.remove_others(target.dir, SEGMENT_DIR, &needed)?;
        let (entries, resumed, lost) = (Mutex::new(Vec::new()), Mutex::new(0), Mutex::new(0));
        in_parallel(COPIERS, &steps, |step| {
            let stored = &step.stored;
            if !step.whole {
                let (rewritten, left_out) = self.rewrite(from, step, wanted, target)?;
                count(&target.meter, stored.entry.bytes)?;
                entries.lock().extend(rewritten);
                if rewritten.is_some() || !all {
                    *lost.lock() += left_out;
                    return Ok(());
                }
                // Sealed bytes of erased sessions come along: nobody can open them, and the others' are not lost.
            }
            match self.copy_segment(stored, target)? {
                Fetched::Copied => {}
                Fetched::Resumed => *resumed.lock() += 1,
                // Named all the same, it would keep all others of its sites from being listed.
                Fetched::Lost => {
                    *lost.lock() += step.sessions;
                    return Ok(());
                }
            }
            entries.lock().push(stored.entry);
            Ok(())
        })?;
        restored.resumed_segments = resumed.into_inner();
        restored.sessions = restored.sessions.saturating_sub(lost.into_inner());
        let mut entries = entries.into_inner();
        entries.sort_by_key(|entry| (entry.day, entry.shard, entry.id.0));
        Ok(entries)
    }

    /// Writes a segment anew with the sessions of it that are wanted, without those of which blocks are damaged. Returns it, if there is anything
    /// to be had of it, and how many sessions are not in it.
    fn rewrite(
        &self,
        from: &Store,
        step: &Step,
        wanted: Wanted<'_>,
        target: &Target<'_>,
    ) -> Result<(Option<SegmentEntry>, u64)> {
        // The session that is taken last before an error is the one that could not be copied.
        let taken = Mutex::new((HashSet::new(), None));
        let sound = |site: &SiteHandle, tag: &SessionTag| {
            let (damaged, last) = &mut *taken.lock();
            let takes = wanted(site, tag) && !damaged.contains(&(*site, *tag));
            if takes {
                *last = Some((*site, *tag));
            }
            takes
        };
        let mut before: Option<(String, u32)> = None;
        loop {
            let entry = &step.stored.entry;
            let e = match from.copy_wanted(entry, self.env(), target.dir, &sound) {
                Ok(written) => return Ok((Some(written), taken.into_inner().0.len() as u64)),
                Err(e) if is_damage(&e) => e,
                Err(e) => return Err(e),
            };
            let what = e.to_string();
            let times = before.filter(|(same, _)| *same == what).map_or(1, |(_, times)| times + 1);
            before = Some((what, times));
            let (damaged, last) = &mut *taken.lock();
            match (times, last.take()) {
                // Perhaps it was only read wrong.
                (1, _) => {}
                (2, Some(session)) => {
                    target.tell(e);
                    damaged.insert(session);
                    if damaged.len() as u64 == step.sessions {
                        return Ok((None, step.sessions));
                    }
                }
                // It is no session that is damaged, but what lists them; or all of it.
                (2, None) => {
                    target.tell(e);
                    return Ok((None, step.sessions));
                }
                _ => return Ok((None, step.sessions)),
            }
        }
    }

    /// Removes what an interrupted restore, perhaps of another snapshot, left in a folder and this one does not need.
    fn remove_others(&self, dir: &Path, folder: &str, needed: &HashSet<String>) -> Result<()> {
        let (below, disk) = (dir.join(folder), &self.env().disk);
        let failed = |e| Error::io("restoring into", &below, e);
        for entry in disk.list(&below).map_err(failed)? {
            if !needed.contains(&format!("{folder}/{}", entry.name)) {
                disk.remove(&below.join(&entry.name)).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn write_journals(&self, journals: &[JournalCut], target: &Target<'_>) -> Result<()> {
        // One that the manifest does not name, and that is younger, would show that an older one was put back.
        let needed = journals.iter().map(|journal| journal_name(journal.id)).collect();
        self.remove_others(target.dir, JOURNAL_DIR, &needed)?;
        in_parallel(COPIERS, journals, |journal| {
            self.join(&journal_name(journal.id), &journal.pieces, target, &target.meter)
        })
    }

    /// The log of deletions is that of the newest snapshot: the keyring knows of later deletions than an older one has.
    fn write_log(&self, body: &SnapshotBody, target: &Target<'_>) -> Result<()> {
        let newest = self.numbers(1)?.first().copied().filter(|newest| *newest != body.number);
        let newest = newest.and_then(|newest| self.read_snapshot(newest).ok());
        let pieces = newest.map_or_else(|| body.deletions.clone(), |(_, newest)| newest.deletions);
        if bytes_of(&pieces) == 0 {
            return Ok(());
        }
        self.join(LOG, &pieces, target, &Meter::new(0, &|_| true))
    }

    /// Makes everything durable, and then the store one.
    fn finish(&self, dir: &Path, manifest: &Manifest) -> Result<()> {
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

type Choice = Arc<dyn Fn(&SiteHandle, &SessionTag) -> bool + Send + Sync>;

/// Which sessions are wanted; an error if what is asked for by name is not there, and no damage hides it.
fn wanted(from: &Store, what: &What, is_sound: bool) -> Result<Choice> {
    Ok(match what {
        What::All => Arc::new(|_, _| true),
        What::Site(site) => {
            let handle = from.site(site)?.handle();
            Arc::new(move |site, _| *site == handle)
        }
        What::Session(site, session) => {
            let site = from.site(site)?;
            match site.session(session) {
                // Of another session, perhaps: it is told, and this one taken out of all that can be read.
                Err(e) if is_damage(&e) && site.has_erased(session) => return Err(Error::Erased),
                Err(e) if is_damage(&e) => {}
                Err(Error::UnknownSession) if !is_sound => {}
                found => drop(found?),
            }
            let (handle, tags) = (site.handle(), site.possible_tags(session));
            Arc::new(move |site, of| *site == handle && tags.contains(of))
        }
    })
}
