//! Group commit: what is acknowledged is durable at that moment, a group that failed is told to all who wait for it, and
//! nobody waits for ever.
//!
//! Planted by hand, this finds: an acknowledgement before the sync; members woken before the durable offset is
//! set; a group that fails and does not tell its members.

use reelvault::env::sim::{Fault, Survival, When};
use reelvault::{Durability, Error};
use shuttle::thread;

use crate::explore::count;
use crate::scene::{Chunks, Scene, check, draw, explore, is_fault, one_in, replayed, site};

const APPENDERS: u64 = 3;
const CHUNKS: u64 = 3;

/// In two of three schedules the disk fails, or is full, at one of the next operations; sometimes from then on.
fn plan_fault(scene: &Scene) -> bool {
    let at = scene.disk.operations() + draw(14);
    let when = if one_in(2) { When::Once(at) } else { When::From(at) };
    match draw(3) {
        0 => return false,
        1 => scene.disk.fail(when, Fault::Io),
        _ => scene.disk.fail(when, Fault::Full),
    }
    true
}

/// What one thread met.
#[derive(Default)]
struct Met {
    deferred: Chunks,
    poisoned: bool,
    failed: bool,
}

fn append(scene: &Scene, site: &reelvault::Site, name: &str) -> Met {
    let mut met = Met::default();
    for seq in 0..CHUNKS {
        let durability = if one_in(3) { Durability::Deferred } else { Durability::Synced };
        match scene.append(site, name, seq, durability) {
            Ok(_) if durability == Durability::Synced => {
                assert!(!met.poisoned, "a shard that is poisoned takes no more");
                scene.image(Survival::Nothing);
                // Who is told that it is there can read it.
                let seqs = replayed(site, name).unwrap();
                assert!(seqs.contains(&seq), "{name} {seq} was acknowledged and is not read");
            }
            Ok(_) => {
                met.deferred.insert((name.to_owned(), seq));
            }
            Err(e) => {
                assert!(is_fault(&e), "{e}");
                met.poisoned |= matches!(e, Error::Poisoned { .. });
                met.failed = true;
            }
        }
    }
    met
}

#[test]
fn group_commit() {
    explore("group_commit", |scene| {
        let store = scene.open(1, |options| options);
        let at = site(&store);
        // In half of them there is a journal already.
        if one_in(2) {
            scene.record(&at, "before", 0..1);
        }
        let planned = plan_fault(scene);
        scene.cut_power_within(30);
        let same = one_in(3);
        let threads: Vec<_> = (0..APPENDERS)
            .map(|n| {
                let (scene, at) = (scene.clone(), at.clone());
                // Two who send the same chunks: the second is told only when the first one's is durable.
                let name = if same { "s-0".to_owned() } else { format!("s-{n}") };
                thread::spawn(move || append(&scene, &at, &name))
            })
            .collect();
        let mets: Vec<Met> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        let synced = store.sync();
        if synced.is_ok() && mets.iter().all(|met| !met.failed) {
            scene.acknowledge(mets.iter().flat_map(|met| met.deferred.iter().cloned()));
        }
        if mets.iter().any(|met| met.poisoned) {
            count("poisoned");
            let again = scene.append(&at, "later", 0, Durability::Synced);
            assert!(matches!(again, Err(Error::Poisoned { .. })), "{again:?}");
        } else if mets.iter().any(|met| met.failed) {
            count("failed otherwise");
        } else if !planned {
            synced.unwrap();
        }
        scene.image(Survival::Nothing);
        scene.disk.heal();
        check(&store, &scene.acknowledged());
        drop((at, store));
        scene.check_images(2);
    });
}
