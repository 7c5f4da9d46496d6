//! Marks rot, and strangers leave files in a repository: backups and prunes go on, and what is damaged is told and cleared.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use common::DAY;
use common::backups::*;
use common::sim::World;
use reelvault::Store;
use reelvault::backup::{Backup, How, Keep, Place, ReadShare, Repository, SimPlace};
use reelvault::env::Clock;

const KEEP: Keep = Keep { last: 1, daily: 0, weekly: 0, monthly: 0, within_ms: 0 };

/// A repository whose second snapshot does not need the journals of the first, which are marked.
fn marked(seed: u64) -> (World, Store, SimPlace, Repository) {
    let world = World::new(seed);
    let store = world.open(&world.disk, seed + 1).unwrap();
    let sim = SimPlace::new(world.clock.now_ms(), 1);
    let place: Arc<dyn Place> = Arc::new(sim.clone());
    let repository = repository(&world, &world.disk, &place, seed + 2).unwrap();
    record(&world, &store, &["a"], 0, 3);
    back_up_whole(&repository);
    store.archive().unwrap();
    back_up_whole(&repository);
    let pruned = repository.prune(&KEEP, DAY, false).unwrap();
    assert!(pruned.waiting_objects > 0 && pruned.removed_objects == 0);
    (world, store, sim, repository)
}

fn marks(sim: &SimPlace) -> Vec<(String, Arc<[u8]>)> {
    sim.objects().into_iter().filter(|(name, _)| name.contains("/mark/")).collect()
}

#[test]
fn a_mark_that_cannot_be_read_is_told_backed_up_past_and_cleared_by_a_prune() {
    type Spoil = fn(&[u8]) -> Vec<u8>;
    let ways: [Spoil; 4] = [
        |good| good[..good.len() - 9].to_vec(),
        |good| [&good[..good.len() - 1], &[!good[good.len() - 1]]].concat(),
        |good| vec![0; good.len()],
        |_| Vec::new(),
    ];
    for (n, spoil) in ways.into_iter().enumerate() {
        let (world, store, sim, repository) = marked(100 * (n as u64 + 1));
        let (mark, good) = marks(&sim).remove(0);
        sim.spoil(&mark, &spoil(&good));
        let found = repository.check(ReadShare::All, ON).unwrap().damage;
        assert_eq!(found.len(), 1, "{found:?}");

        record(&world, &store, &["b"], 0, 3);
        let before = world.disk.paths();
        store.archive().unwrap();
        // What an interrupted backup has left: the mark may have named it, and the prune that made it removes it.
        let (mut left, folder) = (Vec::new(), format!("{}/segment", repository.store()));
        for path in world.disk.paths().into_iter().filter(|path| !before.contains(path)) {
            let Some(id) = path.to_str().unwrap().strip_suffix(".rvs") else { continue };
            let name = format!("{folder}/{}", id.rsplit('/').next().unwrap());
            sim.spoil(&name, &world.disk.file_bytes(&path).unwrap());
            left.push(name);
        }
        assert!(!left.is_empty());
        let done = back_up(&repository).unwrap();
        assert_eq!((done.damage.len(), done.resumed_segments), (1, 0), "{:?}", done.damage);
        assert_eq!(done.copied_segments, left.len() as u64);
        left.iter().for_each(|name| sim.lose(name));
        let number = done.snapshot.unwrap();
        assert_eq!(content(&repository.open_snapshot(number).unwrap()), content(&store));

        let tried = repository.prune(&KEEP, DAY, true).unwrap();
        assert!(marks(&sim).iter().any(|(name, _)| *name == mark), "only tried");
        let cleared = repository.prune(&KEEP, DAY, false).unwrap();
        assert_eq!((cleared.removed_objects, cleared.forgotten), (0, tried.forgotten));
        assert!(marks(&sim).iter().all(|(name, _)| *name != mark));
        assert!(repository.check(ReadShare::All, ON).unwrap().damage.is_empty());
        sim.set_now_ms(world.clock.now_ms() + DAY);
        let pruned = repository.prune(&KEEP, DAY, false).unwrap();
        assert_eq!(pruned.removed_objects, cleared.waiting_objects, "they have waited once more");
        assert!(marks(&sim).is_empty());
        back_up_whole(&repository);
    }
}

#[test]
fn beside_a_mark_that_cannot_be_read_a_backup_that_begins_again_finds_what_it_has_copied() {
    let (world, store, sim, repository) = marked(501);
    let (mark, good) = marks(&sim).remove(0);
    sim.spoil(&mark, &good[..good.len() - 9]);
    record(&world, &store, &["b"], 0, 3);
    store.archive().unwrap();
    let is_segment = |name: &str| name.contains("/segment/");
    let segments = || sim.objects().iter().filter(|(name, _)| is_segment(name)).count() as u64;
    let before = segments();
    let slept = AtomicBool::new(false);
    let sleep = |_| {
        if !slept.swap(true, Relaxed) {
            world.clock.advance_ms(7 * 3_600_000);
        }
        true
    };
    let mut backup = Backup::new(&repository, Path::new("/store")).unwrap();
    let done = backup.run(&How::default(), &sleep).unwrap();
    assert!(done.resumed_segments > 0, "it began again, and found them: {done:?}");
    assert_eq!((done.copied_segments, done.damage.len()), (0, 1), "{:?}", done.damage);
    assert_eq!(segments() - before, done.resumed_segments, "each was copied once");
    let snapshot = repository.open_snapshot(done.snapshot.unwrap()).unwrap();
    assert_eq!(content(&snapshot), content(&store));
}

#[test]
fn credentials_that_may_not_read_marks_are_enough_for_a_check() {
    let (_world, _store, sim, repository) = marked(601);
    sim.deny_reads_of("/mark/");
    let checked = repository.check(ReadShare::All, ON).unwrap();
    assert!(checked.damage.is_empty() && checked.objects > 0, "{:?}", checked.damage);
}

#[test]
fn strangers_among_the_marks_and_names_without_room_in_a_mark_are_left_alone() {
    let (world, store, sim, repository) = marked(11);
    let long = format!("{}/segment/{}", repository.store(), "x".repeat(140));
    let strange = [".DS_Store", "README", &"x".repeat(140)]
        .map(|name| format!("{}/mark/{name}", repository.store()));
    for name in strange.iter().chain([&long]) {
        sim.spoil(name, b"?");
    }
    // Something that is not needed any more, and so a mark, is made beside them.
    record(&world, &store, &["b"], 0, 1);
    back_up_whole(&repository);
    store.archive().unwrap();
    back_up_whole(&repository);
    repository.prune(&KEEP, DAY, false).unwrap();
    assert!(repository.check(ReadShare::All, ON).unwrap().damage.is_empty());
    sim.set_now_ms(world.clock.now_ms() + DAY);
    assert!(repository.prune(&KEEP, DAY, false).unwrap().removed_objects > 0);
    let is_there = |name: &String| sim.objects().iter().any(|(object, _)| object == name);
    assert!(strange.iter().chain([&long]).all(is_there));
    assert_eq!(marks(&sim).len(), strange.len(), "no mark is left");
    back_up_whole(&repository);
}

#[test]
fn a_strangers_file_beside_the_snapshots_hides_none_of_them() {
    let world = World::new(21);
    let store = world.open(&world.disk, 22).unwrap();
    record(&world, &store, &["a"], 0, 2);
    let place = dir_place(&world, &world.disk, 23);
    let repository = repository(&world, &world.disk, &place, 24).unwrap();
    let folder = format!("/backup/{}/snapshot", repository.store());
    for (n, stranger) in [".nfs0000000000000001", ".DS_Store", "README", "zz"].iter().enumerate() {
        let next = n as u64 + 1;
        assert_eq!(back_up(&repository).unwrap().snapshot, Some(next));
        world.disk.write_file(format!("{folder}/{stranger}"), b"?").unwrap();
        assert_eq!(repository.latest(None).unwrap(), next);
    }
    let done = back_up(&repository).unwrap();
    assert_eq!((done.snapshot, done.copied_bytes), (Some(5), 0), "it builds on the one before");
    assert_eq!(repository.snapshots().unwrap().0.len(), 5);
}
