//! Crashes and failing disks at every step of publishing, with the key file on the same disk, and a thief who keeps every
//! version of every file.

use std::collections::BTreeSet;

use super::*;
use crate::env::sim::{Fault, SimClock, SimDisk, Survival, When};

const KEY: &str = "/keys/key";
const MIRRORS: [&str; 2] = ["/a/keyring", "/b/keyring"];
/// Places in the tree of the site: one that a change removes, and one that the next removes.
const FIRST: u64 = 7;
const SECOND: u64 = 8;

/// Every version of every mirror and of what stands beside it, and of the key file.
#[derive(Default, Clone)]
struct Loot {
    copies: BTreeSet<Vec<u8>>,
    keys: BTreeSet<Vec<u8>>,
}

impl Loot {
    fn take(&mut self, disk: &SimDisk) {
        for mirror in MIRRORS {
            for name in [mirror.to_owned(), format!("{mirror}.new")] {
                self.copies.extend(disk.file_bytes(name).ok());
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
}

fn mirrors() -> Vec<PathBuf> {
    MIRRORS.map(PathBuf::from).to_vec()
}

impl World {
    /// A keyring with one site, in its second generation.
    fn new() -> Self {
        let (env, disk, clock) = crate::env::sim::env(1);
        let world = Self { disk, clock, loot: Arc::default() };
        world.watch();
        let key = Arc::new(KeyFile::create(&env, KEY).unwrap());
        Keyring::create(&env, &mirrors(), key).unwrap().add_site(id("shop"), 30, 5).unwrap();
        world
    }

    /// The same with what a crash now leaves of the disk. The thief keeps the loot so far; what another future of the same
    /// disk holds is not in it, for with the same seed it has the same keys.
    fn crash(&self, survival: Survival) -> Self {
        let disk = self.disk.crash_image(survival);
        let loot = Arc::new(Mutex::new(self.loot.lock().clone()));
        let world = Self { disk, clock: self.clock.clone(), loot };
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
        Keyring::open(&env, &mirrors(), key, read_only)
    }

    /// Asserts that it is the generation before or after the first change, whole; whether it is the one after.
    fn is_old_or_new(&self, seed: u64) -> bool {
        let generations = [true, false].map(|read_only| {
            let keyring = self.open(seed, read_only).unwrap();
            (keyring.generation(), has(&keyring, FIRST), has(&keyring, SECOND))
        });
        assert_eq!(generations[0], generations[1], "the same for readers and writers");
        let (generation, first, second) = generations[0];
        assert!(second && generation >= 2 && first == (generation == 2), "{generations:?}");
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
fn operations_of_a_change() -> (u64, u64) {
    let world = World::new();
    let keyring = world.open(2, false).unwrap();
    let from = world.disk.operations();
    assert!(erase(&keyring, FIRST).unwrap().is_final());
    world.nothing_older_opens();
    (from, world.disk.operations())
}

#[test]
fn the_thief_can_open_older_copies_with_older_key_files() {
    let world = World::new();
    erase(&world.open(2, false).unwrap(), FIRST).unwrap();
    world.nothing_older_opens();
    // Were this not so, the other tests here would show nothing.
    let keys = world.loot.lock().keys.clone();
    let opened: usize = keys.iter().map(|key| world.opened_by(key)).sum();
    assert!(opened >= 2, "{opened} of the older copies opened with older key files");
}

#[test]
fn a_crash_at_any_operation_leaves_the_old_or_the_new_generation_whole() {
    let (from, to) = operations_of_a_change();
    assert!(to - from > 12);
    let (mut old, mut new) = (0, 0);
    for at in from..=to {
        for bytes in [0, 64] {
            let world = World::new();
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
    let (from, to) = operations_of_a_change();
    for at in from..=to {
        let world = World::new();
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
    let (from, to) = operations_of_a_change();
    for at in from..to {
        for fault in [Fault::Io, Fault::Full] {
            for when in [When::Once(at), When::From(at)] {
                let world = World::new();
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
                    assert!(world.crash(survival).is_old_or_new(3) || result.is_err());
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
        let world = World { disk, clock, loot: Arc::default() };
        let key = Arc::new(KeyFile::create(&env, KEY).unwrap());
        world.disk.crash_at(world.disk.operations() + at);
        let made = Keyring::create(&env, &mirrors(), key);
        for survival in [Survival::Nothing, Survival::Everything, Survival::Random(at)] {
            let after = world.crash(survival);
            match after.open(2, false) {
                Ok(keyring) => assert!(keyring.generation() == 1 && keyring.sites().is_empty()),
                Err(e) => {
                    assert!(made.is_err() && matches!(e, Error::Io { .. }), "{e}");
                    let env = after.disk.env(&after.clock, 3);
                    let key = Arc::new(KeyFile::open(&env, KEY).unwrap());
                    Keyring::create(&env, &mirrors(), key).unwrap();
                }
            }
        }
        if made.is_ok() {
            assert!(at > 10);
            break;
        }
    }
}
