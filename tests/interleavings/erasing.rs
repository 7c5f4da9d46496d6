//! Erasing and holding beside appends: once an erasure is acknowledged, no append of that session succeeds and nothing
//! of it is read, here and after a power cut; and other sessions do not notice.
//!
//! Each statement stands in the log of deletions once, also one that a failing disk had kept out of it.
//!
//! This found that verifying told damage where a segment was written again, without what was erased, between two reads of it:
//! only the first read was forgiven that its file was gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use reelvault::env::sim::{Fault, SimDisk, Survival, When};
use reelvault::{Depth, Durability, Error, Held, Site, Store};
use shuttle::thread;

use crate::common::session_id;
use crate::explore::count;
use crate::scene::{Scene, check, chunk, draw, explore, one_in, replayed, site};

const VICTIM: &str = "victim";

/// What is known of the victim. Of the real kind: to look at it is no step.
#[derive(Default)]
struct Fate {
    erased: AtomicBool,
    held: AtomicBool,
}

fn append(site: &Site, fate: &Fate, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        let late = fate.erased.load(SeqCst);
        let durability = if one_in(3) { Durability::Deferred } else { Durability::Synced };
        let session = crate::common::session(VICTIM);
        match site.append_with(&session, &chunk(VICTIM, seq), durability) {
            Ok(_) => assert!(!late, "a chunk was taken after its session was erased"),
            Err(Error::Erased) => count("appends refused"),
            Err(e) => panic!("appending {seq}: {e}"),
        }
    }
}

/// Erases the victim, and keeps what a power cut right after would leave.
fn erase(scene: &Scene, site: &Site, fate: &Fate) -> Option<SimDisk> {
    let refuse = one_in(3);
    let held = fate.held.load(SeqCst);
    let how = if refuse { Held::Refuse } else { Held::Erase };
    match site.erase_sessions([session_id(VICTIM)], how) {
        Ok(erasure) if erasure.sessions == 1 => {
            assert!(!(refuse && held), "a session was erased out of its hold");
            let image = scene.disk.crash_image(Survival::Nothing);
            fate.erased.store(true, SeqCst);
            count("erased");
            Some(image)
        }
        // It has not begun.
        Ok(_) => None,
        Err(Error::Held { .. }) if refuse => None,
        Err(e) => panic!("erasing: {e}"),
    }
}

fn hold(site: &Site, fate: &Fate) {
    match site.hold(&session_id(VICTIM), "a reason") {
        Ok(_) => {
            count("held");
            fate.held.store(true, SeqCst);
        }
        Err(Error::UnknownSession | Error::Erased) => {}
        Err(e) => panic!("holding: {e}"),
    }
}

fn read(site: &Site, fate: &Fate) {
    for _ in 0..3 {
        let late = fate.erased.load(SeqCst);
        match replayed(site, VICTIM) {
            Ok(seqs) => assert!(!late, "{seqs:?} were read after their session was erased"),
            Err(Error::UnknownSession) => assert!(!late, "an erased session is told as such"),
            Err(Error::Erased) => {}
            Err(e) => panic!("reading: {e}"),
        }
    }
}

/// Erases another session on a disk that fails once: now and then its statement is in the keyring and not in the log.
fn leave_unlogged(scene: &Scene) {
    let early = session_id("early");
    let store = scene.open(2, |o| o);
    let at = site(&store);
    at.append(&crate::common::session("early"), &chunk("early", 0)).unwrap();
    scene.disk.fail(When::Once(scene.disk.operations() + draw(40)), Fault::Io);
    if at.erase_sessions([early], Held::Erase).is_err() {
        count("erasures that a fault kept back");
    }
    scene.disk.heal();
}

fn is_unreadable(store: &Store) {
    let read = replayed(&site(store), VICTIM);
    assert!(matches!(read, Err(Error::Erased)), "{read:?}");
}

/// What one thread does.
type Work = Box<dyn FnOnce(&Scene, &Site, &Fate) + Send>;

#[test]
fn erasing() {
    explore("erasing", |scene| {
        let early = one_in(2);
        if early {
            leave_unlogged(scene);
        }
        let store = scene.open(1, |o| o.background(one_in(3)).journal_age_ms(0));
        let (at, fate) = (site(&store), Arc::new(Fate::default()));
        // Sometimes it is there, in a journal or a segment; sometimes it begins beside its erasure.
        if one_in(2) {
            append(&at, &fate, 0..1);
        }
        if one_in(2) {
            store.archive().unwrap();
        }
        scene.cut_power_within(80);
        let mut threads = Vec::new();
        let mut spawn = |work: Work| {
            let (scene, at, fate) = (scene.clone(), at.clone(), Arc::clone(&fate));
            threads.push(thread::spawn(move || work(&scene, &at, &fate)));
        };
        spawn(Box::new(|_, at, fate| append(at, fate, 1..4)));
        spawn(Box::new(|_, at, fate| append(at, fate, 3..5)));
        spawn(Box::new(|scene, at, _| scene.record(at, "other", 0..3)));
        spawn(Box::new(|_, at, fate| read(at, fate)));
        if one_in(2) {
            spawn(Box::new(|_, at, fate| hold(at, fate)));
        }
        let keeper = store.clone();
        let rounds = draw(3);
        spawn(Box::new(move |_, _, _| {
            for _ in 0..rounds {
                keeper.maintain().unwrap();
                keeper.archive().unwrap();
                keeper.reclaim(0.0).unwrap();
            }
        }));
        let image = erase(scene, &at, &fate);
        threads.into_iter().for_each(|t| t.join().unwrap());
        if let Some(image) = image {
            is_unreadable(&store);
            // An append that was under way ended before the erasure, and went with it, or was refused.
            // A journal that is read again still has what was erased before.
            assert!(
                store.stats().unwrap().live_sessions <= 1 + u64::from(early),
                "the victim is still in the journals"
            );
            append(&at, &fate, 7..8);
            let after = Store::open(scene.options_on(&image, 3)).unwrap();
            is_unreadable(&after);
        }
        check(&store, &scene.acknowledged());
        store.archive().unwrap();
        let found = store.verify(Depth::Content, |_, _| ()).unwrap();
        assert!(found.is_sound(), "{:?}", found.damage);
        let logged = store.deletions().unwrap();
        assert!(logged.damage.is_empty(), "{:?}", logged.damage);
        drop((at, store));
        scene.check_images(1);
    });
}
