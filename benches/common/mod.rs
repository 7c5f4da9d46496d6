//! A store for the benchmarks, and what is recorded in it.
#![allow(dead_code, reason = "no benchmark uses all of it")]

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use reelvault::env::Env;
use reelvault::{
    Chunk, Durability, KeyFile, Options, Session, SessionId, Site, SiteId, Snapshot, Store,
};

/// A folder of its own, removed in the end.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reelvault-{name}-{}", std::process::id()));
        Env::real().disk.create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn options(&self) -> Options {
        let key = self.0.join("key");
        let key = KeyFile::open(&Env::real(), &key)
            .or_else(|_| KeyFile::create(&Env::real(), &key))
            .unwrap();
        Options::new(self.0.join("store"), [self.0.join("keyring")], Arc::new(key))
            .background(false)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// NDJSON that compresses about as well as a recording, other events for each seed.
pub(crate) fn events(bytes: usize, ms: u64, seed: u64) -> Vec<u8> {
    let mut events = Vec::with_capacity(bytes + 200);
    let mut n = seed;
    while events.len() < bytes {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (x, y) = (n >> 54, (n >> 44) & 1023);
        events.extend_from_slice(
            format!("{{\"type\":3,\"timestamp\":{ms},\"data\":{{\"source\":1,\"positions\":[{{\"x\":{x},\"y\":{y},\"id\":{}}}]}}}}\n", n >> 58)
                .as_bytes(),
        );
    }
    events
}

pub(crate) fn session(n: u64) -> Session {
    Session::new(SessionId::new(format!("s-{n}")).unwrap())
}

pub(crate) fn chunk(events: &[u8], seq: u64, ms: u64) -> Chunk<'_> {
    let snapshots =
        if seq.is_multiple_of(8) { vec![Snapshot { offset: 0, ms }] } else { Vec::new() };
    Chunk { seq, first_ms: ms, last_ms: ms, events: Cow::Borrowed(events), snapshots }
}

/// A store with so many sessions of so many chunks, in its journals.
pub(crate) fn filled(place: &Place, sessions: u64, chunks: u64, bytes: usize) -> (Store, Site) {
    let store = Store::create(place.options()).unwrap();
    let site = store.add_site(SiteId::new("bench.example").unwrap(), 30).unwrap();
    let ms = Env::real().clock.now_ms();
    for n in 0..sessions {
        for seq in 0..chunks {
            let events = events(bytes, ms, n * chunks + seq);
            let chunk = chunk(&events, seq, ms);
            site.append_with(&session(n), &chunk, Durability::Deferred).unwrap();
        }
    }
    store.sync().unwrap();
    (store, site)
}
