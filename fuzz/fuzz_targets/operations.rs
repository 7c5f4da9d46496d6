//! Any list of operations, on a disk that may fail and crash: what was acknowledged is there in the end.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use reelvault::env::sim::{Fault, Survival, When};
use reelvault::{Chunk, Durability, Error, Query, Recovery, Store};
use reelvault_fuzz::{NOON, SITES, empty, events, session, session_id, site_id};

fuzz_target!(|input: &[u8]| {
    let mut image = empty(7);
    let mut opened = 1_000;
    let mut store: Option<Store> = None;
    let mut attempted: BTreeMap<(usize, String, u64), Vec<u8>> = BTreeMap::new();
    let mut acknowledged: Vec<(usize, String, u64)> = Vec::new();
    let mut deferred: Vec<(usize, String, u64)> = Vec::new();
    let mut failing = false;
    for step in input.chunks_exact(3).take(60) {
        let (kind, a, b) = (step[0], step[1], step[2]);
        opened += 1;
        if store.is_none() {
            image.disk.heal();
            failing = false;
            store = Some(image.open(&image.disk, Recovery::Strict, opened).expect("it opens"));
        }
        let Some(now) = &store else { continue };
        match kind % 16 {
            0..=7 => {
                let at = usize::from(a) % SITES.len();
                let (name, seq) = (format!("s-{}", a >> 6), u64::from(b % 16));
                let mut all = events(&name, seq);
                if kind & 16 != 0 {
                    let pad = "x".repeat(usize::from(b) * 150);
                    all.extend_from_slice(
                        format!("{{\"timestamp\":{NOON},\"pad\":\"{pad}\"}}\n").as_bytes(),
                    );
                }
                let key = (at, name.clone(), seq);
                // A chunk that is sent again is the same one.
                let all = attempted.entry(key.clone()).or_insert(all).clone();
                let chunk = Chunk::from_events(seq, all).expect("a chunk");
                let late = kind & 32 != 0;
                let durability = if late { Durability::Deferred } else { Durability::Synced };
                let appended = now.site(&site_id(at)).expect("a site").append_with(
                    &session(&name),
                    &chunk,
                    durability,
                );
                match (appended, late) {
                    (Ok(_), false) => acknowledged.push(key),
                    // While a disk is full, nobody may be told of a deferred chunk: see the_disk_is_full.
                    (Ok(_), true) if failing => {}
                    (Ok(_), true) => deferred.push(key),
                    (Err(e), _) => {
                        // With a group that found no room go the deferred chunks in it.
                        assert!(failing, "{e}");
                        deferred.clear();
                    }
                }
            }
            8 => {
                if now.sync().is_ok() {
                    acknowledged.append(&mut deferred);
                }
                deferred.clear();
            }
            9 | 10 => {
                let done = if kind % 16 == 9 { now.archive() } else { now.maintain() };
                if let Err(e) = done {
                    assert!(failing, "{e}");
                    deferred.clear();
                }
            }
            11 => {
                if let Some(store) = store.take()
                    && store.close().is_ok()
                {
                    acknowledged.append(&mut deferred);
                }
                deferred.clear();
            }
            12 => {
                // The power goes.
                drop(store.take());
                deferred.clear();
                image.disk =
                    image.disk.crash_image(Survival::Random(u64::from(a) << 8 | u64::from(b)));
            }
            13 => {
                // The process is killed.
                let killed = image.disk.kill_image();
                drop(store.take());
                deferred.clear();
                image.disk = killed;
            }
            14 => {
                let when = image.disk.operations() + u64::from(a % 24);
                // A disk that is full from here on. What failing syncs do is enumerated by the_disk_is_full.
                image.disk.fail(When::From(when), Fault::Full);
                failing = true;
                deferred.clear();
            }
            _ => {
                for at in 0..SITES.len() {
                    let site = now.site(&site_id(at)).expect("a site");
                    let from = NOON + u64::from(a) * 100;
                    let query = Query::new().between(from, from + u64::from(b) * 100);
                    let page = site.sessions(&query.limit(usize::from(b % 3))).expect("a page");
                    assert!(page.damage.is_empty());
                }
            }
        }
    }
    drop(store);
    image.disk.heal();
    for survival in [Survival::Nothing, Survival::Everything] {
        opened += 1;
        let disk = image.disk.crash_image(survival);
        let store = image.open(&disk, Recovery::Strict, opened).expect("it opens");
        for (at, name, seq) in &acknowledged {
            let site = store.site(&site_id(*at)).expect("a site");
            let mut found = false;
            let mut replay = site.replay(&session_id(name)).expect("acknowledged");
            while let Some(chunk) = replay.next_chunk().expect("readable") {
                let key = (*at, name.clone(), chunk.seq);
                assert_eq!(attempted.get(&key).map(Vec::as_slice), Some(chunk.events));
                found |= chunk.seq == *seq;
            }
            assert!(found, "acknowledged chunk {seq} of {name} is lost");
        }
        for ((at, name, _), _) in &attempted {
            match store.site(&site_id(*at)).expect("a site").session(&session_id(name)) {
                Ok(_) | Err(Error::UnknownSession) => {}
                Err(e) => panic!("{e}"),
            }
        }
    }
});
