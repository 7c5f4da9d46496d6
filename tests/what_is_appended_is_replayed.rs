//! Append, list, replay: from journals, from segments, and after opening the store again.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::sync::Arc;

use common::{DAY, Folder, NOON, chunk, replayed, session, session_id, site_id, store_with_site};
use reelvault::env::{Counted, Env, RealDisk};
use reelvault::{Error, Order, Query, Store, VisitorId};

/// Appends `chunks` chunks to a session, one each second, and returns all their events.
fn record(site: &reelvault::Site, name: &str, start_ms: u64, chunks: u64, bytes: usize) -> Vec<u8> {
    let mut events = Vec::new();
    for seq in 0..chunks {
        let chunk = chunk(name, seq, start_ms + seq * 1000, bytes);
        events.extend_from_slice(&chunk.events);
        let appended = site.append(&session(name), &chunk).unwrap();
        assert!(!appended.duplicate && appended.stored_bytes > 0);
    }
    events
}

#[test]
fn a_session_is_replayed_from_the_journal_from_segments_and_after_reopening() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    let events = record(&site, "s-1", NOON, 40, 20_000);
    assert_eq!(replayed(&site, "s-1"), events);
    store.archive().unwrap();
    assert_eq!(store.stats().unwrap().live_chunks, 0);
    assert_eq!(replayed(&site, "s-1"), events);
    let more = chunk("s-1", 40, NOON + 40_000, 100);
    site.append(&session("s-1"), &more).unwrap();
    let whole = [&events[..], &more.events].concat();
    assert_eq!(replayed(&site, "s-1"), whole, "part in segments, part in a journal");
    drop((store, site));

    let store = Store::open(folder.options()).unwrap();
    let site = store.site(&site_id("shop.example")).unwrap();
    assert_eq!(replayed(&site, "s-1"), whole);
    let info = site.session(&session_id("s-1")).unwrap();
    assert_eq!((info.chunks, info.raw_bytes), (41, whole.len() as u64));
    assert_eq!((info.start_ms, info.first_ms), (NOON, NOON));
    assert_eq!(info.last_ms, more.last_ms);
    assert_eq!(info.visitor, Some(VisitorId::new("visitor-of-everything").unwrap()));
    assert!(info.gaps.is_empty() && info.snapshots.len() == 11);
    assert!(store.verify(reelvault::Depth::Content, |_, _| ()).unwrap().is_sound());
}

#[test]
fn chunks_may_come_late_twice_and_out_of_order() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    let at = |seq: u64| chunk("s-1", seq, NOON + seq * 1000, 500);
    for seq in [3, 1, 7] {
        assert!(!site.append(&session("s-1"), &at(seq)).unwrap().duplicate);
    }
    assert!(site.append(&session("s-1"), &at(1)).unwrap().duplicate);
    store.archive().unwrap();
    assert!(site.append(&session("s-1"), &at(7)).unwrap().duplicate, "archived already");
    assert!(!site.append(&session("s-1"), &at(0)).unwrap().duplicate, "late, after archiving");
    let whole: Vec<u8> = [0, 1, 3, 7].iter().flat_map(|s| at(*s).events.to_vec()).collect();
    assert_eq!(replayed(&site, "s-1"), whole);
    let info = site.session(&session_id("s-1")).unwrap();
    assert_eq!(info.gaps, [2..3, 4..7]);
    assert_eq!((info.start_ms, info.first_ms), (NOON + 3000, NOON));
    assert_eq!(store.stats().unwrap().duplicates, 2);
    drop((store, site));

    // After reopening, the journal's part of the session must still know what the segments hold.
    let store = Store::open(folder.options()).unwrap();
    let site = store.site(&site_id("shop.example")).unwrap();
    for seq in [0, 1, 3, 7] {
        assert!(site.append(&session("s-1"), &at(seq)).unwrap().duplicate);
    }
    assert_eq!(replayed(&site, "s-1"), whole);
}

#[test]
fn a_replay_can_start_at_the_last_snapshot_before_a_time() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    record(&site, "s-1", NOON, 30, 40_000);
    for archived in [false, true] {
        if archived {
            store.archive().unwrap();
        }
        for (at, first) in [(0, 0), (3_999, 0), (4_000, 4), (11_500, 8), (99_000, 28)] {
            let mut replay = site.replay_from(&session_id("s-1"), NOON + at).unwrap();
            let chunk = replay.next_chunk().unwrap().unwrap();
            assert_eq!(chunk.seq, first, "archived {archived}, from {at}");
            assert!(chunk.events.starts_with(b"{\"type\":4"));
        }
        let mut replay =
            site.replay_from(&session_id("s-1"), NOON + 8_000).unwrap().until(NOON + 10_500);
        let mut seqs = Vec::new();
        while let Some(chunk) = replay.next_chunk().unwrap() {
            seqs.push(chunk.seq);
        }
        assert_eq!(seqs, [8, 9, 10]);
    }
}

#[test]
fn sessions_are_listed_by_time_in_pages() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    // Ten a day for three days, the middle one archived, a minute apart, 10 s long.
    for day in 0..3u64 {
        for n in 0..10u64 {
            let name = format!("s-{day}-{n}");
            record(&site, &name, NOON - 2 * DAY + day * DAY + n * 60_000, 11, 200);
        }
        if day == 1 {
            store.archive().unwrap();
        }
    }
    let names = |query: &Query| -> Vec<String> {
        let mut names = Vec::new();
        let mut query = query.clone();
        loop {
            let page = site.sessions(&query).unwrap();
            assert!(page.damage.is_empty());
            names.extend(page.sessions.iter().map(|s| s.id.to_string()));
            match page.next {
                Some(next) => query = query.after(next.to_string().parse().unwrap()),
                None => return names,
            }
        }
    };
    let mut all: Vec<String> =
        (0..3).flat_map(|d| (0..10).map(move |n| format!("s-{d}-{n}"))).collect();
    for limit in [1, 3, 10, 1000] {
        let oldest = Query::new().order(Order::OldestFirst).limit(limit);
        assert_eq!(names(&oldest), all);
        let mut newest = names(&Query::new().limit(limit));
        newest.reverse();
        assert_eq!(newest, all);
    }
    let visitor = VisitorId::new("visitor-of-everything").unwrap();
    assert_eq!(names(&Query::new().visitor(visitor).limit(7)).len(), 30);
    assert!(names(&Query::new().visitor(VisitorId::new("nobody").unwrap())).is_empty());
    // A window that touches the end of one session and the beginning of the next.
    let start = NOON - DAY;
    let overlap = Query::new().between(start + 10_000, start + 60_001);
    assert_eq!(names(&overlap), ["s-1-1", "s-1-0"]);
    assert!(names(&Query::new().between(start + 20_000, start + 60_000)).is_empty());
    assert!(names(&Query::new().between(start, start)).is_empty());
    assert!(site.sessions(&Query::new().between(5, 4)).is_err());
    // A cursor stays valid while sessions are added, and is bound to its site and order.
    let page = site.sessions(&Query::new().limit(5)).unwrap();
    record(&site, "s-late", NOON + 3_600_000, 1, 10);
    let rest = site.sessions(&Query::new().limit(1000).after(page.next.clone().unwrap())).unwrap();
    all.reverse();
    let rest: Vec<String> = rest.sessions.iter().map(|s| s.id.to_string()).collect();
    assert_eq!(rest, all[5..]);
    let wrong = Query::new().order(Order::OldestFirst).after(page.next.clone().unwrap());
    assert!(matches!(site.sessions(&wrong), Err(Error::Input(_))));
    let other = store.add_site(site_id("other.example"), 30).unwrap();
    assert!(matches!(
        other.sessions(&Query::new().after(page.next.unwrap())),
        Err(Error::Input(_))
    ));
}

#[test]
fn another_process_may_read_while_the_store_is_written() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    let first = record(&site, "s-1", NOON, 10, 30_000);
    let reader = Store::open_read_only(folder.options()).unwrap();
    let seen = reader.site(&site_id("shop.example")).unwrap();
    assert_eq!(replayed(&seen, "s-1"), first);
    assert!(matches!(
        seen.append(&session("s-2"), &chunk("s-2", 0, NOON, 10)),
        Err(Error::ReadOnly)
    ));
    assert!(matches!(Store::open(folder.options()), Err(Error::Locked { pid: Some(_) })));
    record(&site, "s-0", NOON, 1, 10);
    assert!(matches!(seen.session(&session_id("s-0")), Err(Error::UnknownSession)));

    // The writer archives, recycles its journals and goes on; the reader's replay survives that.
    let mut replay = seen.replay(&session_id("s-1")).unwrap();
    let mut out = replay.next_chunk().unwrap().unwrap().events.to_vec();
    store.archive().unwrap();
    for n in 2..9 {
        record(&site, &format!("s-{n}"), NOON, 10, 30_000);
        store.maintain().unwrap();
    }
    replay.write_to(&mut out).unwrap();
    assert_eq!(out, first);
    reader.refresh().unwrap();
    assert_eq!(seen.session(&session_id("s-8")).unwrap().chunks, 10);
}

/// Who jumps may jump again soon: the rest of a long session is not read for it. Who plays it whole reads it at once.
#[test]
fn a_jump_reads_little_and_a_whole_replay_reads_once() {
    let folder = Folder::new();
    let disk = Arc::new(Counted::new(Arc::new(RealDisk)));
    let env = Env { disk: Arc::clone(&disk) as _, ..common::env_at(NOON) };
    // One journal, so one segment.
    let options = folder.options_in(env).journal_bytes(8 << 20);
    let store = Store::create(options).unwrap();
    let site = store.add_site(site_id("shop.example"), 30).unwrap();
    for seq in 0..40 {
        site.append(&session("s-1"), &chunk("s-1", seq, NOON + seq * 1000, 1_000_000)).unwrap();
    }
    store.archive().unwrap();
    let id = session_id("s-1");
    let stored = site.session(&id).unwrap().stored_bytes;

    let before = disk.counts();
    let mut whole = Vec::new();
    site.replay(&id).unwrap().write_to(&mut whole).unwrap();
    let read = disk.counts() - before;
    assert_eq!((read.reads, read.read_bytes), (1, stored));

    let before = disk.counts();
    let mut jump = site.replay_from(&id, NOON + 8_000).unwrap();
    let first = jump.next_chunk().unwrap().unwrap();
    assert_eq!(first.seq, 8);
    let read = disk.counts() - before;
    assert!(read.reads == 1 && read.read_bytes < stored / 3, "{read:?} of {stored} bytes");
    let mut rest = Vec::new();
    site.replay_from(&id, NOON + 8_000).unwrap().write_to(&mut rest).unwrap();
    assert!(whole.ends_with(&rest) && rest.len() > whole.len() / 2);
}

/// What the segments of a long session hold is read one after the other, and not the first block of each before anything is played.
#[test]
fn a_replay_reads_of_each_segment_when_its_turn_comes() {
    let folder = Folder::new();
    let disk = Arc::new(Counted::new(Arc::new(RealDisk)));
    let env = Env { disk: Arc::clone(&disk) as _, ..common::env_at(NOON) };
    let store = Store::create(folder.options_in(env).journal_bytes(8 << 20)).unwrap();
    let site = store.add_site(site_id("shop.example"), 30).unwrap();
    for seq in 0..10 {
        site.append(&session("s-1"), &chunk("s-1", seq, NOON + seq * 1000, 300_000)).unwrap();
        store.archive().unwrap();
    }
    let id = session_id("s-1");
    let info = site.session(&id).unwrap();
    let whole = replayed(&site, "s-1");

    let before = disk.counts();
    let mut replay = site.replay(&id).unwrap();
    for seq in 0..10 {
        assert_eq!((disk.counts() - before).reads, seq);
        assert_eq!(replay.next_chunk().unwrap().unwrap().seq, seq);
    }
    assert!(replay.next_chunk().unwrap().is_none());

    // Of those before a jump nothing is read, and those behind it are passed on as they are.
    let before = disk.counts();
    let mut rest = Vec::new();
    site.replay_from(&id, NOON + 8_000).unwrap().write_to(&mut rest).unwrap();
    let read = disk.counts() - before;
    assert!(whole.ends_with(&rest));
    assert!(read.reads == 2 && read.read_bytes < info.stored_bytes / 4, "{read:?}");
    let mut packed = site.replay_packed(&id, Some(NOON + 4_000)).unwrap();
    while packed.next_frame(&mut Vec::new()).unwrap().is_some() {}
    assert!(packed.passed() >= 5, "{} of 6", packed.passed());
}
