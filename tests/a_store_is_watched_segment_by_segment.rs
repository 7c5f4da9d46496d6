//! A scrub looks at one segment at a time and finds what a whole verification finds.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(clippy::disallowed_methods, reason = "tests look at the files themselves")]

mod common;

use std::path::{Path, PathBuf};

use common::sim::World;
use common::{DAY, Folder, NOON, chunk, env_at, session, site_id, store_with_site};
use reelvault::env::Clock;
use reelvault::{Depth, Error, Store, Verification};

fn scrub(store: &Store) -> Verification {
    let mut found = store.verify_journals_only(Depth::Content).unwrap();
    for segment in store.segments() {
        found.add(store.verify_segment_only(segment.id, Depth::Content).unwrap());
    }
    found
}

#[test]
fn the_sum_of_single_looks_is_a_whole_verification() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    for n in 0..3 {
        let name = format!("s-{n}");
        site.append(&session(&name), &chunk(&name, 0, NOON - n * DAY, 9_000)).unwrap();
        store.archive().unwrap();
    }
    site.append(&session("s-0"), &chunk("s-0", 1, NOON + 1000, 500)).unwrap();
    let whole = store.verify(Depth::Content, |_, _| ()).unwrap();
    assert_eq!(format!("{:?}", scrub(&store)), format!("{whole:?}"));
    assert_eq!((whole.segments, whole.sessions), (3, 4));
    let bytes: u64 = store.segments().iter().map(|s| s.bytes).sum();
    assert_eq!(bytes, whole.digested_bytes);
    assert_eq!(store.overdue_days(), 0);

    let victim = store.segments()[1];
    let file = folder.store().join(format!("segment/{}.rvs", victim.id));
    let mut content = std::fs::read(&file).unwrap();
    content[100] ^= 1;
    std::fs::write(&file, content).unwrap();
    for segment in store.segments() {
        let found = store.verify_segment_only(segment.id, Depth::Content).unwrap();
        assert_eq!(found.is_sound(), segment.id != victim.id);
    }
    drop((store, site));

    // A reader whose writer has been away for long says how late retention is.
    let late = folder.options_in(env_at(NOON + 40 * DAY));
    let store = Store::open_read_only(late).unwrap();
    assert_eq!(store.overdue_days(), 40 + 2 - 31);
}

/// A sector of a disk was bad: a verification ended there, and what came after it was not looked at.
#[test]
fn what_the_medium_does_not_give_back_is_listed_and_all_else_is_verified() {
    let world = World::new(31);
    let store = world.open(&world.disk, 32).unwrap();
    let site = store.site(&site_id("shop.example")).unwrap();
    let now_ms = world.clock.now_ms();
    for n in 0..3 {
        let name = format!("s-{n}");
        site.append(&session(&name), &chunk(&name, 0, now_ms - n * DAY, 9_000)).unwrap();
        store.archive().unwrap();
    }
    site.append(&session("live"), &chunk("live", 0, now_ms, 500)).unwrap();
    let sound = store.verify(Depth::Content, |_, _| ()).unwrap();
    assert_eq!((sound.segments, sound.journals > 0, sound.sessions), (3, true, 4));
    // The first that is looked at, and so the one that all others come after.
    let first = format!("segment/{}.rvs", store.segments()[0].id);
    world.disk.lose_sector(Path::new("/store").join(&first), 600).unwrap();
    let told = |found: &Verification| {
        found.damage.iter().map(|e| e.damaged_file().unwrap()).collect::<Vec<_>>()
    };
    for depth in [Depth::Digests, Depth::Content] {
        let found = store.verify(depth, |_, _| ()).unwrap();
        assert_eq!(told(&found), [&*first], "{:?}", found.damage);
        assert!(matches!(found.damage[0], Error::Io { .. }));
        assert_eq!((found.segments, found.journals), (sound.segments, sound.journals));
        assert_eq!(found.sessions, if depth == Depth::Content { 3 } else { 0 });
    }
    assert_eq!(told(&scrub(&store)), [&*first]);

    let is_journal = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "rvj");
    for journal in world.disk.paths().into_iter().filter(is_journal) {
        // Where its first frame stands.
        world.disk.lose_sector(&journal, 4096).unwrap();
    }
    let found = scrub(&store);
    let (of_segments, of_journals): (Vec<_>, Vec<_>) =
        told(&found).into_iter().partition(|file| *file == first);
    assert_eq!((of_segments.len(), found.sessions), (1, 2));
    assert!(!of_journals.is_empty() && of_journals.iter().all(|f| f.starts_with("journal/")));
}
