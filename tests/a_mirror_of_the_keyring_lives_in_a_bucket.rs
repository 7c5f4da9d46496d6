//! A mirror in a bucket: it opens everything when the machine is gone, survives whoever dies at any request, and takes no second writer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::sync::Arc;

use common::backups::*;
use common::sim::{SITES, World, key_on, options};
use common::{session_id, site_id};
use reelvault::backup::{Repository, SimPlace, Trouble, What};
use reelvault::env::Clock;
use reelvault::env::sim::{SimDisk, Survival};
use reelvault::{Error, Held, MirrorState, Options, Result, SiteId, Store};

const GONE: &str = "shop.example-a";

fn bucket(world: &World, seed: u64) -> SimPlace {
    SimPlace::new(world.clock.now_ms(), seed)
}

/// A bucket with the same objects, of which later requests know nothing.
fn copy_of(world: &World, bucket: &SimPlace) -> SimPlace {
    let copy = self::bucket(world, 0);
    bucket.objects().iter().for_each(|(name, bytes)| copy.spoil(name, bytes));
    copy
}

/// The store with its two files and a bucket as mirrors.
fn open(world: &World, disk: &SimDisk, bucket: &SimPlace, seed: u64) -> Result<Store> {
    let env = disk.env(&world.clock, seed);
    let provider = key_on(&env)?;
    // Small parts, so that there are some.
    let options = options(env, &provider).keyring_part_bytes(200);
    Store::open(options.mirror_in(Arc::new(bucket.clone())))
}

/// A machine with a few recordings, and an empty bucket in which the keyring then has a mirror.
fn world(seed: u64) -> (World, SimPlace) {
    let world = World::new(seed);
    let bucket = bucket(&world, seed);
    let store = open(&world, &world.disk, &bucket, seed + 1).unwrap();
    record(&world, &store, &["a", "b"], 0, 2);
    store.archive().unwrap();
    store.close().unwrap();
    (world, bucket)
}

fn erase(store: &Store) -> Result<()> {
    let site = store.site(&site_id(SITES[0]))?;
    site.erase_sessions([session_id(GONE)], Held::Refuse).map(drop)
}

fn is_erased(store: &Store) -> bool {
    let site = store.site(&site_id(SITES[0])).unwrap();
    let tells = |e: &Error| matches!(e, Error::Erased);
    site.session(&session_id(GONE)).is_err_and(|e| tells(&e))
}

#[test]
fn with_the_machine_gone_the_bucket_and_the_key_open_the_backup() {
    let (world, keys) = world(1);
    let backups = bucket(&world, 2);
    let repository = Repository::open_or_make(
        Arc::new(backups.clone()),
        options_on(&world, &world.disk, 3).mirror_in(Arc::new(keys.clone())),
    );
    back_up_whole(&repository.unwrap());
    let store = open(&world, &world.disk, &keys, 4).unwrap();
    erase(&store).unwrap();
    let all = content(&store);
    store.close().unwrap();

    // Of the old machine there is the key file, which lay elsewhere.
    let (env, disk, _) = reelvault::env::sim::env(5);
    env.disk.create_dir("/keys".as_ref()).unwrap();
    disk.write_file("/keys/key", &world.disk.file_bytes("/keys/key").unwrap()).unwrap();
    let env = disk.env(&world.clock, 6);
    let alone = Options::new("/store", [], key_on(&env).unwrap()).env(env);
    let alone = alone.mirror_in(Arc::new(keys));
    let repository = Repository::open(Arc::new(backups), alone.clone()).unwrap();
    let _ = restore(&repository, 1, "/store", &What::All);
    let store = Store::open(alone).unwrap();
    assert_eq!(content(&store), all);
    assert!(is_erased(&store));
}

#[test]
#[ignore = "slow: a sixth of a minute"]
fn whoever_changes_the_keyring_dies_at_every_request() {
    let (world, bucket) = world(10);
    let before = copy_of(&world, &bucket);
    let mut points = 0;
    loop {
        let disk = world.disk.crash_image(Survival::Everything);
        let bucket = copy_of(&world, &before);
        let store = open(&world, &disk, &bucket, 100 + points).unwrap();
        let requests = bucket.requests();
        bucket.die_at(Some(requests + points));
        let done = erase(&store).is_ok();
        drop(store);
        bucket.die_at(None);
        let died = bucket.requests() > requests + points;

        let store = open(&world, &disk, &bucket, 1_000 + points).unwrap();
        assert!(is_erased(&store) || !done, "at {points}: it came back");
        erase(&store).unwrap();
        assert!(is_erased(&store));
        let whole = |mirrors: &[_]| mirrors.iter().all(|state| *state == MirrorState::Whole);
        let states: Vec<_> = store.check_mirrors().into_iter().map(|m| m.state).collect();
        assert!(states.len() == 3 && whole(&states), "at {points}: {states:?}");
        store.close().unwrap();

        // What a thief copied before opens no more.
        let env = disk.env(&world.clock, 2_000 + points);
        let stolen = Options::new("/store", [], key_on(&env).unwrap()).env(env);
        let stolen = Store::open_read_only(stolen.mirror_in(Arc::new(copy_of(&world, &before))));
        assert!(matches!(stolen, Err(Error::MissingKeyVersion(_))), "at {points}");
        if !died {
            break;
        }
        points += 1;
    }
    assert!(points >= 10, "{points} points");
}

#[test]
fn a_bucket_that_loses_doubles_and_lies_keeps_what_was_acknowledged() {
    let mut failures = 0;
    for seed in 0..40 {
        let (world, bucket) = world(20 + seed * 10);
        let store = open(&world, &world.disk, &bucket, 21 + seed).unwrap();
        bucket.trouble(Trouble { lost: 20, unsure: 20, doubled: 20, delayed: 20 });
        let mut added = Vec::new();
        for n in 0..6 {
            let id = SiteId::new(format!("new-{n}.example")).unwrap();
            match store.add_site(id.clone(), 30) {
                Ok(_) => added.push(id),
                Err(_) => failures += 1,
            }
        }
        let erased = erase(&store).is_ok();
        drop(store);
        bucket.trouble(Trouble::default());
        let store = open(&world, &world.disk, &bucket, 22 + seed).unwrap();
        added.iter().for_each(|id| drop(store.site(id).unwrap()));
        assert!(is_erased(&store) || !erased, "seed {seed}");
        assert!(store.check_mirrors().iter().all(|m| m.state == MirrorState::Whole), "{seed}");
    }
    assert!(failures > 10, "{failures} failures");
}

#[test]
fn a_writer_on_another_machine_is_found_out() {
    let (world, bucket) = world(500);
    let other = world.disk.crash_image(Survival::Everything);
    let store = open(&world, &world.disk, &bucket, 501).unwrap();
    let second = open(&world, &other, &bucket, 502).unwrap();
    store.add_site(SiteId::new("one.example").unwrap(), 30).unwrap();
    assert!(second.add_site(SiteId::new("two.example").unwrap(), 30).is_err());
    store.add_site(SiteId::new("three.example").unwrap(), 30).unwrap();
    drop((store, second));
    let store = open(&world, &world.disk, &bucket, 503).unwrap();
    for (id, is_there) in [("one.example", true), ("two.example", false), ("three.example", true)] {
        assert_eq!(store.site(&SiteId::new(id).unwrap()).is_ok(), is_there, "{id}");
    }
}

#[test]
fn in_a_locked_bucket_older_generations_stay_and_are_dead() {
    let (world, bucket) = world(600);
    bucket.lock();
    let before = copy_of(&world, &bucket);
    let store = open(&world, &world.disk, &bucket, 601).unwrap();
    erase(&store).unwrap();
    store.close().unwrap();
    let is_there = |name: &String| bucket.objects().iter().any(|(there, _)| there == name);
    assert!(before.objects().iter().all(|(name, _)| is_there(name)));
    assert!(is_erased(&open(&world, &world.disk, &bucket, 602).unwrap()));
    let env = world.disk.env(&world.clock, 603);
    let stolen = Options::new("/store", [], key_on(&env).unwrap()).env(env);
    let stolen = Store::open_read_only(stolen.mirror_in(Arc::new(before)));
    assert!(matches!(stolen, Err(Error::MissingKeyVersion(_))));
}

#[test]
fn a_mirror_in_a_bucket_is_added_and_what_stands_there_is_left_alone() {
    let world = World::new(700);
    let (bucket, foreign) = (bucket(&world, 701), bucket(&world, 702));
    let store = world.open(&world.disk, 703).unwrap();
    store.add_mirror_in(Arc::new(bucket.clone())).unwrap();
    foreign.spoil("keyring/what is this", b"no keyring");
    assert!(store.add_mirror_in(Arc::new(foreign.clone())).is_err());
    assert_eq!(foreign.objects().len(), 1);
    store.close().unwrap();
    assert!(open(&world, &world.disk, &bucket, 704).is_ok());
    assert!(open(&world, &world.disk, &foreign, 705).is_err());
}
