//! Rotating and archiving beside appends, with the real background threads: a reader meets each acknowledged chunk exactly
//! once, in a journal or in a segment, and never a gap.
//!
//! Planted by hand, this finds: segments that come into the catalog after the shard's lock is given back (before it is
//! taken, they are harmless: what is seen twice counts once); an archiver that does not tell that there is room again.

use std::collections::BTreeSet;

use reelvault::{Durability, Query, Site};
use shuttle::thread;

use crate::common::session_id;
use crate::explore::count;
use crate::scene::{LARGE, Scene, check, draw, explore, one_in, replayed, site};

/// Chunks of a session, at most.
const CHUNKS: u64 = 4;

/// What is listed and replayed is a beginning of each session, no shorter than what was acknowledged before.
fn look(scene: &Scene, site: &Site) {
    look_after(scene, site, || ());
}

/// As [`look`], where the reader does something first to see what is new.
pub(crate) fn look_after(scene: &Scene, site: &Site, refresh: impl FnOnce()) {
    let before = scene.acknowledged();
    refresh();
    let page = site.sessions(&Query::new().limit(100)).unwrap();
    assert!(page.damage.is_empty(), "{:?}", page.damage);
    let mut listed = BTreeSet::new();
    for info in &page.sessions {
        assert!(listed.insert(info.id.to_string()), "{} is listed twice", info.id);
        assert!(info.gaps.is_empty(), "{}: {:?}", info.id, info.gaps);
        assert!(u64::from(info.chunks) <= CHUNKS, "{}: {} chunks", info.id, info.chunks);
    }
    let names: BTreeSet<&str> = before.iter().map(|(name, _)| name.as_str()).collect();
    for name in names {
        let least = before.iter().filter(|(n, _)| n == name).count() as u64;
        let info = page.sessions.iter().find(|info| info.id == session_id(name));
        let chunks = info.map_or(0, |info| u64::from(info.chunks));
        assert!(chunks >= least, "{name}: {chunks} listed, {least} acknowledged");
        let seqs = replayed(site, name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(seqs.iter().copied().eq(0..seqs.len() as u64), "{name}: a gap in {seqs:?}");
        assert!(seqs.len() as u64 >= least, "{name}: {seqs:?} replayed, {least} acknowledged");
    }
}

#[test]
fn publishing() {
    explore("publishing", |scene| {
        // Of age 0, every tick ends a journal; with a backlog of 1 byte, appends wait for the archiver.
        let (age, backlog) = ([0, 3_600_000][draw(2) as usize], [1, 1 << 30][draw(2) as usize]);
        let store =
            scene.open(1, |o| o.background(true).journal_age_ms(age).backlog_bytes(backlog));
        let at = site(&store);
        scene.cut_power_within(60);
        let appenders: Vec<_> = [LARGE, "s-1"]
            .into_iter()
            .map(|name| {
                let (scene, at) = (scene.clone(), at.clone());
                thread::spawn(move || scene.record(&at, name, 0..CHUNKS))
            })
            .collect();
        let reader = {
            let (scene, at) = (scene.clone(), at.clone());
            thread::spawn(move || (0..3).for_each(|_| look(&scene, &at)))
        };
        if one_in(2) {
            store.archive().unwrap();
        }
        if one_in(2) {
            let deferred = scene.append(&at, "deferred", 0, Durability::Deferred);
            assert!(!deferred.unwrap().duplicate);
            store.maintain().unwrap();
            scene.acknowledge([("deferred".to_owned(), 0)]);
        }
        appenders.into_iter().for_each(|t| t.join().unwrap());
        reader.join().unwrap();
        look(scene, &at);
        if store.stats().unwrap().segments > 0 {
            count("with segments");
        }
        store.archive().unwrap();
        check(&store, &scene.acknowledged());
        drop((at, store));
        scene.check_images(1);
    });
}
