//! All of it: which work, in which order, and how many times.

use std::path::PathBuf;
use std::process::{Command, Output};

use clap::ValueEnum;

use crate::engine::{Peer, Track};
use crate::how::{How, Part};
use crate::measure::{self, Figures};
use crate::results::{Failure, Measured, Results};
use crate::task::Task;
use crate::{PeerError, Result, provenance, report, syncs};

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
        let mut tracks = how.tracks().into_iter();
        let done = tracks.try_for_each(|track| running.round(track, round));
        // Hours of work are not lost with what comes after it.
        results.rounds = results.rounds.max(round + 1);
        results.measured.clone_from(&running.measured);
        results.failures.clone_from(&running.failures);
        report::write(&results, &how.out)?;
        done?;
    }
    Ok(())
}

impl Running<'_> {
    /// Whether a peer has not done some work of a round yet. All of it is done again then, as one piece looks at what the other left.
    fn lacks(&mut self, (track, peer, round): (Track, &str, u32), works: &[&str]) -> bool {
        let is_there = |m: &Measured| (m.track, &*m.peer, m.round) == (track, peer, round);
        let done = |work: &&str| self.measured.iter().any(|m| is_there(m) && m.work == **work);
        if works.iter().all(done) {
            return false;
        }
        self.measured.retain(|m| !(is_there(m) && works.contains(&&*m.work)));
        self.failures.retain(|f| {
            (f.track, &*f.peer, f.round) != (track, peer, round) || !works.contains(&&*f.work)
        });
        true
    }

    /// Everything once, the peers taking turns at each piece of work.
    fn round(&mut self, track: Track, round: u32) -> Result<()> {
        let mut peers: Vec<_> =
            self.how.peers().into_iter().filter(|peer| runs_in(*peer, track)).collect();
        // Who comes first finds the machine as the last of the round before left it.
        let by = round as usize % peers.len();
        peers.rotate_left(by);
        if self.how.wants(Part::Ingest) {
            if round == 0 {
                self.syncs(track, &peers)?;
            }
            self.ingest(track, round, &peers)?;
        }
        if self.how.wants(Part::Read) {
            self.read(track, round, &peers)?;
        }
        if self.how.wants(Part::Kill) {
            let raw = self.how.mib(512, 64);
            let amount = ["--raw-bytes", &raw, "--days", "1"];
            let tasks = [(Task::Leave, "leave"), (Task::Reopen, "reopen")];
            for peer in &peers {
                self.together((track, *peer, round), &["reopen"], &tasks, &amount)?;
            }
        }
        if self.how.wants(Part::Backup) {
            let raw = self.how.mib(2_048, 96);
            let amount = ["--raw-bytes", &raw, "--threads", "8"];
            for peer in peers.iter().filter(|peer| peer.backs_up()) {
                let tasks = [(Task::Backup, "backup")];
                self.together((track, *peer, round), &["backup"], &tasks, &amount)?;
            }
        }
        if self.how.wants(Part::Growth) {
            self.growth(track, round, &peers)?;
        }
        Ok(())
    }

    /// Pieces of work that look at what the one before left, if some of what they tell is not there yet.
    fn together(
        &mut self,
        (track, peer, round): (Track, Peer, u32),
        told: &[&str],
        tasks: &[(Task, &str)],
        amount: &[&str],
    ) -> Result<()> {
        let Some((first, _)) = tasks.first() else { return Ok(()) };
        if !self.lacks((track, called(peer, *first), round), told) {
            return Ok(());
        }
        for (task, name) in tasks {
            self.work((track, peer, *task, round), name, amount)?;
        }
        self.clear(peer)
    }

    fn read(&mut self, track: Track, round: u32, peers: &[Peer]) -> Result<()> {
        let (raw, long) = (self.how.mib(2_048, 192), self.how.mib(100, 24));
        let amount = ["--raw-bytes", &raw, "--long-bytes", &long, "--threads", "8"];
        let tasks = [(Task::Fill, "fill"), (Task::Read, "read"), (Task::Delete, "delete")];
        for peer in peers {
            self.together((track, *peer, round), &["fill", "read", "delete"], &tasks, &amount)?;
        }
        if track == Track::EqualSecurity {
            let (amount, tasks) = (["--raw-bytes", &raw], [(Task::Memory, "read")]);
            self.together((track, Peer::Reelvault, round), &["read"], &tasks, &amount)?;
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
            self.ingest_all((track, round), peers, &name, &amount)?;
            if track == Track::EqualSecurity {
                let tasks = [(Task::Limit, &*name)];
                self.together((track, Peer::Reelvault, round), &[&name], &tasks, &amount)?;
            }
            if track == Track::EqualSecurity && threads == "64" {
                // reelvault's own level is 1: what another one is worth to the others.
                let amount = [&amount[..], &["--pack-level", "1"]].concat();
                self.ingest_all((track, round), peers, "ingest 64, level 1", &amount)?;
            }
        }
        if round == 0 && track == Track::EqualSecurity {
            // A rush into a new store: so much that whatever is put off catches up with it. One round shows it.
            let raw = self.how.mib(4_096, 192);
            let amount = ["--raw-bytes", &raw, "--threads", "64", "--days", "1"];
            self.ingest_all((track, round), peers, "ingest 64, long", &amount)?;
        }
        Ok(())
    }

    fn ingest_all(
        &mut self,
        (track, round): (Track, u32),
        peers: &[Peer],
        name: &str,
        amount: &[&str],
    ) -> Result<()> {
        for peer in peers {
            let tasks = [(Task::Ingest, name)];
            self.together((track, *peer, round), &[name], &tasks, amount)?;
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
            for peer in peers {
                let name = format!("syncs {threads}");
                if self.lacks((track, peer.name(), 0), &[&name]) {
                    let told = self.count_syncs(track, *peer, threads, &name);
                    self.keep((track, *peer, Task::Ingest, 0), &name, told)?;
                    self.clear(*peer)?;
                }
            }
        }
        Ok(())
    }

    fn count_syncs(&self, track: Track, peer: Peer, threads: &str, name: &str) -> Result<Figures> {
        let raw = (32 * MIB).to_string();
        let amount = ["--raw-bytes", &raw, "--threads", threads, "--days", "1"];
        let counts = self.dir.path().join("syncs");
        let command = self.command((track, peer, Task::Ingest, 0), &amount)?;
        let mut figures = self.told(peer, name, &mut syncs::counted(&command, &counts))?;
        figures.retain(|name, _| name == "chunks");
        let chunks = figures.get("chunks").copied().unwrap_or_default();
        let syncs = syncs::sum(&counts)?;
        // One session waits for each chunk, so each has a sync of its own, or was not durable.
        if chunks < 1.0 || (threads == "1" && syncs < chunks) {
            return Err(failed(peer, name, &format!("{syncs} syncs of {chunks} durable chunks")));
        }
        figures.insert("syncs a chunk".to_owned(), syncs / chunks);
        Ok(figures)
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
        let (fill, read) = (format!("fill, {name}"), format!("read, {name}"));
        for peer in peers {
            if !self.lacks((track, peer.name(), round), &[&fill, &read]) {
                continue;
            }
            self.work((track, *peer, Task::Fill, round), &fill, amount)?;
            let before = self.measured.len();
            for _ in 0..READS {
                self.work((track, *peer, Task::Read, round), &read, amount)?;
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
        match std::fs::remove_dir_all(&place) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(PeerError::Io(place, e));
            }
            // What is done in memory leaves nothing.
            _ => {}
        }
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
        if !output.status.success() {
            return Err(died(peer, name, &output));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| {
            let told = String::from_utf8_lossy(&output.stdout);
            failed(peer, name, &format!("its answer can't be read: {e}: {told:.200}"))
        })
    }

    /// One piece of work, in a process of its own.
    fn work(
        &mut self,
        (track, peer, task, round): (Track, Peer, Task, u32),
        name: &str,
        amount: &[&str],
    ) -> Result<()> {
        let mut command = self.command((track, peer, task, round), amount)?;
        let told = match task {
            Task::Leave => match left(peer, name, &mut command) {
                Ok(()) => return Ok(()),
                Err(e) => Err(e),
            },
            _ => self.told(peer, name, &mut command),
        };
        self.keep((track, peer, task, round), name, told)
    }

    /// Keeps figures, or why there are none: a peer that cannot do it is told of, and the others go on.
    fn keep(
        &mut self,
        (track, peer, task, round): (Track, Peer, Task, u32),
        name: &str,
        told: Result<Figures>,
    ) -> Result<()> {
        let (called, work) = (called(peer, task), name.to_owned());
        let by = format!("round {}, {}, {called}, {name}", round + 1, value(&track));
        let peer_name = called.to_owned();
        match told {
            Ok(figures) => {
                let rate = figures.get("raw MB/s").map(|rate| format!(": {rate:.0} MB/s"));
                eprintln!("{by}{}", rate.unwrap_or_default());
                self.measured.push(Measured { track, peer: peer_name, work, round, figures });
            }
            Err(e) if peer == Peer::Reelvault => return Err(e),
            Err(e) => {
                eprintln!("{by}: {e}");
                let told = e.to_string();
                self.failures.push(Failure { track, peer: peer_name, work, round, told });
            }
        }
        Ok(())
    }
}

/// Whose figures these are: what is done without an engine is the limit's.
fn called(peer: Peer, task: Task) -> &'static str {
    if matches!(task, Task::Limit | Task::Memory) { "limit" } else { peer.name() }
}

/// Runs a process that is killed, and so tells nothing.
fn left(peer: Peer, name: &str, command: &mut Command) -> Result<()> {
    let output = command.output().map_err(|e| failed(peer, name, &e.to_string()))?;
    match output.status.code() {
        None => Ok(()),
        Some(_) => Err(died(peer, name, &output)),
    }
}

/// What a process said last, and how it ended.
fn died(peer: Peer, name: &str, output: &Output) -> PeerError {
    let told = String::from_utf8_lossy(&output.stderr);
    failed(peer, name, &format!("{} ({})", told.trim(), output.status))
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
