//! What the tests share: a place that is cleaned up, a writer that runs in it, and rounds of both.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::disallowed_methods, reason = "tests look at the files themselves")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

pub(crate) mod mount;
pub(crate) mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reelvault::Store;
use reelvault::env::sim::SplitMix;
use reelvault_machine::check::{self, Checked};
use reelvault_machine::content::DAY_MS;
use reelvault_machine::home::Home;
use reelvault_machine::ledger::Ledger;

use writer::{How, PATIENCE, Writer};

/// What all of our folders begin with; the process follows.
const PREFIX: &str = "reelvault-machine-";
/// A repository is given up for a new one after so many rounds, and a restored backup compared that often.
const ROUNDS_OF_REPOSITORY: u64 = 12;
const ROUNDS_BETWEEN_RESTORES: u64 = 4;

/// Rounds of a test: as many as the variable `MACHINE_ROUNDS` says, or so many.
pub(crate) fn rounds(otherwise: u64) -> u64 {
    std::env::var("MACHINE_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(otherwise)
}

/// What a test's choices follow from: the variable `MACHINE_SEED`, or the time.
pub(crate) fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    std::env::var("MACHINE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(now.as_nanos() as u64)
}

/// A folder that is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        mount::clear_leftovers(PREFIX);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("{PREFIX}{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A folder in it.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store over many rounds, each of which goes on with what the last one left, so that damage would add up.
pub(crate) struct Campaign {
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) round: u64,
    pub(crate) random: SplitMix,
    pub(crate) checked: Checked,
    seed: u64,
    dir: PathBuf,
    beside: PathBuf,
}

impl Campaign {
    /// One whose store and repository lie in `dir`, with `beside` for what is restored.
    pub(crate) fn new(dir: impl Into<PathBuf>, beside: impl Into<PathBuf>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let seed = seed();
        println!("seed {seed}");
        Self {
            ledger: Arc::new(Mutex::new(Ledger::new(now / DAY_MS * DAY_MS))),
            round: 0,
            random: SplitMix::new(seed),
            checked: Checked::default(),
            seed,
            dir: dir.into(),
            beside: beside.into(),
        }
    }

    pub(crate) fn home(&self) -> Home {
        let repository = format!("repository-{}", self.round / ROUNDS_OF_REPOSITORY);
        Home::new(&self.dir, self.dir.join(repository))
    }

    /// Makes the store, without trouble: what is done to its writers later does not hit its making.
    pub(crate) fn make(&mut self) {
        let ended = Writer::start(self, &How::with(&["chunks=100"])).wait(PATIENCE);
        assert!(ended.in_order(), "making the store: {}", ended.status);
        self.check();
        self.next();
    }

    /// The next round, with a new repository now and then.
    pub(crate) fn next(&mut self) {
        let before = self.home();
        self.round += 1;
        if self.home().repository_dir() != before.repository_dir() {
            let _ = std::fs::remove_dir_all(before.repository_dir());
            self.ledger.lock().unwrap().forget_backup();
        }
    }

    /// A time from `from` to `to` milliseconds.
    pub(crate) fn a_while(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.random.below(to - from))
    }

    /// Opens the store as its next writer would, and checks all that it owes; now and then the last backup, too.
    pub(crate) fn check(&mut self) {
        let checked = self.try_check();
        self.checked += self.or_panic(checked);
    }

    fn or_panic<T>(&self, outcome: Result<T, String>) -> T {
        outcome.unwrap_or_else(|why| {
            // To be looked at.
            if let Ok(to) = std::env::var("MACHINE_KEEP") {
                let _ = mount::try_run(&["cp", "-r", self.dir.to_str().unwrap(), &to]);
            }
            panic!("seed {}, round {}: {why}", self.seed, self.round)
        })
    }

    fn try_check(&mut self) -> Result<Checked, String> {
        let home = self.home();
        let options = home.options().map_err(|e| format!("the key: {e}"))?;
        let mut ledger = self.ledger.lock().unwrap();
        let store = Store::open(options).map_err(|e| format!("opening it: {e}"))?;
        let mut checked = check::store(&store, &mut ledger)?;
        check::refuses_what_is_gone(&store, &ledger)?;
        if self.round.is_multiple_of(ROUNDS_BETWEEN_RESTORES) {
            let into = self.beside.join(format!("restored-{}", self.round));
            let restored = check::backup(&home, &ledger, &into);
            let _ = std::fs::remove_dir_all(&into);
            checked += restored?;
        }
        Ok(checked)
    }

    /// Cuts the power; what is told after this began is not owed.
    pub(crate) fn cut(&self, machine: &mount::Machine, flushed: bool) {
        self.ledger.lock().unwrap().cut();
        machine.cut(flushed);
    }

    /// The machine has started again and the store is checked.
    pub(crate) fn restarted(&self) {
        self.ledger.lock().unwrap().restarted();
    }

    /// Looks at the store as a reader, and changes nothing: what it sees is owed from then on.
    pub(crate) fn look(&mut self) {
        let options = self.home().options().unwrap();
        let seen = Store::open_read_only(options)
            .map_err(|e| format!("opening it to read: {e}"))
            .and_then(|store| check::store(&store, &mut self.ledger.lock().unwrap()));
        self.checked += self.or_panic(seen.map_err(|e| format!("as a reader sees it: {e}")));
    }

    /// Says what happened in all rounds.
    pub(crate) fn summary(&self, what: &str) {
        let ledger = self.ledger.lock().unwrap();
        println!("{what}: {} rounds; {}; {}", self.round, ledger.counts, self.checked);
        for ((doing, kind), (times, words)) in &ledger.failures {
            println!("  told {times} times: {doing}: {kind} {words}");
        }
    }
}
