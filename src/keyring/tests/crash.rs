//! Crashes and failing disks at every step of publishing, with the key file on the same disk, and a thief who keeps every
//! version of every file.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::env::sim::{Fault, SimClock, SimDisk, Survival, When};

const KEY: &str = "/keys/key";
const MIRRORS: [&str; 2] = ["/a/keyring", "/b/keyring"];
/// Places in the tree of the site: one that a change removes, and one that the next removes.
const FIRST: u64 = 0x7d3c_1a5e_90b2_44f7;
const SECOND: u64 = 0x7d91_66e0_0c3b_8a15;
/// Multiples of it are spread over all places.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Sizes at which the keyring is all in one file, and at which it has parts of both kinds.
const IN_ONE: usize = PART_BYTES;
const IN_PARTS: usize = 4_096;

/// Every version of every mirror, of its parts and of what stands beside it, and of the key file.
#[derive(Default, Clone)]
struct Loot {
    copies: BTreeSet<Vec<u8>>,
    parts: BTreeMap<PathBuf, Vec<u8>>,
    keys: BTreeSet<Vec<u8>>,
}

impl Loot {
    fn take(&mut self, disk: &SimDisk) {
        for mirror in MIRRORS {
            for name in [mirror.to_owned(), format!("{mirror}.new")] {
                self.copies.extend(disk.file_bytes(name).ok());
            }
        }
        let parts = disk.paths().into_iter().filter(|path| is_part(path));
        for path in parts.filter(|path| path.starts_with("/a")) {
            let Ok(bytes) = disk.file_bytes(&path) else { continue };
            let known = self.parts.entry(path).or_default();
            // As they were when they were whole.
            if bytes.len() >= known.len() {
                *known = bytes;
            }
        }
        self.keys.extend(disk.file_bytes(KEY).ok());
    }
}

#[derive(Clone)]
struct World {
    disk: SimDisk,
    clock: SimClock,
    loot: Arc<Mutex<Loot>>,
    part_bytes: usize,
}

fn is_part(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.extension().is_some_and(|end| end == "parts"))
}

fn mirrors() -> Vec<PathBuf> {
    MIRRORS.map(PathBuf::from).to_vec()
}

impl World {
    /// A keyring in its second generation: with one site, or with so many and with so much erased that it has parts.
    fn new(part_bytes: usize) -> Self {
        let (env, disk, clock) = crate::env::sim::env(1);
        let world = Self { disk, clock, loot: Arc::default(), part_bytes };
        world.watch();
        let key = Arc::new(KeyFile::create(&env, KEY).unwrap());
        let keyring = Keyring::create(&env, &mirrors(), key, part_bytes, any_store(&env)).unwrap();
        let (sites, erased) = if part_bytes == IN_ONE { (0, 0) } else { (30, 12) };
        let fill = |next: &mut Next<'_>| {
            let shop = next.add_site(id("shop"), 30, 5)?;
            for n in 0..sites {
                next.add_site(id(&format!("s-{n}")), 30, 5)?;
            }
            let places: Vec<u64> = (1..=erased).map(|n: u64| n.wrapping_mul(GOLDEN)).collect();
            Ok(next.puncture(&shop.handle(), &places))
        };
        keyring.change(fill).unwrap();
        let parts = world.disk.paths().iter().filter(|path| is_part(path)).count();
        assert_eq!(parts > 10, part_bytes == IN_PARTS, "{parts}");
        world
    }

    /// The same with what a crash now leaves of the disk. The thief keeps the loot so far; what another future of the same
    /// disk holds is not in it, for with the same seed it has the same keys.
    fn crash(&self, survival: Survival) -> Self {
        let disk = self.disk.crash_image(survival);
        let loot = Arc::new(Mutex::new(self.loot.lock().clone()));
        let world = Self { disk, clock: self.clock.clone(), loot, part_bytes: self.part_bytes };
        world.watch();
        world
    }

    /// The thief looks before every operation.
    fn watch(&self) {
        let loot = self.loot.clone();
        self.disk.on_operation(move |disk, _| loot.lock().take(disk));
    }

    fn open(&self, seed: u64, read_only: bool) -> Result<Keyring> {
        let env = self.disk.env(&self.clock, seed);
        let key = Arc::new(KeyFile::open(&env, KEY)?);
        Keyring::open(&env, &mirrors(), key, read_only, self.part_bytes)
    }

    /// Asserts that it is the generation before or after the first change, whole; whether it is the one after. What was before is 2, or
    /// higher than 3 if it was published again after the change had failed.
    fn is_old_or_new(&self, seed: u64) -> bool {
        let generations = [true, false].map(|read_only| {
            let keyring = self.open(seed, read_only).unwrap();
            (keyring.generation(), has(&keyring, FIRST), has(&keyring, SECOND))
        });
        assert_eq!(generations[0], generations[1], "the same for readers and writers");
        let (generation, first, second) = generations[0];
        assert!(second && generation >= 2 && first == (generation != 3), "{generations:?}");
        !first
    }

    /// How many of the stolen copies, other than the current one, a key file opens.
    fn opened_by(&self, key: &[u8]) -> usize {
        let current = self.disk.file_bytes(MIRRORS[0]).unwrap();
        let loot = self.loot.lock();
        let opens = |copy: &&Vec<u8>| {
            let disk = SimDisk::new();
            disk.write_file(KEY, key).unwrap();
            disk.write_file(MIRRORS[0], copy).unwrap();
            for (path, bytes) in &loot.parts {
                disk.write_file(path, bytes).unwrap();
            }
            Self { disk, ..self.clone() }.open(99, true).is_ok()
        };
        loot.copies.iter().filter(|copy| **copy != current).filter(opens).count()
    }

    /// Asserts that nothing but the current generation opens with the key file as a power cut would leave it.
    fn nothing_older_opens(&self) {
        self.loot.lock().take(&self.disk);
        let durable = self.disk.crash_image(Survival::Nothing);
        for disk in [&self.disk, &durable] {
            assert_eq!(disk.file_bytes(MIRRORS[0]).unwrap(), disk.file_bytes(MIRRORS[1]).unwrap());
            assert_eq!(self.opened_by(&disk.file_bytes(KEY).unwrap()), 0);
        }
        // And every part of it is in both mirrors, and no other.
        let parts = |of: &str| -> BTreeMap<PathBuf, Vec<u8>> {
            let there = self.disk.paths().into_iter().filter(|path| is_part(path));
            let there = there.filter(|path| path.starts_with(of));
            there
                .map(|p| (p.file_name().unwrap().into(), self.disk.file_bytes(&p).unwrap()))
                .collect()
        };
        let named: BTreeSet<PathBuf> = {
            let keyring = self.open(98, true).unwrap();
            let live = keyring.live.read();
            live.parts().map(|id| PathBuf::from(id.to_string())).collect()
        };
        assert_eq!(parts("/a").into_keys().collect::<BTreeSet<_>>(), named);
        assert_eq!(parts("/a"), parts("/b"));
    }
}

fn has(keyring: &Keyring, place: u64) -> bool {
    keyring.site(&id("shop")).unwrap().leaf(place).is_some()
}

fn erase(keyring: &Keyring, place: u64) -> Result<Published> {
    let site = keyring.site(&id("shop")).unwrap().handle();
    keyring.change(|next| Ok(next.puncture(&site, &[place]))).map(|(_, published)| published)
}

/// How many operations a change makes.
fn operations_of_a_change(part_bytes: usize) -> (u64, u64) {
    let world = World::new(part_bytes);
    let keyring = world.open(2, false).unwrap();
    let from = world.disk.operations();
    assert!(erase(&keyring, FIRST).unwrap().is_final());
    world.nothing_older_opens();
    (from, world.disk.operations())
}

#[test]
fn the_thief_can_open_older_copies_with_older_key_files() {
    for part_bytes in [IN_ONE, IN_PARTS] {
        older_copies_open_with_older_key_files(part_bytes);
    }
}

fn older_copies_open_with_older_key_files(part_bytes: usize) {
    let world = World::new(part_bytes);
    erase(&world.open(2, false).unwrap(), FIRST).unwrap();
    world.nothing_older_opens();
    // Were this not so, the other tests here would show nothing.
    let keys = world.loot.lock().keys.clone();
    let opened: usize = keys.iter().map(|key| world.opened_by(key)).sum();
    assert!(opened >= 2, "{opened} of the older copies opened with older key files");
}

#[test]
fn a_crash_at_any_operation_leaves_the_old_or_the_new_generation_whole() {
    crash_at_any_operation(IN_ONE);
}

#[test]
fn a_crash_at_any_operation_leaves_the_old_or_the_new_generation_in_parts_whole() {
    crash_at_any_operation(IN_PARTS);
}

fn crash_at_any_operation(part_bytes: usize) {
    let (from, to) = operations_of_a_change(part_bytes);
    assert!(to - from > 12);
    let (mut old, mut new) = (0, 0);
    for at in from..=to {
        for bytes in [0, 64] {
            let world = World::new(part_bytes);
            let keyring = world.open(2, false).unwrap();
            world.disk.crash_within(at, bytes);
            let done = erase(&keyring, FIRST).is_ok_and(|published| published.is_final());
            drop(keyring);
            let random = (0..6).map(|n| Survival::Random(at * 31 + n));
            let kept = [Survival::Nothing, Survival::Everything, Survival::Before(at)];
            for survival in kept.into_iter().chain(random) {
                let after = world.crash(survival);
                let is_new = after.is_old_or_new(3);
                assert!(is_new || !done, "a change that returned is lost: {at} {survival:?}");
                *if is_new { &mut new } else { &mut old } += 1;
                // What was erased before and after the crash is out of reach once a change has returned.
                assert!(erase(&after.open(4, false).unwrap(), SECOND).unwrap().is_final());
                after.nothing_older_opens();
            }
        }
    }
    assert!(old > 20 && new > 20, "{old} old and {new} new");
}

#[test]
fn a_crash_while_a_crash_is_mended_does_no_more_harm() {
    crash_while_a_crash_is_mended(IN_ONE);
}

#[test]
fn a_crash_while_a_crash_is_mended_does_no_more_harm_to_parts() {
    crash_while_a_crash_is_mended(IN_PARTS);
}

fn crash_while_a_crash_is_mended(part_bytes: usize) {
    let (from, to) = operations_of_a_change(part_bytes);
    for at in from..=to {
        let world = World::new(part_bytes);
        let keyring = world.open(2, false).unwrap();
        world.disk.crash_at(at);
        let _ = erase(&keyring, FIRST);
        for again in 0.. {
            let mending = world.crash(Survival::Random(at * 7 + again));
            mending.disk.crash_at(again);
            let opened = mending.open(3, false);
            let crashed = mending.disk.crashed();
            let after = mending.crash(Survival::Random(at * 11 + again));
            after.is_old_or_new(4);
            assert!(erase(&after.open(5, false).unwrap(), SECOND).unwrap().is_final());
            after.nothing_older_opens();
            if !crashed {
                opened.unwrap();
                break;
            }
        }
    }
}

#[test]
fn a_failing_or_full_disk_at_any_operation_leaves_a_generation_whole() {
    failing_or_full_disk(IN_ONE);
}

#[test]
fn a_failing_or_full_disk_at_any_operation_leaves_a_generation_in_parts_whole() {
    failing_or_full_disk(IN_PARTS);
}

fn failing_or_full_disk(part_bytes: usize) {
    let (from, to) = operations_of_a_change(part_bytes);
    for at in from..to {
        for fault in [Fault::Io, Fault::Full] {
            for when in [When::Once(at), When::From(at)] {
                let world = World::new(part_bytes);
                let keyring = world.open(2, false).unwrap();
                world.disk.fail(when, fault);
                let result = erase(&keyring, FIRST);
                if let Ok(published) = &result {
                    assert!(!has(&keyring, FIRST));
                    assert!(
                        published.is_final() || !keyring.status().unwrap().undestroyed.is_empty()
                    );
                } else {
                    assert!(has(&keyring, FIRST), "what failed does not count");
                }
                world.disk.heal();
                for survival in [Survival::Nothing, Survival::Everything, Survival::Random(at)] {
                    let is_new = world.crash(survival).is_old_or_new(3);
                    assert!(is_new || result.is_err());
                    let goes_on = matches!(when, When::Once(_));
                    assert!(!(is_new && goes_on && result.is_err()), "it counts later: {at}");
                }
                // It goes on in the same process, and the next change ends what this one could not.
                assert!(erase(&keyring, SECOND).unwrap().is_final());
                assert!(keyring.status().unwrap().undestroyed.is_empty());
                world.nothing_older_opens();
            }
        }
    }
}

#[test]
fn a_crash_while_a_keyring_is_made_leaves_one_or_none() {
    for at in 0.. {
        let (env, disk, clock) = crate::env::sim::env(1);
        let world = World { disk, clock, loot: Arc::default(), part_bytes: IN_ONE };
        let key = Arc::new(KeyFile::create(&env, KEY).unwrap());
        world.disk.crash_at(world.disk.operations() + at);
        let made = Keyring::create(&env, &mirrors(), key, IN_ONE, any_store(&env));
        for survival in [Survival::Nothing, Survival::Everything, Survival::Random(at)] {
            let after = world.crash(survival);
            match after.open(2, false) {
                Ok(keyring) => assert!(keyring.generation() == 1 && keyring.sites().is_empty()),
                Err(e) => {
                    assert!(made.is_err() && matches!(e, Error::Io { .. }), "{e}");
                    let env = after.disk.env(&after.clock, 3);
                    let key = Arc::new(KeyFile::open(&env, KEY).unwrap());
                    let store = any_store(&env);
                    Keyring::create(&env, &mirrors(), key, IN_ONE, store).unwrap();
                }
            }
        }
        if made.is_ok() {
            assert!(at > 10);
            break;
        }
    }
}

/// All mirrors were renamed, and the process was killed before it could make that durable. The next one found the new generation
/// everywhere, destroyed the key of the old one, and lost its power: the mirrors were old again, and dead. With one mirror
/// this had always been possible.
#[test]
fn what_a_killed_process_put_in_place_is_durable_before_older_keys_end() {
    for (count, part_bytes) in [(1, IN_ONE), (2, IN_ONE), (2, IN_PARTS)] {
        let world = World::new(part_bytes);
        let paths = mirrors()[..count].to_vec();
        let open = move |disk: &SimDisk, clock: &SimClock, seed| {
            let env = disk.env(clock, seed);
            let key = Arc::new(KeyFile::open(&env, KEY).unwrap());
            Keyring::open(&env, &paths, key, false, part_bytes).unwrap()
        };
        let keyring = open(&world.disk, &world.clock, 2);
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let (clock, into, look) = (world.clock.clone(), Arc::clone(&seen), open.clone());
        world.disk.on_operation(move |disk, _| {
            let killed = disk.kill_image();
            let found = look(&killed, &clock, 3).generation();
            let cut = killed.crash_image(Survival::Nothing);
            assert_eq!(look(&cut, &clock, 4).generation(), found, "it was shown once");
            into.lock().insert(found);
        });
        erase(&keyring, FIRST).unwrap();
        erase(&keyring, SECOND).unwrap();
        assert!(seen.lock().len() >= 3, "{count}");
    }
}
