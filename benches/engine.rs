//! The engine's inner loops: append, replay, list, recovery. `reelvault bench` tells the figures with their limits.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark ends where it fails")]

use std::borrow::Cow;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reelvault::env::Env;
use reelvault::{
    Chunk, Durability, KeyFile, Options, Query, Session, SessionId, Site, SiteId, Snapshot, Store,
};

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reelvault-{name}-{}", std::process::id()));
        Env::real().disk.create_dir(&path).unwrap();
        Self(path)
    }

    fn options(&self) -> Options {
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

/// NDJSON that compresses about as well as a recording.
fn events(bytes: usize, ms: u64) -> Vec<u8> {
    let mut events = Vec::with_capacity(bytes + 200);
    let mut n = 1u64;
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

fn session(n: u64) -> Session {
    Session::new(SessionId::new(format!("s-{n}")).unwrap())
}

fn chunk(events: &[u8], seq: u64, ms: u64) -> Chunk<'_> {
    let snapshots =
        if seq.is_multiple_of(8) { vec![Snapshot { offset: 0, ms }] } else { Vec::new() };
    Chunk { seq, first_ms: ms, last_ms: ms, events: Cow::Borrowed(events), snapshots }
}

fn filled(place: &Place, sessions: u64, chunks: u64, bytes: usize) -> (Store, Site) {
    let store = Store::create(place.options()).unwrap();
    let site = store.add_site(SiteId::new("bench.example").unwrap(), 30).unwrap();
    let ms = Env::real().clock.now_ms();
    let events = events(bytes, ms);
    for n in 0..sessions {
        for seq in 0..chunks {
            let chunk = chunk(&events, seq, ms);
            site.append_with(&session(n), &chunk, Durability::Deferred).unwrap();
        }
    }
    store.sync().unwrap();
    (store, site)
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    let ms = Env::real().clock.now_ms();
    for (name, bytes) in [("3 KB", 3_000), ("150 KB", 150_000)] {
        let place = Place::new("append");
        let (_store, site) = filled(&place, 1, 1, 100);
        let events = events(bytes, ms);
        group.throughput(Throughput::Bytes(events.len() as u64));
        let mut n = 0u64;
        for (kind, durability) in
            [("synced", Durability::Synced), ("deferred", Durability::Deferred)]
        {
            group.bench_function(format!("{name}, {kind}"), |b| {
                b.iter(|| {
                    n += 1;
                    let chunk = chunk(&events, n % 1_000, ms);
                    site.append_with(&session(n / 1_000), &chunk, durability).unwrap()
                });
            });
        }
    }
    group.finish();
}

fn replay(c: &mut Criterion) {
    let place = Place::new("replay");
    let (store, site) = filled(&place, 4, 60, 100_000);
    let id = SessionId::new("s-2").unwrap();
    let mut group = c.benchmark_group("replay");
    group.throughput(Throughput::Bytes(site.session(&id).unwrap().raw_bytes));
    for from in ["journal", "segment"] {
        if from == "segment" {
            store.archive().unwrap();
        }
        group.bench_function(from, |b| {
            b.iter(|| {
                let mut replay = site.replay(&id).unwrap();
                while let Some(chunk) = replay.next_chunk().unwrap() {
                    black_box(chunk.events);
                }
            });
        });
    }
    group.finish();
}

fn list(c: &mut Criterion) {
    let place = Place::new("list");
    let (store, site) = filled(&place, 10_000, 1, 200);
    store.archive().unwrap();
    c.bench_function("list 100 of 10,000", |b| {
        b.iter(|| black_box(site.sessions(&Query::new()).unwrap()));
    });
}

fn recover(c: &mut Criterion) {
    let place = Place::new("recover");
    let (store, site) = filled(&place, 200, 10, 20_000);
    drop((store, site));
    let options = place.options();
    c.bench_function("open with 2,000 chunks in journals", |b| {
        b.iter(|| black_box(Store::open_read_only(options.clone()).unwrap()));
    });
}

criterion_group!(benches, append, replay, list, recover);
criterion_main!(benches);
