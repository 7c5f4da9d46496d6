//! Zeros are written ahead of a journal's frames once: its file serves the next journal, as long as the store is open.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::path::PathBuf;

use common::sim::{SITES, World};
use common::{NOON, chunk, session, session_id, site_id};
use reelvault::Store;

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
