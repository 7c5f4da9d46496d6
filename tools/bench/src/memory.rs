//! Memory: a process of its own ingests much while its archiver works, and tells its highest resident size.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use reelvault::env::Env;
use reelvault::{SiteId, Store};

use crate::corpus::{Corpus, session_name};
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Result, machine, now_ms};

pub(crate) const CHILD: &str = "ingest-much";
/// Writers of the process that is watched.
const WRITERS: usize = 4;

pub(crate) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("memory")?;
    let output = bench.run_child(CHILD, &place)?;
    let told = String::from_utf8_lossy(&output.stdout);
    let mut numbers = told.split_whitespace().filter_map(|n| n.parse::<f64>().ok());
    let (Some(kib), Some(base_kib), Some(sessions), Some(seconds), Some(written)) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        return Err(BenchError::Child(CHILD));
    };
    let engine_mib = (kib - base_kib) / 1024.0;
    let allowed = 64.0 + sessions * 100.0 / f64::from(1 << 20);
    let raw = bench.config.memory_raw_bytes as f64;
    let note = format!(
        "{:.1} GiB raw in {sessions} sessions by {WRITERS} writers with archiving, {:.0} MB/s; peak resident less the {:.0} MiB of the corpus and the writers before the store was opened; allowed {allowed:.1}",
        raw / f64::from(1 << 30),
        raw / 1e6 / seconds,
        base_kib / 1024.0,
    );
    let goal = Goal::AtMost(allowed, "<= 64 MiB + 100 B a session");
    report.add("memory while ingesting", engine_mib, "MiB", Some(allowed), goal, note);
    let note = "journal and segments, against the bytes of frames";
    report.add("bytes written a stored byte", written, "", None, Goal::None, note);
    Ok(())
}

/// Ingests, and prints the peak and the base in KiB, sessions, seconds, and bytes written a frame byte.
pub(crate) fn child(bench: &Bench<'_>) -> Result<()> {
    let corpus = Corpus::load(&bench.config.corpus)?;
    let place = std::mem::ManuallyDrop::new(crate::Place(bench.config.dir.clone()));
    let disk = std::sync::Arc::new(reelvault::env::Counted::new(std::sync::Arc::new(
        reelvault::env::RealDisk,
    )));
    let env = Env { disk: std::sync::Arc::clone(&disk) as _, ..Env::real() };
    reset_peak();
    let base = machine::status_kib("VmRSS");
    let store = Store::create(place.options(env)?.backlog_bytes(256 << 20))?;
    let ids = corpus.sites.iter().map(SiteId::new).collect::<Result<Vec<_>, _>>()?;
    let sites = store.add_sites(ids.into_iter().map(|id| (id, 30)))?;
    let (next, raw) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = std::time::Instant::now();
    let writer = || -> Result<()> {
        while raw.load(Relaxed) < bench.config.memory_raw_bytes {
            let n = next.fetch_add(1, Relaxed);
            let (copy, recorded) =
                (n / corpus.sessions.len() as u64, n as usize % corpus.sessions.len());
            let session = &corpus.sessions[recorded];
            let name = session_name(recorded, copy)?;
            for chunk in session.at(now_ms()) {
                sites[session.site].append(&name, &chunk)?;
                raw.fetch_add(chunk.events.len() as u64, Relaxed);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(writer)).collect();
        writers.into_iter().try_for_each(|w| match w.join() {
            Ok(outcome) => outcome,
            Err(_) => Err(BenchError::Child("writer")),
        })
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let frames = store.stats()?.frame_bytes;
    store.archive()?;
    let peak = machine::status_kib("VmHWM");
    let written = disk.counts().written_bytes as f64 / frames.max(1) as f64;
    println!("{peak} {base} {} {seconds} {written}", next.load(Relaxed));
    Ok(())
}

/// Makes the kernel forget the peak so far, that of loading the corpus.
fn reset_peak() {
    let path = PathBuf::from("/proc/self/clear_refs");
    // Where this is not allowed the peak is an overestimate, which is safe.
    let _ = std::fs::write(path, "5");
}
