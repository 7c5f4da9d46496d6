//! A backup's memory, what an increment costs, and a backup that goes on while a store is written.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reelvault::backup::{Backup, DirPlace, How, Repository};
use reelvault::env::{Counted, Counts, Env, RealDisk};
use reelvault::{Chunk, Session, SessionId, SiteId, Store};

use super::{ON, noise, undamaged};
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Place, Result, machine, now_ms, open};

/// How often it is looked at the memory of a backup's process.
const LOOK: Duration = Duration::from_millis(2);
/// The rate and the length of the recording that is followed.
const FOLLOWED_PER_SECOND: u64 = 1_000;
const FOLLOWED_SECONDS: u64 = 12;
const FOLLOW_INTERVAL: Duration = Duration::from_secs(2);

/// The highest resident size of a process that makes a first backup.
pub(super) fn memory(place: &Place, report: &mut Report) -> Result<()> {
    let exe = std::env::current_exe().map_err(|e| BenchError::Io("this program".into(), e))?;
    let failed = |e| BenchError::Io("this program".into(), e);
    let mut child = Command::new(exe)
        .arg("--store")
        .arg(place.0.join("store"))
        .arg("--keyring")
        .arg(place.0.join("keyring"))
        .arg("--key-file")
        .arg(place.0.join("key"))
        .args(["backup", "--repo"])
        .arg(place.0.join("repository"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut peak_kib = 0;
    while child.try_wait().map_err(failed)?.is_none() {
        peak_kib = peak_kib.max(machine::status_kib_of(child.id(), "VmHWM"));
        std::thread::sleep(LOOK);
    }
    let goal = Goal::AtMost(64.0, "<= 64 MiB");
    let note = "peak resident of the whole command in a first backup";
    report.add("memory of a backup", peak_kib as f64 / 1024.0, "MiB", None, goal, note);
    Ok(())
}

/// What one new segment costs in a small store and in one of very many segments, counted.
pub(super) fn increments(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let counted = |segments: u64| -> Result<(Counts, f64)> {
        let place = bench.place("increment")?;
        let options = place.options(Env::real())?.background(false);
        open::store_of_segments(&options, segments)?;
        let disk = Arc::new(Counted::new(Arc::new(RealDisk)));
        let env = Env { disk: Arc::clone(&disk) as _, ..Env::real() };
        let at = Arc::new(DirPlace::new(&env, place.0.join("repository")));
        let repository = Repository::open_or_make(at, options.clone())?;
        let mut backup = Backup::new(&repository, place.0.join("store"))?;
        undamaged(backup.run(&How::default(), ON)?.damage)?;
        let store = Store::open(options)?;
        open::one_more_segment(&store)?;
        let (before, begun) = (disk.counts(), Instant::now());
        undamaged(backup.run(&How::default(), ON)?.damage)?;
        Ok((disk.counts() - before, begun.elapsed().as_secs_f64() * 1e3))
    };
    let (small, small_ms) = counted(10)?;
    let (large, large_ms) = counted(bench.config.segments)?;
    let ratio = large.written_bytes as f64 / small.written_bytes as f64;
    let note = format!(
        "{} segments against 10: {} and {} bytes written, {} and {} syncs, {large_ms:.1} and {small_ms:.1} ms",
        bench.config.segments,
        large.written_bytes,
        small.written_bytes,
        large.syncs + large.dir_syncs,
        small.syncs + small.dir_syncs,
    );
    report.add(
        "bytes of an increment, many segments to few",
        ratio,
        "",
        Some(1.0),
        Goal::AtMost(1.2, "<= 1.2"),
        note,
    );
    Ok(())
}

/// How old the oldest acknowledged chunk is that no snapshot has, while a store is recorded to and followed.
pub(super) fn follow(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("follow")?;
    let options = place.options(Env::real())?;
    let store = Store::create(options.clone())?;
    let site = store.add_site(SiteId::new("live.example")?, 30)?;
    let at = Arc::new(DirPlace::new(&Env::real(), place.0.join("repository")));
    let repository = Repository::open_or_make(at, options)?;
    let mut backup = Backup::new(&repository, place.0.join("store"))?;
    let (over, written) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
    let record = || -> Result<()> {
        let (begun, mut mix) = (Instant::now(), 7u64);
        let events: Vec<String> =
            (0..8).map(|_| noise(&mut mix, now_ms())[..3_220].to_owned() + "\"}\n").collect();
        for n in 0..FOLLOWED_PER_SECOND * FOLLOWED_SECONDS {
            let due = Duration::from_micros(n * 1_000_000 / FOLLOWED_PER_SECOND);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            let session = Session::new(SessionId::new(format!("s-{}", n % 500))?);
            let chunk = Chunk::from_events(n / 500, events[n as usize % events.len()].as_bytes())?;
            site.append(&session, &chunk)?;
            written.fetch_add(1, Relaxed);
        }
        Ok(())
    };
    let mut exposed = Vec::new();
    let outcome = std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| {
            let outcome = record();
            over.store(true, Relaxed);
            outcome
        });
        let mut looked = Instant::now();
        while !over.load(Relaxed) {
            let begun = Instant::now();
            undamaged(backup.follow(&How::default(), ON)?.damage)?;
            // Whatever was acknowledged right after the look before was in no snapshot until now.
            exposed.push(looked.elapsed().as_secs_f64());
            looked = begun;
            std::thread::sleep(FOLLOW_INTERVAL.saturating_sub(begun.elapsed()));
        }
        writer.join().unwrap_or(Err(BenchError::Child("writer")))
    });
    outcome?;
    let worst = exposed.iter().copied().fold(0.0, f64::max);
    let note = format!(
        "{} chunks of 3 KB in {FOLLOWED_SECONDS} s, a look every {} s; the longest of {} steps",
        written.load(Relaxed),
        FOLLOW_INTERVAL.as_secs(),
        exposed.len(),
    );
    report.add(
        "exposure of a continuous backup",
        worst,
        "s",
        None,
        Goal::AtMost(5.0, "<= 5 s"),
        note,
    );
    Ok(())
}
