//! The figures of reelvault, measured beside the machine's own limit in the same run.
//!
//! Each figure is a ratio, a count or a time with its limit next to it. Plain times on a shared machine say little;
//! what is compared alternates within a round, and the median of the rounds is told.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures the real machine")]

mod backup;
pub mod corpus;
mod delete;
mod ingest;
pub mod limit;
pub mod machine;
mod memory;
mod open;
mod read;
mod report;
mod serve;
mod space;

use std::path::PathBuf;
use std::sync::Arc;

use reelvault::env::Env;
use reelvault::{KeyFile, KeyProvider, Options, Store};

pub use report::{Figure, Report};

/// Why a benchmark could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The corpus is not what the recorder makes.
    #[error("the corpus is not one that tools/recorder made")]
    Corpus,
    /// A file could not be read or written.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, std::io::Error),
    /// The engine refused.
    #[error(transparent)]
    Store(#[from] reelvault::Error),
    /// The engine refused the input.
    #[error(transparent)]
    Input(#[from] reelvault::InputError),
    /// A child process failed.
    #[error("the child process `{0}` failed")]
    Child(&'static str),
}

type Result<T, E = BenchError> = std::result::Result<T, E>;

/// What to measure, and where.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of the corpus, with its `corpus.json`.
    pub corpus: PathBuf,
    /// An empty folder on the disk to be measured; everything made in it is removed.
    pub dir: PathBuf,
    /// Rounds of each comparison; the median is told.
    pub rounds: usize,
    /// Raw bytes that are ingested to see the memory.
    pub memory_raw_bytes: u64,
    /// Journal bytes that are left by the killed process.
    pub journal_bytes: u64,
    /// Sessions of the site that is listed.
    pub list_sessions: u64,
    /// Segments of the store that is opened.
    pub segments: u64,
    /// Days of the store of which some are dropped.
    pub days: u64,
    /// Bytes of the store that is backed up.
    pub backup_bytes: u64,
    /// Sessions of the site whose pages the service is asked for.
    pub page_sessions: u64,
    /// Raw bytes of the longest session that the service plays.
    pub long_bytes: u64,
    /// Sessions that are erased of those of the site that is listed; a divisor of these.
    pub erasures: u64,
    /// Only these parts, by name; all if empty.
    pub only: Vec<String>,
}

impl Config {
    /// The figures as they are published.
    #[must_use]
    pub fn full(corpus: PathBuf, dir: PathBuf) -> Self {
        Self {
            corpus,
            dir,
            rounds: 5,
            memory_raw_bytes: 10 << 30,
            journal_bytes: 1 << 30,
            list_sessions: 100_000,
            segments: 10_000,
            days: 365,
            backup_bytes: 2 << 30,
            page_sessions: 1_000_000,
            long_bytes: 500 << 20,
            erasures: 20_000,
            only: Vec::new(),
        }
    }

    /// A tenth of everything, for a first look.
    #[must_use]
    pub fn quick(corpus: PathBuf, dir: PathBuf) -> Self {
        Self {
            rounds: 3,
            memory_raw_bytes: 1 << 30,
            journal_bytes: 100 << 20,
            list_sessions: 10_000,
            segments: 1_000,
            days: 37,
            backup_bytes: 200 << 20,
            page_sessions: 100_000,
            long_bytes: 50 << 20,
            erasures: 2_000,
            ..Self::full(corpus, dir)
        }
    }

    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| o == part)
    }
}

/// The parts of a run, by the names that [`Config::only`] takes.
pub const PARTS: [&str; 10] =
    ["ingest", "replay", "list", "open", "space", "delete", "memory", "kill", "backup", "serve"];

/// Runs the benchmark. `said` is told what is being done.
///
/// # Errors
/// What the engine, the corpus or the disk answers.
pub fn run(config: &Config, said: &dyn Fn(&str)) -> Result<Report> {
    let corpus = Arc::new(corpus::Corpus::load(&config.corpus)?);
    let mut report = Report::new(machine::describe(), &corpus);
    let bench = Bench { config, corpus };
    type Part = fn(&Bench<'_>, &mut Report) -> Result<()>;
    let parts: [(&str, &str, Part); 10] = [
        ("ingest", "durable ingest beside the bare loop", ingest::measure),
        ("replay", "replay beside decrypting and decompressing in memory", read::replay),
        ("list", "listing a day of a large site", read::list),
        ("open", "opening a store of many segments", open::segments),
        ("space", "space beside compressing each chunk", space::measure),
        ("delete", "deleting days and sessions, and reading after", delete::measure),
        ("memory", "memory while much is ingested", memory::measure),
        ("kill", "opening after a kill", open::after_kill),
        ("backup", "backing up and restoring beside cp, restic and borg", backup::measure),
        ("serve", "the replay service beside nginx", serve::measure),
    ];
    for (name, what, part) in parts {
        if config.wants(name) {
            said(what);
            part(&bench, &mut report)?;
        }
    }
    Ok(report)
}

/// The work of a child process that [`run`] starts: it is asked for by its name.
///
/// # Errors
/// As [`run`].
pub fn run_child(name: &str, config: &Config) -> Result<()> {
    let corpus = Arc::new(corpus::Corpus { sites: Vec::new(), sessions: Vec::new() });
    let bench = Bench { config, corpus };
    match name {
        memory::CHILD => memory::child(&bench),
        open::CHILD => open::child(&bench),
        _ => Err(BenchError::Child("unknown")),
    }
}

/// A benchmark under way.
struct Bench<'a> {
    config: &'a Config,
    corpus: Arc<corpus::Corpus>,
}

/// A store in a folder of its own, removed at the end.
struct Place(PathBuf);

impl Bench<'_> {
    fn place(&self, name: &str) -> Result<Place> {
        let path = self.config.dir.join(name);
        // A run that was interrupted may have left it.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).map_err(|e| BenchError::Io(path.clone(), e))?;
        Ok(Place(path))
    }

    fn sites(&self, store: &Store) -> Result<Vec<reelvault::Site>> {
        let ids = self.corpus.sites.iter().map(reelvault::SiteId::new);
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        Ok(store.add_sites(ids.into_iter().map(|id| (id, 30)))?)
    }

    fn run_child(&self, name: &'static str, place: &Place) -> Result<std::process::Output> {
        let exe = std::env::current_exe().map_err(|e| BenchError::Io("this program".into(), e))?;
        let output = std::process::Command::new(exe)
            .args(["bench", "--child", name, "--corpus"])
            .arg(&self.config.corpus)
            .arg("--dir")
            .arg(&place.0)
            .args(["--memory-bytes", &self.config.memory_raw_bytes.to_string()])
            .args(["--journal-bytes", &self.config.journal_bytes.to_string()])
            .output()
            .map_err(|e| BenchError::Io("this program".into(), e))?;
        Ok(output)
    }
}

impl Place {
    fn options(&self, env: Env) -> Result<Options> {
        let key = self.0.join("key");
        let provider: Arc<dyn KeyProvider> = if key.exists() {
            Arc::new(KeyFile::open(&Env::real(), &key)?)
        } else {
            Arc::new(KeyFile::create(&Env::real(), &key)?)
        };
        Ok(Options::new(self.0.join("store"), [self.0.join("keyring")], provider).env(env))
    }

    /// Everything below the store is gone; the place can be used again.
    fn clear(&self) {
        for name in ["store", "keyring", "key", "limit"] {
            let path = self.0.join(name);
            let _ = std::fs::remove_dir_all(&path);
            let _ = std::fs::remove_file(&path);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Now, in Unix milliseconds.
fn now_ms() -> u64 {
    use reelvault::env::Clock;
    reelvault::env::RealClock.now_ms()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
