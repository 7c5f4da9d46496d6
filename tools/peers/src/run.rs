//! All of it: which work, in which order, and how many times.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::engine::{Peer, Track};
use crate::measure::{self, Figures};
use crate::task::Task;
use crate::{PeerError, Result, provenance, report, syncs};

/// What is measured, and where.
#[derive(Args)]
pub(crate) struct How {
    /// The folder of the corpus.
    #[arg(long, default_value = "tools/recorder/corpus")]
    corpus: PathBuf,
    /// A folder on the disk to be measured; what is made in it is removed.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where results.json, RESULTS.md and the plots are written.
    #[arg(long, default_value = "tools/peers")]
    out: PathBuf,
    /// Only these peers; reelvault is always among them.
    #[arg(long)]
    peer: Vec<Peer>,
    /// Only this track.
    #[arg(long)]
    track: Vec<Track>,
    /// Only this work: ingest, read (with deleting), kill, backup or growth.
    #[arg(long)]
    only: Vec<Part>,
    /// Rounds; medians are told.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Much less of everything, in two rounds: to see that it works.
    #[arg(long)]
    quick: bool,
    /// What chance follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Adds to results.json, which must be of this commit, seed and amount, the parts of rounds that it does not have yet.
    #[arg(long)]
    resume: bool,
}

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Ingest,
    Read,
    Kill,
    Backup,
    Growth,
}

impl Part {
    /// Whether some work, by its name in the results, is of this part.
    fn has(self, work: &str) -> bool {
        match self {
            Self::Ingest => work.starts_with("ingest") || work.starts_with("syncs"),
            Self::Read => matches!(work, "fill" | "read" | "delete"),
            Self::Kill => work == "reopen",
            Self::Backup => work == "backup",
            Self::Growth => work.starts_with("fill, ") || work.starts_with("read, "),
        }
    }
}

/// All results of a run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) commit: String,
    pub(crate) date: String,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) seed: u64,
    pub(crate) rounds: u32,
    pub(crate) quick: bool,
    pub(crate) measured: Vec<Measured>,
    /// What a peer could not do.
    pub(crate) failures: Vec<Failure>,
}

/// A piece of work that ended in a peer's error.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) track: Track,
    pub(crate) peer: String,
    pub(crate) work: String,
    pub(crate) round: u32,
    pub(crate) told: String,
}

/// One piece of work of one round.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) track: Track,
    /// A peer's name, or `limit`.
    pub(crate) peer: String,
    /// What was done: `ingest 64`.
    pub(crate) work: String,
    pub(crate) round: u32,
    pub(crate) figures: Figures,
}

const MIB: u64 = 1 << 20;
/// A store that has grown is read by so many processes: one as a whole is fast or slow by half, as its machine gives it a processor, and filling takes
/// too long for as many rounds.
const READS: usize = 5;

struct Running<'a> {
    how: &'a How,
    dir: tempfile::TempDir,
    measured: Vec<Measured>,
    failures: Vec<Failure>,
}

pub(crate) fn run(how: &How) -> Result<()> {
    let base = how.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = tempfile::Builder::new().prefix("reelvault-peers-").tempdir_in(&base);
    let dir = dir.map_err(|e| PeerError::Io(base, e))?;
    let rounds = if how.quick { how.rounds.min(2) } else { how.rounds };
    let mut results = Results {
        machine: reelvault_bench::machine::describe(),
        commit: provenance::commit(),
        date: report::today(),
        versions: provenance::versions(),
        seed: how.seed,
        rounds: 0,
        quick: how.quick,
        measured: Vec::new(),
        failures: Vec::new(),
    };
    if how.resume {
        let before = report::read(&how.out)?;
        if !before.is_of(&results) {
            return Err(PeerError::Harness("results.json is of another commit, seed or amount"));
        }
        results = before;
    }
    let (measured, failures) = (results.measured.clone(), results.failures.clone());
    let mut running = Running { how, dir, measured, failures };
    for round in 0..rounds {
        for track in how.tracks() {
            running.round(track, round)?;
        }
        // Hours of work are not lost with the next round.
        results.rounds = results.rounds.max(round + 1);
        results.measured.clone_from(&running.measured);
        results.failures.clone_from(&running.failures);
        report::write(&results, &how.out)?;
    }
    Ok(())
}

impl Results {
    /// Whether rounds of the other one may be added to these.
    fn is_of(&self, other: &Self) -> bool {
        (&self.machine, &self.commit, self.seed, self.quick, &self.versions)
            == (&other.machine, &other.commit, other.seed, other.quick, &other.versions)
    }
}

impl How {
    fn tracks(&self) -> Vec<Track> {
        if self.track.is_empty() {
            vec![Track::EqualSecurity, Track::Native]
        } else {
            self.track.clone()
        }
    }

    fn peers(&self) -> Vec<Peer> {
        let all = Peer::value_variants().iter().copied();
        all.filter(|peer| {
            self.peer.is_empty() || *peer == Peer::Reelvault || self.peer.contains(peer)
        })
        .collect()
    }

    fn wants(&self, part: Part) -> bool {
        // Growth takes hours, so it has to be asked for.
        if self.only.is_empty() { part != Part::Growth } else { self.only.contains(&part) }
    }

    fn mib(&self, full: u64, quick: u64) -> String {
        ((if self.quick { quick } else { full }) * MIB).to_string()
    }
}

impl Running<'_> {
    /// Whether a part is asked for, and not among the results yet.
    fn wants(&self, part: Part, track: Track, round: u32) -> bool {
        let is_there = |m: &Measured| m.track == track && m.round == round && part.has(&m.work);
        self.how.wants(part) && !self.measured.iter().any(is_there)
    }

    /// Everything once, the peers taking turns at each piece of work.
    fn round(&mut self, track: Track, round: u32) -> Result<()> {
        let mut peers: Vec<_> =
            self.how.peers().into_iter().filter(|peer| runs_in(*peer, track)).collect();
        // Who comes first finds the machine as the last of the round before left it.
        let by = round as usize % peers.len();
        peers.rotate_left(by);
        if self.wants(Part::Ingest, track, round) {
            if round == 0 {
                self.syncs(track, &peers)?;
            }
            self.ingest(track, round, &peers)?;
        }
        if self.wants(Part::Read, track, round) {
            for peer in &peers {
                let raw = self.how.mib(2_048, 192);
                let long = self.how.mib(100, 24);
                let amount = ["--raw-bytes", &raw, "--long-bytes", &long, "--threads", "8"];
                for (task, name) in
                    [(Task::Fill, "fill"), (Task::Read, "read"), (Task::Delete, "delete")]
                {
                    self.work((track, *peer, task, round), name, &amount)?;
                }
                self.clear(*peer)?;
            }
            if track == Track::EqualSecurity {
                let raw = self.how.mib(2_048, 192);
                let amount = ["--raw-bytes", &raw];
                self.work((track, Peer::Reelvault, Task::Memory, round), "read", &amount)?;
            }
        }
        if self.wants(Part::Kill, track, round) {
            for peer in &peers {
                let raw = self.how.mib(512, 64);
                let amount = ["--raw-bytes", &raw, "--days", "1"];
                for (task, name) in [(Task::Leave, "leave"), (Task::Reopen, "reopen")] {
                    self.work((track, *peer, task, round), name, &amount)?;
                }
                self.clear(*peer)?;
            }
        }
        if self.wants(Part::Backup, track, round) {
            for peer in peers.iter().filter(|peer| peer.backs_up()) {
                let raw = self.how.mib(2_048, 96);
                let amount = ["--raw-bytes", &raw, "--threads", "8"];
                self.work((track, *peer, Task::Backup, round), "backup", &amount)?;
                self.clear(*peer)?;
            }
        }
        if self.wants(Part::Growth, track, round) {
            self.growth(track, round, &peers)?;
        }
        Ok(())
    }

    fn ingest(&mut self, track: Track, round: u32, peers: &[Peer]) -> Result<()> {
        for threads in [1, 8, 64, 256] {
            // One session waits for each sync by itself, so that less is enough to see it.
            let (full, quick) = if threads == 1 { (128, 24) } else { (512, 96) };
            let (raw, threads) = (self.how.mib(full, quick), threads.to_string());
            let amount =
                ["--before-bytes", &raw, "--raw-bytes", &raw, "--threads", &threads, "--days", "1"];
            let name = format!("ingest {threads}");
            for peer in peers {
                self.work((track, *peer, Task::Ingest, round), &name, &amount)?;
                self.clear(*peer)?;
            }
            if track == Track::EqualSecurity {
                self.work((track, Peer::Reelvault, Task::Limit, round), &name, &amount)?;
                self.clear(Peer::Reelvault)?;
            }
        }
        if round == 0 && track == Track::EqualSecurity {
            self.long_ingest(peers)?;
        }
        Ok(())
    }

    /// A rush into a new store: so much that whatever is put off catches up with it. One round shows it.
    fn long_ingest(&mut self, peers: &[Peer]) -> Result<()> {
        let raw = self.how.mib(4_096, 192);
        let amount = ["--raw-bytes", &raw, "--threads", "64", "--days", "1"];
        for peer in peers {
            let work = (Track::EqualSecurity, *peer, Task::Ingest, 0);
            self.work(work, "ingest 64, long", &amount)?;
            self.clear(*peer)?;
        }
        Ok(())
    }

    /// How many syncs an acknowledged chunk costs: that there are enough of them is what makes the other figures comparable.
    fn syncs(&mut self, track: Track, peers: &[Peer]) -> Result<()> {
        if !syncs::can_be_counted() {
            eprintln!("skipped: counting syncs, which needs strace");
            return Ok(());
        }
        for threads in ["1", "64"] {
            let raw = (32 * MIB).to_string();
            let amount = ["--raw-bytes", &raw, "--threads", threads, "--days", "1"];
            for peer in peers {
                let name = format!("syncs {threads}");
                let counts = self.dir.path().join("syncs");
                let command = self.command((track, *peer, Task::Ingest, 0), &amount)?;
                let mut figures =
                    self.told(*peer, &name, &mut syncs::counted(&command, &counts))?;
                let chunks = figures.get("chunks").copied().unwrap_or(f64::NAN);
                figures.retain(|name, _| name == "chunks");
                figures.insert("syncs a chunk".to_owned(), syncs::sum(&counts)? / chunks);
                self.measured.push(Measured {
                    track,
                    peer: peer.name().to_owned(),
                    work: name,
                    round: 0,
                    figures,
                });
                self.clear(*peer)?;
            }
        }
        Ok(())
    }

    /// The same with more and more data, and with more and more sites.
    fn growth(&mut self, track: Track, round: u32, peers: &[Peer]) -> Result<()> {
        let sizes: &[u64] = if self.how.quick { &[32, 128] } else { &[1_024, 10_240, 51_200] };
        for mib in sizes {
            let (raw, name) = ((mib * MIB).to_string(), format!("{mib} MiB"));
            // Of one day, so that there is a whole page to be listed at each size.
            let amount = ["--raw-bytes", &raw, "--days", "1"];
            self.grown(track, round, peers, &name, &amount)?;
        }
        let sites: &[u32] = if self.how.quick { &[10, 100] } else { &[10, 1_000, 100_000] };
        for sites in sites {
            let (raw, name) = (self.how.mib(1_024, 32), format!("{sites} sites"));
            let number = sites.to_string();
            // The first of many sites has a few sessions, so that fewer are listed.
            let amount = ["--raw-bytes", &raw, "--days", "1", "--sites", &number, "--listed", "20"];
            self.grown(track, round, peers, &name, &amount)?;
        }
        Ok(())
    }

    fn grown(
        &mut self,
        track: Track,
        round: u32,
        peers: &[Peer],
        name: &str,
        amount: &[&str],
    ) -> Result<()> {
        for peer in peers {
            self.work((track, *peer, Task::Fill, round), &format!("fill, {name}"), amount)?;
            let before = self.measured.len();
            for _ in 0..READS {
                self.work((track, *peer, Task::Read, round), &format!("read, {name}"), amount)?;
            }
            self.keep_middle(before);
            self.clear(*peer)?;
        }
        Ok(())
    }

    /// Of the same work, done several times, the medians.
    fn keep_middle(&mut self, from: usize) {
        let mut same = self.measured.split_off(from);
        let Some(mut middle) = same.pop() else { return };
        for (name, figure) in &mut middle.figures {
            let others = same.iter().filter_map(|m| m.figures.get(name)).copied();
            let mut all: Vec<f64> = others.chain([*figure]).collect();
            all.sort_by(f64::total_cmp);
            *figure = measure::median(&all).unwrap_or(f64::NAN);
        }
        self.measured.push(middle);
    }

    fn place(&self, peer: Peer) -> PathBuf {
        self.dir.path().join(peer.name())
    }

    fn clear(&self, peer: Peer) -> Result<()> {
        let place = self.place(peer);
        std::fs::remove_dir_all(&place).map_err(|e| PeerError::Io(place, e))?;
        // The next one does not write what this one left.
        rustix::fs::sync();
        Ok(())
    }

    fn command(
        &self,
        (track, peer, task, round): (Track, Peer, Task, u32),
        amount: &[&str],
    ) -> Result<Command> {
        let program =
            std::env::current_exe().map_err(|e| PeerError::Io("this program".into(), e))?;
        let mut command = Command::new(program);
        command.arg("work").arg(value(&task)).args([
            "--peer",
            &value(&peer),
            "--track",
            &value(&track),
        ]);
        command.arg("--corpus").arg(&self.how.corpus).arg("--dir").arg(self.place(peer));
        command.args(["--seed", &(self.how.seed + u64::from(round)).to_string()]).args(amount);
        Ok(command)
    }

    /// The figures that a process tells.
    fn told(&self, peer: Peer, name: &str, command: &mut Command) -> Result<Figures> {
        let output = command.output().map_err(|e| failed(peer, name, &e.to_string()))?;
        match serde_json::from_slice(&output.stdout) {
            Ok(figures) if output.status.success() => Ok(figures),
            _ => Err(failed(peer, name, &String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// One piece of work, in a process of its own.
    fn work(
        &mut self,
        (track, peer, task, round): (Track, Peer, Task, u32),
        name: &str,
        amount: &[&str],
    ) -> Result<()> {
        let is_limit = matches!(task, Task::Limit | Task::Memory);
        let called = if is_limit { "limit" } else { peer.name() };
        let mut command = self.command((track, peer, task, round), amount)?;
        let told = match task {
            Task::Leave => left(peer, name, &mut command).map(|()| None),
            _ => self.told(peer, name, &mut command).map(Some),
        };
        let figures = match told {
            Ok(Some(figures)) => figures,
            Ok(None) => return Ok(()),
            // A peer that cannot do it is told of, and the others go on.
            Err(e) if peer != Peer::Reelvault => {
                eprintln!("round {}, {}, {called}, {name}: {e}", round + 1, value(&track));
                let (peer, work) = (called.to_owned(), name.to_owned());
                self.failures.push(Failure { track, peer, work, round, told: e.to_string() });
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let told =
            figures.get("raw MB/s").map(|rate| format!(": {rate:.0} MB/s")).unwrap_or_default();
        eprintln!("round {}, {}, {called}, {name}{told}", round + 1, value(&track));
        let (peer, work) = (called.to_owned(), name.to_owned());
        self.measured.push(Measured { track, peer, work, round, figures });
        Ok(())
    }
}

/// Runs a process that is killed, and so tells nothing.
fn left(peer: Peer, name: &str, command: &mut Command) -> Result<()> {
    let output = command.output().map_err(|e| failed(peer, name, &e.to_string()))?;
    match output.status.code() {
        None => Ok(()),
        Some(_) => Err(failed(peer, name, &String::from_utf8_lossy(&output.stderr))),
    }
}

fn failed(peer: Peer, task: &str, told: &str) -> PeerError {
    PeerError::Child { peer: peer.name(), task: task.to_owned(), told: told.trim().to_owned() }
}

/// Whether a peer is in a track: SQLCipher without its key is SQLite.
fn runs_in(peer: Peer, track: Track) -> bool {
    #[cfg(feature = "sqlite")]
    if peer == Peer::Sqlcipher {
        return track == Track::EqualSecurity;
    }
    let _ = (peer, track);
    true
}

/// As it is written on the command line.
fn value(it: &impl ValueEnum) -> String {
    it.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
