//! Recording, archiving, erasing, holding, reclaiming, listing and replaying at the same time, in threads: what was erased is
//! gone from the moment on when that was said, and nothing else is missing or damaged at any time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::{Folder, NOON, chunk, replayed, session, session_id, store_with_site};
use parking_lot::Mutex;
use reelvault::{Error, Held, Query, Site, Store};

const SESSIONS: u64 = 240;
const CHUNKS: u64 = 3;
/// No test of threads may hang for longer than this.
const LONGEST: Duration = Duration::from_secs(120);

fn name(n: u64) -> String {
    format!("s-{n}")
}

/// What the threads share.
#[derive(Default)]
struct Shared {
    /// Sessions that are recorded whole.
    whole: AtomicU64,
    /// Sessions whose erasure was begun, and those of them whose erasure has returned.
    begun: Mutex<BTreeSet<u64>>,
    erased: Mutex<BTreeSet<u64>>,
    over: AtomicBool,
}

fn record(site: &Site, shared: &Shared) {
    for n in 0..SESSIONS {
        for seq in 0..CHUNKS {
            site.append(&session(&name(n)), &chunk(&name(n), seq, NOON + seq, 3_000)).unwrap();
        }
        shared.whole.store(n + 1, SeqCst);
    }
}

/// Erases two of three, some of them out of a hold.
fn erase(site: &Site, shared: &Shared) {
    for n in (0..SESSIONS).filter(|n| n % 3 != 0) {
        let begin = Instant::now();
        while shared.whole.load(SeqCst) <= n && begin.elapsed() < LONGEST {
            std::thread::yield_now();
        }
        if n % 20 == 1 {
            site.hold(&session_id(&name(n)), "a reason").unwrap();
        }
        shared.begun.lock().insert(n);
        let erased = site.erase_sessions([session_id(&name(n))], Held::Erase).unwrap();
        assert_eq!((erased.sessions, erased.unknown.len()), (1, 0), "{n}");
        assert!(erased.damage.is_empty(), "{:?}", erased.damage);
        shared.erased.lock().insert(n);
    }
}

fn maintain(store: &Store, shared: &Shared) {
    while !shared.over.load(SeqCst) {
        store.archive().unwrap();
        store.maintain().unwrap();
        store.reclaim(0.3).unwrap();
    }
}

fn look(site: &Site, shared: &Shared) {
    let mut round = 0;
    while !shared.over.load(SeqCst) {
        let (erased, whole) = (shared.erased.lock().clone(), shared.whole.load(SeqCst));
        let page = site.sessions(&Query::new().limit(1_000)).unwrap();
        assert!(page.damage.is_empty(), "{:?}", page.damage);
        let begun = shared.begun.lock().clone();
        let listed: BTreeSet<String> =
            page.sessions.iter().map(|s| s.id.as_str().to_owned()).collect();
        for n in 0..whole {
            if erased.contains(&n) {
                assert!(!listed.contains(&name(n)), "{n} was erased and is listed");
            } else if !begun.contains(&n) {
                assert!(listed.contains(&name(n)), "{n} is missing");
            }
        }
        if whole > 0 {
            round += 7;
            let n = round % whole;
            match site.replay(&session_id(&name(n))).and_then(|mut replay| {
                let mut bytes = 0;
                while let Some(chunk) = replay.next_chunk()? {
                    bytes += chunk.events.len();
                }
                Ok(bytes)
            }) {
                Ok(_) => assert!(!erased.contains(&n), "{n} was erased and is replayed"),
                Err(Error::Erased) => assert!(shared.begun.lock().contains(&n)),
                Err(e) => panic!("{n}: {e}"),
            }
        }
    }
}

#[test]
fn threads_that_record_erase_reclaim_and_read_do_not_disturb_each_other() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    let shared = Shared::default();
    std::thread::scope(|scope| {
        let recording = scope.spawn(|| record(&site, &shared));
        let erasing = scope.spawn(|| erase(&site, &shared));
        let others =
            [scope.spawn(|| maintain(&store, &shared)), scope.spawn(|| look(&site, &shared))];
        let worked = [recording.join(), erasing.join()];
        shared.over.store(true, SeqCst);
        let others = others.map(|thread| thread.join());
        assert!(worked.iter().chain(&others).all(Result::is_ok));
    });
    for n in 0..SESSIONS {
        if n % 3 == 0 {
            let whole: Vec<u8> = (0..CHUNKS)
                .flat_map(|s| chunk(&name(n), s, NOON + s, 3_000).events.to_vec())
                .collect();
            assert_eq!(replayed(&site, &name(n)), whole, "{n}");
        } else {
            assert!(matches!(site.replay(&session_id(&name(n))), Err(Error::Erased)), "{n}");
        }
    }
    let found = store.verify(reelvault::Depth::Content, |_, _| {}).unwrap();
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    assert!(store.deletions().unwrap().damage.is_empty());
}
