//! Any text as a cursor: refused, or one that the engine gave out.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use reelvault::{Cursor, Order, Query, Recovery, Store};
use reelvault_fuzz::image::image;
use reelvault_fuzz::site_id;

fuzz_target!(|input: &[u8]| {
    static STORE: OnceLock<(Store, Vec<Cursor>)> = OnceLock::new();
    let (store, given) = STORE.get_or_init(|| {
        let store = image().world.copy().open(Recovery::Strict, 600).expect("open");
        let site = store.site(&site_id(0)).expect("a site");
        let page = site.sessions(&Query::new().limit(1)).expect("a page");
        (store, page.next.into_iter().collect())
    });
    let site = store.site(&site_id(0)).expect("a site");
    let text = String::from_utf8_lossy(input);
    let mut cursors: Vec<Cursor> = text.parse().into_iter().collect();
    // A given one with some of its digits changed.
    for cursor in given {
        let mut digits: Vec<u8> = cursor.to_string().into_bytes();
        for edit in input.chunks_exact(2) {
            let at = usize::from(edit[0]) % digits.len();
            digits[at] = b"0123456789abcdef"[usize::from(edit[1] % 16)];
        }
        cursors.extend(String::from_utf8(digits).expect("digits").parse::<Cursor>());
    }
    for cursor in cursors {
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let page = site.sessions(&Query::new().order(order).after(cursor.clone()));
            assert!(page.is_err() || given.contains(&cursor), "a cursor that was never given out");
        }
    }
});
