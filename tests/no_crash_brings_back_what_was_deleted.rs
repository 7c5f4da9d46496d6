//! Power cuts at every operation of erasing, holding, expiring, releasing and rotating: what was deleted stays so, what was
//! not is there, and the log of deletions has no gap.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{DAY, chunk, session, session_id, site_id};
use reelvault::env::Env;
use reelvault::env::sim::{START_MS, SimClock, SimDisk, Survival};
use reelvault::{Error, Held, KeyFile, Options, Result, Retention, Store, VisitorId};

/// Images of each crash.
const SEEDS: u64 = 6;

fn options(env: &Env) -> Options {
    // So little that the keyring is in parts from the second erasure on.
    let options = common::sim::options(env.clone(), &common::sim::key_on(env).unwrap());
    options.keyring_part_bytes(3_000)
}

fn clock_at(days: u64) -> SimClock {
    SimClock::new(START_MS + days * DAY)
}

/// What may be seen of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Its deletion was begun and not acknowledged.
    Either,
    Gone,
}

const SESSIONS: [&str; 7] =
    ["archived", "live", "theirs-1", "theirs-2", "held", "expiring", "staying"];

/// A store with sessions of several fates, closed.
fn base() -> SimDisk {
    let (env, disk, _) = reelvault::env::sim::env(1);
    env.disk.create_dir(Path::new("/keys")).unwrap();
    KeyFile::create(&env, "/keys/key").unwrap();
    let store = Store::create(options(&env)).unwrap();
    let site = store.add_site(site_id("shop.example"), 30).unwrap();
    store.add_site(site_id("gone.example"), 30).unwrap();
    for (n, name) in SESSIONS.iter().enumerate() {
        if n == 4 {
            store.archive().unwrap();
        }
        let visitor = if name.starts_with("theirs") { "bert" } else { "anna" };
        let days = if ["held", "expiring"].contains(name) { 2 } else { 90 };
        let who = session(name).visitor(VisitorId::new(visitor).unwrap());
        let who = who.retention_days(days).unwrap();
        site.append(&who, &chunk(name, 0, START_MS, 800)).unwrap();
        if *name == "live" {
            store.archive().unwrap();
            site.append(&who, &chunk(name, 1, START_MS, 800)).unwrap();
        }
    }
    let gone = store.site(&site_id("gone.example")).unwrap();
    gone.append(&session("other"), &chunk("other", 0, START_MS, 800)).unwrap();
    store.maintain().unwrap();
    drop((site, gone));
    store.close().unwrap();
    disk.kill_image()
}

/// Deletes step by step, and notes before each what it may take and after each what it has taken.
fn delete(disk: &SimDisk, fates: &mut BTreeMap<&'static str, Fate>) -> Result<()> {
    let clock = clock_at(0);
    let env = disk.env(&clock, 2);
    let store = Store::open(options(&env))?;
    let site = store.site(&site_id("shop.example"))?;
    let begin = |fates: &mut BTreeMap<_, _>, names: &[&'static str]| {
        fates.extend(names.iter().map(|name| (*name, Fate::Either)));
    };
    let end = |fates: &mut BTreeMap<_, _>, names: &[&'static str]| {
        fates.extend(names.iter().map(|name| (*name, Fate::Gone)));
    };
    begin(fates, &["archived", "live"]);
    site.erase_sessions(["archived", "live"].map(session_id), Held::Refuse)?;
    end(fates, &["archived", "live"]);
    site.hold(&session_id("held"), "a reason")?;
    let theirs = ["theirs-1", "theirs-2"];
    begin(fates, &theirs);
    site.erase_visitor(&VisitorId::new("bert").unwrap(), Held::Refuse)?;
    end(fates, &theirs);
    store.rotate_keys()?;
    begin(fates, &["site"]);
    store.erase_site(&site_id("gone.example"), Held::Refuse)?;
    end(fates, &["site"]);
    clock.advance_ms(3 * DAY);
    begin(fates, &["expiring"]);
    store.retention(&Retention::new().trust_clock())?;
    end(fates, &["expiring"]);
    store.maintain()?;
    begin(fates, &["held"]);
    site.release(&session_id("held"))?;
    end(fates, &["held"]);
    store.close()
}

fn look(store: &Store, fates: &BTreeMap<&'static str, Fate>, when: &str) {
    let site = store.site(&site_id("shop.example")).unwrap();
    for name in SESSIONS {
        let replay = site.replay(&session_id(name)).and_then(|mut replay| {
            let mut bytes = 0;
            while let Some(chunk) = replay.next_chunk()? {
                bytes += chunk.events.len();
            }
            Ok(bytes)
        });
        let fate = fates.get(name).copied().unwrap_or(Fate::Kept);
        match (replay, fate) {
            (Ok(bytes), Fate::Kept | Fate::Either) => assert!(bytes >= 800),
            (
                Err(Error::Erased | Error::Expired { .. } | Error::UnknownSession),
                Fate::Gone | Fate::Either,
            ) => {}
            (outcome, fate) => panic!("{when}: {name} is {outcome:?}, and should be {fate:?}"),
        }
    }
    let other = store.site(&site_id("gone.example"));
    match fates.get("site") {
        None => assert!(other.is_ok(), "{when}"),
        Some(Fate::Gone) => assert!(matches!(other, Err(Error::Erased)), "{when}"),
        Some(_) => {}
    }
    let deletions = store.deletions().unwrap();
    assert!(deletions.damage.is_empty(), "{when}: {:?}", deletions.damage);
    let found = store.verify(reelvault::Depth::Content, |_, _| {}).unwrap();
    assert!(found.damage.is_empty(), "{when}: {:?}", found.damage);
}

#[test]
fn no_crash_brings_back_what_was_deleted_or_takes_what_was_not() {
    let base = base();
    let (mut points, mut images) = (0, 0);
    for crash_at in 0.. {
        let disk = base.kill_image();
        disk.crash_at(crash_at);
        let mut fates = BTreeMap::new();
        let outcome = delete(&disk, &mut fates);
        assert!(outcome.is_ok() || disk.crashed(), "{outcome:?}");
        for seed in 0..SEEDS {
            let image = disk.crash_image(Survival::Random(crash_at * SEEDS + seed));
            let when = format!("crash at {crash_at}, image {seed}");
            // Three days later the clock agrees with what retention went by.
            let clock = if fates.contains_key("expiring") { clock_at(3) } else { clock_at(0) };
            let store = Store::open(options(&image.env(&clock, 3))).unwrap();
            look(&store, &fates, &when);
            store.maintain().unwrap();
            look(&store, &fates, &format!("{when}, after maintenance"));
            drop(store);
            let store = Store::open(options(&image.env(&clock, 4))).unwrap();
            look(&store, &fates, &format!("{when}, opened again"));
            images += 1;
        }
        points += 1;
        if !disk.crashed() {
            assert!(outcome.is_ok(), "{outcome:?}");
            break;
        }
    }
    println!("{points} crash points, {images} images");
    assert!(points > 100, "{points}");
}
