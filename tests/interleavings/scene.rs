//! What the models share: a store that is there before they begin, what was acknowledged, and what must be there then.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use reelvault::env::sim::{START_MS, SimClock, SimDisk, Survival};
use reelvault::{
    Appended, Chunk, Durability, Error, KeyFile, KeyProvider, Options, Query, Result, Site, Store,
};
use shuttle::rand::{Rng, thread_rng};

use crate::common::sim::{key_on, options};
use crate::common::{session, session_id, site_id};
use crate::explore::{count, once, seed};

pub(crate) const SITE: &str = "shop.example";
const JOURNAL_BYTES: u32 = 64 << 10;
/// Three chunks of a session whose name begins with this fill a journal.
pub(crate) const LARGE: &str = "large";

/// A number below `end`, drawn from the seed.
pub(crate) fn draw(end: u64) -> u64 {
    thread_rng().gen_range(0..end)
}

/// Whether something comes to pass that does in one of `of` schedules.
pub(crate) fn one_in(of: u64) -> bool {
    draw(of) == 0
}

/// Chunks by session and number.
pub(crate) type Chunks = BTreeSet<(String, u64)>;

/// The machine of one schedule. A clone is the same one.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) disk: SimDisk,
    pub(crate) clock: SimClock,
    /// What was acknowledged. Its lock is a real one: it is never held where the scheduler may switch.
    acknowledged: Arc<Mutex<Chunks>>,
    /// Disks as a power cut would leave them, and what was acknowledged before it.
    images: Arc<Mutex<Vec<(SimDisk, Chunks)>>>,
}

/// A disk with an empty store of one site, made once.
fn prepared() -> &'static SimDisk {
    static DISK: OnceLock<SimDisk> = OnceLock::new();
    DISK.get_or_init(|| {
        let made = Arc::new(OnceLock::new());
        let make = Arc::clone(&made);
        once(move || {
            let (env, disk, _) = reelvault::env::sim::env(0);
            env.disk.create_dir("/keys".as_ref()).unwrap();
            let key = KeyFile::create(&env, Path::new("/keys/key")).unwrap();
            let provider: Arc<dyn KeyProvider> = Arc::new(key);
            let store = Store::create(options(env, &provider).shards(1)).unwrap();
            store.add_site(site_id(SITE), 30).unwrap();
            store.close().unwrap();
            let _ = make.set(disk);
        });
        made.get().unwrap().crash_image(Survival::Nothing)
    })
}

/// Runs a model; each schedule has a machine of its own.
pub(crate) fn explore(model: &'static str, play: impl Fn(&Scene) + Send + Sync + 'static) {
    let disk = prepared();
    crate::explore::explore(model, move || {
        play(&Scene {
            disk: disk.crash_image(Survival::Nothing),
            clock: SimClock::new(START_MS),
            acknowledged: Arc::default(),
            images: Arc::default(),
        });
    });
}

/// The chunk of a session that has this number: whoever reads it knows what it must be.
pub(crate) fn chunk(name: &str, seq: u64) -> Chunk<'static> {
    let ms = START_MS + seq * 10;
    let mut text = format!("{name} {seq} ");
    if name.starts_with(LARGE) {
        // Digits that hardly compress.
        let mut mix = seq + 1;
        while text.len() < 52_000 {
            mix = mix.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            text += &format!("{:x}", mix >> 8);
        }
    }
    let events = format!("{{\"type\":3,\"timestamp\":{ms},\"data\":\"{text}\"}}\n");
    let events = Cow::Owned(events.into_bytes());
    Chunk { seq, first_ms: ms, last_ms: ms, events, snapshots: Vec::new() }
}

impl Scene {
    /// Options of the store on a disk. Each opening draws other keys and nonces.
    pub(crate) fn options_on(&self, disk: &SimDisk, stream: u64) -> Options {
        let env = disk.env(&self.clock, seed().wrapping_mul(1_000) + stream);
        let provider = key_on(&env).unwrap();
        options(env, &provider).fill_bytes(JOURNAL_BYTES).journal_bytes(JOURNAL_BYTES)
    }

    pub(crate) fn open(&self, stream: u64, change: impl FnOnce(Options) -> Options) -> Store {
        Store::open(change(self.options_on(&self.disk, stream))).unwrap()
    }

    /// Appends a chunk; a synced one counts as acknowledged from then on.
    pub(crate) fn append(
        &self,
        site: &Site,
        name: &str,
        seq: u64,
        durability: Durability,
    ) -> Result<Appended> {
        let appended = site.append_with(&session(name), &chunk(name, seq), durability)?;
        if durability == Durability::Synced {
            self.acknowledge([(name.to_owned(), seq)]);
        }
        Ok(appended)
    }

    /// Appends these chunks of a session one after the other.
    pub(crate) fn record(&self, site: &Site, name: &str, seqs: std::ops::Range<u64>) {
        for seq in seqs {
            self.append(site, name, seq, Durability::Synced).unwrap();
        }
    }

    pub(crate) fn acknowledge(&self, chunks: impl IntoIterator<Item = (String, u64)>) {
        self.acknowledged.lock().unwrap().extend(chunks);
    }

    pub(crate) fn acknowledged(&self) -> Chunks {
        self.acknowledged.lock().unwrap().clone()
    }

    /// What a power cut now would leave.
    pub(crate) fn image(&self, survival: Survival) {
        let acknowledged = self.acknowledged();
        let image = self.disk.crash_image(survival);
        self.images.lock().unwrap().push((image, acknowledged));
    }

    /// In every other schedule, takes an image before one of the next operations.
    pub(crate) fn cut_power_within(&self, operations: u64) {
        if one_in(2) {
            return;
        }
        let at = self.disk.operations() + draw(operations);
        let survival = match draw(2) {
            0 => Survival::Nothing,
            _ => Survival::Random(draw(1 << 32)),
        };
        // The disk owns its hook, and must not own itself.
        let (acknowledged, images) = (Arc::clone(&self.acknowledged), Arc::clone(&self.images));
        self.disk.on_operation(move |disk, operation| {
            if operation.number == at {
                let before = acknowledged.lock().unwrap().clone();
                images.lock().unwrap().push((disk.crash_image(survival), before));
                count("power cuts");
            }
        });
    }

    /// Opens the images, at most `most` of them, and finds in each what was acknowledged before it was taken.
    pub(crate) fn check_images(&self, most: usize) {
        let mut images = std::mem::take(&mut *self.images.lock().unwrap());
        while images.len() > most {
            images.swap_remove(draw(images.len() as u64) as usize);
        }
        for (n, (image, acknowledged)) in images.into_iter().enumerate() {
            let opened = Store::open(self.options_on(&image, 500 + n as u64));
            let store = opened.unwrap_or_else(|e| panic!("opening after a power cut: {e}"));
            check(&store, &acknowledged);
            count("images checked");
        }
    }
}

pub(crate) fn site(store: &Store) -> Site {
    store.site(&site_id(SITE)).unwrap()
}

/// The numbers of a session's chunks as they are replayed; each must be what was appended, and come once.
pub(crate) fn replayed(site: &Site, name: &str) -> Result<Vec<u64>> {
    let mut replay = site.replay(&session_id(name))?;
    let mut seqs = Vec::new();
    while let Some(read) = replay.next_chunk()? {
        let seq = read.seq;
        assert!(read.events == &*chunk(name, seq).events, "{name} {seq}: other bytes");
        assert!(seqs.last().is_none_or(|last| *last < seq), "{name} {seq}: twice");
        seqs.push(seq);
    }
    Ok(seqs)
}

/// What is listed and replayed holds all of this.
pub(crate) fn check(store: &Store, acknowledged: &Chunks) {
    let site = site(store);
    let page = site.sessions(&Query::new().limit(1_000)).unwrap();
    assert!(page.damage.is_empty(), "{:?}", page.damage);
    let listed: Vec<&str> = page.sessions.iter().map(|info| info.id.as_str()).collect();
    let names: BTreeSet<&str> = acknowledged.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(listed.len(), listed.iter().collect::<BTreeSet<_>>().len(), "listed twice");
    for name in names {
        assert!(listed.contains(&name), "{name} is not listed");
        let seqs = replayed(&site, name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let theirs = acknowledged.iter().filter(|(n, _)| n == name);
        let missing: Vec<u64> = theirs.map(|(_, seq)| *seq).filter(|s| !seqs.contains(s)).collect();
        assert!(missing.is_empty(), "{name}: {missing:?} are missing of {seqs:?}");
    }
}

/// Whether an error says that the disk failed, in the words of the store.
pub(crate) fn is_fault(error: &Error) -> bool {
    use Error::{DiskFull, Io, ManifestUnsure, Poisoned};
    matches!(error, DiskFull { .. } | Poisoned { .. } | Io { .. } | ManifestUnsure)
}
