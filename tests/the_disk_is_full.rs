//! A full disk, a disk that answers with errors, and a sync that fails.
//!
//! A full disk refuses appends and nothing else: what was acknowledged stays, reads go on, and when there is room again so
//! do appends. A failed sync is final: the shard takes no more until the store is opened again, and what was acknowledged
//! afterwards, by that opening too, survives a power cut.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::collections::BTreeMap;

use common::sim::{SITES, World, options};
use common::{NOON, chunk, session, session_id, site_id};
use reelvault::env::sim::{Fault, Kind, SimDisk, Survival, When};
use reelvault::{Depth, Durability, Error, Query, Result, Site, Store};

/// Chunks by site, session and number.
type Chunks = BTreeMap<(usize, String, u64), Vec<u8>>;

/// A store that is written to, and what it answered.
struct Writer {
    world: World,
    attempted: Chunks,
    acknowledged: Chunks,
    refusals: u64,
}

impl Writer {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        world.clock.set_ms(NOON);
        Self { world, attempted: Chunks::new(), acknowledged: Chunks::new(), refusals: 0 }
    }

    fn disk(&self) -> &SimDisk {
        &self.world.disk
    }

    fn open(&self, seed: u64) -> Store {
        self.world.open(self.disk(), seed).unwrap()
    }

    /// Appends a chunk and remembers the answer.
    fn append(
        &mut self,
        store: &Store,
        at: usize,
        name: &str,
        seq: u64,
        bytes: usize,
    ) -> Result<()> {
        let site = store.site(&site_id(SITES[at])).unwrap();
        let chunk = chunk(name, seq, NOON + seq * 1000, bytes);
        let key = (at, name.to_owned(), seq);
        self.attempted.insert(key.clone(), chunk.events.to_vec());
        match site.append(&session(name), &chunk) {
            Ok(_) => {
                self.acknowledged.insert(key, chunk.events.to_vec());
                Ok(())
            }
            Err(e) => {
                self.refusals += 1;
                Err(e)
            }
        }
    }

    /// Sends all chunks of a short life again, as a recorder does.
    fn send_again(&mut self, store: &Store) {
        for (at, name, seq) in self.attempted.keys().cloned().collect::<Vec<_>>() {
            let bytes = if seq % 10 == 3 { 60_000 } else { 2_000 };
            self.append(store, at, &name, seq, bytes).unwrap();
        }
    }

    /// Everything acknowledged is there, and nothing that was not sent.
    fn check(&self, store: &Store) {
        let mut found = Chunks::new();
        for (at, id) in SITES.iter().enumerate() {
            let site = store.site(&site_id(id)).unwrap();
            let page = site.sessions(&Query::new().limit(1000)).unwrap();
            assert!(page.damage.is_empty());
            for info in page.sessions {
                let mut chunks = 0;
                let mut replay = site.replay(&info.id).unwrap();
                while let Some(chunk) = replay.next_chunk().unwrap() {
                    let key = (at, info.id.to_string(), chunk.seq);
                    assert_eq!(self.attempted.get(&key).map(Vec::as_slice), Some(chunk.events));
                    found.insert(key, chunk.events.to_vec());
                    chunks += 1;
                }
                assert_eq!(chunks, info.chunks);
            }
        }
        for key in self.acknowledged.keys() {
            assert!(found.contains_key(key), "acknowledged chunk {key:?} is lost");
        }
    }

    /// The store as it is found after a power cut and after a kill: opened, all that was acknowledged is there.
    fn check_images(&self, seed: u64) {
        let ways = [Survival::Nothing, Survival::Everything, Survival::Random(seed)];
        let images = ways.map(|way| self.disk().crash_image(way));
        for (n, image) in images.into_iter().chain([self.disk().kill_image()]).enumerate() {
            image.set_capacity(None);
            let store = self.world.open(&image, 7_000 + seed * 10 + n as u64);
            self.check(&store.unwrap_or_else(|e| panic!("image {n}: {e}")));
        }
    }
}

fn is_full(e: &Error) -> bool {
    matches!(e, Error::DiskFull { .. })
}

#[test]
fn appends_are_refused_reads_go_on_and_appends_too_when_there_is_room() {
    let mut writer = Writer::new(1);
    let store = writer.open(1);
    for seq in 0..4 {
        writer.append(&store, (seq % 2) as usize, "s-1", seq, 500).unwrap();
    }
    writer.disk().set_capacity(Some(writer.disk().used_bytes()));
    // What was filled ahead takes some more, and then it is full.
    let mut refused = 0;
    for seq in 4..200 {
        match writer.append(&store, (seq % 2) as usize, "s-1", seq, 3000) {
            Ok(()) => {
                assert_eq!(refused, 0, "a smaller append after a refused one is another matter")
            }
            Err(e) => {
                assert!(is_full(&e), "{e}");
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "{refused}");
    writer.check(&store);
    assert!(store.verify(reelvault::Depth::Content, |_, _| ()).unwrap().is_sound());
    assert!(store.stats().unwrap().poisoned_shards.is_empty());
    writer.check_images(1);
    // There is no room for segments either; that fails cleanly too, and loses nothing.
    assert!(is_full(&store.archive().unwrap_err()));
    let journals = store.stats().unwrap().journals;
    for _ in 0..10 {
        assert!(is_full(&store.archive().unwrap_err()));
        assert!(writer.append(&store, 0, "s-1", 300, 3000).is_err());
    }
    assert!(store.stats().unwrap().journals <= journals + 1, "files are left behind");
    writer.check(&store);
    // The same on opening it again while the disk is full.
    drop(store);
    let store = writer.open(2);
    writer.check(&store);
    // The operator makes room.
    writer.disk().set_capacity(None);
    for seq in 4..200 {
        writer.append(&store, (seq % 2) as usize, "s-1", seq, 3000).unwrap();
    }
    store.archive().unwrap();
    writer.check(&store);
    for (at, name) in SITES.iter().enumerate() {
        let site = store.site(&site_id(name)).unwrap();
        let info = site.session(&session_id("s-1")).unwrap();
        assert_eq!(info.chunks, 100, "site {at}");
    }
    drop(store);
    writer.check_images(2);
}

#[test]
fn deferred_chunks_that_find_no_room_are_told_by_the_sync() {
    let mut writer = Writer::new(3);
    let store = writer.open(1);
    writer.append(&store, 0, "s-1", 0, 500).unwrap();
    writer.disk().set_capacity(Some(writer.disk().used_bytes()));
    let site = store.site(&site_id(SITES[0])).unwrap();
    let mut refused = false;
    for seq in 1..60 {
        let chunk = chunk("s-1", seq, NOON + seq * 1000, 3000);
        writer.attempted.insert((0, "s-1".into(), seq), chunk.events.to_vec());
        match site.append_with(&session("s-1"), &chunk, Durability::Deferred) {
            Ok(_) => {}
            Err(e) => {
                assert!(is_full(&e), "{e}");
                refused = true;
            }
        }
    }
    let synced = store.sync();
    assert!(refused || is_full(&synced.unwrap_err()), "somebody must be told");
    writer.check(&store);
    writer.disk().set_capacity(None);
    for seq in 1..60 {
        writer.append(&store, 0, "s-1", seq, 3000).unwrap();
    }
    assert_eq!(site.session(&session_id("s-1")).unwrap().chunks, 60);
    writer.check(&store);
    writer.check_images(3);
}

#[test]
fn a_deferred_chunk_that_was_given_up_is_told_by_the_next_sync() {
    // Whoever defers hears of a failure by `sync` alone. If the group fell to somebody else's append, or to the
    // background thread, a sync that comes later and succeeds must not say that all is durable.
    let mut silent = Vec::new();
    for by in ["maintain", "append", "archive"] {
        let writer = Writer::new(3);
        let store = writer.open(1);
        let site = store.site(&site_id(SITES[0])).unwrap();
        site.append(&session("s-1"), &chunk("s-1", 0, NOON, 500)).unwrap();
        writer.disk().set_capacity(Some(writer.disk().used_bytes()));
        let large = |name| chunk(name, 1, NOON + 1000, 400_000);
        site.append_with(&session("s-1"), &large("s-1"), Durability::Deferred).unwrap();
        let told = match by {
            "maintain" => store.maintain(),
            "append" => site.append(&session("other"), &large("other")).map(drop),
            _ => store.archive(),
        };
        assert!(is_full(&told.unwrap_err()), "{by}");
        writer.disk().set_capacity(None);
        let synced = store.sync();
        let there = site.session(&session_id("s-1")).unwrap().chunks == 2;
        if !there && synced.is_ok() {
            silent.push(by);
        }
    }
    assert!(
        silent.is_empty(),
        "a sync says that all is durable after a failed group of {silent:?}"
    );
}

#[test]
fn a_deferred_chunk_that_is_given_up_by_archiving_is_told() {
    let writer = Writer::new(3);
    let store = writer.open(1);
    let site = store.site(&site_id(SITES[0])).unwrap();
    site.append_with(&session("s-1"), &chunk("s-1", 0, NOON, 500), Durability::Deferred).unwrap();
    writer.disk().fail(When::Once(writer.disk().operations()), Fault::Full);
    let archived = store.archive();
    let there = site.session(&session_id("s-1")).is_ok();
    assert!(there || archived.is_err(), "archived, and the deferred chunk is nowhere");
}

#[test]
fn a_store_that_was_killed_opens_on_a_full_disk() {
    let mut writer = Writer::new(3);
    let store = writer.open(1);
    // Until the next journal is made ahead, which the next opening would rather not keep.
    let journals =
        |disk: &SimDisk| disk.paths().iter().filter(|p| p.starts_with("/store/journal/")).count();
    let mut seq = 0;
    while journals(writer.disk()) < 2 {
        writer.append(&store, 0, "s-1", seq, 3000).unwrap();
        store.maintain().unwrap();
        seq += 1;
    }
    let image = writer.disk().kill_image();
    image.set_capacity(Some(0));
    let store = writer.world.open(&image, 2).unwrap();
    writer.check(&store);
    assert!(store.verify(Depth::Content, |_, _| ()).unwrap().is_sound());
    drop(store);
    image.set_capacity(None);
    let store = writer.world.open(&image, 3).unwrap();
    writer.check(&store);
    assert_eq!(journals(&image), 1);
}

#[test]
fn deferred_chunks_lost_to_a_failed_sync_are_not_blamed_on_a_full_disk() {
    let writer = Writer::new(3);
    let store = writer.open(1);
    let site = store.site(&site_id(SITES[0])).unwrap();
    site.append(&session("s-1"), &chunk("s-1", 0, NOON, 500)).unwrap();
    site.append_with(&session("s-1"), &chunk("s-1", 1, NOON, 500), Durability::Deferred).unwrap();
    writer.disk().fail(When::From(writer.disk().operations()), Fault::Io);
    for _ in 0..2 {
        let failed = store.maintain().and_then(|()| store.sync()).unwrap_err();
        assert!(!is_full(&failed), "{failed}");
    }
    let closed = store.close();
    assert!(closed.as_ref().is_err_and(|e| !is_full(e)), "{closed:?}");
}

/// A short life on a disk that may fail at any point: appends of two sites, rotation, archiving, a new site, closing,
/// opening again. What fails is passed over, as a service would.
fn short_life(writer: &mut Writer, seen: &mut dyn FnMut(&Error)) {
    for round in 0..2 {
        let store = match writer.world.open(&writer.world.disk.clone(), 10 + round) {
            Ok(store) => store,
            Err(e) => {
                seen(&e);
                continue;
            }
        };
        for step in 0..6u64 {
            let (at, seq) = ((step % 2) as usize, round * 10 + step);
            let bytes = if step == 3 { 60_000 } else { 2_000 };
            if let Err(e) = writer.append(&store, at, "s-1", seq, bytes) {
                seen(&e);
            }
            if step == 4 {
                let _ = store.maintain().map_err(|e| seen(&e));
            }
        }
        writer.check(&store);
        let _ = store.archive().map_err(|e| seen(&e));
        let late = format!("late-{round}.example");
        let _ = store.add_site(site_id(&late), 30).map(drop).map_err(|e| seen(&e));
        writer.check(&store);
        // The second time the process just ends.
        if round == 0 {
            let _ = store.close().map_err(|e| seen(&e));
        }
    }
}

#[test]
fn full_from_every_operation_on() {
    let (mut points, mut refusals) = (0, 0);
    for n in 0.. {
        let mut writer = Writer::new(5);
        let first = writer.disk().operations();
        writer.disk().fail(When::From(first + n), Fault::Full);
        short_life(&mut writer, &mut |e| assert!(is_full(e), "from operation {n}: {e}"));
        let done = writer.disk().operations() <= first + n;
        points += 1;
        refusals += writer.refusals;
        // It opens while it is full, and everything acknowledged is there.
        let opened = writer.world.open(&writer.disk().kill_image(), 400 + n);
        writer.check(&opened.unwrap_or_else(|e| panic!("opened when full from {n}: {e}")));
        writer.disk().heal();
        writer.check_images(n);
        // With room again, everything can be sent again.
        let store = writer.open(900 + n);
        writer.send_again(&store);
        store.archive().unwrap();
        writer.check(&store);
        if done {
            break;
        }
    }
    println!("full from {points} points, {refusals} appends refused, no acknowledged chunk lost");
    assert!(points > 50, "{points}");
}

#[test]
fn full_once_at_every_operation() {
    let mut points = 0;
    for n in 0.. {
        let mut writer = Writer::new(6);
        let first = writer.disk().operations();
        writer.disk().fail(When::Once(first + n), Fault::Full);
        short_life(&mut writer, &mut |_| ());
        let done = writer.disk().operations() <= first + n;
        points += 1;
        writer.check_images(n);
        if done {
            break;
        }
    }
    println!("full once at {points} points, no acknowledged chunk lost");
}

#[test]
fn an_error_of_the_disk_at_every_operation() {
    let mut points = 0;
    for n in 0.. {
        let mut writer = Writer::new(5);
        let first = writer.disk().operations();
        writer.disk().fail(When::Once(first + n), Fault::Io);
        let mut told = Vec::new();
        short_life(&mut writer, &mut |e| {
            assert!(
                matches!(e, Error::Io { .. } | Error::Poisoned { .. } | Error::ManifestUnsure),
                "{n}: {e:?}"
            );
            told.push(e.to_string());
        });
        let done = writer.disk().operations() <= first + n;
        points += 1;
        writer.check_images(n);
        // The recorder sends everything again; what is acknowledged now survives too.
        writer.disk().heal();
        let store = writer.open(800 + n);
        writer.send_again(&store);
        writer.check(&store);
        writer.check_images(n);
        if done {
            assert!(told.is_empty());
            break;
        }
    }
    println!("an error at {points} points, no acknowledged chunk lost");
}

/// Makes the next append's write or sync fail.
fn fail_next(disk: &SimDisk, kind: Kind) {
    // Of an append that needs no new journal: one write, then one sync.
    let ahead = match kind {
        Kind::Write => 0,
        _ => 1,
    };
    disk.fail(When::Once(disk.operations() + ahead), Fault::Io);
}

fn site(store: &Store, at: usize) -> Site {
    store.site(&site_id(SITES[at])).unwrap()
}

/// Two sites in different shards, as the seed has it.
fn writer_of_two_shards() -> Writer {
    for seed in 20.. {
        let mut writer = Writer::new(seed);
        let copy = writer.world.open(&writer.disk().kill_image(), seed).unwrap();
        let journal = |at| {
            let chunk = chunk("probe", 0, NOON, 10);
            site(&copy, at).append(&session("probe"), &chunk).unwrap().position.unwrap().journal
        };
        if journal(0) != journal(1) {
            writer.attempted.clear();
            return writer;
        }
    }
    unreachable!()
}

#[test]
fn a_failed_sync_poisons_its_shard_and_no_other() {
    for kind in [Kind::Sync, Kind::Write] {
        let mut writer = writer_of_two_shards();
        let store = writer.open(1);
        for seq in 0..3 {
            writer.append(&store, 0, "s-1", seq, 500).unwrap();
            writer.append(&store, 1, "s-1", seq, 500).unwrap();
        }
        fail_next(writer.disk(), kind);
        // Everyone who waits for the group hears of it.
        let refused = writer.append(&store, 0, "s-1", 3, 500).unwrap_err();
        assert!(matches!(refused, Error::Poisoned { .. }), "{refused}");
        assert_eq!(store.stats().unwrap().poisoned_shards.len(), 1);
        for seq in 3..6 {
            let refused = writer.append(&store, 0, "s-1", seq, 500).unwrap_err();
            assert!(matches!(refused, Error::Poisoned { .. }), "{refused}");
            writer.append(&store, 1, "s-1", seq, 500).unwrap();
        }
        assert!(matches!(store.sync(), Ok(()) | Err(Error::Poisoned { .. })));
        writer.check(&store);
        assert_eq!(site(&store, 0).session(&session_id("s-1")).unwrap().chunks, 3);
        writer.check_images(1);
        drop(store);
        let store = writer.open(2);
        writer.check(&store);
        for seq in 0..6 {
            writer.append(&store, 0, "s-1", seq, 500).unwrap();
        }
        writer.check(&store);
        writer.check_images(2);
    }
}

#[test]
fn everyone_who_waits_for_a_failed_sync_is_told() {
    let mut writer = writer_of_two_shards();
    let store = writer.open(1);
    writer.append(&store, 0, "s-0", 0, 500).unwrap();
    let disk = writer.disk().clone();
    disk.fail(When::From(disk.operations()), Fault::Io);
    let threads: Vec<_> = (0..16)
        .map(|n| {
            let site = site(&store, 0);
            std::thread::spawn(move || {
                let name = format!("s-{n}");
                site.append(&session(&name), &chunk(&name, 1, NOON, 500)).map(drop)
            })
        })
        .collect();
    for thread in threads {
        let told = thread.join().unwrap();
        assert!(matches!(told, Err(Error::Poisoned { .. })), "{told:?}");
    }
    disk.heal();
    writer.check(&store);
}

#[test]
fn what_is_acknowledged_after_a_failed_sync_and_reopening_survives_a_power_cut() {
    // Linux forgets what a failed sync should have written, shows it until the machine restarts, and syncs
    // successfully without it. Whoever opens the store again sees those frames; what it then acknowledges on
    // their word must be on the disk.
    let mut writer = writer_of_two_shards();
    let store = writer.open(1);
    writer.append(&store, 0, "s-1", 0, 500).unwrap();
    fail_next(writer.disk(), Kind::Sync);
    assert!(writer.append(&store, 0, "s-1", 1, 500).is_err());
    drop(store);
    let store = writer.open(2);
    // The recorder sends again what was not acknowledged.
    writer.append(&store, 0, "s-1", 1, 500).unwrap();
    writer.append(&store, 0, "s-1", 2, 500).unwrap();
    writer.check(&store);
    writer.check_images(1);
    store.archive().unwrap();
    writer.check(&store);
    writer.check_images(2);
}

#[test]
fn a_full_disk_at_opening_is_told_and_nothing_is_lost() {
    // A keyring mirror to mend and a manifest to replace need room; without it, the store can still be read.
    let mut writer = Writer::new(11);
    let store = writer.open(1);
    for seq in 0..3 {
        writer.append(&store, 0, "s-1", seq, 500).unwrap();
    }
    store.close().unwrap();
    writer.disk().remove_file("/keys/b/keyring").unwrap();
    writer.disk().set_capacity(Some(0));
    match writer.world.open(writer.disk(), 2) {
        Ok(store) => writer.check(&store),
        Err(e) => assert!(is_full(&e), "{e}"),
    }
    let env = writer.disk().env(&writer.world.clock, 3);
    let reader = Store::open_read_only(options(env, &writer.world.provider)).unwrap();
    writer.check(&reader);
    drop(reader);
    writer.disk().set_capacity(None);
    writer.check(&writer.open(4));
    assert!(writer.disk().file_bytes("/keys/b/keyring").is_ok(), "the mirror is mended");
}
