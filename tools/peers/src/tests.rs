//! Every adapter gives back what it was given, and no more once it was deleted: otherwise the figures would be of something else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use reelvault_bench::corpus::Corpus;

use crate::engine::{Engine, Peer, Setup, Track};
use crate::measure::{Figures, Latencies, found_on_disk};
use crate::seal::{Sealer, opened_by, unpack};
use crate::workload::{Planned, Workload};
use crate::{PeerError, Result};

const SITES: u32 = 2;
const DAY: u32 = 20_000;

/// Two days, of some sessions each.
fn planned(workload: &Workload) -> Vec<Planned> {
    let today = (std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400) as u32;
    (0..8).map(|n| workload.session(n, today - 2 + (n % 2) as u32)).collect()
}

fn workload() -> Workload {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../recorder/corpus");
    let corpus = Arc::new(Corpus::load(corpus.as_ref()).unwrap());
    Workload::new(corpus, 7, SITES, 2 << 20)
}

/// What was appended, in the order of its numbers.
fn appended(workload: &Workload, session: &Planned) -> Vec<u8> {
    workload.in_order(session).iter().flat_map(|row| row.events.to_vec()).collect()
}

fn replayed(engine: &dyn Engine, session: &Planned) -> Vec<u8> {
    let mut read = Vec::new();
    match engine.replay(session.of, &mut |events| read.extend_from_slice(events)) {
        Ok(()) | Err(PeerError::NotThere) => read,
        Err(e) => panic!("{e}"),
    }
}

fn everything_is_there(engine: &dyn Engine, workload: &Workload, planned: &[Planned], what: &str) {
    for session in planned {
        assert!(replayed(engine, session) == appended(workload, session), "{what}");
    }
    for site in 0..SITES {
        for day in [planned[0].of.day(), planned[1].of.day()] {
            let mut wanted: Vec<_> = planned
                .iter()
                .filter(|session| session.of.site == site && session.of.day() == day)
                .map(|session| (session.of.start_ms, session.of.session))
                .collect();
            wanted.sort_unstable_by(|a, b| b.cmp(a));
            let page = engine.list(site, day, 100).unwrap();
            let found: Vec<_> = page.iter().map(|named| (named.start_ms, named.session)).collect();
            assert_eq!(found, wanted, "{what}");
            for named in page {
                let session = planned.iter().find(|s| s.of.session == named.session).unwrap();
                let rows = workload.rows(session);
                let chunks = rows.iter().map(|row| row.seq + 1).max().unwrap();
                assert_eq!((named.chunks, named.visitor), (chunks, session.visitor), "{what}");
            }
        }
    }
}

/// What is played after a jump holds what begins between the two times, and begins with a full snapshot.
fn a_jump_finds_its_time(engine: &dyn Engine, workload: &Workload, session: &Planned, what: &str) {
    let rows = workload.in_order(session);
    let row = &rows[rows.len() / 2];
    let (from, until) = (row.first_ms, row.first_ms + 10_000);
    let mut played = Vec::new();
    engine.seek(session.of, from, until, &mut |events| played.extend_from_slice(events)).unwrap();
    let wanted = rows.iter().filter(|row| (from..=until).contains(&row.first_ms));
    let wanted: Vec<u8> = wanted.flat_map(|row| row.events.to_vec()).collect();
    assert!(played.ends_with(&wanted) && !wanted.is_empty(), "{what}");
    assert!(played.len() <= appended(workload, session).len(), "{what}");
}

#[test]
fn every_peer_gives_back_what_it_was_given_and_not_what_was_deleted() {
    let workload = workload();
    let planned = planned(&workload);
    let tracks = [Track::EqualSecurity, Track::Native];
    for (peer, track) in
        Peer::value_variants().iter().flat_map(|peer| tracks.map(|track| (*peer, track)))
    {
        let what = format!("{} {track:?}", peer.name());
        let folder = tempfile::tempdir().unwrap();
        let days = planned[0].of.day()..planned[1].of.day() + 1;
        let (dir, cache_bytes) = (folder.path().to_owned(), 16 << 20);
        let setup = Setup { dir, track, sites: SITES, cache_bytes, pack_level: 3, days };
        let engine = peer.open(&setup).unwrap();
        std::thread::scope(|scope| {
            for session in &planned {
                let (engine, workload) = (&engine, &workload);
                scope.spawn(move || {
                    for row in workload.rows(session) {
                        engine.append(&row).unwrap();
                    }
                });
            }
        });
        everything_is_there(&*engine, &workload, &planned, &what);
        engine.settle().unwrap();
        engine.close().unwrap();
        let engine = peer.open(&setup).unwrap();
        everything_is_there(&*engine, &workload, &planned, &what);
        a_jump_finds_its_time(&*engine, &workload, &planned[1], &what);
        engine.erase(planned[1].of).unwrap();
        assert!(replayed(&*engine, &planned[1]).is_empty(), "{what}");
        engine.drop_day(planned[0].of.day()).unwrap();
        for (n, session) in planned.iter().enumerate() {
            let is_gone = n == 1 || session.of.day() == planned[0].of.day();
            let wanted = if is_gone { Vec::new() } else { appended(&workload, session) };
            assert!(replayed(&*engine, session) == wanted, "{what}");
        }
        engine.close().unwrap();
    }
}

#[test]
fn a_session_follows_from_its_number() {
    let workload = workload();
    let (one, same) = (workload.session(3, DAY), workload.session(3, DAY));
    assert_eq!(one.of, same.of);
    assert_eq!(appended(&workload, &one), appended(&workload, &same));
    assert_ne!(one.of, workload.session(4, DAY).of);
    assert_eq!(one.of.day(), DAY);
}

#[test]
fn a_quantile_is_told_of_so_many_that_one_lies_beyond_it() {
    for (samples, told) in [(0, 0), (1, 0), (99, 1), (100, 2), (999, 2), (1_000, 3)] {
        let mut latencies = Latencies::default();
        (0..samples).for_each(|n| latencies.add(Duration::from_micros(n)));
        let mut figures = Figures::new();
        latencies.tell("it", &mut figures);
        assert_eq!(figures.len(), told, "{samples}");
    }
}

#[test]
fn what_many_threads_seal_is_opened_again_and_found_on_the_disk() {
    let sealer = Sealer::new(3).unwrap();
    let seal = |n: u8| sealer.seal(1, b"name", &[n], &vec![n; 10_000 + usize::from(n)]).unwrap();
    let mut rows: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..40).map(|n| scope.spawn(move || seal(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rows"), rows[..30].concat()).unwrap();
    let opened = opened_by(|| {
        rows.iter_mut().enumerate().try_for_each(|(n, row)| -> Result<()> {
            let text = sealer.open(1, b"name", row)?;
            let (header, body) = row[text].split_at(1);
            assert_eq!(header, [n as u8]);
            unpack(body, |body| assert!(body == vec![n as u8; 10_000 + n]))
        })
    });
    let opened = opened.unwrap();
    assert_eq!(opened.len(), 40);
    assert_eq!(found_on_disk(folder.path(), &opened).unwrap(), 30);
}
