//! Any bytes as the events of a chunk, with any times and snapshots: refused, or replayed byte for byte.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use reelvault::{Chunk, Recovery, Snapshot};
use reelvault_fuzz::image::image;
use reelvault_fuzz::{NOON, session, session_id, site_id};

fuzz_target!(|input: &[u8]| {
    let Some((head, events)) = input.split_first_chunk::<12>() else { return };
    let number = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let mut chunks: Vec<Chunk<'_>> = Chunk::from_events(number(0), events).into_iter().collect();
    let first_ms = NOON.wrapping_add(number(2) << (head[4] % 48));
    chunks.push(Chunk {
        seq: number(0) << (head[5] % 48),
        first_ms,
        last_ms: first_ms.wrapping_add(number(6)).wrapping_sub(number(8) << 8),
        events: Cow::Borrowed(events),
        snapshots: (0..head[10] % 4)
            .map(|n| Snapshot { offset: u32::from(n) * u32::from(head[11]), ms: first_ms })
            .collect(),
    });
    let image = image();
    for chunk in chunks {
        let store = image.world.copy().open(Recovery::Strict, 500).expect("open");
        let site = store.site(&site_id(0)).expect("a site");
        if site.append(&session("s-new"), &chunk).is_err() {
            assert!(site.session(&session_id("s-new")).is_err(), "nothing was written");
            continue;
        }
        for archived in [false, true] {
            if archived {
                store.archive().expect("archived");
            }
            let info = site.session(&session_id("s-new")).expect("there");
            assert_eq!((info.chunks, info.raw_bytes), (1, chunk.events.len() as u64));
            assert_eq!((info.first_ms, info.last_ms), (chunk.first_ms, chunk.last_ms));
            let mut replay = site.replay(&session_id("s-new")).expect("there");
            let replayed = replay.next_chunk().expect("readable").expect("there");
            assert_eq!((replayed.seq, replayed.events), (chunk.seq, &*chunk.events));
            assert_eq!(replayed.snapshots, chunk.snapshots);
        }
    }
});
