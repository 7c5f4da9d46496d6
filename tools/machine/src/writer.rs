//! A writer: opens a store, lets several threads work on it, and reports on standard output what it began and what was acknowledged.
//!
//! It appends, also without waiting and with one sync for many; reads back what it wrote; erases; lets days pass; makes backups. What fails is
//! reported and tried again, as a service would; where only opening the store again helps, that is done.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reelvault::backup::{Backup, How};
use reelvault::env::sim::SplitMix;
use reelvault::{
    Durability, Error, Held, Query, Result, Retention, SessionId, Site, SiteId, Store,
};

use crate::content::{DAY_MS, KEPT_DAYS, Name, SITES};
use crate::home::Home;
use crate::report::{Line, kind};

/// Sessions that a thread records side by side.
const OPEN_SESSIONS: usize = 3;
/// Sessions of earlier rounds that a thread goes on with.
const RESUMED: usize = 4;
/// Pause after something failed, so that a full disk does not fill the pipe.
const PAUSE: Duration = Duration::from_millis(3);
/// Times that a store is opened again because nothing else helps.
const REOPENED_MAX: u32 = 50;

/// What a writer does.
#[derive(Debug, Clone)]
pub struct Work {
    /// Where.
    pub home: Home,
    /// What its choices follow from.
    pub seed: u64,
    /// The number of the round, so that sessions have new names, and days pass.
    pub round: u64,
    /// The time from which sessions count theirs, Unix milliseconds.
    pub base_ms: u64,
    /// Threads that append.
    pub threads: u64,
    /// Chunks after which it closes the store and ends.
    pub chunks: u64,
    /// Whether it lets days pass.
    pub days: bool,
    /// Whether it makes backups.
    pub backups: bool,
    /// Whether it appends without waiting, too. Where a disk is full, that leaves gaps until a sync tells of them.
    pub defers: bool,
    /// Whether it ends at once, as if killed, where only opening the store again helps.
    pub dies: bool,
    /// After so many chunks, and for [`STARVED`], it may open no more files than it has open. 0 for never.
    pub starve_at: u64,
}

/// Exit code of a writer that died because it was told to.
const DIED: i32 = 5;

/// How long a writer may not open files.
pub const STARVED: Duration = Duration::from_millis(150);

/// A report could not be written: nobody listens any more.
#[derive(Debug)]
pub struct Unheard;

/// Writes a line as one write, so that a kill cuts none in two.
fn report(line: &Line) -> Result<(), Unheard> {
    let mut out = std::io::stdout().lock();
    let text = format!("{line}\n");
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|_| Unheard)
}

fn failed(doing: &str, error: &Error) -> Result<(), Unheard> {
    let words = error.to_string().replace('\n', " ");
    report(&Line::Failed(doing.to_owned(), kind(error).to_owned(), words))
}

/// What the threads share.
struct Shared<'a> {
    work: &'a Work,
    appended: AtomicU64,
    /// Only opening the store again helps.
    stuck: AtomicBool,
    over: AtomicBool,
}

impl Shared<'_> {
    fn goes_on(&self) -> bool {
        !self.over.load(Relaxed) && !self.stuck.load(Relaxed)
    }

    /// Takes note of an error: some are mended by opening the store again alone.
    fn met(&self, error: &Error) {
        if matches!(error, Error::Poisoned { .. } | Error::ManifestUnsure | Error::Closed) {
            if self.work.dies {
                std::process::exit(DIED);
            }
            self.stuck.store(true, Relaxed);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Works until all chunks are appended.
///
/// # Errors
/// If nobody listens.
pub fn run(work: &Work) -> Result<(), Unheard> {
    let shared = Shared {
        work,
        appended: AtomicU64::new(0),
        stuck: AtomicBool::new(false),
        over: AtomicBool::new(false),
    };
    for incarnation in 0..REOPENED_MAX {
        shared.stuck.store(false, Relaxed);
        match live(&shared, incarnation)? {
            true => return report(&Line::Done),
            false => std::thread::sleep(PAUSE * 5),
        }
    }
    Ok(())
}

/// Opens the store, works on it, closes it. Whether everything is done.
fn live(shared: &Shared<'_>, incarnation: u32) -> Result<bool, Unheard> {
    let work = shared.work;
    let store = match open(&work.home) {
        Ok(store) => store,
        Err(e) => return failed("open", &e).map(|()| false),
    };
    report(&Line::Opened)?;
    let resumed = match resumed(&store, work) {
        Ok(resumed) => resumed,
        Err(e) => return failed("list", &e).map(|()| false),
    };
    let mut heard = Ok(());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..work.threads)
            .map(|n| {
                let mine = resumed.iter().skip(n as usize).step_by(work.threads as usize);
                let mine: Vec<_> = mine.take(RESUMED).cloned().collect();
                let store = &store;
                scope.spawn(move || Recorder::new(shared, store, n, incarnation, mine).run())
            })
            .collect();
        let store = &store;
        let keeper = scope.spawn(move || keep(shared, store, incarnation));
        for thread in threads {
            heard =
                std::mem::replace(&mut heard, Ok(())).and(thread.join().unwrap_or(Err(Unheard)));
        }
        shared.over.store(!shared.stuck.load(Relaxed), Relaxed);
        heard = std::mem::replace(&mut heard, Ok(())).and(keeper.join().unwrap_or(Err(Unheard)));
    });
    heard?;
    match store.close() {
        Ok(()) => Ok(shared.over.load(Relaxed)),
        Err(e) => failed("close", &e).map(|()| false),
    }
}

fn open(home: &Home) -> Result<Store> {
    let options = home.options()?;
    let store = match Store::open(options.clone()) {
        Err(Error::NoStore(_)) => Store::create(options)?,
        opened => opened?,
    };
    for name in SITES {
        match store.add_site(SiteId::new(name)?, KEPT_DAYS) {
            Err(Error::SiteExists(_)) => {}
            added => drop(added?),
        }
    }
    Ok(store)
}

/// The last sessions that are there, with their chunks, so that sessions go on over crashes.
fn resumed(store: &Store, work: &Work) -> Result<Vec<(Name, u64)>> {
    let mut there = Vec::new();
    for name in SITES {
        let site = store.site(&SiteId::new(name)?)?;
        let page = site.sessions(&Query::new().limit(RESUMED * 4))?;
        for info in page.sessions {
            there.push((Name::of(name, info.id.as_str()), u64::from(info.chunks)));
        }
    }
    // Not the same in each round.
    let mut random = SplitMix::new(work.seed);
    there.sort_by_cached_key(|_| random.draw());
    Ok(there)
}

/// One session being recorded.
struct Recording {
    name: Name,
    /// The next chunk.
    seq: u64,
    /// The last chunk.
    end: u64,
}

/// One thread that records.
struct Recorder<'a> {
    shared: &'a Shared<'a>,
    store: &'a Store,
    thread: u64,
    random: SplitMix,
    made: u64,
    open: Vec<Recording>,
    /// Sessions that are over, with their chunks.
    over: Vec<(Name, u64)>,
}

impl<'a> Recorder<'a> {
    fn new(
        shared: &'a Shared<'a>,
        store: &'a Store,
        thread: u64,
        incarnation: u32,
        mine: Vec<(Name, u64)>,
    ) -> Self {
        let seed = shared.work.seed ^ (thread << 32) ^ (u64::from(incarnation) << 40);
        // The last chunk is sent once more: whether it was acknowledged, a recorder may not know.
        let resume = |(name, chunks): (Name, u64)| Recording {
            name,
            seq: chunks.saturating_sub(1),
            end: chunks + 10,
        };
        let open = mine.into_iter().map(resume).collect();
        let made = u64::from(incarnation) * 100_000;
        Self { shared, store, thread, random: SplitMix::new(seed), made, open, over: Vec::new() }
    }

    fn run(mut self) -> Result<(), Unheard> {
        while self.shared.goes_on() {
            if self.shared.appended.load(Relaxed) >= self.shared.work.chunks {
                break;
            }
            while self.open.len() < OPEN_SESSIONS {
                let new = self.new_session();
                self.open.push(new);
            }
            let at = self.random.below(self.open.len() as u64) as usize;
            match self.random.below(60) {
                0 => self.erase()?,
                1..=3 => self.read_back()?,
                // One thread alone defers and syncs: a sync tells once what was lost.
                4..=8 if self.thread == 0 && self.shared.work.defers => self.append_deferred(at)?,
                _ => self.append(at)?,
            }
        }
        Ok(())
    }

    fn new_session(&mut self) -> Recording {
        self.made += 1;
        let site = SITES[self.random.below(SITES.len() as u64) as usize];
        // Most last for a few rounds, so that days have something to take.
        let days = match self.random.below(6) {
            0 => KEPT_DAYS,
            _ => self.shared.work.round as u32 + 5,
        };
        let number = self.made * 3 + self.random.below(3);
        let name = Name::new(site, self.shared.work.round, self.thread, number, days);
        Recording { name, seq: 0, end: 1 + self.random.below(30) }
    }

    fn site(&self, name: &Name) -> Result<Site> {
        self.store.site(&SiteId::new(&name.site)?)
    }

    fn append_one(&self, name: &Name, seq: u64, durability: Durability) -> Result<()> {
        let chunk = name.chunk(seq, self.shared.work.base_ms);
        let session = name.session()?;
        self.site(name)?.append_with(&session, &chunk, durability).map(drop)
    }

    /// What a refusal means for a session: one that is gone is left, any other is tried again.
    fn refused(&mut self, at: usize, seq: u64, error: &Error) -> Result<(), Unheard> {
        let name = self.open[at].name.clone();
        report(&Line::Refused(name, seq, kind(error).to_owned()))?;
        if matches!(error, Error::Erased | Error::Expired { .. }) {
            self.open.swap_remove(at);
        }
        self.shared.met(error);
        Ok(())
    }

    fn append(&mut self, at: usize) -> Result<(), Unheard> {
        let (name, seq) = (self.open[at].name.clone(), self.open[at].seq);
        report(&Line::Begun(name.clone(), seq))?;
        match self.append_one(&name, seq, Durability::Synced) {
            Ok(()) => {
                report(&Line::Acknowledged(name, seq))?;
                self.went_on(at, 1)
            }
            Err(e) => self.refused(at, seq, &e),
        }
    }

    fn append_deferred(&mut self, at: usize) -> Result<(), Unheard> {
        let (name, seq) = (self.open[at].name.clone(), self.open[at].seq);
        let chunks = 1 + self.random.below(6);
        for seq in seq..seq + chunks {
            report(&Line::Begun(name.clone(), seq))?;
            if let Err(e) = self.append_one(&name, seq, Durability::Deferred) {
                // What was deferred before it is sent again, unless a sync says otherwise; none is needed.
                return self.refused(at, seq, &e);
            }
        }
        match self.store.sync() {
            Ok(()) => {
                report(&Line::Acknowledged(name, seq + chunks - 1))?;
                self.went_on(at, chunks)
            }
            Err(e) => self.refused(at, seq, &e),
        }
    }

    fn went_on(&mut self, at: usize, chunks: u64) -> Result<(), Unheard> {
        self.shared.appended.fetch_add(chunks, Relaxed);
        let recording = &mut self.open[at];
        recording.seq += chunks;
        if recording.seq >= recording.end {
            let over = self.open.swap_remove(at);
            self.over.push((over.name, over.seq));
        }
        Ok(())
    }

    fn some_over(&mut self) -> Option<usize> {
        (!self.over.is_empty()).then(|| self.random.below(self.over.len() as u64) as usize)
    }

    fn erase(&mut self) -> Result<(), Unheard> {
        let Some(at) = self.some_over() else { return Ok(()) };
        let (name, _) = self.over.swap_remove(at);
        report(&Line::Erasing(name.clone()))?;
        let erase = || self.site(&name)?.erase_sessions([SessionId::new(&name.id)?], Held::Refuse);
        match erase() {
            Ok(erasure) if erasure.unknown.is_empty() => report(&Line::Erased(name)),
            // Its days have passed meanwhile: it stays in doubt until it is looked for.
            Ok(_) => Ok(()),
            Err(e) => {
                failed("erase", &e)?;
                self.shared.met(&e);
                Ok(())
            }
        }
    }

    fn read_back(&mut self) -> Result<(), Unheard> {
        let Some(at) = self.some_over() else { return Ok(()) };
        let (name, chunks) = self.over[at].clone();
        match self.compare(&name, chunks) {
            Ok(None) => report(&Line::Read(name)),
            Ok(Some(wrong)) => report(&Line::Wrong(format!("{name} {wrong}"))),
            Err(Error::Expired { .. } | Error::UnknownSession) => {
                self.over.swap_remove(at);
                Ok(())
            }
            Err(e) => {
                failed("read", &e)?;
                self.shared.met(&e);
                Ok(())
            }
        }
    }
}

impl Recorder<'_> {
    /// Reads a session that is over; what is wrong with the bytes that come. An error is told as one.
    fn compare(&self, name: &Name, chunks: u64) -> Result<Option<String>> {
        let mut replay = self.site(name)?.replay(&SessionId::new(&name.id)?)?;
        let mut seq = 0;
        while let Some(chunk) = replay.next_chunk()? {
            let right = name.chunk(seq, self.shared.work.base_ms);
            if chunk.seq != seq || chunk.events != &*right.events {
                return Ok(Some(format!("chunk {} where {seq} should be", chunk.seq)));
            }
            seq += 1;
        }
        Ok((seq < chunks).then(|| format!("{seq} chunks of {chunks}")))
    }
}

/// What is done beside recording: backups, a day that passes, and files that cannot be opened for a while.
fn keep(shared: &Shared<'_>, store: &Store, incarnation: u32) -> Result<(), Unheard> {
    let work = shared.work;
    let mut random = SplitMix::new(work.seed ^ 0x6b65_6570 ^ u64::from(incarnation));
    let mut next_backup = Instant::now() + Duration::from_millis(20 + random.below(150));
    let mut day_at = Some(random.below(work.chunks.min(400)));
    let mut starve_at = Some(work.starve_at).filter(|&at| at > 0 && incarnation == 0);
    while shared.goes_on() {
        std::thread::sleep(Duration::from_millis(2));
        let appended = shared.appended.load(Relaxed);
        if work.days && day_at.is_some_and(|at| appended >= at) {
            day_at = None;
            pass_a_day(shared, store)?;
        }
        if work.backups && Instant::now() >= next_backup {
            next_backup = Instant::now() + Duration::from_millis(50 + random.below(250));
            back_up(shared)?;
        }
        if starve_at.is_some_and(|at| appended >= at) {
            starve_at = None;
            crate::limit::starve(STARVED);
        }
    }
    Ok(())
}

fn pass_a_day(shared: &Shared<'_>, store: &Store) -> Result<(), Unheard> {
    let now_ms = shared.work.base_ms + shared.work.round * DAY_MS;
    let day = u32::try_from(now_ms / DAY_MS).unwrap_or(u32::MAX);
    report(&Line::Expiring(day))?;
    match store.retention(&Retention::new().now_ms(now_ms)) {
        Ok(_) => report(&Line::Expired(day)),
        Err(e) => {
            failed("retention", &e)?;
            shared.met(&e);
            Ok(())
        }
    }
}

fn back_up(shared: &Shared<'_>) -> Result<(), Unheard> {
    let home = &shared.work.home;
    report(&Line::BackingUp)?;
    let back_up = || {
        let repository = home.repository()?;
        Backup::new(&repository, home.store())?.run(&How::default(), &|_| true)
    };
    match back_up() {
        Ok(done) => match done.damage.first() {
            Some(damage) => failed("backup", damage),
            None => done.snapshot.map_or(Ok(()), |number| report(&Line::BackedUp(number))),
        },
        Err(e) => {
            failed("backup", &e)?;
            std::thread::sleep(PAUSE);
            Ok(())
        }
    }
}
