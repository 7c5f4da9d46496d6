//! A packed replay decompresses to what a replay yields, and passes on unopened what it can.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(clippy::disallowed_methods, reason = "tests look at the files themselves")]

mod common;

use std::io::Read;

use common::{Folder, NOON, chunk, replayed, session, session_id, store_with_site};
use reelvault::{Error, Held, Site, Store};

fn unpacked(site: &Site, from: Option<u64>, until: u64) -> (Vec<u8>, u64, u64) {
    let mut replay = site.replay_packed(&session_id("s-1"), from).unwrap().until(until);
    let (mut body, mut frames, mut raw) = (Vec::new(), 0, 0);
    while let Some(played) = replay.next_frame(&mut body).unwrap() {
        frames += 1;
        raw += played.raw_bytes;
    }
    let mut text = Vec::new();
    if frames > 0 {
        zstd::stream::read::Decoder::new(&body[..]).unwrap().read_to_end(&mut text).unwrap();
    }
    assert_eq!(text.len() as u64, raw);
    (text, frames, replay.passed())
}

fn plain(site: &Site, from: Option<u64>, until: u64) -> Vec<u8> {
    let id = session_id("s-1");
    let replay = match from {
        Some(ms) => site.replay_from(&id, ms),
        None => site.replay(&id),
    };
    let mut out = Vec::new();
    replay.unwrap().until(until).write_to(&mut out).unwrap();
    out
}

/// 30 chunks of 400 KB, a snapshot each fourth: several blocks.
fn record(site: &Site, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        site.append(&session("s-1"), &chunk("s-1", seq, NOON + seq * 1000, 400_000)).unwrap();
    }
}

fn with(seqs: impl IntoIterator<Item = u64>) -> (Folder, Store, Site) {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    record(&site, seqs);
    (folder, store, site)
}

#[test]
fn a_whole_replay_passes_on_every_frame_and_every_block() {
    let (_folder, store, site) = with(0..30);
    let (text, frames, passed) = unpacked(&site, None, u64::MAX);
    assert_eq!((text, frames, passed), (replayed(&site, "s-1"), 30, 30));
    store.archive().unwrap();
    let (text, frames, passed) = unpacked(&site, None, u64::MAX);
    assert_eq!(text, replayed(&site, "s-1"));
    assert!((2..10).contains(&frames) && passed == frames, "{frames} {passed}");
    // Half in a segment, half in a journal.
    record(&site, 30..40);
    let (text, more, passed) = unpacked(&site, None, u64::MAX);
    assert_eq!(text, replayed(&site, "s-1"));
    assert_eq!((more, passed), (frames + 10, frames + 10));
}

#[test]
fn a_window_of_time_begins_at_a_snapshot_and_ends_with_its_chunk() {
    let (_folder, store, site) = with(0..30);
    for archived in [false, true] {
        if archived {
            store.archive().unwrap();
        }
        for from in [None, Some(0), Some(NOON), Some(NOON + 5_500), Some(NOON + 17_000)] {
            for until in [0, NOON, NOON + 9_999, NOON + 20_000, u64::MAX] {
                let (text, ..) = unpacked(&site, from, until);
                assert!(text == plain(&site, from, until), "{from:?} {until}");
            }
        }
    }
    let (_, frames, passed) = unpacked(&site, Some(NOON + 5_500), u64::MAX);
    assert!(passed > 0 && passed < frames, "the first block was entered in its middle");
}

#[test]
fn chunks_between_each_other_come_in_the_order_of_their_numbers() {
    let (_folder, store, site) = with((0..30).filter(|n| n % 3 != 1));
    store.archive().unwrap();
    record(&site, (0..30).filter(|n| n % 3 == 1));
    let (text, ..) = unpacked(&site, None, u64::MAX);
    assert!(text == replayed(&site, "s-1"));
    store.archive().unwrap();
    let (text, ..) = unpacked(&site, None, u64::MAX);
    assert!(text == replayed(&site, "s-1"), "two segments");
}

#[test]
fn what_begins_too_late_is_not_read() {
    let (folder, store, site) = with(0..30);
    store.archive().unwrap();
    drop((store, site));
    // Damage in the last block is met by nobody who does not come there.
    let segment = folder.files().into_iter().find(|p| p.extension().is_some_and(|e| e == "rvs"));
    let segment = segment.unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let last = bytes.windows(4).rposition(|w| w == b"RVbk").unwrap();
    bytes[last + 2_000] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let store = Store::open_read_only(folder.options()).unwrap();
    let site = store.site(&common::site_id("shop.example")).unwrap();
    let mut replay = site.replay_packed(&session_id("s-1"), None).unwrap().until(NOON + 3_000);
    let mut body = Vec::new();
    while replay.next_frame(&mut body).unwrap().is_some() {}
    let mut replay = site.replay_packed(&session_id("s-1"), None).unwrap().read_bytes_max(1);
    let mut frames = 0;
    let damage = loop {
        let before = body.len();
        match replay.next_frame(&mut body) {
            Ok(Some(_)) => frames += 1,
            Ok(None) => panic!("the damage was not met"),
            Err(e) => {
                assert_eq!(body.len(), before);
                break e;
            }
        }
    };
    assert!(frames > 0 && matches!(damage, Error::Corrupt(_)), "{frames} {damage}");
}

#[test]
fn a_packed_replay_stops_when_its_session_is_erased() {
    let (_folder, store, site) = with(0..30);
    store.archive().unwrap();
    let mut replay = site.replay_packed(&session_id("s-1"), None).unwrap();
    let mut body = Vec::new();
    assert!(replay.next_frame(&mut body).unwrap().is_some());
    site.erase_sessions([session_id("s-1")], Held::Refuse).unwrap();
    assert!(matches!(replay.next_frame(&mut body), Err(Error::Erased)));
    assert!(matches!(site.replay_packed(&session_id("s-1"), None), Err(Error::Erased)));
}
