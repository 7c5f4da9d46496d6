//! Whatever is handed to the engine, and whatever stands where its files should be: an error that says which rule is
//! broken or what is wrong with which file, and nothing written.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(clippy::disallowed_methods, reason = "tests look at the files themselves")]

mod common;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use common::sim::{SITES, World, options};
use common::{DAY, Folder, NOON, chunk, replayed, session, session_id, site_id};
use reelvault::env::sim::{SimClock, SimDisk, Survival};
use reelvault::limits::{
    ATTRIBUTES_MAX, CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX, CHUNK_SNAPSHOTS_MAX, EVENT_AHEAD_MS_MAX,
    EVENT_MS_MIN, RETENTION_DAYS_MAX, SEQUENCE_MAX, SESSION_SPAN_MS_MAX,
};
use reelvault::{
    Argon2Cost, Chunk, Cursor, Damage, Error, InputError, KeyFile, KeyProvider, Options, Order,
    Passphrase, Query, Session, SessionId, Site, SiteId, Snapshot, Stats, Store, VisitorId,
};

/// A store on the simulated disk at noon.
struct Bench {
    world: World,
    store: Store,
    site: Site,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        world.clock.set_ms(NOON);
        let store = world.open(&world.disk, seed).unwrap();
        let site = store.site(&site_id(SITES[0])).unwrap();
        Self { world, store, site }
    }

    /// Appends, which must be refused and write nothing.
    fn refused(&self, session: &Session, chunk: &Chunk<'_>) -> Error {
        let before = self.figures();
        let refused = self.site.append(session, chunk).unwrap_err();
        assert_eq!(self.figures(), before);
        refused
    }

    /// What changes with every write. Looking into an index is none.
    fn figures(&self) -> (u64, Stats) {
        let stats = self.store.stats().unwrap();
        let stats = Stats { index_hits: 0, index_misses: 0, index_bytes: 0, ..stats };
        (self.world.disk.operations(), stats)
    }

    fn refused_input(&self, chunk: &Chunk<'_>) -> InputError {
        match self.refused(&session("s-1"), chunk) {
            Error::Input(e) => e,
            e => panic!("{e:?}"),
        }
    }
}

/// One event at noon.
fn event() -> Chunk<'static> {
    let events = Cow::Owned(format!("{{\"type\":3,\"timestamp\":{NOON}}}\n").into_bytes());
    Chunk { seq: 0, first_ms: NOON, last_ms: NOON, events, snapshots: vec![] }
}

#[test]
fn malformed_ids() {
    for bad in ["", " ", "a b", "a/b", "..\\", "ü", "a\n", "a\0", &"x".repeat(65)] {
        assert_eq!(SiteId::new(bad), Err(InputError::SiteId));
        assert_eq!(bad.parse::<SiteId>(), Err(InputError::SiteId));
    }
    // A site's id never becomes a path, so these are ids as any other.
    for good in [".", "..", "-", &"x".repeat(64)] {
        assert!(SiteId::new(good).is_ok());
    }
    for bad in ["", "a\n", "\u{7}", "\u{85}", &"x".repeat(129), &"é".repeat(65)] {
        assert_eq!(SessionId::new(bad), Err(InputError::SessionId));
        assert_eq!(VisitorId::new(bad), Err(InputError::VisitorId));
    }
    for good in [" ", "../../etc/passwd", "x".repeat(128).as_str(), &"é".repeat(64), "\u{202e}"] {
        assert!(SessionId::new(good).is_ok() && VisitorId::new(good).is_ok());
    }
}

#[test]
fn attributes_and_retention_classes_out_of_bounds() {
    let new = || Session::new(session_id("s-1"));
    for (name, value) in [("", "x"), (&"n".repeat(65), "x"), ("n", &"v".repeat(1025))] {
        assert_eq!(new().attribute(name, value).unwrap_err(), InputError::Attributes);
    }
    let mut full = new();
    for n in 0..ATTRIBUTES_MAX {
        full = full.attribute(&format!("{n:064}"), &"v".repeat(1024)).unwrap();
    }
    assert_eq!(full.clone().attribute("one", "more").unwrap_err(), InputError::Attributes);
    let bench = Bench::new(1);
    bench.site.append(&full, &event()).unwrap();
    bench.store.archive().unwrap();
    assert_eq!(bench.site.session(&session_id("s-1")).unwrap().attributes.len(), ATTRIBUTES_MAX);
    for days in [0, RETENTION_DAYS_MAX + 1, u32::MAX] {
        assert_eq!(new().retention_days(days).unwrap_err(), InputError::RetentionClass);
        let refused = bench.store.add_site(site_id("new.example"), days).err().unwrap();
        assert!(matches!(refused, Error::Input(InputError::RetentionClass)));
    }
    assert!(matches!(bench.store.site(&site_id("new.example")), Err(Error::UnknownSite(_))));
    assert!(matches!(
        bench.store.add_site(site_id(SITES[0]), 30),
        Err(Error::SiteExists(id)) if id.as_str() == SITES[0]
    ));
    // All of them or none.
    let some = ["a.example", "b.example", SITES[1]].map(|s| (site_id(s), 30));
    assert!(matches!(bench.store.add_sites(some), Err(Error::SiteExists(_))));
    let twice = ["a.example", "a.example"].map(|s| (site_id(s), 30));
    assert!(matches!(bench.store.add_sites(twice), Err(Error::SiteExists(_))));
    assert_eq!(bench.store.sites().len(), 2);
}

#[test]
fn times_out_of_range_or_reversed() {
    let bench = Bench::new(2);
    let at = |first_ms, last_ms| Chunk { first_ms, last_ms, ..event() };
    let max = NOON + EVENT_AHEAD_MS_MAX;
    for (first, last, ms) in [
        (0, NOON, 0),
        (EVENT_MS_MIN - 1, NOON, EVENT_MS_MIN - 1),
        (NOON, max + 1, max + 1),
        (NOON, u64::MAX, u64::MAX),
        (u64::MAX, u64::MAX, u64::MAX),
    ] {
        let refused = bench.refused_input(&at(first, last));
        assert_eq!(refused, InputError::TimeRange { ms, min: EVENT_MS_MIN, max });
    }
    assert_eq!(
        bench.refused_input(&at(NOON, NOON - 1)),
        InputError::TimesReversed { from: NOON, to: NOON - 1 }
    );
    bench.site.append(&session("s-1"), &at(NOON, max)).unwrap();
    let refused = bench.site.sessions(&Query::new().between(5, 4)).unwrap_err();
    assert!(matches!(refused, Error::Input(InputError::TimesReversed { from: 5, to: 4 })));
    for (from, to) in [(0, 0), (0, u64::MAX), (u64::MAX, u64::MAX), (u64::MAX - 1, u64::MAX)] {
        let page = bench.site.sessions(&Query::new().between(from, to)).unwrap();
        assert_eq!(page.sessions.len(), usize::from(from == 0 && to > 0), "{from} to {to}");
    }
}

#[test]
fn chunks_that_are_not_ndjson_are_refused_by_line() {
    let bench = Bench::new(3);
    let with = |events: &[u8]| Chunk { events: Cow::Owned(events.to_vec()), ..event() };
    assert_eq!(bench.refused_input(&with(b"")), InputError::ChunkEmpty);
    for (events, line) in [
        (&b"{}"[..], 1),
        (b"{}\n{}", 2),
        (b"\n", 1),
        (b"{}\n\n", 2),
        (b"{}\r\n", 1),
        (b"[]\n", 1),
        (b"{}\nnull\n", 2),
        (b"{}\n {}\n", 2),
        (b"\xef\xbb\xbf{}\n", 1),
        (b"{}\n{\"\xff\"}\n", 2),
        (b"{}\n{}\n\xc3\n", 3),
        (b"{\n", 1),
        (b"\0\n", 1),
    ] {
        match bench.refused_input(&with(events)) {
            InputError::NotNdjson { line: at, .. } => assert_eq!(at, line, "{events:?}"),
            e => panic!("{events:?}: {e:?}"),
        }
    }
    // With the rrweb feature the grammar is checked too, and times are read out of the events.
    for (events, line) in [
        (&b"{}\n"[..], 1),
        (b"{\"timestamp\":1}\n{\"timestamp\":\"1\"}\n", 2),
        (b"{\"timestamp\":1}\n{\"timestamp\":1}}\n", 2),
        (b"{\"timestamp\":1,}\n", 1),
    ] {
        match Chunk::from_events(0, events) {
            Err(InputError::NotNdjson { line: at, .. }) => assert_eq!(at, line),
            other => panic!("{other:?}"),
        }
    }
    // Times that are no times are refused with the chunk's times.
    for ms in ["-1", "1e300", "0.5", "-1e300"] {
        let events = format!("{{\"timestamp\":{ms}}}\n");
        let chunk = Chunk::from_events(0, events.as_bytes()).unwrap();
        assert!(matches!(bench.refused_input(&chunk), InputError::TimeRange { .. }), "{ms}");
    }
}

#[test]
fn chunks_over_their_limits() {
    let bench = Bench::new(4);
    let with = |events: String| Chunk { events: Cow::Owned(events.into_bytes()), ..event() };
    let line = |bytes: usize| format!("{{\"a\":\"{}\"}}\n", "x".repeat(bytes - 9));
    let bytes = CHUNK_BYTES_MAX + 1;
    let too_large = InputError::ChunkTooLarge { bytes, limit: CHUNK_BYTES_MAX };
    assert_eq!(bench.refused_input(&with(line(bytes))), too_large);
    assert_eq!(Chunk::from_events(0, line(bytes).as_bytes()).unwrap_err(), too_large);
    assert_eq!(
        bench.refused_input(&with("{}\n".repeat(CHUNK_EVENTS_MAX + 1))),
        InputError::ChunkEvents { limit: CHUNK_EVENTS_MAX }
    );
    for seq in [SEQUENCE_MAX, u64::from(u32::MAX) + 1, u64::MAX] {
        let refused = bench.refused_input(&Chunk { seq, ..event() });
        assert_eq!(refused, InputError::SequenceNumber { seq, limit: SEQUENCE_MAX });
    }
    // At the limits themselves all is well, from the journal and from a segment.
    let largest = [
        Chunk { seq: 0, ..with(line(CHUNK_BYTES_MAX)) },
        Chunk { seq: 1, ..with("{}\n".repeat(CHUNK_EVENTS_MAX)) },
        Chunk { seq: SEQUENCE_MAX - 1, ..event() },
    ];
    for chunk in &largest {
        bench.site.append(&session("s-1"), chunk).unwrap();
    }
    for archived in [false, true] {
        if archived {
            bench.store.archive().unwrap();
        }
        let mut replay = bench.site.replay(&session_id("s-1")).unwrap();
        for sent in &largest {
            let chunk = replay.next_chunk().unwrap().unwrap();
            assert_eq!(chunk.seq, sent.seq);
            assert!(chunk.events == &*sent.events);
        }
        assert!(replay.next_chunk().unwrap().is_none());
        let info = bench.site.session(&session_id("s-1")).unwrap();
        assert_eq!((info.chunks, info.events), (3, CHUNK_EVENTS_MAX as u64 + 2));
        assert_eq!((info.gaps.len(), info.gaps[0].clone()), (1, 2..SEQUENCE_MAX - 1));
    }
}

#[test]
fn snapshots_that_are_not_where_they_say() {
    let bench = Bench::new(5);
    let lines = format!("{{\"timestamp\":{NOON}}}\n").repeat(CHUNK_SNAPSHOTS_MAX + 1);
    let bytes = lines.len() as u32 / (CHUNK_SNAPSHOTS_MAX as u32 + 1);
    let at = |offset, ms| Snapshot { offset, ms };
    let with = |snapshots| Chunk { events: Cow::Borrowed(lines.as_bytes()), snapshots, ..event() };
    for (bad, index) in [
        (vec![at(1, NOON)], 0),
        (vec![at(u32::MAX, NOON)], 0),
        (vec![at(lines.len() as u32, NOON)], 0),
        (vec![at(0, NOON), at(0, NOON)], 1),
        (vec![at(bytes, NOON), at(0, NOON)], 1),
        (vec![at(0, NOON + 1)], 0),
        (vec![at(0, NOON), at(bytes, 0)], 1),
        ((0..=CHUNK_SNAPSHOTS_MAX as u32).map(|n| at(n * bytes, NOON)).collect(), 256),
    ] {
        match bench.refused_input(&with(bad)) {
            InputError::Snapshot { index: n, .. } => assert_eq!(n, index),
            e => panic!("{e:?}"),
        }
    }
    let most = (0..CHUNK_SNAPSHOTS_MAX as u32).map(|n| at(n * bytes, NOON)).collect();
    bench.site.append(&session("s-1"), &with(most)).unwrap();
    bench.store.archive().unwrap();
    let info = bench.site.session(&session_id("s-1")).unwrap();
    assert_eq!(info.snapshots.len(), CHUNK_SNAPSHOTS_MAX);
}

#[test]
fn a_session_is_refused_what_lies_out_of_its_span() {
    let bench = Bench::new(6);
    let start = NOON - 5 * DAY;
    let at = |seq, first_ms, last_ms| Chunk { seq, first_ms, last_ms, ..event() };
    bench.site.append(&session("s-1"), &at(1, start, start)).unwrap();
    for archived in [false, true] {
        if archived {
            bench.store.archive().unwrap();
        }
        let (min, max) = (start - SESSION_SPAN_MS_MAX, start + SESSION_SPAN_MS_MAX);
        for (first, last, ms) in [(start, max + 1, max + 1), (max, max + 1, max + 1)] {
            let refused = bench.refused_input(&at(2, first, last));
            assert_eq!(refused, InputError::TimeRange { ms, min, max });
        }
    }
    bench.site.append(&session("s-1"), &at(2, start, start + SESSION_SPAN_MS_MAX)).unwrap();
    bench.site.append(&session("s-1"), &at(0, start - SESSION_SPAN_MS_MAX, start)).unwrap();
    let info = bench.site.session(&session_id("s-1")).unwrap();
    assert_eq!((info.chunks, info.start_ms), (3, start));
    assert_eq!(info.first_ms..=info.last_ms, start - 2 * DAY..=start + 2 * DAY);
    // What begins beyond the span is another session of the same name.
    let later = start + SESSION_SPAN_MS_MAX + 1;
    assert!(!bench.site.append(&session("s-1"), &at(1, later, later)).unwrap().duplicate);
    assert_eq!(bench.site.sessions(&Query::new()).unwrap().sessions.len(), 2);
    assert_eq!(bench.site.session(&session_id("s-1")).unwrap().start_ms, later);
}

#[test]
fn a_late_chunk_of_the_older_of_two_sessions_of_one_name_joins_it() {
    let bench = Bench::new(7);
    let start = NOON - 6 * DAY;
    let at = |seq, ms| Chunk { seq, first_ms: ms, last_ms: ms, ..event() };
    for (seq, ms) in [(0, start), (0, NOON), (1, start + 1000), (1, NOON + 1000)] {
        assert!(!bench.site.append(&session("s-1"), &at(seq, ms)).unwrap().duplicate);
    }
    let sessions = bench.site.sessions(&Query::new()).unwrap().sessions;
    let found: Vec<_> = sessions.iter().map(|s| (s.start_ms, s.chunks)).collect();
    assert_eq!(found, [(NOON, 2), (start, 2)]);
    assert!(bench.site.append(&session("s-1"), &at(0, start)).unwrap().duplicate);
}

#[test]
fn a_session_whose_retention_has_ended_takes_no_more() {
    let bench = Bench::new(8);
    let at = |seq, ms| Chunk { seq, first_ms: ms, last_ms: ms, ..event() };
    let day = |ms| (ms / DAY) as u32;
    // A site's class is 30 days: kept to the end of the thirtieth day after the day of the start.
    let oldest = NOON - 30 * DAY;
    bench.site.append(&session("s-1"), &at(0, oldest)).unwrap();
    match bench.refused(&session("s-2"), &at(0, oldest - DAY)) {
        Error::Expired { expiry_day } => assert_eq!(expiry_day, day(NOON)),
        e => panic!("{e:?}"),
    }
    bench.site.append(&session("s-1"), &at(1, oldest + 1000)).unwrap();
    bench.world.clock.advance_ms(DAY);
    assert!(matches!(bench.refused(&session("s-1"), &at(2, oldest + 2000)), Error::Expired { .. }));
    let kept = session("s-3").retention_days(90).unwrap();
    bench.site.append(&kept, &at(0, oldest)).unwrap();
    // The class is stamped when the session starts; a later word does not change it.
    let longer = session("s-1").retention_days(365).unwrap();
    assert!(matches!(bench.refused(&longer, &at(2, oldest + 2000)), Error::Expired { .. }));
    // What was recorded stays readable until retention is carried out.
    assert_eq!(bench.site.session(&session_id("s-1")).unwrap().chunks, 2);
}

#[test]
fn a_clock_that_jumps_keeps_the_order_and_deletes_nothing() {
    let bench = Bench::new(9);
    let clock = &bench.world.clock;
    let mut sent = Vec::new();
    for (seq, now) in [NOON, NOON - 400 * DAY, NOON + 25 * DAY, 0, NOON + 1000, EVENT_MS_MIN]
        .into_iter()
        .enumerate()
    {
        clock.set_ms(now);
        let chunk = chunk("s-1", seq as u64, NOON + seq as u64 * 1000, 200);
        let appended = bench.site.append(&session("s-1"), &chunk);
        if chunk.last_ms > now + EVENT_AHEAD_MS_MAX {
            assert!(matches!(appended, Err(Error::Input(InputError::TimeRange { .. }))));
        } else {
            appended.unwrap();
            sent.extend_from_slice(&chunk.events);
        }
        bench.store.maintain().unwrap();
        assert_eq!(replayed(&bench.site, "s-1"), sent);
    }
    // Far ahead, the session has expired: nothing more is taken, and nothing is deleted.
    clock.set_ms(NOON + 10_000 * DAY);
    bench.store.maintain().unwrap();
    bench.store.archive().unwrap();
    assert_eq!(replayed(&bench.site, "s-1"), sent);
    let late = Chunk { seq: 9, ..event() };
    assert!(matches!(bench.refused(&session("s-1"), &late), Error::Expired { .. }));
    clock.set_ms(NOON);
    bench.site.append(&session("s-1"), &late).unwrap();
    let Bench { world, store, site } = bench;
    drop((store, site));
    for now in [0, EVENT_MS_MIN, NOON, NOON + 10_000 * DAY, u64::MAX] {
        world.clock.set_ms(now);
        let store = world.open(&world.disk, now ^ 5).unwrap();
        store.maintain().unwrap();
        let site = store.site(&site_id(SITES[0])).unwrap();
        let info = site.session(&session_id("s-1")).unwrap();
        assert_eq!(info.chunks, 4);
        let mut seqs = Vec::new();
        let mut replay = site.replay(&session_id("s-1")).unwrap();
        while let Some(chunk) = replay.next_chunk().unwrap() {
            seqs.push(chunk.seq);
        }
        assert_eq!(seqs, [0, 2, 4, 9]);
        store.close().unwrap();
    }
}

#[test]
fn cursors_of_others_are_refused() {
    let bench = Bench::new(10);
    for n in 0..4u64 {
        let ms = NOON + n;
        let chunk = Chunk { first_ms: ms, last_ms: ms, ..event() };
        bench.site.append(&session(&format!("s-{n}")), &chunk).unwrap();
    }
    let page = bench.site.sessions(&Query::new().limit(2)).unwrap();
    let cursor = page.next.unwrap().to_string();
    let refused = |site: &Site, query: Query| match site.sessions(&query) {
        Err(Error::Input(InputError::Cursor)) => {}
        other => panic!("{other:?}"),
    };
    for (at, c) in cursor.char_indices() {
        let other = if c == '0' { "1" } else { "0" };
        let mut changed = cursor.clone();
        changed.replace_range(at..=at, other);
        refused(&bench.site, Query::new().after(changed.parse().unwrap()));
    }
    for bad in ["", "0", "xyz", &cursor[1..], &format!("{cursor}0"), &"é".repeat(33), "+1"] {
        assert_eq!(bad.parse::<Cursor>(), Err(InputError::Cursor));
    }
    // A sign is no digit.
    let signed = format!("+{}", &cursor[1..]);
    assert_eq!(signed.parse::<Cursor>(), Err(InputError::Cursor));
    let cursor: Cursor = cursor.parse().unwrap();
    refused(&bench.site, Query::new().order(Order::OldestFirst).after(cursor.clone()));
    let other = bench.store.site(&site_id(SITES[1])).unwrap();
    refused(&other, Query::new().after(cursor.clone()));
    assert_eq!(bench.site.sessions(&Query::new().after(cursor)).unwrap().sessions.len(), 2);
    for (limit, found) in [(0, 1), (1, 1), (usize::MAX, 4)] {
        assert_eq!(bench.site.sessions(&Query::new().limit(limit)).unwrap().sessions.len(), found);
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let bench = Bench::new(11);
    assert!(matches!(
        bench.store.site(&site_id("nobody.example")),
        Err(Error::UnknownSite(id)) if id.as_str() == "nobody.example"
    ));
    for name in ["s-1", "lost-", "lost-00000000000000000000000000000000", "lost-x"] {
        let id = session_id(name);
        assert!(matches!(bench.site.session(&id), Err(Error::UnknownSession)));
        assert!(matches!(bench.site.replay(&id), Err(Error::UnknownSession)));
        assert!(matches!(bench.site.replay_from(&id, NOON), Err(Error::UnknownSession)));
    }
    let empty = World::new(12);
    empty.disk.remove_file("/store/manifest").unwrap();
    assert!(
        matches!(empty.open(&empty.disk, 1), Err(Error::NoStore(p)) if p == std::path::Path::new("/store"))
    );
    let env = SimDisk::new().env(&SimClock::new(NOON), 1);
    let opened = Store::open(options(env, &empty.provider));
    assert!(matches!(opened, Err(Error::NoStore(_))));
}

#[test]
fn options_out_of_range() {
    let world = World::new(13);
    let with = |change: fn(Options) -> Options| {
        let disk = world.disk.crash_image(Survival::Everything);
        change(options(disk.env(&world.clock, 2), &world.provider))
    };
    type Change = fn(Options) -> Options;
    let changes: [(&str, Change); 9] = [
        ("shards", |o| o.shards(0)),
        ("shards", |o| o.shards(257)),
        ("journal_bytes", |o| o.journal_bytes(0)),
        ("journal_bytes", |o| o.journal_bytes(u32::MAX)),
        ("fill_bytes", |o| o.fill_bytes(1 << 20)),
        ("append_level", |o| o.append_level(23)),
        ("append_level", |o| o.append_level(i32::MIN)),
        ("archive_level", |o| o.archive_level(-8)),
        ("archive_level", |o| o.archive_level(i32::MAX)),
    ];
    for (name, change) in changes {
        for opened in [Store::open(with(change)), Store::open_read_only(with(change))] {
            match opened.err().unwrap() {
                Error::Input(InputError::Option { name: told, .. }) => assert_eq!(told, name),
                e => panic!("{e:?}"),
            }
        }
    }
    let env = || world.disk.env(&world.clock, 3);
    for mirrors in [vec![], vec![PathBuf::from("/keys/a/keyring"); 2]] {
        let options = Options::new("/store", mirrors, Arc::clone(&world.provider)).env(env());
        let refused = Store::open(options).err().unwrap();
        assert!(matches!(refused, Error::Input(InputError::Option { .. })), "{refused:?}");
    }
    assert!(matches!(
        Store::create(options(env(), &world.provider)),
        Err(Error::Exists(p)) if p == std::path::Path::new("/store/manifest") || p == std::path::Path::new("/store")
    ));
    // A keyring without its store is not overwritten either.
    let disk = world.disk.crash_image(Survival::Everything);
    disk.remove_file("/store/manifest").unwrap();
    let before = disk.file_bytes("/keys/a/keyring").unwrap();
    let refused = Store::create(options(disk.env(&world.clock, 4), &world.provider)).err().unwrap();
    assert!(matches!(refused, Error::Exists(p) if p == std::path::Path::new("/keys/a/keyring")));
    assert_eq!(disk.file_bytes("/keys/a/keyring").unwrap(), before);
}

/// Opens a store on a copy of the disk with another provider, both ways.
fn open_with(world: &World, provider: &Arc<dyn KeyProvider>) -> [Error; 2] {
    let disk = world.disk.crash_image(Survival::Everything);
    let before: Vec<_> = disk.paths().iter().map(|p| disk.file_bytes(p).unwrap()).collect();
    let read_only = Store::open_read_only(options(disk.env(&world.clock, 5), provider)).err();
    let after: Vec<_> = disk.paths().iter().map(|p| disk.file_bytes(p).unwrap()).collect();
    assert!(before == after, "a refusal writes nothing");
    let writable = Store::open(options(disk.env(&world.clock, 6), provider)).err();
    for mirror in ["/keys/a/keyring", "/keys/b/keyring"] {
        let same = disk.file_bytes(mirror).unwrap() == world.disk.file_bytes(mirror).unwrap();
        assert!(same, "the keyring is as it was");
    }
    [read_only.unwrap(), writable.unwrap()]
}

#[test]
fn a_wrong_key_is_told_apart_from_a_missing_version_of_it() {
    let world = World::new(14);
    let other = World::new(99).provider;
    for e in open_with(&world, &other) {
        assert!(matches!(e, Error::WrongKey(_)), "{e:?}");
    }
    let phrase: Arc<dyn KeyProvider> =
        Arc::new(Passphrase::new(&reelvault::env::Env::real(), "not a key file").unwrap());
    for e in open_with(&world, &phrase) {
        assert!(matches!(e, Error::WrongKey(_)), "{e:?}");
    }
    // A key file that was never used, and one that is as old as the store: the version that the keyring names is not there.
    let env = world.disk.env(&world.clock, 7);
    let unused: Arc<dyn KeyProvider> = Arc::new(KeyFile::create(&env, "/other/key").unwrap());
    for e in open_with(&world, &unused) {
        assert!(matches!(e, Error::MissingKeyVersion(3)), "{e:?}");
    }
    let text = String::from_utf8(world.disk.file_bytes("/keys/key").unwrap()).unwrap();
    let (first, live) = text.split_at(text.find("\n0000000003 ").unwrap() + 1);
    world.disk.write_file("/other/key", &first.as_bytes()[..21]).unwrap();
    for e in open_with(&world, &unused) {
        assert!(matches!(e, Error::MissingKeyVersion(3)), "{e:?}");
    }
    // What is wanted is damaged; what is not wanted may be.
    let damaged = text.replace("\n0000000003 ", "\n0000000003x");
    world.disk.write_file("/other/key", damaged.as_bytes()).unwrap();
    for e in open_with(&world, &unused) {
        assert!(matches!(e, Error::Corrupt(_)), "{e:?}");
    }
    let beside = format!("{}{}{}", &first[..21], "x".repeat(118), &live[..118]);
    world.disk.write_file("/other/key", beside.as_bytes()).unwrap();
    Store::open_read_only(options(env, &unused)).unwrap();
}

#[test]
fn key_files_that_are_none() {
    let (env, disk, _) = reelvault::env::sim::env(15);
    let refused = |text: &str| {
        disk.write_file("/key", text.as_bytes()).unwrap();
        KeyFile::open(&env, "/key").err().unwrap_or_else(|| panic!("{text:?} was taken"))
    };
    for text in ["", "x", "reelvault key file 1", "reelvault key file x\n", &"x".repeat(1 << 20)] {
        let e = refused(text);
        assert!(matches!(e, Error::Corrupt(_)), "{text:?}: {e:?}");
    }
    let newer = refused("reelvault key file 2\n");
    assert!(matches!(newer, Error::Unsupported { found: 2, .. }), "{newer:?}");
    assert!(matches!(KeyFile::open(&env, "/none"), Err(Error::Io { .. })));
    assert!(matches!(KeyFile::create(&env, "/key"), Err(Error::Exists(_))));
}

#[test]
fn a_wrong_passphrase() {
    let (env, disk, clock) = reelvault::env::sim::env(16);
    let cost = Argon2Cost { memory_kib: 64, passes: 1, lanes: 1 };
    let phrase = |text: &str| -> Arc<dyn KeyProvider> {
        Arc::new(Passphrase::with_cost(&env, text, cost).unwrap())
    };
    Store::create(options(env.clone(), &phrase("correct horse"))).unwrap().close().unwrap();
    for wrong in ["correct hors", "Correct horse", "correct horse ", "x"] {
        let opened = Store::open(options(disk.env(&clock, 1), &phrase(wrong)));
        assert!(matches!(opened, Err(Error::WrongKey(_))));
    }
    let refused = Passphrase::new(&env, "").err().unwrap();
    assert!(matches!(refused, Error::Input(InputError::Option { name: "passphrase", .. })));
    for (memory_kib, passes, lanes) in
        [(0, 1, 1), (7, 1, 1), (64, 0, 1), (64, 1, 0), (64, 1, 9), (2 << 20, 1, 1)]
    {
        let cost = Argon2Cost { memory_kib, passes, lanes };
        assert!(matches!(Passphrase::with_cost(&env, "x", cost), Err(Error::Input(_))));
    }
    // A keyring that asks for too much is refused before anything is done for it: the checksum is right.
    let mut bytes = disk.file_bytes("/keys/a/keyring").unwrap();
    bytes[56 + 16..56 + 20].copy_from_slice(&u32::MAX.to_le_bytes());
    repair_keyring(&mut bytes);
    disk.write_file("/keys/a/keyring", &bytes).unwrap();
    disk.write_file("/keys/b/keyring", &bytes).unwrap();
    let e = Store::open(options(disk.env(&clock, 2), &phrase("correct horse"))).err().unwrap();
    assert!(matches!(e, Error::Corrupt(_)), "{e:?}");
}

#[test]
fn another_stores_keyring() {
    let (world, other) = (World::new(17), World::new(18));
    // The other store's keyring under the key of this one cannot be had by accident; its own key and keyring can.
    for mirror in ["/keys/a/keyring", "/keys/b/keyring"] {
        world.disk.write_file(mirror, &other.disk.file_bytes(mirror).unwrap()).unwrap();
    }
    for e in open_with(&world, &world.provider) {
        assert!(matches!(e, Error::WrongKey(_)), "{e:?}");
    }
    for e in open_with(&world, &other.provider) {
        assert!(matches!(e, Error::WrongKey(_)), "the keyring is another store's: {e:?}");
    }
    let world = World::new(17);
    let theirs = other.disk.file_bytes("/keys/b/keyring").unwrap();
    world.disk.write_file("/keys/b/keyring", &theirs).unwrap();
    for e in open_with(&world, &world.provider) {
        assert!(matches!(e, Error::WrongKey(_)), "{e:?}");
    }
}

/// The checksum of a unit's header at `at`, and of the file's at 0.
fn repair(bytes: &mut [u8], at: usize) {
    let crc = crc32fast::hash(&bytes[at..at + 28]);
    bytes[at + 28..at + 32].copy_from_slice(&crc.to_le_bytes());
}

/// The checksum of a keyring's wrapping header and wrapped data key.
fn repair_keyring(bytes: &mut [u8]) {
    let wrapped = u32::from_le_bytes(*bytes[48..].first_chunk().unwrap()) as usize;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[32..52]);
    crc.update(&bytes[56..56 + wrapped]);
    bytes[52..56].copy_from_slice(&crc.finalize().to_le_bytes());
}

/// A store with chunks in a journal and in a segment.
fn filled(seed: u64) -> World {
    let bench = Bench::new(seed);
    for seq in 0..3 {
        bench.site.append(&session("s-1"), &chunk("s-1", seq, NOON + seq * 1000, 500)).unwrap();
        if seq == 1 {
            bench.store.archive().unwrap();
        }
    }
    bench.store.close().unwrap();
    bench.world
}

fn the_file(world: &World, folder: &str) -> PathBuf {
    let all = world.disk.paths();
    let found: Vec<_> = all.into_iter().filter(|p| p.to_string_lossy().contains(folder)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// What opening and replaying a spoiled copy of a store answers.
fn answer(world: &World, spoil: impl Fn(&SimDisk)) -> Error {
    let disk = world.disk.crash_image(Survival::Everything);
    spoil(&disk);
    let open = || -> Result<(), Error> {
        let store = world.open(&disk, 1)?;
        let mut replay = store.site(&site_id(SITES[0]))?.replay(&session_id("s-1"))?;
        while replay.next_chunk()?.is_some() {}
        Ok(())
    };
    match open() {
        Err(e) => e,
        Ok(()) => panic!("nothing is wrong"),
    }
}

#[test]
fn foreign_files_in_the_place_of_the_engines() {
    let world = filled(19);
    let png = [&b"\x89PNG\r\n\x1a\n"[..], &[7; 5000]].concat();
    for file in
        ["/store/manifest".into(), the_file(&world, "/journal/"), the_file(&world, "/segment/")]
    {
        let name = file.strip_prefix("/store").unwrap().to_string_lossy().into_owned();
        let whole = world.disk.file_bytes(&file).unwrap();
        let mut foreign = png.clone();
        foreign.resize(whole.len(), 0);
        let answered = answer(&world, |disk| disk.write_file(&file, &foreign).unwrap());
        assert!(matches!(&answered, Error::Corrupt(c) if c.file == name), "{name}: {answered:?}");
        if !name.starts_with("segment") {
            assert!(matches!(&answered, Error::Corrupt(c) if c.kind == Damage::Foreign));
        }
        let empty = answer(&world, |disk| disk.write_file(&file, b"").unwrap());
        assert!(matches!(&empty, Error::Corrupt(c) if c.kind == Damage::Truncated), "{empty:?}");
        if name == "manifest" {
            continue;
        }
        let gone = answer(&world, |disk| disk.remove_file(&file).unwrap());
        assert!(
            matches!(&gone, Error::Corrupt(c) if c.kind == Damage::Missing && c.file == name),
            "{gone:?}"
        );
    }
    let foreign = answer(&world, |disk| {
        disk.write_file("/keys/a/keyring", &png).unwrap();
        disk.write_file("/keys/b/keyring", &png).unwrap();
    });
    assert!(matches!(&foreign, Error::Corrupt(c) if c.kind == Damage::Foreign), "{foreign:?}");
    // One foreign file at the path of a mirror: it is not overwritten, and reading goes on.
    let disk = world.disk.crash_image(Survival::Everything);
    disk.write_file("/keys/b/keyring", &png).unwrap();
    let refused = world.open(&disk, 3).err().unwrap();
    assert!(matches!(&refused, Error::Corrupt(c) if c.kind == Damage::Foreign));
    assert_eq!(disk.file_bytes("/keys/b/keyring").unwrap(), png);
    Store::open_read_only(options(disk.env(&world.clock, 4), &world.provider)).unwrap();
    let gone = answer(&world, |disk| {
        disk.remove_file("/keys/a/keyring").unwrap();
        disk.remove_file("/keys/b/keyring").unwrap();
    });
    assert!(
        matches!(gone, Error::Io { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound)
    );
}

#[test]
fn foreign_files_beside_the_engines_are_left_alone() {
    let world = filled(20);
    for file in [
        "/store/README",
        "/store/journal/notes.txt",
        "/store/segment/x.rvs",
        "/store/journal/0.rvj",
    ] {
        world.disk.write_file(file, b"mine").unwrap();
    }
    let store = world.open(&world.disk, 1).unwrap();
    store.archive().unwrap();
    drop(store);
    for file in [
        "/store/README",
        "/store/journal/notes.txt",
        "/store/segment/x.rvs",
        "/store/journal/0.rvj",
    ] {
        assert_eq!(world.disk.file_bytes(file).unwrap(), b"mine");
    }
}

#[test]
fn unknown_versions_suites_and_codecs_are_refused_by_name() {
    let world = filled(21);
    let journal = the_file(&world, "/journal/");
    let segment = the_file(&world, "/segment/");
    let manifest = PathBuf::from("/store/manifest");
    let keyrings = ["/keys/a/keyring", "/keys/b/keyring"].map(PathBuf::from);
    let patched = |files: &[PathBuf], at: usize, value: u8, header: usize| {
        answer(&world, |disk| {
            for file in files {
                let mut bytes = disk.file_bytes(file).unwrap();
                bytes[at] = value;
                repair(&mut bytes, header);
                disk.write_file(file, &bytes).unwrap();
            }
        })
    };
    let unsupported = |answered: Error, what: &str, found: u64| match &answered {
        Error::Unsupported { what: told, found: number, .. } => {
            assert_eq!((*told, *number), (what, found));
        }
        e => panic!("{what} {found}: {e:?}"),
    };
    // The file's header. A segment's is looked at by `verify` alone, and its footer by everyone.
    for files in [std::slice::from_ref(&manifest), std::slice::from_ref(&journal), &keyrings] {
        unsupported(patched(files, 8, 2, 0), "format version", 2);
        unsupported(patched(files, 9, 1, 0), "format version", 257);
        unsupported(patched(files, 10, 9, 0), "cipher suite", 9);
    }
    // The header of the first unit.
    let body = |file: &PathBuf| -> usize {
        let bytes = world.disk.file_bytes(file).unwrap();
        56 + u32::from_le_bytes(*bytes[48..].first_chunk().unwrap()) as usize
    };
    let at = body(&keyrings[0]);
    for (files, at) in [
        (&[manifest][..], 64),
        (std::slice::from_ref(&journal), 32),
        (std::slice::from_ref(&segment), 32),
        (&keyrings, at),
    ] {
        unsupported(patched(files, at + 4, 2, at), "unit version", 2);
        unsupported(patched(files, at + 5, 0, at), "cipher suite", 0);
        unsupported(patched(files, at + 6, 2, at), "codec", 2);
    }
    // A frame, whose checksum covers the journal's id and the frame's place.
    for (at, value, what) in [(4, 2, "unit version"), (5, 3, "cipher suite"), (6, 9, "codec")] {
        let answered = answer(&world, |disk| {
            let mut bytes = disk.file_bytes(&journal).unwrap();
            bytes[4096 + at] = value;
            let mut crc = crc32fast::Hasher::new();
            crc.update(&bytes[12..28]);
            crc.update(&4096u64.to_le_bytes());
            crc.update(&bytes[4096..4096 + 36]);
            bytes[4096 + 36..4096 + 40].copy_from_slice(&crc.finalize().to_le_bytes());
            disk.write_file(&journal, &bytes).unwrap();
        });
        unsupported(answered, what, value.into());
    }
    // A segment's footer.
    let answered = answer(&world, |disk| {
        let mut bytes = disk.file_bytes(&segment).unwrap();
        let at = bytes.len() - 48;
        bytes[at + 12] = 2;
        let crc = crc32fast::hash(&bytes[at..at + 32]);
        bytes[at + 32..at + 36].copy_from_slice(&crc.to_le_bytes());
        disk.write_file(&segment, &bytes).unwrap();
    });
    unsupported(answered, "format version", 2);
    // A provider of the keyring that this build does not know.
    let answered = answer(&world, |disk| {
        for file in &keyrings {
            let mut bytes = disk.file_bytes(file).unwrap();
            bytes[40] = 9;
            repair_keyring(&mut bytes);
            disk.write_file(file, &bytes).unwrap();
        }
    });
    unsupported(answered, "key provider", 9);
}

#[test]
fn a_second_writer_is_refused_with_the_first_ones_process_id() {
    let folder = Folder::new();
    let (store, site) = common::store_with_site(&folder);
    for _ in 0..3 {
        match Store::open(folder.options()) {
            Err(Error::Locked { pid }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{:?}", other.err()),
        }
    }
    assert!(matches!(Store::create(folder.options()), Err(Error::Exists(_))));
    // The refusal disturbs nobody.
    site.append(&session("s-1"), &chunk("s-1", 0, NOON, 100)).unwrap();
    // A note that is no number is no reason to go on.
    std::fs::write(folder.store().join("lock"), "who knows").unwrap();
    assert!(matches!(Store::open(folder.options()), Err(Error::Locked { pid: None })));
    // As long as anyone holds the store or a site of it, it is locked; then no longer.
    drop(store);
    assert!(matches!(Store::open(folder.options()), Err(Error::Locked { .. })));
    drop(site);
    let store = Store::open(folder.options()).unwrap();
    assert_eq!(store.sites().len(), 1);
}

#[test]
fn a_store_opened_read_only_refuses_every_change() {
    let world = filled(22);
    let before: Vec<_> =
        world.disk.paths().iter().map(|p| world.disk.file_bytes(p).unwrap()).collect();
    let operations = world.disk.operations();
    let env = world.disk.env(&world.clock, 1);
    let store = Store::open_read_only(options(env, &world.provider)).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    let read_only = |e: Error| assert!(matches!(e, Error::ReadOnly), "{e:?}");
    read_only(site.append(&session("s-2"), &event()).unwrap_err());
    read_only(store.add_site(site_id("new.example"), 30).err().unwrap());
    read_only(store.add_sites([(site_id("new.example"), 30)]).err().unwrap());
    read_only(store.archive().unwrap_err());
    read_only(store.maintain().unwrap_err());
    read_only(store.sync().unwrap_err());
    store.refresh().unwrap();
    assert!(store.verify(reelvault::Depth::Content, |_, _| ()).unwrap().is_sound());
    replayed(&site, "s-1");
    store.close().unwrap();
    let after: Vec<_> =
        world.disk.paths().iter().map(|p| world.disk.file_bytes(p).unwrap()).collect();
    assert!(before == after);
    let syncs = world.disk.operations() - operations;
    println!("{syncs} operations on the disk, none of which changed it");
}

#[test]
fn a_store_that_is_closed_refuses_every_change() {
    let bench = Bench::new(23);
    bench.site.append(&session("s-1"), &event()).unwrap();
    let again = bench.store.clone();
    bench.store.close().unwrap();
    let closed = |e: Error| assert!(matches!(e, Error::Closed), "{e:?}");
    closed(bench.site.append(&session("s-1"), &Chunk { seq: 1, ..event() }).unwrap_err());
    closed(again.add_site(site_id("new.example"), 30).err().unwrap());
    closed(again.archive().unwrap_err());
    closed(again.maintain().unwrap_err());
    closed(again.sync().unwrap_err());
    // What is open can be read to its end.
    assert_eq!(replayed(&bench.site, "s-1"), *event().events);
    drop((again, bench.site));
    bench.world.open(&bench.world.disk, 5).unwrap();
}

#[test]
fn a_session_of_hundreds_of_megabytes() {
    // 64 chunks of 8 MiB: 512 MiB in many journals and many blocks.
    let (env, _, clock) = reelvault::env::sim::env(24);
    clock.set_ms(NOON);
    env.disk.create_dir("/keys".as_ref()).unwrap();
    let provider: Arc<dyn KeyProvider> = Arc::new(KeyFile::create(&env, "/keys/key").unwrap());
    let store = Store::create(options(env, &provider)).unwrap();
    let site = store.add_site(site_id("shop.example"), 30).unwrap();
    let text = "a word or two ".repeat(600_000);
    let chunk_of = |seq: u64| {
        let ms = NOON + seq * 1000;
        let events = format!("{{\"type\":2,\"timestamp\":{ms},\"data\":\"{seq} {text}\"}}\n");
        Chunk::from_events(seq, events.into_bytes()).unwrap()
    };
    for seq in 0..64 {
        site.append(&session("s-1"), &chunk_of(seq)).unwrap();
        store.maintain().unwrap();
    }
    store.archive().unwrap();
    let info = site.session(&session_id("s-1")).unwrap();
    assert_eq!((info.chunks, info.gaps.len(), info.snapshots.len()), (64, 0, 64));
    assert!(info.raw_bytes > 500 << 20);
    let mut replay = site.replay(&session_id("s-1")).unwrap();
    for seq in 0..64 {
        let chunk = replay.next_chunk().unwrap().unwrap();
        assert!(chunk.seq == seq && chunk.events == &*chunk_of(seq).events);
    }
    assert!(replay.next_chunk().unwrap().is_none());
    let mut replay = site.replay_from(&session_id("s-1"), NOON + 40_500).unwrap();
    assert_eq!(replay.next_chunk().unwrap().unwrap().seq, 40);
}

#[test]
fn errors_name_no_session_and_no_visitor() {
    let bench = Bench::new(25);
    let name = "session-of-somebody";
    let said = |e: &Error| {
        let text = format!("{e} {e:?}");
        assert!(!text.contains(name) && !text.contains("visitor-of-everything"), "{text}");
    };
    said(&bench.site.session(&session_id(name)).unwrap_err());
    said(&bench.refused(&session(name), &Chunk { seq: SEQUENCE_MAX, ..event() }));
    said(&bench.refused(&session(name), &Chunk { first_ms: 0, ..event() }));
    let secret = Chunk { events: Cow::Borrowed(b"session-of-somebody\n"), ..event() };
    said(&bench.refused(&session(name), &secret));
    let e = Chunk::from_events(0, &b"{\"timestamp\":\"session-of-somebody\"}\n"[..]).unwrap_err();
    said(&Error::Input(e));
}
