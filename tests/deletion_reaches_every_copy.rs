//! A thief copies the disk after every operation, for a whole life of a store: recording, archiving, retention, erasures,
//! holds, rotations, crashes. In the end the thief has every version of every file, all old keyrings among
//! them, and gets hold of today's keys. What was erased or has expired never opens; all else does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{DAY, chunk, session, session_id, site_id};
use parking_lot::Mutex;
use reelvault::env::sim::{SimClock, SimDisk, Survival};
use reelvault::env::{Clock, Env};
use reelvault::{Error, Held, KeyFile, Options, Retention, Store, VisitorId};

type Files = BTreeMap<PathBuf, Arc<Vec<u8>>>;

/// What the thief has: all files as they were after each operation that changed one.
#[derive(Default)]
struct Loot {
    now: Files,
    copies: Vec<Files>,
    /// How many machines were watched: one that lost its power changes nothing any more.
    machines: u32,
}

/// Lets the thief watch a disk.
fn watch(disk: &SimDisk, loot: &Arc<Mutex<Loot>>) {
    let loot = Arc::clone(loot);
    loot.lock().machines += 1;
    let machine = loot.lock().machines;
    disk.on_operation(move |disk, _| {
        let mut loot = loot.lock();
        if loot.machines != machine {
            return;
        }
        let mut now = Files::new();
        for path in disk.paths() {
            let Ok(bytes) = disk.file_bytes(&path) else { continue };
            let known = loot.now.get(&path).filter(|known| ***known == bytes).cloned();
            now.insert(path, known.unwrap_or_else(|| Arc::new(bytes)));
        }
        if now != loot.now {
            loot.now = now.clone();
            loot.copies.push(now);
        }
    });
}

/// A disk with these files.
fn disk_of<'a>(files: impl IntoIterator<Item = (&'a PathBuf, &'a Arc<Vec<u8>>)>) -> SimDisk {
    let disk = SimDisk::new();
    for (path, bytes) in files {
        disk.write_file(path, bytes).unwrap();
    }
    disk
}

/// So little that the keyring of a few sessions is in parts: trees and the list of sites alike.
const PART_BYTES: usize = 2_000;

fn options(env: &Env) -> Options {
    let options = common::sim::options(env.clone(), &common::sim::key_on(env).unwrap());
    options.keyring_part_bytes(PART_BYTES)
}

/// The parts of the keyring among files.
fn parts(files: &Files) -> BTreeMap<&Path, &Arc<Vec<u8>>> {
    let parts = files.iter().filter(|(path, _)| path.starts_with("/keys/a/keyring.parts"));
    parts.map(|(path, bytes)| (path.as_path(), bytes)).collect()
}

const SITES: [&str; 3] = ["shop.example", "help.example", "gone.example"];

/// What is to become of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Gone,
}

/// A store that lives through many days, and what of it must be left.
struct Life {
    disk: SimDisk,
    clock: SimClock,
    loot: Arc<Mutex<Loot>>,
    seed: u64,
    /// Every session with its site, its events as acknowledged, and its fate.
    sessions: BTreeMap<(usize, String), (Vec<u8>, Fate)>,
}

impl Life {
    fn begin() -> (Self, Store) {
        let (env, disk, clock) = reelvault::env::sim::env(1);
        let loot = Arc::default();
        watch(&disk, &loot);
        env.disk.create_dir(Path::new("/keys")).unwrap();
        KeyFile::create(&env, "/keys/key").unwrap();
        let store = Store::create(options(&env)).unwrap();
        store.add_sites(SITES.map(|s| (site_id(s), 30))).unwrap();
        (Self { disk, clock, loot, seed: 1, sessions: BTreeMap::new() }, store)
    }

    /// Some chunks of a session that is to be kept for some days.
    fn record(&mut self, store: &Store, at: usize, name: &str, days: u32, visitor: &str) {
        let site = store.site(&site_id(SITES[at])).unwrap();
        let who = session(name).visitor(VisitorId::new(visitor).unwrap());
        let who = who.retention_days(days).unwrap();
        let entry = self.sessions.entry((at, name.to_owned())).or_insert((Vec::new(), Fate::Kept));
        let from = entry.0.iter().filter(|b| **b == b'\n').count() as u64;
        for seq in from..from + 3 {
            // As many events as there are chunks, so that the events tell the next number.
            let line = format!(
                "{{\"type\":3,\"timestamp\":{},\"data\":\"private words of {name} {seq}\"}}\n",
                self.clock.now_ms()
            );
            let mut one = chunk(name, seq, self.clock.now_ms(), 1);
            one.events = line.clone().into_bytes().into();
            one.snapshots.clear();
            site.append(&who, &one).unwrap();
            entry.0.extend_from_slice(line.as_bytes());
        }
    }

    fn gone(&mut self, which: impl Fn(usize, &str) -> bool) {
        for ((at, name), (_, fate)) in &mut self.sessions {
            if which(*at, name) {
                *fate = Fate::Gone;
            }
        }
    }

    /// The machine loses power, and starts again.
    fn crash(&mut self, store: Store) -> Store {
        self.seed += 1;
        self.disk = self.disk.crash_image(Survival::Random(self.seed));
        drop(store);
        watch(&self.disk, &self.loot);
        Store::open(options(&self.disk.env(&self.clock, self.seed))).unwrap()
    }

    fn pass(&self, days: u64) {
        self.clock.advance_ms(days * DAY);
    }
}

fn erase(store: &Store, at: usize, name: &str, held: Held) -> Result<(), Error> {
    let site = store.site(&site_id(SITES[at])).unwrap();
    let erasure = site.erase_sessions([session_id(name)], held)?;
    let certificate = erasure.certificate.unwrap();
    assert!(certificate.is_final(), "{}", certificate.to_json());
    Ok(())
}

/// The scripted life.
fn live() -> (Life, Store) {
    let (mut life, mut store) = Life::begin();
    for n in 0..6 {
        life.record(&store, 0, &format!("early-{n}"), 10, "anna");
        life.record(&store, 1, &format!("early-{n}"), 90, if n < 3 { "bert" } else { "anna" });
        life.record(&store, 2, &format!("early-{n}"), 365, "carl");
    }
    store.archive().unwrap();
    life.record(&store, 0, "early-0", 10, "anna");
    erase(&store, 0, "early-0", Held::Refuse).unwrap();
    erase(&store, 1, "early-5", Held::Refuse).unwrap();
    life.gone(|at, name| (at, name) == (0, "early-0") || (at, name) == (1, "early-5"));
    store = life.crash(store);
    store.rotate_keys().unwrap();
    let help = store.site(&site_id(SITES[1])).unwrap();
    let erasure = help.erase_visitor(&VisitorId::new("bert").unwrap(), Held::Refuse).unwrap();
    assert_eq!(erasure.sessions, 3);
    life.gone(|at, name| at == 1 && ["early-0", "early-1", "early-2"].contains(&name));
    let shop = store.site(&site_id(SITES[0])).unwrap();
    shop.hold(&session_id("early-1"), "case 12/2026").unwrap();
    shop.hold(&session_id("early-2"), "case 13/2026").unwrap();
    life.record(&store, 0, "early-1", 10, "anna");
    store = life.crash(store);
    for day in 0..14 {
        life.pass(1);
        life.record(&store, day % 2, &format!("day-{day}"), 30, "anna");
        if day % 3 == 0 {
            store.archive().unwrap();
        }
        store.maintain().unwrap();
    }
    life.gone(|at, name| {
        at == 0 && name.starts_with("early-") && !["early-1", "early-2"].contains(&name)
    });
    let shop = store.site(&site_id(SITES[0])).unwrap();
    shop.release(&session_id("early-2")).unwrap();
    life.gone(|at, name| (at, name) == (0, "early-2"));
    store = life.crash(store);
    store.erase_site(&site_id(SITES[2]), Held::Refuse).unwrap();
    life.gone(|at, _| at == 2);
    life.record(&store, 1, "late", 30, "anna");
    store.archive().unwrap();
    let report = store.retention(&Retention::new()).unwrap();
    assert_eq!(report.doubt, None);
    (life, store)
}

/// What a session replays as, if it does.
fn replayed(store: &Store, at: usize, name: &str) -> Result<Vec<u8>, Error> {
    let site = store.site(&site_id(SITES[at]))?;
    let mut replay = site.replay(&session_id(name))?;
    let mut out = Vec::new();
    while let Some(chunk) = replay.next_chunk()? {
        out.extend_from_slice(chunk.events);
    }
    Ok(out)
}

#[test]
fn what_is_left_is_there_and_the_rest_is_not() {
    let (life, store) = live();
    for ((at, name), (events, fate)) in &life.sessions {
        let replay = replayed(&store, *at, name);
        match fate {
            Fate::Kept => assert_eq!(&replay.unwrap(), events, "{at} {name}"),
            Fate::Gone => assert!(
                matches!(
                    replay,
                    Err(Error::Erased | Error::Expired { .. } | Error::UnknownSession)
                ),
                "{at} {name}"
            ),
        }
    }
    let deletions = store.deletions().unwrap();
    assert!(deletions.damage.is_empty(), "{:?}", deletions.damage);
    assert!(deletions.certificates.len() > 8);
}

#[test]
fn no_copy_of_the_store_opens_what_is_gone_with_the_keys_of_today() {
    let (life, store) = live();
    drop(store);
    let loot = life.loot.lock();
    let keys = loot.now.iter().filter(|(path, _)| path.starts_with("/keys"));
    let keys: Files = keys.map(|(p, b)| (p.clone(), Arc::clone(b))).collect();
    let (mut opened, mut refused, mut read) = (0, 0, 0);
    for copy in &loot.copies {
        let store_files = copy.iter().filter(|(path, _)| path.starts_with("/store"));
        let disk = disk_of(store_files.chain(&keys));
        let env = disk.env(&life.clock, 7);
        // What was readable when the copy was made, with the keys of that time.
        let then = disk_of(copy).env(&life.clock, 7);
        let has_key = KeyFile::open(&then, "/keys/key").is_ok();
        let then = has_key.then(|| Store::open_read_only(options(&then)).ok()).flatten();
        let Ok(store) = Store::open_read_only(options(&env)) else {
            assert!(then.is_none(), "a copy of the store opens with newer keys, too");
            continue;
        };
        opened += 1;
        for ((at, name), (events, fate)) in &life.sessions {
            let before = then.as_ref().and_then(|store| replayed(store, *at, name).ok());
            match (replayed(&store, *at, name), fate) {
                (Ok(_), Fate::Gone) => panic!("{name} of {at} opens in an old copy"),
                (Ok(old), Fate::Kept) => {
                    assert!(events.starts_with(&old));
                    assert!(before.is_none_or(|before| before == old));
                    read += 1;
                }
                (Err(e), Fate::Kept) => {
                    // A held session is read by its hold once its day has passed: an older copy has none.
                    let held = (*at, name.as_str()) == (0, "early-1");
                    assert!(before.is_none() || held, "{name} of {at}: {e}");
                }
                (Err(_), Fate::Gone) => refused += 1,
            }
        }
    }
    assert!(opened > 100 && read > 1_000 && refused > 1_000, "{opened} {read} {refused}");
}

#[test]
fn no_copy_of_an_older_keyring_opens_with_the_key_file_of_today() {
    let (life, store) = live();
    drop(store);
    let loot = life.loot.lock();
    let key_of_today = Arc::clone(&loot.now[Path::new("/keys/key")]);
    let mirror = Path::new("/keys/a/keyring");
    // Parts were replaced in its life.
    let ever: BTreeMap<_, _> = loot.copies.iter().flat_map(parts).collect();
    let now = parts(&loot.now).len();
    assert!(now > 5 && ever.len() > now, "{now} of {}", ever.len());
    let (mut dead, mut control) = (0, 0);
    let mut seen = Vec::new();
    for copy in &loot.copies {
        let Some(keyring) = copy.get(mirror).filter(|k| **k != loot.now[mirror]) else { continue };
        if seen.contains(&keyring) || !copy.contains_key(Path::new("/store/manifest")) {
            continue;
        }
        seen.push(keyring);
        let mut files = copy.clone();
        files.insert("/keys/b/keyring".into(), Arc::clone(keyring));
        // Whatever part there ever was, the thief has it.
        files.extend(ever.iter().map(|(path, part)| (path.to_path_buf(), Arc::clone(part))));
        let then = files.insert("/keys/key".into(), Arc::clone(&key_of_today));
        let disk = disk_of(&files);
        let opened = Store::open_read_only(options(&disk.env(&life.clock, 7)));
        assert!(matches!(opened, Err(Error::MissingKeyVersion(_) | Error::WrongKey(_))));
        dead += 1;
        // With the key file as it was then, the same copy opens: what is tested here can fail.
        files.insert("/keys/key".into(), then.unwrap());
        let disk = disk_of(&files);
        control += usize::from(Store::open_read_only(options(&disk.env(&life.clock, 7))).is_ok());
    }
    assert!(dead >= 10 && control >= 8, "{dead} {control}");
}
