//! A finished store on the simulated disk, to be copied and spoiled, and what a reader may see of a spoiled copy.
//!
//! It has two sites in each of two shards, sessions of two days and two retention classes in ten segments, a session of
//! two blocks, sessions that lie in two segments and a journal, and four journals.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use reelvault::env::sim::{SimClock, SimDisk, Survival};
use reelvault::{
    Depth, Error, KeyFile, KeyProvider, Options, Query, Recovery, Result, Session, SessionInfo,
    Site, SiteId, Store, VisitorId,
};

use super::sim::{key_on, options};
use super::{DAY, NOON, chunk, session, session_id, site_id};

/// The chunks of one session: its site, its name, and by number the events.
pub(crate) type Sent = BTreeMap<(usize, String), BTreeMap<u64, Vec<u8>>>;

/// Raw bytes from which a session of two chunks is written in two blocks.
const TWO_BLOCKS_BYTES: usize = (4 << 20) + 1000;
/// The name of the session that has two blocks, at the first site.
pub(crate) const LARGE: &str = "s-large";

/// A finished store.
pub(crate) struct Original {
    pub(crate) disk: SimDisk,
    pub(crate) clock: SimClock,
    /// Two of the first shard, then two of the second.
    pub(crate) sites: Vec<SiteId>,
    pub(crate) sent: Sent,
    /// By site and session, as told by the whole store.
    pub(crate) infos: BTreeMap<(usize, String), SessionInfo>,
}

/// What became of reading a spoiled store.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// It could not be opened.
    pub(crate) refused: u64,
    /// And then it could be opened in salvage mode.
    pub(crate) salvaged: u64,
    /// It was opened, and everything was as it had been sent.
    pub(crate) whole: u64,
    /// It was opened, and some reading ended in an error.
    pub(crate) partly: u64,
    /// It was opened, nothing ended in an error, and chunks at the end of a journal were gone.
    pub(crate) shortened: u64,
}

impl std::ops::AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.refused += other.refused;
        self.salvaged += other.salvaged;
        self.whole += other.whole;
        self.partly += other.partly;
        self.shortened += other.shortened;
    }
}

/// Whether chunks may be gone without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// No.
    MustBeWhole,
    /// Of live sessions: what is bad at the end of a journal counts as torn.
    MayBeTorn,
}

impl Original {
    /// Makes the store. Another seed makes another store of the same shape.
    pub(crate) fn new(seed: u64) -> Self {
        let disk = SimDisk::new();
        let clock = SimClock::new(NOON);
        let env = disk.env(&clock, seed);
        env.disk.create_dir("/keys".as_ref()).unwrap();
        let provider: Arc<dyn KeyProvider> =
            Arc::new(KeyFile::create(&env, std::path::Path::new("/keys/key")).unwrap());
        let store = Store::create(options(env, &provider)).unwrap();
        let sites = two_sites_a_shard(&store, || {
            let copy = disk.crash_image(Survival::Everything);
            let env = copy.env(&clock, seed ^ 1);
            let provider = key_on(&env).unwrap();
            Store::open(options(env, &provider)).unwrap()
        });
        let mut original = Self { disk, clock, sites, sent: Sent::new(), infos: BTreeMap::new() };
        original.fill(store, seed);
        let store = original.open_read_only(&original.disk, Recovery::Strict).unwrap();
        for ((at, name), chunks) in &original.sent {
            let info = store.site(&original.sites[*at]).unwrap();
            let info = info.session(&session_id(name)).unwrap();
            assert_eq!(info.chunks as usize, chunks.len());
            original.infos.insert((*at, name.clone()), info);
        }
        assert!(store.verify(Depth::Content, |_, _| ()).unwrap().is_sound());
        assert_eq!(original.look_at(&store, Tail::MustBeWhole, |_, _| true).whole, 1);
        original
    }

    fn fill(&mut self, store: Store, seed: u64) {
        for at in 0..self.sites.len() {
            for (day, class) in [(0, 30), (0, 90), (1, 30), (1, 90)] {
                for n in 0..2u64 {
                    let name = format!("s-{at}-{day}-{class}-{n}");
                    let start = NOON - day * DAY + n * 60_000;
                    for seq in 0..3 {
                        self.send(&store, at, &name, class, seq, start + seq * 1000, 200);
                    }
                }
            }
        }
        self.send(&store, 0, LARGE, 30, 0, NOON, TWO_BLOCKS_BYTES);
        self.send(&store, 0, LARGE, 30, 4, NOON + 4000, 200);
        store.archive().unwrap();
        for at in 0..self.sites.len() {
            self.send(&store, at, &format!("s-{at}-0-30-0"), 30, 4, NOON + 5000, 300);
        }
        store.archive().unwrap();
        store.close().unwrap();
        // In new files: where a journal's frames end, nothing of a former life begins.
        let store = self.open(&self.disk, Recovery::Strict, seed + 2).unwrap();
        self.live(&store, 5);
        store.close().unwrap();
        // Another process, which is killed: its journals stay filled ahead.
        let store = self.open(&self.disk, Recovery::Strict, seed + 1).unwrap();
        self.live(&store, 6);
        self.disk = self.disk.crash_image(Survival::Nothing);
    }

    /// A chunk of an archived session, and sessions that are live alone.
    fn live(&mut self, store: &Store, seq: u64) {
        for at in 0..self.sites.len() {
            self.send(store, at, &format!("s-{at}-0-30-0"), 30, seq, NOON + seq * 1000, 200);
            for n in 0..2 {
                let name = format!("live-{at}-{n}-{seq}");
                for seq in 0..2 {
                    self.send(store, at, &name, 30, seq, NOON + n * 1000 + seq * 10, 150);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "each is another dimension of the store")]
    fn send(
        &mut self,
        store: &Store,
        at: usize,
        name: &str,
        class: u32,
        seq: u64,
        ms: u64,
        bytes: usize,
    ) {
        let site = store.site(&self.sites[at]).unwrap();
        let session: Session = session(name).retention_days(class).unwrap();
        let mut chunk = chunk(name, seq, ms, bytes.min(1000));
        if bytes > 1000 {
            let text = "again ".repeat(5_000);
            let line =
                format!("{{\"type\":3,\"timestamp\":{ms},\"data\":{{\"text\":\"{text}\"}}}}\n");
            chunk.events.to_mut().extend(line.repeat(bytes / line.len() + 1).bytes());
        }
        assert!(!site.append(&session, &chunk).unwrap().duplicate);
        self.sent.entry((at, name.to_owned())).or_default().insert(seq, chunk.events.to_vec());
    }

    fn options(&self, disk: &SimDisk, recovery: Recovery, seed: u64) -> Options {
        let env = disk.env(&self.clock, seed);
        let provider = key_on(&env).unwrap();
        options(env, &provider).recovery(recovery)
    }

    pub(crate) fn open(&self, disk: &SimDisk, recovery: Recovery, seed: u64) -> Result<Store> {
        Store::open(self.options(disk, recovery, seed))
    }

    pub(crate) fn open_read_only(&self, disk: &SimDisk, recovery: Recovery) -> Result<Store> {
        Store::open_read_only(self.options(disk, recovery, 1 << 40))
    }

    /// The same for a file that is spoiled afterwards: what was read before is read again.
    pub(crate) fn open_uncached(&self, disk: &SimDisk) -> Store {
        let options = self.options(disk, Recovery::Strict, 1 << 40).cache_bytes(0);
        Store::open_read_only(options).unwrap()
    }

    /// A copy, to be spoiled.
    pub(crate) fn copy(&self) -> SimDisk {
        self.disk.crash_image(Survival::Everything)
    }

    /// The files of one kind: `segment/`, `journal/`, `manifest`, `keyring`.
    pub(crate) fn files(&self, kind: &str) -> Vec<PathBuf> {
        let all = self.disk.paths();
        all.into_iter().filter(|p| p.to_string_lossy().contains(kind)).collect()
    }

    /// Reads everything of a store but its large session, which takes its time, and compares it with what was sent.
    ///
    /// # Panics
    /// If anything read is not what was sent, or is gone without an error, or an error is not a typed one.
    pub(crate) fn look(&self, store: &Store, tail: Tail) -> Outcome {
        self.look_at(store, tail, |_, name| name != LARGE)
    }

    /// The same for other sessions.
    pub(crate) fn look_at(
        &self,
        store: &Store,
        tail: Tail,
        wanted: impl Fn(usize, &str) -> bool,
    ) -> Outcome {
        let (mut damaged, mut shortened) = (false, false);
        for (at, id) in self.sites.iter().enumerate() {
            let site = match store.site(id) {
                Ok(site) => site,
                Err(e) => panic!("a site is gone: {e}"),
            };
            for query in [Query::new(), Query::new().visitor(everyone())] {
                self.list(&site, at, &query.limit(1000), tail, &mut damaged, &mut shortened);
            }
        }
        for ((at, name), chunks) in self.sent.iter().filter(|((at, name), _)| wanted(*at, name)) {
            let site = store.site(&self.sites[*at]).unwrap();
            match site.session(&session_id(name)) {
                Ok(info) if info == self.infos[&(*at, name.clone())] => {}
                Ok(info) => shortened |= self.shorter(&info, *at, name, tail),
                Err(Error::UnknownSession) if tail == Tail::MayBeTorn && is_live(name) => {
                    shortened = true;
                }
                Err(e) => damaged |= typed(&e),
            }
            match replay(&site, name, chunks) {
                Ok(n) if n == chunks.len() => {}
                Ok(n) if tail == Tail::MayBeTorn && (is_live(name) || n >= archived(name)) => {
                    shortened = true;
                }
                Ok(n) => panic!("{name}: {n} of {} chunks, and no error", chunks.len()),
                Err(Error::UnknownSession) if tail == Tail::MayBeTorn && is_live(name) => {
                    shortened = true;
                }
                Err(e) => damaged |= typed(&e),
            }
        }
        match (damaged, shortened) {
            (true, _) => Outcome { partly: 1, ..Outcome::default() },
            (false, true) => Outcome { shortened: 1, ..Outcome::default() },
            (false, false) => Outcome { whole: 1, ..Outcome::default() },
        }
    }

    fn list(
        &self,
        site: &Site,
        at: usize,
        query: &Query,
        tail: Tail,
        damaged: &mut bool,
        shortened: &mut bool,
    ) {
        let page = match site.sessions(query) {
            Ok(page) => page,
            Err(e) => {
                *damaged |= typed(&e);
                return;
            }
        };
        *damaged |= page.damage.iter().fold(false, |any, e| any | typed(e));
        let told = !page.damage.is_empty();
        let mut listed = 0;
        for info in &page.sessions {
            let key = (at, info.id.as_str().to_owned());
            match self.infos.get(&key) {
                Some(whole) if whole == info => listed += 1,
                Some(_) if told => {}
                Some(_) => {
                    *shortened |= self.shorter(info, at, &key.1, tail);
                    listed += 1;
                }
                // A name that was lost with its frame says so.
                None if told || (tail == Tail::MayBeTorn && key.1.starts_with("lost-")) => {}
                None => panic!("a session that was never sent: {}", key.1),
            }
        }
        let all = self.sent.keys().filter(|(a, _)| *a == at).count();
        if listed < all && !told {
            assert_eq!(tail, Tail::MayBeTorn, "{listed} of {all} sessions are listed");
            *shortened = true;
        }
    }

    /// Whether a description lacks chunks of journals; anything else that is wrong with it ends the test.
    fn shorter(&self, info: &SessionInfo, at: usize, name: &str, tail: Tail) -> bool {
        let whole = &self.infos[&(at, name.to_owned())];
        assert_eq!(tail, Tail::MayBeTorn, "{info:?} is not {whole:?}");
        assert!(info.chunks < whole.chunks && info.raw_bytes < whole.raw_bytes);
        assert_eq!((info.start_ms, info.retention_days), (whole.start_ms, whole.retention_days));
        assert!(info.visitor == whole.visitor || info.visitor.is_none());
        true
    }

    /// Opens a spoiled copy in both modes and looks at all of it.
    pub(crate) fn open_and_look(&self, disk: &SimDisk, seed: u64, tail: Tail) -> Outcome {
        let strict = if seed.is_multiple_of(2) {
            self.open(&disk.crash_image(Survival::Everything), Recovery::Strict, seed)
        } else {
            self.open_read_only(disk, Recovery::Strict)
        };
        // What has no part in a journal does not depend on one.
        let wanted = |_: usize, name: &str| match tail {
            Tail::MustBeWhole => name != LARGE,
            Tail::MayBeTorn => is_live(name) || archived(name) == 4,
        };
        let strict = match strict {
            Ok(store) => return self.look_at(&store, tail, wanted),
            Err(e) => typed(&e),
        };
        assert!(strict);
        // What salvage skips it counts; what it shows is what was sent.
        match self.open_read_only(disk, Recovery::Salvage) {
            Ok(store) => {
                self.look_at(&store, Tail::MayBeTorn, wanted);
                Outcome { salvaged: 1, refused: 1, ..Outcome::default() }
            }
            Err(e) => Outcome { refused: u64::from(typed(&e)), ..Outcome::default() },
        }
    }
}

/// The one visitor of all sessions.
fn everyone() -> VisitorId {
    VisitorId::new("visitor-of-everything").unwrap()
}

/// Whether a session has no chunk in a segment.
fn is_live(name: &str) -> bool {
    name.starts_with("live-")
}

/// How many of its chunks stand in segments.
fn archived(name: &str) -> usize {
    match name {
        _ if name.ends_with("-0-30-0") => 4,
        LARGE => 2,
        _ => 3,
    }
}

/// Replays a session and compares each chunk with what was sent; returns their number.
fn replay(site: &Site, name: &str, chunks: &BTreeMap<u64, Vec<u8>>) -> Result<usize> {
    let mut replay = site.replay(&session_id(name))?;
    let (mut n, mut last) = (0, None);
    while let Some(chunk) = replay.next_chunk()? {
        assert!(last < Some(chunk.seq), "{name}: chunk {} comes again", chunk.seq);
        last = Some(chunk.seq);
        let sent = chunks.get(&chunk.seq).map(Vec::as_slice);
        assert!(sent == Some(chunk.events), "{name}: chunk {} is not what was sent", chunk.seq);
        n += 1;
    }
    Ok(n)
}

/// Damage is told by an error of its own kind; anything else ends the test. Returns true.
pub(crate) fn typed(e: &Error) -> bool {
    match e {
        Error::Corrupt(c) => assert!(!c.file.is_empty(), "{e}"),
        Error::Unsupported { .. } | Error::WrongKey(_) | Error::MissingKeyVersion(_) => {}
        e => panic!("not an error of damage: {e:?}"),
    }
    true
}

/// Adds sites, and picks two of each shard.
fn two_sites_a_shard(store: &Store, copy: impl FnOnce() -> Store) -> Vec<SiteId> {
    let ids: Vec<SiteId> = (0..12).map(|n| site_id(&format!("site-{n}.example"))).collect();
    store.add_sites(ids.iter().map(|id| (id.clone(), 30))).unwrap();
    // Sites whose chunks stand in one journal are of one shard. A copy is asked, for the probe leaves a session.
    let copy = copy();
    let mut shards: BTreeMap<u64, Vec<SiteId>> = BTreeMap::new();
    for id in ids {
        let probe = chunk("probe", 0, NOON, 50);
        let appended = copy.site(&id).unwrap().append(&session("probe"), &probe).unwrap();
        let of_shard = shards.entry(appended.position.unwrap().journal).or_default();
        if of_shard.len() < 2 {
            of_shard.push(id);
        }
    }
    let picked: Vec<SiteId> = shards.into_values().flatten().collect();
    assert_eq!(picked.len(), 4);
    picked
}
