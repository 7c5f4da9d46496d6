//! `backup`: copies what a repository lacks, once or continuously.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reelvault::Error;
use reelvault::backup::{Backup, Done, How, Repository};
use serde::Serialize;

use crate::access::{Access, RepositoryArgs, StoreArgs};
use crate::exit::{Exit, Failure, Run, Told, tell};
use crate::human::{self, bytes, count};
use crate::interrupt;
use crate::output::{self, Out, to_json};
use crate::progress;
use crate::when::{now_ms, parse_span};

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault backup --repo /backup/reelvault
  reelvault backup --repo s3://backups/reelvault --limit 20M
  reelvault backup --repo s3://backups/reelvault --follow
  reelvault backup --repo s3://backups/reelvault --repair
  reelvault backup --repo /backup/reelvault --metrics-file reelvault.prom

It copies what the repository lacks and makes a snapshot. The store can be in
use meanwhile. A backup that is interrupted leaves nothing half visible; the
next one goes on from there. Repositories hold no keys: keep the keyring's
mirrors and the key elsewhere, for without them no backup can be read.

When `check` has found damage in the repository, --repair puts right what the
store still has. A segment is then whole in earlier snapshots, too; of a journal
a new copy is made.

When damage of the store is met, what can be read of it is copied as it is, all
else as ever, and the command ends with 13. tools/systemd has a unit and a timer
for a backup every day.";

/// How long a continuous backup waits after an error of the place before it tries again: so many times the interval.
const PATIENCE: u32 = 5;

/// Arguments of `backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// Only say what would be copied
    #[arg(long, conflicts_with = "follow")]
    dry_run: bool,
    /// First read all that the newest snapshot names, and copy again what is missing or spoilt
    #[arg(long, conflicts_with = "follow")]
    repair: bool,
    /// Copy at most so many bytes a second: 500K, 20M, 1G
    #[arg(long, value_name = "RATE", value_parser = parse_bytes)]
    limit: Option<u64>,
    /// Go on: ship what is added as it comes, until interrupted. Of the snapshots that it makes,
    /// the last 64 are kept, and of older ones the first of each minute
    #[arg(long)]
    follow: bool,
    /// With --follow: how often to look
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "2s", requires = "follow")]
    interval: u64,
    /// Write figures for a monitor to this file, in Prometheus' text format; not with --dry-run
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

/// A number of bytes, with K, M, G for powers of 1024.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || "write a number of bytes such as 500K, 20M or 1G".to_owned();
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let n: u64 = digits.parse().map_err(|_| wrong())?;
    n.checked_mul(1 << shift).filter(|n| *n > 0).ok_or_else(wrong)
}

#[derive(Serialize)]
struct Body {
    dry_run: bool,
    snapshot: Option<u64>,
    segments: u64,
    bytes: u64,
    copied_segments: u64,
    copied_bytes: u64,
    resumed_segments: u64,
    repaired_objects: u64,
    millis: u64,
    damage: Vec<String>,
}

fn body(done: &Done, dry_run: bool, took: Duration) -> Body {
    Body {
        dry_run,
        snapshot: done.snapshot,
        segments: done.segments,
        bytes: done.bytes,
        copied_segments: done.copied_segments,
        copied_bytes: done.copied_bytes,
        resumed_segments: done.resumed_segments,
        repaired_objects: done.repaired_objects,
        millis: millis(took),
        damage: done.damage.iter().map(|e| tell(e).what).collect(),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn run(store: &StoreArgs, args: &Args, out: &mut Out) -> Run {
    if args.follow {
        let outcome = follow(store, args, out);
        if let Err(Failure::Told(_)) = outcome {
            figures(args, None);
        }
        return outcome;
    }
    let outcome = once(store, args);
    let noted = figures(args, outcome.as_ref().ok().map(|(done, took)| (done, *took)));
    let (done, took) = outcome?;
    if out.is_json() {
        out.document(&body(&done, args.dry_run, took))?;
    } else {
        print(&done, args.repair, took, out)?;
    }
    out.flush()?;
    match conclude(&done) {
        Exit::Done => Ok(noted),
        damaged => Ok(damaged),
    }
}

/// The store, which must be there, and the repository.
fn open(store: &StoreArgs, args: &Args) -> Run<(Access, Repository)> {
    let access = store.access()?;
    access.must_exist()?;
    let repository = access.repository(&args.repository.repo, !args.dry_run)?;
    Ok((access, repository))
}

impl Args {
    fn how(&self) -> How {
        How { dry_run: self.dry_run, bytes_per_second: self.limit, repair: self.repair }
    }
}

fn once(store: &StoreArgs, args: &Args) -> Run<(Done, Duration)> {
    let (access, repository) = open(store, args)?;
    let mut backup = Backup::new(&repository, &access.dir)?;
    let _guard = interrupt::Guard::new();
    let bar = progress::bytes(0);
    let begun = Instant::now();
    let outcome = backup.run(&args.how(), &|at| {
        bar.set_length(at.bytes_total);
        bar.set_position(at.bytes);
        !interrupt::is_set()
    });
    bar.finish_and_clear();
    Ok((outcome?, begun.elapsed()))
}

fn print(done: &Done, repair: bool, took: Duration, out: &mut Out) -> Run<()> {
    let copied = format!(
        "{} in {}",
        bytes(done.copied_bytes),
        human::of(
            done.copied_segments,
            "new segment and the journals",
            "new segments and the journals"
        )
    );
    let mut pairs = vec![];
    match done.snapshot {
        Some(number) => pairs.push(("snapshot", number.to_string())),
        None => pairs.push(("snapshot", "none: only tried".to_owned())),
    }
    pairs.push(("store", format!("{}, {} segments", bytes(done.bytes), count(done.segments))));
    pairs.push((if done.snapshot.is_some() { "copied" } else { "to copy" }, copied));
    if done.resumed_segments > 0 {
        let resumed = human::of(done.resumed_segments, "segment", "segments");
        pairs.push(("resumed", format!("{resumed} that were there already")));
    }
    if repair {
        let what = if done.snapshot.is_some() { "repaired" } else { "to repair" };
        pairs.push((what, human::of(done.repaired_objects, "object", "objects")));
    }
    pairs.push(("time", format!("{:.1} s", took.as_secs_f64())));
    out.pairs(pairs)
}

fn conclude(done: &Done) -> Exit {
    let Some(first) = done.damage.first() else { return Exit::Done };
    let places = human::of(done.damage.len() as u64, "damaged place was", "damaged places were");
    output::complain(&Told {
        exit: Exit::Corrupt,
        what: format!("{places} met, the first: {}", tell(first).what),
        help: "All else was copied, and what is damaged as far as it can be read. See what is \
               damaged in the store with: reelvault verify, and restore that from an earlier \
               snapshot; in the repository with: reelvault check."
            .to_owned(),
    });
    Exit::Corrupt
}

/// Steps, one after the other, until interrupted. What fails in passing is told and tried again.
fn follow(store: &StoreArgs, args: &Args, out: &mut Out) -> Run {
    let (access, repository) = open(store, args)?;
    let mut backup = Backup::new(&repository, &access.dir)?;
    let _guard = interrupt::Guard::new();
    let interval = Duration::from_millis(args.interval);
    let (mut last_good, mut damaged) = (Instant::now(), 0);
    output::note("following; Ctrl-C to stop");
    while !interrupt::is_set() {
        let begun = Instant::now();
        match backup.follow(&args.how(), &|_| !interrupt::is_set()) {
            Ok(done) => {
                last_good = begun;
                figures(args, Some((&done, begun.elapsed())));
                // It is told at every step: once is enough, until there is more of it, or less.
                if std::mem::replace(&mut damaged, done.damage.len()) != done.damage.len() {
                    conclude(&done);
                }
                step(&done, begun.elapsed(), out)?;
            }
            Err(Error::Interrupted) => break,
            Err(e @ (Error::Io { .. } | Error::DiskFull { .. } | Error::Corrupt(_))) => {
                let behind = last_good.elapsed().as_secs_f64();
                output::note(&format!("{:.1} s behind: {}", behind, tell(&e).what));
                figures(args, None);
                pause(interval * PATIENCE);
                continue;
            }
            Err(e) => return Err(e.into()),
        }
        pause(interval.saturating_sub(begun.elapsed()));
    }
    Ok(Exit::Done)
}

/// Waits, but not when it is time to stop.
fn pause(span: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < span && !interrupt::is_set() {
        std::thread::sleep(Duration::from_millis(20).min(span));
    }
}

fn step(done: &Done, took: Duration, out: &mut Out) -> Run<()> {
    let Some(number) = done.snapshot else { return Ok(()) };
    if out.is_json() {
        let line = to_json(&body(done, false, took))?;
        out.line(line)?;
    } else {
        let time = human::time(now_ms());
        let copied = bytes(done.copied_bytes);
        // What came after it looked is at most as old as the step took.
        let behind = took.as_secs_f64();
        out.line(format_args!("{time}  snapshot {number}  {copied}  {behind:.2} s behind"))?;
    }
    out.flush()
}

/// Writes the figures to the file that is named for them. That it cannot be written is told at once, and hides nothing of what
/// became of the backup; also returns how to end if the backup is sound.
fn figures(args: &Args, done: Option<(&Done, Duration)>) -> Exit {
    // What is only tried is no backup, late or in time.
    let file = args.metrics_file.as_deref().filter(|_| !args.dry_run);
    match file.map_or(Ok(()), |file| write_metrics(file, done)) {
        Ok(()) => Exit::Done,
        Err(Failure::Told(told)) => {
            output::complain(&told);
            told.exit
        }
        Err(_) => Exit::Failed,
    }
}

/// Writes the figures beside and puts them in place at once: a monitor must not read half of them. A failed backup leaves the time of the
/// last good one as it was.
fn write_metrics(file: &Path, done: Option<(&Done, Duration)>) -> Run<()> {
    let failed =
        |e: std::io::Error| Failure::io(format_args!("writing {}", file.display()).to_string(), &e);
    let before = std::fs::read_to_string(file).unwrap_or_default();
    let last = before.lines().find(|line| line.starts_with(LAST_GOOD)).map(str::to_owned);
    let good = format!("{LAST_GOOD} {}", now_ms() / 1000);
    let mut lines = vec![
        "# HELP reelvault_backup_success Whether the last backup succeeded.".to_owned(),
        "# TYPE reelvault_backup_success gauge".to_owned(),
        format!("reelvault_backup_success {}", u8::from(done.is_some())),
        format!("# HELP {LAST_GOOD} When a backup last succeeded."),
        format!("# TYPE {LAST_GOOD} gauge"),
    ];
    lines.extend(if done.is_some() { Some(good) } else { last });
    if let Some((done, took)) = done {
        let figures = [
            ("reelvault_backup_duration_seconds", "How long it took.", took.as_secs_f64()),
            ("reelvault_backup_store_bytes", "Bytes that it holds.", done.bytes as f64),
            ("reelvault_backup_copied_bytes", "Bytes that it copied.", done.copied_bytes as f64),
            (
                "reelvault_backup_damaged_places",
                "Damage of the store and of the repository that it met.",
                done.damage.len() as f64,
            ),
        ];
        for (name, help, value) in figures {
            lines.push(format!("# HELP {name} {help}"));
            lines.push(format!("# TYPE {name} gauge"));
            lines.push(format!("{name} {value}"));
        }
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, lines.join("\n") + "\n").map_err(failed)?;
    std::fs::rename(&beside, file).map_err(failed)
}

const LAST_GOOD: &str = "reelvault_backup_last_success_timestamp_seconds";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_units_and_nothing_else_is() {
        assert_eq!(parse_bytes("500K"), Ok(512_000));
        assert_eq!(parse_bytes("20m"), Ok(20 << 20));
        assert_eq!(parse_bytes("7"), Ok(7));
        for wrong in ["", "0", "M", "-1", "1.5M", "99999999999G", "1 M", "5é"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
