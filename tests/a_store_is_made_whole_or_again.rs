//! Whatever ends an attempt to make a store, the next one succeeds; and no keyring is taken over that is not this attempt's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::sim::key_on;
use common::site_id;
use reelvault::env::Env;
use reelvault::env::sim::{SimDisk, Survival};
use reelvault::{Error, KeyFile, Options, Result, Store};

fn machine() -> SimDisk {
    let (env, disk, _) = reelvault::env::sim::env(1);
    env.disk.create_dir("/keys".as_ref()).unwrap();
    env.disk.sync_dir("/".as_ref()).unwrap();
    KeyFile::create(&env, "/keys/key").unwrap();
    disk
}

fn env(disk: &SimDisk, seed: u64) -> Env {
    disk.env(&reelvault::env::sim::SimClock::new(reelvault::env::sim::START_MS), seed)
}

fn at(disk: &SimDisk, seed: u64, dir: &str) -> Result<Options> {
    let env = env(disk, seed);
    let provider = key_on(&env)?;
    let mirrors = ["/keys/a/keyring", "/keys/b/keyring"].map(std::path::PathBuf::from);
    Ok(Options::new(dir, mirrors, provider).env(env).shards(2).background(false))
}

/// Opens the store, or makes it.
fn there(disk: &SimDisk, seed: u64) -> Result<Store> {
    match Store::open(at(disk, seed, "/store")?) {
        Err(Error::NoStore(_)) => Store::create(at(disk, seed, "/store")?),
        store => store,
    }
}

#[test]
fn a_store_whose_making_was_killed_or_lost_its_power_is_made_by_the_next_attempt() {
    let first = machine();
    let mut taken_over = 0;
    for n in 0.. {
        let disk = first.kill_image();
        disk.crash_at(disk.operations() + n);
        let made = there(&disk, 100 + n);
        let done = !disk.crashed();
        assert_eq!(made.is_ok(), done);
        drop(made);
        disk.heal();
        let cuts = (0..8).map(|seed| disk.crash_image(Survival::Random(seed)));
        for image in cuts.chain([disk.kill_image()]) {
            let is_begun = image.file_bytes("/keys/a/keyring").is_ok();
            taken_over += u32::from(is_begun && image.file_bytes("/store/manifest").is_err());
            let store = there(&image, 1_000 + n).unwrap();
            store.add_site(site_id("shop.example"), 30).unwrap();
            store.close().unwrap();
            assert!(image.file_bytes("/store/making").is_err(), "the note is gone");
            there(&image, 2_000 + n).unwrap().site(&site_id("shop.example")).unwrap();
        }
        if done {
            break;
        }
    }
    assert!(taken_over > 10, "{taken_over}");
}

/// A store whose key file, mirrors and data lie in directories of their own, none of which is there at first.
fn spread(disk: &SimDisk, seed: u64) -> Result<Options> {
    let env = env(disk, seed);
    let key = match KeyFile::create(&env, "/keys/deep/key") {
        Err(Error::Exists(path)) => KeyFile::open(&env, path),
        key => key,
    };
    let mirrors = [PathBuf::from("/mirrors/deep/keyring")];
    Ok(Options::new("/data/deep/store", mirrors, Arc::new(key?)).env(env).background(false))
}

#[test]
fn directories_that_a_killed_attempt_made_are_there_after_a_power_cut() {
    let there = |disk: &SimDisk, seed| match Store::open(spread(disk, seed)?) {
        Err(Error::NoStore(_)) => Store::create(spread(disk, seed + 1)?),
        store => store,
    };
    for n in 0.. {
        let (_, disk, _) = reelvault::env::sim::env(1);
        disk.crash_at(disk.operations() + n);
        let made = there(&disk, 10);
        let done = !disk.crashed();
        assert_eq!(made.is_ok(), done);
        drop(made);
        disk.heal();
        let image = disk.kill_image();
        let store = there(&image, 20).unwrap();
        store.add_site(site_id("shop.example"), 30).unwrap();
        store.close().unwrap();
        let cut = image.crash_image(Survival::Nothing);
        let store = Store::open(spread(&cut, 30).unwrap()).unwrap();
        store.site(&site_id("shop.example")).unwrap();
        if done {
            assert!(n > 20, "{n}");
            break;
        }
    }
}

/// The seed of an attempt that died when its keyring was there.
const NOTED: u64 = 3;

/// The note that it left.
fn note() -> Vec<u8> {
    for n in 1.. {
        let disk = machine();
        disk.crash_at(disk.operations() + n);
        assert!(Store::create(at(&disk, NOTED, "/store").unwrap()).is_err());
        if disk.file_bytes("/keys/a/keyring").is_ok() {
            return disk.file_bytes("/store/making").unwrap();
        }
    }
    panic!("no attempt came to its keyring");
}

#[test]
fn the_keyring_of_another_store_is_left_alone() {
    let disk = machine();
    let other = Store::create(at(&disk, 1, "/other").unwrap()).unwrap();
    other.close().unwrap();
    let before = disk.file_bytes("/keys/a/keyring").unwrap();
    let again = || Store::create(at(&disk, 2, "/store").unwrap());
    assert!(matches!(again(), Err(Error::Exists(path)) if path.ends_with("keyring")));
    // Nor is it when an attempt in this directory had been begun.
    disk.write_file("/store/making", &note()).unwrap();
    assert!(matches!(again(), Err(Error::Exists(path)) if path.ends_with("keyring")));
    assert_eq!(disk.file_bytes("/keys/a/keyring").unwrap(), before);
}

#[test]
fn a_keyring_that_was_used_is_left_alone_even_by_the_store_it_was_made_for() {
    // With the same randomness it is the store of the note: as long as its keyring was not used, that is gone on with.
    let disk = machine();
    there(&disk, NOTED).unwrap().close().unwrap();
    disk.remove_file("/store/manifest").unwrap();
    disk.write_file("/store/making", &note()).unwrap();
    let store = Store::create(at(&disk, 2, "/store").unwrap()).unwrap();
    store.add_site(site_id("shop.example"), 30).unwrap();
    store.close().unwrap();
    // The store's directory is lost, but for a note that came back: the keyring still opens its backups.
    let path = std::path::Path::new("/keys/a/keyring");
    let header = disk.file_bytes(path).unwrap();
    disk.remove_file("/store/manifest").unwrap();
    for note in [&note()[..], b"", &header[..20], &header[..32]] {
        disk.write_file("/store/making", note).unwrap();
        let made = Store::create(at(&disk, 2, "/store").unwrap());
        assert!(matches!(made, Err(Error::Exists(_))));
        assert_eq!(disk.file_bytes(path).unwrap(), header);
    }
}
