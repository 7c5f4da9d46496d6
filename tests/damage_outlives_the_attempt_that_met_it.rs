//! A backup is stopped, killed, or begins again: what it had found damaged in the store is told by the one that makes the snapshot.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use common::backups::*;
use common::sim::{SITES, World};
use common::{DAY, session_id, site_id};
use reelvault::backup::{
    Backup, Done, How, Place, Progress, ReadShare, Repository, SimPlace, What,
};
use reelvault::env::Clock;
use reelvault::{Damage, Error, Held, Result, Store};

const REPAIR: How = How { dry_run: false, bytes_per_second: None, repair: true };

/// A store with segments of some days, and a session in journals.
fn recorded(seed: u64) -> (World, Store) {
    let world = World::new(seed);
    let store = world.open(&world.disk, seed + 1).unwrap();
    for name in ["a", "b", "c"] {
        record(&world, &store, &[name], 0, 4);
        store.archive().unwrap();
        world.clock.advance_ms(DAY);
    }
    record(&world, &store, &["d"], 0, 2);
    (world, store)
}

fn segments_of(world: &World) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| path.starts_with("/store/segment");
    world.disk.paths().into_iter().filter(is_one).collect()
}

/// Lets all segments rot, in a block of a session; what they were.
fn rot(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = segments_of(world).into_iter();
    let good = paths.map(|path| (path.clone(), world.disk.file_bytes(&path).unwrap()));
    let good: Vec<_> = good.collect();
    assert!(good.len() > 2);
    good.iter().for_each(|(path, _)| world.disk.corrupt(path, 300, 1).unwrap());
    good
}

fn mend(world: &World, good: &[(PathBuf, Vec<u8>)]) {
    good.iter().for_each(|(path, bytes)| world.disk.write_file(path, bytes).unwrap());
}

fn bucket(world: &World) -> (SimPlace, Arc<dyn Place>) {
    let sim = SimPlace::new(world.clock.now_ms(), 1);
    (sim.clone(), Arc::new(sim))
}

/// Backs up until one segment is in the repository.
fn stopped_after_one(backup: &mut Backup<'_>) {
    let calls = AtomicU64::new(0);
    let watch = |_| calls.fetch_add(1, Relaxed) < 1;
    let stopped = backup.run(&How::default(), &watch);
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
}

fn begun(repository: &Repository) -> Backup<'_> {
    Backup::new(repository, Path::new("/store")).unwrap()
}

/// The kinds of damage, those of errors of the disk as none.
fn kinds(done: &Done) -> Vec<Option<Damage>> {
    let kind = |e: &Error| match e {
        Error::Corrupt(c) => Some(c.kind),
        _ => None,
    };
    done.damage.iter().map(kind).collect()
}

#[test]
fn what_a_killed_backup_copied_and_found_rotten_is_told_by_the_next_process() {
    let (world, _store) = recorded(1);
    let good = rot(&world);
    let (_, place) = bucket(&world);
    let open = |seed| repository(&world, &world.disk, &place, seed).unwrap();
    stopped_after_one(&mut begun(&open(3)));
    let again = open(4);
    let mut backup = begun(&again);
    // Killed once more, when it had copied the others and begun to look at the first.
    let copied = good.len() as u64 - 1;
    let calls = AtomicU64::new(0);
    let stopped = backup.run(&How::default(), &|_| calls.fetch_add(1, Relaxed) < copied);
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    drop(backup);

    let last = open(5);
    let done = back_up(&last).unwrap();
    assert_eq!((done.copied_segments, done.resumed_segments), (0, good.len() as u64));
    assert_eq!(kinds(&done), vec![Some(Damage::Rot); good.len()]);
    assert_eq!(last.check(ReadShare::All, ON).unwrap().damage.len(), good.len());
}

#[test]
fn what_a_stopped_backup_copied_and_found_rotten_is_told_when_it_goes_on() {
    let (world, store) = recorded(11);
    let good = rot(&world);
    let (_, place) = bucket(&world);
    let repository = repository(&world, &world.disk, &place, 13).unwrap();
    let mut backup = begun(&repository);
    stopped_after_one(&mut backup);
    // In the store it is right again: what was copied is not.
    mend(&world, &good);
    let done = backup.run(&How::default(), ON).unwrap();
    assert_eq!((done.resumed_segments, kinds(&done)), (1, vec![Some(Damage::Rot)]));
    assert_eq!(repository.check(ReadShare::All, ON).unwrap().damage.len(), 1);
    let repaired = backup.run(&REPAIR, ON).unwrap();
    assert_eq!((repaired.repaired_objects, kinds(&repaired)), (1, vec![]));
    assert_eq!(content(&repository.open_snapshot(1).unwrap()), content(&store));
}

#[test]
fn what_a_backup_found_rotten_is_told_when_it_takes_so_long_that_it_begins_again() {
    let (world, _store) = recorded(21);
    let good = rot(&world);
    let (_, place) = bucket(&world);
    let repository = repository(&world, &world.disk, &place, 23).unwrap();
    let slept = AtomicBool::new(false);
    let sleep = |_| {
        if !slept.swap(true, Relaxed) {
            world.clock.advance_ms(7 * 3_600_000);
        }
        true
    };
    let done = begun(&repository).run(&How::default(), &sleep).unwrap();
    assert_eq!(done.resumed_segments, good.len() as u64, "it began again");
    assert_eq!(kinds(&done), vec![Some(Damage::Rot); good.len()]);
    assert_eq!(done.snapshot, Some(1));
    assert!(back_up(&repository).unwrap().damage.is_empty(), "nothing is copied any more");
}

type Spoil = fn(&World, &PathBuf);

#[test]
fn a_segment_that_was_copied_before_it_was_lost_stays_in_the_backup_and_is_told() {
    let spoils: [(Spoil, Option<Damage>); 3] = [
        (|world, path| world.disk.remove_file(path).unwrap(), Some(Damage::Missing)),
        (|world, path| world.disk.truncate_file(path, 500).unwrap(), Some(Damage::Truncated)),
        (|world, path| world.disk.lose_sector(path, 600).unwrap(), None),
    ];
    for (n, (spoil, kind)) in spoils.into_iter().enumerate() {
        let seed = 100 * (n as u64 + 1);
        let (world, store) = recorded(seed);
        let all = content(&store);
        let (sim, place) = bucket(&world);
        let repository = repository(&world, &world.disk, &place, seed + 3).unwrap();
        stopped_after_one(&mut begun(&repository));
        let objects = sim.objects();
        let (copied, _) = objects.iter().find(|(name, _)| name.contains("/segment/")).unwrap();
        let is_it = |path: &&PathBuf| copied.ends_with(path.file_stem().unwrap().to_str().unwrap());
        spoil(&world, segments_of(&world).iter().find(is_it).unwrap());
        let done = back_up(&repository).unwrap();
        assert_eq!((done.resumed_segments, kinds(&done)), (1, vec![kind]));
        assert!(repository.check(ReadShare::All, ON).unwrap().damage.is_empty());
        assert_eq!(content(&repository.open_snapshot(1).unwrap()), all);
    }
}

#[test]
fn a_segment_that_was_copied_before_it_went_by_right_is_no_damage() {
    let (world, store) = recorded(31);
    let (_, place) = bucket(&world);
    let repository = repository(&world, &world.disk, &place, 33).unwrap();
    stopped_after_one(&mut begun(&repository));
    // When the last of the others has been read.
    let (calls, last) = (AtomicU64::new(2), segments_of(&world).len() as u64);
    let erase = |_| {
        if calls.fetch_add(1, Relaxed) == last {
            erase_archived(&store).unwrap();
        }
        true
    };
    let done = begun(&repository).run(&How::default(), &erase).unwrap();
    assert!(done.damage.is_empty(), "{:?}", done.damage);
    let number = done.snapshot.unwrap();
    assert_eq!(content(&repository.open_snapshot(number).unwrap()), content(&store));
}

#[test]
fn where_no_snapshot_may_be_read_a_backup_reads_in_the_store_only_what_it_copies() {
    let world = World::new(41);
    let store = world.open(&world.disk, 42).unwrap();
    let (sim, place) = bucket(&world);
    let repository = repository(&world, &world.disk, &place, 43).unwrap();
    let day = |name: &str| {
        record(&world, &store, &[name], 0, 2);
        store.archive().unwrap();
        world.clock.advance_ms(DAY);
    };
    // So many that what is there is listed: nobody may ask for each.
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].into_iter().for_each(day);
    back_up_whole(&repository);
    day("k");
    let total = AtomicU64::new(0);
    let watch = |progress: Progress| {
        total.store(progress.bytes_total, Relaxed);
        true
    };
    sim.deny_reads(true);
    let mut backup = begun(&repository);
    let done = backup.run(&How::default(), &watch).unwrap();
    assert!(done.resumed_segments > 8 && done.copied_segments > 0, "{done:?}");
    assert_eq!(total.load(Relaxed), done.copied_bytes, "not the whole store each time");

    // When it may read again, it looks at what others have copied.
    sim.deny_reads(false);
    let before = segments_of(&world);
    day("l");
    for path in segments_of(&world).iter().filter(|path| !before.contains(path)) {
        let id = path.file_stem().unwrap().to_str().unwrap();
        let name = format!("{}/segment/{id}", repository.store());
        sim.spoil(&name, &world.disk.file_bytes(path).unwrap());
    }
    let done = backup.run(&How::default(), &watch).unwrap();
    assert!(done.resumed_segments > 0 && done.copied_segments == 0, "{done:?}");
    assert!(total.load(Relaxed) > done.copied_bytes);
}

/// Erases what is archived, and gives back its space.
fn erase_archived(store: &Store) -> Result<()> {
    for site in SITES {
        let ids = ["a", "b", "c"].map(|name| session_id(&format!("{site}-{name}")));
        store.site(&site_id(site))?.erase_sessions(ids, Held::Refuse)?;
    }
    store.reclaim(0.0)?;
    Ok(())
}

#[test]
fn a_snapshot_that_the_medium_does_not_give_back_stops_no_backup() {
    for (seed, how) in [(71, How::default()), (76, REPAIR)] {
        let (world, store) = recorded(seed);
        let place = dir_place(&world, &world.disk, seed + 2);
        let repository = repository(&world, &world.disk, &place, seed + 3).unwrap();
        back_up_whole(&repository);
        let is_snapshot = |path: &PathBuf| path.to_string_lossy().contains("/snapshot/");
        let newest = world.disk.paths().into_iter().find(is_snapshot).unwrap();
        world.disk.lose_sector(newest, 0).unwrap();
        record(&world, &store, &["d"], 2, 2);
        let done = begun(&repository).run(&how, ON).unwrap();
        assert_eq!((done.snapshot, kinds(&done)), (Some(2), vec![None]));
        let _ = restore(&repository, 2, "/restored", &What::All);
        let restored = open_restored(&world, &world.disk, "/restored", seed + 4).unwrap();
        assert_eq!(content(&restored), content(&store));
    }
}
