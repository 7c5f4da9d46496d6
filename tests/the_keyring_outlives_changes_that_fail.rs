//! Changes of the keyring that a bucket takes late, half, unanswered or not at all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use common::backups::*;
use common::meddled::MeddledBucket;
use common::sim::{SITES, World, key_on, options};
use common::{DAY, replayed, site_id};
use reelvault::backup::{Place, SimPlace, Trouble};
use reelvault::env::Clock;
use reelvault::{Held, Query, Retention, Store};

fn bucket(world: &World, seed: u64) -> SimPlace {
    SimPlace::new(world.clock.now_ms(), seed)
}

/// The store with a keyring that is all in one file: a change asks the bucket for nothing before it is to take its place.
fn open_in_one(world: &World, bucket: &SimPlace, seed: u64) -> Store {
    open_through(world, Arc::new(bucket.clone()), seed)
}

fn open_through(world: &World, place: Arc<dyn Place>, seed: u64) -> Store {
    let env = world.disk.env(&world.clock, seed);
    let options = options(env.clone(), &key_on(&env).unwrap());
    Store::open(options.mirror_in(place)).unwrap()
}

fn generations(bucket: &SimPlace) -> usize {
    bucket.objects().iter().filter(|(name, _)| name.starts_with("keyring/")).count()
}

/// A bucket that answers no more from a keyring on, once it is told so: nearly all requests are done, and none is answered.
fn falling_silent(bucket: &SimPlace) -> (Arc<MeddledBucket>, Arc<AtomicBool>) {
    let is_silent = Arc::new(AtomicBool::new(false));
    let silent = Arc::clone(&is_silent);
    let place = MeddledBucket::new(bucket.clone(), move |sim, name| {
        if silent.load(Relaxed) && name.starts_with("keyring/") {
            sim.trouble(Trouble { unsure: 255, ..Trouble::default() });
        }
    });
    (place, is_silent)
}

/// A store with a session, and a bucket that has taken the erasure of its site and did not say so.
fn taken_and_not_answered(seed: u64) -> (World, SimPlace, Store) {
    let world = World::new(seed);
    let bucket = bucket(&world, seed + 1);
    let (place, is_silent) = falling_silent(&bucket);
    let store = open_through(&world, place, seed + 2);
    record(&world, &store, &["a"], 0, 1);
    // After this, maintenance has nothing to change by itself.
    store.maintain().unwrap();
    is_silent.store(true, Relaxed);
    assert!(store.erase_site(&site_id(SITES[0]), Held::Refuse).is_err());
    is_silent.store(false, Relaxed);
    bucket.trouble(Trouble::default());
    (world, bucket, store)
}

#[test]
fn a_change_that_the_bucket_did_not_take_is_not_found_by_the_next_open() {
    let world = World::new(800);
    let bucket = bucket(&world, 801);
    let store = open_in_one(&world, &bucket, 802);
    record(&world, &store, &["a"], 0, 1);
    bucket.die_at(Some(bucket.requests()));
    assert!(store.erase_site(&site_id(SITES[0]), Held::Refuse).is_err());
    record(&world, &store, &["a"], 1, 1);
    let all = content(&store);
    // The process ends before it hears of the bucket again.
    drop(store);
    bucket.die_at(None);
    assert_eq!(content(&open_in_one(&world, &bucket, 803)), all);
}

#[test]
fn a_change_that_failed_half_way_is_put_back_by_maintenance() {
    let mut put_back = 0;
    for point in 0.. {
        let world = World::new(810);
        let bucket = bucket(&world, 811);
        let store = open_in_one(&world, &bucket, 812);
        record(&world, &store, &["a"], 0, 1);
        // After this, maintenance has nothing to change by itself.
        store.maintain().unwrap();
        let before = bucket.objects();
        bucket.die_at(Some(bucket.requests() + point));
        let erased = store.erase_site(&site_id(SITES[0]), Held::Refuse);
        bucket.die_at(None);
        if erased.is_ok() {
            break;
        }
        put_back += u32::from(bucket.objects() != before);
        record(&world, &store, &["a"], 1, 1);
        let all = content(&store);
        store.maintain().unwrap();
        drop(store);
        let store = open_in_one(&world, &bucket, 813);
        assert_eq!(content(&store), all, "at {point}");
        // The version of an attempt of which no mirror has anything stays until the next change.
        let keys = store.key_status().unwrap();
        assert!(keys.undestroyed.iter().all(|version| *version > keys.version), "at {point}");
    }
    assert!(put_back > 1, "{put_back}");
}

#[test]
fn a_change_whose_answer_was_lost_is_put_back_by_maintenance() {
    let (world, bucket, store) = taken_and_not_answered(820);
    assert_eq!(generations(&bucket), 2);
    record(&world, &store, &["a"], 1, 1);
    let all = content(&store);
    store.maintain().unwrap();
    drop(store);
    assert_eq!(content(&open_in_one(&world, &bucket, 823)), all);
}

/// A request that was given up is on its way somewhere: what maintenance did not find then came afterwards, and was the newest.
#[test]
fn a_change_that_reaches_the_bucket_long_after_it_failed_is_not_found_by_the_next_open() {
    let (world, bucket, store) = taken_and_not_answered(850);
    // The newest is listed first.
    let late = bucket.objects().into_iter().find(|(name, _)| name.starts_with("keyring/")).unwrap();
    assert_eq!(generations(&bucket), 2);
    bucket.lose(&late.0);
    for _ in 0..3 {
        store.maintain().unwrap();
    }
    bucket.spoil(&late.0, &late.1);
    record(&world, &store, &["a"], 1, 1);
    let all = content(&store);
    drop(store);
    assert_eq!(content(&open_in_one(&world, &bucket, 853)), all);
}

/// Each attempt at a change spends a version of the key file, of which there are 1,024: when none was left, nothing could ever be deleted again.
#[test]
fn a_bucket_that_takes_nothing_for_a_month_leaves_versions_of_the_key_file() {
    let world = World::new(860);
    let refusing = MeddledBucket::new(bucket(&world, 861), |_, _| ());
    let env = world.disk.env(&world.clock, 862);
    let options = options(env.clone(), &key_on(&env).unwrap());
    let options = options.mirror_in(Arc::new(bucket(&world, 863)));
    let store = Store::open(options.mirror_in(Arc::clone(&refusing) as _)).unwrap();
    record(&world, &store, &["a"], 0, 1);
    let site = store.site(&site_id(SITES[0])).unwrap();
    let held = site.sessions(&Query::new()).unwrap().sessions.remove(0);
    site.hold(&held.id, "case 1").unwrap();
    record(&world, &store, &["a"], 1, 1);
    let whole = site.session(&held.id).unwrap();
    store.archive().unwrap();
    let before = segments(&world).len();
    refusing.refuses.store(true, Relaxed);
    // Every second or so in an open store; the days pass faster here.
    world.clock.advance_ms(u64::from(held.retention_days + 2) * DAY);
    for _ in 0..40_000 {
        world.clock.advance_ms(60_000);
        let _ = store.maintain();
    }
    let spent = store.key_status().unwrap().undestroyed.len();
    assert!((200..500).contains(&spent), "{spent} of 1,024");
    assert!(segments(&world).len() <= before + 1, "not each attempt leaves another copy");
    assert!(store.stats().unwrap().maintenance_failed);
    refusing.refuses.store(false, Relaxed);
    world.clock.advance_ms(DAY);
    store.maintain().unwrap();
    assert_eq!(store.key_status().unwrap().undestroyed.len(), 0);
    let kept = site.session(&held.id).unwrap();
    assert_eq!((kept.held, kept.chunks), (true, whole.chunks));
}

/// The new copy of a hold went with the change that named it, though the bucket had that, and the old one's key had left.
#[test]
fn the_copy_of_a_hold_stays_while_the_next_open_may_find_the_change_that_needs_it() {
    let world = World::new(870);
    let bucket = bucket(&world, 871);
    let (place, is_silent) = falling_silent(&bucket);
    let store = open_through(&world, place, 872);
    record(&world, &store, &["a"], 0, 1);
    store.archive().unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    let held = site.sessions(&Query::new()).unwrap().sessions.remove(0);
    let originals = segments(&world);
    site.hold(&held.id, "case 2").unwrap();
    record(&world, &store, &["a"], 1, 1);
    let whole = replayed(&site, held.id.as_str());
    // The first chunk is in the copy alone from here on.
    for path in originals {
        world.disk.corrupt(&path, 200, 1).unwrap();
    }
    let last_ms = u64::from(held.expiry_day) * DAY;
    store.retention(&Retention::new().now_ms(last_ms - 1)).unwrap();
    is_silent.store(true, Relaxed);
    let all_passed = Retention::new().now_ms(last_ms);
    let expiry = store.retention(&all_passed).unwrap();
    assert!(expiry.kept_back.is_some(), "{expiry:?}");
    is_silent.store(false, Relaxed);
    bucket.trouble(Trouble::default());
    // The process ends before it could put its own generation over what the bucket has.
    drop((site, store));
    let store = open_in_one(&world, &bucket, 873);
    store.retention(&all_passed).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    assert_eq!(replayed(&site, held.id.as_str()), whole);
}

fn segments(world: &World) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| path.extension().is_some_and(|e| e == "rvs");
    world.disk.paths().into_iter().filter(is_one).collect()
}

/// The copy that was written for it stayed, and each further attempt wrote one more.
#[test]
fn a_hold_that_fails_leaves_no_copy() {
    let world = World::new(880);
    let bucket = bucket(&world, 881);
    let store = open_in_one(&world, &bucket, 882);
    record(&world, &store, &["a"], 0, 1);
    store.archive().unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    let id = site.sessions(&Query::new()).unwrap().sessions.remove(0).id;
    let before = segments(&world);
    bucket.die_at(Some(bucket.requests()));
    assert!(site.hold(&id, "case 3").is_err());
    assert_eq!(segments(&world), before);
    bucket.die_at(None);
    site.hold(&id, "case 3").unwrap();
}
