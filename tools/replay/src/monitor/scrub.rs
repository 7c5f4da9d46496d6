//! The integrity scrub: every segment and journal is read and verified, at a bounded rate, over and over, those first whose
//! last verification is longest ago. When each was verified is kept in a sealed file, and in another which are damaged, so that a
//! restart forgets nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reelvault::env::{Env, Mode};
use reelvault::{Depth, Error, FileId, Sealer, SegmentStatus, Store, Verification};

use crate::source::Source;

use super::metrics::Metrics;

/// For what the file is sealed.
pub(crate) const PURPOSE: &str = "replay service scrub";
const FILE: &str = "scrub";
const PLACE: &[u8] = b"verified";
const DAMAGED_FILE: &str = "damaged";
const DAMAGED_PLACE: &[u8] = b"damaged";
/// Damaged files are looked at again at this rate where the scrub is off: its own, unless it is set otherwise.
const AGAIN_BYTES_PER_SECOND: u64 = 20 << 20;
/// Bytes of a file of its own that are read: ten million segments.
const FILE_BYTES_MAX: usize = 256 << 20;
/// Bytes of a segment's line in the file: its id and a time.
const LINE_BYTES: usize = 24;
/// The file is written after this many segments at the latest.
const SAVE_EVERY: usize = 64;

/// What the scrub knows.
pub(crate) struct Scrub {
    env: Env,
    state: PathBuf,
    sealer: Sealer,
    known: Mutex<Known>,
    /// The damaged files that are written down; `None` if that cannot be read.
    kept: Mutex<Option<BTreeSet<String>>>,
}

#[derive(Default)]
struct Known {
    /// When each segment was last found sound, or first seen, Unix milliseconds.
    verified_ms: HashMap<FileId, u64>,
    /// Files in which damage was met, by the scrub or by whoever read there.
    damaged: BTreeSet<String>,
    /// Something was damaged before a restart, and what it was cannot be read: until a whole round was made, nothing is known to be sound.
    is_unknown: bool,
    /// How much of the present round is done.
    done: usize,
    of: usize,
}

impl Scrub {
    /// `was_damaged` tells whether an incident is open for damage.
    pub(crate) fn open(env: &Env, state: &Path, sealer: Sealer, was_damaged: bool) -> Self {
        let verified_ms = read(env, &state.join(FILE), &sealer, PLACE);
        let verified_ms = verified_ms.and_then(|plain| times(&plain, env.clock.now_ms()));
        let damaged = read(env, &state.join(DAMAGED_FILE), &sealer, DAMAGED_PLACE);
        let damaged = damaged.and_then(|plain| String::from_utf8(plain).ok());
        let is_unknown = was_damaged && damaged.is_none();
        if is_unknown {
            tracing::error!(
                file = DAMAGED_FILE,
                "what is damaged cannot be read: all is looked at"
            );
        }
        let damaged = damaged.unwrap_or_default();
        let damaged: BTreeSet<String> = damaged.lines().map(str::to_owned).collect();
        let kept = Mutex::new((!is_unknown).then(|| damaged.clone()));
        let verified_ms = verified_ms.unwrap_or_default();
        let known = Known { verified_ms, damaged, is_unknown, ..Known::default() };
        Self { env: env.clone(), state: state.to_owned(), sealer, known: Mutex::new(known), kept }
    }

    /// Somebody met damage in a file.
    pub(crate) fn met(&self, file: &str) {
        if let Ok(mut known) = self.known.lock() {
            known.damaged.insert(file.to_owned());
        }
    }

    /// Files that are damaged, as far as is known.
    pub(crate) fn damaged(&self) -> Vec<String> {
        self.known.lock().map(|k| k.damaged.iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether something may be damaged that is not among [`damaged`](Self::damaged).
    pub(crate) fn is_unknown(&self) -> bool {
        self.known.lock().map_or(true, |known| known.is_unknown)
    }

    /// How long ago the byte was verified whose verification is longest ago, and the share of the round that is done.
    pub(crate) fn figures(&self) -> (Option<u64>, f64) {
        let Ok(known) = self.known.lock() else { return (None, 0.0) };
        let oldest = known.verified_ms.values().min();
        let age = oldest.map(|ms| self.env.clock.now_ms().saturating_sub(*ms));
        let share = if known.of == 0 { 1.0 } else { known.done as f64 / known.of as f64 };
        (age, share)
    }

    /// One round over everything, at most `bytes_per_second` on average. It blocks; `stopped` is asked between two steps. What cannot
    /// be looked at keeps nothing else from it; the first error is returned at the end.
    pub(crate) fn round(
        &self,
        source: &dyn Source,
        metrics: &Metrics,
        bytes_per_second: u64,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let store = source.store();
        let mut due = self.take_stock(&store);
        if let Ok(mut known) = self.known.lock() {
            (known.done, known.of) = (0, due.len());
        }
        due.sort_by_key(|(verified, segment)| (*verified, *segment.id.as_bytes()));
        let mut outcome = Ok(());
        for (n, (_, segment)) in due.into_iter().enumerate() {
            if stopped() {
                break;
            }
            outcome =
                outcome.and(self.look_at(&store, segment, metrics, bytes_per_second, stopped));
            if let Ok(mut known) = self.known.lock() {
                known.done = n + 1;
            }
            if n % SAVE_EVERY == SAVE_EVERY - 1 {
                self.save();
            }
        }
        if !stopped() {
            outcome = outcome.and(self.look_at_journals(&store));
        }
        if outcome.is_ok()
            && !stopped()
            && let Ok(mut known) = self.known.lock()
        {
            known.is_unknown = false;
        }
        self.save();
        outcome
    }

    /// Looks again at what is damaged, so that it is known when it was mended, also where no rounds are made.
    pub(crate) fn look_again(
        &self,
        source: &dyn Source,
        metrics: &Metrics,
        bytes_per_second: u64,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let damaged = self.damaged();
        if damaged.is_empty() {
            return Ok(());
        }
        let store = source.store();
        let mut outcome = Ok(());
        for (_, segment) in self.take_stock(&store) {
            if !stopped() && damaged.contains(&segment_name(segment.id)) {
                outcome =
                    outcome.and(self.look_at(&store, segment, metrics, bytes_per_second, stopped));
            }
        }
        if !stopped() && damaged.iter().any(|file| !is_segment(file)) {
            outcome = outcome.and(self.look_at_journals(&store));
        }
        outcome
    }

    /// The segments that are there, and when each was last verified; what is known of others is forgotten.
    fn take_stock(&self, store: &Store) -> Vec<(u64, SegmentStatus)> {
        let Ok(mut known) = self.known.lock() else { return Vec::new() };
        let now_ms = self.env.clock.now_ms();
        let segments = store.segments();
        let there: HashSet<FileId> = segments.iter().map(|s| s.id).collect();
        known.verified_ms.retain(|id, _| there.contains(id));
        let names: HashSet<String> = match known.damaged.is_empty() {
            true => HashSet::new(),
            false => there.iter().map(|id| segment_name(*id)).collect(),
        };
        known.damaged.retain(|file| !is_segment(file) || names.contains(file));
        let with_time = |s: SegmentStatus| (*known.verified_ms.entry(s.id).or_insert(now_ms), s);
        segments.into_iter().map(with_time).collect()
    }

    /// Verifies a segment, and rests for as long as its bytes are to take.
    fn look_at(
        &self,
        store: &Store,
        segment: SegmentStatus,
        metrics: &Metrics,
        bytes_per_second: u64,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        let found = store.verify_segment_only(segment.id, Depth::Content);
        let outcome = found.map(|found| {
            self.note(segment.id, &found);
            metrics.scrubbed.inc_by(found.digested_bytes);
        });
        let share = segment.bytes as f64 / bytes_per_second.max(1) as f64;
        rest(Duration::from_secs_f64(share).saturating_sub(begun.elapsed()), stopped);
        outcome
    }

    fn look_at_journals(&self, store: &Store) -> Result<(), Error> {
        self.note_journals(&store.verify_journals_only(Depth::Content)?);
        Ok(())
    }

    fn note(&self, id: FileId, found: &Verification) {
        let Ok(mut known) = self.known.lock() else { return };
        let name = segment_name(id);
        if found.is_sound() {
            known.verified_ms.insert(id, self.env.clock.now_ms());
            known.damaged.remove(&name);
        } else {
            tracing::error!(file = %name, places = found.damage.len(), "the scrub met damage");
            known.damaged.insert(name);
        }
    }

    fn note_journals(&self, found: &Verification) {
        let Ok(mut known) = self.known.lock() else { return };
        known.damaged.retain(|file| is_segment(file));
        for file in found.damage.iter().filter_map(Error::damaged_file) {
            tracing::error!(%file, "the scrub met damage");
            known.damaged.insert(file);
        }
    }

    /// Writes down when everything was verified. If that fails, a restart verifies more than it must.
    fn save(&self) {
        let Ok(known) = self.known.lock() else { return };
        let mut plain = Vec::with_capacity(known.verified_ms.len() * LINE_BYTES);
        for (id, ms) in &known.verified_ms {
            plain.extend_from_slice(id.as_bytes());
            plain.extend_from_slice(&ms.to_le_bytes());
        }
        drop(known);
        if let Err(e) = self.write(FILE, PLACE, &plain) {
            tracing::warn!(error = %e, "the scrub's progress cannot be kept");
        }
        self.keep_damaged();
    }

    /// Writes down which files are damaged, where that has changed: a restart must not take them for sound. It may block.
    pub(crate) fn keep_damaged(&self) {
        let Ok(mut kept) = self.kept.lock() else { return };
        let damaged: BTreeSet<String> = self.damaged().into_iter().collect();
        // A part of it, written down, would be taken for all of it after a restart.
        if self.is_unknown() || kept.as_ref() == Some(&damaged) {
            return;
        }
        let lines: Vec<&str> = damaged.iter().map(String::as_str).collect();
        match self.write(DAMAGED_FILE, DAMAGED_PLACE, lines.join("\n").as_bytes()) {
            Ok(()) => *kept = Some(damaged),
            Err(e) => tracing::warn!(error = %e, "what is damaged cannot be kept"),
        }
    }

    fn write(&self, name: &str, place: &[u8], plain: &[u8]) -> std::io::Result<()> {
        let sealed = self.sealer.seal(place, plain).map_err(std::io::Error::other)?;
        let path = self.state.join(name);
        let new = path.with_extension("new");
        let file = self.env.disk.open(&new, Mode::Replace)?;
        file.write_at(&sealed, 0)?;
        file.sync()?;
        self.env.disk.rename(&new, &path)?;
        self.env.disk.sync_dir(&self.state)
    }
}

fn segment_name(id: FileId) -> String {
    format!("segment/{id}.rvs")
}

fn is_segment(file: &str) -> bool {
    file.starts_with("segment/")
}

/// Sleeps in short steps.
fn rest(time: Duration, stopped: &dyn Fn() -> bool) {
    let until = Instant::now() + time;
    while !stopped() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

fn read(env: &Env, path: &Path, sealer: &Sealer, place: &[u8]) -> Option<Vec<u8>> {
    let file = env.disk.open(path, Mode::Read).ok()?;
    let bytes = usize::try_from(file.len().ok()?).ok().filter(|n| *n < FILE_BYTES_MAX)?;
    let mut sealed = vec![0; bytes];
    let read = file.read_at(&mut sealed, 0).ok()?;
    sealer.open(place, sealed.get(..read)?).ok()
}

/// When each segment was verified.
fn times(plain: &[u8], now_ms: u64) -> Option<HashMap<FileId, u64>> {
    let line = |line: &[u8]| {
        let id = FileId::from_bytes(*line.first_chunk()?);
        // A time ahead of the clock would never grow old.
        Some((id, u64::from_le_bytes(*line.last_chunk()?).min(now_ms)))
    };
    plain.chunks_exact(LINE_BYTES).map(line).collect()
}

/// Runs rounds until it is stopped; without rounds it only looks again at what is damaged, and at all if that is not known.
pub(crate) fn run(
    scrub: &Scrub,
    source: &Arc<dyn Source>,
    metrics: &Metrics,
    rules: &crate::config::Scrub,
    stopped: &dyn Fn() -> bool,
) {
    let rate = u64::from(rules.mib_per_second) << 20;
    let again = if rate == 0 { AGAIN_BYTES_PER_SECOND } else { rate };
    while !stopped() {
        let mut looked = vec![scrub.look_again(&**source, metrics, again, stopped)];
        if rate > 0 || scrub.is_unknown() {
            looked.push(scrub.round(&**source, metrics, again, stopped));
        }
        for e in looked.into_iter().filter_map(Result::err) {
            tracing::warn!(error = %e, "the scrub could not look at everything");
        }
        rest(Duration::from_secs(rules.pause_seconds.max(1).into()), stopped);
    }
}

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
