//! Small finished stores that the targets spoil, and what must hold whatever was done to them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use reelvault::backup::SimPlace;
use reelvault::{Chunk, Depth, Held, Query, Recovery, Retention, Site, Store, VisitorId};

use crate::world::World;
use crate::{NOON, SITES, events, session, session_id, site_id};

/// A finished store: segments of two sites, journals, a hold, and a log of deletions.
pub struct Image {
    pub world: World,
    /// What was sent and is kept, by site and session.
    pub sent: BTreeMap<(usize, String), BTreeMap<u64, Vec<u8>>>,
}

/// Sessions that were erased: of the first site, and of both if the keyring is to be large.
const GONE: &str = "gone";

/// The store that most targets spoil.
pub fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| Image::new(World::new(1), 1))
}

/// The same with a keyring in parts, which has a mirror in a bucket.
pub fn image_in_parts() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let bucket = Some(SimPlace::new(NOON, 1));
        Image::new(World { bucket, part_bytes: 2_048, ..World::new(1) }, 4)
    })
}

/// The same with a keyring that a passphrase wraps.
pub fn image_with_passphrase() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| Image::new(World { passphrase: true, ..World::new(1) }, 1))
}

impl Image {
    /// So many sessions of each site are erased.
    fn new(world: World, erased: usize) -> Self {
        let world = world.with_store(1);
        let mut image = Self { world, sent: BTreeMap::new() };
        let store = image.world.open(Recovery::Strict, 2).expect("open");
        for round in 0..3u64 {
            for at in 0..SITES.len() {
                let site = store.site(&site_id(at)).expect("a site");
                for n in 0..2 {
                    let name = format!("s-{at}-{n}-{}", if n == 0 { 0 } else { round });
                    let seq = if n == 0 { round } else { 0 };
                    let sent = append(&site, &name, seq);
                    image.sent.entry((at, name)).or_default().insert(seq, sent);
                }
                if round == 0 {
                    (0..erased).for_each(|n| drop(append(&site, &format!("{GONE}-{n}"), 0)));
                }
            }
            if round < 2 {
                store.archive().expect("archived");
            }
        }
        for at in 0..SITES.len() {
            let site = store.site(&site_id(at)).expect("a site");
            let gone = (0..erased).map(|n| session_id(&format!("{GONE}-{n}")));
            site.erase_sessions(gone, Held::Refuse).expect("erased");
        }
        let site = store.site(&site_id(0)).expect("a site");
        site.hold(&session_id("s-0-0-0"), "a dispute").expect("held");
        store.retention(&Retention::new()).expect("kept");
        store.close().expect("closed");
        image
    }

    /// Opens a spoiled copy in every way and does everything with it; what is read must be what was sent.
    ///
    /// # Panics
    /// If it is not, or something that was erased is there.
    pub fn look(&self, world: &World, seed: u64) {
        let salvaging = world.options(seed).map(|o| o.recovery(Recovery::Salvage));
        if let Ok(store) = salvaging.and_then(Store::open_read_only) {
            self.read(&store);
        }
        for (n, recovery) in [Recovery::Strict, Recovery::Salvage].into_iter().enumerate() {
            let world = world.copy();
            let Ok(store) = world.open(recovery, seed + n as u64) else { continue };
            self.read(&store);
            let _ = (store.maintain(), store.archive(), store.check_mirrors(), store.key_status());
            self.read(&store);
            if let Ok(site) = store.site(&site_id(0)) {
                let chunk = Chunk::from_events(9, events("new", 9)).expect("a chunk");
                let _ = site.append(&session("new"), &chunk);
                let _ = site.erase_sessions([session_id("new")], Held::Erase);
                let _ = site.release(&session_id("s-0-0-0"));
            }
            let _ = (store.rotate_keys(), store.close());
            // A change that was refused must not have made it worse.
            if let Ok(store) = world.open(recovery, seed + 7 + n as u64) {
                self.read(&store);
            }
        }
    }

    /// Reads all that there is.
    ///
    /// # Panics
    /// As [`look`](Self::look).
    pub fn read(&self, store: &Store) {
        for at in 0..SITES.len() {
            let Ok(site) = store.site(&site_id(at)) else { continue };
            let visitor = VisitorId::new("visitor").expect("an id");
            for query in [Query::new(), Query::new().visitor(visitor)] {
                let Ok(page) = site.sessions(&query.limit(1000)) else { continue };
                for info in page.sessions {
                    let name = info.id.to_string();
                    let known = self.sent.contains_key(&(at, name.clone()));
                    let fits = known || name.starts_with("lost-") || name == "new";
                    assert!(fits, "a session that was never sent, or is erased");
                }
            }
            let gone = site.replay(&session_id(&format!("{GONE}-0")));
            let read = gone.and_then(|mut r| Ok(r.next_chunk()?.is_some()));
            assert!(!matches!(read, Ok(true)), "an erased session");
            let _ = site.holds();
        }
        for ((at, name), chunks) in &self.sent {
            let Ok(site) = store.site(&site_id(*at)) else { continue };
            replay(&site, name, chunks);
        }
        let _ = (store.verify(Depth::Content, |_, _| ()), store.stats(), store.deletions());
    }
}

fn append(site: &Site, name: &str, seq: u64) -> Vec<u8> {
    let chunk = Chunk::from_events(seq, events(name, seq)).expect("a chunk");
    site.append(&session(name), &chunk).expect("appended");
    chunk.events.into_owned()
}

/// Replays a session in every way.
fn replay(site: &Site, name: &str, chunks: &BTreeMap<u64, Vec<u8>>) {
    let id = session_id(name);
    let _ = site.session(&id);
    let later = site.replay_from(&id, NOON + 1500);
    let _ = later.map(|mut r| while let Ok(Some(_)) = r.next_chunk() {});
    if let Ok(mut packed) = site.replay_packed(&id, None) {
        let mut frames = Vec::new();
        while let Ok(Some(_)) = packed.next_frame(&mut frames) {}
    }
    let Ok(mut replay) = site.replay(&id) else { return };
    while let Ok(Some(chunk)) = replay.next_chunk() {
        assert_eq!(chunks.get(&chunk.seq).map(Vec::as_slice), Some(chunk.events));
    }
}
