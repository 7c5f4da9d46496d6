//! `prune`: forgets old snapshots by rule, and removes what none needs.

use reelvault::backup::{Keep, Pruned};
use serde::Serialize;

use crate::access::{Access, RepositoryArgs};
use crate::exit::{Exit, Run};
use crate::human::{self, bytes, count};
use crate::output::Out;
use crate::when::parse_span;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault prune --repo /backup/reelvault --keep-daily 14 --dry-run
  reelvault prune --repo s3://backups/reelvault --keep-last 3 --keep-monthly 12

At least one --keep-... is needed; the newest snapshot always stays. What no
snapshot needs any more is removed by the first prune after the grace time, so
that backups, restores and readers go on beside it. It is not what makes erased
recordings unreadable: they are so at once. The daily unit in tools/systemd
prunes after each backup.";

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// Keep so many of the newest
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_last: usize,
    /// Keep the newest of each of so many days (UTC)
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_daily: usize,
    /// Keep the newest of each of so many weeks
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_weekly: usize,
    /// Keep the newest of each of so many months
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_monthly: usize,
    /// Keep all that were taken within this span before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "0s")]
    keep_within: u64,
    /// How long what is not needed is left in place; at least a day
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "3d")]
    grace: u64,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Body {
    dry_run: bool,
    forgotten: Vec<u64>,
    kept: usize,
    removed_objects: u64,
    removed_bytes: u64,
    waiting_objects: u64,
    waiting_bytes: u64,
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let repository = access.repository(&args.repository.repo, false)?;
    let keep = Keep {
        last: args.keep_last,
        daily: args.keep_daily,
        weekly: args.keep_weekly,
        monthly: args.keep_monthly,
        within_ms: args.keep_within,
    };
    let pruned = repository.prune(&keep, args.grace, args.dry_run)?;
    if out.is_json() {
        out.document(&Body {
            dry_run: args.dry_run,
            forgotten: pruned.forgotten,
            kept: pruned.kept,
            removed_objects: pruned.removed_objects,
            removed_bytes: pruned.removed_bytes,
            waiting_objects: pruned.waiting_objects,
            waiting_bytes: pruned.waiting_bytes,
        })?;
    } else {
        print(&pruned, args, out)?;
    }
    Ok(Exit::Done)
}

fn print(pruned: &Pruned, args: &Args, out: &mut Out) -> Run<()> {
    let objects =
        |n: u64, size: u64| format!("{}, {}", human::of(n, "object", "objects"), bytes(size));
    let forgotten = human::of(pruned.forgotten.len() as u64, "snapshot", "snapshots");
    let days = args.grace as f64 / 86_400_000.0;
    let waiting = objects(pruned.waiting_objects, pruned.waiting_bytes);
    out.pairs([
        (if args.dry_run { "would forget" } else { "forgot" }, forgotten),
        ("kept", count(pruned.kept as u64)),
        ("removed", objects(pruned.removed_objects, pruned.removed_bytes)),
        ("waiting", format!("{waiting}, for {days:.0} days")),
    ])
}
