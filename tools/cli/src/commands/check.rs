//! `check`: that everything in a repository is whole.

use reelvault::backup::{Checked, ReadShare};
use serde::Serialize;

use crate::access::{Access, RepositoryArgs};
use crate::exit::{Exit, Run, Told, tell};
use crate::human::{self, bytes, count};
use crate::interrupt;
use crate::output::{self, Out};
use crate::progress;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault check --repo /backup/reelvault
  reelvault check --repo s3://backups/reelvault --read-data 10%
  reelvault check --repo /backup/reelvault --read-data
  reelvault check --repo s3://backups/reelvault --probe

Without --read-data it opens every snapshot and compares sizes; with it, it
reads the data, or a share of it drawn anew each time, and compares digests.
When it finds damage it lists it and ends with 13; `backup --repair` puts right
what the store still has, and `prune` removes a mark that cannot be read.";

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// Also read the data: all of it, or a share such as 10%
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "100%",
          value_parser = parse_share)]
    read_data: Option<f64>,
    /// Also try whether the place keeps what a repository needs: of several writers of one object,
    /// one succeeds
    #[arg(long)]
    probe: bool,
}

fn parse_share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').unwrap_or(text).parse::<f64>();
    match percent {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("write a share such as 10%, at most 100%".to_owned()),
    }
}

#[derive(Serialize)]
struct Body {
    sound: bool,
    snapshots: u64,
    objects: u64,
    bytes: u64,
    read_bytes: u64,
    unnamed_objects: u64,
    damage: Vec<String>,
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let repository = access.repository(&args.repository.repo, false)?;
    if args.probe {
        repository.probe()?;
    }
    let read = match args.read_data {
        None => ReadShare::Nothing,
        Some(share) if share >= 1.0 => ReadShare::All,
        Some(share) => ReadShare::Share(share),
    };
    let _guard = interrupt::Guard::new();
    let bar = progress::bytes(0);
    let checked = repository.check(read, &|at| {
        bar.set_length(at.bytes_total);
        bar.set_position(at.bytes);
        !interrupt::is_set()
    });
    bar.finish_and_clear();
    let checked = checked?;
    if out.is_json() {
        out.document(&Body {
            sound: checked.damage.is_empty(),
            snapshots: checked.snapshots,
            objects: checked.objects,
            bytes: checked.bytes,
            read_bytes: checked.read_bytes,
            unnamed_objects: checked.unnamed_objects,
            damage: checked.damage.iter().map(|e| tell(e).what).collect(),
        })?;
    } else {
        print(&checked, out)?;
    }
    out.flush()?;
    if checked.damage.is_empty() {
        return Ok(Exit::Done);
    }
    let places = checked.damage.len() as u64;
    output::complain(&Told {
        exit: Exit::Corrupt,
        what: human::of(places, "damaged place was found", "damaged places were found"),
        help: "What else it holds can be restored. Put right what the store still has with: \
               reelvault backup --repair. A mark goes with: reelvault prune"
            .to_owned(),
    });
    Ok(Exit::Corrupt)
}

fn print(checked: &Checked, out: &mut Out) -> Run<()> {
    let mut pairs = vec![
        ("snapshots", count(checked.snapshots)),
        ("objects", format!("{}, {}", count(checked.objects), bytes(checked.bytes))),
        ("read", bytes(checked.read_bytes)),
    ];
    if checked.unnamed_objects > 0 {
        pairs.push(("not needed", format!("{}; see prune", count(checked.unnamed_objects))));
    }
    pairs.push(("result", if checked.damage.is_empty() { "sound" } else { "DAMAGED" }.to_owned()));
    out.pairs(pairs)?;
    checked.damage.iter().try_for_each(|e| out.line(format_args!("  {}", tell(e).what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_above_nothing_and_at_most_all() {
        assert_eq!(parse_share("10%"), Ok(0.1));
        assert_eq!(parse_share("100"), Ok(1.0));
        assert!(["0", "-3%", "101%", "x", ""].iter().all(|text| parse_share(text).is_err()));
    }
}
