//! Work off the path of appends: syncing what did not wait, rotating by age, making journals ahead, archiving.
//!
//! It goes in steps, so that a thread drives it in a service and a test drives it by hand.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::archive;
use crate::error::{Error, Result};
use crate::format::frame::FRAMES_FROM;
use crate::format::manifest::SegmentEntry;
use crate::ids::{FileId, day_of};
use crate::journal::file::Journal;
use crate::journal::log::wait;
use crate::parallel;
use crate::planted::{self, Bug};
use crate::sync::channel::{Receiver, RecvTimeoutError};
use crate::zst;

use super::state::{Inner, SegmentInfo, Shard};

/// How long the background thread sleeps when nothing wakes it: the bound of what a deferred append exposes.
const TICK: Duration = Duration::from_secs(1);
/// Journals archived in one go: it bounds the memory of the archiver, and the work a crash throws away.
const BATCH_JOURNALS: usize = 8;
/// Files kept for recycling, for each shard.
const RECYCLED_MAX: usize = 2;
/// Segments that a new session could be in keep the places of their sessions in memory for this many days.
const PLACES_DAYS: u32 = 4;

/// Longest pause after passes that failed: each new attempt writes and seals again.
const PAUSE_MAX: Duration = Duration::from_secs(64);

/// One call's work, which goes in rounds.
#[derive(Default)]
pub(super) struct Pass {
    /// The journals that waited when it began: what fills meanwhile is left for the next one, so that it ends in a long rush, too.
    pub(super) due: HashSet<FileId>,
    /// What failed is left for the next pass: each new attempt would write and seal again.
    failed: HashSet<Step>,
    /// The first failure.
    error: Option<Error>,
}

/// What can fail by itself, by the shard where it is one's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Keyring,
    Log,
    Expiry,
    Sync(u16),
    Rotation(u16),
    Standby(u16),
    Archiving(u16),
}

impl Pass {
    /// Takes a step, unless it failed before.
    fn take(&mut self, step: Step, work: impl FnOnce() -> Result<()>) {
        if !self.failed.contains(&step)
            && let Err(e) = work()
        {
            self.failed.insert(step);
            self.error.get_or_insert(e);
        }
    }
}

/// The thread that rotates and archives. It ends when the store is closed.
pub(super) fn run(store: &Weak<Inner>, wake: &Receiver<()>) {
    let (mut pause, mut again_ns) = (TICK, 0);
    loop {
        let woken = wake.recv_timeout(TICK);
        let Some(inner) = store.upgrade() else { return };
        if woken == Err(RecvTimeoutError::Disconnected) || inner.closed.load(Relaxed) {
            return;
        }
        if inner.env.clock.monotonic_ns() < again_ns {
            continue;
        }
        // What fails is tried again after a pause, and is seen in the store's statistics meanwhile.
        match inner.maintain() {
            Ok(()) => pause = TICK,
            Err(_) => {
                again_ns = inner.env.clock.monotonic_ns() + pause.as_nanos() as u64;
                pause = PAUSE_MAX.min(pause * 2);
            }
        }
    }
}

/// The thread that syncs what did not wait for it, at each tick, however long archiving takes.
pub(super) fn run_sync(store: &Weak<Inner>, closing: &Receiver<()>) {
    while closing.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        let Some(inner) = store.upgrade() else { return };
        // Each shard tells its own failure to those who append to it.
        inner.shards.iter().for_each(|shard| drop(inner.sync_shard(shard)));
    }
}

impl Inner {
    /// Does what there is to do now. One shard's failure does not keep the others from theirs.
    pub(super) fn maintain(self: &Arc<Self>) -> Result<()> {
        let mut pass = Pass::default();
        self.tend(&mut pass);
        pass.due = self.waiting();
        // It can take long to archive what is due: the rest goes on beside it.
        while self.archive_round(&mut pass) {
            self.tend(&mut pass);
        }
        self.forget_places();
        // Last, as a mirror that is out of reach may take long to say so.
        if self.keyring.supersede() {
            pass.take(Step::Keyring, || self.note_keyring());
        }
        let done = pass.error.map_or(Ok(()), Err);
        let outcome = done.and(self.reclaim_erased()).and(self.keep_reserve());
        self.tell_appends(outcome.is_err());
        outcome
    }

    /// All that takes no time worth speaking of. On a full disk a journal cannot be made, but archiving still frees space: one
    /// failure does not keep the other steps from being taken.
    fn tend(self: &Arc<Self>, pass: &mut Pass) {
        pass.take(Step::Log, || self.settle_log());
        // On a full disk, what has expired makes room for the rest.
        pass.take(Step::Expiry, || self.expire_by_clock());
        for shard in &self.shards {
            pass.take(Step::Sync(shard.index), || self.sync_shard(shard));
            pass.take(Step::Rotation(shard.index), || self.rotate_by_age(shard));
            pass.take(Step::Standby(shard.index), || self.prepare_standby(shard));
        }
        // Whoever waits for room is not to wait for a pass that has failed already.
        if pass.error.is_some() {
            self.tell_appends(true);
        }
    }

    /// Tells those that wait for room, and the statistics, whether maintenance goes as it should.
    fn tell_appends(&self, failed: bool) {
        self.counters.maintenance_failed.store(failed, Relaxed);
        for shard in &self.shards {
            // With its lock, so that nobody is between looking and waiting.
            let _state = shard.state.lock();
            shard.room.notify_all();
        }
    }

    /// The journals that wait for the archiver.
    pub(super) fn waiting(&self) -> HashSet<FileId> {
        let of = |shard: &Shard| -> Vec<FileId> {
            shard.state.lock().waiting().map(|journal| journal.id).collect()
        };
        self.shards.iter().flat_map(of).collect()
    }

    /// Archives some of what is due in each shard, several shards at once where there are processors for it; whether there is more. A shard in which
    /// journals fill as fast as they are archived does not keep the others from their turn.
    pub(super) fn archive_round(&self, pass: &mut Pass) -> bool {
        // What somebody archives already comes last: until then it is perhaps done. Each lock is tried once: a sort would
        // try it often, and have a different answer each time.
        let is_free = |shard: &&Shard| shard.archiving.try_lock().is_some();
        let (free, busy): (Vec<&Shard>, Vec<&Shard>) = self.shards_due(pass).partition(is_free);
        let order = [free, busy].concat();
        let done =
            parallel::each(self.archivers(), &order, |shard| match self.closed.load(Relaxed) {
                true => Ok(()),
                false => self.archive_shard(shard, &pass.due),
            });
        for (shard, done) in order.iter().zip(done) {
            pass.take(Step::Archiving(shard.index), || done);
        }
        !self.closed.load(Relaxed) && self.shards_due(pass).next().is_some()
    }

    /// The shards in which journals wait that are due, without those that failed.
    fn shards_due(&self, pass: &Pass) -> impl Iterator<Item = &Shard> {
        let waits = |shard: &&Shard| {
            shard.state.lock().waiting().any(|journal| pass.due.contains(&journal.id))
        };
        let sound = |shard: &&Shard| !pass.failed.contains(&Step::Archiving(shard.index));
        self.shards.iter().filter(sound).filter(waits)
    }

    /// How many threads archive: beside appends one for each two processors, and one for each while nobody appends. A store
    /// without threads of its own has but the caller's here, too.
    fn archivers(&self) -> usize {
        if !self.background {
            return 1;
        }
        let at_once = if zst::is_idle() { zst::processors() } else { zst::processors() / 2 };
        let waits = |shard: &&Shard| shard.state.lock().waiting().next().is_some();
        self.shards.iter().filter(waits).count().min(at_once)
    }

    /// Makes everything that was appended to a shard durable.
    pub(super) fn sync_shard(&self, shard: &Shard) -> Result<()> {
        let state = shard.state.lock();
        match state.log.last_group() {
            Some(group) => wait(&shard.state, state, &group),
            None => Ok(()),
        }
    }

    fn rotate_by_age(&self, shard: &Shard) -> Result<()> {
        let now_ms = self.env.clock.now_ms();
        let mut state = shard.state.lock();
        if self.closed.load(Relaxed) {
            return Ok(());
        }
        let begun_ms = state.begun_ms;
        // A clock that was set back makes the age zero, not enormous.
        let old = now_ms.saturating_sub(begun_ms) >= self.options.journal_age_ms;
        let day_over = day_of(now_ms) > day_of(begun_ms);
        if (old || day_over) && !state.log.is_empty() {
            if state.log.is_poisoned() {
                return Ok(());
            }
            state = self.rotate(shard, state)?;
        }
        drop(state);
        Ok(())
    }

    /// Makes the next journal before it is needed, so that no append waits for it.
    fn prepare_standby(&self, shard: &Shard) -> Result<()> {
        // One at a time: a second standby would be a file that nothing uses.
        let _archiving = shard.archiving.lock();
        let recycled = {
            let mut state = shard.state.lock();
            let half_full = state.log.tail() > self.options.journal_bytes / 2;
            let is_over = self.closed.load(Relaxed) || state.log.is_poisoned();
            if !half_full || state.standby.is_some() || is_over {
                return Ok(());
            }
            state.recycled.pop()
        };
        // Filled before it is published: on a full disk nothing is left of it.
        let journal = self.new_journal(shard, recycled, self.options.journal_bytes)?;
        let mut state = shard.state.lock();
        if self.closed.load(Relaxed) {
            // Closing has given back what is held ahead, and does not come again.
            let _ = journal.trim(FRAMES_FROM);
            return Ok(());
        }
        if state.newest_number() < journal.head.number {
            state.standby = Some(journal);
            return Ok(());
        }
        // Appends could not wait for it, and go on in one that was made later. Readers take journals in the order of their numbers, the
        // youngest first, so that they see no chunk without those before it: this one would come too late for that. Its file is kept.
        drop(state);
        self.manifest.publish(|m| m.journals.retain(|j| j.id != journal.id))?;
        self.retire(shard, &journal);
        Ok(())
    }

    /// Archives some of the journals of a shard that are due.
    fn archive_shard(&self, shard: &Shard, due: &HashSet<FileId>) -> Result<()> {
        self.manifest.check_sure()?;
        let _archiving = shard.archiving.lock();
        let (batch, sessions) = {
            let state = shard.state.lock();
            let batch = state.waiting().filter(|journal| due.contains(&journal.id));
            let batch: Vec<Arc<Journal>> = batch.take(BATCH_JOURNALS).cloned().collect();
            let ids: HashSet<FileId> = batch.iter().map(|j| j.id).collect();
            let sessions = state.table.select(|f| ids.contains(&f.journal.id));
            (batch, sessions)
        };
        if batch.is_empty() {
            return Ok(());
        }
        let job = archive::Job {
            env: &self.env,
            root: &self.dir,
            keyring: &self.keyring,
            shard: shard.index,
            sessions,
            level: self.options.archive_level,
        };
        let outcome = match self.archiver.try_lock() {
            Some(mut work) => archive::run(job, &mut work),
            None => archive::run(job, &mut archive::Workspace::default()),
        };
        let written = match outcome {
            Ok(written) => written,
            Err(e) => {
                // A journal that cannot be read stays, and its sessions are read from it; the others go on.
                let Some(journal) = batch.iter().find(|j| is_about(&e, j)) else { return Err(e) };
                let mut state = shard.state.lock();
                // A read may go wrong on its way: it is tried once more, as it is due still.
                if !state.suspected.insert(journal.id) {
                    state.stuck.insert(journal.id);
                    // It is not among those for which appends wait any more.
                    shard.room.notify_all();
                }
                return Ok(());
            }
        };
        self.publish_archived(shard, &batch, written)
    }

    fn publish_archived(
        &self,
        shard: &Shard,
        batch: &[Arc<Journal>],
        written: Vec<archive::Written>,
    ) -> Result<()> {
        let ids: HashSet<FileId> = batch.iter().map(|j| j.id).collect();
        if planted::is(Bug::JournalRecycledEarly) {
            batch.iter().for_each(|journal| self.retire(shard, journal));
        }
        if planted::is(Bug::JournalsForgottenFirst) {
            self.manifest.publish(|m| m.journals.retain(|j| !ids.contains(&j.id)))?;
        }
        let entries: Vec<SegmentEntry> = written.iter().map(|w| w.entry).collect();
        let named = self.manifest.name_segments(&entries, |m| {
            m.journals.retain(|j| !ids.contains(&j.id));
        });
        named.inspect_err(|_| self.manifest.disown_segments(&entries))?;
        self.counters.archived.fetch_add(batch.len() as u64, Relaxed);
        self.counters.segments_written.fetch_add(written.len() as u64, Relaxed);
        let segments = written.into_iter().map(|w| SegmentInfo::new(w.entry, Some(w.places)));
        let segments = segments.collect();
        let mut state = shard.state.lock();
        // Under the shard's lock a reader sees frames either in journals or in segments.
        state.epoch += 1;
        self.catalog.add(segments);
        state.table.remove_frames(|f| ids.contains(&f.journal.id), true);
        state.full.retain(|j| !ids.contains(&j.id));
        state.suspected.retain(|id| !ids.contains(id));
        drop(state);
        shard.room.notify_all();
        batch.iter().for_each(|journal| self.retire(shard, journal));
        Ok(())
    }

    /// Keeps the file of an archived journal for the next one, or removes it where a reader still has it open or there are enough.
    fn retire(&self, shard: &Shard, journal: &Arc<Journal>) {
        let mut state = shard.state.lock();
        // One count is the batch's; a replay that is under way would be another.
        let unread = Arc::strong_count(journal) == 1;
        // What was filled once need not be filled again, be it less than a whole journal: one that is ended by its age seldom is.
        let worth_it = journal.filled() >= self.options.fill_bytes;
        let closed = self.closed.load(Relaxed);
        if unread && worth_it && !closed && state.recycled.len() < RECYCLED_MAX {
            state.recycled.push(journal.path.clone());
        } else {
            drop(state);
            // A file that stays behind is removed when the store is opened again.
            let _ = crate::journal::file::remove(&self.env, &journal.path);
        }
    }

    /// Drops what only new sessions ask for, once segments are too old for them.
    fn forget_places(&self) {
        let today = day_of(self.env.clock.now_ms());
        for by_day in self.catalog.snapshot().iter() {
            for segment in by_day.range(..today.saturating_sub(PLACES_DAYS)).flat_map(|(_, l)| l) {
                *segment.places.lock() = None;
            }
        }
    }

    /// Ends every journal that has frames, and archives all of them.
    pub(super) fn archive_all(&self) -> Result<()> {
        let mut pass = Pass::default();
        for shard in &self.shards {
            pass.take(Step::Rotation(shard.index), || self.end_if_used(shard));
        }
        pass.due = self.waiting();
        while self.archive_round(&mut pass) {}
        if self.closed.load(Relaxed) && self.shards_due(&pass).next().is_some() {
            return Err(Error::Closed);
        }
        pass.error.map_or(Ok(()), Err)
    }

    fn end_if_used(&self, shard: &Shard) -> Result<()> {
        let state = shard.state.lock();
        if state.log.journal().is_none() || state.log.is_empty() {
            return Ok(());
        }
        state.log.check()?;
        let state = self.end_journal(shard, state)?;
        // The next sync tells it once more: not everyone looks at what archiving says.
        state.log.check_deferred()
    }
}

/// Whether an error is about reading this journal.
fn is_about(error: &Error, journal: &Journal) -> bool {
    match error {
        Error::Corrupt(damage) => damage.file == journal.name,
        Error::Unsupported { file, .. } => *file == journal.name,
        Error::Io { path, .. } => *path == journal.path,
        _ => false,
    }
}
