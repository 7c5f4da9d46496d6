//! Backups, beside a plain copy of the same store and the tools that people use: restic and borg, where they are installed.
//!
//! Each round does all of them one after the other, and what is compared is compared within a round. The page cache is warm for all,
//! what earlier work left to be written is written before each. Beside the plain copy, the fastest of three in turn counts in each round: a
//! virtual machine takes up to twice the time where it must first be given the memory of the pages that are written.

mod live;
mod tools;

use std::path::Path;

use reelvault::backup::Progress;
use reelvault::env::Env;
use reelvault::{Chunk, Durability, Options, Session, SessionId, SiteId, Store};

use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Place, Result, median, now_ms};

use tools::{Ours, Theirs, Times, Tool};

const ON: &(dyn Fn(Progress) -> bool + Sync) = &|_| true;
/// Sessions of the store that is backed up have so many chunks, of so many bytes.
const CHUNKS: u64 = 8;
const CHUNK_BYTES: usize = 1 << 20;
/// How often a backup and a plain copy are made in turn.
const TRIES: usize = 3;

/// A copy that lacks something would be faster.
pub(crate) fn undamaged(damage: Vec<reelvault::Error>) -> Result<()> {
    damage.into_iter().next().map_or(Ok(()), |e| Err(e.into()))
}

/// All figures of backups.
pub(crate) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("backup")?;
    let options = place.options(Env::real())?.background(false);
    fill(&options, bench.config.backup_bytes)?;
    let rounds = Rounds::run(bench, &place, &options)?;
    rounds.tell(report);
    live::memory(&place, report)?;
    drop(place);
    live::increments(bench, report)?;
    live::follow(bench, report)
}

/// Fills a store with so many sealed bytes, which do not compress much.
fn fill(options: &Options, bytes: u64) -> Result<()> {
    let store = Store::create(options.clone())?;
    let site = store.add_site(SiteId::new("long.example")?, 400)?;
    let (mut mix, mut n) = (1u64, 0);
    while store.stats()?.segment_bytes < bytes {
        for _ in 0..16 {
            let session = Session::new(SessionId::new(format!("s-{n:08}"))?);
            for seq in 0..CHUNKS {
                let at = now_ms() - 60_000 + seq * 1_000;
                let events = noise(&mut mix, at);
                let chunk = Chunk::from_events(seq, events.into_bytes())?;
                site.append_with(&session, &chunk, Durability::Deferred)?;
            }
            n += 1;
        }
        store.archive()?;
    }
    Ok(store.close()?)
}

/// Events of about [`CHUNK_BYTES`] bytes of random hexadecimal digits.
pub(crate) fn noise(mix: &mut u64, at: u64) -> String {
    use std::fmt::Write;
    let mut events = String::with_capacity(CHUNK_BYTES + 4_096);
    while events.len() < CHUNK_BYTES {
        let _ = write!(events, "{{\"type\":3,\"timestamp\":{at},\"data\":\"");
        for _ in 0..200 {
            *mix = mix.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ 0x2545_f491;
            let _ = write!(events, "{mix:016x}");
        }
        events.push_str("\"}\n");
    }
    events
}

#[derive(Default)]
struct Rounds {
    bytes: u64,
    ours: Times,
    restic: Times,
    borg: Times,
}

impl Rounds {
    fn run(bench: &Bench<'_>, place: &Place, options: &Options) -> Result<Self> {
        let bytes = bytes_in(&place.0.join("store"))?;
        let mut rounds = Self { bytes, ..Self::default() };
        for _ in 0..bench.config.rounds.min(3) {
            rounds.ours.round(&Ours { options, place }, place, TRIES)?;
            for (tool, times) in
                [(Tool::Restic, &mut rounds.restic), (Tool::Borg, &mut rounds.borg)]
            {
                if tool.is_there() {
                    times.round(&Theirs { tool, place }, place, 1)?;
                }
            }
        }
        Ok(rounds)
    }

    fn tell(&self, report: &mut Report) {
        let mb = self.bytes as f64 / 1e6;
        let speed = |seconds: &[f64]| mb / median(seconds.to_vec());
        let times = |theirs: &[f64], ours: &[f64]| {
            median(theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours).collect())
        };
        let of = format!(
            "{:.2} GiB, median of {} rounds",
            mb * 1e6 / f64::from(1 << 30),
            self.ours.copy.len()
        );
        let first = times(&self.ours.copy, &self.ours.first);
        let note = format!(
            "{of}; {:.0} MB/s, cp -r and sync {:.0}",
            speed(&self.ours.first),
            speed(&self.ours.copy)
        );
        report.add(
            "first backup, of a plain copy's speed",
            first,
            "",
            Some(1.0),
            Goal::AtLeast(0.8, ">= 0.8"),
            note,
        );
        let unchanged = median(self.ours.unchanged.clone()) * 1e3;
        report.add(
            "backup without a change",
            unchanged,
            "ms",
            None,
            Goal::AtMost(100.0, "<= 100 ms"),
            "keyring and repository opened, snapshot made",
        );
        let restore = times(&self.ours.copy_back, &self.ours.restore);
        let note =
            format!("{:.0} MB/s, every digest checked on the way", speed(&self.ours.restore));
        report.add(
            "restore, of a plain copy's speed",
            restore,
            "",
            Some(1.0),
            Goal::AtLeast(0.8, ">= 0.8"),
            note,
        );
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(2) as f64;
        let check = speed(&self.ours.check) / 1e3 / cores;
        report.add(
            "check of all data, a core",
            check,
            "GB/s",
            None,
            Goal::AtLeast(1.0, ">= 1 GB/s"),
            "SHA-256 of every byte",
        );
        for (name, theirs) in [("restic", &self.restic), ("borg", &self.borg)] {
            if theirs.first.is_empty() {
                continue;
            }
            let note = format!(
                "first {:.1} s to {:.1}; no change {:.2} to {:.3}; check {:.1} to {:.2}; restore {:.1} to {:.1}",
                median(theirs.first.clone()),
                median(self.ours.first.clone()),
                median(theirs.unchanged.clone()),
                median(self.ours.unchanged.clone()),
                median(theirs.check.clone()),
                median(self.ours.check.clone()),
                median(theirs.restore.clone()),
                median(self.ours.restore.clone()),
            );
            let figure = if name == "restic" {
                "first backup, times faster than restic"
            } else {
                "first backup, times faster than borg"
            };
            report.add(
                figure,
                times(&theirs.first, &self.ours.first),
                "",
                None,
                Goal::AtLeast(5.0, ">= 5"),
                note,
            );
        }
    }
}

fn bytes_in(dir: &Path) -> Result<u64> {
    let failed = |e| BenchError::Io(dir.to_owned(), e);
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let meta = entry.metadata().map_err(failed)?;
        bytes += if meta.is_dir() { bytes_in(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}
