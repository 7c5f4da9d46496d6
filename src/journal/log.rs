//! Group commit: many appenders, one write and one sync.
//!
//! An appender joins the *group* that is forming, under the shard's lock. The first one that waits for a group leads
//! it: when the group before has ended, it closes its own, writes and syncs it without the lock, and wakes the
//! members. What arrived meanwhile is the next group, whose leader is among those who wake. There is no timer.
//!
//! Who waits for a group does so without any lock, so that all of its members wake at once, and not one
//! after the other as they pass the shard's lock on.
//!
//! On a machine whose processors are busy compressing, a sync can be faster than the next chunk, and groups would
//! shrink to one. So a leader that has lately seen company yields the processor before it closes its group,
//! as long as that brings new members: those who are ready to run join, and nobody waits for those who are not.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::frame::{FRAMES_FROM, SealedFrame};
use crate::planted::{self, Bug};
use crate::sync::{Mutex, MutexGuard, OnceLock, thread};

use super::file::Journal;

/// A leader gathers no more once its group has this size. A group can be larger still: while the one before is synced, each appender that waits has
/// joined it with a frame.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Memory of a group that is kept for the next one.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// A leader gathers no more than this many members: syncs are rare enough then, and whoever does not belong to the
/// group goes on compressing while it is synced.
const GATHER_MEMBERS_MAX: u32 = 10;

/// Why the members of a group were not made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The disk was full, and nothing of it counts.
    Full,
    /// The write or the sync failed; the shard takes no more.
    Poisoned,
}

impl Failure {
    fn told(self, doing: &'static str, shard: u16) -> Error {
        match self {
            Self::Full => Error::DiskFull { doing },
            Self::Poisoned => Error::Poisoned { shard },
        }
    }
}

/// Frames that become durable together.
#[derive(Default)]
pub(crate) struct Group {
    result: OnceLock<Result<(), Failure>>,
}

/// The appending end of a shard.
pub(crate) struct Log {
    pub(crate) shard: u16,
    pub(crate) fill_bytes: u32,
    journal: Option<Arc<Journal>>,
    /// Where the next frame goes; everything from the journal's durable offset on is pending.
    tail: u32,
    buffer: Vec<u8>,
    spare: Vec<u8>,
    group: Arc<Group>,
    members: u32,
    /// Whether someone leads the forming group, or waits to.
    led: bool,
    in_flight: Option<Arc<Group>>,
    /// Whether the last group had more than one member.
    company: bool,
    poisoned: bool,
    /// Whether the forming group, or the one in flight, has members that do not wait.
    deferred: [bool; 2],
    /// Why deferred frames were voided, where nobody has been told.
    deferred_lost: Option<Failure>,
    pub(crate) counts: LogCounts,
}

/// What the log did since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LogCounts {
    pub(crate) frames: u64,
    pub(crate) groups: u64,
    pub(crate) bytes: u64,
}

/// A state that contains a log, and what must be undone when pending frames are void.
pub(crate) trait HasLog {
    fn log(&mut self) -> &mut Log;
    /// Forgets the frames of the current journal at or beyond `durable`.
    fn forget_pending(&mut self, durable: u32);
}

impl Log {
    pub(crate) fn new(shard: u16, fill_bytes: u32) -> Self {
        Self {
            shard,
            fill_bytes,
            journal: None,
            tail: FRAMES_FROM,
            buffer: Vec::new(),
            spare: Vec::new(),
            group: Arc::default(),
            members: 0,
            led: false,
            in_flight: None,
            company: false,
            poisoned: false,
            deferred: [false; 2],
            deferred_lost: None,
            counts: LogCounts::default(),
        }
    }

    pub(crate) fn journal(&self) -> Option<&Arc<Journal>> {
        self.journal.as_ref()
    }

    /// Notes that a member of the forming group does not wait for it.
    pub(crate) fn defer(&mut self) {
        self.deferred[0] = true;
    }

    /// Fails where deferred frames were lost, and no sync has told it.
    pub(crate) fn check_deferred(&self) -> Result<()> {
        match self.deferred_lost {
            None => Ok(()),
            Some(failure) => Err(failure.told("syncing deferred chunks", self.shard)),
        }
    }

    /// Fails where deferred frames were lost since this was last asked.
    pub(crate) fn tell_deferred(&mut self) -> Result<()> {
        let told = self.check_deferred();
        self.deferred_lost = None;
        told
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.poisoned { Err(Error::Poisoned { shard: self.shard }) } else { Ok(()) }
    }

    /// Bytes that were joined and are not durable yet.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.buffer.is_empty() && self.in_flight.is_none()
    }

    /// Whether the current journal has no frames.
    pub(crate) fn is_empty(&self) -> bool {
        self.tail == FRAMES_FROM
    }

    /// The end of the journal with what is pending.
    pub(crate) fn tail(&self) -> u32 {
        self.tail
    }

    /// Whether a frame of `bytes` bytes still belongs into a journal rotated at `journal_bytes`.
    pub(crate) fn has_room(&self, bytes: usize, journal_bytes: u32) -> bool {
        self.journal.is_some()
            && (self.tail == FRAMES_FROM || self.tail as usize + bytes <= journal_bytes as usize)
    }

    /// Goes on in another journal, or in none. Everything must be durable. Returns the old one.
    pub(crate) fn switch(&mut self, to: Option<Arc<Journal>>) -> Option<Arc<Journal>> {
        debug_assert!(self.is_idle());
        self.tail = FRAMES_FROM;
        std::mem::replace(&mut self.journal, to)
    }

    /// Adds a frame to the forming group; returns its offset and the group. A journal must be there.
    pub(crate) fn join(&mut self, frame: SealedFrame) -> Option<(u32, Arc<Group>)> {
        let journal = self.journal.as_ref()?;
        let offset = self.tail;
        let bytes = frame.len() as u32;
        frame.join(journal.id, offset, journal.durable(), &mut self.buffer);
        self.tail += bytes;
        self.members += 1;
        self.counts.frames += 1;
        Some((offset, Arc::clone(&self.group)))
    }

    /// Lets another group form, and returns the one that did.
    fn begin_group(&mut self) -> Arc<Group> {
        self.members = 0;
        self.led = false;
        std::mem::take(&mut self.group)
    }

    /// The group in which the frame at `offset` of the current journal becomes durable, if it is not yet.
    pub(crate) fn group_of(&self, offset: u32) -> Option<Arc<Group>> {
        let journal = self.journal.as_ref()?;
        if offset < journal.durable() {
            return None;
        }
        let forming_from = self.tail as usize - self.buffer.len();
        if offset as usize >= forming_from {
            Some(Arc::clone(&self.group))
        } else {
            self.in_flight.clone()
        }
    }

    /// The last group whose frames are not durable yet, if there is any.
    pub(crate) fn last_group(&self) -> Option<Arc<Group>> {
        if self.buffer.is_empty() { self.in_flight.clone() } else { Some(Arc::clone(&self.group)) }
    }
}

/// Waits until a group is durable, and leads it where no one else does.
///
/// # Errors
/// [`Error::DiskFull`] if it could not be written; [`Error::Poisoned`] if it could not be synced.
pub(crate) fn wait<S: HasLog>(
    mutex: &Mutex<S>,
    mut state: MutexGuard<'_, S>,
    group: &Arc<Group>,
) -> Result<()> {
    let log = state.log();
    let shard = log.shard;
    if Arc::ptr_eq(&log.group, group) && !log.led {
        log.led = true;
        match log.in_flight.clone() {
            None => lead(mutex, state),
            Some(before) => {
                drop(state);
                before.result.wait();
                let state = mutex.lock();
                // It may have failed, and this group with it.
                if group.result.get().is_none() {
                    lead(mutex, state);
                }
            }
        }
    } else {
        drop(state);
    }
    group.result.wait().map_err(|failure| failure.told("appending to the journal", shard))
}

/// Writes and syncs the forming group.
fn lead<S: HasLog>(mutex: &Mutex<S>, mut state: MutexGuard<'_, S>) {
    let log = state.log();
    let group = Arc::clone(&log.group);
    let Some(journal) = log.journal.clone() else {
        // Nothing can have been joined, so there is nothing to wait for.
        log.begin_group();
        let _ = group.result.set(Ok(()));
        return;
    };
    log.in_flight = Some(Arc::clone(&group));
    gather(&mut state);
    let log = state.log();
    let spare = std::mem::take(&mut log.spare);
    let mut batch = std::mem::replace(&mut log.buffer, spare);
    log.company = log.members > 1;
    log.begin_group();
    log.deferred = [false, log.deferred[0]];
    let (end, fill_bytes) = (log.tail, log.fill_bytes);
    drop(state);

    let start = end - batch.len() as u32;
    let written = journal.write(&batch, start, fill_bytes);
    let result = match written {
        Ok(()) if planted::is(Bug::AcknowledgedBeforeSync) => Ok(()),
        Ok(()) => journal.sync().map_err(|_| Failure::Poisoned),
        Err(Error::DiskFull { .. }) if planted::is(Bug::FullDiskIgnored) => Ok(()),
        Err(Error::DiskFull { .. }) => Err(Failure::Full),
        Err(_) => Err(Failure::Poisoned),
    };

    let mut state = mutex.lock();
    match result {
        Ok(()) => {
            journal.set_durable(end);
            let log = state.log();
            log.counts.groups += 1;
            log.counts.bytes += batch.len() as u64;
        }
        Err(failure) => abandon(&mut *state, failure, start),
    }
    let log = state.log();
    batch.clear();
    batch.shrink_to(SPARE_BYTES_MAX);
    log.spare = batch;
    log.in_flight = None;
    drop(state);
    let _ = group.result.set(result);
}

/// Lets those who are ready to run join the group, as long as it keeps growing.
fn gather<S: HasLog>(state: &mut MutexGuard<'_, S>) {
    loop {
        let log = state.log();
        let members = log.members;
        let alone = members < 2 && !log.company;
        if alone || members >= GATHER_MEMBERS_MAX || log.buffer.len() >= GROUP_BYTES_MAX {
            return;
        }
        MutexGuard::unlocked(state, thread::yield_now);
        if state.log().members == members {
            return;
        }
    }
}

/// Voids everything that is pending: later frames would stand behind a hole.
fn abandon<S: HasLog>(state: &mut S, failure: Failure, start: u32) {
    state.forget_pending(start);
    let log = state.log();
    log.poisoned |= failure == Failure::Poisoned;
    if log.deferred != [false; 2] {
        log.deferred_lost = Some(failure);
    }
    log.deferred = [false; 2];
    log.tail = start;
    log.buffer.clear();
    let waiting = log.begin_group();
    let _ = waiting.result.set(Err(failure));
}
