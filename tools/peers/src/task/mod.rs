//! What is done with a peer, each in a process of its own: its memory and what it writes are seen by themselves.

mod backup;
mod delete;
mod fill;
mod ingest;
mod kill;
mod read;

use std::path::PathBuf;
use std::sync::Arc;

use reelvault_bench::corpus::Corpus;

use crate::Result;
use crate::engine::{DAY_MS, Peer, Setup, Track};
use crate::measure::Figures;
use crate::workload::{Planned, Workload};

/// Which work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Task {
    /// Sessions recorded at once, each append durable; then what was put off.
    Ingest,
    /// The same chunks in a bare loop, without an engine.
    Limit,
    /// Some days of sessions, and a long one: what the next tasks look at.
    Fill,
    /// Opening, replaying, jumping, listing.
    Read,
    /// Erasing a session, dropping a day.
    Delete,
    /// The same sessions, opened and decompressed in memory.
    Memory,
    /// A first backup, a next one, and restoring.
    Backup,
    /// Appends, and dies without a word.
    Leave,
    /// Opens what such a process left.
    Reopen,
}

/// How much of it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Amount {
    /// The folder of the corpus.
    #[arg(long)]
    pub(crate) corpus: PathBuf,
    /// Where the peer's files are.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// What chance follows from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Sessions recorded at once.
    #[arg(long, default_value_t = 8)]
    pub(crate) threads: usize,
    /// Raw bytes in all.
    #[arg(long, default_value_t = 256 << 20)]
    pub(crate) raw_bytes: u64,
    /// Raw bytes that are recorded and settled before the rest is timed.
    #[arg(long, default_value_t = 0)]
    pub(crate) before_bytes: u64,
    /// Sites.
    #[arg(long, default_value_t = 20)]
    pub(crate) sites: u32,
    /// Days.
    #[arg(long, default_value_t = 4)]
    pub(crate) days: u32,
    /// Raw bytes of the long session.
    #[arg(long, default_value_t = 100 << 20)]
    pub(crate) long_bytes: u64,
    /// Raw bytes of the largest other session: with few sessions in all, one of many would be a run by itself.
    #[arg(long, default_value_t = 16 << 20)]
    pub(crate) largest_bytes: u64,
    /// Sessions on a page of a list.
    #[arg(long, default_value_t = 100)]
    pub(crate) listed: usize,
    /// Memory for caches.
    #[arg(long, default_value_t = 64 << 20)]
    pub(crate) cache_bytes: usize,
    /// The level of zstd of what the harness packs for peers: a balance between speed and size, as their manuals have it.
    #[arg(long, default_value_t = 3)]
    pub(crate) pack_level: i32,
}

/// A peer, and what is done with it.
pub(crate) struct Work<'a> {
    pub(crate) peer: Peer,
    pub(crate) track: Track,
    pub(crate) amount: &'a Amount,
    pub(crate) workload: Workload,
    pub(crate) today: u32,
}

/// Does it, in this process.
pub(crate) fn run(task: Task, peer: Peer, track: Track, amount: &Amount) -> Result<Figures> {
    let corpus = Arc::new(Corpus::load(&amount.corpus)?);
    let workload = Workload::new(corpus, amount.seed, amount.sites, amount.largest_bytes);
    let work = Work { peer, track, amount, workload, today: today() };
    let mut figures = match task {
        Task::Ingest => ingest::run(&work),
        Task::Limit => ingest::limit(&work),
        Task::Fill => fill::run(&work),
        Task::Read => read::run(&work),
        Task::Memory => read::limit(&work),
        Task::Backup => backup::run(&work),
        Task::Delete => delete::run(&work),
        Task::Leave => kill::leave(&work),
        Task::Reopen => kill::reopen(&work),
    }?;
    // What could not be measured is left out: JSON has no other number for it.
    figures.retain(|_, figure| figure.is_finite());
    Ok(figures)
}

/// The day on which all days of a run lie behind, of which everything is kept for long.
fn today() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    (since.map_or(0, |since| since.as_millis() as u64) / DAY_MS) as u32
}

impl Work<'_> {
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            dir: self.amount.dir.clone(),
            track: self.track,
            sites: self.amount.sites,
            cache_bytes: self.amount.cache_bytes,
            pack_level: self.amount.pack_level,
            days: self.first_day()..self.today,
        }
    }

    /// The first day of which there are sessions; the last is yesterday.
    pub(crate) fn first_day(&self) -> u32 {
        self.today - self.amount.days
    }

    /// The sessions that make up the amount, day after day.
    pub(crate) fn sessions(&self) -> Vec<Planned> {
        let mut planned = Vec::new();
        let mut bytes = 0;
        for number in 0.. {
            if bytes >= self.amount.raw_bytes {
                break;
            }
            let share = bytes * u64::from(self.amount.days) / self.amount.raw_bytes;
            let session = self.workload.session(number, self.first_day() + share as u32);
            bytes += self.workload.raw_bytes(&session);
            planned.push(session);
        }
        planned
    }

    /// The long session, on the last day.
    pub(crate) fn long(&self) -> Planned {
        self.workload.long(u64::from(u32::MAX), self.today - 1, self.amount.long_bytes)
    }
}
