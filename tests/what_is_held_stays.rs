//! Holds: a session is kept whole past its day, with what came later, also where files are damaged or chunks have been lost meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::path::PathBuf;

use common::sim::{SITES, World, key_on, options};
use common::{DAY, chunk, replayed, session, session_id, site_id};
use reelvault::env::Clock;
use reelvault::env::sim::{ReadFault, When};
use reelvault::{Error, Expiry, Held, Query, Recovery, Retention, Site, Store};

/// How long sessions are kept here.
const DAYS: u32 = 3;
/// Where the first frame of a journal stands.
const FRAMES_FROM: u64 = 4_096;

fn opened(world: &World, seed: u64) -> (Store, Site) {
    let store = world.open(&world.disk, seed).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    (store, site)
}

fn begin() -> (World, Store, Site) {
    let world = World::new(1);
    let (store, site) = opened(&world, 2);
    (world, store, site)
}

fn record(world: &World, site: &Site, name: &str, seq: u64) {
    let who = session(name).retention_days(DAYS).unwrap();
    let chunk = chunk(name, seq, world.clock.now_ms() + 5_000 * seq, 400);
    site.append(&who, &chunk).unwrap();
}

/// What retention does when the day of everything recorded here has passed.
fn expire(world: &World, store: &Store) -> reelvault::Result<Expiry> {
    store.retention(&Retention::new().now_ms(world.clock.now_ms() + 10 * DAY))
}

fn names(site: &Site) -> Vec<String> {
    let page = site.sessions(&Query::new()).unwrap();
    assert!(page.damage.is_empty(), "{:?}", page.damage);
    page.sessions.iter().map(|s| s.id.as_str().to_owned()).collect()
}

fn files(world: &World, ending: &str) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| path.extension().is_some_and(|e| e == ending);
    world.disk.paths().into_iter().filter(is_one).collect()
}

/// The segment that comes of something.
fn made(world: &World, act: impl FnOnce()) -> PathBuf {
    let before = files(world, "rvs");
    act();
    files(world, "rvs").into_iter().find(|path| !before.contains(path)).unwrap()
}

/// Lets time go on to noon of the day of what is held.
fn come_to_the_day(world: &World, site: &Site) {
    let day = site.holds().unwrap()[0].expiry_day;
    world.clock.advance_ms(u64::from(day) * DAY + DAY / 2 - world.clock.now_ms());
}

#[test]
fn a_hold_keeps_a_session_whole_past_its_day_until_it_is_released() {
    let (world, store, site) = begin();
    record(&world, &site, "case", 0);
    record(&world, &site, "other", 0);
    store.archive().unwrap();
    site.hold(&session_id("case"), "case 7").unwrap();
    // What comes later is held, too.
    record(&world, &site, "case", 1);
    let whole = replayed(&site, "case");
    for _ in 0..10 {
        world.clock.advance_ms(DAY);
        store.maintain().unwrap();
    }
    assert_eq!(names(&site), ["case"]);
    assert_eq!(replayed(&site, "case"), whole);
    let info = site.session(&session_id("case")).unwrap();
    assert_eq!((info.held, info.retention_days, info.chunks), (true, DAYS, 2));
    let holds = store.holds().unwrap();
    assert_eq!(holds.len(), 1);
    assert_eq!(holds[0].1.reason, "case 7");
    assert_eq!(holds[0].1.session.as_str(), "case");
    let refused = site.erase_sessions([session_id("case")], Held::Refuse);
    assert!(matches!(refused, Err(Error::Held { sessions: 1 })));
    let more = chunk("case", 2, info.start_ms + 9_000, 300);
    assert!(matches!(site.append(&session("case"), &more), Err(Error::Expired { .. })));
    drop((site, store));
    let (_store, site) = opened(&world, 3);
    assert_eq!(replayed(&site, "case"), whole);
    site.release(&session_id("case")).unwrap();
    assert!(matches!(site.replay(&session_id("case")), Err(Error::UnknownSession)));
    assert!(names(&site).is_empty() && files(&world, "rvs").is_empty());
}

/// A held session of which a chunk came after its copy was made, in segments of their own, and one of another session; then the store is
/// opened again, so that nothing of them is in memory. Also what a replay yields, and the other session's segment.
fn grown_since_it_was_held() -> (World, Store, Site, Vec<u8>, PathBuf) {
    let (world, store, site) = begin();
    record(&world, &site, "case", 0);
    store.archive().unwrap();
    site.hold(&session_id("case"), "case 9").unwrap();
    record(&world, &site, "case", 1);
    store.archive().unwrap();
    record(&world, &site, "other", 0);
    let other = made(&world, || store.archive().unwrap());
    let whole = replayed(&site, "case");
    drop((site, store));
    let (store, site) = opened(&world, 4);
    (world, store, site, whole, other)
}

#[test]
fn damage_of_another_session_takes_no_late_chunk_from_one_that_is_held() {
    for is_rot in [true, false] {
        let (world, store, site, whole, other) = grown_since_it_was_held();
        let bytes = world.disk.file_bytes(&other).unwrap().len() as u64;
        match is_rot {
            true => world.disk.corrupt(&other, bytes - 60, 1).unwrap(),
            false => world.disk.lose_sector(&other, bytes - 60).unwrap(),
        }
        assert!(site.session(&session_id("case")).is_err());
        let expiry = expire(&world, &store).unwrap();
        assert_eq!(expiry.doubtful_holds, 1, "it might have had chunks there");
        assert_eq!(names(&site), ["case"], "a damaged file keeps no day from passing");
        assert_eq!(site.session(&session_id("case")).unwrap().chunks, 2);
        assert_eq!(replayed(&site, "case"), whole);
        assert_eq!(expire(&world, &store).unwrap().doubtful_holds, 0);
    }
}

/// What could be read was copied in place of what the hold had: a chunk that was whole there went with its old copy.
#[test]
fn what_a_hold_has_copied_stays_where_the_original_is_damaged() {
    let (world, store, site) = begin();
    record(&world, &site, "case", 0);
    let original = made(&world, || store.archive().unwrap());
    site.hold(&session_id("case"), "case 10").unwrap();
    record(&world, &site, "case", 1);
    record(&world, &site, "case", 2);
    store.archive().unwrap();
    let whole = replayed(&site, "case");
    drop((site, store));
    let bytes = world.disk.file_bytes(&original).unwrap().len() as u64;
    world.disk.corrupt(&original, bytes - 60, 1).unwrap();
    let (store, site) = opened(&world, 3);
    assert_eq!(expire(&world, &store).unwrap().doubtful_holds, 1);
    assert_eq!(replayed(&site, "case"), whole);
}

/// As before, but that a block of the original is damaged, or one of the copy: either has what the other lacks.
#[test]
fn a_copy_and_its_original_make_up_for_each_others_blocks() {
    for of_copy in [false, true] {
        let (world, store, site) = begin();
        record(&world, &site, "case", 0);
        let original = made(&world, || store.archive().unwrap());
        let copy = made(&world, || drop(site.hold(&session_id("case"), "case 11").unwrap()));
        record(&world, &site, "case", 1);
        let whole = replayed(&site, "case");
        // The block is the first unit after the header of the file.
        world.disk.corrupt(if of_copy { &copy } else { &original }, 200, 1).unwrap();
        assert_eq!(site.replay(&session_id("case")).unwrap().next_chunk().is_err(), !of_copy);
        assert_eq!(expire(&world, &store).unwrap().doubtful_holds, 0);
        assert_eq!(replayed(&site, "case"), whole);
    }
}

/// What followed on a block that could not be read was lost with it. Also where the medium does not give it back, and retention is told of a day
/// ahead of the clock's: then there is nothing to wait for.
#[test]
fn a_damaged_block_takes_no_other_from_the_renewed_copy() {
    for is_rot in [true, false] {
        a_damaged_block_takes_no_other(is_rot);
    }
}

fn a_damaged_block_takes_no_other(is_rot: bool) {
    let (world, store, site) = begin();
    record(&world, &site, "case", 0);
    store.archive().unwrap();
    site.hold(&session_id("case"), "case 13").unwrap();
    record(&world, &site, "case", 1);
    let original = made(&world, || store.archive().unwrap());
    record(&world, &site, "case", 2);
    store.archive().unwrap();
    record(&world, &site, "case", 3);
    match is_rot {
        true => world.disk.corrupt(&original, 200, 1).unwrap(),
        false => world.disk.lose_sector(&original, 200).unwrap(),
    }
    assert_eq!(expire(&world, &store).unwrap().doubtful_holds, 1);
    let info = site.session(&session_id("case")).unwrap();
    assert_eq!((info.chunks, info.gaps.len()), (3, 1));
    site.replay(&session_id("case")).unwrap().write_to(&mut Vec::new()).unwrap();
    assert_eq!(store.stats().unwrap().doubtful_holds, 1);
}

/// A disk that is away for a while comes back: until the next day, the day is kept.
#[test]
fn what_a_medium_does_not_give_back_is_waited_for_and_not_for_ever() {
    for comes_back in [true, false] {
        let (world, store, site, whole, other) = grown_since_it_was_held();
        let good = world.disk.file_bytes(&other).unwrap();
        world.disk.lose_sector(&other, good.len() as u64 - 60).unwrap();
        come_to_the_day(&world, &site);
        assert!(store.maintain().is_err());
        assert_eq!(store.stats().unwrap().doubtful_holds, 0);
        if comes_back {
            world.disk.write_file(&other, &good).unwrap();
            store.maintain().unwrap();
        } else {
            world.clock.advance_ms(DAY);
            store.maintain().unwrap();
        }
        assert_eq!(store.stats().unwrap().doubtful_holds, u64::from(!comes_back));
        assert_eq!(replayed(&site, "case"), whole);
        assert!(matches!(site.session(&session_id("other")), Err(Error::UnknownSession)));
    }
}

/// A store that was down when the day ended has not waited for anything yet.
#[test]
fn a_store_that_is_opened_after_the_day_waits_for_a_medium_too() {
    for days_later in [1, 9] {
        let (world, store, site, whole, other) = grown_since_it_was_held();
        let good = world.disk.file_bytes(&other).unwrap();
        world.disk.lose_sector(&other, good.len() as u64 - 60).unwrap();
        let last_ms = u64::from(site.holds().unwrap()[0].expiry_day) * DAY;
        world.clock.advance_ms(last_ms - DAY / 2 - world.clock.now_ms());
        store.maintain().unwrap();
        drop((site, store));
        world.clock.advance_ms(days_later * DAY + DAY);
        let (store, site) = opened(&world, 5);
        // After so many days nobody believes that it comes back, and its clock is only believed when that is said.
        let is_late = days_later > 3;
        let how = Retention::new().trust_clock();
        assert_eq!(store.retention(&how).unwrap().doubtful_holds, usize::from(is_late));
        assert_eq!(store.maintain().is_ok(), is_late);
        world.disk.write_file(&other, &good).unwrap();
        store.maintain().unwrap();
        assert_eq!(store.stats().unwrap().doubtful_holds, u64::from(is_late));
        assert_eq!(replayed(&site, "case"), whole);
        assert!(matches!(site.session(&session_id("other")), Err(Error::UnknownSession)));
    }
}

/// A day that is kept back is tried again in pauses, and told all the while; the other work goes on.
#[test]
fn maintenance_does_not_fail_for_hours_for_a_day_that_is_kept_back() {
    let (world, store, site, _, other) = grown_since_it_was_held();
    let good = world.disk.file_bytes(&other).unwrap();
    world.disk.lose_sector(&other, good.len() as u64 - 60).unwrap();
    come_to_the_day(&world, &site);
    let failed = (0..100).take_while(|_| store.maintain().is_err()).count();
    assert_eq!(failed, 8);
    assert!(store.stats().unwrap().maintenance_failed, "the day is still there");
    world.disk.write_file(&other, &good).unwrap();
    store.maintain().unwrap();
    assert!(store.stats().unwrap().maintenance_failed, "it is not tried yet");
    world.clock.advance_ms(15 * 60_000);
    store.maintain().unwrap();
    assert!(!store.stats().unwrap().maintenance_failed);
    assert!(matches!(site.session(&session_id("other")), Err(Error::UnknownSession)));
}

/// A count told whether a session had grown: what had been lost since then, and was in the copy alone, went with it.
#[test]
fn what_salvage_could_not_save_of_a_held_session_its_copy_still_has() {
    for later in [1, 3] {
        let (world, store, site) = begin();
        for seq in 0..2 {
            record(&world, &site, "case", seq);
        }
        site.hold(&session_id("case"), "case 12").unwrap();
        // The frame behind proves that the one before is damage and no torn tail.
        record(&world, &site, "case", 2);
        let has_frames = |path: &PathBuf| {
            world.disk.file_bytes(path).unwrap()[FRAMES_FROM as usize..].iter().any(|b| *b != 0)
        };
        let journal = files(&world, "rvj").into_iter().find(has_frames).unwrap();
        drop((site, store));
        world.disk.corrupt(journal, FRAMES_FROM + 200, 1).unwrap();
        let env = world.disk.env(&world.clock, 3);
        let salvaging = options(env.clone(), &key_on(&env).unwrap()).recovery(Recovery::Salvage);
        let store = Store::open(salvaging).unwrap();
        assert!(store.stats().unwrap().salvaged_bytes > 0);
        let site = store.site(&site_id(SITES[0])).unwrap();
        for seq in 3..3 + later {
            record(&world, &site, "case", seq);
        }
        assert_eq!(expire(&world, &store).unwrap().doubtful_holds, 0);
        let info = site.session(&session_id("case")).unwrap();
        assert_eq!((info.chunks, info.gaps.len()), (3 + later as u32, 0));
    }
}

#[test]
fn a_read_that_goes_wrong_once_takes_no_late_chunk_from_a_session_that_is_held() {
    for (n, fault) in (1..).flat_map(|n| [(n, ReadFault::Rot), (n, ReadFault::Io)]) {
        let (world, store, site, whole, _) = grown_since_it_was_held();
        let at = world.disk.reads() + n;
        world.disk.fail_read(When::Once(at), fault);
        if let Ok(expiry) = expire(&world, &store) {
            assert_eq!(expiry.doubtful_holds, 0, "at read {n}");
        }
        let is_over = world.disk.reads() < at;
        world.disk.heal();
        drop((site, store));
        let (store, site) = opened(&world, 5);
        expire(&world, &store).unwrap();
        assert_eq!(names(&site), ["case"], "at read {n}");
        assert_eq!(replayed(&site, "case"), whole, "at read {n}");
        if is_over {
            assert!(n > 5, "{n}");
            break;
        }
    }
}

#[test]
fn a_held_session_is_erased_when_that_is_said_twice() {
    let (world, store, site) = begin();
    record(&world, &site, "case", 0);
    site.hold(&session_id("case"), "case 8").unwrap();
    let refused = store.erase_site(&site_id(SITES[0]), Held::Refuse);
    assert!(matches!(refused, Err(Error::Held { sessions: 1 })));
    let erased = site.erase_sessions([session_id("case")], Held::Erase).unwrap();
    assert_eq!(erased.sessions, 1);
    expire(&world, &store).unwrap();
    assert!(matches!(site.replay(&session_id("case")), Err(Error::Erased)));
    assert!(store.holds().unwrap().is_empty());
}

/// A copy that the medium does not give back counts as none once it has been waited for: the original is whole, and goes with its day.
#[test]
fn where_a_copy_cannot_be_read_the_original_is_copied_once_more() {
    for is_rot in [true, false] {
        let (world, store, site) = begin();
        record(&world, &site, "case", 0);
        store.archive().unwrap();
        let whole = replayed(&site, "case");
        let copy = made(&world, || drop(site.hold(&session_id("case"), "case 14").unwrap()));
        drop((site, store));
        let end = world.disk.file_bytes(&copy).unwrap().len() as u64;
        match is_rot {
            true => world.disk.corrupt(&copy, end - 60, 1).unwrap(),
            false => world.disk.lose_sector(&copy, end - 60).unwrap(),
        }
        let (store, site) = opened(&world, 3);
        assert_eq!(expire(&world, &store).unwrap().doubtful_holds, 1);
        assert_eq!(replayed(&site, "case"), whole);
    }
}

/// What was rotten as well ended the copying, and the bad sector was forgotten that might have come back.
#[test]
fn a_medium_is_waited_for_where_something_else_is_rotten_too() {
    let (world, store, site, whole, other) = grown_since_it_was_held();
    let good = world.disk.file_bytes(&other).unwrap();
    world.disk.lose_sector(&other, good.len() as u64 - 60).unwrap();
    for path in files(&world, "rvs").into_iter().filter(|path| *path != other) {
        world.disk.corrupt(&path, 200, 1).unwrap();
    }
    come_to_the_day(&world, &site);
    assert!(store.maintain().is_err());
    assert_eq!(store.stats().unwrap().doubtful_holds, 0);
    assert!(!whole.is_empty() && site.session(&session_id("case")).is_err(), "it is there still");
    world.disk.write_file(&other, &good).unwrap();
    store.maintain().unwrap();
    assert_eq!(store.stats().unwrap().doubtful_holds, 1);
}

/// A block that is rotten in the copy and in the original kept what came later from being copied.
#[test]
fn what_is_lost_twice_takes_nothing_else_with_it() {
    let (world, store, site) = begin();
    record(&world, &site, "case", 0);
    store.archive().unwrap();
    site.hold(&session_id("case"), "case 15").unwrap();
    for path in files(&world, "rvs") {
        world.disk.corrupt(&path, 200, 1).unwrap();
    }
    record(&world, &site, "case", 1);
    store.archive().unwrap();
    assert_eq!(expire(&world, &store).unwrap().doubtful_holds, 1);
    let info = site.session(&session_id("case")).unwrap();
    assert_eq!(info.chunks, 1);
    site.replay(&session_id("case")).unwrap().write_to(&mut Vec::new()).unwrap();
}

/// Each was a generation of the keyring and a record in the log of deletions.
#[test]
fn a_damaged_hold_is_not_copied_in_each_round_while_another_keeps_its_day() {
    let (world, store, site) = begin();
    // The holds are looked at in the order of their ids, so that some of several come before the one that waits.
    let all = ["waits", "lacks-1", "lacks-2", "lacks-3", "lacks-4"];
    for name in all {
        record(&world, &site, name, 0);
        site.hold(&session_id(name), "case 16").unwrap();
        store.archive().unwrap();
        record(&world, &site, name, 1);
        let late = made(&world, || store.archive().unwrap());
        match name {
            "waits" => world.disk.lose_sector(&late, 200).unwrap(),
            _ => world.disk.corrupt(&late, 200, 1).unwrap(),
        }
    }
    come_to_the_day(&world, &site);
    let round = || {
        assert!(store.maintain().is_err());
        store.stats().unwrap().keyring_generation
    };
    let first = round();
    assert_eq!((round(), round()), (first, first));
}

#[test]
fn a_full_disk_keeps_no_grown_hold_from_being_copied() {
    let (world, store, site) = begin();
    record(&world, &site, "case", 0);
    store.archive().unwrap();
    site.hold(&session_id("case"), "case 17").unwrap();
    record(&world, &site, "case", 1);
    store.archive().unwrap();
    let whole = replayed(&site, "case");
    // The reserve is put by in an open store.
    store.maintain().unwrap();
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    assert_eq!(expire(&world, &store).unwrap().kept_back, None);
    assert_eq!(replayed(&site, "case"), whole);
}

/// A file that is gone was taken for one that retention had removed.
#[test]
fn a_lost_file_of_a_held_session_is_told_and_takes_no_other_with_it() {
    let (world, store, site) = begin();
    record(&world, &site, "case", 0);
    store.archive().unwrap();
    site.hold(&session_id("case"), "case 18").unwrap();
    record(&world, &site, "case", 1);
    let lost = made(&world, || store.archive().unwrap());
    record(&world, &site, "case", 2);
    store.archive().unwrap();
    drop((site, store));
    let (store, site) = opened(&world, 5);
    world.disk.remove_file(&lost).unwrap();
    come_to_the_day(&world, &site);
    store.maintain().unwrap();
    assert_eq!(store.stats().unwrap().doubtful_holds, 1);
    let info = site.session(&session_id("case")).unwrap();
    assert_eq!((info.chunks, info.gaps.len()), (2, 1));
    site.replay(&session_id("case")).unwrap().write_to(&mut Vec::new()).unwrap();
}

/// A new copy of what came later took the place of one that the medium might have given back, and that alone had the rest. Where not even
/// its index can be read, one with as many chunks counts as whole.
#[test]
fn a_copy_that_may_come_back_is_not_given_up_for_one_with_less() {
    for later in [1, 3] {
        let (world, store, site) = begin();
        record(&world, &site, "case", 0);
        record(&world, &site, "case", 1);
        let original = made(&world, || store.archive().unwrap());
        let copy = made(&world, || drop(site.hold(&session_id("case"), "case 19").unwrap()));
        (2..2 + later).for_each(|seq| record(&world, &site, "case", seq));
        store.archive().unwrap();
        drop((site, store));
        let good = world.disk.file_bytes(&copy).unwrap();
        world.disk.lose_sector(&copy, good.len() as u64 - 60).unwrap();
        let end = world.disk.file_bytes(&original).unwrap().len() as u64;
        world.disk.corrupt(&original, end - 60, 1).unwrap();
        let (store, site) = opened(&world, 3);
        assert_eq!(expire(&world, &store).unwrap().doubtful_holds, 1);
        if later == 1 {
            world.disk.write_file(&copy, &good).unwrap();
        }
        let chunks = site.session(&session_id("case")).unwrap().chunks;
        assert_eq!(u64::from(chunks), later.max(2));
        assert!(!replayed(&site, "case").is_empty());
    }
}

/// A bad sector of what goes with its day kept the rest from being copied.
#[test]
fn a_bad_sector_of_the_original_takes_nothing_else_with_it() {
    for is_copy_lost in [true, false] {
        let (world, store, site) = begin();
        record(&world, &site, "case", 0);
        let first = made(&world, || store.archive().unwrap());
        let copy = made(&world, || drop(site.hold(&session_id("case"), "case 20").unwrap()));
        record(&world, &site, "case", 1);
        let second = made(&world, || store.archive().unwrap());
        record(&world, &site, "case", 2);
        store.archive().unwrap();
        drop((site, store));
        world.disk.lose_sector(&second, 200).unwrap();
        match is_copy_lost {
            true => {
                let end = world.disk.file_bytes(&copy).unwrap().len() as u64;
                world.disk.corrupt(&copy, end - 60, 1).unwrap();
            }
            false => [&first, &copy].iter().for_each(|f| world.disk.corrupt(f, 200, 1).unwrap()),
        }
        let (store, site) = opened(&world, 3);
        assert_eq!(expire(&world, &store).unwrap().doubtful_holds, 1);
        let left = site.session(&session_id("case")).unwrap();
        assert_eq!(left.chunks, if is_copy_lost { 2 } else { 1 });
        assert!(!replayed(&site, "case").is_empty());
    }
}

/// As before, where it is a block that may come back, however much came later.
#[test]
fn what_is_held_is_not_given_up_for_what_came_later() {
    const FIRST: u64 = 24;
    let (world, store, site) = begin();
    // Its block is so long that the indexes are read without it.
    let case = session("case").retention_days(DAYS).unwrap();
    for seq in 0..FIRST {
        site.append(&case, &chunk("case", seq, world.clock.now_ms(), 40_000)).unwrap();
    }
    let original = made(&world, || store.archive().unwrap());
    let kept = replayed(&site, "case");
    let copy = made(&world, || drop(site.hold(&session_id("case"), "case 21").unwrap()));
    (FIRST..2 * FIRST + 1).for_each(|seq| record(&world, &site, "case", seq));
    store.archive().unwrap();
    drop((site, store));
    let good = world.disk.file_bytes(&copy).unwrap();
    world.disk.lose_sector(&copy, 200).unwrap();
    world.disk.corrupt(&original, 200, 1).unwrap();
    let (store, site) = opened(&world, 3);
    assert_eq!(expire(&world, &store).unwrap().doubtful_holds, 1);
    world.disk.write_file(&copy, &good).unwrap();
    assert_eq!(replayed(&site, "case"), kept);
}
