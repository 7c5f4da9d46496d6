//! What is erased or has expired is gone from every backup at once; what is left is pruned, never what somebody needs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::backups::*;
use common::sim::{SITES, World};
use common::{DAY, session_id, site_id};
use reelvault::backup::{Backup, How, Keep, Place, ReadShare, Repository, SimPlace, What};
use reelvault::env::Clock;
use reelvault::{Damage, Error, Held, Recovery, Retention, Store, VisitorId};

#[test]
fn an_erased_session_is_gone_from_a_backup_made_before_and_all_else_is_there() {
    let world = World::new(1);
    let store = world.open(&world.disk, 2).unwrap();
    record(&world, &store, &["a", "b"], 0, 6);
    store.archive().unwrap();
    record(&world, &store, &["b", "c"], 6, 2);
    let place = dir_place(&world, &world.disk, 3);
    let repository = repository(&world, &world.disk, &place, 4).unwrap();
    back_up_whole(&repository);
    let mut expected = content(&store);
    let shop = store.site(&site_id("shop.example")).unwrap();
    shop.erase_sessions([session_id("shop.example-a"), session_id("shop.example-c")], Held::Refuse)
        .unwrap();
    expected.retain(|(_, session), _| session != "shop.example-a" && session != "shop.example-c");

    let restored = restore(&repository, 1, "/restored", &What::All);
    assert_eq!(restored.erased_sessions, 2);
    let copy = open_restored(&world, &world.disk, "/restored", 5).unwrap();
    assert_eq!(content(&copy), expected);
    let replay = copy.site(&site_id("shop.example")).unwrap().replay(&session_id("shop.example-a"));
    assert!(matches!(replay, Err(Error::Erased)));
    assert_eq!(content(&repository.open_snapshot(1).unwrap()), expected, "read in place");
    let what = What::Session(site_id("shop.example"), session_id("shop.example-a"));
    assert!(matches!(repository.restore(1, "/one", &what, ON), Err(Error::Erased)));
    // Not one of its sealed bytes is restored.
    let stored = world.disk.paths();
    let bytes_in = |dir: &str| -> usize {
        let below = stored
            .iter()
            .filter(|path| path.starts_with(dir) && path.ends_with(path.file_name().unwrap()));
        let segments = below.filter(|path| path.extension().is_some_and(|e| e == "rvs"));
        segments.map(|path| world.disk.file_bytes(path).unwrap().len()).sum()
    };
    assert!(bytes_in("/restored/segment") < bytes_in("/store/segment"));
}

/// A session that rot took from its journal is in no index, and in backups it is whole.
#[test]
fn what_salvage_passed_over_is_erased_by_its_id_in_every_backup() {
    for others in [0, 2] {
        let world = World::new(101);
        let store = world.open(&world.disk, 102).unwrap();
        record(&world, &store, &["lost"], 0, 1);
        record(&world, &store, &["kept"], 0, others);
        let place = dir_place(&world, &world.disk, 103);
        let repository = repository(&world, &world.disk, &place, 104).unwrap();
        back_up_whole(&repository);
        store.close().unwrap();
        // The first frame of each journal; what follows says that it was durable.
        for path in world.disk.paths().iter().filter(|path| path.starts_with("/store/journal")) {
            if world.disk.file_bytes(path).unwrap().len() > 4_096 + 400 {
                world.disk.corrupt(path, 4_096 + 200, 1).unwrap();
            }
        }
        let options = options_on(&world, &world.disk, 105).recovery(Recovery::Salvage);
        let store = Store::open(options).unwrap();
        let site = store.site(&site_id(SITES[0])).unwrap();
        let lost = session_id(&format!("{}-lost", SITES[0]));
        assert!(matches!(site.session(&lost), Err(Error::UnknownSession)));
        let told = |damage: &[Error]| {
            let kind =
                |e: &Error| matches!(e, Error::Corrupt(c) if c.kind == Damage::BeforeValidFrames);
            damage.iter().any(kind)
        };
        let nobody = VisitorId::new("nobody").unwrap();
        assert!(told(&site.erase_visitor(&nobody, Held::Refuse).unwrap().damage), "{others}");
        let erasure = site.erase_sessions([lost.clone()], Held::Refuse).unwrap();
        assert_eq!((erasure.sessions, erasure.unknown.len()), (1, 0), "{others}");
        assert!(told(&erasure.damage), "{others}");
        store.close().unwrap();
        let restored = repository.restore(1, "/restored", &What::All, ON).unwrap();
        assert_eq!(restored.erased_sessions, 1, "{others}");
        let copy = open_restored(&world, &world.disk, "/restored", 106).unwrap();
        let site = copy.site(&site_id(SITES[0])).unwrap();
        assert!(matches!(site.session(&lost), Err(Error::Erased)), "{others}");
    }
}

#[test]
fn an_erased_site_and_a_day_that_has_passed_are_not_restored_and_counted() {
    let world = World::new(11);
    let store = world.open(&world.disk, 12).unwrap();
    record(&world, &store, &["a"], 0, 4);
    store.archive().unwrap();
    world.clock.advance_ms(10 * DAY);
    record(&world, &store, &["b"], 0, 4);
    store.archive().unwrap();
    let place = dir_place(&world, &world.disk, 13);
    let repository = repository(&world, &world.disk, &place, 14).unwrap();
    back_up_whole(&repository);
    store.erase_site(&site_id("help.example"), Held::Refuse).unwrap();
    world.clock.advance_ms(22 * DAY);
    store.retention(&Retention::new().trust_clock()).unwrap();
    let expected = content(&store);
    assert_eq!(expected.len(), 1, "one session of one site is left");

    let restored = restore(&repository, 1, "/restored", &What::All);
    assert!(restored.expired_segments > 0);
    assert_eq!((restored.sessions, restored.erased_sessions), (1, 1));
    let copy = open_restored(&world, &world.disk, "/restored", 15).unwrap();
    assert_eq!(content(&copy), expected);
    assert!(repository.check(ReadShare::All, ON).unwrap().damage.is_empty());
}

#[test]
fn a_held_session_is_restored_after_its_day_has_passed() {
    let world = World::new(21);
    let store = world.open(&world.disk, 22).unwrap();
    record(&world, &store, &["a", "b"], 0, 4);
    store.archive().unwrap();
    let shop = store.site(&site_id("shop.example")).unwrap();
    shop.hold(&session_id("shop.example-a"), "court order").unwrap();
    let place = dir_place(&world, &world.disk, 23);
    let repository = repository(&world, &world.disk, &place, 24).unwrap();
    back_up_whole(&repository);
    // Restored while its own day lasts, the copy of the hold comes along.
    let _ = restore(&repository, 1, "/early", &What::All);
    world.clock.advance_ms(40 * DAY);
    store.retention(&Retention::new().trust_clock()).unwrap();
    let expected = content(&store);
    assert_eq!(expected.len(), 1);
    let _ = restore(&repository, 1, "/late", &What::All);
    for (dir, seed) in [("/early", 25), ("/late", 26)] {
        assert_eq!(content(&open_restored(&world, &world.disk, dir, seed).unwrap()), expected);
    }
}

#[test]
fn a_site_or_a_session_is_restored_without_the_holds_of_others() {
    let world = World::new(61);
    let store = world.open(&world.disk, 62).unwrap();
    record(&world, &store, &["a", "b"], 0, 4);
    store.archive().unwrap();
    for (site, session) in [("shop.example", "shop.example-a"), ("help.example", "help.example-a")]
    {
        store.site(&site_id(site)).unwrap().hold(&session_id(session), "court order").unwrap();
    }
    let place = dir_place(&world, &world.disk, 63);
    let repository = repository(&world, &world.disk, &place, 64).unwrap();
    back_up_whole(&repository);
    let shop = site_id("shop.example");
    let site = What::Site(shop.clone());
    let one = What::Session(shop.clone(), session_id("shop.example-b"));
    // Two segments at most: of the sessions, and of the hold.
    assert!(restore(&repository, 1, "/site", &site).segments <= 2);
    assert!(restore(&repository, 1, "/one", &one).segments <= 1);
    world.clock.advance_ms(40 * DAY);
    store.retention(&Retention::new().trust_clock()).unwrap();
    assert_eq!(content(&store).len(), 2, "those that are held");
    let copy = open_restored(&world, &world.disk, "/site", 65).unwrap();
    let left = content(&copy);
    assert_eq!(left.len(), 1);
    assert!(left.keys().all(|(site, _)| site == "shop.example"));
    let copy = open_restored(&world, &world.disk, "/one", 66).unwrap();
    assert_eq!(content(&copy).len(), 0, "its day has passed, and another one is held");
}

#[test]
fn prune_takes_two_phases_and_leaves_what_a_snapshot_names() {
    let world = World::new(31);
    let store = world.open(&world.disk, 32).unwrap();
    let sim = SimPlace::new(world.clock.now_ms(), 1);
    let place: Arc<dyn Place> = Arc::new(sim.clone());
    let repository = repository(&world, &world.disk, &place, 33).unwrap();
    for day in 0..5 {
        record(&world, &store, &["a"], day * 3, 3);
        back_up_whole(&repository);
        if day == 2 {
            store.archive().unwrap();
        }
        world.clock.advance_ms(DAY);
        sim.set_now_ms(world.clock.now_ms());
    }
    let keep = Keep { last: 1, ..Keep::default() };
    let tried = repository.prune(&keep, 2 * DAY, true).unwrap();
    assert_eq!((tried.forgotten.len(), tried.kept), (4, 1));
    assert_eq!(repository.snapshots().unwrap().0.len(), 5, "only tried");
    let marked = repository.prune(&keep, 2 * DAY, false).unwrap();
    assert!(marked.waiting_objects > 0 && marked.removed_objects == 0);
    sim.set_now_ms(world.clock.now_ms() + DAY);
    assert_eq!(repository.prune(&keep, 2 * DAY, false).unwrap().removed_objects, 0, "too early");
    sim.set_now_ms(world.clock.now_ms() + 2 * DAY);
    let pruned = repository.prune(&keep, 2 * DAY, false).unwrap();
    assert_eq!(pruned.removed_objects, marked.waiting_objects);
    let checked = repository.check(ReadShare::All, ON).unwrap();
    assert!(checked.damage.is_empty() && checked.unnamed_objects == 0);
    let last = repository.latest(None).unwrap();
    assert_eq!(content(&repository.open_snapshot(last).unwrap()), content(&store));
    assert!(!sim.objects().iter().any(|(name, _)| name.contains("/mark/")), "no mark is left");
    assert!(repository.prune(&Keep::default(), 2 * DAY, false).is_err(), "keep nothing?");
    assert!(repository.prune(&keep, DAY - 1, false).is_err(), "a backup may take that long");
}

#[test]
fn a_backup_that_runs_beside_a_prune_does_not_build_on_what_is_being_removed() {
    let world = World::new(41);
    let store = world.open(&world.disk, 42).unwrap();
    record(&world, &store, &["a"], 0, 6);
    store.archive().unwrap();
    let sim = SimPlace::new(world.clock.now_ms(), 1);
    let place: Arc<dyn Place> = Arc::new(sim.clone());
    let repository = repository(&world, &world.disk, &place, 43).unwrap();
    // A backup that died before its snapshot: its segment lies there, and nothing names it.
    let requests = {
        let other = SimPlace::new(0, 1);
        let place: Arc<dyn Place> = Arc::new(other.clone());
        let scratch = Repository::open_or_make(place, options_on(&world, &world.disk, 44)).unwrap();
        let before = other.requests();
        back_up_whole(&scratch);
        other.requests() - before
    };
    sim.die_at(Some(sim.requests() + requests - 2));
    back_up(&repository).unwrap_err();
    sim.die_at(None);
    let left = repository.check(ReadShare::Nothing, ON).unwrap();
    assert!(left.unnamed_objects > 0 && left.snapshots == 0);
    let keep = Keep { last: 1, ..Keep::default() };
    repository.prune(&keep, DAY, false).unwrap();
    // The mark is young: the next backup copies the segment under another name.
    let done = back_up(&repository).unwrap();
    assert_eq!(done.resumed_segments, 0);
    sim.set_now_ms(world.clock.now_ms() + DAY);
    assert!(repository.prune(&keep, DAY, false).unwrap().removed_objects > 0);
    assert!(repository.check(ReadShare::All, ON).unwrap().damage.is_empty());
    let number = done.snapshot.unwrap();
    assert_eq!(content(&repository.open_snapshot(number).unwrap()), content(&store));
}

#[test]
fn a_snapshot_in_place_takes_one_read_to_open_a_segment_one_for_an_index_one_for_a_replay() {
    let world = World::new(51);
    let store = world.open(&world.disk, 52).unwrap();
    record(&world, &store, &["a", "b", "c"], 0, 60);
    store.archive().unwrap();
    let sim = SimPlace::new(world.clock.now_ms(), 1);
    let place: Arc<dyn Place> = Arc::new(sim.clone());
    let repository = repository(&world, &world.disk, &place, 53).unwrap();
    let mut backup = Backup::new(&repository, Path::new("/store")).unwrap();
    assert!(backup.run(&How::default(), ON).unwrap().damage.is_empty());
    let requests = |work: &mut dyn FnMut()| {
        let before = sim.requests();
        work();
        sim.requests() - before
    };
    let mut opened = None;
    assert_eq!(requests(&mut || opened = repository.open_snapshot(1).ok()), 1, "the snapshot");
    let opened = opened.unwrap();
    let site = opened.site(&site_id("shop.example")).unwrap();
    let mut look = || drop(site.session(&session_id("shop.example-b")).unwrap());
    assert_eq!(requests(&mut look), 1 + 1, "tail, index");
    assert_eq!(requests(&mut look), 0, "the index is kept");
    let mut replay = || {
        let mut out = Vec::new();
        site.replay(&session_id("shop.example-b")).unwrap().write_to(&mut out).unwrap();
        assert!(out.len() > 100_000);
    };
    assert_eq!(requests(&mut replay), 1, "a replay");
}
