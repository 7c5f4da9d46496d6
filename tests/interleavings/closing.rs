//! Closing and dropping a store while others append: nobody waits for ever, who comes too late is told so, and what was
//! acknowledged is there when the store is opened again, deferred chunks too.

use reelvault::env::sim::Survival;
use reelvault::{Durability, Error, Site, Store};
use shuttle::thread;

use crate::explore::count;
use crate::scene::{Chunks, LARGE, Scene, check, draw, explore, one_in, site};

/// Appends until the store is closed, or all of these; returns what was taken without being waited for.
fn append(scene: &Scene, site: &Site, name: &str, chunks: u64) -> Chunks {
    let mut deferred = Chunks::new();
    for seq in 0..chunks {
        let durability = if one_in(3) { Durability::Deferred } else { Durability::Synced };
        match scene.append(site, name, seq, durability) {
            Ok(_) if durability == Durability::Deferred => {
                deferred.insert((name.to_owned(), seq));
            }
            Ok(_) => {}
            Err(Error::Closed) => {
                count("told that it is closed");
                break;
            }
            Err(e) => panic!("{name} {seq}: {e}"),
        }
    }
    deferred
}

#[test]
fn closing() {
    explore("closing", |scene| {
        let backlog = [1, 1 << 30][draw(2) as usize];
        let store = scene.open(1, |o| o.background(true).journal_age_ms(0).backlog_bytes(backlog));
        scene.cut_power_within(60);
        let appenders: Vec<_> = ["s-1", "s-2", LARGE]
            .into_iter()
            .map(|name| {
                let (scene, at) = (scene.clone(), site(&store));
                thread::spawn(move || append(&scene, &at, name, 5))
            })
            .collect();
        if one_in(2) {
            (0..draw(40)).for_each(|_| thread::yield_now());
            store.close().unwrap();
        } else {
            // The last of those who append drops it.
            drop(store);
        }
        let deferred: Vec<Chunks> = appenders.into_iter().map(|t| t.join().unwrap()).collect();
        // Only now it is closed for certain.
        scene.acknowledge(deferred.into_iter().flatten());
        scene.image(Survival::Nothing);
        let again = Store::open(scene.options_on(&scene.disk, 2)).unwrap();
        check(&again, &scene.acknowledged());
        drop(again);
        scene.check_images(2);
    });
}
