//! A simulated bucket: objects in memory, and a network that loses requests, answers late or twice, and lies about what was done.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::env::sim::SplitMix;
use crate::env::{Body, COPIERS, Entry, File, Place};
use crate::sync::point;

/// What goes wrong with requests, by chance; of 256 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trouble {
    /// Requests that never arrive, and time out.
    pub lost: u8,
    /// Requests that are done, and whose answer is an error all the same.
    pub unsure: u8,
    /// Requests that arrive twice: the second finds what the first has done.
    pub doubled: u8,
    /// Puts that arrive once more after later requests.
    pub delayed: u8,
}

/// A bucket of the simulated world. Clones are the same one.
#[derive(Clone)]
pub struct SimPlace(Arc<Mutex<State>>);

struct State {
    objects: BTreeMap<String, Arc<[u8]>>,
    /// Objects that may neither be removed nor replaced: the bucket keeps every object that it has.
    locked: bool,
    /// The names of those of which alone this is so.
    locked_ones: BTreeSet<String>,
    /// Whoever asks may put and list, and read what lies at the root.
    unreadable: bool,
    /// Whoever asks may neither read nor list what has this in its name.
    denied: Option<String>,
    trouble: Trouble,
    random: SplitMix,
    now_ms: u64,
    requests: u64,
    /// From this request on, nothing arrives any more.
    dead_from: Option<u64>,
    /// Puts that are still under way.
    under_way: Vec<(String, Arc<[u8]>)>,
}

impl SimPlace {
    /// An empty bucket whose clock stands at this time, Unix milliseconds.
    #[must_use]
    pub fn new(now_ms: u64, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            objects: BTreeMap::new(),
            locked: false,
            locked_ones: BTreeSet::new(),
            unreadable: false,
            denied: None,
            trouble: Trouble::default(),
            random: SplitMix::new(seed),
            now_ms,
            requests: 0,
            dead_from: None,
            under_way: Vec::new(),
        })))
    }

    /// From now on, this goes wrong.
    pub fn trouble(&self, trouble: Trouble) {
        self.0.lock().trouble = trouble;
    }

    /// A bucket with the same objects, which goes on by itself.
    #[must_use]
    pub fn image(&self) -> Self {
        let state = self.0.lock();
        let image = Self::new(state.now_ms, 0);
        {
            let mut of_image = image.0.lock();
            of_image.random = state.random.clone();
            of_image.objects = state.objects.clone();
        }
        drop(state);
        image
    }

    /// Locks all objects that are there and come: they can neither be removed nor replaced.
    pub fn lock(&self) {
        self.0.lock().locked = true;
    }

    /// Locks one object: it can neither be removed nor replaced.
    pub fn lock_one(&self, name: &str) {
        self.0.lock().locked_ones.insert(name.to_owned());
    }

    /// From now on objects can be put and listed, and none but those at the root be read, as with credentials that may only write; or they
    /// can again.
    pub fn deny_reads(&self, denied: bool) {
        self.0.lock().unreadable = denied;
    }

    /// From now on, what has this in its name can be neither read nor listed.
    pub fn deny_reads_of(&self, part: &str) {
        self.0.lock().denied = Some(part.to_owned());
    }

    /// Sets the bucket's clock, Unix milliseconds.
    pub fn set_now_ms(&self, ms: u64) {
        self.0.lock().now_ms = ms;
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.lock().requests
    }

    /// Whoever uses it dies at the request of this number: neither this one nor a later one arrives. None: nobody dies.
    pub fn die_at(&self, request: Option<u64>) {
        self.0.lock().dead_from = request;
    }

    /// All objects, by name.
    #[must_use]
    pub fn objects(&self) -> Vec<(String, Arc<[u8]>)> {
        self.0.lock().objects.iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
    }

    /// Puts an object in place, past everything: to spoil it.
    pub fn spoil(&self, name: &str, bytes: &[u8]) {
        self.0.lock().objects.insert(name.to_owned(), bytes.into());
    }

    /// Takes an object away, past everything.
    pub fn lose(&self, name: &str) {
        self.0.lock().objects.remove(name);
    }

    /// One request.
    fn request<T>(&self, mut done: impl FnMut(&mut State) -> io::Result<T>) -> io::Result<T> {
        point();
        let mut state = self.0.lock();
        let number = state.requests;
        state.requests += 1;
        if state.dead_from.is_some_and(|dead| number >= dead) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let Trouble { lost, unsure, doubled, .. } = state.trouble;
        if state.draws(lost) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut answer = done(&mut state);
        if state.draws(doubled) {
            answer = done(&mut state);
        }
        if state.draws(unsure) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        state.arrive_late();
        answer
    }
}

impl State {
    fn draws(&mut self, of_256: u8) -> bool {
        self.random.draw() % 256 < u64::from(of_256)
    }

    fn arrive_late(&mut self) {
        if self.random.draw().is_multiple_of(8) {
            for (name, bytes) in std::mem::take(&mut self.under_way) {
                self.objects.insert(name, bytes);
            }
        }
    }

    fn is_denied(&self, name: &str) -> bool {
        self.denied.as_ref().is_some_and(|denied| name.contains(denied))
    }

    fn is_locked(&self, name: &str) -> bool {
        self.locked || self.locked_ones.contains(name)
    }

    fn object(&self, name: &str) -> io::Result<Arc<[u8]>> {
        if (self.unreadable && name.contains('/')) || self.is_denied(name) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.objects.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Place for SimPlace {
    fn name(&self) -> String {
        "sim:bucket".to_owned()
    }

    fn get(&self, name: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        let bytes = self.request(|state| state.object(name))?;
        match bytes.len() <= bytes_max {
            true => Ok(bytes.to_vec()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn open(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Object { place: self.clone(), name: name.to_owned(), bytes }))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.request(|state| {
            if state.objects.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.objects.insert(name.to_owned(), bytes.into());
            Ok(())
        })
    }

    fn put(&self, name: &str, body: &mut dyn Body) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(body.bytes()).unwrap_or(usize::MAX)];
        body.fill(&mut bytes)?;
        let bytes: Arc<[u8]> = bytes.into();
        self.request(|state| {
            if state.is_locked(name) && state.objects.contains_key(name) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            state.objects.insert(name.to_owned(), Arc::clone(&bytes));
            let delayed = state.trouble.delayed;
            if state.draws(delayed) {
                state.under_way.push((name.to_owned(), Arc::clone(&bytes)));
            }
            Ok(())
        })
    }

    fn copiers(&self) -> usize {
        // In a simulation one thing happens after the other, unless a scheduler says which.
        if cfg!(reelvault_shuttle) { COPIERS } else { 1 }
    }

    fn list(&self, folder: &str, entries_max: usize) -> io::Result<Vec<Entry>> {
        let folder = format!("{folder}/");
        self.request(|state| {
            if state.is_denied(&folder) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            let below = state.objects.range(folder.clone()..);
            let below = below.take_while(|(name, _)| name.starts_with(&folder));
            let entry = |(name, bytes): (&String, &Arc<[u8]>)| Entry {
                name: name[folder.len()..].to_owned(),
                bytes: bytes.len() as u64,
            };
            Ok(below.map(entry).take(entries_max).collect())
        })
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.request(|state| state.object(name).map(|bytes| bytes.len() as u64))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.request(|state| {
            if state.is_locked(name) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            state.objects.remove(name);
            Ok(())
        })
    }

    fn now_ms(&self) -> io::Result<u64> {
        self.request(|state| Ok(state.now_ms))
    }
}

struct Object {
    place: SimPlace,
    name: String,
    bytes: u64,
}

impl File for Object {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let object = self.place.request(|state| state.object(&self.name))?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(object.len());
        let part = &object[from..object.len().min(from.saturating_add(buf.len()))];
        buf[..part.len()].copy_from_slice(part);
        Ok(part.len())
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }
}
