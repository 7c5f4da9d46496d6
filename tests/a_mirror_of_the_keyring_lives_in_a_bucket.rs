//! A mirror in a bucket: it opens everything when the machine is gone, survives whoever dies at any request, and takes no second writer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

use common::backups::*;
use common::meddled::MeddledBucket;
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

fn is_refused(outcome: Result<impl Sized>, as_told: fn(&Error) -> bool) -> bool {
    outcome.err().is_some_and(|e| as_told(&e))
}

#[test]
fn a_reader_that_cannot_look_into_any_mirror_serves_nothing_until_it_can() {
    let (world, bucket) = world(910);
    let writer = open(&world, &world.disk, &bucket, 911).unwrap();
    // Its way to the bucket is cut later, and not the writer's.
    let seen = bucket.image();
    let env = world.disk.env(&world.clock, 912);
    let alone = Options::new("/store", [], key_on(&env).unwrap()).env(env);
    let reader = Store::open_read_only(alone.mirror_in(Arc::new(seen.clone()))).unwrap();
    let site = reader.site(&site_id(SITES[0])).unwrap();
    let mut replay = site.replay(&session_id(GONE)).unwrap();
    erase(&writer).unwrap();
    seen.die_at(Some(seen.requests()));
    world.clock.advance_ms(2_000);
    for _ in 0..2 {
        let is_io = |e: &Error| matches!(e, Error::Io { .. });
        assert!(is_refused(site.replay(&session_id(GONE)), is_io));
        assert!(is_refused(replay.next_chunk(), is_io));
        assert!(is_refused(reader.site(&site_id(SITES[0])), is_io));
        assert!(is_refused(site.holds(), is_io));
        assert!(is_refused(reader.holds(), is_io));
    }
    seen.die_at(None);
    bucket.objects().iter().for_each(|(name, bytes)| seen.spoil(name, bytes));
    assert!(is_refused(site.replay(&session_id(GONE)), |e| matches!(e, Error::Erased)));
    // As long as one mirror tells, the others need not.
    seen.die_at(Some(seen.requests()));
    world.clock.advance_ms(2_000);
    let env = world.disk.env(&world.clock, 913);
    let both = options(env.clone(), &key_on(&env).unwrap()).mirror_in(Arc::new(seen));
    let reader = Store::open_read_only(both).unwrap();
    world.clock.advance_ms(2_000);
    assert!(is_erased(&reader));
}

/// A reader with files and a bucket, and a bucket of its own that is behind, and answers nothing before it may once it is slow.
struct SlowReader {
    store: Store,
    is_slow: Arc<AtomicBool>,
    asked: Arc<Barrier>,
    may: Arc<Barrier>,
}

impl SlowReader {
    fn open(world: &World, bucket: &SimPlace, seed: u64) -> Self {
        let is_slow = Arc::new(AtomicBool::new(false));
        let [asked, may] = [(); 2].map(|()| Arc::new(Barrier::new(2)));
        let (slow, was_asked, answers) = (is_slow.clone(), asked.clone(), may.clone());
        let place = MeddledBucket::new(bucket.image(), move |_, _| {
            if slow.swap(false, Relaxed) {
                was_asked.wait();
                answers.wait();
            }
        });
        let env = world.disk.env(&world.clock, seed);
        let both = options(env.clone(), &key_on(&env).unwrap()).keyring_part_bytes(200);
        let store = Store::open_read_only(both.mirror_in(place)).unwrap();
        Self { store, is_slow, asked, may }
    }
}

/// A bucket that is out of reach takes long to say so: everybody waited for it, one after the other.
#[test]
fn readers_go_on_while_one_of_them_waits_for_a_mirror() {
    let (world, bucket) = world(930);
    let reader = SlowReader::open(&world, &bucket, 931);
    let site = reader.store.site(&site_id(SITES[0])).unwrap();
    world.clock.advance_ms(2_000);
    reader.is_slow.store(true, Relaxed);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| site.session(&session_id(GONE)).map(drop));
        reader.asked.wait();
        site.session(&session_id(GONE)).unwrap();
        reader.may.wait();
        waiting.join().unwrap().unwrap();
    });
}

/// What was erased while one looked was served for half a minute more, counted from when that look came to its end.
#[test]
fn what_is_erased_while_a_reader_waits_for_a_mirror_is_not_shown_half_a_minute_later() {
    let (world, bucket) = world(940);
    let writer = open(&world, &world.disk, &bucket, 941).unwrap();
    let reader = SlowReader::open(&world, &bucket, 942);
    let site = reader.store.site(&site_id(SITES[0])).unwrap();
    world.clock.advance_ms(2_000);
    reader.is_slow.store(true, Relaxed);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| site.session(&session_id(GONE)).map(drop));
        reader.asked.wait();
        erase(&writer).unwrap();
        world.clock.advance_ms(31_000);
        reader.may.wait();
        waiting.join().unwrap().unwrap();
    });
    assert!(is_erased(&reader.store), "that look began before the erasure");

    // The files have told it before the bucket is asked, which a slow one is rarely.
    let next = session_id("shop.example-b");
    reader.is_slow.store(true, Relaxed);
    world.clock.advance_ms(50_000);
    site.session(&next).unwrap();
    writer.site(&site_id(SITES[0])).unwrap().erase_sessions([next.clone()], Held::Refuse).unwrap();
    world.clock.advance_ms(11_000);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| site.session(&next).map(drop));
        reader.asked.wait();
        let is_refused = is_refused(site.session(&next), |e| matches!(e, Error::Erased));
        reader.may.wait();
        assert!(is_refused);
        assert!(waiting.join().unwrap().is_err());
    });
}

#[test]
fn a_reader_that_cannot_open_a_newer_keyring_serves_nothing_until_it_can() {
    let (world, bucket) = world(920);
    let writer = open(&world, &world.disk, &bucket, 921).unwrap();
    // A key file as it was before the erasure: it opens what was, and nothing later.
    let keys = world.disk.crash_image(Survival::Everything);
    let provider = key_on(&keys.env(&world.clock, 922)).unwrap();
    let of_reader = options(world.disk.env(&world.clock, 923), &provider);
    let reader = of_reader.keyring_part_bytes(200).mirror_in(Arc::new(bucket.clone()));
    let reader = Store::open_read_only(reader).unwrap();
    let site = reader.site(&site_id(SITES[0])).unwrap();
    erase(&writer).unwrap();
    world.clock.advance_ms(2_000);
    for _ in 0..3 {
        let is_missing = |e: &Error| matches!(e, Error::MissingKeyVersion(_));
        assert!(is_refused(site.replay(&session_id(GONE)), is_missing));
        assert!(is_refused(reader.site(&site_id(SITES[0])), is_missing));
    }
    keys.write_file("/keys/key", &world.disk.file_bytes("/keys/key").unwrap()).unwrap();
    assert!(is_refused(site.replay(&session_id(GONE)), |e| matches!(e, Error::Erased)));
}

#[test]
fn a_damaged_newest_keyring_is_replaced_where_the_oldest_one_cannot_be_removed() {
    let (world, bucket) = world(840);
    let mut objects = bucket.objects().into_iter();
    let (newest, bytes) = objects.find(|(name, _)| name.starts_with("keyring/")).unwrap();
    let rank = u64::from_str_radix(newest.strip_prefix("keyring/").unwrap(), 16).unwrap();
    let [older, newer] = [rank + 1, rank - 1].map(|rank| format!("keyring/{rank:016x}"));
    bucket.spoil(&older, &bytes);
    bucket.lock_one(&older);
    bucket.spoil(&newer, &bytes[..100]);
    let store = open(&world, &world.disk, &bucket, 841).unwrap();
    let mirrors = store.check_mirrors();
    assert!(mirrors.iter().all(|m| m.state == MirrorState::Whole), "in the bucket, too");
    let is_there = |name: &String| bucket.objects().iter().any(|(object, _)| object == name);
    assert!(is_there(&older) && !is_there(&newer));
}

#[test]
fn in_a_locked_bucket_a_change_asks_for_no_more_after_many_than_after_a_few() {
    let (world, bucket) = world(830);
    bucket.lock();
    let store = open(&world, &world.disk, &bucket, 831).unwrap();
    let add = |n: u32| drop(store.add_site(SiteId::new(format!("s-{n}.example")).unwrap(), 30));
    let cost = || {
        let before = bucket.requests();
        store.rotate_keys().unwrap();
        bucket.requests() - before
    };
    (0..5).for_each(add);
    let few = cost();
    (5..50).for_each(add);
    let many = cost();
    assert!(many <= few + 1, "{few} and {many} requests");
    assert_eq!(store.sites().len(), 52);
}
