//! A backup dies at any moment, a place fails in any way: earlier snapshots are unharmed, and the next run completes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use common::DAY;
use common::backups::*;
use common::sim::World;
use reelvault::backup::{Place, ReadShare, Repository, Restored, SimPlace, Trouble, What};
use reelvault::env::Clock;
use reelvault::env::sim::{Fault, SimDisk, Survival, When};
use reelvault::{Error, Options, Result, Store};

/// A store with one backup in its past, and recordings since.
fn grown(seed: u64) -> (World, Content, Content) {
    let world = World::new(seed);
    let store = world.open(&world.disk, seed + 1).unwrap();
    record(&world, &store, &["a"], 0, 4);
    store.archive().unwrap();
    record(&world, &store, &["b"], 0, 2);
    let place = dir_place(&world, &world.disk, seed + 2);
    back_up_whole(&repository(&world, &world.disk, &place, seed + 3).unwrap());
    let before = content(&store);
    record(&world, &store, &["b", "c"], 2, 2);
    store.archive().unwrap();
    for day in ["d", "e", "f", "g", "h", "i", "j", "k"] {
        world.clock.advance_ms(DAY);
        record(&world, &store, &[day], 0, 2);
        store.archive().unwrap();
    }
    record(&world, &store, &["c"], 4, 2);
    let after = content(&store);
    store.close().unwrap();
    (world, before, after)
}

/// Opens snapshot 1 as it was, and makes a backup that then restores to what the store holds.
fn check(world: &World, disk: &SimDisk, place: &Arc<dyn Place>, seed: u64, of: [&Content; 2]) {
    let repository = Repository::open(Arc::clone(place), options_on(world, disk, seed)).unwrap();
    assert_eq!(&content(&repository.open_snapshot(1).unwrap()), of[0], "the first snapshot");
    for number in (2..=repository.latest(None).unwrap()).rev() {
        assert_eq!(&content(&repository.open_snapshot(number).unwrap()), of[1], "half of one");
    }
    let done = back_up(&repository).unwrap();
    let checked = repository.check(ReadShare::All, ON).unwrap();
    assert!(checked.damage.is_empty(), "{:?}", checked.damage);
    let dir = format!("/restored-{seed}");
    let _ = restore(&repository, done.snapshot.unwrap(), &dir, &What::All);
    assert_eq!(&content(&open_restored(world, disk, &dir, seed + 1).unwrap()), of[1]);
}

#[test]
#[ignore = "slow: a quarter of a minute"]
fn a_backup_is_killed_or_loses_power_at_every_operation() {
    // Two copiers share the work in another order each time, so each world has points of its own.
    let points: u64 = (0..5).map(|world| killed_at_every_operation(world * 1_000_000)).sum();
    assert!(points >= 200, "{points} points");
}

fn killed_at_every_operation(seed: u64) -> u64 {
    let (world, before, after) = grown(seed + 1);
    for points in seed.. {
        let disk = world.disk.crash_image(Survival::Everything);
        disk.crash_at(disk.operations() + points - seed);
        let place = dir_place(&world, &disk, 100 + points);
        let made = repository(&world, &disk, &place, 10_000 + points).and_then(|r| back_up(&r));
        let crashed = disk.crashed();
        assert_eq!(made.is_err(), crashed);
        for survival in [Survival::Everything, Survival::Nothing, Survival::Random(points)] {
            let image = disk.crash_image(survival);
            let place = dir_place(&world, &image, 200_000 + points);
            check(&world, &image, &place, 300_000 + 10 * points, [&before, &after]);
        }
        if !crashed {
            return points - seed;
        }
    }
    0
}

#[test]
fn a_restore_that_loses_power_at_any_operation_is_no_store_until_it_is_whole() {
    let (world, _, after) = grown(5);
    let place = dir_place(&world, &world.disk, 6);
    let made = repository(&world, &world.disk, &place, 7).and_then(|r| back_up(&r)).unwrap();
    let number = made.snapshot.unwrap();
    let mut points = 0;
    loop {
        let disk = world.disk.crash_image(Survival::Everything);
        disk.crash_at(disk.operations() + points);
        let place = dir_place(&world, &disk, 100 + points);
        let open = |disk: &SimDisk, place: &Arc<dyn Place>, seed| {
            Repository::open(Arc::clone(place), options_on(&world, disk, seed)).unwrap()
        };
        let outcome = open(&disk, &place, 1_000 + points).restore(number, "/new", &What::All, ON);
        let crashed = disk.crashed();
        assert_eq!(outcome.is_err(), crashed);
        for survival in [Survival::Everything, Survival::Nothing, Survival::Random(points)] {
            let image = disk.crash_image(survival);
            match open_restored(&world, &image, "/new", 2_000 + points) {
                Ok(store) => assert_eq!(content(&store), after),
                Err(Error::NoStore(_)) => {
                    let place = dir_place(&world, &image, 3_000 + points);
                    let again = open(&image, &place, 4_000 + points);
                    let _ = restore(&again, number, "/new", &What::All);
                    let store = open_restored(&world, &image, "/new", 5_000 + points).unwrap();
                    assert_eq!(content(&store), after);
                }
                Err(e) => panic!("at {points}: {e}"),
            }
        }
        if !crashed {
            break;
        }
        points += 1;
    }
    assert!(points >= 50, "{points} points");
}

/// A store with a segment and journals.
fn small(seed: u64) -> (World, Content) {
    let world = World::new(seed);
    let store = world.open(&world.disk, seed + 1).unwrap();
    record(&world, &store, &["a"], 0, 2);
    store.archive().unwrap();
    record(&world, &store, &["b"], 0, 1);
    let all = content(&store);
    store.close().unwrap();
    (world, all)
}

/// What a power cut may leave of a disk, the worst first.
fn cuts(disk: &SimDisk, seed: u64) -> impl Iterator<Item = SimDisk> {
    let random = (0..4).map(move |n| Survival::Random(seed * 4 + n));
    let cuts: Vec<_> = [Survival::Nothing].into_iter().chain(random).collect();
    let disk = disk.clone();
    cuts.into_iter().map(move |survival| disk.crash_image(survival))
}

#[test]
fn what_a_killed_backup_has_left_is_durable_once_the_next_one_is_done() {
    let (world, all) = small(61);
    for points in 0.. {
        let disk = world.disk.crash_image(Survival::Everything);
        disk.crash_at(disk.operations() + points);
        let place = dir_place(&world, &disk, 100 + points);
        let made = repository(&world, &disk, &place, 1_000 + points).and_then(|r| back_up(&r));
        // The process is gone; what it wrote is seen by the next one, and on its way to the disk.
        let left = disk.kill_image();
        let place = dir_place(&world, &left, 2_000 + points);
        let again = repository(&world, &left, &place, 3_000 + points).unwrap();
        let number = back_up(&again).unwrap().snapshot.unwrap();
        for (n, cut) in cuts(&left, points).enumerate() {
            let seed = 10_000 + 10 * points + n as u64;
            let place = dir_place(&world, &cut, seed);
            let found = Repository::open(place, options_on(&world, &cut, seed + 100_000))
                .unwrap_or_else(|e| panic!("killed at {points}, cut {n}: {e}"));
            let damage = found.check(ReadShare::All, ON).unwrap().damage;
            assert!(damage.is_empty(), "killed at {points}, cut {n}: {damage:?}");
            assert_eq!(content(&found.open_snapshot(number).unwrap()), all);
        }
        if made.is_ok() {
            assert!(points >= 20, "{points} points");
            return;
        }
    }
}

#[test]
fn what_a_killed_or_interrupted_restore_has_left_is_durable_once_the_next_one_is_done() {
    let (world, all) = small(71);
    let place: Arc<dyn Place> = Arc::new(SimPlace::new(world.clock.now_ms(), 1));
    back_up_whole(&repository(&world, &world.disk, &place, 73).unwrap());
    let restore = |disk: &SimDisk, seed: u64, calls_max: u64| {
        let options = options_on(&world, disk, seed);
        let calls = AtomicU64::new(0);
        let watch = |_| calls.fetch_add(1, Relaxed) < calls_max;
        let repository = Repository::open(Arc::clone(&place), options)?;
        repository.restore(1, "/new", &What::All, &watch)
    };
    let is_durable = |disk: &SimDisk, points: u64| {
        assert!(restore(disk, 2_000 + points, u64::MAX).unwrap().damage.is_empty());
        for (n, cut) in cuts(disk, points).enumerate() {
            let seed = 10_000 + 10 * points + n as u64;
            let store = open_restored(&world, &cut, "/new", seed).unwrap();
            let told = store.verify(reelvault::Depth::Content, |_, _| {}).unwrap();
            assert!(told.is_sound(), "at {points}, cut {n}: {:?}", told.damage);
            assert_eq!(content(&store), all);
        }
    };
    for points in 0.. {
        let disk = world.disk.crash_image(Survival::Everything);
        disk.crash_at(disk.operations() + points);
        let outcome = restore(&disk, 1_000 + points, u64::MAX);
        let left = disk.kill_image();
        if outcome.is_ok() {
            assert!(points >= 20, "{points} points");
            break;
        }
        // It was over but for the mark, perhaps.
        if open_restored(&world, &left, "/new", 3_000 + points).is_err() {
            is_durable(&left, points);
        }
    }
    for calls in 0.. {
        let disk = world.disk.crash_image(Survival::Everything);
        match restore(&disk, 5_000 + calls, calls) {
            Err(Error::Interrupted) => is_durable(&disk, 1_000 + calls),
            outcome => {
                assert!(outcome.unwrap().damage.is_empty());
                assert!(calls >= 2, "{calls} calls");
                return;
            }
        }
    }
}

/// Opens what was restored, to record into it.
fn go_on(world: &World, disk: &SimDisk, seed: u64) -> Result<Store> {
    let mirrors = ["/keys/a/keyring", "/keys/b/keyring"].map(PathBuf::from);
    let env = disk.env(&world.clock, seed);
    let provider = common::sim::key_on(&env)?;
    let options = Options::new("/new", mirrors, provider).env(env).shards(2);
    Store::open(options.journal_bytes(64 << 10).fill_bytes(16 << 10).background(false))
}

/// Restores a snapshot from a bucket.
fn restore_from(
    (world, place): (&World, &Arc<dyn Place>),
    (disk, seed): (&SimDisk, u64),
    number: u64,
    watch: reelvault::backup::Watch<'_>,
) -> Result<Restored> {
    let repository = Repository::open(Arc::clone(place), options_on(world, disk, seed))?;
    repository.restore(number, "/new", &What::All, watch)
}

#[test]
fn a_restore_that_was_over_but_for_its_mark_leaves_what_was_recorded_since_alone() {
    let (world, all) = small(81);
    let place: Arc<dyn Place> = Arc::new(SimPlace::new(world.clock.now_ms(), 1));
    back_up_whole(&repository(&world, &world.disk, &place, 83).unwrap());
    let of = (&world, &place);
    let has = |disk: &SimDisk, name: &str| disk.paths().iter().any(|path| path == Path::new(name));
    let mut over = 0;
    for points in 0.. {
        let disk = world.disk.crash_image(Survival::Everything);
        disk.crash_at(disk.operations() + points);
        let outcome = restore_from(of, (&disk, 1_000 + points), 1, ON);
        for (n, left) in [disk.kill_image(), disk.crash_image(Survival::Nothing)].iter().enumerate()
        {
            if !has(left, "/new/manifest") || !has(left, "/new/restoring") {
                continue;
            }
            over += 1;
            let seed = 10_000 + 100 * points + 10 * n as u64;
            let store = go_on(&world, left, seed).unwrap();
            assert_eq!(content(&store), all);
            record(&world, &store, &["x"], 0, 2);
            store.archive().unwrap();
            record(&world, &store, &["y"], 0, 1);
            let now = content(&store);
            let again = restore_from(of, (left, seed + 1), 1, ON);
            assert!(matches!(again, Err(Error::Locked { .. })), "{again:?}");
            store.close().unwrap();
            for _ in 0..2 {
                let again = restore_from(of, (left, seed + 2), 1, ON);
                assert!(matches!(again, Err(Error::NotEmpty(_))), "{again:?}");
                assert!(!has(left, "/new/restoring"));
                let store = open_restored(&world, left, "/new", seed + 3).unwrap();
                assert_eq!(content(&store), now);
            }
        }
        if outcome.is_ok() {
            break;
        }
    }
    assert!(over >= 2, "{over} were over");
}

#[test]
fn a_restore_that_has_lost_power_is_begun_again_also_when_the_one_before_was_killed() {
    let (world, all) = small(101);
    let place: Arc<dyn Place> = Arc::new(SimPlace::new(world.clock.now_ms(), 1));
    back_up_whole(&repository(&world, &world.disk, &place, 103).unwrap());
    let of = (&world, &place);
    let has = |disk: &SimDisk, name: &str| disk.paths().iter().any(|path| path == Path::new(name));
    let is_begun_again = |disk: &SimDisk, points: u64| {
        for (n, cut) in cuts(disk, points).enumerate() {
            let seed = 10_000 + 10 * points + n as u64;
            if let Err(Error::NoStore(_)) = open_restored(&world, &cut, "/new", seed) {
                let again = restore_from(of, (&cut, seed + 100_000), 1, ON);
                assert!(again.is_ok(), "at {points}, cut {n}: {again:?}");
                let store = open_restored(&world, &cut, "/new", seed + 200_000).unwrap();
                assert_eq!(content(&store), all);
            }
        }
    };
    let mut killed = 0;
    for points in 0.. {
        let disk = world.disk.crash_image(Survival::Everything);
        disk.crash_at(disk.operations() + points);
        let is_over = restore_from(of, (&disk, 1_000 + points), 1, ON).is_ok();
        is_begun_again(&disk, points);
        let is_marked = |disk: &SimDisk| has(disk, "/new/restoring") && !has(disk, "/new/lock");
        // The next one finds the mark, and loses power.
        for more in (0..8).take_while(|_| is_marked(&disk.kill_image())) {
            let left = disk.kill_image();
            left.crash_at(left.operations() + more);
            let _ = restore_from(of, (&left, 2_000 + more), 1, ON);
            is_begun_again(&left, 1_000 * points + more);
            killed += 1;
        }
        if is_over {
            break;
        }
    }
    assert!(killed > 0);
}

#[test]
fn of_two_restores_into_one_directory_the_second_is_refused() {
    let (world, all) = small(91);
    let place: Arc<dyn Place> = Arc::new(SimPlace::new(world.clock.now_ms(), 1));
    back_up_whole(&repository(&world, &world.disk, &place, 93).unwrap());
    let of = (&world, &place);
    let second = AtomicBool::new(false);
    let watch = |_| {
        if !second.swap(true, Relaxed) {
            let refused = restore_from(of, (&world.disk, 94), 1, ON);
            assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
        }
        true
    };
    let restored = restore_from(of, (&world.disk, 95), 1, &watch).unwrap();
    assert!(restored.damage.is_empty() && second.into_inner());
    assert_eq!(content(&open_restored(&world, &world.disk, "/new", 96).unwrap()), all);
}

#[test]
fn an_older_snapshot_is_restored_where_the_restore_of_a_newer_one_was_interrupted() {
    let world = World::new(101);
    let place: Arc<dyn Place> = Arc::new(SimPlace::new(world.clock.now_ms(), 1));
    let repository = repository(&world, &world.disk, &place, 102).unwrap();
    let store = world.open(&world.disk, 103).unwrap();
    record(&world, &store, &["a"], 0, 2);
    back_up_whole(&repository);
    let before = content(&store);
    // Its segments are others, and so are its journals.
    store.archive().unwrap();
    record(&world, &store, &["b", "c"], 0, 3);
    back_up_whole(&repository);
    store.close().unwrap();
    let mut journals = 0;
    for calls in 0.. {
        let disk = world.disk.crash_image(Survival::Everything);
        let (of, seen) = ((&world, &place), AtomicU64::new(0));
        let watch = |_| seen.fetch_add(1, Relaxed) < calls;
        match restore_from(of, (&disk, 1_000 + calls), 2, &watch) {
            Err(Error::Interrupted) => {}
            outcome => {
                assert!(outcome.unwrap().damage.is_empty());
                break;
            }
        }
        let left = disk.paths().iter().filter(|path| path.starts_with("/new/journal")).count();
        journals += left;
        assert!(restore_from(of, (&disk, 2_000 + calls), 1, ON).unwrap().damage.is_empty());
        let reader = open_restored(&world, &disk, "/new", 3_000 + calls).unwrap();
        assert_eq!(content(&reader), before);
        drop(reader);
        assert_eq!(content(&go_on(&world, &disk, 4_000 + calls).unwrap()), before);
    }
    assert!(journals > 0, "it was interrupted among the journals, too");
}

#[test]
fn whoever_makes_backups_into_a_bucket_dies_at_every_request() {
    let (world, _, after) = grown(11);
    let mut deaths = 0;
    loop {
        let sim = SimPlace::new(world.clock.now_ms(), deaths);
        let place: Arc<dyn Place> = Arc::new(sim.clone());
        let disk = world.disk.crash_image(Survival::Everything);
        sim.die_at(Some(deaths));
        let made = repository(&world, &disk, &place, 1_000 + deaths).and_then(|r| back_up(&r));
        sim.die_at(None);
        let again = repository(&world, &disk, &place, 2_000 + deaths).unwrap();
        let visible = again.latest(None).ok();
        if let Some(number) = visible {
            assert_eq!(content(&again.open_snapshot(number).unwrap()), after, "half of one");
        }
        assert!(made.is_err() || visible.is_some());
        let done = back_up(&again).unwrap();
        assert_eq!(content(&again.open_snapshot(done.snapshot.unwrap()).unwrap()), after);
        if made.is_ok() {
            break;
        }
        deaths += 1;
    }
    assert!(deaths >= 40, "{deaths} requests");
}

#[test]
fn a_bucket_that_loses_doubles_delays_and_lies_yields_whole_snapshots_or_errors() {
    let (world, _, after) = grown(21);
    let (mut made, mut failed) = (0, 0);
    for seed in 0..200 {
        let sim = SimPlace::new(world.clock.now_ms(), seed);
        let place: Arc<dyn Place> = Arc::new(sim.clone());
        let disk = world.disk.crash_image(Survival::Everything);
        let repository = repository(&world, &disk, &place, 1_000 + seed).unwrap();
        sim.trouble(Trouble { lost: 6, unsure: 6, doubled: 24, delayed: 64 });
        for _ in 0..4 {
            match back_up(&repository) {
                Ok(_) => made += 1,
                Err(Error::Io { .. }) => failed += 1,
                Err(e) => panic!("{e}"),
            }
        }
        sim.trouble(Trouble::default());
        let (snapshots, damage) = repository.snapshots().unwrap();
        assert!(damage.is_empty(), "{damage:?}");
        for snapshot in snapshots {
            let store = repository.open_snapshot(snapshot.number).unwrap();
            assert_eq!(content(&store), after, "seed {seed}");
        }
        back_up_whole(&repository);
        assert!(repository.check(ReadShare::All, ON).unwrap().damage.is_empty(), "seed {seed}");
    }
    assert!(made > 100 && failed > 50, "{made} made, {failed} failed");
}

#[test]
fn credentials_that_may_put_list_and_read_the_root_are_enough_for_a_backup() {
    let world = World::new(900);
    let sim = SimPlace::new(world.clock.now_ms(), 901);
    let place: Arc<dyn Place> = Arc::new(sim.clone());
    let store = world.open(&world.disk, 902).unwrap();
    record(&world, &store, &["a"], 0, 3);
    store.archive().unwrap();
    back_up_whole(&repository(&world, &world.disk, &place, 903).unwrap());
    sim.deny_reads(true);
    record(&world, &store, &["b"], 0, 3);
    store.archive().unwrap();
    let done = back_up(&repository(&world, &world.disk, &place, 904).unwrap()).unwrap();
    assert_eq!(done.snapshot, Some(2));
    sim.deny_reads(false);
    let open = Repository::open(place, options_on(&world, &world.disk, 905)).unwrap();
    assert_eq!(content(&open.open_snapshot(2).unwrap()), content(&store));
    assert!(open.check(ReadShare::All, ON).unwrap().damage.is_empty());
}

#[test]
fn two_backups_of_one_store_at_once_are_both_whole() {
    let (world, _, after) = grown(31);
    let place: Arc<dyn Place> = Arc::new(SimPlace::new(world.clock.now_ms(), 1));
    let open = |seed| repository(&world, &world.disk, &place, seed).unwrap();
    let (one, other) = (open(32), open(33));
    std::thread::scope(|scope| {
        for repository in [&one, &other] {
            scope.spawn(move || (0..8).for_each(|_| drop(back_up(repository).unwrap())));
        }
    });
    let (snapshots, damage) = one.snapshots().unwrap();
    assert!(damage.is_empty());
    let numbers: Vec<u64> = snapshots.iter().map(|s| s.number).collect();
    assert_eq!(numbers, (1..=16).rev().collect::<Vec<_>>());
    for number in numbers {
        assert_eq!(content(&one.open_snapshot(number).unwrap()), after);
    }
}

#[test]
fn an_attacker_with_the_backups_credentials_destroys_nothing_in_a_locked_bucket() {
    let (world, _, after) = grown(41);
    let sim = SimPlace::new(world.clock.now_ms(), 1);
    sim.lock();
    let place: Arc<dyn Place> = Arc::new(sim.clone());
    let repository = repository(&world, &world.disk, &place, 42).unwrap();
    let number = back_up(&repository).unwrap().snapshot.unwrap();
    for (name, bytes) in sim.objects() {
        assert!(place.remove(&name).is_err());
        let mut garbage = reelvault_body(bytes.len());
        assert!(place.put(&name, &mut garbage).is_err());
        assert!(place.create(&name, b"ransom").is_err());
    }
    assert!(repository.forget(&[number]).is_err());
    assert_eq!(content(&repository.open_snapshot(number).unwrap()), after);
    // Backups go on: they never need to remove or replace anything.
    assert_eq!(back_up(&repository).unwrap().snapshot, Some(number + 1));
}

/// As many bytes of nothing.
fn reelvault_body(bytes: usize) -> impl reelvault::backup::Body {
    struct Zeros(u64);
    impl reelvault::backup::Body for Zeros {
        fn bytes(&self) -> u64 {
            self.0
        }
        fn fill(&mut self, buf: &mut [u8]) -> std::io::Result<()> {
            buf.fill(0);
            Ok(())
        }
    }
    Zeros(bytes as u64)
}

#[test]
fn a_full_disk_fails_a_backup_cleanly_and_the_next_one_goes_on() {
    let (world, before, after) = grown(51);
    let mut failed = 0;
    for at in (0..80).step_by(3) {
        let disk = world.disk.crash_image(Survival::Everything);
        let start = disk.operations();
        disk.fail(When::From(start + at), Fault::Full);
        let place = dir_place(&world, &disk, 100 + at);
        match repository(&world, &disk, &place, 1_000 + at).and_then(|r| back_up(&r)) {
            Err(Error::DiskFull { .. }) => failed += 1,
            Err(e) => panic!("at {at}: {e}"),
            Ok(_) => {}
        }
        disk.heal();
        check(&world, &disk, &place, 2_000 + 10 * at, [&before, &after]);
    }
    assert!(failed > 5, "{failed}");
}
