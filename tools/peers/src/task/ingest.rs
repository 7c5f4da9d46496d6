//! Recording: many sessions at once, each chunk durable before the next of its session is sent.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use reelvault_bench::limit;

use super::Work;
use crate::engine::Engine;
use crate::measure::{self, Figures, Latencies, timed};
use crate::workload::Planned;
use crate::{PeerError, Result};

/// Files of the bare loop, as reelvault has shards.
const LIMIT_FILES: usize = 4;
/// The level of the bare loop: that of reelvault's appends.
const LIMIT_LEVEL: i32 = 1;

pub(super) fn run(work: &Work<'_>) -> Result<Figures> {
    let mut figures = Figures::new();
    measure::forget_peak();
    let (base_kib, _) = measure::memory_kib();
    let engine = work.peer.open(&work.setup())?;
    let sessions = AtomicU64::new(0);
    // A service's store is not new: whatever a peer makes once is there.
    let before_bytes = work.amount.before_bytes;
    if before_bytes > 0 {
        record_until(work, &*engine, &sessions, before_bytes)?;
        engine.settle()?;
    }
    let (written, cpu) = (measure::written_bytes(&work.amount.dir)?, measure::cpu_seconds());
    let record = || record_until(work, &*engine, &sessions, work.amount.raw_bytes);
    let (took, Recorded { latencies, raw_bytes, acknowledged_bytes }) = timed(record)?;
    let (_, peak_kib) = measure::memory_kib();
    let seconds = took.as_secs_f64();
    figures.insert("chunks".to_owned(), latencies.len() as f64);
    figures.insert("chunks/s".to_owned(), latencies.len() as f64 / seconds);
    figures.insert("raw MB/s".to_owned(), raw_bytes as f64 / 1e6 / seconds);
    latencies.tell("ack", &mut figures);
    figures.insert("memory MiB".to_owned(), peak_kib.saturating_sub(base_kib) as f64 / 1024.0);
    let (settling, ()) = timed(|| engine.settle())?;
    figures.insert("settling s".to_owned(), settling.as_secs_f64());
    let settled = raw_bytes as f64 / 1e6 / (seconds + settling.as_secs_f64());
    figures.insert("raw MB/s, with settling".to_owned(), settled);
    engine.close()?;
    let stored = measure::disk_bytes(&work.amount.dir)? as f64 / (before_bytes + raw_bytes) as f64;
    figures.insert("stored / raw".to_owned(), stored);
    let written = measure::written_bytes(&work.amount.dir)? - written;
    figures.insert("written / raw".to_owned(), written / raw_bytes as f64);
    figures.insert("written / acknowledged".to_owned(), written / acknowledged_bytes as f64);
    let cpu = measure::cpu_seconds() - cpu;
    figures.insert("cpu s / raw GB".to_owned(), cpu / (raw_bytes as f64 / 1e9));
    Ok(figures)
}

/// What was recorded.
struct Recorded {
    latencies: Latencies,
    raw_bytes: u64,
    /// As the peer was given it.
    acknowledged_bytes: u64,
}

/// Records one session after the other, so many at once, until all together have so many bytes: none of them ends before the others, so
/// that as many are recorded at the end as at the beginning.
fn record_until(
    work: &Work<'_>,
    engine: &dyn Engine,
    next: &AtomicU64,
    raw_bytes: u64,
) -> Result<Recorded> {
    let (done, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
    let latencies = all_at_once(work, || {
        let mut latencies = Latencies::default();
        loop {
            let session = work.workload.session(next.fetch_add(1, Relaxed), work.today - 1);
            for row in work.workload.rows(&session) {
                if done.load(Relaxed) >= raw_bytes {
                    return Ok(latencies);
                }
                let start = Instant::now();
                let bytes = engine.append(&row)?;
                latencies.add(start.elapsed());
                acknowledged.fetch_add(bytes, Relaxed);
                done.fetch_add(row.events.len() as u64, Relaxed);
            }
        }
    })?;
    let (raw_bytes, acknowledged_bytes) = (done.into_inner(), acknowledged.into_inner());
    Ok(Recorded { latencies, raw_bytes, acknowledged_bytes })
}

/// Records these sessions, so many at once; how long each append took.
pub(super) fn record(
    work: &Work<'_>,
    engine: &dyn Engine,
    planned: &[Planned],
) -> Result<Latencies> {
    let next = AtomicUsize::new(0);
    all_at_once(work, || {
        let mut latencies = Latencies::default();
        while let Some(session) = planned.get(next.fetch_add(1, Relaxed)) {
            for row in work.workload.rows(session) {
                let start = Instant::now();
                engine.append(&row)?;
                latencies.add(start.elapsed());
            }
        }
        Ok(latencies)
    })
}

/// The same in so many threads; all latencies together.
fn all_at_once(
    work: &Work<'_>,
    recorder: impl Fn() -> Result<Latencies> + Sync,
) -> Result<Latencies> {
    std::thread::scope(|scope| {
        let recorders: Vec<_> = (0..work.amount.threads).map(|_| scope.spawn(&recorder)).collect();
        let mut all = Latencies::default();
        for recorder in recorders {
            all.merge(recorder.join().map_err(|_| PeerError::Harness("a recorder died"))??);
        }
        Ok(all)
    })
}

/// The same chunks in a bare loop.
pub(super) fn limit(work: &Work<'_>) -> Result<Figures> {
    let planned = work.sessions();
    let rows: Vec<_> = planned.iter().flat_map(|session| work.workload.rows(session)).collect();
    let chunks: Vec<_> = rows.iter().map(|row| (row.of.site as usize, row.events)).collect();
    let threads = work.amount.threads;
    let group = (threads / LIMIT_FILES).max(1);
    let seconds =
        limit::ingest(&work.amount.dir, &chunks, threads, LIMIT_FILES, group, LIMIT_LEVEL)?;
    let raw_bytes: usize = chunks.iter().map(|(_, events)| events.len()).sum();
    let mut figures = Figures::new();
    figures.insert("chunks/s".to_owned(), chunks.len() as f64 / seconds);
    figures.insert("raw MB/s".to_owned(), raw_bytes as f64 / 1e6 / seconds);
    Ok(figures)
}
