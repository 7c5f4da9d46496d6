//! Work of which the instructions are counted, by callgrind: `tools/instructions` runs each and compares with what is committed. Plain
//! timings on a shared machine would fail for what others do; counts are the same from run to run.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark ends where it fails")]

mod common;

use std::hint::black_box;

use common::{Place, chunk, events, filled, session};
use reelvault::env::Env;
use reelvault::{Durability, Query, SessionId, Store};

const CHUNKS: u64 = 64;
const CHUNK_BYTES: usize = 50_000;

/// Callgrind counts inside of this function alone, by its name.
#[inline(never)]
fn counted_from_here(work: &mut dyn FnMut()) {
    work();
}

/// Chunks of one session, compressed, sealed and put into the journal.
fn append() {
    let place = Place::new("append");
    let (_store, site) = filled(&place, 1, 1, 100);
    let ms = Env::real().clock.now_ms();
    let events: Vec<_> = (1..=CHUNKS).map(|seq| events(CHUNK_BYTES, ms, seq)).collect();
    let who = session(0);
    counted_from_here(&mut || {
        for (seq, events) in (1..).zip(&events) {
            site.append_with(&who, &chunk(events, seq, ms), Durability::Deferred).unwrap();
        }
    });
}

/// From journals into segments: opened, put in order, compressed and sealed in larger blocks.
fn seal() {
    let place = Place::new("seal");
    let (store, _site) = filled(&place, 8, 8, CHUNK_BYTES);
    counted_from_here(&mut || store.archive().unwrap());
}

/// A session from its segment.
fn replay() {
    let place = Place::new("replay");
    let (store, site) = filled(&place, 4, CHUNKS, CHUNK_BYTES);
    store.archive().unwrap();
    let id = SessionId::new("s-2").unwrap();
    counted_from_here(&mut || {
        let mut replay = site.replay(&id).unwrap();
        while let Some(chunk) = replay.next_chunk().unwrap() {
            black_box(chunk.events);
        }
    });
}

/// A page of a hundred sessions of two thousand, the first one of a process.
fn list() {
    let place = Place::new("list");
    let (store, site) = filled(&place, 2_000, 1, 200);
    store.archive().unwrap();
    drop((store, site));
    let store = Store::open_read_only(place.options()).unwrap();
    let site = store.site(&store.sites()[0].id).unwrap();
    counted_from_here(&mut || {
        black_box(site.sessions(&Query::new()).unwrap());
    });
}

/// Opening a store whose chunks are all in journals.
fn recovery() {
    let place = Place::new("recovery");
    drop(filled(&place, 50, 10, 10_000));
    let options = place.options();
    counted_from_here(&mut || {
        black_box(Store::open_read_only(options.clone()).unwrap());
    });
}

fn main() {
    // Cargo adds arguments of its own.
    let work = std::env::args().nth(1).unwrap_or_default();
    match work.as_str() {
        "append" => append(),
        "seal" => seal(),
        "replay" => replay(),
        "list" => list(),
        "recovery" => recovery(),
        _ => println!("append seal replay list recovery"),
    }
}
