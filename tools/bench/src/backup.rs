//! Backups, beside a plain copy of the same store and the tools that people use: restic and borg, where they are installed.
//!
//! Each round does all of them one after the other, and what is compared is compared within a round. The page cache is warm for all, and
//! what earlier work left to be written is written before each.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reelvault::backup::{Backup, DirPlace, How, Progress, ReadShare, Repository, What};
use reelvault::env::{Counted, Counts, Env, RealDisk};
use reelvault::{Chunk, Durability, Options, Session, SessionId, SiteId, Store};

use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Place, Result, machine, median, now_ms, open};

const ON: &(dyn Fn(Progress) -> bool + Sync) = &|_| true;
/// Sessions of the store that is backed up have so many chunks, of so many bytes.
const CHUNKS: u64 = 8;
const CHUNK_BYTES: usize = 1 << 20;
/// How often it is looked at the memory of a backup's process.
const LOOK: Duration = Duration::from_millis(2);
/// The rate and the length of the recording that is followed.
const FOLLOWED_PER_SECOND: u64 = 1_000;
const FOLLOWED_SECONDS: u64 = 12;
const FOLLOW_INTERVAL: Duration = Duration::from_secs(2);

/// All figures of backups.
pub(crate) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("backup")?;
    let options = place.options(Env::real())?.background(false);
    fill(&options, bench.config.backup_bytes)?;
    let rounds = Rounds::run(bench, &place, &options)?;
    rounds.tell(report);
    memory(&place, report)?;
    drop(place);
    increments(bench, report)?;
    follow(bench, report)
}

/// Fills a store with so many sealed bytes, which do not compress much.
fn fill(options: &Options, bytes: u64) -> Result<()> {
    let store = Store::create(options.clone())?;
    let site = store.add_site(SiteId::new("long.example")?, 400)?;
    let (mut mix, mut n) = (1u64, 0);
    while store.stats()?.segment_bytes < bytes {
        for _ in 0..16 {
            let session = Session::new(SessionId::new(format!("s-{n:08}"))?);
            for seq in 0..CHUNKS {
                let at = now_ms() - 60_000 + seq * 1_000;
                let events = noise(&mut mix, at);
                let chunk = Chunk::from_events(seq, events.into_bytes())?;
                site.append_with(&session, &chunk, Durability::Deferred)?;
            }
            n += 1;
        }
        store.archive()?;
    }
    Ok(store.close()?)
}

/// Events of about [`CHUNK_BYTES`] bytes of random hexadecimal digits.
fn noise(mix: &mut u64, at: u64) -> String {
    use std::fmt::Write;
    let mut events = String::with_capacity(CHUNK_BYTES + 4_096);
    while events.len() < CHUNK_BYTES {
        let _ = write!(events, "{{\"type\":3,\"timestamp\":{at},\"data\":\"");
        for _ in 0..200 {
            *mix = mix.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ 0x2545_f491;
            let _ = write!(events, "{mix:016x}");
        }
        events.push_str("\"}\n");
    }
    events
}

/// One tool's times in seconds, a value a round.
#[derive(Default)]
struct Times {
    first: Vec<f64>,
    unchanged: Vec<f64>,
    check: Vec<f64>,
    restore: Vec<f64>,
}

#[derive(Default)]
struct Rounds {
    bytes: u64,
    copy: Vec<f64>,
    copy_back: Vec<f64>,
    ours: Times,
    restic: Times,
    borg: Times,
}

impl Rounds {
    fn run(bench: &Bench<'_>, place: &Place, options: &Options) -> Result<Self> {
        let store = place.0.join("store");
        let mut rounds = Self { bytes: bytes_in(&store)?, ..Self::default() };
        for _ in 0..bench.config.rounds.min(3) {
            rounds.copy.push(copy(place, &store, "copy")?);
            rounds.ours.round(&Ours { options, place })?;
            for (tool, times) in
                [(Tool::Restic, &mut rounds.restic), (Tool::Borg, &mut rounds.borg)]
            {
                if tool.is_there() {
                    times.round(&Theirs { tool, place })?;
                }
            }
            rounds.copy_back.push(copy(place, &store, "copied")?);
        }
        Ok(rounds)
    }

    fn tell(&self, report: &mut Report) {
        let mb = self.bytes as f64 / 1e6;
        let speed = |seconds: &[f64]| mb / median(seconds.to_vec());
        let times = |theirs: &[f64], ours: &[f64]| {
            median(theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours).collect())
        };
        let of = format!(
            "{:.2} GiB, median of {} rounds",
            mb * 1e6 / f64::from(1 << 30),
            self.copy.len()
        );
        let first = times(&self.copy, &self.ours.first);
        let note = format!(
            "{of}; {:.0} MB/s, cp -r and sync {:.0}",
            speed(&self.ours.first),
            speed(&self.copy)
        );
        report.add(
            "first backup, of a plain copy's speed",
            first,
            "",
            Some(1.0),
            Goal::AtLeast(0.8, ">= 0.8"),
            note,
        );
        let unchanged = median(self.ours.unchanged.clone()) * 1e3;
        report.add(
            "backup without a change",
            unchanged,
            "ms",
            None,
            Goal::AtMost(100.0, "<= 100 ms"),
            "keyring and repository opened, snapshot made",
        );
        let restore = times(&self.copy_back, &self.ours.restore);
        let note =
            format!("{:.0} MB/s, every digest checked on the way", speed(&self.ours.restore));
        report.add(
            "restore, of a plain copy's speed",
            restore,
            "",
            Some(1.0),
            Goal::AtLeast(0.8, ">= 0.8"),
            note,
        );
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(2) as f64;
        let check = speed(&self.ours.check) / 1e3 / cores;
        report.add(
            "check of all data, a core",
            check,
            "GB/s",
            None,
            Goal::AtLeast(1.0, ">= 1 GB/s"),
            "SHA-256 of every byte",
        );
        for (name, theirs) in [("restic", &self.restic), ("borg", &self.borg)] {
            if theirs.first.is_empty() {
                continue;
            }
            let note = format!(
                "first {:.1} s to {:.1}; no change {:.2} to {:.3}; check {:.1} to {:.2}; restore {:.1} to {:.1}",
                median(theirs.first.clone()),
                median(self.ours.first.clone()),
                median(theirs.unchanged.clone()),
                median(self.ours.unchanged.clone()),
                median(theirs.check.clone()),
                median(self.ours.check.clone()),
                median(theirs.restore.clone()),
                median(self.ours.restore.clone()),
            );
            let figure = if name == "restic" {
                "first backup, times faster than restic"
            } else {
                "first backup, times faster than borg"
            };
            report.add(
                figure,
                times(&theirs.first, &self.ours.first),
                "",
                None,
                Goal::AtLeast(5.0, ">= 5"),
                note,
            );
        }
    }
}

/// What a round does with each tool.
trait Tried {
    fn first(&self) -> Result<()>;
    fn unchanged(&self) -> Result<()>;
    fn check(&self) -> Result<()>;
    fn restore(&self) -> Result<()>;
    fn clear(&self);
}

impl Times {
    fn round(&mut self, tool: &dyn Tried) -> Result<()> {
        self.first.push(timed(|| tool.first())?);
        self.unchanged.push(timed(|| tool.unchanged())?);
        self.check.push(timed(|| tool.check())?);
        self.restore.push(timed(|| tool.restore())?);
        tool.clear();
        Ok(())
    }
}

/// Seconds of some work, with nothing of earlier work left to be written.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    run(Command::new("sync"))?;
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}

fn run(mut command: Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(BenchError::Child("of a comparison")),
    }
}

/// Seconds to copy a folder and make the copy durable.
fn copy(place: &Place, from: &Path, name: &str) -> Result<f64> {
    let to = place.0.join(name);
    let seconds = timed(|| {
        let mut cp = Command::new("cp");
        cp.arg("-r").arg(from).arg(&to);
        run(cp)?;
        let mut sync = Command::new("sync");
        sync.arg("-f").arg(&to);
        run(sync)
    })?;
    remove(&to);
    Ok(seconds)
}

fn remove(path: &Path) {
    let _ = std::fs::remove_dir_all(path);
}

struct Ours<'a> {
    options: &'a Options,
    place: &'a Place,
}

impl Ours<'_> {
    fn repository(&self) -> Result<Repository> {
        let place = Arc::new(DirPlace::new(&Env::real(), self.place.0.join("repository")));
        Ok(Repository::open_or_make(place, self.options.clone())?)
    }
}

impl Tried for Ours<'_> {
    fn first(&self) -> Result<()> {
        let repository = self.repository()?;
        Backup::new(&repository, self.place.0.join("store"))?.run(&How::default(), ON)?;
        Ok(())
    }
    fn unchanged(&self) -> Result<()> {
        self.first()
    }
    fn check(&self) -> Result<()> {
        match self.repository()?.check(ReadShare::All, ON)?.damage.is_empty() {
            true => Ok(()),
            false => Err(BenchError::Child("of a comparison")),
        }
    }
    fn restore(&self) -> Result<()> {
        let repository = self.repository()?;
        repository.restore(
            repository.latest(None)?,
            self.place.0.join("restored"),
            &What::All,
            ON,
        )?;
        Ok(())
    }
    fn clear(&self) {
        remove(&self.place.0.join("repository"));
        remove(&self.place.0.join("restored"));
    }
}

#[derive(Clone, Copy)]
enum Tool {
    Restic,
    Borg,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Restic => "restic",
            Self::Borg => "borg",
        }
    }

    fn is_there(self) -> bool {
        let mut version = Command::new(self.name());
        version.arg(if matches!(self, Self::Restic) { "version" } else { "--version" });
        run(version).is_ok()
    }
}

/// Restic or borg, encrypted, as their manuals begin.
struct Theirs<'a> {
    tool: Tool,
    place: &'a Place,
}

impl Theirs<'_> {
    fn repository(&self) -> PathBuf {
        self.place.0.join(self.tool.name())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.tool.name());
        command.args(args).current_dir(&self.place.0);
        for name in ["RESTIC_PASSWORD", "BORG_PASSPHRASE"] {
            command.env(name, "a comparison");
        }
        command.env("RESTIC_REPOSITORY", self.repository());
        command.env("RESTIC_CACHE_DIR", self.place.0.join("restic-cache"));
        command.env("BORG_BASE_DIR", self.place.0.join("borg-base"));
        command
    }

    fn archive(&self, name: &str) -> String {
        format!("{}::{name}", self.repository().display())
    }

    fn back_up(&self, name: &str) -> Result<()> {
        match self.tool {
            Tool::Restic => run(self.command(&["backup", "--quiet", "store"])),
            Tool::Borg => run(self.command(&["create", &self.archive(name), "store"])),
        }
    }
}

impl Tried for Theirs<'_> {
    fn first(&self) -> Result<()> {
        let repository = self.repository().display().to_string();
        match self.tool {
            Tool::Restic => run(self.command(&["init"]))?,
            Tool::Borg => {
                run(self.command(&["init", "--encryption", "repokey-blake2", &repository]))?
            }
        }
        self.back_up("first")
    }
    fn unchanged(&self) -> Result<()> {
        self.back_up("second")
    }
    fn check(&self) -> Result<()> {
        let repository = self.repository().display().to_string();
        match self.tool {
            Tool::Restic => run(self.command(&["check", "--read-data"])),
            Tool::Borg => run(self.command(&["check", "--verify-data", &repository])),
        }
    }
    fn restore(&self) -> Result<()> {
        let to = self.place.0.join("restored");
        std::fs::create_dir_all(&to).map_err(|e| BenchError::Io(to.clone(), e))?;
        match self.tool {
            Tool::Restic => run(self.command(&["restore", "latest", "--target", "restored"])),
            Tool::Borg => {
                let mut extract = self.command(&["extract", &self.archive("first")]);
                extract.current_dir(&to);
                run(extract)
            }
        }
    }
    fn clear(&self) {
        for name in [self.tool.name(), "restored", "restic-cache", "borg-base"] {
            remove(&self.place.0.join(name));
        }
    }
}

fn bytes_in(dir: &Path) -> Result<u64> {
    let failed = |e| BenchError::Io(dir.to_owned(), e);
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let meta = entry.metadata().map_err(failed)?;
        bytes += if meta.is_dir() { bytes_in(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

/// The highest resident size of a process that makes a first backup.
fn memory(place: &Place, report: &mut Report) -> Result<()> {
    let exe = std::env::current_exe().map_err(|e| BenchError::Io("this program".into(), e))?;
    let failed = |e| BenchError::Io("this program".into(), e);
    let mut child = Command::new(exe)
        .arg("--store")
        .arg(place.0.join("store"))
        .arg("--keyring")
        .arg(place.0.join("keyring"))
        .arg("--key-file")
        .arg(place.0.join("key"))
        .args(["backup", "--repo"])
        .arg(place.0.join("repository"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut peak_kib = 0;
    while child.try_wait().map_err(failed)?.is_none() {
        peak_kib = peak_kib.max(machine::status_kib_of(child.id(), "VmHWM"));
        std::thread::sleep(LOOK);
    }
    let goal = Goal::AtMost(64.0, "<= 64 MiB");
    let note = "peak resident of the whole command in a first backup";
    report.add("memory of a backup", peak_kib as f64 / 1024.0, "MiB", None, goal, note);
    Ok(())
}

/// What one new segment costs in a small store and in one of very many segments, counted.
fn increments(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let counted = |segments: u64| -> Result<(Counts, f64)> {
        let place = bench.place("increment")?;
        let options = place.options(Env::real())?.background(false);
        open::store_of_segments(&options, segments)?;
        let disk = Arc::new(Counted::new(Arc::new(RealDisk)));
        let env = Env { disk: Arc::clone(&disk) as _, ..Env::real() };
        let at = Arc::new(DirPlace::new(&env, place.0.join("repository")));
        let repository = Repository::open_or_make(at, options.clone())?;
        let mut backup = Backup::new(&repository, place.0.join("store"))?;
        backup.run(&How::default(), ON)?;
        let store = Store::open(options)?;
        open::one_more_segment(&store)?;
        let (before, begun) = (disk.counts(), Instant::now());
        backup.run(&How::default(), ON)?;
        Ok((disk.counts() - before, begun.elapsed().as_secs_f64() * 1e3))
    };
    let (small, small_ms) = counted(10)?;
    let (large, large_ms) = counted(bench.config.segments)?;
    let ratio = large.written_bytes as f64 / small.written_bytes as f64;
    let note = format!(
        "{} segments against 10: {} and {} bytes written, {} and {} syncs, {large_ms:.1} and {small_ms:.1} ms",
        bench.config.segments,
        large.written_bytes,
        small.written_bytes,
        large.syncs + large.dir_syncs,
        small.syncs + small.dir_syncs,
    );
    report.add(
        "bytes of an increment, many segments to few",
        ratio,
        "",
        Some(1.0),
        Goal::AtMost(1.2, "<= 1.2"),
        note,
    );
    Ok(())
}

/// How old the oldest acknowledged chunk is that no snapshot has, while a store is recorded to and followed.
fn follow(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("follow")?;
    let options = place.options(Env::real())?;
    let store = Store::create(options.clone())?;
    let site = store.add_site(SiteId::new("live.example")?, 30)?;
    let at = Arc::new(DirPlace::new(&Env::real(), place.0.join("repository")));
    let repository = Repository::open_or_make(at, options)?;
    let mut backup = Backup::new(&repository, place.0.join("store"))?;
    let (over, written) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
    let record = || -> Result<()> {
        let (begun, mut mix) = (Instant::now(), 7u64);
        let events: Vec<String> =
            (0..8).map(|_| noise(&mut mix, now_ms())[..3_220].to_owned() + "\"}\n").collect();
        for n in 0..FOLLOWED_PER_SECOND * FOLLOWED_SECONDS {
            let due = Duration::from_micros(n * 1_000_000 / FOLLOWED_PER_SECOND);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            let session = Session::new(SessionId::new(format!("s-{}", n % 500))?);
            let chunk = Chunk::from_events(n / 500, events[n as usize % events.len()].as_bytes())?;
            site.append(&session, &chunk)?;
            written.fetch_add(1, Relaxed);
        }
        Ok(())
    };
    let mut exposed = Vec::new();
    let outcome = std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| {
            let outcome = record();
            over.store(true, Relaxed);
            outcome
        });
        let mut looked = Instant::now();
        while !over.load(Relaxed) {
            let begun = Instant::now();
            backup.follow(&How::default(), ON)?;
            // Whatever was acknowledged right after the look before was in no snapshot until now.
            exposed.push(looked.elapsed().as_secs_f64());
            looked = begun;
            std::thread::sleep(FOLLOW_INTERVAL.saturating_sub(begun.elapsed()));
        }
        writer.join().unwrap_or(Err(BenchError::Child("writer")))
    });
    outcome?;
    let worst = exposed.iter().copied().fold(0.0, f64::max);
    let note = format!(
        "{} chunks of 3 KB in {FOLLOWED_SECONDS} s, a look every {} s; the longest of {} steps",
        written.load(Relaxed),
        FOLLOW_INTERVAL.as_secs(),
        exposed.len(),
    );
    report.add(
        "exposure of a continuous backup",
        worst,
        "s",
        None,
        Goal::AtMost(5.0, "<= 5 s"),
        note,
    );
    Ok(())
}
