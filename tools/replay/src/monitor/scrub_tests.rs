use reelvault::env::Clock;
use reelvault::env::sim::{SimClock, SimDisk};
use reelvault::{Chunk, KeyFile, Options, Session, SessionId, SiteId};

use super::*;
use crate::source::LiveStore;

const DAY_MS: u64 = 86_400_000;
/// More than any test reads in a moment.
const AT_ONCE: u64 = u64::MAX;

/// A store with three segments and a journal on a simulated disk, and the service's folder beside it.
struct World {
    env: Env,
    disk: SimDisk,
    clock: SimClock,
    source: LiveStore,
}

impl World {
    fn new() -> Self {
        let (env, disk, clock) = reelvault::env::sim::env(1);
        for folder in ["/keys", "/state"] {
            env.disk.create_dir(folder.as_ref()).unwrap();
        }
        let key = Arc::new(KeyFile::create(&env, Path::new("/keys/key")).unwrap());
        let options = Options::new("/store", [PathBuf::from("/keys/keyring")], key);
        let options = options.env(env.clone()).journal_bytes(64 << 10).fill_bytes(16 << 10);
        let store = Store::create(options.background(false)).unwrap();
        let site = store.add_site(SiteId::new("shop.example").unwrap(), 30).unwrap();
        for n in 0..4 {
            let at_ms = clock.now_ms() - n * DAY_MS;
            let events: String = (0..100)
                .map(|i| format!("{{\"type\":3,\"timestamp\":{},\"data\":{n}}}\n", at_ms + i))
                .collect();
            let session = Session::new(SessionId::new(format!("s-{n}")).unwrap());
            site.append(&session, &Chunk::from_events(0, events.as_bytes()).unwrap()).unwrap();
            if n < 3 {
                store.archive().unwrap();
            }
        }
        Self { env, disk, clock, source: LiveStore::new(store, None) }
    }

    /// The scrub of a service that has just started.
    fn scrub(&self) -> Scrub {
        self.scrub_after(false)
    }

    fn scrub_after(&self, was_damaged: bool) -> Scrub {
        let sealer = self.source.store().sealer(PURPOSE).unwrap();
        Scrub::open(&self.env, Path::new("/state"), sealer, was_damaged)
    }

    /// The segment that a round begins with, where all were verified at one time.
    fn first(&self) -> SegmentStatus {
        let segments = self.source.store().segments().into_iter();
        segments.min_by_key(|s| *s.id.as_bytes()).unwrap()
    }

    fn path(&self, segment: SegmentStatus) -> PathBuf {
        Path::new("/store").join(segment_name(segment.id))
    }
}

fn round(world: &World, scrub: &Scrub) -> Result<(), Error> {
    scrub.round(&world.source, &Metrics::new(), AT_ONCE, &|| false)
}

/// Bytes that were verified by looking again.
fn look_again(world: &World, scrub: &Scrub) -> u64 {
    let metrics = Metrics::new();
    scrub.look_again(&world.source, &metrics, AT_ONCE, &|| false).unwrap();
    metrics.scrubbed.get()
}

/// One sector could not be read: each round ended there, and all that comes after it was never verified again.
#[test]
fn a_bad_sector_is_damage_and_keeps_nothing_else_from_being_verified() {
    let world = World::new();
    let scrub = world.scrub();
    round(&world, &scrub).unwrap();
    assert!(scrub.damaged().is_empty());
    let (first, before_ms) = (world.first(), world.clock.now_ms());
    world.disk.lose_sector(world.path(first), 600).unwrap();
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "rvj");
    for journal in world.disk.paths().into_iter().filter(is_journal) {
        // In its first frame. What is looked at last is looked at.
        world.disk.corrupt(journal, 4096 + 100, 1).unwrap();
    }
    world.clock.advance_ms(1_000);
    round(&world, &scrub).unwrap();
    let damaged = scrub.damaged();
    assert!(damaged.contains(&segment_name(first.id)), "{damaged:?}");
    assert!(damaged.iter().any(|file| file.starts_with("journal/")), "{damaged:?}");
    let known = scrub.known.lock().unwrap();
    for (id, ms) in &known.verified_ms {
        assert_eq!(*ms, if *id == first.id { before_ms } else { before_ms + 1_000 });
    }
    assert_eq!((known.verified_ms.len(), known.done, known.of), (3, 3, 3));
}

/// A restart took everything for sound until the scrub had come by again, which may take days, or never where it is off.
#[test]
fn what_is_damaged_is_known_after_a_restart_until_it_is_mended() {
    let world = World::new();
    let first = world.first();
    let good = world.disk.file_bytes(world.path(first)).unwrap();
    world.disk.corrupt(world.path(first), 600, 1).unwrap();
    let scrub = world.scrub();
    scrub.met(&segment_name(first.id));
    scrub.met("manifest");
    scrub.keep_damaged();

    let scrub = world.scrub();
    assert_eq!(scrub.damaged(), ["manifest".to_owned(), segment_name(first.id)]);
    assert_eq!(look_again(&world, &scrub), first.bytes, "nothing else is read");
    assert_eq!(scrub.damaged(), [segment_name(first.id)]);
    scrub.keep_damaged();
    assert_eq!(world.scrub().damaged(), [segment_name(first.id)]);

    world.disk.write_file(world.path(first), &good).unwrap();
    let scrub = world.scrub();
    assert_eq!(look_again(&world, &scrub), first.bytes);
    assert!(scrub.damaged().is_empty());
    scrub.keep_damaged();
    assert!(world.scrub().damaged().is_empty());
    assert_eq!(look_again(&world, &scrub), 0);
}

/// What could not be read told of no damage: a restart closed the incident, and nothing was looked at.
#[test]
fn what_was_damaged_and_cannot_be_read_is_not_known_until_a_round_was_made() {
    let world = World::new();
    let first = world.first();
    world.disk.corrupt(world.path(first), 600, 1).unwrap();
    let scrub = world.scrub();
    scrub.met(&segment_name(first.id));
    scrub.keep_damaged();
    world.disk.corrupt("/state/damaged", 20, 1).unwrap();

    let scrub = world.scrub_after(true);
    assert!(scrub.is_unknown());
    scrub.met("manifest");
    scrub.keep_damaged();
    let scrub = world.scrub_after(true);
    assert!(scrub.is_unknown(), "a part of it is not taken for all of it");
    scrub.round(&world.source, &Metrics::new(), AT_ONCE, &|| true).unwrap();
    assert!(scrub.is_unknown(), "it was stopped");
    round(&world, &scrub).unwrap();
    assert!(!scrub.is_unknown());
    assert_eq!(scrub.damaged(), [segment_name(first.id)]);
    let scrub = world.scrub_after(true);
    assert!(!scrub.is_unknown());
    assert_eq!(scrub.damaged(), [segment_name(first.id)]);

    world.disk.remove_file("/state/damaged").unwrap();
    assert!(world.scrub_after(true).is_unknown());
    assert!(!world.scrub().is_unknown(), "nothing was damaged");
}
