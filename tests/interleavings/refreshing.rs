//! A store that is only read, by another process as it were, refreshing beside its writer: it misses nothing that was
//! acknowledged before it refreshed, and what it reads is right, though journals are archived and recycled under it.
//!
//! This found two things, each in one of about a thousand schedules:
//! * A journal was recycled between the reader's looks at its header and at its frames. Where an old frame stood behind the
//!   new ones, refreshing told damage; where none did, its chunks were in no view of the reader. It now looks at the header
//!   once more (`Journal::check_kept`).
//! * Frames moved twice between two looks of a replay, which then told damage. It now goes on unless the same file fails
//!   again.

use reelvault::Store;
use shuttle::thread;

use crate::explore::count;
use crate::pinning::move_on;
use crate::publishing::look_after;
use crate::scene::{LARGE, check, draw, explore, one_in, site};

#[test]
fn refreshing() {
    explore("refreshing", |scene| {
        let store = scene.open(1, |o| o.background(one_in(3)).journal_age_ms(0));
        let at = site(&store);
        scene.record(&at, "s-1", 0..1);
        let reader = Store::open_read_only(scene.options_on(&scene.disk, 2)).unwrap();
        let mut threads = Vec::new();
        for (name, chunks) in [("s-1", 1..4), (LARGE, 0..3)] {
            let (scene, at) = (scene.clone(), at.clone());
            threads.push(thread::spawn(move || scene.record(&at, name, chunks)));
        }
        // Two threads share what is read, and refresh it at any time.
        for _ in 0..2 {
            let (scene, reader) = (scene.clone(), reader.clone());
            threads.push(thread::spawn(move || {
                for _ in 0..2 {
                    look_after(&scene, &site(&reader), || reader.refresh().unwrap());
                    count("looks");
                }
            }));
        }
        move_on(scene, &store, draw(5));
        threads.into_iter().for_each(|t| t.join().unwrap());
        reader.refresh().unwrap();
        check(&reader, &scene.acknowledged());
    });
}
