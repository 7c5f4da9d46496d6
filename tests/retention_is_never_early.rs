//! Retention, erasure and holds as a recording service meets them: never early, also when the clock jumps; on a full
//! disk; while recording goes on; and in a second process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::{DAY, chunk, replayed, session, session_id, site_id};
use reelvault::env::sim::{SimClock, SimDisk};
use reelvault::env::{Clock, Env};
use reelvault::retention::{CLOCK_OFFLINE_MAX_MS, Deed};
use reelvault::{Error, Held, KeyFile, Options, Query, Retention, Site, Store, VisitorId};

fn options(env: &Env) -> Options {
    common::sim::options(env.clone(), &common::sim::key_on(env).unwrap())
}

struct World {
    env: Env,
    disk: SimDisk,
    clock: SimClock,
}

impl World {
    fn new() -> (Self, Store, Site) {
        let (env, disk, clock) = reelvault::env::sim::env(1);
        env.disk.create_dir("/keys".as_ref()).unwrap();
        KeyFile::create(&env, "/keys/key").unwrap();
        let store = Store::create(options(&env)).unwrap();
        let site = store.add_site(site_id("shop.example"), 30).unwrap();
        (Self { env, disk, clock }, store, site)
    }

    fn record(&self, site: &Site, name: &str, days: u32) {
        let who = session(name).retention_days(days).unwrap();
        site.append(&who, &chunk(name, 0, self.clock.now_ms(), 500)).unwrap();
    }

    /// Days that pass while the store is open.
    fn pass(&self, store: &Store, days: u64) {
        for _ in 0..days {
            self.clock.advance_ms(DAY);
            store.maintain().unwrap();
        }
    }
}

fn is_gone(site: &Site, name: &str) -> bool {
    match site.replay(&session_id(name)) {
        Ok(_) => false,
        Err(Error::Erased | Error::Expired { .. } | Error::UnknownSession) => true,
        Err(e) => panic!("{e}"),
    }
}

fn names(site: &Site) -> Vec<String> {
    let page = site.sessions(&Query::new()).unwrap();
    assert!(page.damage.is_empty(), "{:?}", page.damage);
    page.sessions.iter().map(|s| s.id.as_str().to_owned()).collect()
}

#[test]
fn a_session_is_kept_to_the_end_of_its_last_day_and_no_longer() {
    for archived in [false, true] {
        let (world, store, site) = World::new();
        world.record(&site, "short", 2);
        world.record(&site, "long", 9);
        if archived {
            store.archive().unwrap();
        }
        // It began at midnight: two whole days after the day on which it began.
        world.pass(&store, 2);
        world.clock.advance_ms(DAY - 1);
        store.maintain().unwrap();
        let listed = site.sessions(&Query::new()).unwrap().sessions;
        assert_eq!(listed.len(), 2);
        let before = store.stats().unwrap().segments;
        world.clock.advance_ms(1);
        store.maintain().unwrap();
        assert_eq!(names(&site), ["long"]);
        assert!(is_gone(&site, "short"));
        let short = listed.iter().find(|info| info.id.as_str() == "short").unwrap();
        assert!(matches!(site.replay_listed(short), Err(Error::Expired { .. })));
        assert_eq!(store.stats().unwrap().segments, before - 1);
        let late = chunk("short", 1, world.clock.now_ms() - 3 * DAY, 100);
        let refused = site.append(&session("short").retention_days(2).unwrap(), &late);
        assert!(matches!(refused, Err(Error::Expired { .. })));
    }
}

/// A link to a recording has the session's id and when it started. After the session's day nothing but that time tells what became
/// of it.
#[test]
fn who_knows_when_a_session_started_is_told_that_it_has_expired() {
    let (world, store, site) = World::new();
    let start = world.clock.now_ms();
    for (name, days) in [("short", 2), ("ours", 30), ("erased", 30)] {
        world.record(&site, name, days);
    }
    store.archive().unwrap();
    site.erase_sessions([session_id("erased")], Held::Refuse).unwrap();
    let at = |name: &str, ms: u64| site.session_at(&session_id(name), ms);
    let info = at("ours", start + DAY - 1).unwrap();
    assert_eq!((info.start_ms, info.id.as_str()), (start, "ours"), "any time of its day will do");
    assert!(matches!(at("ours", start + DAY), Err(Error::UnknownSession)));
    assert!(matches!(at("nobody", start), Err(Error::UnknownSession)));
    assert!(matches!(at("erased", start), Err(Error::Erased)));
    site.replay_listed_from(&info, start).unwrap().write_to(&mut Vec::new()).unwrap();
    world.pass(&store, 3);
    assert!(matches!(at("short", start), Err(Error::UnknownSession)), "others of its day are kept");
    // Its id is used again, and the link to the first one does not lead to the second.
    world.pass(&store, 28);
    let again = world.clock.now_ms();
    world.record(&site, "ours", 30);
    let expiry_day = info.expiry_day;
    for (name, ms) in [("ours", start), ("short", start + 5), ("nobody", start)] {
        let told = at(name, ms);
        assert!(matches!(told, Err(Error::Expired { expiry_day: day }) if day == expiry_day));
    }
    assert!(matches!(site.replay_listed(&info), Err(Error::Expired { .. })));
    let held = site.hold_at(&session_id("ours"), start, "too late");
    assert!(matches!(held, Err(Error::Expired { .. })), "and not the second one");
    assert!(matches!(at("erased", start), Err(Error::Erased)));
    assert_eq!(at("ours", again).unwrap().start_ms, again);
    assert_eq!(site.session(&session_id("ours")).unwrap().start_ms, again);
    assert!(matches!(site.session(&session_id("short")), Err(Error::UnknownSession)));
}

#[test]
fn a_plan_that_changes_touches_new_sessions_alone() {
    let (world, store, site) = World::new();
    world.record(&site, "before", 5);
    store.archive().unwrap();
    world.clock.advance_ms(1);
    // The same session, now said to be kept longer: what was stamped when it began holds.
    let who = session("before").retention_days(90).unwrap();
    site.append(&who, &chunk("before", 1, world.clock.now_ms(), 100)).unwrap();
    world.record(&site, "after", 90);
    world.pass(&store, 7);
    assert_eq!(names(&site), ["after"]);
}

#[test]
fn a_clock_that_jumps_deletes_nothing_until_it_is_confirmed() {
    let (world, store, site) = World::new();
    world.record(&site, "one", 30);
    store.archive().unwrap();
    store.maintain().unwrap();
    let today = world.clock.now_ms();
    world.clock.set_ms(today + 400 * DAY);
    store.maintain().unwrap();
    let expiry = store.retention(&Retention::new()).unwrap();
    assert_eq!(expiry.segments, 0);
    assert_eq!(expiry.doubt.unwrap().clock_ms, today + 400 * DAY);
    world.clock.set_ms(today);
    store.maintain().unwrap();
    assert_eq!(replayed(&site, "one"), &*chunk("one", 0, today, 500).events);
    // The same across a restart.
    drop((site, store));
    world.clock.set_ms(today + 400 * DAY);
    let store = Store::open(options(&world.env)).unwrap();
    store.maintain().unwrap();
    world.clock.set_ms(today + CLOCK_OFFLINE_MAX_MS);
    let site = store.site(&site_id("shop.example")).unwrap();
    assert_eq!(names(&site), ["one"]);
    world.clock.set_ms(today + 400 * DAY);
    let expiry = store.retention(&Retention::new().trust_clock()).unwrap();
    assert_eq!((expiry.segments, expiry.doubt), (1, None));
    assert!(is_gone(&site, "one"));
    // A clock that goes back brings nothing back.
    world.clock.set_ms(today);
    assert!(is_gone(&site, "one"));
    assert!(names(&site).is_empty());
}

#[test]
fn a_dry_run_tells_and_deletes_nothing() {
    let (world, store, site) = World::new();
    world.record(&site, "one", 3);
    store.archive().unwrap();
    let later = Retention::new().now_ms(world.clock.now_ms() + 10 * DAY);
    let told = store.retention(&later.dry_run()).unwrap();
    assert_eq!((told.segments, told.sessions, told.certificate), (1, 1, None));
    assert_eq!(names(&site), ["one"]);
    let done = store.retention(&later).unwrap();
    assert_eq!((done.segments, done.bytes), (1, told.bytes));
    assert!(matches!(done.certificate.unwrap().statement.deed, Deed::Expired { .. }));
    assert!(!world.disk.paths().iter().any(|p| p.starts_with("/store/segment")));
    let again = store.retention(&later).unwrap();
    assert_eq!((again.segments, again.certificate), (0, None), "there is nothing left to do");
}

#[test]
fn on_a_full_disk_days_pass_sessions_are_erased_and_space_comes_back() {
    let (world, store, site) = World::new();
    for n in 0..20 {
        world.record(&site, &format!("old-{n}"), 3);
        world.record(&site, &format!("new-{n}"), 90);
    }
    store.archive().unwrap();
    store.maintain().unwrap();
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    let erasure = site.erase_sessions([session_id("new-0")], Held::Refuse).unwrap();
    assert!(erasure.certificate.unwrap().is_final());
    assert!(matches!(site.replay(&session_id("new-0")), Err(Error::Erased)));
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    let full = world.disk.used_bytes();
    world.clock.advance_ms(4 * DAY);
    // By itself, in the round of background work that meets the new day.
    let _ = store.maintain();
    assert!(world.disk.used_bytes() < full);
    assert_eq!(names(&site).len(), 19);
    let deletions = store.deletions().unwrap();
    assert!(deletions.damage.is_empty());
    assert!(matches!(deletions.certificates.last().unwrap().statement.deed, Deed::Expired { .. }));
    assert_eq!(store.retention(&Retention::new()).unwrap().segments, 0);
}

#[test]
fn a_session_is_erased_while_it_is_recorded_and_stays_so() {
    let (world, store, site) = World::new();
    world.record(&site, "live", 30);
    world.record(&site, "other", 30);
    let mut replay = site.replay(&session_id("live")).unwrap();
    let erased = site.erase_sessions([session_id("live"), session_id("never was")], Held::Refuse);
    let erased = erased.unwrap();
    assert_eq!((erased.sessions, erased.unknown.len()), (1, 1));
    assert!(matches!(replay.next_chunk(), Err(Error::Erased)));
    let more = chunk("live", 1, world.clock.now_ms(), 100);
    assert!(matches!(site.append(&session("live"), &more), Err(Error::Erased)));
    assert_eq!(names(&site), ["other"]);
    store.archive().unwrap();
    assert!(matches!(site.append(&session("live"), &more), Err(Error::Erased)));
    let again = site.erase_sessions([session_id("live")], Held::Refuse).unwrap();
    assert_eq!((again.sessions, again.already), (0, 1));
    assert!(again.certificate.is_none(), "there was nothing to erase");
    drop((replay, site, store));
    let store = Store::open(options(&world.env)).unwrap();
    let site = store.site(&site_id("shop.example")).unwrap();
    assert!(matches!(site.append(&session("live"), &more), Err(Error::Erased)));
    assert!(matches!(site.session(&session_id("live")), Err(Error::Erased)));
    assert_eq!(names(&site), ["other"]);
}

#[test]
fn ten_thousand_sessions_are_one_generation() {
    let (world, store, site) = World::new();
    let ids: Vec<String> = (0..10_000).map(|n| format!("s-{n}")).collect();
    let one = chunk("x", 0, world.clock.now_ms(), 1);
    for id in &ids {
        let durability = reelvault::Durability::Deferred;
        site.append_with(&session(id), &one, durability).unwrap();
    }
    store.archive().unwrap();
    let before = store.key_status().unwrap();
    let erasure =
        site.erase_sessions(ids.iter().skip(1).map(|id| session_id(id)), Held::Refuse).unwrap();
    assert_eq!(erasure.sessions, 9_999);
    let after = store.key_status().unwrap();
    assert_eq!(after.generation, before.generation + 1);
    let state_bytes = (after.bytes - before.bytes) as f64 / 9_999.0;
    assert!(state_bytes < 2_048.0, "{state_bytes} bytes an erased session");
    assert_eq!(names(&site), ["s-0"]);
}

#[test]
fn a_visitor_is_erased_with_all_sessions_archived_live_and_held() {
    let (world, store, site) = World::new();
    let by = |name: &str, visitor: &str| {
        let who = session(name).visitor(VisitorId::new(visitor).unwrap());
        site.append(&who, &chunk(name, 0, world.clock.now_ms(), 100)).unwrap();
    };
    (0..150).for_each(|n| by(&format!("a-{n}"), "anna"));
    store.archive().unwrap();
    (150..160).for_each(|n| by(&format!("a-{n}"), "anna"));
    by("b-0", "bert");
    let erased = site.erase_visitor(&VisitorId::new("anna").unwrap(), Held::Refuse).unwrap();
    assert_eq!(erased.sessions, 160);
    assert_eq!(names(&site), ["b-0"]);
    by("a-new", "anna");
    assert_eq!(names(&site).len(), 2, "a session that begins later is another one");
}

#[test]
fn an_erased_site_answers_so_and_its_name_is_free_again() {
    let (world, store, site) = World::new();
    world.record(&site, "one", 30);
    store.archive().unwrap();
    world.record(&site, "two", 30);
    let id = site_id("shop.example");
    store.erase_site(&id, Held::Refuse).unwrap();
    assert!(matches!(store.site(&id), Err(Error::Erased)));
    let one = chunk("one", 1, world.clock.now_ms(), 100);
    assert!(matches!(site.append(&session("one"), &one), Err(Error::Erased)));
    assert!(matches!(site.replay(&session_id("one")), Err(Error::Erased)));
    assert!(names(&site).is_empty());
    store.archive().unwrap();
    let again = store.add_site(id, 30).unwrap();
    assert!(names(&again).is_empty());
    world.record(&again, "one", 30);
    assert_eq!(names(&again), ["one"]);
    let found = store.verify(reelvault::Depth::Content, |_, _| {}).unwrap();
    assert!(found.damage.is_empty(), "{:?}", found.damage);
}

#[test]
fn a_reader_in_another_process_sees_what_was_erased_when_it_looks_again() {
    let (world, store, site) = World::new();
    world.record(&site, "one", 30);
    world.record(&site, "two", 30);
    store.archive().unwrap();
    let reader = Store::open_read_only(options(&world.env)).unwrap();
    let there = reader.site(&site_id("shop.example")).unwrap();
    assert_eq!(names(&there).len(), 2);
    site.erase_sessions([session_id("one")], Held::Refuse).unwrap();
    reader.refresh().unwrap();
    assert_eq!(names(&there), ["two"]);
    assert!(matches!(there.replay(&session_id("one")), Err(Error::Erased)));
}

#[test]
fn space_of_erased_sessions_comes_back_and_the_others_stay_as_they_are() {
    let (world, store, site) = World::new();
    let name = |n: u64| format!("s-{n}");
    for n in 0..40 {
        let begin = world.clock.now_ms();
        site.append(&session(&name(n)), &chunk(&name(n), 0, begin, 4_000)).unwrap();
    }
    store.archive().unwrap();
    let before: Vec<Vec<u8>> = (0..40).map(|n| replayed(&site, &name(n))).collect();
    site.erase_sessions((0..10).map(|n| session_id(&name(n))), Held::Refuse).unwrap();
    store.maintain().unwrap();
    let bytes = |store: &Store| store.stats().unwrap().segment_bytes;
    let whole = bytes(&store);
    assert_eq!(store.reclaim(0.5).unwrap().segments, 0, "a quarter is less than half");
    site.erase_sessions((10..35).map(|n| session_id(&name(n))), Held::Refuse).unwrap();
    store.maintain().unwrap();
    assert!(bytes(&store) < whole / 2, "{} of {whole}", bytes(&store));
    for n in 0..40 {
        let replay = site.replay(&session_id(&name(n)));
        match n {
            0..35 => assert!(matches!(replay, Err(Error::Erased))),
            _ => assert_eq!(replayed(&site, &name(n)), before[n as usize]),
        }
    }
    let found = store.verify(reelvault::Depth::Content, |_, _| {}).unwrap();
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    site.erase_sessions((35..40).map(|n| session_id(&name(n))), Held::Refuse).unwrap();
    store.maintain().unwrap();
    assert_eq!(store.stats().unwrap().segments, 0, "nothing is left of it");
}

#[test]
fn a_bad_sector_keeps_no_other_session_from_being_erased_or_reclaimed() {
    let (world, store, site) = World::new();
    world.record(&site, "lost", 30);
    store.archive().unwrap();
    let is_segment = |path: &PathBuf| path.starts_with("/store/segment");
    let segment = world.disk.paths().into_iter().find(|path| is_segment(path)).unwrap();
    world.record(&site, "gone", 30);
    world.record(&site, "kept", 30);
    store.archive().unwrap();
    let is_other = |path: &PathBuf| is_segment(path) && *path != segment;
    let reclaimed = world.disk.paths().into_iter().find(is_other).unwrap();
    drop((site, store));
    let bytes = world.disk.file_bytes(&segment).unwrap().len() as u64;
    world.disk.lose_sector(&segment, bytes - 60).unwrap();
    let store = Store::open(options(&world.env)).unwrap();
    let site = store.site(&site_id("shop.example")).unwrap();
    let erased = site.erase_sessions([session_id("gone")], Held::Refuse).unwrap();
    assert_eq!((erased.sessions, erased.unknown.len()), (1, 0));
    assert!(matches!(erased.damage[..], [Error::Io { .. }]), "{:?}", erased.damage);
    // It was there, or it was not: whoever begins a session there is told, and begins no second one.
    let again = site.append(&session("lost"), &chunk("lost", 1, world.clock.now_ms(), 500));
    assert!(matches!(again, Err(Error::Io { .. })), "{again:?}");
    // Nobody waits for its space: maintenance does not fail for it, and comes back to it the next day.
    store.maintain().unwrap();
    assert_eq!(store.stats().unwrap().segments, 2);
    assert!(world.disk.file_bytes(&reclaimed).is_err(), "the other one was written again");
    assert!(matches!(store.reclaim(0.1), Err(Error::Io { .. })), "it is told to whoever asks");
    let page = site.sessions(&Query::new()).unwrap();
    let names: BTreeSet<_> = page.sessions.iter().map(|s| s.id.as_str()).collect();
    assert_eq!((names, page.damage.len()), (BTreeSet::from(["kept"]), 1));
}

#[test]
fn space_behind_a_bad_sector_comes_back_when_the_medium_does() {
    let (world, store, site) = World::new();
    world.record(&site, "gone", 30);
    store.archive().unwrap();
    let is_segment = |path: &PathBuf| path.starts_with("/store/segment");
    let segment = world.disk.paths().into_iter().find(|path| is_segment(path)).unwrap();
    drop((site, store));
    let good = world.disk.file_bytes(&segment).unwrap();
    world.disk.lose_sector(&segment, good.len() as u64 - 60).unwrap();
    let store = Store::open(options(&world.env)).unwrap();
    let site = store.site(&site_id("shop.example")).unwrap();
    drop(site);
    store.erase_site(&site_id("shop.example"), Held::Refuse).unwrap();
    store.maintain().unwrap();
    world.disk.write_file(&segment, &good).unwrap();
    store.maintain().unwrap();
    assert_eq!(store.stats().unwrap().segments, 1, "it is not read in each round");
    world.clock.advance_ms(DAY);
    store.maintain().unwrap();
    assert_eq!(store.stats().unwrap().segments, 0);
}

#[test]
fn a_log_that_was_cut_changed_or_removed_is_seen() {
    let (world, store, site) = World::new();
    for name in ["one", "two", "three"] {
        world.record(&site, name, 30);
        site.erase_sessions([session_id(name)], Held::Refuse).unwrap();
    }
    drop((site, store));
    let whole = world.disk.file_bytes("/store/deletions").unwrap();
    let look = |bytes: Option<&[u8]>| {
        match bytes {
            Some(bytes) => world.disk.write_file("/store/deletions", bytes).unwrap(),
            None => world.disk.remove_file("/store/deletions").unwrap(),
        }
        let store = Store::open_read_only(options(&world.env)).unwrap();
        let deletions = store.deletions().unwrap();
        (deletions.certificates.len(), deletions.damage.len())
    };
    assert_eq!(look(Some(&whole)), (3, 0));
    let record = (whole.len() - 32) / 3;
    // The last record stands in the keyring, too; what came before it does not.
    assert_eq!(look(Some(&whole[..whole.len() - record])), (3, 0));
    assert_eq!(look(Some(&whole[..whole.len() - 2 * record])), (1, 1));
    let mut changed = whole.clone();
    changed[32 + record / 2] ^= 1;
    assert!(look(Some(&changed)).1 > 0);
    assert_eq!(look(None), (0, 1));
}
