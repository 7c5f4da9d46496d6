//! `retention`: deletes what has been kept for as long as it was to be kept.

use reelvault::retention::ClockDoubt;
use reelvault::{Expiry, Retention};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::access::Access;
use crate::certificate;
use crate::exit::{Exit, Run, Told};
use crate::human;
use crate::output::{self, Out};
use crate::when::{When, now_ms};

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault retention --dry-run
  reelvault retention
  reelvault retention --dry-run --now +30d
  reelvault retention --trust-clock

An open store does this by itself when a day begins (UTC). A session that is
held stays. When the clock is further ahead than the store can explain, only
what is certain is deleted, and the command ends with 3; so it does when a
held session could not be copied before its own day passes, and that day is
kept back, or when one may lack chunks, mostly such as came after it was put
on hold, because a file could not be read.";

/// Arguments of `retention`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// As if it were this time; without --dry-run, a time to come deletes early, for good
    ///
    /// A date (2026-11-22), a time (2026-11-22T19:30), Unix milliseconds, a span ago (-36h) or a span
    /// ahead (+30d).
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    now: Option<When>,
    /// Believe the clock, though it is further ahead than expected: somebody has looked
    #[arg(long, conflicts_with = "now")]
    trust_clock: bool,
}

#[derive(Serialize)]
struct Body {
    dry_run: bool,
    /// What was to be kept until this day or an earlier one.
    day: String,
    segments: usize,
    sessions: u64,
    bytes: u64,
    certificate: Option<Box<RawValue>>,
    /// Why a later day was kept back.
    kept_back: Option<String>,
    /// Held sessions that may lack chunks.
    doubtful_holds: usize,
    clock_doubt: Option<Doubt>,
}

#[derive(Serialize)]
struct Doubt {
    clock_ms: u64,
    expected_ms: u64,
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let mut how = Retention::new();
    if let Some(when) = args.now {
        how = how.now_ms(when.within(now_ms()));
    }
    if args.dry_run {
        how = how.dry_run();
    }
    if args.trust_clock {
        how = how.trust_clock();
    }
    // By itself the store would do it first, and a dry run would not stay dry.
    let store = access.write_quietly()?;
    let expiry = store.retention(&how)?;
    store.close()?;
    if out.is_json() {
        out.document(&body(args, &expiry)?)?;
    } else {
        print(args, &expiry, out)?;
    }
    out.flush()?;
    if let Some(certificate) = &expiry.certificate {
        certificate::warn(certificate);
    }
    let mut exit = Exit::Done;
    if let Some(why) = &expiry.kept_back {
        output::complain(&kept_back(why));
        exit = Exit::Partial;
    }
    if expiry.doubtful_holds > 0 {
        output::complain(&in_doubt(expiry.doubtful_holds));
        exit = Exit::Partial;
    }
    if let Some(doubt) = expiry.doubt {
        output::complain(&told(doubt, args.dry_run));
        exit = Exit::Partial;
    }
    Ok(exit)
}

fn body(args: &Args, expiry: &Expiry) -> Run<Body> {
    Ok(Body {
        dry_run: args.dry_run,
        day: human::day(expiry.day),
        segments: expiry.segments,
        sessions: expiry.sessions,
        bytes: expiry.bytes,
        certificate: expiry.certificate.as_ref().map(certificate::raw).transpose()?,
        kept_back: expiry.kept_back.clone(),
        doubtful_holds: expiry.doubtful_holds,
        clock_doubt: expiry
            .doubt
            .map(|d| Doubt { clock_ms: d.clock_ms, expected_ms: d.expected_ms }),
    })
}

fn print(args: &Args, expiry: &Expiry, out: &mut Out) -> Run<()> {
    let what = if args.dry_run { "would delete" } else { "deleted" };
    let sessions = human::of(expiry.sessions, "session", "sessions");
    let segments = human::of(expiry.segments as u64, "segment", "segments");
    let mut pairs = vec![
        ("kept until", format!("{} or earlier", human::day(expiry.day))),
        (what, format!("{segments}, {}", human::bytes(expiry.bytes))),
        ("of", format!("{sessions}, counting those that were erased or are held")),
    ];
    pairs.extend(expiry.certificate.iter().flat_map(certificate::pairs));
    out.pairs(pairs)
}

fn kept_back(why: &str) -> Told {
    Told {
        exit: Exit::Partial,
        what: format!("a held session could not be copied: {why}"),
        help: "Its own day, and later ones, are kept back: until it is copied, or, where a file \
               cannot be read, for one day. Mend what is named above and run this again; an open \
               store tries by itself."
            .to_owned(),
    }
}

fn in_doubt(holds: usize) -> Told {
    let held = human::of(holds as u64, "held session", "held sessions");
    Told {
        exit: Exit::Partial,
        what: format!("{held} may lack what was recorded after the hold began"),
        help: "Their own day has passed, and a file that may have held more of them, or their \
               copy, could not be read. The copy is kept: reelvault verify tells whether it is \
               sound. For the rest a backup from before that day does not help: the key of the \
               day is gone."
            .to_owned(),
    }
}

fn told(doubt: ClockDoubt, dry_run: bool) -> Told {
    let (clock, expected) = (human::time(doubt.clock_ms), human::time(doubt.expected_ms));
    let only = if dry_run { "only counts" } else { "has deleted only" };
    Told {
        exit: Exit::Partial,
        what: format!("the clock says {clock} UTC, and {expected} UTC was expected"),
        help: format!(
            "Either the clock is wrong, or the store has not been open for days. Deleting cannot \
             be taken back, so this {only} what is due by the time that was expected. Compare the \
             clock with another one (date -u). If it is right: reelvault retention --trust-clock. \
             If not, set it, and run this again."
        ),
    }
}
