//! Replay and listing.

use std::sync::Arc;
use std::time::Instant;

use reelvault::env::{Counted, Env, RealDisk};
use reelvault::{Chunk, Durability, Kind, Order, Query, Session, SessionId, Store, VisitorId};
use zstd::bulk::Decompressor;

use crate::corpus::session_name;
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Result, limit, median, now_ms};

/// Replays every session of the corpus, archived, beside decrypting and decompressing the same in memory.
pub(crate) fn replay(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("replay")?;
    let disk = Arc::new(Counted::new(Arc::new(RealDisk)));
    let env = Env { disk: Arc::clone(&disk) as _, ..Env::real() };
    let store = Store::create(place.options(env)?.journal_bytes(1 << 30))?;
    let sites = bench.sites(&store)?;
    let start_ms = now_ms();
    for (n, session) in bench.corpus.sessions.iter().enumerate() {
        let name = session_name(n, 0)?;
        for chunk in session.at(start_ms) {
            sites[session.site].append_with(&name, &chunk, Durability::Deferred)?;
        }
    }
    store.archive()?;
    let names: Vec<(usize, SessionId)> = (0..bench.corpus.sessions.len())
        .map(|n| {
            let id = SessionId::new(format!("s-{n:04}-{:08}", 0))?;
            Ok((bench.corpus.sessions[n].site, id))
        })
        .collect::<Result<_>>()?;
    let replay_all = || -> Result<f64> {
        let start = Instant::now();
        for (site, id) in &names {
            let mut replay = sites[*site].replay(id)?;
            while let Some(chunk) = replay.next_chunk()? {
                std::hint::black_box(chunk.events);
            }
        }
        Ok(start.elapsed().as_secs_f64())
    };
    replay_all()?;
    let before = disk.counts();
    replay_all()?;
    let reads = (disk.counts() - before).reads as f64 / names.len() as f64;
    let sealed = sealed_blocks(bench)?;
    let (mut ratios, mut rates, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    let raw_mb = bench.corpus.raw_bytes() as f64 / 1e6;
    for _ in 0..bench.config.rounds {
        let engine = replay_all()?;
        let bare = unpack_all(&sealed)?;
        ratios.push(bare / engine);
        rates.push(raw_mb / engine);
        limits.push(raw_mb / bare);
    }
    let note = "all sessions of the corpus, one after the other; the limit decrypts and decompresses the same blocks in memory";
    let limit = Some(median(limits));
    report.add("replay, archived, warm", median(rates), "MB/s raw", limit, Goal::None, note);
    let goal = Goal::AtLeast(0.8, ">= 0.8");
    report.add(
        "replay / limit",
        median(ratios),
        "",
        Some(1.0),
        goal,
        "median of the rounds' ratios",
    );
    let note = "counted at the disk, indexes being in memory; each session lies in one segment";
    report.add("reads a replay", reads, "", Some(1.0), Goal::AtMost(1.0, "<= 1"), note);
    Ok(())
}

/// The corpus in blocks as the engine cuts them, packed and sealed.
fn sealed_blocks(bench: &Bench<'_>) -> Result<Vec<(usize, Vec<u8>)>> {
    let failed = |e| BenchError::Io("memory".into(), e);
    let mut compressor = limit::compressor(5, true).map_err(failed)?;
    let cipher = limit::cipher()?;
    let mut sealed = Vec::new();
    for session in &bench.corpus.sessions {
        let mut block: Vec<u8> = Vec::new();
        let mut end = |block: &mut Vec<u8>| {
            let mut out = Vec::new();
            limit::pack(block, &mut compressor, &cipher, &mut out).map_err(failed)?;
            sealed.push((block.len(), out));
            block.clear();
            Ok::<_, BenchError>(())
        };
        for chunk in session.at(0) {
            let playable =
                !chunk.snapshots.is_empty() && block.len() >= reelvault::limits::BLOCK_BYTES_TARGET;
            let full = block.len() + chunk.events.len() > reelvault::limits::BLOCK_BYTES_MAX;
            if playable || full {
                end(&mut block)?;
            }
            block.extend_from_slice(&chunk.events);
        }
        end(&mut block)?;
    }
    Ok(sealed)
}

fn unpack_all(sealed: &[(usize, Vec<u8>)]) -> Result<f64> {
    let failed = |e| BenchError::Io("memory".into(), e);
    let mut decompressor = Decompressor::new().map_err(failed)?;
    let cipher = limit::cipher()?;
    // Decrypting is in place, so each round works on copies, as the engine does on what it has read.
    let mut copies = sealed.to_vec();
    let mut raw = Vec::new();
    let start = Instant::now();
    for (raw_bytes, block) in &mut copies {
        limit::unpack(block, *raw_bytes, &mut decompressor, &cipher, &mut raw).map_err(failed)?;
        std::hint::black_box(&raw);
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Lists the first 100 sessions of a day at a site with very many.
pub(crate) fn list(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("list")?;
    let store = Store::create(place.options(Env::real())?)?;
    let site = store.add_site(reelvault::SiteId::new("large.example")?, 30)?;
    let count = bench.config.list_sessions;
    let day_ms = now_ms() / 86_400_000 * 86_400_000 - 86_400_000;
    for n in 0..count {
        // Spread over the day, in no order of time.
        let at = day_ms + (n.wrapping_mul(7_919) % count) * 86_000_000 / count;
        let events = format!("{{\"type\":3,\"timestamp\":{at},\"data\":{{\"n\":{n}}}}}\n");
        let chunk = Chunk::from_events(0, events.into_bytes())?;
        let session = Session::new(SessionId::new(format!("s-{n:012}"))?)
            .visitor(VisitorId::new(format!("v-{}", n % 5_000))?)
            .kind(Kind::Replay)
            .attribute("page", "https://large.example/some/page")?;
        site.append_with(&session, &chunk, Durability::Deferred)?;
    }
    store.archive()?;
    let middle = day_ms + 43_200_000;
    let queries = [
        ("list 100 of a day, newest first", Query::new().between(day_ms, day_ms + 86_400_000)),
        (
            "list 100 of a day, oldest first",
            Query::new().between(day_ms, day_ms + 86_400_000).order(Order::OldestFirst),
        ),
        ("list 100 from the middle", Query::new().between(day_ms, middle)),
    ];
    for (name, query) in queries {
        let mut times = Vec::new();
        for _ in 0..51 {
            let start = Instant::now();
            let page = site.sessions(&query)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            if page.sessions.len() != 100 {
                return Err(BenchError::Child("listing"));
            }
        }
        let note = format!("a site with {count} sessions that day; median of 51, warm");
        report.add(name, median(times), "ms", None, Goal::AtMost(2.0, "<= 2 ms"), note);
    }
    Ok(())
}
