//! A life of a store, driven by a list of operations, on a disk that may fail and crash.
//!
//! An operation is three bytes. What was acknowledged must be there, and what was deleted must not, in the store, for a reader beside
//! it, in its backups, and after whatever comes next.

mod copies;
mod deletions;
mod ledger;

use reelvault::backup::SimPlace;
use reelvault::env::sim::{Fault, Survival, When};
use reelvault::limits::DAY_MS;
use reelvault::{Chunk, Durability, Error, Query, Recovery, Session, Store, VisitorId};

use crate::world::World;
use crate::{NOON, SITES, events_at, session_id, site_id};
use ledger::{Ledger, Name};

/// Most operations of a life.
pub const OPERATIONS_MAX: usize = 52;

/// A store in its life.
pub struct Life {
    world: World,
    ledger: Ledger,
    store: Option<Store>,
    /// Seeds of randomness that were used: each process has its own.
    opened: u64,
    /// The disk is full from some operation on.
    failing: bool,
    bucket: SimPlace,
    /// Numbers of snapshots, and how many chunks were acknowledged when they were made.
    snapshots: Vec<(u64, usize)>,
}

/// Lives through a list of operations.
///
/// # Panics
/// If something is lost, or not gone.
pub fn live(input: &[u8]) {
    let mut life = Life {
        world: World::new(7).with_store(7),
        ledger: Ledger::default(),
        store: None,
        opened: 1_000,
        failing: false,
        bucket: SimPlace::new(NOON, 1),
        snapshots: Vec::new(),
    };
    for step in input.chunks_exact(3).take(OPERATIONS_MAX) {
        life.step(step[0], step[1], step[2]);
    }
    life.end();
}

impl Life {
    fn seed(&mut self) -> u64 {
        self.opened += 1;
        self.opened
    }

    fn now_ms(&self) -> u64 {
        reelvault::env::Clock::now_ms(&self.world.clock)
    }

    fn today(&self) -> u64 {
        self.now_ms() / DAY_MS
    }

    /// The store, opened if it is not.
    fn store(&mut self) -> &Store {
        let seed = self.seed();
        if self.store.is_none() {
            self.world.disk.heal();
            self.failing = false;
        }
        let world = &self.world;
        self.store.get_or_insert_with(|| world.open(Recovery::Strict, seed).expect("it opens"))
    }

    fn step(&mut self, kind: u8, a: u8, b: u8) {
        self.store();
        match kind % 32 {
            0..=10 => self.append(kind, a, b),
            11 => {
                if self.store().sync().is_ok() {
                    self.ledger.synced();
                }
                self.ledger.deferred.clear();
            }
            12 => self.work(Store::archive),
            13 => self.work(Store::maintain),
            14 => self.work(|store| store.reclaim(0.1).map(drop)),
            15 => self.work(|store| store.rotate_keys().map(drop)),
            16 => {
                if self.store.take().is_some_and(|store| store.close().is_ok()) {
                    self.ledger.synced();
                }
                self.ledger.deferred.clear();
            }
            17 => {
                // The power goes.
                drop(self.store.take());
                let survival = Survival::Random(u64::from(a) << 8 | u64::from(b));
                self.world.disk = self.world.disk.crash_image(survival);
                self.ledger.deferred.clear();
            }
            18 => {
                // The process is killed.
                let killed = self.world.disk.kill_image();
                drop(self.store.take());
                self.world.disk = killed;
                self.ledger.deferred.clear();
            }
            19 => {
                let when = self.world.disk.operations() + u64::from(a % 24);
                // A disk that is full from here on. What failing syncs do is enumerated by the_disk_is_full.
                self.world.disk.fail(When::From(when), Fault::Full);
                self.failing = true;
                self.ledger.deferred.clear();
            }
            20 => self.list(a, b),
            21 => self.world.clock.advance_ms(u64::from(a % 12) * DAY_MS + u64::from(b) * 60_000),
            22 => self.expire(),
            23 => self.hold(self.name(a, b)),
            24 => self.release(self.name(a, b)),
            25 | 26 => self.erase_session(self.name(a, b), kind & 32 != 0),
            27 => self.erase_visitor(a, kind & 32 != 0),
            28 => self.look_beside(),
            29 | 30 => self.back_up(),
            _ => self.look_at_backups(a & 1 != 0),
        }
    }

    /// A session: mostly one of today.
    fn name(&self, a: u8, b: u8) -> Name {
        let back = if b & 16 != 0 { u64::from(a >> 1 & 31) } else { 0 };
        let first = NOON / DAY_MS;
        let day = self.today().saturating_sub(back).max(first);
        Name { at: usize::from(a) % SITES.len(), n: a >> 6, day }
    }

    fn append(&mut self, kind: u8, a: u8, b: u8) {
        let (name, seq) = (self.name(a, b), u64::from(b % 16));
        let start_ms = NOON % DAY_MS + name.day * DAY_MS;
        let mut all = events_at(&name.text(), seq, start_ms);
        if kind & 64 != 0 {
            let pad = "x".repeat(usize::from(b) * 150);
            all.extend(format!("{{\"timestamp\":{start_ms},\"pad\":\"{pad}\"}}\n").bytes());
        }
        // A chunk that is sent again is the same one.
        let state = self.ledger.sessions.entry(name).or_default();
        let all = state.sent.entry(seq).or_insert(all).clone();
        let chunk = Chunk::from_events(seq, all).expect("a chunk");
        let late = kind & 128 != 0;
        let durability = if late { Durability::Deferred } else { Durability::Synced };
        let site = self.store().site(&site_id(name.at)).expect("a site");
        match (site.append_with(&session(name), &chunk, durability), late) {
            (Ok(_), _) if self.is_erased(name) => panic!("{name:?} was erased and is written"),
            (Ok(_), false) => self.ledger.acknowledged.push((name, seq)),
            // While a disk is full, nobody may be told of a deferred chunk: see the_disk_is_full.
            (Ok(_), true) if self.failing => {}
            (Ok(_), true) => self.ledger.deferred.push((name, seq)),
            (Err(Error::Erased), _) if self.may_be_erased(name) => {}
            (Err(Error::Expired { .. }), _) if name.expiry_day() <= self.today() => {}
            (Err(e), _) => self.failed(&e),
        }
    }

    /// Something failed; it may, on a full disk. With a group that found no room go the deferred chunks in it.
    fn failed(&mut self, e: &Error) {
        assert!(self.failing, "{e}");
        self.ledger.deferred.clear();
    }

    fn work(&mut self, work: impl Fn(&Store) -> Result<(), Error>) {
        if let Err(e) = work(self.store()) {
            self.failed(&e);
        }
    }

    fn list(&mut self, a: u8, b: u8) {
        for at in 0..SITES.len() {
            let site = self.store().site(&site_id(at)).expect("a site");
            let from = NOON + u64::from(a) * 100;
            let query = Query::new().between(from, from + u64::from(b) * 100);
            let page = site.sessions(&query.limit(usize::from(b % 3))).expect("a page");
            assert!(page.damage.is_empty());
        }
    }

    fn end(&mut self) {
        drop(self.store.take());
        self.world.disk.heal();
        for survival in [Survival::Nothing, Survival::Everything] {
            let seed = self.seed();
            let disk = self.world.disk.crash_image(survival);
            let world = World { disk, ..self.world.clone() };
            let store = world.open(Recovery::Strict, seed).expect("it opens");
            self.check(&store);
        }
    }

    fn check(&self, store: &Store) {
        let all = self.ledger.acknowledged.len();
        self.ledger.check(store, self.now_ms(), all, true);
    }
}

fn visitor(n: u8) -> VisitorId {
    VisitorId::new(format!("visitor-{}", n % 2)).expect("an id")
}

fn session(name: Name) -> Session {
    Session::new(session_id(&name.text())).visitor(visitor(name.n))
}
