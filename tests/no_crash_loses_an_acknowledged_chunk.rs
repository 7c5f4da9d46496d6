//! Power cuts and kills at every operation of a store's life: appends, rotation, archiving, closing, recovery.
//!
//! At each operation on the disk the machine is imaged in many ways: all unsynced writes lost, all kept, any of them kept,
//! torn in units of 512 bytes and reordered, directory changes kept or lost. Each image is opened; every acknowledged
//! chunk must be there, byte for byte, and nothing that was never sent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::sim::{Ledger, World};
use reelvault::env::sim::{SimDisk, Survival};

/// Counts of one campaign.
#[derive(Default)]
struct Counts {
    points: AtomicU64,
    images: AtomicU64,
}

impl Counts {
    fn print(&self, what: &str) -> (u64, u64) {
        let (points, images) = (self.points.load(Relaxed), self.images.load(Relaxed));
        println!("{what}: {points} crash points, {images} images, no acknowledged chunk lost");
        (points, images)
    }
}

/// Every way in which the machine is imaged at one point.
fn images(disk: &SimDisk, seed: u64, random: u64) -> Vec<(String, SimDisk)> {
    let mut ways = vec![Survival::Nothing, Survival::Everything];
    let pending = disk.pending_operations();
    // The last few are where order matters most.
    for n in pending.iter().rev().take(3) {
        ways.extend([Survival::Before(*n), Survival::Only(*n), Survival::Without(*n)]);
    }
    ways.extend((0..random).map(|n| Survival::Random(seed * 1_000 + n)));
    let mut images: Vec<_> =
        ways.into_iter().map(|way| (format!("{way:?}"), disk.crash_image(way))).collect();
    images.push(("killed".into(), disk.kill_image()));
    images
}

/// Lives a life and checks images at each operation.
fn campaign(seed: u64, rounds: u64, random: u64) -> (u64, u64) {
    let world = World::new(seed);
    let counts = Arc::new(Counts::default());
    let watcher = { (world.clone(), Arc::clone(&counts)) };
    world.disk.on_operation(move |disk, operation| {
        let (world, counts) = &watcher;
        let ledger: Ledger = world.ledger.lock().clone();
        let point = counts.points.fetch_add(1, Relaxed);
        for (n, (way, image)) in images(disk, seed + point, random).into_iter().enumerate() {
            counts.images.fetch_add(1, Relaxed);
            let told = format!("seed {seed}, before {operation:?}, {way}");
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let fresh = seed * 1_000_000 + point * 100 + n as u64;
                let store = world.check(&image, fresh, &ledger);
                if (point + n as u64).is_multiple_of(16) {
                    world.send_again(&store, &ledger);
                }
            }));
            if checked.is_err() {
                panic!("{told}");
            }
        }
    });
    world.live(seed, rounds).unwrap();
    counts.print(&format!("seed {seed}, {rounds} rounds"))
}

#[test]
fn at_every_operation_of_a_life_seed_1() {
    let (points, images) = campaign(1, 4, 20);
    assert!(points > 100 && images > 4_000, "{points} {images}");
}

#[test]
#[ignore = "slow: a quarter of a minute"]
fn at_every_operation_of_a_life_seed_2() {
    let (points, images) = campaign(2, 5, 20);
    assert!(points > 100 && images > 4_000, "{points} {images}");
}

#[test]
#[ignore = "slow: a quarter of a minute"]
fn at_every_operation_of_a_life_seed_3() {
    let (points, images) = campaign(3, 7, 20);
    assert!(points > 100 && images > 4_000, "{points} {images}");
}

#[test]
fn what_was_read_once_after_a_kill_survives_a_power_cut() {
    // A killed process leaves written frames in the system's memory. Recovery shows them, so it must sync them first.
    let world = World::new(5);
    let seen_everywhere = Arc::new(AtomicU64::new(0));
    let watcher = (world.clone(), Arc::clone(&seen_everywhere));
    world.disk.on_operation(move |disk, _| {
        let (world, seen_everywhere) = &watcher;
        let killed = disk.kill_image();
        let mut ledger: Ledger = world.ledger.lock().clone();
        let store = world.check(&killed, 70_000, &ledger);
        for (at, name, seq) in world.present(&store, &ledger) {
            ledger.acknowledged.insert((at, name, seq), ());
            seen_everywhere.fetch_add(1, Relaxed);
        }
        // The power goes while the store is still open.
        world.check(&killed.crash_image(Survival::Nothing), 70_001, &ledger);
    });
    world.live(5, 3).unwrap();
    assert!(seen_everywhere.load(Relaxed) > 500);
}

#[test]
fn at_every_operation_of_recovery_and_again() {
    let counts = Counts::default();
    for die_at in [60, 85, 110] {
        let world = World::new(9);
        // Die in mid-life, with journals, segments and deferred chunks about.
        world.disk.crash_at(world.disk.operations() + die_at);
        assert!(world.live(9, 4).is_err());
        for way in 0..6 {
            crash_in_recovery(&world, way, &counts);
        }
    }
    let (points, images) = counts.print("recovery");
    assert!(points > 100 && images > 1_000, "{points} {images}");
}

/// Opens an image of a dead machine and lets it die again, at every operation of its recovery.
fn crash_in_recovery(world: &World, way: u64, counts: &Counts) {
    let ledger = world.ledger.lock().clone();
    let first = world.disk.crash_image(Survival::Random(way));
    for n in 0.. {
        let dying = first.crash_image(Survival::Everything);
        dying.crash_at(dying.operations() + n);
        if let Ok(store) = world.open(&dying, 500 + n) {
            // Also in the middle of archiving what was recovered.
            let _ = store.archive();
        }
        let crashed = dying.crashed();
        dying.heal();
        counts.points.fetch_add(1, Relaxed);
        for (what, image) in images(&dying, way * 100 + n, 8) {
            counts.images.fetch_add(1, Relaxed);
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let store = world.check(&image, 900_000 + n, &ledger);
                if n.is_multiple_of(4) {
                    world.send_again(&store, &ledger);
                }
            }));
            assert!(checked.is_ok(), "way {way}, operation {n} of recovery, {what}");
        }
        if !crashed {
            return;
        }
    }
}
