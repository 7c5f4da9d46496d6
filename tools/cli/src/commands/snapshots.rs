//! `snapshots` and `forget`: the snapshots of the store in a repository.

use serde::Serialize;

use crate::access::{Access, RepositoryArgs};
use crate::exit::{Exit, Run, Told, tell};
use crate::human::{self, bytes, count};
use crate::output::{self, Column, Out, table};

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault snapshots --repo /backup/reelvault
  reelvault snapshots --repo s3://backups/reelvault --json";

pub(crate) const FORGET_EXAMPLES: &str = "\
Examples:
  reelvault forget 12 13 --repo /backup/reelvault

Their space is given back by `reelvault prune`. To keep something from being
read, erase it: that reaches every snapshot at once.";

/// Arguments of `snapshots`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    repository: RepositoryArgs,
}

/// Arguments of `forget`.
#[derive(Debug, clap::Args)]
pub(crate) struct ForgetArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// Their numbers
    #[arg(required = true, value_name = "NUMBER")]
    numbers: Vec<u64>,
    /// Only say whether they are there
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Body {
    snapshots: Vec<Line>,
    damage: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    number: u64,
    taken_ms: u64,
    following: bool,
    segments: u64,
    bytes: u64,
    raw_bytes: u64,
}

const COLUMNS: [Column; 5] = [
    Column { title: "number", right: true, shorten: false },
    Column { title: "taken (UTC)", right: false, shorten: false },
    Column { title: "segments", right: true, shorten: false },
    Column { title: "stored", right: true, shorten: false },
    Column { title: "made", right: false, shorten: false },
];

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let repository = access.repository(&args.repository.repo, false)?;
    let (snapshots, damage) = repository.snapshots()?;
    if out.is_json() {
        let line = |s: &reelvault::backup::Snapshot| Line {
            number: s.number,
            taken_ms: s.taken_ms,
            following: s.following,
            segments: s.segments,
            bytes: s.bytes,
            raw_bytes: s.raw_bytes,
        };
        let snapshots = snapshots.iter().map(line).collect();
        out.document(&Body { snapshots, damage: damage.iter().map(|e| tell(e).what).collect() })?;
    } else if snapshots.is_empty() && damage.is_empty() {
        output::note("there is no snapshot of this store");
    } else {
        let row = |s: &reelvault::backup::Snapshot| {
            vec![
                s.number.to_string(),
                human::time(s.taken_ms),
                count(s.segments),
                bytes(s.bytes),
                if s.following { "following" } else { "backup" }.to_owned(),
            ]
        };
        let rows = snapshots.iter().map(row).collect();
        out.line(table(&COLUMNS, rows, &mut Vec::new(), true))?;
    }
    out.flush()?;
    let Some(first) = damage.first() else { return Ok(Exit::Done) };
    output::complain(&Told {
        exit: Exit::Corrupt,
        what: tell(first).what,
        help: "See all the damage with: reelvault check. The other snapshots are not affected."
            .to_owned(),
    });
    Ok(Exit::Corrupt)
}

pub(crate) fn forget(access: &Access, args: &ForgetArgs, out: &mut Out) -> Run {
    #[derive(Serialize)]
    struct Forgotten<'a> {
        dry_run: bool,
        forgotten: &'a [u64],
    }
    let repository = access.repository(&args.repository.repo, false)?;
    if args.dry_run {
        let (snapshots, _) = repository.snapshots()?;
        let is_there = |number: &u64| snapshots.iter().any(|s| s.number == *number);
        if !args.numbers.iter().all(is_there) {
            return Err(reelvault::Error::NoSnapshot(repository.name()).into());
        }
    } else {
        repository.forget(&args.numbers)?;
    }
    if out.is_json() {
        out.document(&Forgotten { dry_run: args.dry_run, forgotten: &args.numbers })?;
    } else {
        let snapshots = human::of(args.numbers.len() as u64, "snapshot", "snapshots");
        let verb = if args.dry_run { "would forget" } else { "forgot" };
        out.line(format_args!("{verb} {snapshots}"))?;
    }
    Ok(Exit::Done)
}
