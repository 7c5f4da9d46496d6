//! Bugs that a review of the first version found, each with its story.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(clippy::disallowed_methods, reason = "tests look at the files themselves")]

mod common;

use common::sim::{SITES, World};
use common::{Folder, NOON, chunk, replayed, session, session_id, site_id, store_with_site};
use reelvault::env::sim::{Fault, ReadFault, START_MS, When};
use reelvault::{Damage, Depth, Durability, Error, Held, Query, Session, Store};

/// An append asked for room for its content and 512 bytes, and joined with an envelope that may take twenty thousand. Near
/// the end of a journal it asked again and again, for ever.
#[test]
fn a_large_identity_near_the_end_of_a_journal_rotates_it() {
    let folder = Folder::new();
    let (_store, site) = store_with_site(&folder);
    let mut large = Session::new(session_id("large"));
    for n in 0..16 {
        large = large.attribute(&format!("attribute-{n}"), &"x".repeat(1_000)).unwrap();
    }
    for n in 0..60u64 {
        let name = format!("s-{n}");
        site.append(&session(&name), &chunk(&name, 0, NOON, 9_000)).unwrap();
        let id = format!("large-{n}");
        let mut each = Session::new(session_id(&id));
        for a in 0..16 {
            each = each.attribute(&format!("attribute-{a}"), &"y".repeat(1_000)).unwrap();
        }
        site.append(&each, &chunk(&id, 0, NOON, 100)).unwrap();
    }
    site.append(&large, &chunk("large", 0, NOON, 10)).unwrap();
}

/// The background thread was joined when the last store was dropped, and ended only when the last site was.
#[test]
fn a_site_may_outlive_its_store() {
    let folder = Folder::new();
    let (store, _) = store_with_site(&folder);
    drop(store);
    let site = {
        let store = Store::open(folder.options().background(true)).unwrap();
        store.site(&site_id("shop.example")).unwrap()
    };
    site.append(&session("s-1"), &chunk("s-1", 0, NOON, 100)).unwrap();
    drop(site);
    assert!(Store::open(folder.options()).is_ok(), "the lock is free");
}

/// Dropping was documented as closing, and lost what was deferred.
#[test]
fn dropping_a_store_keeps_what_was_deferred() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    let deferred = chunk("s-1", 0, NOON, 100);
    site.append_with(&session("s-1"), &deferred, Durability::Deferred).unwrap();
    drop((store, site));
    let store = Store::open(folder.options()).unwrap();
    let site = store.site(&site_id("shop.example")).unwrap();
    assert_eq!(replayed(&site, "s-1"), *deferred.events);
}

/// A manifest of yesterday was believed, and the journals it did not know were removed as left-overs.
#[test]
fn an_older_manifest_is_refused_and_nothing_is_removed() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    let old = std::fs::read(folder.store().join("manifest")).unwrap();
    site.append(&session("s-1"), &chunk("s-1", 0, NOON, 100)).unwrap();
    drop((store, site));
    let new = std::fs::read(folder.store().join("manifest")).unwrap();
    let files = folder.files();
    std::fs::write(folder.store().join("manifest"), old).unwrap();
    let refused = Store::open(folder.options());
    assert!(matches!(refused, Err(Error::Corrupt(c)) if c.kind == Damage::RolledBack));
    assert_eq!(folder.files(), files);
    std::fs::write(folder.store().join("manifest"), new).unwrap();
    let store = Store::open(folder.options()).unwrap();
    let site = store.site(&site_id("shop.example")).unwrap();
    assert_eq!(site.session(&session_id("s-1")).unwrap().chunks, 1);
}

/// A keyring of yesterday was believed; the sites it did not know were taken for erased, and archiving threw their
/// chunks away.
#[test]
fn an_older_keyring_is_refused() {
    let folder = Folder::new();
    let (store, _) = store_with_site(&folder);
    let mirrors = ["a", "b"].map(|m| folder.path().join(format!("keys/{m}/keyring")));
    let key = folder.path().join("keys/key");
    let old = std::fs::read(&mirrors[0]).unwrap();
    let mut both = std::fs::read(&key).unwrap();
    let late = store.add_site(site_id("late.example"), 30).unwrap();
    late.append(&session("s-1"), &chunk("s-1", 0, NOON, 100)).unwrap();
    drop((store, late));
    let new = std::fs::read(&mirrors[0]).unwrap();
    mirrors.iter().for_each(|m| std::fs::write(m, &old).unwrap());
    // Its key is destroyed.
    assert!(matches!(Store::open(folder.options()), Err(Error::MissingKeyVersion(2))));
    // And if it were not, as when that had failed, the newer one must not be destroyed for it.
    let after = std::fs::read(&key).unwrap();
    // The newer version went into the slot of one that was destroyed.
    both[21..139].copy_from_slice(&after[21..139]);
    std::fs::write(&key, &both).unwrap();
    assert!(matches!(Store::open(folder.options()), Err(Error::WrongKey(_))));
    assert_eq!(std::fs::read(&key).unwrap(), both);
    mirrors.iter().for_each(|m| std::fs::write(m, &new).unwrap());
    let store = Store::open(folder.options()).unwrap();
    let late = store.site(&site_id("late.example")).unwrap();
    assert_eq!(late.session(&session_id("s-1")).unwrap().chunks, 1);
}

/// Rot in the last group of a journal passed for a torn tail, although the store had been closed in order.
#[test]
fn rot_at_the_end_of_a_journal_that_was_closed_is_damage() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    site.append(&session("s-1"), &chunk("s-1", 0, NOON, 3_000)).unwrap();
    drop((store, site));
    let journal = folder.files().into_iter().find(|f| f.extension().is_some_and(|e| e == "rvj"));
    let journal = journal.unwrap();
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[4096 + 200] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let refused = Store::open(folder.options());
    assert!(matches!(refused, Err(Error::Corrupt(c)) if c.kind == Damage::BeforeValidFrames));
}

/// What is left in a recycled journal of its former life was read again from the disk for every frame of it: opening took a
/// minute. Here it is counted.
#[test]
fn recovery_reads_a_recycled_journal_about_once() {
    use reelvault::env::{Counted, Env, RealDisk};
    use std::sync::Arc;
    let folder = Folder::new();
    let options = folder.options().shards(1).journal_bytes(1 << 20);
    let store = Store::create(options.clone()).unwrap();
    let site = store.add_site(site_id("shop.example"), 30).unwrap();
    for n in 0..3_000u64 {
        let name = format!("s-{n}");
        site.append(&session(&name), &chunk(&name, 0, NOON, 2_000)).unwrap();
        if n % 500 == 0 {
            store.maintain().unwrap();
        }
    }
    drop((store, site));
    let disk = Arc::new(Counted::new(Arc::new(RealDisk)));
    let env = Env { disk: Arc::clone(&disk) as _, ..common::env_at(NOON) };
    let store = Store::open_read_only(options.env(env)).unwrap();
    let journal_bytes = store.stats().unwrap().journal_bytes;
    let read = disk.counts().read_bytes;
    assert!(read <= 4 * journal_bytes + (1 << 20), "{read} bytes read of {journal_bytes}");
}

/// A session's id used again two days later hid the first recording: it was listed and could not be replayed.
#[test]
fn a_session_id_may_be_used_again_and_each_recording_is_replayed() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    let first = chunk("s-1", 0, NOON - 10 * common::DAY, 500);
    let second = chunk("s-1", 0, NOON, 900);
    for archive in [false, true] {
        for chunk in [&first, &second] {
            let again = site.append(&session("s-1"), chunk).unwrap();
            assert_eq!(again.duplicate, archive, "the second time each is known");
        }
        let listed = site.sessions(&reelvault::Query::new()).unwrap().sessions;
        assert_eq!(listed.len(), 2);
        for (info, chunk) in listed.iter().zip([&second, &first]) {
            let mut out = Vec::new();
            site.replay_listed(info).unwrap().write_to(&mut out).unwrap();
            assert_eq!(out, *chunk.events);
        }
        store.archive().unwrap();
    }
}

/// A hold of an id was of the session that started last, whichever was meant, and all sessions of the id said that they were held.
#[test]
fn a_hold_is_of_one_of_the_sessions_of_an_id() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    let (id, early) = (session_id("s-1"), NOON - 10 * common::DAY);
    site.append(&session("s-1"), &chunk("s-1", 0, early, 500)).unwrap();
    site.append(&session("s-1"), &chunk("s-1", 0, NOON, 900)).unwrap();
    for archive in [false, true] {
        if archive {
            store.archive().unwrap();
        }
        site.hold_at(&id, early, "court order").unwrap();
        assert_eq!(site.holds().unwrap()[0].start_ms, early);
        let held = |ms| site.session_at(&id, ms).unwrap().held;
        assert_eq!((held(early), held(NOON)), (true, false));
        let listed = site.sessions(&Query::new()).unwrap().sessions;
        assert_eq!(listed.iter().map(|info| info.held).collect::<Vec<_>>(), [false, true]);
        assert!(matches!(site.hold_at(&id, NOON, "x"), Err(Error::Input(_))), "one at a time");
        assert!(matches!(site.hold(&id, "x"), Err(Error::Input(_))));
        site.release(&id).unwrap();
        assert_eq!((held(early), held(NOON)), (false, false));
    }
    let unknown = site.hold_at(&id, NOON - 5 * common::DAY, "x");
    assert!(matches!(unknown, Err(Error::UnknownSession)));
}

/// Whatever needed a new file made it before it saw that no manifest could name it: where it was not certain which one the disk held, each
/// append that found no journal left one behind, and each round of maintenance its segments, until the disk was full. Segments whose
/// manifest found no room stayed, too.
#[test]
fn files_that_cannot_be_named_are_not_left_behind() {
    for fault in [Fault::Io, Fault::Full] {
        let (mut points, mut unsure) = (0, 0);
        while let Some(was_unsure) = fill_while_failing(points, fault) {
            points += 1;
            unsure += u64::from(was_unsure);
        }
        println!("{fault:?}: {points} points, at {unsure} of them the manifest was unsure");
        assert!(points > 50 && unsure > 2);
    }
}

/// Fills journals and archives them while the operation of this number fails, goes on after it, and looks at what is there. Whether the
/// manifest became unsure; nothing if all was over before.
fn fill_while_failing(n: u64, fault: Fault) -> Option<bool> {
    let world = World::new(1);
    let store = world.open(&world.disk, 2).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    let append = |seq| {
        site.append(&session("s-1"), &chunk("s-1", seq, START_MS + seq, 30_000))?;
        store.maintain()
    };
    let at = world.disk.operations() + n;
    world.disk.fail(When::Once(at), fault);
    let unsure = (0..12).filter_map(|seq| append(seq).err()).any(|e| is_unsure(&e));
    if world.disk.operations() <= at {
        return None;
    }
    let files = world.disk.paths().len();
    for seq in 12..24 {
        let appended = append(seq);
        assert!(!unsure || appended.as_ref().is_err_and(is_unsure), "{n}: {appended:?}");
    }
    if unsure {
        assert_eq!(world.disk.paths().len(), files, "{n}: files that nothing names");
    } else {
        let paths = world.disk.paths().into_iter();
        let segments = paths.filter(|path| path.extension().is_some_and(|e| e == "rvs")).count();
        assert_eq!(segments, store.segments().len(), "{n}");
    }
    Some(unsure)
}

fn is_unsure(error: &Error) -> bool {
    matches!(error, Error::ManifestUnsure)
}

/// A journal that one read could not get was not archived for as long as the process lived.
#[test]
fn one_read_that_goes_wrong_keeps_no_journal_from_the_archiver() {
    for fault in [ReadFault::Io, ReadFault::Rot, ReadFault::Short] {
        let mut reads = 0;
        while archive_while_reading_fails(reads + 1, fault) {
            reads += 1;
        }
        assert!(reads > 0, "{fault:?}");
    }
}

/// Archives while the read of this number fails; whether there was one.
fn archive_while_reading_fails(n: u64, fault: ReadFault) -> bool {
    let world = World::new(1);
    let store = world.open(&world.disk, 2).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    for seq in 0..3 {
        site.append(&session("s-1"), &chunk("s-1", seq, START_MS + seq, 20_000)).unwrap();
    }
    let at = world.disk.reads() + n;
    world.disk.fail_read(When::Once(at), fault);
    let archived = store.archive();
    let failed = world.disk.reads() >= at;
    let stats = store.stats().unwrap();
    let state = (archived.is_ok(), stats.stuck_journals, stats.live_chunks);
    assert_eq!(state, (true, 0, 0), "{fault:?} at read {n}: {archived:?}");
    failed
}

/// A list of another process told damage, and none of the sessions that were left, where the writer had only written a segment once more;
/// and verifying told damage, too.
#[test]
fn a_reader_follows_a_segment_that_was_written_once_more() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    for name in ["s-0", "s-1", "s-2", "s-3"] {
        site.append(&session(name), &chunk(name, 0, NOON, 30_000)).unwrap();
    }
    store.archive().unwrap();
    let [lists, verifies] = [(); 2].map(|()| Store::open_read_only(folder.options()).unwrap());
    let erased = ["s-0", "s-1", "s-2"].map(session_id);
    site.erase_sessions(erased, Held::Refuse).unwrap();
    assert_eq!(store.reclaim(0.0).unwrap().segments, 1);
    let page = lists.site(&site_id("shop.example")).unwrap().sessions(&Query::new()).unwrap();
    assert!(page.damage.is_empty(), "{:?}", page.damage);
    assert_eq!(page.sessions.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["s-3"]);
    let found = verifies.verify(Depth::Content, |_, _| ()).unwrap();
    assert!(found.is_sound(), "{:?}", found.damage);
    // What is missing is told.
    let of_segments = |p: &std::path::PathBuf| p.extension().is_some_and(|e| e == "rvs");
    folder.files().into_iter().filter(of_segments).for_each(|p| std::fs::remove_file(p).unwrap());
    let lists = Store::open_read_only(folder.options()).unwrap();
    let page = lists.site(&site_id("shop.example")).unwrap().sessions(&Query::new()).unwrap();
    assert_eq!((page.sessions.len(), page.damage.len()), (0, 1));
    assert!(!lists.verify(Depth::Content, |_, _| ()).unwrap().is_sound());
}

/// A read that failed on its way refused the append, where rot on its way was read once more.
#[test]
fn one_read_that_fails_refuses_no_append() {
    let world = World::new(90);
    let store = world.open(&world.disk, 91).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    let now = START_MS;
    site.append(&session("s-1"), &chunk("s-1", 0, now, 400)).unwrap();
    store.archive().unwrap();
    drop((site, store));
    let store = world.open(&world.disk, 92).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    world.disk.fail_read(When::Once(world.disk.reads()), ReadFault::Io);
    site.append(&session("s-1"), &chunk("s-1", 1, now + 1_000, 400)).unwrap();
    assert_eq!(site.session(&session_id("s-1")).unwrap().chunks, 2);
}

/// The end of a segment is read at once, and a bad sector of a block in it hid the indexes of all.
#[test]
fn a_bad_sector_of_a_block_hides_no_index() {
    let world = World::new(93);
    let store = world.open(&world.disk, 94).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    site.append(&session("s-1"), &chunk("s-1", 0, START_MS, 40_000)).unwrap();
    store.archive().unwrap();
    drop((site, store));
    let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "rvs");
    let segment = world.disk.paths().into_iter().find(is_segment).unwrap();
    world.disk.lose_sector(&segment, 200).unwrap();
    let store = world.open(&world.disk, 95).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    assert_eq!(site.sessions(&Query::new()).unwrap().sessions.len(), 1);
    let mut replay = site.replay(&session_id("s-1")).unwrap();
    assert!(matches!(replay.next_chunk(), Err(Error::Io { .. })));
}
