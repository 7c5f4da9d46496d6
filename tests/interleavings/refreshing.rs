//! A store that is only read, by another process as it were, refreshing beside its writer: it misses nothing that was
//! acknowledged before it refreshed, and what it reads is right, though journals are archived and recycled under it.

use reelvault::Store;
use shuttle::thread;

use crate::explore::count;
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
        (0..draw(4)).for_each(|_| store.archive().unwrap());
        threads.into_iter().for_each(|t| t.join().unwrap());
        reader.refresh().unwrap();
        check(&reader, &scene.acknowledged());
    });
}
