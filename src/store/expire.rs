//! Retention: a day passes, its segments are dropped whole, and its leaf leaves the keyring.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, Result};
use crate::format::manifest::SegmentEntry;
use crate::ids::{FileId, HoldId, day_of};
use crate::limits::DAY_MS;
use crate::planted::{self, Bug};
use crate::retention::clock::{CLOCK_OFFLINE_MAX_MS, ClockDoubt};
use crate::retention::record::{Certificate, Deed};
use crate::segment::writer::{SEGMENT_DIR, segment_name};

use super::Store;
use super::renew::Renewed;
use super::state::{Inner, SegmentInfo};

/// How retention is to be run by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    now_ms: Option<u64>,
    dry_run: bool,
    trust_clock: bool,
}

impl Retention {
    /// By the clock, as far as it is believed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As if it were this time, Unix milliseconds. For tests: a time in the future deletes early, and for good.
    #[must_use]
    pub fn now_ms(mut self, ms: u64) -> Self {
        self.now_ms = Some(ms);
        self
    }

    /// Only tells what would be deleted, at most: a day may be kept back for a held session that cannot be copied, which only the deed finds out.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Believes the clock, though it is further ahead than what was seen of it explains: somebody has looked.
    #[must_use]
    pub fn trust_clock(mut self) -> Self {
        self.trust_clock = true;
        self
    }
}

/// What retention deleted, or would delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expiry {
    /// What was to be kept until this day or an earlier one is gone; in days since 1970-01-01 UTC.
    pub day: u32,
    /// Segments that were dropped.
    pub segments: usize,
    /// Sessions in them, and in journals.
    pub sessions: u64,
    /// Bytes that they took on disk.
    pub bytes: u64,
    /// The certificate, if a day has passed since the last one.
    pub certificate: Option<Certificate>,
    /// Why a later day was kept back, if one was: what kept a held session from being copied before its own day passes.
    pub kept_back: Option<String>,
    /// Held sessions whose day has passed, and which may lack chunks from then on: what was to be copied, or a segment of their day, could not be
    /// read. Those are chunks that came after they were put on hold, unless the copy itself is damaged.
    pub doubtful_holds: usize,
    /// Why it went by an earlier time than the clock's.
    pub doubt: Option<ClockDoubt>,
}

impl Store {
    /// Deletes what was to be kept until today or an earlier day: drops its segments whole and punctures its days in the
    /// keyring, so that no copy of them opens any more. An open store does this by itself when a day begins; this
    /// is for those who want to see it.
    ///
    /// # Errors
    /// What the key provider and the disk answer. On a full disk it works too, and frees it.
    pub fn retention(&self, how: &Retention) -> Result<Expiry> {
        let inner = &self.inner.inner;
        inner.check_writable()?;
        if how.trust_clock && !how.dry_run {
            inner.watch.believe(&*inner.env.clock);
            // The manifest remembers it for the next process; on a full disk the next one asks again.
            let _ = inner.manifest.publish(|_| {});
        }
        let (mut believed_ms, mut doubt) = inner.watch.now(&*inner.env.clock);
        if how.trust_clock {
            (believed_ms, doubt) = (inner.env.clock.now_ms(), None);
        }
        let today = day_of(how.now_ms.unwrap_or(believed_ms));
        let doubt = doubt.filter(|_| how.now_ms.is_none());
        let (mut expiry, kept_back) =
            if how.dry_run { (inner.would_expire(today), None) } else { inner.expire(today)? };
        expiry.kept_back = kept_back.map(|e| e.to_string());
        expiry.doubt = doubt;
        Ok(expiry)
    }
}

impl Inner {
    fn expired_segments(&self, today: u32) -> Vec<Arc<SegmentInfo>> {
        let all = self.catalog.snapshot();
        let all = all.iter().flat_map(|days| days.values().flatten());
        // A hold that the keyring does not know has ended, or was never put in place: a crash came between.
        let forgotten = planted::is(Bug::HoldForgotten);
        let ended = |s: &SegmentEntry| {
            s.is_hold() && (forgotten || !self.keyring.needs_copy(&HoldId(s.id.0)))
        };
        all.filter(|s| s.entry.has_expired(today) || ended(&s.entry)).cloned().collect()
    }

    fn would_expire(&self, today: u32) -> Expiry {
        let segments = self.expired_segments(today);
        let archived: u64 = segments.iter().map(|s| u64::from(s.entry.sessions)).sum();
        let live = |shard: &super::state::Shard| {
            let state = shard.state.lock();
            state.table.iter().filter(|(_, l)| l.stamp.expiry_day() <= today).count() as u64
        };
        Expiry {
            day: today,
            segments: segments.len(),
            sessions: archived + self.shards.iter().map(live).sum::<u64>(),
            bytes: segments.iter().map(|s| s.entry.bytes).sum(),
            ..Expiry::default()
        }
    }

    /// Deletes what was to be kept until `today` or an earlier day.
    ///
    /// First the keyring, so that from then on nothing of it can be read anywhere; then the manifest; then the
    /// files. After a crash in between, the next round finds segments whose day has passed, and goes on. Where
    /// the disk is too full even for the keyring, the files go first, but for those of a held session's day: another segment that is missing on or
    /// after its day is no damage.
    ///
    /// Also why a later day was kept back, if one was.
    pub(super) fn expire(self: &Arc<Self>, today: u32) -> Result<(Expiry, Option<Error>)> {
        let _expiring = self.expiring.lock();
        let Renewed { through: today, doubtful: doubtful_holds, kept_back } =
            self.renew_holds(today);
        let mut expiry = Expiry { doubtful_holds, ..self.would_expire(today) };
        if self.keyring.expired_through().is_none_or(|day| day < today) {
            let commit = || {
                self.commit(|next| {
                    next.expire_through(today);
                    Ok(((), Deed::Expired { through: today }))
                })
            };
            let committed = match commit() {
                Err(Error::DiskFull { .. }) => {
                    let mut expired = self.expired_segments(today);
                    // Should it fail once more, they are read again.
                    expired.retain(|s| self.has_gone(&s.entry) || !self.is_of_held_day(&s.entry));
                    self.unlink_first(&expired)?;
                    self.drop_segments(&expired)?;
                    commit()
                }
                outcome => outcome,
            };
            expiry.certificate = Some(committed?.1);
        }
        for shard in &self.shards {
            let mut state = shard.state.lock();
            state.epoch += 1;
            state.table.remove_expired(today);
        }
        // They are not met again, should removing files fail now.
        self.counters.doubtful_holds.fetch_add(doubtful_holds as u64, Relaxed);
        self.drop_segments(&self.expired_segments(today))?;
        self.retention_day.store(today, Relaxed);
        Ok((expiry, kept_back))
    }

    /// Takes segments out of the manifest and the catalog, and unlinks their files.
    pub(super) fn drop_segments(&self, segments: &[Arc<SegmentInfo>]) -> Result<()> {
        if segments.is_empty() {
            return Ok(());
        }
        let ids: HashSet<FileId> = segments.iter().map(|s| s.entry.id).collect();
        let publish = || self.manifest.publish(|m| m.segments.retain(|s| !ids.contains(&s.id)));
        match self.with_space(publish) {
            Err(Error::DiskFull { .. }) => {
                self.unlink_first(segments)?;
                publish()?;
            }
            outcome => outcome?,
        }
        for shard in &self.shards {
            let of_shard = segments.iter().filter(|s| s.entry.shard == shard.index);
            let ids: HashSet<FileId> = of_shard.map(|s| s.entry.id).collect();
            if !ids.is_empty() {
                // Under one lock: whoever looked before knows by the epoch that they may be gone.
                let mut state = shard.state.lock();
                state.epoch += 1;
                self.catalog.remove(&ids);
            }
        }
        self.unlink(segments)
    }

    /// Unlinks files of segments, all that it can; the first failure is told.
    pub(super) fn unlink(&self, segments: &[Arc<SegmentInfo>]) -> Result<()> {
        let folder = self.dir.join(SEGMENT_DIR);
        let mut outcome = Ok(());
        for segment in segments {
            let id = segment.entry.id;
            // An open file would keep its space.
            self.segments.forget(id);
            let path = self.dir.join(segment_name(id));
            match self.env.disk.remove(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    outcome = outcome.and(Err(Error::io("removing the segment", path, e)));
                }
                _ => {}
            }
        }
        let synced = self.env.disk.sync_dir(&folder);
        outcome.and(synced.map_err(|e| Error::io("syncing the segments", folder, e)))
    }

    /// On a full disk, unlinks files before the manifest forgets them: those alone whose day has passed, so that the next process
    /// understands their absence, should this one end in between. What was erased, or held, must be forgotten first.
    fn unlink_first(&self, segments: &[Arc<SegmentInfo>]) -> Result<()> {
        let seen_ms = self.manifest.current().seen_ms + CLOCK_OFFLINE_MAX_MS;
        let today = day_of(self.env.clock.now_ms().min(seen_ms));
        let passed = |s: &SegmentEntry| {
            !s.is_hold() && (self.has_gone(s) || (s.has_expired(today) && !self.is_of_held_day(s)))
        };
        let segments: Vec<_> = segments.iter().filter(|s| passed(&s.entry)).cloned().collect();
        self.unlink(&segments)
    }

    /// Whether a segment that is missing is no damage: on a full disk its file goes before the manifest forgets it, or even before its
    /// day does. The clock counts here though it may be doubted: nothing is deleted by this answer, and a disk that stayed full for days,
    /// so that no manifest could remember the time, must not turn what has expired into damage.
    pub(super) fn may_be_missing(&self, segment: &SegmentEntry) -> bool {
        let today = day_of(self.watch.now(&*self.env.clock).0.max(self.env.clock.now_ms()));
        self.has_gone(segment) || (segment.has_expired(today) && !self.is_of_held_day(segment))
    }

    /// Whether a session is held whose own day is that of a segment: it may be copied of it until that day has left the keyring, and its
    /// file is not removed before.
    fn is_of_held_day(&self, segment: &SegmentEntry) -> bool {
        self.keyring.holds().iter().any(|hold| segment.expiry_day() == Some(hold.expiry_day()))
    }

    /// Whether the keyring has no key for it any more: its day has left, or its hold has ended.
    fn has_gone(&self, segment: &SegmentEntry) -> bool {
        match segment.is_hold() {
            true => self.keyring.hold(&HoldId(segment.id.0)).is_none(),
            false => self.keyring.expired_through().is_some_and(|day| segment.has_expired(day)),
        }
    }

    /// When a day begins, deletes what was kept until then. In an open store this runs by itself.
    pub(super) fn expire_by_clock(self: &Arc<Self>) -> Result<()> {
        let (now_ms, doubt) = self.watch.now(&*self.env.clock);
        *self.clock_doubt.lock() = doubt;
        let today = day_of(now_ms);
        if self.retention_day.load(Relaxed) >= today {
            // It may have been run by hand meanwhile.
            *self.expiry_tries.lock() = Tries::default();
            return Ok(());
        }
        let now_ns = self.env.clock.monotonic_ns();
        let tries = *self.expiry_tries.lock();
        // The statistics tell all the while that it is behind; the other work goes on meanwhile.
        if now_ns < tries.again_ns {
            return Ok(());
        }
        // The manifest remembers the time, so that the next process knows how far its clock may have gone on.
        let _ = self.manifest.publish(|_| {});
        let expired = self.expire(today).and_then(|(_, kept_back)| kept_back.map_or(Ok(()), Err));
        let spares = || self.keyring.spares_versions();
        *self.expiry_tries.lock() = tries.after(expired.is_ok(), now_ns, spares);
        expired
    }
}

/// So often in a row retention is tried by itself without a pause but that of maintenance.
const TRIES_AT_ONCE: u32 = 8;
/// The pause from then on, a quarter of an hour: an attempt that a bucket may have taken spends a version of the provider's key, of which a key file has
/// 1,024, until one has succeeded.
const TRY_AGAIN_NS: u64 = 900_000_000_000;
/// The pause once many of them were spent, or few are left: a day.
const TRY_RARELY_NS: u64 = DAY_MS * 1_000_000;

/// How retention went that runs by itself.
#[derive(Default, Clone, Copy)]
pub(super) struct Tries {
    /// Attempts in a row that failed.
    failed: u32,
    /// When it is tried again, on the monotonic clock in nanoseconds.
    again_ns: u64,
}

impl Tries {
    /// Whether what was to be deleted is still there.
    pub(super) fn is_behind(self) -> bool {
        self.failed > 0
    }

    fn after(self, is_done: bool, now_ns: u64, spares: impl Fn() -> bool) -> Self {
        let failed = if is_done { 0 } else { self.failed.saturating_add(1) };
        let pause_ns = match failed {
            ..TRIES_AT_ONCE => 0,
            _ if spares() => TRY_RARELY_NS,
            _ => TRY_AGAIN_NS,
        };
        Self { failed, again_ns: now_ns.saturating_add(pause_ns) }
    }
}

impl SegmentEntry {
    /// Whether its sessions were to be kept until this day or an earlier one. A hold ends by itself, never by a day.
    pub(crate) fn has_expired(&self, today: u32) -> bool {
        let today = today + u32::from(planted::is(Bug::ExpiredEarly));
        self.expiry_day().is_some_and(|day| day <= today)
    }
}
