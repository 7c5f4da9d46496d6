//! A scrub looks at one segment at a time and finds what a whole verification finds.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(clippy::disallowed_methods, reason = "tests look at the files themselves")]

mod common;

use common::{DAY, Folder, NOON, chunk, env_at, session, store_with_site};
use reelvault::{Depth, Store, Verification};

fn scrub(store: &Store) -> Verification {
    let mut found = store.verify_journals_only(Depth::Content).unwrap();
    for segment in store.segments() {
        found.add(store.verify_segment_only(segment.id, Depth::Content).unwrap());
    }
    found
}

#[test]
fn the_sum_of_single_looks_is_a_whole_verification() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    for n in 0..3 {
        let name = format!("s-{n}");
        site.append(&session(&name), &chunk(&name, 0, NOON - n * DAY, 9_000)).unwrap();
        store.archive().unwrap();
    }
    site.append(&session("s-0"), &chunk("s-0", 1, NOON + 1000, 500)).unwrap();
    let whole = store.verify(Depth::Content, |_, _| ()).unwrap();
    assert_eq!(format!("{:?}", scrub(&store)), format!("{whole:?}"));
    assert_eq!((whole.segments, whole.sessions), (3, 4));
    let bytes: u64 = store.segments().iter().map(|s| s.bytes).sum();
    assert_eq!(bytes, whole.digested_bytes);
    assert_eq!(store.overdue_days(), 0);

    let victim = store.segments()[1];
    let file = folder.store().join(format!("segment/{}.rvs", victim.id));
    let mut content = std::fs::read(&file).unwrap();
    content[100] ^= 1;
    std::fs::write(&file, content).unwrap();
    for segment in store.segments() {
        let found = store.verify_segment_only(segment.id, Depth::Content).unwrap();
        assert_eq!(found.is_sound(), segment.id != victim.id);
    }
    drop((store, site));

    // A reader whose writer has been away for long says how late retention is.
    let late = folder.options_in(env_at(NOON + 40 * DAY));
    let store = Store::open_read_only(late).unwrap();
    assert_eq!(store.overdue_days(), 40 + 2 - 31);
}
