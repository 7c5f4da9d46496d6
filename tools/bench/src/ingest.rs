//! Durable ingest by concurrent sessions, beside the bare loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use reelvault::env::{Counted, Counts, Env, RealDisk};
use reelvault::{Site, Store};

use crate::corpus::session_name;
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Place, Result, limit, median, now_ms};

/// So many that the three sites seldom share one: the bare loop has a file for each of them.
const SHARDS: u16 = 64;
const LEVEL: i32 = 1;
/// How many times the corpus' bytes are ingested in one measurement.
const COPIES: u64 = 8;

/// What one writer did: the chunks it appended, in its order, and how long each took.
#[derive(Default)]
struct Written {
    /// Place in the order of all writers' chunks, session of the corpus, and chunk of it.
    chunks: Vec<(u64, u32, u32)>,
    latencies_us: Vec<u64>,
}

struct Run {
    seconds: f64,
    raw_bytes: u64,
    counts: Counts,
    groups: u64,
    written: Written,
}

pub(crate) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("ingest")?;
    let (mut ratios, mut rates, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    let (mut syncs, mut group, mut p50, mut p99) = (0.0f64, 0.0f64, 0, 0);
    // The first run of a process pays for memory that all later ones find, those of the bare loop too.
    engine(bench, &place, 64)?;
    place.clear();
    for _ in 0..bench.config.rounds {
        let run = engine(bench, &place, 64)?;
        place.clear();
        let chunks = run.written.chunks.len() as f64;
        group = chunks / run.groups.max(1) as f64;
        syncs = syncs.max(run.counts.syncs as f64 / chunks);
        let bare = bare(bench, &place, &run, 64, group.round().max(1.0) as usize)?;
        place.clear();
        let raw_mb = run.raw_bytes as f64 / 1e6;
        rates.push(raw_mb / run.seconds);
        limits.push(raw_mb / bare);
        ratios.push(bare / run.seconds);
        let mut sorted = run.written.latencies_us;
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
        let one = engine(bench, place, 1)?;
        place.clear();
        let two = engine(bench, place, 2)?;
        place.clear();
        let bare_one = bare(bench, place, &one, 1, 1)?;
        place.clear();
        let bare_two = bare(bench, place, &one, 2, 1)?;
        place.clear();
        let rate = |run: &Run| run.raw_bytes as f64 / run.seconds;
        ratios.push(rate(&two) / rate(&one));
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
    let progress = Progress::default();
    let start = Instant::now();
    let mut written = Written::default();
    std::thread::scope(|scope| {
        let writers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| writer(bench, &sites, &progress))).collect();
        for writer in writers {
            let one = writer.join().map_err(|_| BenchError::Child("writer"))??;
            written.chunks.extend(one.chunks);
            written.latencies_us.extend(one.latencies_us);
        }
        Ok::<_, BenchError>(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    written.chunks.sort_unstable();
    let run = Run {
        seconds,
        raw_bytes: progress.raw_bytes.into_inner(),
        counts: disk.counts() - before,
        groups: store.stats()?.groups - groups_before,
        written,
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

/// What the writers have done together.
#[derive(Default)]
struct Progress {
    sessions: AtomicUsize,
    raw_bytes: AtomicU64,
}

/// Records one session after another until all writers together have done enough: none of them ends before the
/// others, so that as many sessions are being recorded at the end as at the beginning.
fn writer(bench: &Bench<'_>, sites: &[Site], progress: &Progress) -> Result<Written> {
    let sessions = &bench.corpus.sessions;
    let enough = COPIES * bench.corpus.raw_bytes();
    let start_ms = now_ms();
    let mut written = Written::default();
    loop {
        let n = progress.sessions.fetch_add(1, Relaxed);
        let (copy, recorded) = (n / sessions.len(), n % sessions.len());
        let session = &sessions[recorded];
        let name = session_name(recorded, copy as u64)?;
        for (at, chunk) in session.at(start_ms).enumerate() {
            let start = Instant::now();
            sites[session.site].append(&name, &chunk)?;
            written.latencies_us.push(start.elapsed().as_micros() as u64);
            let bytes = chunk.events.len() as u64;
            let before = progress.raw_bytes.fetch_add(bytes, Relaxed);
            written.chunks.push((before, recorded as u32, at as u32));
            if before + bytes >= enough {
                return Ok(written);
            }
        }
    }
}

/// The chunks of a run, in the same order, in a bare loop. Returns seconds.
fn bare(bench: &Bench<'_>, place: &Place, run: &Run, threads: usize, group: usize) -> Result<f64> {
    let work = run.written.chunks.iter().map(|&(_, session, chunk)| {
        let session = &bench.corpus.sessions[session as usize];
        (session.site, &session.chunks[chunk as usize].events[..])
    });
    let work: Vec<_> = work.collect();
    let files = bench.corpus.sites.len();
    limit::ingest(&place.0.join("limit"), &work, threads, files, group, LEVEL)
}
