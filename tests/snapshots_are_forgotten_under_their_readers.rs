//! Somebody forgets snapshots, as a continuous backup does all the time, while others look after the repository.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use common::backups::*;
use common::meddled::MeddledBucket;
use common::sim::World;
use reelvault::backup::{Keep, Place, ReadShare, Repository, SimPlace};
use reelvault::env::Clock;
use reelvault::{Damage, Error};

const SNAPSHOTS: u64 = 5;
const MINUTE_MS: u64 = 60_000;

/// A bucket with some snapshots, a minute apart.
fn bucket(seed: u64) -> (World, SimPlace) {
    let world = World::new(seed);
    let sim = SimPlace::new(world.clock.now_ms(), 1);
    let place: Arc<dyn Place> = Arc::new(sim.clone());
    let store = world.open(&world.disk, seed + 1).unwrap();
    let repository = repository(&world, &world.disk, &place, seed + 2).unwrap();
    for n in 0..SNAPSHOTS {
        record(&world, &store, &["a"], 2 * n, 2);
        if n % 2 == 0 {
            store.archive().unwrap();
        }
        back_up_whole(&repository);
        world.clock.advance_ms(MINUTE_MS);
    }
    store.close().unwrap();
    (world, sim)
}

fn is_snapshot(name: &str, number: u64) -> bool {
    name.ends_with(&format!("/snapshot/{:016x}", u64::MAX - number))
}

fn snapshot_name(sim: &SimPlace, number: u64) -> String {
    sim.objects().into_iter().map(|(name, _)| name).find(|n| is_snapshot(n, number)).unwrap()
}

/// The repository of a copy of this bucket, in which one snapshot is forgotten when another one, or it, is about to be read.
fn forgetful(world: &World, sim: &SimPlace, seed: u64, victim: u64, at: u64) -> Repository {
    let victim = snapshot_name(sim, victim);
    let before_reading = move |sim: &SimPlace, name: &str| {
        if is_snapshot(name, at) {
            sim.remove(&victim).unwrap();
        }
    };
    let place = MeddledBucket::new(sim.image(), before_reading);
    Repository::open(place, options_on(world, &world.disk, seed)).unwrap()
}

#[test]
fn a_snapshot_that_is_forgotten_while_a_repository_is_checked_or_pruned_is_no_damage() {
    let (world, sim) = bucket(1);
    for (victim, at) in (1..=SNAPSHOTS).flat_map(|v| (1..=SNAPSHOTS).map(move |at| (v, at))) {
        let seed = 1_000 * victim + 100 * at;
        let is_read = u64::from(victim > at);
        let checked = forgetful(&world, &sim, seed, victim, at).check(ReadShare::All, ON).unwrap();
        assert!(checked.damage.is_empty(), "{victim} at {at}: {:?}", checked.damage);
        assert_eq!(checked.snapshots, SNAPSHOTS - 1 + is_read, "{victim} at {at}");

        let pruning = forgetful(&world, &sim, seed + 1, victim, at);
        let keep = Keep { last: 2, ..Keep::default() };
        let pruned = pruning.prune(&keep, common::DAY, false).unwrap();
        let seen = SNAPSHOTS - 1 + is_read;
        assert_eq!((pruned.kept, pruned.forgotten.len() as u64), (2, seen - 2), "{victim} at {at}");
        let (left, damage) = pruning.snapshots().unwrap();
        assert!(damage.is_empty() && !left.is_empty() && left.len() <= 2, "{left:?}, {damage:?}");
        assert!(pruning.check(ReadShare::All, ON).unwrap().damage.is_empty());
    }
}

#[test]
fn a_snapshot_that_comes_and_goes_while_a_repository_is_pruned_stops_nothing() {
    let (world, sim) = bucket(11);
    let image = sim.image();
    let writer: Arc<dyn Place> = Arc::new(image.clone());
    let writer = Repository::open(writer, options_on(&world, &world.disk, 13)).unwrap();
    let came = AtomicBool::new(false);
    let before_reading = move |sim: &SimPlace, name: &str| {
        // The oldest is read last: all others have been read.
        if is_snapshot(name, 1) && !came.swap(true, Relaxed) {
            back_up_whole(&writer);
        }
        if is_snapshot(name, SNAPSHOTS + 1) {
            sim.remove(name).unwrap();
        }
    };
    let place = MeddledBucket::new(image, before_reading);
    let repository = Repository::open(place, options_on(&world, &world.disk, 14)).unwrap();
    let keep = Keep { last: SNAPSHOTS as usize, ..Keep::default() };
    let pruned = repository.prune(&keep, common::DAY, false).unwrap();
    assert_eq!((pruned.kept as u64, pruned.forgotten.len()), (SNAPSHOTS, 0));
    let left: Vec<u64> = repository.snapshots().unwrap().0.iter().map(|s| s.number).collect();
    assert_eq!(left, (1..=SNAPSHOTS).rev().collect::<Vec<_>>());
}

#[test]
fn the_snapshot_of_a_time_is_found_beside_those_that_are_being_forgotten() {
    let (world, sim) = bucket(21);
    let place: Arc<dyn Place> = Arc::new(sim.clone());
    let repository = Repository::open(place, options_on(&world, &world.disk, 23)).unwrap();
    for taken in repository.snapshots().unwrap().0 {
        for at in 1..=SNAPSHOTS {
            let seed = 1_000 * at + 10 * taken.number;
            let found = forgetful(&world, &sim, seed, at, at).latest_at(taken.taken_ms);
            let expected = taken.number - u64::from(at == taken.number);
            match found {
                Ok((found, damage)) => assert_eq!((found.number, damage.len()), (expected, 0)),
                Err(e) => assert!(expected == 0 && matches!(e, Error::NoSnapshot(_)), "{e}"),
            }
        }
    }
}

#[test]
fn a_damaged_snapshot_is_passed_over_for_one_of_an_earlier_time_and_told() {
    let (world, sim) = bucket(31);
    let place: Arc<dyn Place> = Arc::new(sim.clone());
    let repository = Repository::open(place, options_on(&world, &world.disk, 33)).unwrap();
    let taken = repository.snapshots().unwrap().0;
    let kind = |e: &Error| match e {
        Error::Corrupt(c) => Some(c.kind),
        _ => None,
    };
    for (n, newest) in taken.iter().enumerate() {
        let name = snapshot_name(&sim, newest.number);
        let good = sim.objects().into_iter().find(|(other, _)| *other == name).unwrap().1;
        sim.spoil(&name, &[&good[1..], &[0]].concat());
        match taken.get(n + 1) {
            Some(before) => {
                for at_ms in [before.taken_ms, newest.taken_ms] {
                    let (found, damage) = repository.latest_at(at_ms).unwrap();
                    assert_eq!((&found, damage.len()), (before, n + 1));
                    assert!(damage.iter().all(|e| kind(e).is_some_and(|k| k != Damage::Missing)));
                    assert_eq!(repository.latest(Some(at_ms)).unwrap(), before.number);
                }
            }
            None => {
                let none = repository.latest_at(newest.taken_ms).unwrap_err();
                assert!(kind(&none).is_some(), "no other is left: {none}");
            }
        }
    }
}
