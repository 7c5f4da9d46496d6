//! `restore`: a store out of a snapshot, whole or in part.

use std::path::{Path, PathBuf};

use reelvault::backup::{Repository, Restored, What};
use reelvault::{Depth, Error, SessionId, SiteId};
use serde::Serialize;

use crate::access::{Access, RepositoryArgs};
use crate::exit::{Exit, Failure, Run, Told, tell};
use crate::human::{self, bytes, count};
use crate::interrupt;
use crate::output::{self, Out};
use crate::progress;
use crate::when::When;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault restore /srv/restored --repo /backup/reelvault
  reelvault restore /srv/restored --repo s3://backups/reelvault --at 2026-11-22
  reelvault restore /tmp/shop --repo /backup/reelvault --site shop.example
  reelvault restore /tmp/one --repo /backup/reelvault --site shop.example \\
      --session 5f3a9c --verify

The directory must be empty; a restore that was interrupted goes on. The
keyring in use opens what is restored: name it with --keyring and --key-file.
Name the store with --store or REELVAULT_STORE, too; its directory need not
exist any more. What was erased or has expired since the snapshot was made is
not restored.

When damage is met, all else is restored, and the command ends with 13: what is
damaged is there as it is, and of a --site or --session alone it is left out.
A damaged snapshot that --at comes across is passed over, and told as well.";

/// A snapshot that was taken longer before the wanted time is not taken for it unasked.
const EXACT_MS_DEFAULT: &str = "26h";

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// Where to: a directory that is empty or not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The number of the snapshot; without it, the newest
    #[arg(long, value_name = "NUMBER")]
    snapshot: Option<u64>,
    /// The store as it was at this time: the newest snapshot at or before it that can be read
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with = "snapshot")]
    at: Option<When>,
    /// With --at: fail if that snapshot is older than the time by more than this
    #[arg(long, value_name = "SPAN", value_parser = crate::when::parse_span,
          default_value = EXACT_MS_DEFAULT, requires = "at")]
    within: u64,
    /// Only this site
    #[arg(long, value_name = "SITE")]
    site: Option<SiteId>,
    /// Only this session of the site: its whole id
    #[arg(long, value_name = "ID", requires = "site")]
    session: Option<SessionId>,
    /// Then read and decrypt everything that was restored
    #[arg(long)]
    verify: bool,
}

#[derive(Serialize)]
struct Body {
    snapshot: u64,
    segments: u64,
    journals: u64,
    bytes: u64,
    sessions: u64,
    erased_sessions: u64,
    expired_segments: u64,
    resumed_segments: u64,
    damage: Vec<String>,
    verified: Option<bool>,
}

impl Args {
    fn what(&self) -> What {
        match (&self.site, &self.session) {
            (Some(site), Some(session)) => What::Session(site.clone(), session.clone()),
            (Some(site), None) => What::Site(site.clone()),
            _ => What::All,
        }
    }

    /// The snapshot that is meant, and damage of those that were passed over; an error if none comes near enough to the time that was
    /// asked for.
    fn choose(&self, repository: &Repository) -> Run<(u64, Vec<Error>)> {
        if let Some(number) = self.snapshot {
            return Ok((number, Vec::new()));
        }
        let Some(at) = self.at else { return Ok((repository.latest(None)?, Vec::new())) };
        let at_ms = at.within(0);
        let (found, damage) = repository.latest_at(at_ms)?;
        if at_ms.saturating_sub(found.taken_ms) > self.within {
            let readable = if damage.is_empty() { "" } else { " that can be read" };
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "the newest snapshot before {}{readable} is {}, of {}",
                    human::time(at_ms),
                    found.number,
                    human::time(found.taken_ms)
                ),
                "If that is near enough, name it with --snapshot, or allow more with --within.",
            ));
        }
        Ok((found.number, damage))
    }
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let repository = access.repository(&args.repository.repo, false)?;
    let (number, passed_over) = args.choose(&repository)?;
    let dir = std::path::absolute(&args.dir)
        .map_err(|e| Failure::io(format_args!("finding {}", args.dir.display()), &e))?;
    let _guard = interrupt::Guard::new();
    let bar = progress::bytes(0);
    let restored = repository.restore(number, &dir, &args.what(), &|at| {
        bar.set_length(at.bytes_total);
        bar.set_position(at.bytes);
        !interrupt::is_set()
    });
    bar.finish_and_clear();
    let mut restored = restored?;
    // One of them may have been meant.
    restored.damage.splice(0..0, passed_over);
    let found = args.verify.then(|| verify(access, &dir)).transpose();
    // What was restored is told even if it cannot be verified.
    let verified = found.as_ref().ok().and_then(Option::as_ref).map(Vec::is_empty);
    if out.is_json() {
        out.document(&body(&restored, verified))?;
    } else {
        print(&restored, verified, out)?;
    }
    out.flush()?;
    Ok(conclude(&restored, found?.iter().flatten().next()))
}

/// The damage of what was restored, also that which stands in the way of opening it.
fn verify(access: &Access, dir: &Path) -> Run<Vec<Error>> {
    let (store, in_the_way) = access.read_around_at(dir)?;
    let found = store.verify(Depth::Content, |_, _| {})?;
    Ok(in_the_way.into_iter().chain(found.damage).collect())
}

/// How to end: damage that was met while restoring goes before what verifying found, which may be the same.
fn conclude(restored: &Restored, found: Option<&Error>) -> Exit {
    let (what, help) = match (restored.damage.first(), found) {
        (Some(first), _) => {
            let places = restored.damage.len() as u64;
            let places = human::of(places, "damaged place was", "damaged places were");
            let help = "All else was restored. See what is damaged with: reelvault verify, and with: \
                        reelvault check --read-data. An earlier snapshot may have it whole.";
            (format!("{places} met, the first: {}", tell(first).what), help)
        }
        (None, Some(first)) => {
            let help =
                "It was damaged when it was backed up. An earlier snapshot may have it whole.";
            (tell(first).what, help)
        }
        (None, None) => return Exit::Done,
    };
    output::complain(&Told { exit: Exit::Corrupt, what, help: help.to_owned() });
    Exit::Corrupt
}

fn body(restored: &Restored, verified: Option<bool>) -> Body {
    Body {
        snapshot: restored.snapshot,
        segments: restored.segments,
        journals: restored.journals,
        bytes: restored.bytes,
        sessions: restored.sessions,
        erased_sessions: restored.erased_sessions,
        expired_segments: restored.expired_segments,
        resumed_segments: restored.resumed_segments,
        damage: restored.damage.iter().map(|e| tell(e).what).collect(),
        verified,
    }
}

fn print(restored: &Restored, verified: Option<bool>, out: &mut Out) -> Run<()> {
    let files = format!(
        "{} in {} and {}",
        bytes(restored.bytes),
        human::of(restored.segments, "segment", "segments"),
        human::of(restored.journals, "journal", "journals")
    );
    let mut pairs = vec![
        ("snapshot", restored.snapshot.to_string()),
        ("restored", files),
        ("sessions", count(restored.sessions)),
        ("not restored", gone(restored)),
    ];
    if restored.resumed_segments > 0 {
        let resumed = human::of(restored.resumed_segments, "segment", "segments");
        pairs.push(("resumed", format!("{resumed} were there already")));
    }
    if !restored.damage.is_empty() {
        let places = human::of(restored.damage.len() as u64, "place", "places");
        pairs.push(("damaged", places));
    }
    pairs.extend(
        verified.map(|sound| ("verified", if sound { "sound" } else { "DAMAGED" }.to_owned())),
    );
    out.pairs(pairs)
}

fn gone(restored: &Restored) -> String {
    let erased = human::of(restored.erased_sessions, "erased session", "erased sessions");
    let expired = human::of(restored.expired_segments, "expired segment", "expired segments");
    format!("{erased}, {expired}")
}
