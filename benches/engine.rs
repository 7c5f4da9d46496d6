//! The engine's inner loops: append, replay, list, recovery. `reelvault bench` tells the figures with their limits.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark ends where it fails")]

mod common;

use std::hint::black_box;

use common::{Place, chunk, events, filled, session};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reelvault::env::Env;
use reelvault::{Durability, Query, SessionId, Store};

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    let ms = Env::real().clock.now_ms();
    for (name, bytes) in [("3 KB", 3_000), ("150 KB", 150_000)] {
        let place = Place::new("append");
        let (_store, site) = filled(&place, 1, 1, 100);
        let events = events(bytes, ms, 1);
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
