//! What the targets share: a small finished store on the simulated disk, edits of its files, and what must hold whatever
//! they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use reelvault::backup::{Backup, How, Keep, Progress, ReadShare, Repository, SimPlace, What};
use reelvault::env::sim::{SimClock, SimDisk, Survival};
use reelvault::{
    Chunk, Depth, Error, KeyFile, Options, Query, Recovery, Session, SessionId,
    SiteId, Store, VisitorId,
};

/// Noon of a day in 2027.
pub const NOON: u64 = 1_800_014_400_000;
/// The sites of every store.
pub const SITES: [&str; 2] = ["shop.example", "help.example"];

/// A finished store: segments of two sites, and journals.
pub struct Image {
    pub disk: SimDisk,
    pub clock: SimClock,
    /// What was sent, by site and session.
    pub sent: BTreeMap<(usize, String), BTreeMap<u64, Vec<u8>>>,
}

pub fn site_id(at: usize) -> SiteId {
    SiteId::new(SITES[at % SITES.len()]).expect("an id")
}

pub fn session_id(name: &str) -> SessionId {
    SessionId::new(name).expect("an id")
}

pub fn session(name: &str) -> Session {
    Session::new(session_id(name)).visitor(VisitorId::new("visitor").expect("an id"))
}

/// Options of a store on a disk, with the key file that lies there.
pub fn options(disk: &SimDisk, clock: &SimClock, seed: u64) -> Options {
    options_at(disk, clock, seed, "/store")
}

fn options_at(disk: &SimDisk, clock: &SimClock, seed: u64, dir: &str) -> Options {
    let mirrors = ["/keys/a/keyring", "/keys/b/keyring"].map(PathBuf::from);
    let env = disk.env(clock, seed);
    let provider = Arc::new(KeyFile::open(&env, "/keys/key").expect("a key file"));
    Options::new(dir, mirrors, provider)
        .env(env)
        .shards(2)
        .journal_bytes(64 << 10)
        .fill_bytes(0)
        .background(false)
}

/// Events of a chunk: a snapshot and another event.
pub fn events(name: &str, seq: u64) -> Vec<u8> {
    let ms = NOON + seq * 1000;
    let mut events = String::new();
    for (kind, ms) in [(4, ms), (2, ms), (3, ms + 7)] {
        events += &format!("{{\"type\":{kind},\"timestamp\":{ms},\"data\":\"{name} {seq}\"}}\n");
    }
    events.into_bytes()
}

/// A new store without sessions.
pub fn empty(seed: u64) -> Image {
    let (env, disk, clock) = reelvault::env::sim::env(seed);
    clock.set_ms(NOON);
    env.disk.create_dir(Path::new("/keys")).expect("a directory");
    KeyFile::create(&env, "/keys/key").expect("a key file");
    let store = Store::create(options(&disk, &clock, seed)).expect("a store");
    for at in 0..SITES.len() {
        store.add_site(site_id(at), 30).expect("a site");
    }
    store.close().expect("closed");
    Image { disk, clock, sent: BTreeMap::new() }
}

/// The store that all targets spoil.
pub fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let mut image = empty(1);
        let store = image.open(&image.disk, Recovery::Strict, 2).expect("open");
        for round in 0..3u64 {
            for at in 0..SITES.len() {
                for n in 0..2 {
                    let name = format!("s-{at}-{n}-{}", if n == 0 { 0 } else { round });
                    let seq = if n == 0 { round } else { 0 };
                    let site = store.site(&site_id(at)).expect("a site");
                    let chunk = Chunk::from_events(seq, events(&name, seq)).expect("a chunk");
                    site.append(&session(&name), &chunk).expect("appended");
                    image
                        .sent
                        .entry((at, name))
                        .or_default()
                        .insert(seq, chunk.events.into_owned());
                }
            }
            if round < 2 {
                store.archive().expect("archived");
            }
        }
        store.close().expect("closed");
        image
    })
}

impl Image {
    pub fn open(&self, disk: &SimDisk, recovery: Recovery, seed: u64) -> Result<Store, Error> {
        Store::open(options(disk, &self.clock, seed).recovery(recovery))
    }

    pub fn copy(&self) -> SimDisk {
        self.disk.crash_image(Survival::Everything)
    }

    /// Files whose path contains `part`.
    pub fn files(&self, part: &str) -> Vec<PathBuf> {
        let all = self.disk.paths();
        all.into_iter().filter(|p| p.to_string_lossy().contains(part)).collect()
    }

    /// Opens a spoiled copy in every way and reads everything; what is read must be what was sent.
    ///
    /// # Panics
    /// If it is not, or if chunks that stand in segments are gone without an error.
    pub fn look(&self, disk: &SimDisk, seed: u64) {
        let read_only =
            options(disk, &self.clock, seed).recovery(Recovery::Salvage);
        if let Ok(store) = Store::open_read_only(read_only) {
            self.read(&store);
        }
        for (n, recovery) in [Recovery::Strict, Recovery::Salvage].into_iter().enumerate() {
            if let Ok(store) =
                self.open(&disk.crash_image(Survival::Everything), recovery, seed + n as u64)
            {
                self.read(&store);
                let _ = store.maintain();
                let _ = store.archive();
                self.read(&store);
                let site = store.site(&site_id(0));
                let chunk = Chunk::from_events(9, events("new", 9)).expect("a chunk");
                let _ = site.map(|site| site.append(&session("new"), &chunk));
            }
        }
    }

    fn read(&self, store: &Store) {
        for at in 0..SITES.len() {
            let Ok(site) = store.site(&site_id(at)) else { continue };
            for query in
                [Query::new(), Query::new().visitor(VisitorId::new("visitor").expect("an id"))]
            {
                let Ok(page) = site.sessions(&query.limit(1000)) else { continue };
                for info in page.sessions {
                    let known = self.sent.contains_key(&(at, info.id.to_string()));
                    assert!(known || info.id.as_str().starts_with("lost-"), "never sent");
                }
            }
        }
        for ((at, name), chunks) in &self.sent {
            let Ok(site) = store.site(&site_id(*at)) else { continue };
            let _ = site.session(&session_id(name));
            let _ = site
                .replay_from(&session_id(name), NOON + 1500)
                .map(|mut r| while let Ok(Some(_)) = r.next_chunk() {});
            let Ok(mut replay) = site.replay(&session_id(name)) else { continue };
            while let Ok(Some(chunk)) = replay.next_chunk() {
                assert_eq!(chunks.get(&chunk.seq).map(Vec::as_slice), Some(chunk.events));
            }
        }
        let _ = store.verify(Depth::Content, |_, _| ());
    }
}

/// Nobody watches.
const ON: &(dyn Fn(Progress) -> bool + Sync) = &|_| true;

fn back_up(bucket: &SimPlace, seed: u64) -> Result<Repository, Error> {
    let image = image();
    let options = options(&image.disk, &image.clock, seed);
    let repository = Repository::open_or_make(Arc::new(bucket.clone()), options)?;
    Backup::new(&repository, "/store")?.run(&How::default(), ON)?;
    Ok(repository)
}

/// A repository with a backup of the store that all targets spoil; every one is a copy.
pub fn repository() -> SimPlace {
    static OBJECTS: OnceLock<Vec<(String, Arc<[u8]>)>> = OnceLock::new();
    let objects = OBJECTS.get_or_init(|| {
        let bucket = SimPlace::new(NOON, 1);
        back_up(&bucket, 3).expect("a backup");
        bucket.objects()
    });
    let copy = SimPlace::new(NOON, 2);
    objects.iter().for_each(|(name, bytes)| copy.spoil(name, bytes));
    copy
}

/// Does everything that can be done with a spoiled repository; what is read must be what was sent, and a backup that is
/// made of it must be whole.
///
/// # Panics
/// If it is not.
pub fn look_at_repository(bucket: &SimPlace, seed: u64) {
    let image = image();
    let disk = image.copy();
    let options = options(&disk, &image.clock, seed);
    if let Ok(repository) = Repository::open(Arc::new(bucket.clone()), options) {
        let _ = repository.snapshots();
        let _ = repository.check(ReadShare::All, ON);
        if let Ok(number) = repository.latest(None) {
            if let Ok(store) = repository.open_snapshot(number) {
                image.read(&store);
            }
            if repository.restore(number, "/restored", &What::All, ON).is_ok() {
                let restored = crate::options_at(&disk, &image.clock, seed + 1, "/restored");
                if let Ok(store) = Store::open_read_only(restored) {
                    image.read(&store);
                }
            }
        }
        let keep = Keep { last: 1, ..Keep::default() };
        let _ = repository.prune(&keep, 86_400_000, false);
    }
    if let Ok(repository) = back_up(bucket, seed + 2)
        && let Ok(number) = repository.latest(None)
        && let Ok(store) = repository.open_snapshot(number)
    {
        image.read(&store);
    }
}

/// Applies edits to a file: what the fuzzer gives is a list of them, so that small inputs reach deep into valid files.
///
/// An edit is a kind, an offset (two bytes) and a value: set a byte, add to a 32-bit number, cut there, insert, double a
/// range, or replace everything by the rest of the input.
pub fn edit(bytes: &mut Vec<u8>, input: &[u8]) {
    let mut rest = input;
    while let Some((&[kind, low, high, value], next)) = rest.split_first_chunk::<4>() {
        rest = next;
        if bytes.is_empty() {
            return;
        }
        let at = usize::from(u16::from_le_bytes([low, high])) % bytes.len();
        match kind % 8 {
            0..=2 => bytes[at] = value,
            3 => bytes[at] ^= 1 << (value % 8),
            4 if at + 4 <= bytes.len() => {
                let number =
                    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                let add = [1, u32::MAX, 1 << 31, 0x7fff_ffff, 16, 256, 1 << 20, 1 << 24]
                    [usize::from(value % 8)];
                bytes[at..at + 4].copy_from_slice(&number.wrapping_add(add).to_le_bytes());
            }
            5 if value == 0 => bytes.truncate(at),
            5 => drop(bytes.splice(at..at, std::iter::repeat_n(value, usize::from(value)))),
            6 => {
                let range = bytes[at..(at + usize::from(value)).min(bytes.len())].to_vec();
                bytes.splice(at..at, range);
            }
            7 if value == 0xff => {
                bytes.clear();
                bytes.extend_from_slice(rest);
                return;
            }
            _ => {}
        }
    }
}

fn put(bytes: &mut [u8], at: usize, crc: u32) {
    if let Some(to) = bytes.get_mut(at..at + 4) {
        to.copy_from_slice(&crc.to_le_bytes());
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    bytes
        .get(at..at + 4)
        .map_or(usize::MAX, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
}

/// Repairs the checksum of a file's header.
pub fn repair_file(bytes: &mut [u8]) {
    if let Some(header) = bytes.get(..28) {
        let crc = crc32fast::hash(header);
        put(bytes, 28, crc);
    }
}

/// Repairs the checksums of the unit at `at`; returns where it ends, by its own word.
pub fn repair_unit(bytes: &mut [u8], at: usize) -> Option<usize> {
    let body = at + 32;
    let end = body.checked_add(number(bytes, at + 8))?;
    if let Some(sealed) = bytes.get(body..end) {
        let crc = crc32fast::hash(sealed);
        put(bytes, at + 12, crc);
    }
    let crc = crc32fast::hash(bytes.get(at..at + 28)?);
    put(bytes, at + 28, crc);
    Some(end)
}

/// Repairs the checksums of the frames of a journal, as far as they follow one another.
pub fn repair_frames(bytes: &mut [u8]) {
    let Some(id) = bytes.get(12..28).map(<[u8]>::to_vec) else { return };
    let mut at = 4096;
    while bytes.len() >= at + 76 {
        let (envelope, payload) = (number(bytes, at + 8), number(bytes, at + 12));
        let Some(end) = (at + 76).checked_add(envelope).and_then(|n| n.checked_add(payload)) else {
            return;
        };
        if let Some(body) = bytes.get(at + 40..end) {
            let crc = crc32fast::hash(body);
            put(bytes, at + 32, crc);
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&id);
        crc.update(&(at as u64).to_le_bytes());
        crc.update(&bytes[at..at + 36]);
        put(bytes, at + 36, crc.finalize());
        at = end.next_multiple_of(8);
    }
}

/// Repairs the checksum of a segment's footer.
pub fn repair_footer(bytes: &mut [u8]) {
    let Some(at) = bytes.len().checked_sub(48) else { return };
    let crc = crc32fast::hash(&bytes[at..at + 32]);
    put(bytes, at + 32, crc);
}

/// Repairs the checksum of a keyring's wrapping header; returns where its body begins.
pub fn repair_wrapping(bytes: &mut [u8]) -> Option<usize> {
    let end = 56usize.checked_add(number(bytes, 48))?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes.get(32..52)?);
    crc.update(bytes.get(56..end)?);
    put(bytes, 52, crc.finalize());
    Some(end)
}
