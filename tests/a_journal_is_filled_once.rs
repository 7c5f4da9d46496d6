//! Zeros are written ahead of a journal's frames once: its file serves the next journal, as long as the store is open.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use common::sim::{SITES, World};
use common::{NOON, chunk, session, session_id, site_id};
use parking_lot::Mutex;
use reelvault::env::sim::{Kind, SplitMix};
use reelvault::{Chunk, Store};

/// The files of journals, with their sizes.
fn journals(world: &World) -> Vec<(PathBuf, usize)> {
    let all = world.disk.paths().into_iter();
    let journals = all.filter(|path| path.extension().is_some_and(|e| e == "rvj"));
    let sized = journals.map(|path| {
        let bytes = world.disk.file_bytes(&path).unwrap().len();
        (path, bytes)
    });
    sized.collect()
}

/// One chunk of about so many raw bytes.
fn append(store: &Store, seq: u64, bytes: usize) {
    let site = store.site(&site_id(SITES[0])).unwrap();
    site.append(&session("s"), &chunk("s", seq, NOON + seq, bytes)).unwrap();
}

/// Most stores are so quiet that their journals end by age, far from full. Each of them was filled anew, in the way of the appends.
#[test]
fn a_journal_that_was_not_full_serves_the_next_one() {
    let world = World::new(1);
    world.clock.set_ms(NOON);
    let store = world.open(&world.disk, 1).unwrap();
    append(&store, 0, 400);
    let first = journals(&world);
    assert_eq!(first.len(), 1, "{first:?}");
    store.archive().unwrap();
    assert_eq!(journals(&world), first, "the file is kept");
    append(&store, 1, 400);
    let second = journals(&world);
    assert_eq!(second.len(), 1, "{second:?}");
    assert_ne!(first[0].0, second[0].0, "as another journal");
    assert_eq!(first[0].1, second[0].1, "and nothing was added to it");
}

/// What is kept for the next journals is of use to this process alone, so it does not lie about when the store is closed.
#[test]
fn a_closed_store_keeps_no_spare_files() {
    let world = World::new(2);
    world.clock.set_ms(NOON);
    let store = world.open(&world.disk, 1).unwrap();
    for seq in 0..40 {
        append(&store, seq, 6_000);
        // Makes journals ahead.
        store.maintain().unwrap();
    }
    store.archive().unwrap();
    append(&store, 40, 400);
    let open: usize = journals(&world).iter().map(|(_, bytes)| bytes).sum();
    store.close().unwrap();
    let closed = journals(&world);
    let bytes: usize = closed.iter().map(|(_, bytes)| bytes).sum();
    assert!(open > 64 << 10 && bytes < 16 << 10, "{open}, then {closed:?}");
    let store = world.open(&world.disk, 2).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    assert_eq!(site.session(&session_id("s")).unwrap().chunks, 41);
}

/// A chunk of about 1.6 MB, half of which remains when it is compressed.
fn noise(seq: u64) -> Chunk<'static> {
    let (mut random, mut text) = (SplitMix::new(seq), String::new());
    (0..100_000).for_each(|_| write!(text, "{:016x}", random.draw()).unwrap());
    let events = format!("{{\"type\":3,\"timestamp\":{},\"data\":\"{text}\"}}\n", NOON + seq);
    Chunk { events: events.into_bytes().into(), ..chunk("s", 1, NOON + seq, 1) }
}

/// A journal was filled, and a segment written, and each synced once, at its end: meanwhile the disk kept every append waiting.
#[test]
fn no_file_is_given_to_the_disk_all_at_once() {
    let world = World::new(3);
    world.clock.set_ms(NOON);
    let env = world.disk.env(&world.clock, 1);
    let provider = common::sim::key_on(&env).unwrap();
    let options = common::sim::options(env, &provider).journal_bytes(16 << 20);
    let store = Store::open(options).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    // Writes of a file since it was synced, and the most of them by its kind; none has much more than a MiB.
    let most: Arc<Mutex<HashMap<String, u64>>> = Arc::default();
    let (seen, writes) = (Arc::clone(&most), Mutex::new(HashMap::new()));
    world.disk.on_operation(move |_, operation| {
        let mut writes = writes.lock();
        let unsynced: &mut u64 = writes.entry(Arc::clone(&operation.path)).or_default();
        match operation.kind {
            Kind::Write => *unsynced += 1,
            Kind::Sync => *unsynced = 0,
            _ => {}
        }
        let kind = operation.path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let mut most = seen.lock();
        let most = most.entry(kind).or_default();
        *most = (*most).max(*unsynced);
    });
    for seq in 0..16 {
        let chunk = Chunk { seq, ..noise(seq) };
        site.append(&session("s"), &chunk).unwrap();
    }
    store.maintain().unwrap();
    let ahead = journals(&world).iter().filter(|(_, bytes)| *bytes == 16 << 20).count();
    assert!(ahead > 0, "a journal was made ahead");
    store.archive().unwrap();
    assert!(store.segments()[0].bytes > 10 << 20);
    let most = most.lock();
    assert!((2..=9).contains(&most["rvj"]) && (2..=9).contains(&most["rvs"]), "{most:?}");
}
