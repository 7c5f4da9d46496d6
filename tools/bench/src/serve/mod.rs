//! The replay service: its throughput beside nginx, which serves the same stored bytes as files; first bytes, pages, memory.
//!
//! nginx and the load tool, wrk, are used where they are installed. All of them share the machine's cores, and take turns.

mod load;
mod service;

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use reelvault::backup::{Backup, DirPlace, How, Repository};
use reelvault::env::Env;
use reelvault::{Chunk, Durability, Options, Session, SessionId, Site, SiteId, Store};

use crate::corpus::{session_id, session_name};
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Place, Result, median, now_ms};

use load::{Load, Nginx};
use service::{Client, Service};

/// The site whose sessions are played, the one with very many, and the one with a very long one.
const PLAYED: &str = "played.example";
const LARGE: &str = "large.example";
const LONG: &str = "long.example";
/// How often the corpus is in the store.
const COPIES: u64 = 8;
const HOUR_MS: u64 = 3_600_000;
/// Pages that are asked for.
const PAGES: u64 = 2_000;
/// Replays at a time when memory is looked at.
const AT_ONCE: usize = 500;
/// What the engine keeps of indexes, unless told otherwise.
const CACHE_MIB: f64 = 16.0;
const THREAD_STACK_BYTES: usize = 256 << 10;

/// All figures of the service.
pub(crate) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("serve")?;
    let options = place.options(Env::real())?.background(false);
    let paths = fill(bench, &options)?;
    throughput(bench, &place, &paths, report)?;
    pages(bench, &place, report)?;
    memory(&place, &paths, report)?;
    first_bytes(&place, &options, &paths, report)
}

/// Makes the store; returns the paths of the sessions that are played.
fn fill(bench: &Bench<'_>, options: &Options) -> Result<Vec<String>> {
    let store = Store::create(options.clone())?;
    let site = store.add_site(SiteId::new(PLAYED)?, 30)?;
    let mut paths = Vec::new();
    for copy in 0..COPIES {
        for (n, recorded) in bench.corpus.sessions.iter().enumerate() {
            let session = session_name(n, copy)?;
            for chunk in recorded.at(now_ms() - HOUR_MS) {
                site.append_with(&session, &chunk, Durability::Deferred)?;
            }
            paths.push(events_path(PLAYED, &session_id(n, copy)));
        }
        store.archive()?;
    }
    many(&store.add_site(SiteId::new(LARGE)?, 30)?, bench.config.page_sessions)?;
    long(&store.add_site(SiteId::new(LONG)?, 30)?, bench.config.long_bytes)?;
    store.archive()?;
    store.close()?;
    Ok(paths)
}

fn events_path(site: &str, session: &str) -> String {
    format!("/v1/sites/{site}/sessions/{session}/events")
}

/// Very many short sessions, over a day.
fn many(site: &Site, count: u64) -> Result<()> {
    let from = now_ms() - 24 * HOUR_MS;
    for n in 0..count {
        let at = from + (n.wrapping_mul(7_919) % count) * 23 * HOUR_MS / count;
        let events = format!("{{\"type\":3,\"timestamp\":{at},\"data\":{{\"n\":{n}}}}}\n");
        let session = Session::new(SessionId::new(format!("s-{n:012}"))?);
        let chunk = Chunk::from_events(0, events.into_bytes())?;
        site.append_with(&session, &chunk, Durability::Deferred)?;
    }
    Ok(())
}

/// One session of so many bytes.
fn long(site: &Site, bytes: u64) -> Result<()> {
    let session = Session::new(SessionId::new("long")?);
    let (mut mix, mut written, mut seq) = (3, 0, 0);
    while written < bytes {
        let events = crate::backup::noise(&mut mix, now_ms() - HOUR_MS + seq * 1_000);
        written += events.len() as u64;
        let chunk = Chunk::from_events(seq, events.into_bytes())?;
        site.append_with(&session, &chunk, Durability::Deferred)?;
        seq += 1;
    }
    Ok(())
}

/// Requests and bytes a second, in turn with nginx over the same bytes.
fn throughput(
    bench: &Bench<'_>,
    place: &Place,
    paths: &[String],
    report: &mut Report,
) -> Result<()> {
    let service = Service::start(place, None)?;
    let client = service.sign_in()?;
    let files = place.0.join("files");
    let mut bytes = 0;
    for path in paths {
        let mut body = Vec::new();
        client.get(path)?.read_to_end(&mut body).map_err(|e| BenchError::Io(path.into(), e))?;
        bytes += body.len() as u64;
        load::write(&files.join(&path[1..]), &body)?;
    }
    let (Some(load), Some(nginx)) =
        (Load::new(place, paths, client.cookie())?, Nginx::start(place, &service, &files)?)
    else {
        return Ok(());
    };
    let (mut requests, mut rates, mut ours, mut limits) = (vec![], vec![], vec![], vec![]);
    for _ in 0..bench.config.rounds {
        let (ran, limit) = (load.run(&service.url())?, load.run(&nginx.url())?);
        requests.push(ran.requests_per_second / limit.requests_per_second);
        rates.push(ran.bytes_per_second / limit.bytes_per_second);
        ours.push(ran);
        limits.push(limit);
    }
    let middle =
        |all: &[load::Ran], of: fn(&load::Ran) -> f64| median(all.iter().map(of).collect());
    let told = |all: &[load::Ran]| {
        format!(
            "{:.0} a second and {:.0} MB/s, p50 {:.1} and p99 {:.1} ms",
            middle(all, |r| r.requests_per_second),
            middle(all, |r| r.bytes_per_second) / 1e6,
            middle(all, |r| r.p50_ms),
            middle(all, |r| r.p99_ms),
        )
    };
    let note = format!(
        "{} sessions of {:.0} KB on average, TLS 1.3, {} connections of wrk: {}; nginx {}",
        paths.len(),
        bytes as f64 / 1e3 / paths.len() as f64,
        load::CONNECTIONS,
        told(&ours),
        told(&limits),
    );
    let goal = Goal::AtLeast(0.7, ">= 0.7");
    report.add("replays a second / nginx", median(requests), "", Some(1.0), goal, note);
    let note = "of the same runs";
    report.add("bytes a second / nginx", median(rates), "", Some(1.0), goal, note);
    Ok(())
}

/// Pages of a site with very many sessions: at random times, and on from a cursor.
fn pages(bench: &Bench<'_>, place: &Place, report: &mut Report) -> Result<()> {
    let service = Service::start(place, None)?;
    let client = service.sign_in()?;
    let (mut times, mut mix, mut next) = (Vec::new(), 11_u64, None);
    let now = now_ms();
    for n in 0..PAGES {
        let path = match next.take().filter(|_| n % 2 == 1) {
            Some(cursor) => format!("/v1/sites/{LARGE}/sessions?limit=100&cursor={cursor}"),
            None => {
                mix = mix.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
                let to = now - HOUR_MS - mix % (22 * HOUR_MS);
                format!("/v1/sites/{LARGE}/sessions?limit=100&to={to}")
            }
        };
        let begun = Instant::now();
        let mut text = String::new();
        let read = client.get(&path)?.read_to_string(&mut text);
        read.map_err(|e| BenchError::Io(path.into(), e))?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        let page: serde_json::Value =
            serde_json::from_str(&text).map_err(|_| BenchError::Corpus)?;
        next = page["next"].as_str().map(str::to_owned);
    }
    times.sort_by(f64::total_cmp);
    let p99 = times[times.len() * 99 / 100];
    let note = format!(
        "{PAGES} pages of 100 of {} sessions, half of them on from a cursor; p50 {:.2} ms",
        bench.config.page_sessions,
        times[times.len() / 2]
    );
    report.add("page of a large site, p99", p99, "ms", None, Goal::AtMost(20.0, "<= 20 ms"), note);
    Ok(())
}

/// Memory while very many replays are on their way, one of them of a very long session.
fn memory(place: &Place, paths: &[String], report: &mut Report) -> Result<()> {
    let service = Service::start(place, None)?;
    let client = service.sign_in()?;
    let before = service.peak_kib();
    let (over, played, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let play = |client: &Client, path: &str| {
        let outcome = client.get(path).and_then(|mut body| {
            std::io::copy(&mut body, &mut std::io::sink())
                .map_err(|e| BenchError::Io(path.into(), e))
        });
        let counter = if outcome.is_ok() { &played } else { &failed };
        counter.fetch_add(1, Relaxed);
        outcome
    };
    let begun = Instant::now();
    let long = std::thread::scope(|scope| {
        for n in 1..AT_ONCE {
            let (client, play, over) = (client.fresh(), &play, &over);
            let viewer = move || {
                let mut at = n;
                while !over.load(Relaxed) {
                    let _ = play(&client, &paths[at % paths.len()]);
                    at += 1;
                }
            };
            let builder = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES);
            builder
                .spawn_scoped(scope, viewer)
                .map_err(|e| BenchError::Io("a thread of the benchmark".into(), e))?;
        }
        let long = play(&client.fresh(), &events_path(LONG, "long"));
        over.store(true, Relaxed);
        long
    })?;
    let peak = service.peak_kib() as f64 / 1024.0;
    let note = format!(
        "{} replays, {} of them refused, over {AT_ONCE} connections in {:.1} s, and beside them one of {:.0} MB stored; before them {:.0} MiB",
        played.load(Relaxed),
        failed.load(Relaxed),
        begun.elapsed().as_secs_f64(),
        long as f64 / 1e6,
        before as f64 / 1024.0,
    );
    let allowed = 64.0 + CACHE_MIB;
    let goal = Goal::AtMost(allowed, "<= 64 MiB and the cache's 16");
    report.add("memory of the service", peak, "MiB", Some(allowed), goal, note);
    Ok(())
}

/// First bytes of sessions that nobody has asked for, out of a repository that is not in the page cache.
fn first_bytes(
    place: &Place,
    options: &Options,
    paths: &[String],
    report: &mut Report,
) -> Result<()> {
    let at = place.0.join("repository");
    let directory = std::sync::Arc::new(DirPlace::new(&Env::real(), &at));
    let repository = Repository::open_or_make(directory, options.clone())?;
    let mut backup = Backup::new(&repository, place.0.join("store"))?;
    crate::backup::undamaged(backup.run(&How::default(), &|_| true)?.damage)?;
    drop(repository);
    load::out_of_the_cache(&at)?;
    let service = Service::start(place, Some(&at))?;
    let client = service.sign_in()?;
    let mut times = Vec::new();
    for path in paths {
        let begun = Instant::now();
        let mut body = client.get(path)?;
        body.read_exact(&mut [0]).map_err(|e| BenchError::Io(path.into(), e))?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        std::io::copy(&mut body, &mut std::io::sink())
            .map_err(|e| BenchError::Io(path.into(), e))?;
    }
    times.sort_by(f64::total_cmp);
    let note = format!(
        "{} sessions, each once, out of a repository in a directory that is not in the page cache; p99 {:.1} ms",
        times.len(),
        times[times.len() * 99 / 100]
    );
    let goal = Goal::AtMost(5.0, "<= 5 ms");
    report.add("first byte of a cold session, p50", times[times.len() / 2], "ms", None, goal, note);
    Ok(())
}
