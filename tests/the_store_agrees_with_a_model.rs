//! Random lives of a store beside a plain list of chunks: after every step both answer the same.
//!
//! A life appends to a few sessions of two sites, durably and deferred, late, twice and out of order, syncs, archives, does the
//! background work, lets time pass, closes and opens the store again, and in between lists windows in pages, asks for
//! sessions and replays them whole, from a time and until a time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::collections::BTreeMap;

use common::sim::{SITES, World};
use common::{DAY, NOON, session_id, site_id};
use proptest::prelude::*;
use reelvault::limits::SESSION_SPAN_MS_MAX;
use reelvault::{
    Chunk, Cursor, Durability, Error, Kind, Order, Query, Session, SessionInfo, Site, Snapshot,
    Store, VisitorId,
};

/// One step of a life.
#[derive(Debug, Clone)]
enum Step {
    Append {
        at: usize,
        session: u8,
        seq: u64,
        jitter_ms: u64,
        span_ms: u64,
        shape: u8,
        deferred: bool,
    },
    Sync,
    Archive,
    Maintain,
    Reopen {
        close: bool,
    },
    Pass {
        ms: u64,
    },
    List {
        at: usize,
        window: Option<(u64, u64)>,
        oldest: bool,
        visitor: Option<u8>,
        limit: usize,
    },
    Replay {
        at: usize,
        session: u8,
        from: Option<u64>,
        until: Option<u64>,
    },
    Info {
        at: usize,
        session: u8,
    },
    /// Another process looks at what is durable.
    ReadOnly {
        at: usize,
        session: u8,
    },
}

/// Sessions of a site. Their bases are spread over three days, some of them at the same millisecond.
const SESSIONS: u8 = 7;
const BASES: [u64; 7] = [0, 0, 3_600_000, DAY / 2 - 1000, DAY / 2 + 500, DAY, 2 * DAY + 7];
const FIRST: u64 = NOON - 2 * DAY;
/// A window of times that matters: around the sessions.
const TIMES: std::ops::Range<u64> = FIRST - 3 * DAY..NOON + 4 * DAY;

fn time() -> impl Strategy<Value = u64> {
    let near =
        (0..SESSIONS as usize, 0u64..200_000).prop_map(|(n, d)| FIRST + BASES[n] + d - 20_000);
    let exact = (0..SESSIONS as usize, 0u64..20).prop_map(|(n, d)| FIRST + BASES[n] + d * 1000);
    prop_oneof![4 => near, 4 => exact, 2 => TIMES, 1 => Just(0), 1 => Just(u64::MAX)]
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..SITES.len();
    let session = 0..SESSIONS;
    let append = (at.clone(), session.clone(), prop_oneof![0u64..12, 0u64..40])
        .prop_flat_map(|(at, session, seq)| {
            let span = prop_oneof![Just(0u64), 0u64..3_000, 0u64..40_000_000];
            let jitter = prop_oneof![Just(0u64), 0u64..1_000, 0u64..90_000_000];
            (Just((at, session, seq)), jitter, span, any::<u8>(), prop::bool::weighted(0.2))
        })
        .prop_map(|((at, session, seq), jitter_ms, span_ms, shape, deferred)| Step::Append {
            at,
            session,
            seq,
            jitter_ms,
            span_ms,
            shape,
            deferred,
        });
    let window = prop::option::weighted(0.7, (time(), time()));
    let visitor = prop::option::weighted(0.3, 0u8..3);
    let limit = prop_oneof![1usize..4, Just(1000usize)];
    let list = (at.clone(), window, any::<bool>(), visitor, limit).prop_map(
        |(at, window, oldest, visitor, limit)| Step::List { at, window, oldest, visitor, limit },
    );
    let when = || prop::option::weighted(0.5, time());
    let replay = (at.clone(), session.clone(), when(), when())
        .prop_map(|(at, session, from, until)| Step::Replay { at, session, from, until });
    let info = (at.clone(), session.clone()).prop_map(|(at, session)| Step::Info { at, session });
    let read_only = (at, session).prop_map(|(at, session)| Step::ReadOnly { at, session });
    prop_oneof![
        20 => append,
        1 => Just(Step::Sync),
        2 => Just(Step::Archive),
        2 => Just(Step::Maintain),
        1 => any::<bool>().prop_map(|close| Step::Reopen { close }),
        1 => (0u64..7_200_000).prop_map(|ms| Step::Pass { ms }),
        6 => list,
        6 => replay,
        3 => info,
        2 => read_only,
    ]
}

/// A chunk as the model keeps it.
#[derive(Debug, Clone)]
struct Kept {
    first_ms: u64,
    last_ms: u64,
    events: Vec<u8>,
    count: u64,
    snapshots: Vec<Snapshot>,
}

/// A session as the model keeps it.
#[derive(Debug, Clone)]
struct Model {
    name: String,
    visitor: Option<VisitorId>,
    kind: Kind,
    retention_days: u32,
    start_ms: u64,
    chunks: BTreeMap<u64, Kept>,
}

impl Model {
    fn first_ms(&self) -> u64 {
        self.chunks.values().map(|c| c.first_ms).min().unwrap()
    }

    fn last_ms(&self) -> u64 {
        self.chunks.values().map(|c| c.last_ms).max().unwrap()
    }

    fn gaps(&self) -> Vec<std::ops::Range<u64>> {
        let (mut gaps, mut next) = (Vec::new(), 0);
        for (seq, _) in self.chunks.iter() {
            if *seq > next {
                gaps.push(next..*seq);
            }
            next = seq + 1;
        }
        gaps
    }

    fn compare(&self, info: &SessionInfo) {
        assert_eq!(info.id.as_str(), self.name);
        assert_eq!(info.visitor, self.visitor);
        assert_eq!((info.kind, info.retention_days), (self.kind, self.retention_days));
        assert_eq!(info.start_ms, self.start_ms, "{}", self.name);
        assert_eq!((info.first_ms, info.last_ms), (self.first_ms(), self.last_ms()));
        assert_eq!(info.expiry_day, (self.start_ms / DAY) as u32 + self.retention_days + 1);
        assert_eq!(info.chunks as usize, self.chunks.len());
        assert_eq!(info.events, self.chunks.values().map(|c| c.count).sum::<u64>());
        let raw_bytes: usize = self.chunks.values().map(|c| c.events.len()).sum();
        assert_eq!(info.raw_bytes, raw_bytes as u64);
        assert!(info.stored_bytes > 0);
        assert_eq!(info.gaps, self.gaps());
        let snapshots = self.chunks.values().flat_map(|c| c.snapshots.iter().map(|s| s.ms));
        let mut snapshots: Vec<u64> = snapshots.collect();
        snapshots.sort_unstable();
        assert_eq!(info.snapshots, snapshots);
        let attribute = [("page".to_owned(), format!("/{}", self.name))];
        assert_eq!(info.attributes, attribute);
    }

    /// What a replay yields: number, events, and where its snapshots are.
    fn replay(&self, from: Option<u64>, until: Option<u64>) -> Vec<(u64, Vec<u8>, Vec<Snapshot>)> {
        let best = from.and_then(|ms| {
            let all = self
                .chunks
                .iter()
                .flat_map(|(seq, c)| c.snapshots.iter().map(move |s| (s.ms, *seq, s.offset)));
            all.filter(|s| s.0 <= ms).max()
        });
        let (_, first, offset) = best.unwrap_or((0, 0, 0));
        let wanted = |(seq, c): &(&u64, &Kept)| {
            **seq >= first && until.is_none_or(|until| c.first_ms <= until)
        };
        self.chunks
            .iter()
            .filter(wanted)
            .map(|(seq, c)| {
                let cut = if *seq == first { offset } else { 0 };
                let later = c.snapshots.iter().filter(|s| s.offset >= cut);
                let later = later.map(|s| Snapshot { offset: s.offset - cut, ms: s.ms }).collect();
                (*seq, c.events[cut as usize..].to_vec(), later)
            })
            .collect()
    }
}

/// A store and its model.
struct Life {
    world: World,
    store: Option<Store>,
    sites: Vec<Site>,
    models: Vec<BTreeMap<u8, Model>>,
    opened: u64,
    /// Whether something deferred has not been synced.
    pending: bool,
    holes: Holes,
}

/// What a window asks for that overlaps a session from its first to its last event, but no chunk of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holes {
    /// The session is listed, as any that overlaps the window.
    AreListed,
    /// It may be listed or not: everything else is compared.
    AreNotCompared,
}

fn visitor(n: u8) -> VisitorId {
    VisitorId::new(format!("visitor-{n}")).unwrap()
}

/// A session in its own words: of some visitor or none, of a kind, with a class of its own or its site's.
fn session(at: usize, n: u8) -> Session {
    let name = format!("s-{at}-{n}");
    let page = format!("/{name}");
    let mut session = Session::new(session_id(&name)).attribute("page", &page).unwrap();
    if !n.is_multiple_of(3) {
        session = session.visitor(visitor(n % 3));
    }
    if n.is_multiple_of(4) {
        session = session.retention_days(90).unwrap();
    }
    if n == 5 { session.kind(Kind::Chat) } else { session }
}

/// Events of a chunk: lines of random length, at `shape`'s places snapshots.
fn chunk(n: u8, seq: u64, first_ms: u64, span_ms: u64, shape: u8) -> (Chunk<'static>, Kept) {
    let lines = 1 + u64::from(shape % 7);
    let mut events = String::new();
    let mut snapshots = Vec::new();
    for line in 0..lines {
        let ms = first_ms + span_ms * line / lines;
        if shape >> 3 & 3 == 0 && line % 2 == u64::from(shape >> 5 & 1) {
            snapshots.push(Snapshot { offset: events.len() as u32, ms });
        }
        let pad = usize::from(shape) * if shape > 250 { 100 } else { 1 };
        events +=
            &format!("{{\"session\":{n},\"seq\":{seq},\"line\":{line},\"pad\":\"{:pad$}\"}}\n", ms);
    }
    let (events, last_ms) = (events.into_bytes(), first_ms + span_ms);
    let kept = Kept {
        first_ms,
        last_ms,
        events: events.clone(),
        count: lines,
        snapshots: snapshots.clone(),
    };
    (Chunk { seq, first_ms, last_ms, events: events.into(), snapshots }, kept)
}

impl Life {
    fn new(seed: u64, holes: Holes) -> Self {
        let world = World::new(seed);
        world.clock.set_ms(NOON);
        let mut life = Self {
            world,
            store: None,
            sites: Vec::new(),
            models: vec![BTreeMap::new(); SITES.len()],
            opened: seed << 20,
            pending: false,
            holes,
        };
        life.open();
        life
    }

    fn open(&mut self) {
        self.opened += 1;
        let store = self.world.open(&self.world.disk, self.opened).unwrap();
        self.sites = SITES.iter().map(|s| store.site(&site_id(s)).unwrap()).collect();
        self.store = Some(store);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn run(&mut self, step: &Step) {
        let reads = |s: &Step| {
            matches!(
                s,
                Step::List { .. } | Step::Replay { .. } | Step::Info { .. } | Step::ReadOnly { .. }
            )
        };
        if reads(step) {
            self.settle();
        }
        match *step {
            Step::Append { at, session, seq, jitter_ms, span_ms, shape, deferred } => {
                let first_ms = FIRST + BASES[usize::from(session)] + seq * 1000 + jitter_ms;
                self.append(at, session, seq, first_ms, span_ms, shape, deferred);
            }
            Step::Sync => {
                self.store().sync().unwrap();
                self.pending = false;
            }
            Step::Archive => {
                self.store().archive().unwrap();
                self.pending = false;
            }
            Step::Maintain => {
                self.store().maintain().unwrap();
                self.pending = false;
            }
            Step::Reopen { close } => self.reopen(close),
            Step::Pass { ms } => self.world.clock.advance_ms(ms),
            Step::List { at, window, oldest, visitor, limit } => {
                self.list(at, window, oldest, visitor, limit);
            }
            Step::Replay { at, session, from, until } => {
                self.replay(&self.sites[at], at, session, from, until);
            }
            Step::Info { at, session } => self.info(&self.sites[at], at, session),
            Step::ReadOnly { at, session } => {
                let env = self.world.disk.env(&self.world.clock, u64::MAX - self.opened);
                let options = common::sim::options(env, &self.world.provider);
                let reader = Store::open_read_only(options).unwrap();
                let site = reader.site(&site_id(SITES[at])).unwrap();
                self.info(&site, at, session);
                self.replay(&site, at, session, None, None);
            }
        }
    }

    fn reopen(&mut self, close: bool) {
        self.sites.clear();
        let store = self.store.take().unwrap();
        if close {
            store.close().unwrap();
        } else {
            // Everything is written by a sync, or was never written.
            store.sync().unwrap();
            drop(store);
        }
        self.pending = false;
        self.open();
    }

    #[allow(clippy::too_many_arguments, reason = "a step has so many parts")]
    fn append(
        &mut self,
        at: usize,
        n: u8,
        seq: u64,
        first_ms: u64,
        span_ms: u64,
        shape: u8,
        deferred: bool,
    ) {
        let (chunk, kept) = chunk(n, seq, first_ms, span_ms, shape);
        let durability = if deferred { Durability::Deferred } else { Durability::Synced };
        let appended = self.sites[at].append_with(&session(at, n), &chunk, durability);
        let entry = self.models[at].entry(n);
        let is_new = matches!(entry, std::collections::btree_map::Entry::Vacant(_));
        let model = entry.or_insert_with(|| Model {
            name: format!("s-{at}-{n}"),
            visitor: (!n.is_multiple_of(3)).then(|| visitor(n % 3)),
            kind: if n == 5 { Kind::Chat } else { Kind::Replay },
            retention_days: if n.is_multiple_of(4) { 90 } else { 30 },
            start_ms: first_ms,
            chunks: BTreeMap::new(),
        });
        let ahead = reelvault::env::Clock::now_ms(&self.world.clock)
            + reelvault::limits::EVENT_AHEAD_MS_MAX;
        let span = model.start_ms - SESSION_SPAN_MS_MAX..=model.start_ms + SESSION_SPAN_MS_MAX;
        let fits =
            chunk.last_ms <= ahead && span.contains(&first_ms) && span.contains(&chunk.last_ms);
        if !fits {
            assert!(matches!(appended, Err(Error::Input(_))), "{appended:?}");
            if is_new {
                self.models[at].remove(&n);
            }
            return;
        }
        let appended = appended.unwrap();
        let known = model.chunks.contains_key(&seq);
        assert_eq!(appended.duplicate, known, "{} {seq}", model.name);
        model.chunks.entry(seq).or_insert(kept);
        self.pending |= deferred;
    }

    /// A deferred chunk may be seen or not, until it is synced.
    fn settle(&mut self) {
        if std::mem::take(&mut self.pending) {
            self.store().sync().unwrap();
        }
    }

    fn list(
        &self,
        at: usize,
        window: Option<(u64, u64)>,
        oldest: bool,
        of: Option<u8>,
        limit: usize,
    ) {
        let (a, b) = window.unwrap_or((0, u64::MAX));
        let (from, to) = (a.min(b), a.max(b));
        let order = if oldest { Order::OldestFirst } else { Order::NewestFirst };
        let mut query = Query::new().order(order).limit(limit);
        if window.is_some() {
            query = query.between(from, to);
        }
        if let Some(n) = of {
            query = query.visitor(visitor(n));
        }
        let mut listed: Vec<SessionInfo> = Vec::new();
        loop {
            let page = self.sites[at].sessions(&query).unwrap();
            assert!(page.damage.is_empty() && page.sessions.len() <= limit);
            assert!(
                page.next.is_none() || page.sessions.len() == limit,
                "a short page is the last"
            );
            listed.extend(page.sessions);
            let Some(next) = page.next else { break };
            let next: Cursor = next.to_string().parse().unwrap();
            query = query.after(next);
        }
        let overlaps = |m: &&Model| m.first_ms() < to && m.last_ms() >= from;
        let of_visitor = |m: &&Model| of.is_none_or(|n| m.visitor == Some(visitor(n)));
        let expected = self.models[at].values().filter(overlaps).filter(of_visitor);
        let mut expected: Vec<&Model> = expected.collect();
        // Those that start at the same time may come in any order.
        expected.sort_by(|a, b| (a.start_ms, &a.name).cmp(&(b.start_ms, &b.name)));
        let mut starts: Vec<u64> = listed.iter().map(|s| s.start_ms).collect();
        if !oldest {
            starts.reverse();
        }
        assert!(starts.is_sorted(), "{starts:?}");
        if self.holes == Holes::AreNotCompared {
            let touched =
                |m: &Model| m.chunks.values().any(|c| c.first_ms < to && c.last_ms >= from);
            let hole = |name: &str| expected.iter().any(|m| m.name == name && !touched(m));
            listed.retain(|s| !hole(s.id.as_str()));
            expected.retain(|m| touched(m));
        }
        listed.sort_by(|a, b| (a.start_ms, a.id.as_str()).cmp(&(b.start_ms, b.id.as_str())));
        let names =
            |l: &[SessionInfo]| -> Vec<String> { l.iter().map(|s| s.id.to_string()).collect() };
        let wanted: Vec<String> = expected.iter().map(|m| m.name.clone()).collect();
        assert_eq!(names(&listed), wanted, "{from} to {to}");
        listed.iter().zip(expected).for_each(|(info, model)| model.compare(info));
    }

    fn known(&self, at: usize, n: u8) -> Option<&Model> {
        self.models[at].get(&n)
    }

    fn replay(&self, site: &Site, at: usize, n: u8, from: Option<u64>, until: Option<u64>) {
        let id = session_id(&format!("s-{at}-{n}"));
        let replay = match from {
            None => site.replay(&id),
            Some(ms) => site.replay_from(&id, ms),
        };
        let Some(model) = self.known(at, n) else {
            assert!(matches!(replay, Err(Error::UnknownSession)));
            return;
        };
        let mut replay = replay.unwrap();
        if let Some(ms) = until {
            replay = replay.until(ms);
        }
        let mut found = Vec::new();
        while let Some(chunk) = replay.next_chunk().unwrap() {
            let kept = &model.chunks[&chunk.seq];
            assert_eq!((chunk.first_ms, chunk.last_ms), (kept.first_ms, kept.last_ms));
            found.push((chunk.seq, chunk.events.to_vec(), chunk.snapshots));
        }
        let expected = model.replay(from, until);
        let seqs = |l: &[(u64, Vec<u8>, Vec<Snapshot>)]| l.iter().map(|c| c.0).collect::<Vec<_>>();
        assert_eq!(seqs(&found), seqs(&expected), "{} from {from:?} until {until:?}", model.name);
        assert!(found == expected, "{} from {from:?} until {until:?}", model.name);
    }

    fn info(&self, site: &Site, at: usize, n: u8) {
        let info = site.session(&session_id(&format!("s-{at}-{n}")));
        match self.known(at, n) {
            Some(model) => model.compare(&info.unwrap()),
            None => assert!(matches!(info, Err(Error::UnknownSession)), "{info:?}"),
        }
    }

    /// At the end everything is looked at, as it stands, archived, and opened again.
    fn end(&mut self) {
        self.settle();
        for turn in 0..3 {
            for at in 0..SITES.len() {
                for oldest in [false, true] {
                    self.list(at, None, oldest, None, 2);
                }
                for n in 0..SESSIONS {
                    self.info(&self.sites[at], at, n);
                    self.replay(&self.sites[at], at, n, None, None);
                    self.replay(&self.sites[at], at, n, Some(NOON), None);
                }
            }
            match turn {
                0 => self.store().archive().unwrap(),
                _ => self.reopen(true),
            }
        }
        assert!(self.store().verify(reelvault::Depth::Content, |_, _| ()).unwrap().is_sound());
    }
}

/// The seed of every life: what differs is its steps.
const SEED: u64 = 77;

/// `MODEL_CASES` and `MODEL_SEED` make a longer run, or another one.
fn wanted(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: wanted("MODEL_CASES", 1_500),
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(wanted("MODEL_SEED", 1).into()),
        ..ProptestConfig::default()
    })]

    #[test]
    fn after_every_step(steps in prop::collection::vec(step(), 1..80)) {
        let mut life = Life::new(SEED, Holes::AreNotCompared);
        steps.iter().for_each(|step| life.run(step));
        life.end();
    }

    #[test]
    #[ignore = "slow: a third of a minute"]
    fn after_every_step_and_in_the_holes_of_sessions(steps in prop::collection::vec(step(), 1..80)) {
        let mut life = Life::new(SEED, Holes::AreListed);
        steps.iter().for_each(|step| life.run(step));
        life.end();
    }
}
