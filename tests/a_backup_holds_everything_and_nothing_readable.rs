//! Backups are whole, incremental, and noise to whoever has no keys.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::backups::*;
use common::sim::World;
use common::{session_id, site_id};
use reelvault::Error;
use reelvault::backup::{Backup, DirPlace, How, Place, ReadShare, Repository, What};

#[test]
fn what_is_restored_is_what_was_backed_up_in_segments_and_in_journals() {
    let world = World::new(1);
    let store = world.open(&world.disk, 2).unwrap();
    record(&world, &store, &["a", "b"], 0, 6);
    store.archive().unwrap();
    record(&world, &store, &["b", "c"], 6, 5);
    let place = dir_place(&world, &world.disk, 3);
    let repository = repository(&world, &world.disk, &place, 4).unwrap();
    let done = back_up(&repository).unwrap();
    assert_eq!(done.snapshot, Some(1));
    assert!(done.copied_segments > 0 && done.damage.is_empty());
    let before = content(&store);
    assert_eq!(before.len(), 6);

    let restored = restore(&repository, 1, "/restored", &What::All);
    assert_eq!((restored.erased_sessions, restored.expired_segments), (0, 0));
    let copy = open_restored(&world, &world.disk, "/restored", 5).unwrap();
    assert_eq!(content(&copy), before);
    let verified = copy.verify(reelvault::Depth::Content, |_, _| {}).unwrap();
    assert!(verified.is_sound(), "{:?}", verified.damage);
    let again = repository.restore(1, "/restored", &What::All, ON).unwrap_err();
    assert!(matches!(again, Error::NotEmpty(_)), "{again}");
}

#[test]
fn a_restored_store_goes_on_recording_when_it_takes_the_place_of_the_lost_one() {
    let world = World::new(11);
    let store = world.open(&world.disk, 12).unwrap();
    record(&world, &store, &["a"], 0, 4);
    let place = dir_place(&world, &world.disk, 13);
    let repository = repository(&world, &world.disk, &place, 14).unwrap();
    back_up_whole(&repository);
    store.close().unwrap();
    let before = {
        let _ = restore(&repository, 1, "/other", &What::All);
        content(&open_restored(&world, &world.disk, "/other", 15).unwrap())
    };
    let mut options = options_on(&world, &world.disk, 16);
    options = {
        let mirrors = ["/keys/a/keyring", "/keys/b/keyring"].map(std::path::PathBuf::from);
        let env = world.disk.env(&world.clock, 17);
        let provider = common::sim::key_on(&env).unwrap();
        drop(options);
        reelvault::Options::new("/other", mirrors, provider).env(env).shards(2).background(false)
    };
    let store = reelvault::Store::open(options).unwrap();
    record(&world, &store, &["a"], 4, 3);
    store.archive().unwrap();
    let after = content(&store);
    assert_eq!(after.len(), before.len());
    assert!(after.iter().all(|(key, events)| events.starts_with(&before[key])));
}

#[test]
fn an_increment_copies_what_is_new_and_nothing_else() {
    let world = World::new(21);
    let store = world.open(&world.disk, 22).unwrap();
    record(&world, &store, &["a"], 0, 8);
    store.archive().unwrap();
    let place = dir_place(&world, &world.disk, 23);
    let repository = repository(&world, &world.disk, &place, 24).unwrap();
    let mut backup = Backup::new(&repository, Path::new("/store")).unwrap();
    let first = backup.run(&How::default(), ON).unwrap();
    assert!(first.copied_segments > 0);

    let unchanged = backup.run(&How::default(), ON).unwrap();
    assert_eq!((unchanged.snapshot, unchanged.copied_bytes), (Some(2), 0));
    let idle = backup.follow(&How::default(), ON).unwrap();
    assert_eq!(idle.snapshot, None, "there is nothing to follow");

    record(&world, &store, &["b"], 0, 2);
    let tried = backup.run(&How { dry_run: true, ..How::default() }, ON).unwrap();
    let grown = backup.follow(&How::default(), ON).unwrap();
    assert_eq!(grown.snapshot, Some(3));
    assert_eq!((grown.copied_segments, grown.copied_bytes), (0, tried.copied_bytes));
    record(&world, &store, &["b"], 2, 1);
    let more = backup.follow(&How::default(), ON).unwrap();
    assert!(more.copied_bytes < grown.copied_bytes, "only what was added to the journal");

    store.archive().unwrap();
    // Another process: it knows only what the repository says.
    let other = Repository::open(Arc::clone(&place), options_on(&world, &world.disk, 25)).unwrap();
    let archived = back_up(&other).unwrap();
    assert!(archived.copied_segments > 0);
    assert_eq!(archived.segments, first.segments + archived.copied_segments);
    let _ = restore(&other, archived.snapshot.unwrap(), "/restored", &What::All);
    let copy = open_restored(&world, &world.disk, "/restored", 26).unwrap();
    assert_eq!(content(&copy), content(&store));
}

#[test]
fn nothing_in_a_repository_can_be_read_and_no_name_means_anything() {
    let world = World::new(31);
    let store = world.open(&world.disk, 32).unwrap();
    record(&world, &store, &["a"], 0, 8);
    store.archive().unwrap();
    record(&world, &store, &["b"], 0, 2);
    let place = dir_place(&world, &world.disk, 33);
    let repository = repository(&world, &world.disk, &place, 34).unwrap();
    back_up_whole(&repository);
    let mut looked_at = 0;
    for path in world.disk.paths().iter().filter(|path| path.starts_with("/backup")) {
        let bytes = world.disk.file_bytes(path).unwrap();
        for word in ["shop.example", "private words", "timestamp", "visitor-of-everything"] {
            let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!found, "{word} in {}", path.display());
        }
        let name = path.strip_prefix("/backup").unwrap().to_str().unwrap().to_owned();
        let known = ["reelvault", "segment", "piece", "list", "snapshot", "mark", "tmp"];
        let is_id = |part: &str| part.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(name.split('/').all(|part| known.contains(&part) || is_id(part)), "{name}");
        looked_at += 1;
    }
    assert!(looked_at >= 4);
}

#[test]
fn another_stores_keyring_finds_nothing_and_a_foreign_root_is_refused() {
    let world = World::new(41);
    let place = dir_place(&world, &world.disk, 43);
    back_up_whole(&repository(&world, &world.disk, &place, 44).unwrap());
    let other = World::new(45);
    let stranger =
        Repository::open(Arc::clone(&place), options_on(&other, &other.disk, 46)).unwrap();
    assert!(matches!(stranger.latest(None), Err(Error::NoSnapshot(_))));
    let env = world.disk.env(&world.clock, 47);
    let empty: Arc<dyn Place> = Arc::new(DirPlace::new(&env, "/nothing"));
    let missing = Repository::open(empty, options_on(&world, &world.disk, 48)).unwrap_err();
    assert_eq!(missing.to_string(), "no repository in /nothing");
    world
        .disk
        .write_file("/foreign/reelvault", b"something else altogether, and long enough")
        .unwrap();
    let foreign: Arc<dyn Place> = Arc::new(DirPlace::new(&env, "/foreign"));
    let refused = Repository::open(foreign, options_on(&world, &world.disk, 49)).unwrap_err();
    assert!(refused.to_string().contains("not a file of this format"), "{refused}");
}

#[test]
fn one_site_or_one_session_is_restored_without_the_others() {
    let world = World::new(51);
    let store = world.open(&world.disk, 52).unwrap();
    record(&world, &store, &["a", "b"], 0, 6);
    store.archive().unwrap();
    record(&world, &store, &["b", "c"], 6, 3);
    let place = dir_place(&world, &world.disk, 53);
    let repository = repository(&world, &world.disk, &place, 54).unwrap();
    back_up_whole(&repository);
    let all = content(&store);

    let shop = site_id("shop.example");
    let site = restore(&repository, 1, "/site", &What::Site(shop.clone()));
    assert_eq!((site.journals, site.sessions), (0, 4), "b lies in a segment and in a journal");
    let copy = open_restored(&world, &world.disk, "/site", 55).unwrap();
    let mut expected = all.clone();
    expected.retain(|(site, _), _| site == "shop.example");
    assert_eq!(content(&copy), expected);
    assert!(copy.verify(reelvault::Depth::Content, |_, _| {}).unwrap().is_sound());

    let what = What::Session(shop.clone(), session_id("shop.example-b"));
    let _ = restore(&repository, 1, "/session", &what);
    let copy = open_restored(&world, &world.disk, "/session", 56).unwrap();
    expected.retain(|(_, session), _| session == "shop.example-b");
    assert_eq!(content(&copy), expected);

    let unknown = What::Session(shop, session_id("never"));
    let refused = repository.restore(1, "/unknown", &unknown, ON).unwrap_err();
    assert!(matches!(refused, Error::UnknownSession));
    assert!(!world.disk.paths().iter().any(|path| path.starts_with("/unknown")));
}

#[test]
fn spoilt_objects_are_found_by_checking_and_told_by_restoring() {
    let world = World::new(61);
    let store = world.open(&world.disk, 62).unwrap();
    record(&world, &store, &["a"], 0, 8);
    store.archive().unwrap();
    record(&world, &store, &["b"], 0, 2);
    let place = dir_place(&world, &world.disk, 63);
    let repository = repository(&world, &world.disk, &place, 64).unwrap();
    back_up_whole(&repository);
    let sound = repository.check(ReadShare::All, ON).unwrap();
    assert!(sound.damage.is_empty() && sound.read_bytes == sound.bytes && sound.objects > 1);
    let paths = world.disk.paths();
    let data = paths.iter().filter(|path| {
        let path = path.to_str().unwrap();
        path.starts_with("/backup") && (path.contains("/segment/") || path.contains("/piece/"))
    });
    let mut spoilt = 0;
    for (n, path) in data.enumerate() {
        let good = world.disk.file_bytes(path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        world.disk.write_file(path, &bad).unwrap();
        assert!(repository.check(ReadShare::Nothing, ON).unwrap().damage.is_empty());
        let found = repository.check(ReadShare::All, ON).unwrap().damage;
        assert_eq!(found.len(), 1, "{found:?}");
        let dir = format!("/restored-{n}");
        let told = repository.restore(1, &dir, &What::All, ON).unwrap().damage;
        assert!(matches!(told[..], [Error::Corrupt(_), ..]), "{told:?}");
        world.disk.write_file(path, &bad[1..]).unwrap();
        assert_eq!(repository.check(ReadShare::Nothing, ON).unwrap().damage.len(), 1);
        // Another one, once the object is mended.
        world.disk.write_file(path, &good).unwrap();
        let dir = format!("/mended-{n}");
        let _ = restore(&repository, 1, &dir, &What::All);
        let copy = open_restored(&world, &world.disk, &dir, 65).unwrap();
        assert_eq!(content(&copy), content(&store));
        spoilt += 1;
    }
    assert!(spoilt >= 2);
}
