//! Dropping a day: it must cost the same whatever the day weighs, and appends must hardly feel it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reelvault::env::Counts;
use reelvault::{Chunk, Durability, Retention, Session, SessionId, Site, SiteId, Store};

use super::{DAY_MS, Watched};
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Place, Result, median, now_ms};

/// Retention class of what is dropped.
const CLASS: u32 = 365;
/// So many that each of the four shards has some, and a day a segment in each.
const SITES: usize = 16;
/// What a store of 1 TiB holds of one day.
const BYTES_A_DAY: u64 = (1 << 40) / 365;
const WRITERS: usize = 4;
/// How long appends are watched, with a drop in it and without.
const WINDOW: Duration = Duration::from_millis(500);

/// A store with a year of days, each a handful of small segments whose files are then made as long as a store of 1 TiB has them.
struct Year {
    store: Store,
    sites: Vec<Site>,
    watched: Watched,
    /// The files of the days not yet dropped and their true lengths, the oldest day last.
    days: Vec<(u64, Vec<(PathBuf, u64)>)>,
    _place: Place,
}

/// What dropping one day took.
struct Dropped {
    ms: f64,
    counts: Counts,
    from: Instant,
    to: Instant,
}

impl Year {
    fn make(bench: &Bench<'_>, name: &str) -> Result<Self> {
        let place = bench.place(name)?;
        let watched = Watched::at(&place)?;
        let store = Store::create(watched.options.clone())?;
        let ids = (0..SITES).map(|n| SiteId::new(format!("site-{n}.example")));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let sites = store.add_sites(ids.into_iter().map(|id| (id, CLASS)))?;
        let folder = place.0.join("store/segment");
        let today = now_ms() / DAY_MS;
        let (mut known, mut days) = (std::collections::HashSet::new(), Vec::new());
        for ago in 0..bench.config.days {
            let day = today - ago;
            let at = day * DAY_MS;
            for site in &sites {
                let events = format!("{{\"timestamp\":{at}}}\n").into_bytes();
                let session = Session::new(SessionId::new(format!("s-{day}"))?);
                let chunk = Chunk::from_events(0, events)?;
                site.append_with(&session, &chunk, Durability::Deferred)?;
            }
            store.archive()?;
            let mut files = Vec::new();
            for entry in
                std::fs::read_dir(&folder).map_err(|e| BenchError::Io(folder.clone(), e))?
            {
                let entry = entry.map_err(|e| BenchError::Io(folder.clone(), e))?;
                if known.insert(entry.file_name()) {
                    let bytes = entry.metadata().map_or(0, |m| m.len());
                    files.push((entry.path(), bytes));
                }
            }
            days.push((day, files));
        }
        let year = Self { store, sites, watched, days, _place: place };
        for (_, files) in &year.days {
            set_len(files, |_| BYTES_A_DAY / files.len().max(1) as u64)?;
        }
        Ok(year)
    }

    /// Drops the oldest day, with its files as long as they are made or as they were.
    fn drop_day(&mut self, long: bool) -> Result<Dropped> {
        let failed = || BenchError::Child("dropping a day");
        let (day, files) = self.days.pop().ok_or_else(failed)?;
        if !long {
            set_len(&files, |bytes| bytes)?;
        }
        // The first day on which it is no longer kept: the class counts from the end of the day.
        let expiry_ms = (day + u64::from(CLASS) + 1) * DAY_MS;
        let before = self.watched.disk.counts();
        let from = Instant::now();
        let expiry = self.store.retention(&Retention::new().now_ms(expiry_ms))?;
        let to = Instant::now();
        let counts = self.watched.disk.counts() - before;
        let there = files.iter().any(|(path, _)| path.exists());
        if there || expiry.segments != files.len() {
            return Err(failed());
        }
        Ok(Dropped { ms: (to - from).as_secs_f64() * 1e3, counts, from, to })
    }
}

fn set_len(files: &[(PathBuf, u64)], bytes: impl Fn(u64) -> u64) -> Result<()> {
    for (path, true_bytes) in files {
        let file = std::fs::OpenOptions::new().write(true).open(path);
        let set = file.and_then(|file| file.set_len(bytes(*true_bytes)));
        set.map_err(|e| BenchError::Io(path.clone(), e))?;
    }
    Ok(())
}

/// Drops large days and small ones in turn.
pub(super) fn drop_days(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let mut year = Year::make(bench, "drop")?;
    let pairs = (bench.config.days / 12).max(3);
    let segments = year.days.first().map_or(0, |(_, files)| files.len());
    // The first pays for what a fresh store has yet to make.
    year.drop_day(false)?;
    let (mut large, mut small) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        for long in [pair % 2 == 0, pair % 2 != 0] {
            let dropped = year.drop_day(long)?;
            if long { &mut large } else { &mut small }.push(dropped);
        }
    }
    let of = |all: &[Dropped], what: fn(&Dropped) -> f64| median(all.iter().map(what).collect());
    let (large_ms, small_ms) = (of(&large, |d| d.ms), of(&small, |d| d.ms));
    let note = format!(
        "of {} days with 1 TiB a year, sparse, each {segments} segments, two mirrors; the limit is a day of a few KiB; median of {pairs} each, in turn; off the path of appends",
        bench.config.days
    );
    report.add("drop a day of 2.8 GiB", large_ms, "ms", Some(small_ms), Goal::None, note);
    let note = "median of the pairs' ratios";
    let ratio = median(large.iter().zip(&small).map(|(l, s)| l.ms / s.ms).collect());
    let goal = Goal::AtMost(1.2, "<= 1.2");
    report.add("drop a large day / a small one", ratio, "", Some(1.0), goal, note);
    let work = |d: &Dropped| (d.counts.writes + d.counts.syncs + d.counts.dir_syncs) as f64;
    let limit = of(&small, work);
    let goal = Goal::AtMost(limit, "<= those of a small day");
    let note = "counted at the disk: writes, syncs, and syncs of directories; key file, keyring, log and manifest included";
    report.add("writes and syncs of a drop", of(&large, work), "", Some(limit), goal, note);
    let bytes = |d: &Dropped| d.counts.written_bytes as f64;
    let limit = of(&small, bytes);
    // The manifest loses entries from drop to drop, so two in turn are never quite the same.
    let goal = Goal::AtMost(limit * 1.01, "<= those of a small day");
    let note = "mostly the manifest, which is written whole";
    report.add("bytes written by a drop", of(&large, bytes), "B", Some(limit), goal, note);
    Ok(())
}

/// One append: when it began and when it was durable.
type Acked = (Instant, Instant);

/// Watches the appends of some writers while days are dropped, and while none are.
pub(super) fn drop_beside_writers(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let mut year = Year::make(bench, "drop-writing")?;
    let drops = (bench.config.days / 12).max(4) as usize;
    let stop = AtomicBool::new(false);
    let (mut quiet, mut busy, mut dropping) = (Vec::new(), Vec::new(), Vec::new());
    let sites: Vec<Site> = year.sites.iter().take(WRITERS).cloned().collect();
    let acked = std::thread::scope(|scope| {
        let writers: Vec<_> = sites
            .iter()
            .enumerate()
            .map(|(n, site)| {
                scope.spawn({
                    let stop = &stop;
                    move || write(bench, site, n, stop)
                })
            })
            .collect();
        let mut watch = || -> Result<()> {
            std::thread::sleep(WINDOW);
            for n in 0..drops {
                for with in [n % 2 == 0, n % 2 != 0] {
                    let from = Instant::now();
                    if with {
                        std::thread::sleep(WINDOW / 10);
                        let dropped = year.drop_day(true)?;
                        dropping.push((dropped.from, dropped.to));
                    }
                    std::thread::sleep(WINDOW.saturating_sub(from.elapsed()));
                    if with { &mut busy } else { &mut quiet }.push((from, Instant::now()));
                }
            }
            Ok(())
        };
        let watched = watch();
        stop.store(true, Relaxed);
        let joined: Vec<_> = writers.into_iter().map(|w| w.join()).collect();
        watched?;
        let mut acked: Vec<Acked> = Vec::new();
        for writer in joined {
            acked.extend(writer.map_err(|_| BenchError::Child("writer"))??);
        }
        Ok::<_, BenchError>(acked)
    })?;
    let (quiet, busy) = (Latencies::new(&acked, &quiet), Latencies::new(&acked, &busy));
    let during = Latencies::new(&acked, &dropping);
    let note = format!(
        "{WRITERS} writers, {} appends in {drops} windows of {} ms with a drop in each, in turn with as many without: the limit; p50 {:.2} ms beside {:.2} ms",
        busy.count(),
        WINDOW.as_millis(),
        busy.at(0.5),
        quiet.at(0.5),
    );
    report.add("ack p99 with a drop", busy.at(0.99), "ms", Some(quiet.at(0.99)), Goal::None, note);
    let ratio = busy.at(0.99) / quiet.at(0.99);
    let note = "of the windows together";
    let goal = Goal::AtMost(1.2, "<= 1.2");
    report.add("ack p99 with a drop / without", ratio, "", Some(1.0), goal, note);
    let note = format!(
        "of those appends alone that were under way while a day was dropped, {}; their p99 {:.2} ms; median of the drops; in {} ms without a drop the slowest takes {:.2} ms",
        during.count(),
        during.at(0.99),
        WINDOW.as_millis(),
        median(quiet.slowest)
    );
    let goal = Goal::AtMost(20.0, "<= 20 ms");
    let slowest = median(during.slowest);
    report.add("slowest append during a drop", slowest, "ms", None, goal, note);
    Ok(())
}

/// Appends until it is told to stop.
fn write(bench: &Bench<'_>, site: &Site, writer: usize, stop: &AtomicBool) -> Result<Vec<Acked>> {
    let recorded = &bench.corpus.sessions;
    let mut acked = Vec::new();
    for n in (writer..).step_by(WRITERS) {
        // Kept so long that no drop of this benchmark comes near them.
        let session = Session::new(SessionId::new(format!("w-{n}"))?).retention_days(2 * CLASS)?;
        for chunk in recorded[n % recorded.len()].at(now_ms()) {
            if stop.load(Relaxed) {
                return Ok(acked);
            }
            let from = Instant::now();
            site.append(&session, &chunk)?;
            acked.push((from, Instant::now()));
        }
    }
    Ok(acked)
}

/// How long appends took, in milliseconds.
struct Latencies {
    sorted: Vec<f64>,
    /// The slowest of each window.
    slowest: Vec<f64>,
}

impl Latencies {
    /// Those of the appends that overlap one of some windows.
    fn new(acked: &[Acked], windows: &[Acked]) -> Self {
        let ms = |a: &Acked| (a.1 - a.0).as_secs_f64() * 1e3;
        let within = |w: &Acked| {
            let (from, to) = *w;
            acked.iter().filter(move |a| a.1 >= from && a.0 <= to).map(ms).collect::<Vec<f64>>()
        };
        let windows: Vec<Vec<f64>> = windows.iter().map(within).collect();
        let slowest = windows.iter().map(|w| w.iter().copied().fold(0.0, f64::max)).collect();
        let mut sorted = windows.concat();
        sorted.sort_by(f64::total_cmp);
        Self { sorted, slowest }
    }

    fn count(&self) -> usize {
        self.sorted.len()
    }

    fn at(&self, share: f64) -> f64 {
        let at = (self.sorted.len() as f64 * share) as usize;
        self.sorted.get(at).copied().unwrap_or(f64::NAN)
    }
}
