//! What a store does when keys change under it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::crypto::Suite;
use crate::env::sim::{SimClock, SimDisk};
use crate::ids::{SessionId, day_of};
use crate::limits::DAY_MS;
use crate::{Chunk, Depth, Durability, KeyFile, KeyProvider, Order, Query, Session};

const NOON: u64 = 1_800_014_400_000;

struct World {
    disk: SimDisk,
    clock: SimClock,
    provider: Arc<dyn KeyProvider>,
}

impl World {
    fn new() -> (Self, Store) {
        let (disk, clock) = (SimDisk::new(), SimClock::new(NOON));
        let env = disk.env(&clock, 1);
        env.disk.create_dir(Path::new("/keys")).unwrap();
        let provider = Arc::new(KeyFile::create(&env, "/keys/key").unwrap());
        let world = Self { disk, clock, provider };
        let store = Store::create(world.options(2)).unwrap();
        store.add_site(SiteId::new("shop").unwrap(), 30).unwrap();
        (world, store)
    }

    /// A store of several shards, without a site.
    fn sharded(shards: u16) -> (Self, Store) {
        let (world, _) = Self::new();
        let env = world.disk.env(&world.clock, 3);
        env.disk.create_dir(Path::new("/many")).unwrap();
        let mirrors = ["/many/a", "/many/b"].map(PathBuf::from);
        let options = Options::new("/sharded", mirrors, Arc::clone(&world.provider));
        let options = options.env(env).shards(shards).journal_bytes(64 << 10).fill_bytes(0);
        let store = Store::create(options.background(false)).unwrap();
        (world, store)
    }

    fn options(&self, seed: u64) -> Options {
        let mirrors = ["/keys/a/keyring", "/keys/b/keyring"].map(PathBuf::from);
        Options::new("/store", mirrors, Arc::clone(&self.provider))
            .env(self.disk.env(&self.clock, seed))
            .shards(1)
            .journal_bytes(64 << 10)
            .fill_bytes(0)
            .background(false)
    }

    fn open(&self, seed: u64) -> Store {
        Store::open(self.options(seed)).unwrap()
    }
}

fn shop(store: &Store) -> Site {
    store.site(&SiteId::new("shop").unwrap()).unwrap()
}

fn session_id(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

fn events(name: &str, seq: u64) -> Vec<u8> {
    format!("{{\"said\":\"{name} {seq}\"}}\n").into_bytes()
}

/// Appends a chunk to a session that is kept for some days.
fn append(store: &Store, name: &str, days: u32, seq: u64) -> Result<Appended> {
    let session = Session::new(session_id(name)).retention_days(days).unwrap();
    let (first_ms, events) = (NOON + seq, Cow::Owned(events(name, seq)));
    let chunk = Chunk { seq, first_ms, last_ms: first_ms, events, snapshots: Vec::new() };
    shop(store).append(&session, &chunk)
}

fn listed(store: &Store) -> Vec<String> {
    let page = shop(store).sessions(&Query::new()).unwrap();
    assert!(page.damage.is_empty(), "{:?}", page.damage);
    let mut names: Vec<_> = page.sessions.iter().map(|s| s.id.to_string()).collect();
    names.sort();
    names
}

fn replayed(store: &Store, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    shop(store).replay(&session_id(name)).unwrap().write_to(&mut out).unwrap();
    out
}

fn sound(store: &Store) -> Verification {
    let found = store.verify(Depth::Content, |_, _| ()).unwrap();
    assert!(found.is_sound(), "{:?}", found.damage);
    found
}

/// Loses the day of the sessions that are kept for 30 days.
fn lose_day(store: &Store) {
    store.inner.keyring.lose_day(day_of(NOON) + 31);
    store.inner.note_keyring().unwrap();
}

#[test]
fn archived_sessions_of_a_day_that_is_gone_are_passed_over() {
    let (world, store) = World::new();
    for (name, days) in [("short", 30), ("long", 90)] {
        append(&store, name, days, 0).unwrap();
    }
    store.archive().unwrap();
    append(&store, "short", 30, 1).unwrap();
    append(&store, "long", 90, 1).unwrap();
    assert_eq!(listed(&store), ["long", "short"]);
    lose_day(&store);
    let check = |store: &Store, live: u64| {
        assert_eq!(listed(store), ["long"]);
        assert_eq!(replayed(store, "long"), [events("long", 0), events("long", 1)].concat());
        assert_eq!(sound(store).unreadable, 1 + live);
        let short = shop(store).session(&session_id("short"));
        assert!(matches!(short, Err(Error::Expired { .. } | Error::UnknownSession)));
        let outcome = append(store, "short", 30, 2);
        assert!(matches!(outcome, Err(Error::Expired { .. })), "{outcome:?}");
    };
    check(&store, 1);
    store.close().unwrap();
    let store = world.open(3);
    // The frame of the live part was passed over when the journal was read.
    check(&store, 0);
    store.archive().unwrap();
    check(&store, 0);
}

#[test]
fn a_journal_of_days_that_are_gone_opens_and_is_archived_without_damage() {
    let (world, store) = World::new();
    append(&store, "short", 30, 0).unwrap();
    append(&store, "short", 30, 1).unwrap();
    // In an open store the archiver meets sessions that it still knows.
    lose_day(&store);
    assert!(listed(&store).is_empty());
    store.archive().unwrap();
    let stats = store.stats().unwrap();
    assert_eq!((stats.segments, stats.live_chunks, stats.stuck_journals), (0, 0, 0));

    // And after reopening a journal of which nothing can be read.
    append(&store, "long", 90, 0).unwrap();
    store.inner.keyring.lose_day(day_of(NOON) + 91);
    store.inner.note_keyring().unwrap();
    store.close().unwrap();
    let store = world.open(3);
    assert!(listed(&store).is_empty());
    assert_eq!(store.stats().unwrap().live_chunks, 0);
    store.archive().unwrap();
    let _ = sound(&store);
    assert_eq!(store.stats().unwrap().segments, 0);
    append(&store, "other", 120, 0).unwrap();
    assert_eq!(listed(&store), ["other"]);
}

#[test]
fn a_segment_without_a_hold_that_keeps_it_is_passed_over() {
    let (_, store) = World::new();
    append(&store, "short", 30, 0).unwrap();
    store.archive().unwrap();
    let mut entry = store.inner.manifest.current().segments[0];
    entry.retention_days = 0;
    store.inner.catalog.replace(&[]);
    store.inner.catalog.replace(&[entry]);
    assert!(listed(&store).is_empty());
    assert_eq!(sound(&store).unreadable, 1);
}

/// The suites that the files of a folder name, and those of the frames of its journals.
fn suites(world: &World, folder: &str) -> (Vec<u8>, Vec<u8>) {
    let (mut files, mut frames) = (Vec::new(), Vec::new());
    for path in world.disk.paths() {
        if path.to_string_lossy().contains(folder) {
            let bytes = world.disk.file_bytes(&path).unwrap();
            files.push(bytes[10]);
            let at = memchr::memmem::find_iter(&bytes, b"RVfr").filter(|at| at % 8 == 0);
            // The mark that ends a journal has no seal.
            frames.extend(at.filter(|at| bytes[at + 6] == 1).map(|at| bytes[at + 5]));
        }
    }
    files.sort_unstable();
    (files, frames)
}

fn switch(store: &Store, suite: Suite) {
    store.inner.keyring.seal_new_data_in(suite);
    store.inner.note_keyring().unwrap();
}

#[test]
fn both_suites_stand_side_by_side_and_new_data_takes_the_one_of_the_keyring() {
    let (world, store) = World::new();
    let all = |name: &str, chunks: u64| -> Vec<u8> {
        (0..chunks).flat_map(|seq| events(name, seq)).collect()
    };
    append(&store, "old", 30, 0).unwrap();
    store.archive().unwrap();
    append(&store, "old", 30, 1).unwrap();
    assert_eq!(suites(&world, "/journal/"), (vec![1], vec![1]));
    assert_eq!(suites(&world, "/store/manifest").0, [1]);

    switch(&store, Suite::Aes256GcmSiv);
    // The identity of the old session goes on in its own suite, in a frame of the new one.
    append(&store, "old", 30, 2).unwrap();
    append(&store, "new", 90, 0).unwrap();
    assert_eq!(suites(&world, "/journal/"), (vec![1], vec![1, 2, 2]));
    assert_eq!(suites(&world, "/store/manifest").0, [2]);
    assert_eq!(replayed(&store, "old"), all("old", 3));
    store.close().unwrap();
    let store = world.open(3);
    assert_eq!(replayed(&store, "old"), all("old", 3));
    store.archive().unwrap();
    assert_eq!(suites(&world, "/segment/").0, [1, 2, 2]);
    append(&store, "old", 30, 3).unwrap();
    assert_eq!(suites(&world, "/journal/"), (vec![2], vec![2]));

    switch(&store, Suite::Aes256Gcm);
    append(&store, "new", 90, 1).unwrap();
    assert_eq!(suites(&world, "/journal/"), (vec![2], vec![2, 1]));
    store.archive().unwrap();
    assert_eq!(suites(&world, "/segment/").0, [1, 1, 1, 2, 2]);
    append(&store, "new", 90, 2).unwrap();
    let check = |store: &Store| {
        assert_eq!(listed(store), ["new", "old"]);
        assert_eq!(replayed(store, "old"), all("old", 4));
        assert_eq!(replayed(store, "new"), all("new", 3));
        assert_eq!((sound(store).sessions, sound(store).unreadable), (6, 0));
    };
    check(&store);
    store.close().unwrap();
    check(&world.open(4));
    check(&Store::open_read_only(world.options(5)).unwrap());
}

#[test]
fn other_shards_are_archived_while_somebody_archives_one() {
    let (_, store) = World::sharded(4);
    for n in 0..32 {
        let site = SiteId::new(format!("shop-{n}")).unwrap();
        store.add_site(site.clone(), 30).unwrap();
        let session = Session::new(session_id("one"));
        let events = Cow::Owned(events("one", 0));
        let chunk = Chunk { seq: 0, first_ms: NOON, last_ms: NOON, events, snapshots: Vec::new() };
        store.site(&site).unwrap().append(&session, &chunk).unwrap();
    }
    let [first, others @ ..] = &*store.inner.shards else { panic!("there are shards") };
    std::thread::scope(|scope| {
        let busy = (first.archiving.lock(), store.inner.archiver.lock());
        let archiving = scope.spawn(|| store.archive());
        let left = |shard: &Shard| {
            let state = shard.state.lock();
            !state.log.is_empty() || state.waiting().next().is_some()
        };
        while others.iter().any(left) {
            assert!(!archiving.is_finished(), "archiving ended with journals left");
            std::thread::yield_now();
        }
        assert_eq!(first.state.lock().waiting().count(), 1);
        drop(busy);
        archiving.join().unwrap().unwrap();
    });
    assert_eq!(first.state.lock().waiting().count(), 0);
    assert_eq!(sound(&store).segments, 4);
}

/// Where it is filled as fast as it is archived, another one would never have its turn.
#[test]
fn a_shard_with_much_to_archive_does_not_keep_the_others_from_their_turn() {
    let (world, store) = World::sharded(2);
    let waiting = || -> Vec<usize> {
        store.inner.shards.iter().map(|s| s.state.lock().waiting().count()).collect()
    };
    // Each site fills journals of its shard until that has as many as are wanted.
    let random = world.disk.env(&world.clock, 4).random;
    let mut names = 0..;
    let mut fill = |wanted: [usize; 2]| {
        while waiting() != wanted {
            let name = format!("shop-{}", names.next().unwrap());
            let site = store.add_site(SiteId::new(name).unwrap(), 30).unwrap();
            let shard = usize::from(store.inner.shard(site.site.handle()).index);
            for seq in 0.. {
                if waiting()[shard] >= wanted[shard] {
                    break;
                }
                let mut noise = [0; 15_000];
                random.fill(&mut noise).unwrap();
                let events = Cow::Owned(format!("{{\"noise\":{noise:?}}}\n").into_bytes());
                let (first_ms, snapshots) = (NOON, Vec::new());
                let chunk = Chunk { seq, first_ms, last_ms: NOON, events, snapshots };
                site.append(&Session::new(session_id("one")), &chunk).unwrap();
            }
        }
    };
    fill([12, 1]);
    let mut pass = maintain::Pass::default();
    pass.due = store.inner.waiting();
    assert!(store.inner.archive_round(&mut pass));
    assert_eq!(waiting(), [4, 0], "a batch of each");
    // What fills meanwhile does not keep it from ending.
    fill([6, 1]);
    assert!(!store.inner.archive_round(&mut pass));
    assert_eq!(waiting(), [2, 1]);
}

#[test]
fn a_store_that_was_closed_makes_no_journal_ahead() {
    let (world, store) = World::new();
    store.maintain().unwrap();
    for seq in 0.. {
        let state = store.inner.shards[0].state.lock();
        if state.log.tail() > 40 << 10 {
            break;
        }
        drop(state);
        append(&store, "one", 30, seq).unwrap();
    }
    // As the background thread may be in the middle of its work just then.
    let files = world.disk.paths();
    store.inner.shutdown().unwrap();
    store.inner.inner.maintain().unwrap();
    assert_eq!(world.disk.paths(), files);
    drop(store);
    let _ = sound(&world.open(3));
}

#[test]
fn a_list_of_a_past_day_opens_no_page_of_the_days_after_it() {
    const DAYS: u64 = 3;
    const EACH: u64 = 400;
    // Of each segment its directory and the root of the site's index; two pages hold the sessions of a day.
    const ROOTS: u64 = DAYS * 2;
    const PAGES: u64 = 2;
    let (world, store) = World::new();
    world.clock.set_ms(NOON + 2 * DAY_MS);
    for day in 0..DAYS {
        for n in 0..EACH {
            let first_ms = NOON + day * DAY_MS + n;
            let events = Cow::Owned(events("s", n));
            let chunk = Chunk { seq: 0, first_ms, last_ms: first_ms, events, snapshots: vec![] };
            let session = Session::new(session_id(&format!("s-{day}-{n}")));
            shop(&store).append_with(&session, &chunk, Durability::Deferred).unwrap();
        }
    }
    store.archive().unwrap();
    store.close().unwrap();
    let opened = |query: &Query, sessions: usize| {
        let store = world.open(2);
        let before = store.inner.segments.cached().misses;
        assert_eq!(shop(&store).sessions(query).unwrap().sessions.len(), sessions);
        store.inner.segments.cached().misses - before
    };
    let all = opened(&Query::new().limit(1_000), 1_000);
    let day = opened(&Query::new().between(NOON, NOON + EACH).limit(1_000), EACH as usize);
    let one = opened(&Query::new().between(NOON, NOON + 1), 1);
    assert_eq!((one, day, all), (ROOTS + 1, ROOTS + PAGES, ROOTS + DAYS * PAGES));
}

/// Appends a chunk to each of many sessions, one a millisecond, and archives them; the new segment.
fn archive_many(world: &World, store: &Store, seq: u64, first_ms: u64) -> PathBuf {
    let segments = || {
        let paths = world.disk.paths().into_iter();
        paths.filter(|path| path.starts_with("/store/segment")).collect::<Vec<_>>()
    };
    let before = segments();
    for n in 0..MANY {
        let first_ms = first_ms + n;
        let events = Cow::Owned(events("s", n));
        let chunk = Chunk { seq, first_ms, last_ms: first_ms, events, snapshots: Vec::new() };
        let session = Session::new(session_id(&format!("s-{n}")));
        shop(store).append_with(&session, &chunk, Durability::Deferred).unwrap();
    }
    store.archive().unwrap();
    segments().into_iter().find(|path| !before.contains(path)).unwrap()
}

/// Three pages of an index.
const MANY: u64 = 600;

/// Lets one bit of the second page of a segment's index rot.
fn rot_page(world: &World, segment: &Path) {
    let bytes = world.disk.file_bytes(segment).unwrap();
    let pages = bytes.windows(4).enumerate().filter(|(_, magic)| magic == b"RVsp");
    let pages: Vec<usize> = pages.map(|(at, _)| at).collect();
    assert_eq!(pages.len(), 3);
    world.disk.corrupt(segment, pages[1] as u64 + 100, 1).unwrap();
}

#[test]
fn a_damaged_page_of_an_index_hides_no_other() {
    let (world, store) = World::new();
    let segment = archive_many(&world, &store, 0, NOON);
    store.close().unwrap();
    rot_page(&world, &segment);
    let store = world.open(2);
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let page = shop(&store).sessions(&Query::new().limit(1_000).order(order)).unwrap();
        let mut starts: Vec<u64> = page.sessions.iter().map(|s| s.start_ms - NOON).collect();
        starts.sort_unstable();
        let gaps = starts.windows(2).filter(|pair| pair[0] + 1 < pair[1]).count();
        assert_eq!((starts[0], starts.last(), gaps), (0, Some(&(MANY - 1)), 1));
        assert_eq!(page.damage.len(), 1, "{:?}", page.damage);
    }
}

#[test]
fn pages_that_were_passed_over_are_looked_into_once_be_they_damaged() {
    const LATER: u64 = 3_600_000;
    // Of both segments the directory, twice where there is no cache, the root of the site's index and three pages.
    const UNITS: u64 = 2 * (2 + 1 + 3);
    let (world, store) = World::new();
    let segment = archive_many(&world, &store, 0, NOON);
    archive_many(&world, &store, 1, NOON + LATER);
    store.close().unwrap();
    let list = |order: Order| {
        let store = Store::open(world.options(2).cache_bytes(0)).unwrap();
        let query = Query::new().between(NOON + LATER, NOON + 2 * LATER).limit(1_000);
        let before = store.inner.segments.cached().misses;
        let page = shop(&store).sessions(&query.order(order)).unwrap();
        let misses = store.inner.segments.cached().misses - before;
        assert_eq!(page.sessions.len() as u64, MANY);
        let whole = page.sessions.iter().filter(|s| s.chunks == 2).count() as u64;
        (whole, page.damage.len(), misses)
    };
    let orders = [Order::NewestFirst, Order::OldestFirst];
    assert_eq!(orders.map(list), [(MANY, 0, UNITS); 2]);
    rot_page(&world, &segment);
    for (whole, damage, _) in orders.map(list) {
        assert_eq!(damage, 1, "{whole} of {MANY} are whole");
        assert!(whole > MANY / 2 && whole < MANY);
    }
}

#[test]
fn a_segment_that_somebody_reclaimed_is_not_reclaimed_again() {
    let (world, store) = World::new();
    for name in ["erased", "kept"] {
        append(&store, name, 30, 0).unwrap();
    }
    store.archive().unwrap();
    shop(&store).erase_sessions([session_id("erased")], crate::Held::Refuse).unwrap();
    let segments: Vec<_> = {
        let all = store.inner.catalog.snapshot();
        all.iter().flat_map(|days| days.values().flatten()).cloned().collect()
    };
    let path = Path::new("/store").join(crate::segment::writer::segment_name(segments[0].entry.id));
    let bytes = world.disk.file_bytes(&path).unwrap();
    assert_eq!(store.inner.reclaim(&segments, 0.0).unwrap().0.segments, 1);
    // A reader may have it open still: whoever waited with the same list can read it.
    world.disk.write_file(&path, &bytes).unwrap();
    assert_eq!(store.inner.reclaim(&segments, 0.0).unwrap().0.segments, 0);
    assert_eq!(shop(&store).session(&session_id("kept")).unwrap().chunks, 1);
    assert_eq!(store.segments().len(), 1);
}
