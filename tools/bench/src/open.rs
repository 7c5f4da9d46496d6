//! Opening: a store of many segments, and one whose writer was killed.

use std::time::Instant;

use reelvault::env::Env;
use reelvault::{Chunk, Durability, Options, Session, SessionId, Site, SiteId, Store};

use crate::corpus::{Corpus, session_name};
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Result, median, now_ms};

/// Opens a store of many segments: one for each of many retention classes and days.
pub(crate) fn segments(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("open")?;
    let options = place.options(Env::real())?.background(false);
    let segments = store_of_segments(&options, bench.config.segments)?;
    let mut times = Vec::new();
    for _ in 0..11 {
        let start = Instant::now();
        let store = Store::open(options.clone())?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        drop(store);
    }
    let note = format!("{segments} segments; median of 11, warm");
    let goal = Goal::AtMost(300.0, "<= 300 ms");
    report.add("open a store of many segments", median(times), "ms", None, goal, note);
    Ok(())
}

/// Makes a store of so many segments of one small session each; how many there are.
pub(crate) fn store_of_segments(options: &Options, count: u64) -> Result<u64> {
    let store = Store::create(options.clone())?;
    let site = store.add_site(SiteId::new("long.example")?, 400)?;
    let now_ms = now_ms();
    for n in 0..count {
        let (day, class) = (n % 100, 200 + n / 100);
        append_one(&site, &format!("s-{n}"), now_ms - day * 86_400_000, class as u32)?;
    }
    store.archive()?;
    let segments = store.stats()?.segments;
    store.close()?;
    Ok(segments)
}

/// Adds one more segment to such a store.
pub(crate) fn one_more_segment(store: &Store) -> Result<()> {
    let site = store.site(&SiteId::new("long.example")?)?;
    append_one(&site, "one-more", now_ms(), 199)?;
    Ok(store.archive()?)
}

fn append_one(site: &Site, name: &str, at: u64, class: u32) -> Result<()> {
    let chunk = Chunk::from_events(0, format!("{{\"timestamp\":{at}}}\n").into_bytes())?;
    let session = Session::new(SessionId::new(name)?).retention_days(class)?;
    site.append_with(&session, &chunk, Durability::Deferred)?;
    Ok(())
}

pub(crate) const CHILD: &str = "fill-and-die";

/// Opens a store after its writer was killed with much in its journals.
pub(crate) fn after_kill(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("kill")?;
    let output = bench.run_child(CHILD, &place)?;
    if output.status.code().is_some() {
        return Err(BenchError::Child(CHILD));
    }
    let options = place.options(Env::real())?.background(false);
    let (mut times, mut bytes, mut chunks) = (Vec::new(), 0, 0);
    for _ in 0..5 {
        let start = Instant::now();
        let store = Store::open(options.clone())?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        let stats = store.stats()?;
        (bytes, chunks) = (stats.backlog_bytes, stats.live_chunks);
        drop(store);
    }
    let note = format!(
        "{:.0} MiB of journals with {chunks} chunks, the writer killed; median of 5, warm",
        bytes as f64 / f64::from(1 << 20)
    );
    let limit = read_ms(&place.0.join("store/journal"))?;
    let goal = Goal::AtMost(1000.0, "<= 1000 ms");
    report.add("open after a kill", median(times), "ms", Some(limit), goal, note);
    Ok(())
}

/// Milliseconds to read the files of a folder: the limit of any recovery that looks at all of them.
fn read_ms(dir: &std::path::Path) -> Result<f64> {
    let failed = |e| BenchError::Io(dir.to_owned(), e);
    let start = Instant::now();
    let mut buf = vec![0; 4 << 20];
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let mut file = std::fs::File::open(entry.map_err(failed)?.path()).map_err(failed)?;
        while std::io::Read::read(&mut file, &mut buf).map_err(failed)? > 0 {}
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Ingests until the journals hold enough, then dies as a kill would have it.
pub(crate) fn child(bench: &Bench<'_>) -> Result<()> {
    let place = std::mem::ManuallyDrop::new(crate::Place(bench.config.dir.clone()));
    let corpus = Corpus::load(&bench.config.corpus)?;
    let store = Store::create(place.options(Env::real())?.background(false))?;
    let ids = corpus.sites.iter().map(SiteId::new).collect::<Result<Vec<_>, _>>()?;
    let sites = store.add_sites(ids.into_iter().map(|id| (id, 30)))?;
    let start_ms = now_ms();
    for copy in 0.. {
        for (n, session) in corpus.sessions.iter().enumerate() {
            let name = session_name(n, copy)?;
            for chunk in session.at(start_ms) {
                sites[session.site].append_with(&name, &chunk, Durability::Deferred)?;
            }
        }
        if store.stats()?.frame_bytes >= bench.config.journal_bytes {
            break;
        }
    }
    store.sync()?;
    std::process::abort();
}
