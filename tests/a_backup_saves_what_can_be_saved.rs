//! A store, or a repository, is damaged in one place: all else is backed up and restored, and the damage is told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use common::backups::*;
use common::sim::World;
use common::{DAY, session_id, site_id};
use reelvault::backup::{Backup, How, Place, ReadShare, Repository, SimPlace, What};
use reelvault::env::Clock;
use reelvault::{Damage, Depth, Error, Held, Query, Recovery, Store};

/// A session: its site's id, and its own.
type Key = (String, String);

/// What can be read of a store, sessions that cannot be read left out.
fn readable(store: &Store) -> Content {
    let mut all = Content::new();
    for info in store.sites() {
        let site = store.site(&info.id).unwrap();
        let Ok(page) = site.sessions(&Query::new().limit(1_000)) else { continue };
        for found in page.sessions {
            let mut events = Vec::new();
            let replay = site.replay(&found.id);
            if replay.is_ok_and(|mut replay| replay.write_to(&mut events).is_ok()) {
                all.insert((info.id.to_string(), found.id.to_string()), events);
            }
        }
    }
    all
}

fn files(world: &World, folder: &str, suffix: &str) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| {
        path.starts_with(folder) && path.extension().is_some_and(|ending| ending == suffix)
    };
    world.disk.paths().into_iter().filter(is_one).collect()
}

fn segments_of(world: &World) -> Vec<PathBuf> {
    files(world, "/store/segment", "rvs")
}

/// The kinds of damage, those of errors of the disk as none.
fn kinds(damage: &[Error]) -> Vec<Option<Damage>> {
    let kind = |e: &Error| match e {
        Error::Corrupt(c) => Some(c.kind),
        _ => None,
    };
    damage.iter().map(kind).collect()
}

fn bucket(world: &World) -> (SimPlace, Arc<dyn Place>) {
    let sim = SimPlace::new(world.clock.now_ms(), 1);
    (sim.clone(), Arc::new(sim))
}

/// The store as a reader sees it who reads around damage.
fn salvaged(world: &World, dir: &str, seed: u64) -> Store {
    let mirrors = ["/keys/a/keyring", "/keys/b/keyring"].map(PathBuf::from);
    let env = world.disk.env(&world.clock, seed);
    let provider = common::sim::key_on(&env).unwrap();
    let options = reelvault::Options::new(dir, mirrors, provider).env(env).shards(2);
    Store::open_read_only(options.background(false).recovery(Recovery::Salvage)).unwrap()
}

/// A store with sessions of two days in segments, and one in journals.
fn recorded(seed: u64) -> (World, Store) {
    let world = World::new(seed);
    let store = world.open(&world.disk, seed + 1).unwrap();
    record(&world, &store, &["a"], 0, 3);
    store.archive().unwrap();
    world.clock.advance_ms(DAY);
    record(&world, &store, &["k"], 0, 3);
    store.archive().unwrap();
    record(&world, &store, &["b"], 0, 2);
    (world, store)
}

#[test]
fn chunks_behind_a_damaged_frame_of_a_live_journal_reach_every_later_backup() {
    let world = World::new(1);
    let store = world.open(&world.disk, 2).unwrap();
    record(&world, &store, &["a"], 0, 4);
    let journals = files(&world, "/store/journal", "rvj");
    let used = |path: &PathBuf| world.disk.file_bytes(path).unwrap().iter().rposition(|b| *b != 0);
    let (damaged, end) =
        journals.iter().find_map(|path| used(path).map(|end| (path, end as u64))).unwrap();
    // In the first frame: others follow that say that it was durable.
    assert!(end > 6_000);
    world.disk.corrupt(damaged, 4_096 + 200, 1).unwrap();
    let (_, place) = bucket(&world);
    let options = options_on(&world, &world.disk, 3).recovery(Recovery::Salvage);
    let repository = Repository::open_or_make(Arc::clone(&place), options).unwrap();
    let strict = Repository::open(place, options_on(&world, &world.disk, 4)).unwrap();
    let mut backup = Backup::new(&repository, Path::new("/store")).unwrap();
    let first = backup.run(&How::default(), ON).unwrap();
    assert_eq!(kinds(&first.damage), [Some(Damage::BeforeValidFrames)]);
    let used_in_all: u64 = journals.iter().filter_map(used).map(|end| end as u64 + 1).sum();
    assert!(first.copied_bytes < used_in_all + 1_000, "no zeros that lie ahead of the frames");

    let is_whole = |number: u64, seed: u64| {
        let now = readable(&salvaged(&world, "/store", seed));
        assert_eq!(readable(&repository.open_snapshot(number).unwrap()), now);
        for (n, repository) in [&strict, &repository].into_iter().enumerate() {
            let dir = format!("/restored-{number}-{n}");
            let restored = repository.restore(number, &dir, &What::All, ON).unwrap();
            assert_eq!(kinds(&restored.damage), [Some(Damage::BeforeValidFrames)]);
            assert_eq!(readable(&salvaged(&world, &dir, seed + 1)), now);
        }
        now.values().map(Vec::len).sum::<usize>()
    };
    let before = is_whole(1, 100);
    record(&world, &store, &["a", "b"], 4, 2);
    let second = backup.run(&How::default(), ON).unwrap();
    assert!(second.copied_bytes > 0);
    assert_eq!(kinds(&second.damage), [Some(Damage::BeforeValidFrames)], "it is still there");
    let after = is_whole(2, 200);
    assert!(after > before + 10_000, "{before} bytes, then {after}");

    let idle = backup.follow(&How::default(), ON).unwrap();
    assert_eq!((idle.snapshot, idle.damage.len()), (None, 1));
    record(&world, &store, &["b"], 6, 1);
    assert_eq!(backup.follow(&How::default(), ON).unwrap().snapshot, Some(3));
    assert!(is_whole(3, 300) > after);
}

const WAYS: usize = 3;

/// Loses an object, cuts it off, or lets it rot; how that is told.
fn spoil_object(sim: &SimPlace, name: &str, good: &[u8], way: usize) -> Damage {
    match way {
        0 => sim.lose(name),
        1 => sim.spoil(name, &good[..good.len() - 9]),
        _ => sim.spoil(name, &[&good[1..], &[0]].concat()),
    }
    [Damage::Missing, Damage::Truncated, Damage::Rot][way]
}

/// Spoils a file; how its damage is told.
type Spoil = (fn(&World, &PathBuf), Option<Damage>);

const SPOILS: [Spoil; 3] = [
    (|world, path| world.disk.remove_file(path).unwrap(), Some(Damage::Missing)),
    (|world, path| world.disk.truncate_file(path, 500).unwrap(), Some(Damage::Truncated)),
    (|world, path| world.disk.lose_sector(path, 600).unwrap(), None),
];

#[test]
fn a_segment_that_cannot_be_read_is_told_and_all_else_is_backed_up() {
    for (n, (spoil, kind)) in SPOILS.into_iter().enumerate() {
        let seed = 100 * (n as u64 + 1);
        let (world, store) = recorded(seed);
        let all = content(&store);
        let path = &segments_of(&world)[0];
        let good = world.disk.file_bytes(path).unwrap();
        spoil(&world, path);
        let place = dir_place(&world, &world.disk, seed + 2);
        let repository = repository(&world, &world.disk, &place, seed + 3).unwrap();
        let done = back_up(&repository).unwrap();
        assert_eq!((done.snapshot, kinds(&done.damage)), (Some(1), vec![kind]));
        assert_eq!(done.copied_segments, done.segments, "those that the snapshot has");
        let saved = content(&repository.open_snapshot(1).unwrap());
        assert!(saved.len() < all.len() && saved.len() > 2, "{}", saved.len());
        assert!(saved.iter().all(|(key, events)| all[key] == *events));
        assert!(repository.check(ReadShare::All, ON).unwrap().damage.is_empty());

        world.disk.write_file(path, &good).unwrap();
        let mended = back_up(&repository).unwrap();
        assert!(mended.damage.is_empty(), "{:?}", mended.damage);
        assert_eq!(content(&repository.open_snapshot(2).unwrap()), all);
    }
}

#[test]
fn a_continuous_backup_tells_of_an_unreadable_segment_and_tries_it_again_but_not_at_every_step() {
    let (world, store) = recorded(11);
    let path = &segments_of(&world)[0];
    let good = world.disk.file_bytes(path).unwrap();
    world.disk.truncate_file(path, 500).unwrap();
    let (_, place) = bucket(&world);
    let repository = repository(&world, &world.disk, &place, 13).unwrap();
    let mut backup = Backup::new(&repository, Path::new("/store")).unwrap();
    let mut step = || backup.follow(&How::default(), ON).unwrap();
    assert_eq!(step().snapshot, Some(1));
    for _ in 0..3 {
        let idle = step();
        assert_eq!(idle.snapshot, None, "nothing has changed");
        assert_eq!(kinds(&idle.damage), [Some(Damage::Truncated)]);
    }
    world.disk.write_file(path, &good).unwrap();
    record(&world, &store, &["c"], 0, 1);
    let soon = step();
    assert_eq!((soon.snapshot, soon.damage.len()), (Some(2), 1), "it is not read all the time");
    world.clock.advance_ms(15 * 60_000);
    let later = step();
    assert_eq!((later.snapshot, later.damage.len()), (Some(3), 0));
    assert_eq!(content(&repository.open_snapshot(3).unwrap()), content(&store));
}

#[test]
fn a_segment_that_goes_away_under_a_backup_by_right_is_no_damage() {
    let (world, store) = recorded(21);
    record(&world, &store, &["c", "d"], 0, 6);
    store.archive().unwrap();
    let (_, place) = bucket(&world);
    let repository = repository(&world, &world.disk, &place, 23).unwrap();
    let began = AtomicBool::new(false);
    let erase = |_| {
        // The first segment has been copied: all others are replaced or dropped.
        if !began.swap(true, Relaxed) {
            let before = segments_of(&world);
            for site in common::sim::SITES {
                let ids = ["a", "c", "k"].map(|name| session_id(&format!("{site}-{name}")));
                store.site(&site_id(site)).unwrap().erase_sessions(ids, Held::Refuse).unwrap();
            }
            store.reclaim(0.0).unwrap();
            assert!(segments_of(&world).iter().all(|path| !before.contains(path)));
        }
        true
    };
    let mut backup = Backup::new(&repository, Path::new("/store")).unwrap();
    let done = backup.run(&How::default(), &erase).unwrap();
    assert!(done.damage.is_empty(), "{:?}", done.damage);
    let number = done.snapshot.unwrap();
    assert_eq!(content(&repository.open_snapshot(number).unwrap()), content(&store));
}

#[test]
fn a_journal_that_cannot_be_read_is_told_and_what_an_earlier_backup_has_of_it_stays() {
    let (world, store) = recorded(31);
    let (_, place) = bucket(&world);
    let repository = repository(&world, &world.disk, &place, 33).unwrap();
    back_up_whole(&repository);
    let all = content(&store);
    // Its head.
    let path = &files(&world, "/store/journal", "rvj")[0];
    world.disk.corrupt(path, 70, 1).unwrap();
    record(&world, &store, &["c"], 0, 1);
    let mut backup = Backup::new(&repository, Path::new("/store")).unwrap();
    let done = backup.run(&How::default(), ON).unwrap();
    assert_eq!((done.snapshot, done.damage.len()), (Some(2), 1), "{:?}", done.damage);
    let saved = content(&repository.open_snapshot(2).unwrap());
    assert!(all.iter().all(|(key, events)| saved.get(key) == Some(events)));
    assert!(saved.len() > all.len(), "what the other journal has is new");
    let idle = backup.follow(&How::default(), ON).unwrap();
    assert_eq!((idle.snapshot, idle.damage.len()), (None, 1));
}

#[test]
fn a_segment_that_rotted_before_its_first_backup_is_restored_as_it_is_and_told() {
    let (world, store) = recorded(41);
    let all = content(&store);
    let path = &segments_of(&world)[0];
    // In a block of a session.
    world.disk.corrupt(path, 300, 1).unwrap();
    let (_, place) = bucket(&world);
    let repository = repository(&world, &world.disk, &place, 43).unwrap();
    assert_eq!(kinds(&back_up(&repository).unwrap().damage), [Some(Damage::Rot)]);

    let restored = repository.restore(1, "/restored", &What::All, ON).unwrap();
    assert_eq!(kinds(&restored.damage), [Some(Damage::Rot)]);
    let copy = open_restored(&world, &world.disk, "/restored", 44).unwrap();
    let told = copy.verify(Depth::Content, |_, _| {}).unwrap();
    assert!(!told.damage.is_empty(), "the manifest knows what it should be");
    let saved = readable(&copy);
    assert_eq!(saved.len(), all.len() - 1);
    assert!(saved.iter().all(|(key, events)| all[key] == *events));
    let (hit, _) = all.iter().find(|(key, _)| !saved.contains_key(*key)).unwrap();

    let site = What::Site(site_id(&hit.0));
    let restored = repository.restore(1, "/site", &site, ON).unwrap();
    assert_eq!(restored.damage.len(), 1, "{:?}", restored.damage);
    let of_site = readable(&open_restored(&world, &world.disk, "/site", 45).unwrap());
    assert!(!of_site.is_empty() && of_site.keys().all(|(site, _)| *site == hit.0));
    assert_eq!(of_site, saved.into_iter().filter(|(key, _)| key.0 == hit.0).collect());
}

#[test]
fn a_rotten_session_costs_a_segment_that_is_rewritten_nothing_but_itself() {
    let (world, store) = recorded(51);
    record(&world, &store, &["c", "d", "e"], 0, 4);
    store.archive().unwrap();
    let all = content(&store);
    let mut hit = 0;
    for (n, path) in segments_of(&world).iter().enumerate() {
        let seed = 1_000 * (n as u64 + 1);
        let good = world.disk.file_bytes(path).unwrap();
        world.disk.corrupt(path, 300, 1).unwrap();
        let (_, place) = bucket(&world);
        let repository = repository(&world, &world.disk, &place, seed).unwrap();
        let _ = back_up(&repository).unwrap();
        world.disk.write_file(path, &good).unwrap();
        for (m, site) in common::sim::SITES.into_iter().enumerate() {
            let (dir, what) = (format!("/site-{n}-{m}"), What::Site(site_id(site)));
            let restored = repository.restore(1, &dir, &what, ON).unwrap();
            let seed = seed + 10 + m as u64;
            let copy = readable(&open_restored(&world, &world.disk, &dir, seed).unwrap());
            let of_site = all.iter().filter(|(key, _)| key.0 == site).count();
            assert_eq!(copy.len() + restored.damage.len(), of_site, "{:?}", restored.damage);
            assert!(copy.iter().all(|(key, events)| key.0 == site && all[key] == *events));
            hit += restored.damage.len();
        }
    }
    assert_eq!(hit, segments_of(&world).len(), "one session of each");
}

/// Whether these events are all, or some chunks, of those of a session.
fn is_part(events: &[u8], of: &[u8]) -> bool {
    let all: HashSet<&[u8]> = of.split(|b| *b == b'\n').collect();
    events.split(|b| *b == b'\n').all(|event| all.contains(event))
}

/// Restores each session by itself from a repository in which one object is damaged: one of which that object has nothing is whole.
fn restore_each(world: &World, repository: &Repository, dir: &str, all: &Content, hit: &[Key]) {
    for (n, (key, events)) in all.iter().enumerate() {
        let (dir, what) =
            (format!("{dir}-{n}"), What::Session(site_id(&key.0), session_id(&key.1)));
        let restored = repository.restore(2, &dir, &what, ON).unwrap();
        assert!(!restored.damage.is_empty(), "{key:?}");
        let found = content(&open_restored(world, &world.disk, &dir, 6_000 + n as u64).unwrap());
        assert!(found.keys().all(|other| other == key));
        let found = found.get(key);
        assert!(found.is_none_or(|found| is_part(found, events)));
        assert!(hit.contains(key) || found == Some(events), "{key:?} is whole");
    }
}

#[test]
fn a_lost_or_spoilt_object_costs_a_restore_nothing_but_itself() {
    let (world, store) = recorded(61);
    let (sim, place) = bucket(&world);
    let repository = repository(&world, &world.disk, &place, 62).unwrap();
    let shop = store.site(&site_id("shop.example")).unwrap();
    shop.erase_sessions([session_id("shop.example-k")], Held::Refuse).unwrap();
    back_up_whole(&repository);
    record(&world, &store, &["b"], 2, 2);
    back_up_whole(&repository);
    let around = options_on(&world, &world.disk, 63).recovery(Recovery::Salvage);
    let around = Repository::open(place, around).unwrap();
    let all = content(&store);
    let (mut hit_in_all, mut parts) = (0, 0);
    for (n, (name, good)) in data(&sim).iter().enumerate() {
        let mut hit = Vec::new();
        for way in 0..WAYS {
            let kind = spoil_object(&sim, name, good, way);
            let dir = format!("/restored-{n}-{way}");
            let restored = repository.restore(2, &dir, &What::All, ON).unwrap();
            assert_eq!(kinds(&restored.damage).last(), Some(&Some(kind)), "{name}");
            let saved = readable(&salvaged(&world, &dir, 100 + way as u64));
            if way == 0 {
                hit = all.keys().filter(|key| saved.get(*key) != all.get(*key)).cloned().collect();
                hit_in_all += hit.len();
            }
            if name.contains("/segment/") {
                assert_eq!(restored.damage.len(), 1, "{:?}", restored.damage);
            } else {
                assert!(hit.iter().all(|(_, session)| session.ends_with("-b")), "{hit:?}");
                let in_place = around.open_snapshot(2).unwrap();
                let is_told = in_place.stats().unwrap().salvaged_bytes > 0;
                let in_place = content(&in_place);
                assert!(is_told || in_place == all, "{name}: what is missing is told");
                let is_there = |(key, events): (&Key, &Vec<u8>)| is_part(events, &in_place[key]);
                assert!(saved.iter().all(is_there), "no less than what is restored");
            }
            for (key, events) in &all {
                let found = saved.get(key);
                parts += usize::from(found.is_some_and(|found| found.len() < events.len()));
                assert!(found.is_none_or(|found| is_part(found, events)));
                // Segments that rotted are there as they are, and keep others of their sites from being listed.
                let is_listed = kind != Damage::Rot || name.contains("/piece/");
                let is_whole = found == Some(events) || hit.contains(key) || !is_listed;
                assert!(is_whole, "{key:?}");
            }
            restore_each(&world, &repository, &dir, &all, &hit);
            let gone = What::Session(site_id("shop.example"), session_id("shop.example-k"));
            let gone = repository.restore(2, format!("{dir}-gone"), &gone, ON);
            assert!(matches!(gone, Err(Error::Erased)), "{gone:?}");
            sim.spoil(name, good);
        }
    }
    assert!(hit_in_all >= all.len() && parts > 0, "{hit_in_all} hit, {parts} in part");
}

const REPAIR: How = How { dry_run: false, bytes_per_second: None, repair: true };

/// The segments and pieces of a repository.
fn data(sim: &SimPlace) -> Vec<(String, Arc<[u8]>)> {
    let is_data = |name: &str| name.contains("/segment/") || name.contains("/piece/");
    sim.objects().into_iter().filter(|(name, _)| is_data(name)).collect()
}

#[test]
fn whatever_is_spoilt_in_a_repository_is_put_right_from_the_store() {
    let (world, store) = recorded(71);
    let all = content(&store);
    let (mut segments, mut pieces) = (0, 0);
    for n in 0.. {
        let (sim, place) = bucket(&world);
        let repository = repository(&world, &world.disk, &place, 72 + n as u64).unwrap();
        back_up_whole(&repository);
        let Some((name, good)) = data(&sim).into_iter().nth(n / WAYS) else { break };
        let kind = spoil_object(&sim, &name, &good, n % WAYS);
        let found = repository.check(ReadShare::All, ON).unwrap().damage;
        assert_eq!(kinds(&found), [Some(kind)]);
        assert_eq!(back_up(&repository).unwrap().repaired_objects, 0, "nobody asked");

        let mut backup = Backup::new(&repository, Path::new("/store")).unwrap();
        let stopped = backup.run(&REPAIR, &|_| false);
        assert!(matches!(stopped, Err(Error::Interrupted)));
        let tried = backup.run(&How { dry_run: true, ..REPAIR }, ON).unwrap();
        assert_eq!((tried.snapshot, tried.repaired_objects), (None, 1));
        let done = backup.run(&REPAIR, ON).unwrap();
        assert_eq!((done.repaired_objects, kinds(&done.damage)), (1, vec![]));
        assert_eq!(content(&repository.open_snapshot(done.snapshot.unwrap()).unwrap()), all);
        let left = repository.check(ReadShare::All, ON).unwrap().damage;
        if name.contains("/segment/") {
            assert!(left.is_empty(), "{left:?}");
            assert_eq!(content(&repository.open_snapshot(1).unwrap()), all);
            segments += 1;
        } else {
            assert_eq!(kinds(&left), [Some(kind)], "earlier snapshots name it");
            pieces += 1;
        }
        assert_eq!(backup.run(&REPAIR, ON).unwrap().repaired_objects, 0);
    }
    assert!(segments >= 2 * WAYS && pieces >= WAYS, "{segments} segments, {pieces} pieces");
}

#[test]
fn a_repair_puts_nothing_that_is_spoilt_in_the_store_too() {
    let (world, _store) = recorded(81);
    let path = &segments_of(&world)[0];
    let local = world.disk.file_bytes(path).unwrap();
    let rot: Spoil = (|world, path| world.disk.corrupt(path, 300, 1).unwrap(), Some(Damage::Rot));
    let (sim, place) = bucket(&world);
    let repository = repository(&world, &world.disk, &place, 82).unwrap();
    back_up_whole(&repository);
    let id = path.file_stem().unwrap().to_str().unwrap();
    let (name, good) = data(&sim).into_iter().find(|(name, _)| name.ends_with(id)).unwrap();
    assert_eq!(good[..], local, "so either can take the other's place");
    let mut backup = Backup::new(&repository, Path::new("/store")).unwrap();
    for (spoil, local_kind) in SPOILS.into_iter().chain([rot]) {
        for way in 0..WAYS {
            let kind = spoil_object(&sim, &name, &good, way);
            let before = data(&sim);
            spoil(&world, path);
            let done = backup.run(&REPAIR, ON).unwrap();
            assert_eq!(done.repaired_objects, 0);
            assert_eq!(kinds(&done.damage), [local_kind, Some(kind)]);
            assert_eq!(data(&sim), before);

            world.disk.write_file(path, &local).unwrap();
            let done = backup.run(&REPAIR, ON).unwrap();
            assert_eq!((done.repaired_objects, kinds(&done.damage)), (1, vec![]));
            assert!(repository.check(ReadShare::All, ON).unwrap().damage.is_empty());
        }
    }
}

#[test]
fn an_object_that_the_medium_does_not_give_back_is_told_and_repaired() {
    // In the head of a journal, which is asked for first, and behind it.
    for (n, (folder, at)) in
        [("/segment/", 600), ("/piece/", 600), ("/piece/", 4_700)].into_iter().enumerate()
    {
        let seed = 100 * (n as u64 + 1);
        let (world, store) = recorded(seed);
        let place = dir_place(&world, &world.disk, seed + 2);
        let repository = repository(&world, &world.disk, &place, seed + 3).unwrap();
        back_up_whole(&repository);
        let is_one =
            |path: &PathBuf| path.starts_with("/backup") && path.to_str().unwrap().contains(folder);
        let path = world.disk.paths().into_iter().find(is_one).unwrap();
        world.disk.lose_sector(&path, at).unwrap();
        let found = repository.check(ReadShare::All, ON).unwrap();
        assert_eq!((kinds(&found.damage), found.read_bytes), (vec![None], found.bytes));
        let restored = repository.restore(1, "/restored", &What::All, ON).unwrap();
        assert_eq!(kinds(&restored.damage).last(), Some(&None));
        let (all, saved) = (content(&store), readable(&salvaged(&world, "/restored", seed + 4)));
        assert!(saved.len() >= 4 && saved.iter().all(|(key, events)| all[key] == *events));

        let mut backup = Backup::new(&repository, Path::new("/store")).unwrap();
        let done = backup.run(&REPAIR, ON).unwrap();
        assert_eq!(done.repaired_objects, 1);
        assert_eq!(content(&repository.open_snapshot(done.snapshot.unwrap()).unwrap()), all);
        if folder == "/segment/" {
            assert!(repository.check(ReadShare::All, ON).unwrap().damage.is_empty());
            assert_eq!(content(&repository.open_snapshot(1).unwrap()), all);
        }
    }
}

#[test]
fn a_repair_tells_of_a_segment_that_the_store_no_longer_has() {
    let (world, store) = recorded(101);
    let (sim, place) = bucket(&world);
    let repository = repository(&world, &world.disk, &place, 102).unwrap();
    back_up_whole(&repository);
    let before = segments_of(&world);
    for site in common::sim::SITES {
        let erased = [session_id(&format!("{site}-a"))];
        store.site(&site_id(site)).unwrap().erase_sessions(erased, Held::Refuse).unwrap();
    }
    store.reclaim(0.0).unwrap();
    let after = segments_of(&world);
    let gone = before.iter().find(|path| !after.contains(path)).unwrap();
    let id = gone.file_stem().unwrap().to_str().unwrap();
    let (name, _) = data(&sim).into_iter().find(|(name, _)| name.ends_with(id)).unwrap();
    sim.lose(&name);
    let mut backup = Backup::new(&repository, Path::new("/store")).unwrap();
    let done = backup.run(&REPAIR, ON).unwrap();
    assert_eq!((done.repaired_objects, kinds(&done.damage)), (0, vec![Some(Damage::Missing)]));
    let left = repository.check(ReadShare::All, ON).unwrap().damage;
    assert_eq!(kinds(&left), [Some(Damage::Missing)], "the first snapshot goes on to lack it");
    let again = backup.run(&REPAIR, ON).unwrap();
    assert!(again.damage.is_empty(), "the newest does not name it: {:?}", again.damage);
}

#[test]
fn a_journal_that_the_medium_does_not_give_back_is_read_around_by_a_reader_and_by_no_writer() {
    let (world, store) = recorded(111);
    let all = content(&store);
    store.close().unwrap();
    let used =
        |path: &&PathBuf| world.disk.file_bytes(path).unwrap()[4_096..].iter().any(|b| *b != 0);
    let journals = files(&world, "/store/journal", "rvj");
    world.disk.lose_sector(journals.iter().find(used).unwrap(), 4_700).unwrap();
    let strict = open_restored(&world, &world.disk, "/store", 112);
    assert!(matches!(strict, Err(Error::Io { .. })));
    let saved = readable(&salvaged(&world, "/store", 113));
    assert!(saved.len() >= 4 && saved.len() < all.len(), "{}", saved.len());
    assert!(saved.iter().all(|(key, events)| all[key] == *events));
    let options = options_on(&world, &world.disk, 114).recovery(Recovery::Salvage);
    let written = Store::open(options);
    assert!(matches!(written, Err(Error::Io { .. })));
}
