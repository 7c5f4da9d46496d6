//! A replay under way while its journal is archived and its file written over, while retention drops segments and while
//! reclaiming writes them again: it yields the right bytes, or says that they were erased or have expired.
//!
//! Planted by hand, this finds: a replay that does not look again where frames have moved to. That a journal is recycled
//! only when nobody reads it is a courtesy: without it nothing fails here, for a frame of another journal does not open, and
//! the replay looks again.

use reelvault::env::sim::START_MS;
use reelvault::{Durability, Error, Held, Result, Retention, Site, Store};
use shuttle::thread;

use crate::common::{DAY, session_id};
use crate::explore::count;
use crate::scene::{Scene, check, chunk, draw, explore, one_in, replayed, site};

const PINNED: &str = "pinned";
const CHUNKS: u64 = 5;

/// What happens to what is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Archiving alone.
    Nothing,
    /// Its day passes.
    Expires,
    /// It is erased.
    Erased,
    /// Others are erased, and its segment is written again without them.
    Moves,
}

/// Replays by zstd frames, as a server passes them on.
fn packed(site: &Site) -> Result<Vec<u64>> {
    let mut replay = site.replay_packed(&session_id(PINNED), None)?;
    let mut frames = Vec::new();
    while replay.next_frame(&mut frames)?.is_some() {}
    let raw = zstd::stream::decode_all(&*frames).unwrap();
    let all: Vec<u8> = (0..CHUNKS).flat_map(|seq| chunk(PINNED, seq).events.into_owned()).collect();
    assert!(raw == all, "packed, {} bytes of {}", raw.len(), all.len());
    Ok((0..CHUNKS).collect())
}

fn read(site: &Site, change: Change, by_frames: bool) {
    let read = if by_frames { packed(site) } else { replayed(site, PINNED) };
    match read {
        Ok(seqs) => assert!(seqs.into_iter().eq(0..CHUNKS), "chunks are missing"),
        Err(Error::Expired { .. } | Error::UnknownSession) if change == Change::Expires => {
            count("replays expired");
        }
        Err(Error::Erased) if change == Change::Erased => count("replays erased"),
        Err(e) => panic!("replaying: {e}"),
    }
}

fn change_it(scene: &Scene, store: &Store, change: Change) {
    match change {
        Change::Nothing => {}
        Change::Expires => {
            scene.clock.advance_ms(DAY);
            let how = Retention::new().now_ms(START_MS + 40 * DAY);
            store.retention(&how).unwrap();
        }
        Change::Erased | Change::Moves => {
            let name = if change == Change::Moves { "neighbour" } else { PINNED };
            site(store).erase_sessions([session_id(name)], Held::Erase).unwrap();
            let reclaimed = store.reclaim(0.0).unwrap();
            if reclaimed.segments > 0 {
                count("reclaimed");
            }
        }
    }
}

/// Archives, and appends to journals whose files were others before.
pub(crate) fn move_on(scene: &Scene, store: &Store, rounds: u64) {
    let at = site(store);
    for round in 0..rounds {
        store.archive().unwrap();
        match scene.append(&at, &format!("moved-{round}"), 0, Durability::Synced) {
            Ok(_) | Err(Error::Expired { .. }) => {}
            Err(e) => panic!("appending: {e}"),
        }
    }
}

#[test]
fn pinning() {
    explore("pinning", |scene| {
        let store = scene.open(1, |options| options);
        let at = site(&store);
        let archived = draw(CHUNKS);
        scene.record(&at, "neighbour", 0..1);
        scene.record(&at, PINNED, 0..archived);
        store.archive().unwrap();
        scene.record(&at, PINNED, archived..CHUNKS);
        let change = [Change::Nothing, Change::Expires, Change::Erased, Change::Moves];
        let change = change[draw(4) as usize];
        let mut threads = Vec::new();
        for by_frames in [false, true] {
            let at = at.clone();
            threads.push(thread::spawn(move || read(&at, change, by_frames)));
        }
        let (mover, keeper, rounds) = (scene.clone(), store.clone(), 1 + draw(3));
        threads.push(thread::spawn(move || move_on(&mover, &keeper, rounds)));
        if one_in(4) {
            store.maintain().unwrap();
        }
        change_it(scene, &store, change);
        threads.into_iter().for_each(|t| t.join().unwrap());
        if matches!(change, Change::Nothing) {
            check(&store, &scene.acknowledged());
        }
    });
}
