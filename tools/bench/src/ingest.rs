//! Durable ingest by concurrent sessions, beside the bare loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use reelvault::env::{Counted, Counts, Env, RealDisk};
use reelvault::{Site, Store};

use crate::corpus::session_name;
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Place, Result, limit, median, now_ms};

const SHARDS: u16 = 4;
const LEVEL: i32 = 1;
/// Copies of the corpus that are ingested in one measurement.
const COPIES: u64 = 4;

struct Run {
    seconds: f64,
    counts: Counts,
    chunks: u64,
    groups: u64,
    latencies_us: Vec<u64>,
}

pub(crate) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("ingest")?;
    let raw_mb = (COPIES * bench.corpus.raw_bytes()) as f64 / 1e6;
    let (mut ratios, mut rates, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    let (mut syncs, mut group, mut p50, mut p99) = (0.0f64, 0.0f64, 0, 0);
    for _ in 0..bench.config.rounds {
        let run = engine(bench, &place, 64)?;
        place.clear();
        group = run.chunks as f64 / run.groups.max(1) as f64;
        syncs = syncs.max(run.counts.syncs as f64 / run.chunks as f64);
        let bare = bare(bench, &place, 64, group.round().max(1.0) as usize)?;
        place.clear();
        rates.push(raw_mb / run.seconds);
        limits.push(raw_mb / bare);
        ratios.push(bare / run.seconds);
        let mut sorted = run.latencies_us;
        sorted.sort_unstable();
        let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied();
        (p50, p99) = (at(0.5).unwrap_or(0), at(0.99).unwrap_or(0));
    }
    let note = format!(
        "64 concurrent sessions; the limit is a bare loop of 64 threads in groups of {group:.1}; ack p50 {p50} µs, p99 {p99} µs"
    );
    let (rate, limit) = (median(rates), median(limits));
    report.add("durable ingest", rate, "MB/s raw", Some(limit), Goal::None, note);
    report.add(
        "durable ingest / limit",
        median(ratios),
        "",
        Some(1.0),
        Goal::AtLeast(0.85, ">= 0.85"),
        "median of the rounds' ratios",
    );
    report.add(
        "syncs an acknowledged chunk",
        syncs,
        "",
        None,
        Goal::AtMost(0.1, "<= 0.1"),
        "counted at the disk, everything included; the worst round",
    );
    scaling(bench, report, &place)
}

/// One writer and two: with two cores, two writers' worth of compression.
fn scaling(bench: &Bench<'_>, report: &mut Report, place: &Place) -> Result<()> {
    let (mut ratios, mut bare_ratios) = (Vec::new(), Vec::new());
    for _ in 0..bench.config.rounds {
        let one = engine(bench, place, 1)?.seconds;
        place.clear();
        let two = engine(bench, place, 2)?.seconds;
        place.clear();
        let bare_one = bare(bench, place, 1, 1)?;
        place.clear();
        let bare_two = bare(bench, place, 2, 1)?;
        place.clear();
        ratios.push(one / two);
        bare_ratios.push(bare_one / bare_two);
    }
    let note = "ingest by two writers against one; the limit is the same of the bare loop";
    let limit = Some(median(bare_ratios));
    report.add("ingest, two writers / one", median(ratios), "", limit, Goal::None, note);
    Ok(())
}

fn engine(bench: &Bench<'_>, place: &Place, threads: usize) -> Result<Run> {
    let disk = Arc::new(Counted::new(Arc::new(RealDisk)));
    let env = Env { disk: Arc::clone(&disk) as _, ..Env::real() };
    // The archiver is measured apart: here it would only take one of the processors.
    let options = place.options(env)?.shards(SHARDS).append_level(LEVEL).background(false);
    let store = Store::create(options)?;
    let sites = bench.sites(&store)?;
    warm_up(bench, &sites)?;
    let before = disk.counts();
    let groups_before = store.stats()?.groups;
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let latencies = std::thread::scope(|scope| {
        let writers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| writer(bench, &sites, &next))).collect();
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.join().map_err(|_| BenchError::Child("writer"))??);
        }
        Ok::<_, BenchError>(all)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let run = Run {
        seconds,
        counts: disk.counts() - before,
        chunks: latencies.len() as u64,
        groups: store.stats()?.groups - groups_before,
        latencies_us: latencies,
    };
    drop(store);
    Ok(run)
}

/// The first chunk of a shard makes its journal; that is not what is measured.
fn warm_up(bench: &Bench<'_>, sites: &[Site]) -> Result<()> {
    for (n, session) in bench.corpus.sessions.iter().enumerate().take(64) {
        if let Some(chunk) = session.at(now_ms()).next() {
            sites[session.site].append(&session_name(n, 99_999_999)?, &chunk)?;
        }
    }
    Ok(())
}

fn writer(bench: &Bench<'_>, sites: &[Site], next: &AtomicUsize) -> Result<Vec<u64>> {
    let sessions = &bench.corpus.sessions;
    let start_ms = now_ms();
    let mut latencies = Vec::new();
    loop {
        let n = next.fetch_add(1, Relaxed);
        let (copy, recorded) = (n / sessions.len(), n % sessions.len());
        if copy as u64 >= COPIES {
            return Ok(latencies);
        }
        let session = &sessions[recorded];
        let name = session_name(recorded, copy as u64)?;
        for chunk in session.at(start_ms) {
            let start = Instant::now();
            sites[session.site].append(&name, &chunk)?;
            latencies.push(start.elapsed().as_micros() as u64);
        }
    }
}

fn bare(bench: &Bench<'_>, place: &Place, threads: usize, group: usize) -> Result<f64> {
    let chunks = bench.corpus.sessions.iter().flat_map(|s| {
        s.chunks.iter().map(|c| (s.site, &c.events[..]))
    });
    let once: Vec<_> = chunks.collect();
    let work: Vec<_> = (0..COPIES).flat_map(|_| once.iter().copied()).collect();
    let files = bench.corpus.sites.len().min(usize::from(SHARDS));
    limit::ingest(&place.0.join("limit"), &work, threads, files, group, LEVEL)
}
