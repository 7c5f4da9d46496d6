//! The integrity scrub: every segment and journal is read and verified, at a bounded rate, over and over, those first whose
//! last verification is longest ago. When each was verified is kept in a sealed file, so that a restart forgets nothing.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reelvault::env::{Env, Mode};
use reelvault::{Depth, Error, FileId, Sealer, Verification};

use crate::source::Source;

use super::metrics::Metrics;

/// For what the file is sealed.
pub(crate) const PURPOSE: &str = "replay service scrub";
const PLACE: &[u8] = b"verified";
/// Bytes of a segment's line in the file: its id and a time.
const LINE_BYTES: usize = 24;
/// The file is written after this many segments at the latest.
const SAVE_EVERY: usize = 64;

/// What the scrub knows.
pub(crate) struct Scrub {
    env: Env,
    file: PathBuf,
    sealer: Sealer,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// When each segment was last found sound, or first seen, Unix milliseconds.
    verified_ms: HashMap<FileId, u64>,
    /// Files in which damage was met, by the scrub or by whoever read there.
    damaged: BTreeSet<String>,
    /// How much of the present round is done.
    done: usize,
    of: usize,
}

impl Scrub {
    pub(crate) fn open(env: &Env, state: &Path, sealer: Sealer) -> Self {
        let file = state.join("scrub");
        let verified_ms = read(env, &file, &sealer).unwrap_or_default();
        let known = Known { verified_ms, ..Known::default() };
        Self { env: env.clone(), file, sealer, known: Mutex::new(known) }
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

    /// How long ago the byte was verified whose verification is longest ago, and the share of the round that is done.
    pub(crate) fn figures(&self) -> (Option<u64>, f64) {
        let Ok(known) = self.known.lock() else { return (None, 0.0) };
        let oldest = known.verified_ms.values().min();
        let age = oldest.map(|ms| self.env.clock.now_ms().saturating_sub(*ms));
        let share = if known.of == 0 { 1.0 } else { known.done as f64 / known.of as f64 };
        (age, share)
    }

    /// One round over everything, at most `bytes_per_second` on average. It blocks; `stopped` is asked between two steps.
    pub(crate) fn round(
        &self,
        source: &dyn Source,
        metrics: &Metrics,
        bytes_per_second: u64,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let store = source.store();
        let now_ms = self.env.clock.now_ms();
        let mut due: Vec<(u64, reelvault::SegmentStatus)> = Vec::new();
        if let Ok(mut known) = self.known.lock() {
            let segments = store.segments();
            let there: std::collections::HashSet<FileId> = segments.iter().map(|s| s.id).collect();
            known.verified_ms.retain(|id, _| there.contains(id));
            let gone = |file: &String| {
                file.starts_with("segment/")
                    && !there.iter().any(|id| file.contains(&id.to_string()))
            };
            known.damaged.retain(|file| !gone(file));
            due.extend(
                segments.into_iter().map(|s| (*known.verified_ms.entry(s.id).or_insert(now_ms), s)),
            );
            (known.done, known.of) = (0, due.len());
        }
        due.sort_by_key(|(verified, segment)| (*verified, *segment.id.as_bytes()));
        for (n, (_, segment)) in due.into_iter().enumerate() {
            if stopped() {
                break;
            }
            let begun = Instant::now();
            let found = store.verify_segment_only(segment.id, Depth::Content)?;
            self.note(segment.id, &found);
            metrics.scrubbed.inc_by(found.digested_bytes);
            if n % SAVE_EVERY == SAVE_EVERY - 1 {
                self.save();
            }
            let share = segment.bytes as f64 / bytes_per_second.max(1) as f64;
            rest(Duration::from_secs_f64(share).saturating_sub(begun.elapsed()), stopped);
        }
        if !stopped() {
            self.note_journals(&store.verify_journals_only(Depth::Content)?);
        }
        self.save();
        Ok(())
    }

    fn note(&self, id: FileId, found: &Verification) {
        let Ok(mut known) = self.known.lock() else { return };
        known.done += 1;
        let name = format!("segment/{id}.rvs");
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
        known.damaged.retain(|file| file.starts_with("segment/"));
        for error in &found.damage {
            if let Error::Corrupt(c) = error {
                tracing::error!(file = %c.file, "the scrub met damage");
                known.damaged.insert(c.file.clone());
            }
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
        let written = || -> std::io::Result<()> {
            let sealed = self.sealer.seal(PLACE, &plain).map_err(std::io::Error::other)?;
            let new = self.file.with_extension("new");
            let file = self.env.disk.open(&new, Mode::Replace)?;
            file.write_at(&sealed, 0)?;
            file.sync()?;
            self.env.disk.rename(&new, &self.file)
        };
        if let Err(e) = written() {
            tracing::warn!(error = %e, "the scrub's progress cannot be kept");
        }
    }
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

fn read(env: &Env, path: &Path, sealer: &Sealer) -> Option<HashMap<FileId, u64>> {
    let file = env.disk.open(path, Mode::Read).ok()?;
    let mut sealed = vec![0; usize::try_from(file.len().ok()?).ok().filter(|n| *n < 256 << 20)?];
    let read = file.read_at(&mut sealed, 0).ok()?;
    let plain = sealer.open(PLACE, sealed.get(..read)?).ok()?;
    let now_ms = env.clock.now_ms();
    let line = |line: &[u8]| {
        let id = FileId::from_bytes(*line.first_chunk()?);
        // A time ahead of the clock would never grow old.
        Some((id, u64::from_le_bytes(*line.last_chunk()?).min(now_ms)))
    };
    plain.chunks_exact(LINE_BYTES).map(line).collect()
}

/// Runs rounds until it is stopped.
pub(crate) fn run(
    scrub: &Scrub,
    source: &Arc<dyn Source>,
    metrics: &Metrics,
    rules: &crate::config::Scrub,
    stopped: &dyn Fn() -> bool,
) {
    let rate = u64::from(rules.mib_per_second) << 20;
    if rate == 0 {
        return;
    }
    while !stopped() {
        if let Err(e) = scrub.round(&**source, metrics, rate, stopped) {
            tracing::warn!(error = %e, "the scrub could not go on");
        }
        rest(Duration::from_secs(rules.pause_seconds.max(1).into()), stopped);
    }
}
