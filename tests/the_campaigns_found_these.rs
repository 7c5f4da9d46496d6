//! Bugs that the campaigns of `tools/torture` found, each with its story.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use common::sim::World;
use common::{DAY, chunk, session, session_id, site_id};
use reelvault::env::Clock;
use reelvault::env::sim::{Fault, ReadFault, SimDisk, Survival, When};
use reelvault::{Depth, Durability, Error, Held, Query, Result, Retention, Site, Store};

const SHOP: &str = "shop.example";
const HELP: &str = "help.example";

fn append(site: &Site, world: &World, name: &str, seq: u64, days: u32) -> Result<()> {
    let who = session(name).retention_days(days)?;
    site.append(&who, &chunk(name, seq, world.clock.now_ms(), 400)).map(drop)
}

/// How many chunks of a session can be read.
fn chunks(store: &Store, site: &str, name: &str) -> Result<usize> {
    let mut replay = store.site(&site_id(site))?.replay(&session_id(name))?;
    let mut found = 0;
    while replay.next_chunk()?.is_some() {
        found += 1;
    }
    Ok(found)
}

/// A process archived a journal, renamed the new manifest into its place, and was killed before that was durable. The next one read
/// that manifest and removed the journal, which it does not name. Then the power went: the removal was on the disk, the rename was
/// not, and the store named a journal that was gone.
#[test]
fn what_a_killed_process_put_in_place_is_durable_before_anything_is_removed_for_it() {
    let world = World::new(1);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SHOP)).unwrap();
    append(&site, &world, "s", 0, 30).unwrap();
    let images = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let same = std::sync::Arc::clone(&images);
    world.disk.on_operation(move |disk, _| same.lock().push(disk.kill_image()));
    store.archive().unwrap();
    world.disk.on_operation(|_, _| {});
    let mut cuts = 0;
    for (n, killed) in images.lock().iter().enumerate() {
        drop(world.open(killed, 100 + n as u64).unwrap());
        for operation in killed.pending_operations() {
            for way in [Survival::Only(operation), Survival::Without(operation)] {
                let store = world.open(&killed.crash_image(way), 1_000 + cuts).unwrap();
                assert_eq!(chunks(&store, SHOP, "s").unwrap(), 1, "{n} {way:?}");
                cuts += 1;
            }
        }
    }
    assert!(cuts > 10, "{cuts}");
}

/// Recovery read a journal from the wrong place, or with a wrong bit, took it for one in which there never was a frame, or for one with
/// a torn end, and removed what had been acknowledged. The next reading would have been right.
#[test]
fn one_read_that_goes_wrong_while_a_store_is_opened_loses_nothing_for_good() {
    for seed in 0..3 {
        let world = World::new(seed);
        let store = world.open(&world.disk, 1).unwrap();
        let site = store.site(&site_id(SHOP)).unwrap();
        for seq in 0..3 {
            append(&site, &world, "s", seq, 30).unwrap();
        }
        let killed = world.disk.kill_image();
        drop((site, store));
        let mut n = 0;
        loop {
            let mut reached = false;
            for fault in [ReadFault::Misdirected, ReadFault::Rot, ReadFault::Short] {
                let disk = killed.kill_image();
                let at = disk.reads() + n;
                disk.fail_read(When::Once(at), fault);
                let opened = world.open(&disk, 50 + n);
                let archived = opened.and_then(|store| store.archive());
                reached |= disk.reads() > at;
                disk.heal();
                let store = world.open(&disk, 500 + n).unwrap();
                assert_eq!(chunks(&store, SHOP, "s").unwrap(), 3, "{fault:?} {n}: {archived:?}");
            }
            if !reached {
                break;
            }
            n += 1;
        }
        assert!(n > 10, "{n}");
    }
}

/// A sync of the log of deletions failed. The record stood in the system's memory, where the next erasure read it, and wrote its own
/// behind it. The memory was clean, as far as the system knew, so the first record never came to the disk, and after a power cut there was a
/// hole before the second.
#[test]
fn a_record_whose_sync_failed_is_written_again_before_the_next_one() {
    deleting(|disk, n| {
        let at = disk.operations() + n;
        disk.fail(When::Once(at), if n % 2 == 0 { Fault::Io } else { Fault::Full });
        move |disk: &SimDisk| disk.operations() > at
    });
}

/// The log was read with a wrong bit in its last record, which so looked torn; the next erasure cut it off.
#[test]
fn one_read_that_goes_wrong_cuts_nothing_off_the_log_of_deletions() {
    deleting(|disk, n| {
        let at = disk.reads() + n;
        disk.fail_read(When::Once(at), ReadFault::Rot);
        move |disk: &SimDisk| disk.reads() > at
    });
}

/// Erases three sessions, one after the other, with a fault at every place of the second erasure.
fn deleting<F: Fn(&SimDisk) -> bool>(plan: impl Fn(&SimDisk, u64) -> F) {
    let world = World::new(7);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SHOP)).unwrap();
    for name in ["a", "b", "c"] {
        append(&site, &world, name, 0, 30).unwrap();
    }
    site.erase_sessions([session_id("a")], Held::Refuse).unwrap();
    drop(site);
    store.close().unwrap();
    let base = world.disk.kill_image();
    for n in 0.. {
        let disk = base.kill_image();
        let store = world.open(&disk, 10 + n).unwrap();
        let site = store.site(&site_id(SHOP)).unwrap();
        let struck = plan(&disk, n);
        let _ = site.erase_sessions([session_id("b")], Held::Refuse);
        let struck = struck(&disk);
        disk.heal();
        let _ = site.erase_sessions([session_id("c")], Held::Refuse);
        for way in [Survival::Nothing, Survival::Everything] {
            let store = world.open(&disk.crash_image(way), 1_000 + n).unwrap();
            let damage = store.deletions().unwrap().damage;
            assert!(damage.is_empty(), "fault at {n}, then {way:?}: {damage:?}");
        }
        if !struck {
            assert!(n > 3, "{n}");
            return;
        }
    }
}

/// On a full disk, what frees space unlinked files first and told the manifest later, where there was no room for the new manifest. For a
/// segment whose day has passed that is understood; but this one held an erased site. The process ended in between, and from then on every
/// look for a session of the shard met a segment that was missing.
#[test]
fn on_a_full_disk_no_file_goes_whose_absence_the_next_process_does_not_understand() {
    let world = World::new(3);
    let store = world.open(&world.disk, 1).unwrap();
    let gone = store.site(&site_id(HELP)).unwrap();
    let other = store.add_site(site_id("third.example"), 30).unwrap();
    let shop = store.site(&site_id(SHOP)).unwrap();
    append(&gone, &world, "gone", 0, 90).unwrap();
    append(&shop, &world, "s", 0, 30).unwrap();
    append(&other, &world, "t", 0, 30).unwrap();
    store.archive().unwrap();
    store.erase_site(&site_id(HELP), Held::Refuse).unwrap();
    drop((gone, other, shop));
    store.close().unwrap();
    let base = world.disk.kill_image();
    for n in 0.. {
        let disk = base.kill_image();
        let store = world.open(&disk, 10 + n).unwrap();
        let at = disk.operations() + n;
        disk.fail(When::From(at), Fault::Full);
        let _ = store.maintain();
        let _ = store.reclaim(0.0);
        let struck = disk.operations() > at;
        drop(store);
        disk.heal();
        let store = world.open(&disk.crash_image(Survival::Everything), 1_000 + n).unwrap();
        assert_eq!(chunks(&store, SHOP, "s").unwrap(), 1, "full from {n}");
        assert_eq!(chunks(&store, "third.example", "t").unwrap(), 1, "full from {n}");
        if !struck {
            assert!(n > 3, "{n}");
            return;
        }
    }
}

/// The same for what has expired, where files do go first: opening a session knew that, listing called it damage.
#[test]
fn a_list_does_not_call_it_damage_that_a_full_disk_was_freed_of_what_has_expired() {
    let world = World::new(4);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SHOP)).unwrap();
    append(&site, &world, "old", 0, 1).unwrap();
    append(&site, &world, "s", 0, 30).unwrap();
    store.archive().unwrap();
    drop(site);
    store.close().unwrap();
    let base = world.disk.kill_image();
    world.clock.advance_ms(3 * DAY);
    for n in 0.. {
        let disk = base.kill_image();
        let store = world.open(&disk, 10 + n).unwrap();
        let at = disk.operations() + n;
        disk.fail(When::From(at), Fault::Full);
        let _ = store.retention(&Retention::new());
        let struck = disk.operations() > at;
        drop(store);
        let disk = disk.crash_image(Survival::Everything);
        let store = world.open(&disk, 1_000 + n).unwrap();
        let page = store.site(&site_id(SHOP)).unwrap().sessions(&Query::new()).unwrap();
        assert!(page.damage.is_empty(), "full from {n}: {:?}", page.damage);
        if !struck {
            assert!(n > 3, "{n}");
            return;
        }
    }
}

/// And when the disk stayed full for days, so that no manifest could remember the time, the next process doubted the clock, and called it
/// damage again.
#[test]
fn nor_does_it_when_the_clock_is_doubted_after_days_of_a_full_disk() {
    let world = World::new(8);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SHOP)).unwrap();
    append(&site, &world, "old", 0, 1).unwrap();
    append(&site, &world, "s", 0, 30).unwrap();
    store.archive().unwrap();
    drop(site);
    store.close().unwrap();
    let disk = world.disk.kill_image();
    world.clock.advance_ms(3 * DAY);
    let store = world.open(&disk, 2).unwrap();
    disk.fail(When::From(disk.operations()), Fault::Full);
    let _ = store.retention(&Retention::new());
    drop(store);
    world.clock.advance_ms(3 * DAY);
    let store = world.open(&disk.crash_image(Survival::Everything), 3).unwrap();
    assert_eq!(chunks(&store, SHOP, "s").unwrap(), 1);
    let page = store.site(&site_id(SHOP)).unwrap().sessions(&Query::new()).unwrap();
    assert!(page.damage.is_empty(), "{:?}", page.damage);
}

/// The day of a held session passed on a full disk. The file of its day went first, and its copy is read only when the day has left the
/// keyring, which found no room: so for as long as the disk was full the session could not be read, held as it was.
#[test]
fn a_held_session_is_readable_while_its_day_passes_on_a_full_disk() {
    let world = World::new(9);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SHOP)).unwrap();
    append(&site, &world, "s", 0, 1).unwrap();
    store.archive().unwrap();
    site.hold(&session_id("s"), "a reason").unwrap();
    drop(site);
    store.close().unwrap();
    let base = world.disk.kill_image();
    world.clock.advance_ms(3 * DAY);
    for n in 0.. {
        let disk = base.kill_image();
        let store = world.open(&disk, 10 + n).unwrap();
        let at = disk.operations() + n;
        disk.fail(When::From(at), Fault::Full);
        let _ = store.retention(&Retention::new());
        assert_eq!(chunks(&store, SHOP, "s").unwrap(), 1, "full from {n}");
        let struck = disk.operations() > at;
        drop(store);
        let store = world.open(&disk.crash_image(Survival::Everything), 1_000 + n).unwrap();
        assert_eq!(chunks(&store, SHOP, "s").unwrap(), 1, "full from {n}");
        if !struck {
            assert!(n > 3, "{n}");
            return;
        }
    }
}

/// A session was held, a chunk of it appended without waiting, and its day passed before the next sync: the copy that the hold keeps
/// was made without that chunk, and the sync that followed said that all was well.
#[test]
fn a_chunk_that_nobody_waited_for_is_in_the_copy_of_a_held_session() {
    let world = World::new(5);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SHOP)).unwrap();
    append(&site, &world, "s", 0, 1).unwrap();
    site.hold(&session_id("s"), "a reason").unwrap();
    let late = chunk("s", 1, world.clock.now_ms(), 400);
    let who = session("s").retention_days(1).unwrap();
    site.append_with(&who, &late, Durability::Deferred).unwrap();
    world.clock.advance_ms(2 * DAY);
    store.retention(&Retention::new().trust_clock()).unwrap();
    store.sync().unwrap();
    assert_eq!(chunks(&store, SHOP, "s").unwrap(), 2);
}

/// An index was read with an error while a chunk of one of its sessions arrived. It was passed over, as it must be where it is damaged for
/// good, and the chunk began a second session of that name, though the next reading would have found the first.
#[test]
fn one_read_that_goes_wrong_does_not_split_a_session_in_two() {
    let world = World::new(6);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SHOP)).unwrap();
    append(&site, &world, "s", 0, 30).unwrap();
    store.archive().unwrap();
    drop(site);
    store.close().unwrap();
    let base = world.disk.kill_image();
    for n in 0.. {
        let disk = base.kill_image();
        let store = world.open(&disk, 10 + n).unwrap();
        let at = disk.reads() + n;
        disk.fail_read(When::Once(at), ReadFault::Rot);
        let site = store.site(&site_id(SHOP)).unwrap();
        let appended = append(&site, &world, "s", 1, 30);
        let struck = disk.reads() > at;
        disk.heal();
        if appended.is_err() {
            append(&site, &world, "s", 1, 30).unwrap();
        }
        assert_eq!(chunks(&store, SHOP, "s").unwrap(), 2, "read {n}");
        if !struck {
            assert!(n > 0, "{n}");
            return;
        }
    }
}

/// An index could not be read while a session was erased by its id. That was told as damage, and the session stayed, though all that is
/// needed to take away its key follows from the id.
#[test]
fn a_session_named_by_its_id_is_erased_where_its_index_cannot_be_read() {
    let world = World::new(7);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SHOP)).unwrap();
    append(&site, &world, "s", 0, 30).unwrap();
    store.archive().unwrap();
    drop(site);
    store.close().unwrap();
    let base = world.disk.kill_image();
    let mut told = 0;
    for n in 0.. {
        let disk = base.kill_image();
        let store = world.open(&disk, 10 + n).unwrap();
        let at = disk.reads() + n;
        disk.fail_read(When::Once(at), ReadFault::Short);
        let site = store.site(&site_id(SHOP)).unwrap();
        let erased = site.erase_sessions([session_id("s")], Held::Refuse);
        let struck = disk.reads() > at;
        disk.heal();
        drop(site);
        drop(store);
        if let Ok(erasure) = &erased {
            told += erasure.damage.len();
            let store = world.open(&disk, 10_000 + n).unwrap();
            assert!(matches!(chunks(&store, SHOP, "s"), Err(Error::Erased)), "read {n}");
        }
        if !struck {
            assert!(told > 0 && n > 0, "{n}");
            return;
        }
    }
}

/// A segment was written again without what was erased, and one block came from the disk with a wrong bit, on its second reading: its
/// sealed bytes were taken over as they were, and the digest of the new segment told for them.
#[test]
fn one_read_that_goes_wrong_while_a_segment_is_written_again_spoils_nothing() {
    let world = World::new(8);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SHOP)).unwrap();
    append(&site, &world, "s", 0, 30).unwrap();
    append(&site, &world, "gone", 0, 30).unwrap();
    store.archive().unwrap();
    site.erase_sessions([session_id("gone")], Held::Refuse).unwrap();
    drop(site);
    store.close().unwrap();
    let base = world.disk.kill_image();
    for n in 0.. {
        let disk = base.kill_image();
        let store = world.open(&disk, 10 + n).unwrap();
        let at = disk.reads() + n;
        disk.fail_read(When::Once(at), ReadFault::Rot);
        let _ = store.reclaim(0.0);
        let struck = disk.reads() > at;
        disk.heal();
        drop(store);
        let store = world.open(&disk, 10_000 + n).unwrap();
        assert_eq!(chunks(&store, SHOP, "s").unwrap(), 1, "read {n}");
        assert!(store.verify(Depth::Content, |_, _| ()).unwrap().is_sound(), "read {n}");
        if !struck {
            assert!(n > 3, "{n}");
            return;
        }
    }
}

/// The sync of a statement had failed, and the log showed it all the same; the next statement was made, its own writing failed, and a
/// power cut took both. The keyring holds the last one alone.
#[test]
fn every_statement_is_durable_before_the_next_one_is_made() {
    let world = World::new(9);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SHOP)).unwrap();
    for name in ["zero", "one", "two"] {
        append(&site, &world, name, 0, 30).unwrap();
    }
    drop(site);
    store.close().unwrap();
    let base = world.disk.kill_image();
    let mut cuts = 0;
    for n in 0.. {
        let mut first_struck = false;
        for m in 0.. {
            let disk = base.kill_image();
            let store = world.open(&disk, 100 * n + m).unwrap();
            let site = store.site(&site_id(SHOP)).unwrap();
            let erase = |name| site.erase_sessions([session_id(name)], Held::Refuse);
            erase("zero").unwrap();
            let at = disk.operations() + n;
            disk.fail(When::Once(at), Fault::Io);
            let _ = erase("one");
            first_struck = disk.operations() > at;
            let at = disk.operations() + m;
            disk.fail(When::From(at), Fault::Io);
            let _ = erase("two");
            let struck = disk.operations() > at;
            disk.heal();
            let disk = disk.crash_image(Survival::Nothing);
            let store = world.open(&disk, 1 << 20).unwrap();
            let log = store.deletions().unwrap();
            assert!(log.damage.is_empty(), "{n} {m}: {:?}", log.damage);
            cuts += 1;
            if !struck {
                break;
            }
        }
        if !first_struck {
            assert!(cuts > 500, "{cuts}");
            return;
        }
    }
}
