//! A store on the simulated disk, a life for it, and what must hold after any crash.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use reelvault::env::sim::{SimClock, SimDisk};
use reelvault::env::{Clock, Env};
use reelvault::{Chunk, Durability, KeyFile, KeyProvider, Options, Result, Site, Store};

use super::{chunk, session, session_id, site_id};

pub(crate) const SITES: [&str; 2] = ["shop.example", "help.example"];

/// What was attempted and what was acknowledged: by site, session and sequence number.
#[derive(Default, Clone)]
pub(crate) struct Ledger {
    pub(crate) attempted: BTreeMap<(usize, String, u64), Vec<u8>>,
    pub(crate) acknowledged: BTreeMap<(usize, String, u64), ()>,
    /// Deferred chunks that no sync has covered yet.
    deferred: Vec<(usize, String, u64)>,
}

/// A simulated machine with a store on it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) clock: SimClock,
    pub(crate) provider: Arc<dyn KeyProvider>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
}

pub(crate) fn options(env: Env, provider: &Arc<dyn KeyProvider>) -> Options {
    let mirrors = ["/keys/a/keyring", "/keys/b/keyring"].map(PathBuf::from);
    Options::new("/store", mirrors, Arc::clone(provider))
        .env(env)
        .shards(2)
        .journal_bytes(64 << 10)
        .fill_bytes(16 << 10)
        .background(false)
}

/// The key file on this disk. An image has one of its own: what is destroyed there lives on in the original.
pub(crate) fn key_on(env: &Env) -> Result<Arc<dyn KeyProvider>> {
    Ok(Arc::new(KeyFile::open(env, "/keys/key")?))
}

impl World {
    /// A machine with an empty store of two sites.
    pub(crate) fn new(seed: u64) -> Self {
        let (env, disk, clock) = reelvault::env::sim::env(seed);
        env.disk.create_dir("/keys".as_ref()).unwrap();
        let provider: Arc<dyn KeyProvider> =
            Arc::new(KeyFile::create(&env, std::path::Path::new("/keys/key")).unwrap());
        let store = Store::create(options(env, &provider)).unwrap();
        for site in SITES {
            store.add_site(site_id(site), 30).unwrap();
        }
        store.close().unwrap();
        Self { disk, clock, provider, ledger: Arc::default() }
    }

    /// Opens the store on a disk, which may be an image, with randomness of its own.
    pub(crate) fn open(&self, disk: &SimDisk, seed: u64) -> Result<Store> {
        let env = disk.env(&self.clock, seed);
        let provider = key_on(&env)?;
        Store::open(options(env, &provider))
    }

    fn append(
        &self,
        site: &Site,
        at: usize,
        name: &str,
        chunk: &Chunk<'_>,
        durability: Durability,
    ) -> Result<()> {
        let key = (at, name.to_owned(), chunk.seq);
        self.ledger.lock().attempted.insert(key.clone(), chunk.events.to_vec());
        site.append_with(&session(name), chunk, durability)?;
        let mut ledger = self.ledger.lock();
        match durability {
            Durability::Synced => {
                ledger.acknowledged.insert(key, ());
            }
            Durability::Deferred => ledger.deferred.push(key),
        }
        Ok(())
    }

    /// Everything deferred is durable.
    fn synced(&self) {
        let mut ledger = self.ledger.lock();
        let deferred = std::mem::take(&mut ledger.deferred);
        ledger.acknowledged.extend(deferred.into_iter().map(|k| (k, ())));
    }

    /// A life: appends that fill journals, deferred ones, rotation, archiving, closing and opening again.
    pub(crate) fn live(&self, seed: u64, rounds: u64) -> Result<()> {
        for round in 0..rounds {
            let store = self.open(&self.disk, seed * 1_000 + round)?;
            let sites = SITES.map(|s| store.site(&site_id(s)).unwrap());
            let now = self.clock.now_ms();
            for step in 0..12 {
                let mix = seed.wrapping_mul(31) + round * 7 + step * 3;
                let at = (mix % 2) as usize;
                let name = format!("s-{}", (mix / 2) % 3);
                let ledger = self.ledger.lock();
                let mine =
                    ledger.attempted.range((at, name.clone(), 0)..=(at, name.clone(), u64::MAX));
                let seq = mine.last().map_or(0, |((_, _, seq), _)| seq + 1);
                drop(ledger);
                let bytes = [300, 9_000, 2_000, 24_000][(mix % 4) as usize];
                let chunk = chunk(&name, seq, now + round * 60_000 + step * 1_000, bytes);
                let durability = match mix % 5 {
                    0 => Durability::Deferred,
                    _ => Durability::Synced,
                };
                self.append(&sites[at], at, &name, &chunk, durability)?;
                if step == 5 {
                    store.sync()?;
                    self.synced();
                    store.maintain()?;
                }
            }
            match round % 3 {
                0 => store.archive()?,
                1 => store.maintain()?,
                _ => {}
            }
            store.close()?;
            self.synced();
        }
        Ok(())
    }

    /// Opens an image and checks that everything acknowledged is there and nothing else than what was attempted.
    pub(crate) fn check(&self, image: &SimDisk, seed: u64, ledger: &Ledger) -> Store {
        let store = self.open(image, seed).unwrap_or_else(|e| panic!("opening: {e}"));
        let mut sessions: BTreeMap<(usize, &str), Vec<u64>> = BTreeMap::new();
        for (at, name, seq) in ledger.attempted.keys() {
            sessions.entry((*at, name)).or_default().push(*seq);
        }
        for ((at, name), seqs) in sessions {
            let site = store.site(&site_id(SITES[at])).unwrap();
            let acknowledged =
                |seq: u64| ledger.acknowledged.contains_key(&(at, name.to_owned(), seq));
            let mut found = Vec::new();
            match site.replay(&session_id(name)) {
                Ok(mut replay) => {
                    while let Some(chunk) = replay.next_chunk().unwrap_or_else(|e| panic!("{e}")) {
                        let key = (at, name.to_owned(), chunk.seq);
                        assert_eq!(
                            Some(chunk.events),
                            ledger.attempted.get(&key).map(Vec::as_slice)
                        );
                        found.push(chunk.seq);
                    }
                }
                Err(reelvault::Error::UnknownSession) => {}
                Err(e) => panic!("replaying: {e}"),
            }
            for seq in &seqs {
                assert!(
                    found.contains(seq) || !acknowledged(*seq),
                    "acknowledged chunk {seq} is lost"
                );
            }
            // Chunks of a session were appended in order, so what is there is a beginning without a gap.
            assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>(), "a gap");
        }
        store
    }

    /// The chunks that can be read.
    pub(crate) fn present(&self, store: &Store, ledger: &Ledger) -> Vec<(usize, String, u64)> {
        let mut present = Vec::new();
        for (at, name, seq) in ledger.attempted.keys() {
            let site = store.site(&site_id(SITES[*at])).unwrap();
            if let Ok(info) = site.session(&session_id(name))
                && *seq < u64::from(info.chunks)
            {
                present.push((*at, name.clone(), *seq));
            }
        }
        present
    }

    /// After a crash the recorder sends everything again; then everything is there, once.
    pub(crate) fn send_again(&self, store: &Store, ledger: &Ledger) {
        for ((at, name, seq), events) in &ledger.attempted {
            let site = store.site(&site_id(SITES[*at])).unwrap();
            let chunk = Chunk::from_events(*seq, events.as_slice()).unwrap();
            site.append(&session(name), &chunk).unwrap();
        }
        store.archive().unwrap();
        for (at, name) in SITES.into_iter().enumerate() {
            let site = store.site(&site_id(name)).unwrap();
            for session in site.sessions(&reelvault::Query::new()).unwrap().sessions {
                assert!(session.gaps.is_empty());
                let attempted = ledger
                    .attempted
                    .iter()
                    .filter(|((a, n, _), _)| *a == at && n == session.id.as_str());
                let (mut bytes, mut chunks) = (0, 0);
                attempted.for_each(|(_, events)| {
                    bytes += events.len() as u64;
                    chunks += 1;
                });
                assert_eq!((session.chunks, session.raw_bytes), (chunks, bytes));
            }
        }
    }
}
