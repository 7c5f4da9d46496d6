//! Whether a place can be trusted with a repository: asked of it before the first backup, and on request.

use std::io;

use super::place::Place;
use super::read_exact_at;
use crate::ids::FileId;
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::sync::{spawn_scoped, thread};

/// How many create one object at once: of a server that lets two of them win, some rounds show it.
const RACERS: usize = 8;
/// How often they race.
const ROUNDS: u8 = 4;
/// Where the objects lie that are made and removed again.
const FOLDER: &str = "probe";

/// Creates, races, reads and removes a few objects.
pub(super) fn probe<P: Place + ?Sized>(place: &P, nonce: [u8; 16]) -> io::Result<()> {
    for round in 0..ROUNDS {
        let name = format!("{FOLDER}/{}-{round}", FileId(nonce));
        let outcome = race(place, &name).and_then(|winner| read_parts(place, &name, winner));
        // What cannot be removed is small, and in nobody's way.
        let _ = place.remove(&name);
        outcome?;
    }
    Ok(())
}

fn unfit<T>(why: &'static str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

/// Of several that create an object at once, one must win.
fn race<P: Place + ?Sized>(place: &P, name: &str) -> io::Result<u8> {
    let (won, winner) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let attempt = |racer: u8| match place.create(name, &content(racer)) {
        Ok(()) => {
            won.fetch_add(1, Relaxed);
            winner.store(racer.into(), Relaxed);
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    };
    let failed = thread::scope(|scope| {
        let start = |racer| spawn_scoped(scope, move || attempt(racer));
        let racers: Vec<_> = (0..RACERS as u8).map(start).collect();
        let end = |racer: io::Result<thread::ScopedJoinHandle<'_, _>>| match racer {
            Ok(racer) => racer.join().unwrap_or(Ok(())),
            Err(no_thread) => Err(no_thread),
        };
        racers.into_iter().find_map(|racer| end(racer).err())
    });
    match (won.load(Relaxed), failed) {
        (_, Some(e)) => Err(e),
        (1, None) => Ok(winner.load(Relaxed) as u8),
        (0, None) => unfit("an object that nobody has created exists"),
        _ => unfit("two writers both created one object: it does not keep conditions on puts"),
    }
}

fn content(racer: u8) -> Vec<u8> {
    (0..200).map(|i: u8| i ^ racer).collect()
}

fn read_parts<P: Place + ?Sized>(place: &P, name: &str, winner: u8) -> io::Result<()> {
    let expected = content(winner);
    if place.get(name, expected.len())? != expected {
        return unfit("an object holds what another writer put, who was refused");
    }
    let file = place.open(name, expected.len() as u64)?;
    for (from, to) in [(0, 1), (7, 100), (150, 200)] {
        let mut part = vec![0; to - from];
        read_exact_at(&*file, &mut part, from as u64)?;
        if part != expected[from..to] {
            return unfit("a part of an object is read wrong");
        }
    }
    match place.list(FOLDER, usize::MAX)?.iter().any(|entry| name.ends_with(&entry.name)) {
        true => Ok(()),
        false => unfit("an object that was created is not listed"),
    }
}
