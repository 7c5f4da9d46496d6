//! `import`: recordings from files and directories.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use reelvault::{Error, Site, SiteId, Store};
use serde::Serialize;

use super::site::Retention;
use crate::access::Access;
use crate::exit::{Exit, Failure, Run};
use crate::human::{bytes, count, of};
use crate::import::plan::{Into, Plan};
use crate::import::tally::Tally;
use crate::import::work::{self, Outcome};
use crate::interrupt::Guard;
use crate::output::{self, ErrorBody, Out};
use crate::progress;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault import --site shop.example session.json
  reelvault import --site shop.example uploads/ --jobs 16
  reelvault import --sites-from-dirs --add-sites --retention 90 corpus/

What is in a file is told by its content, packed by zstd or gzip or not:
  - a JSON array of rrweb events: one session, named by the file
  - rrweb events, one a line: the same
  - chunks: a line {\"chunk\":{\"session\":...,\"visitor\":...,\"seq\":0,\"events\":N,
    \"attributes\":{...}}}, then N lines of events, again and again
  - chat messages, one a line, with timestamp, session and visitor: the session
    SESSION-chat, with the attribute replay=SESSION

Events that stand in no chunk are cut into chunks every 5 s or 1 MiB. Nothing is
masked: what is in the files is in the store. Importing a file again changes
nothing; its chunks are counted as duplicates. Ctrl-C stops at a chunk's end.";

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("into").required(true))]
pub(crate) struct Args {
    /// Files, and directories with all files in them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Import into this site
    #[arg(long, value_name = "SITE", group = "into")]
    site: Option<SiteId>,
    /// Import each file into the site that its directory is named after
    #[arg(long, group = "into")]
    sites_from_dirs: bool,
    /// Add the sites that are not there yet
    #[arg(long)]
    add_sites: bool,
    #[command(flatten)]
    retention: Retention,
    /// How many files are imported at a time
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// Leave what was imported in journals
    #[arg(long)]
    no_archive: bool,
    /// Append a line to this file for each chunk as soon as it is durable
    #[arg(long, value_name = "FILE")]
    acks: Option<PathBuf>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    tally: &'a Tally,
    archived: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let acks = args.acks.as_ref().map(open_acks).transpose()?;
    let store = access.write()?;
    let guard = Guard::new();
    let into = args.site.clone().map_or(Into::Directory, Into::Site);
    let mut plan = Plan::make(&args.paths, &into)?;
    let sites = sites(&store, &plan, args)?;
    let bar = progress::bytes(plan.bytes);
    let Outcome { tally, damage, stopped } =
        work::run(&mut plan, &sites, args.jobs.into(), acks, &bar);
    bar.finish_and_clear();
    // From here on an end at any point loses nothing.
    drop(guard);
    if !out.is_json() {
        print(&tally, out)?;
        out.flush()?;
    }
    let mut stopped = stopped;
    let archive = stopped.is_none() && !args.no_archive;
    if archive {
        stopped = self::archive(&store).err();
    }
    let closed = store.close().err().map(Failure::from);
    let stopped = stopped.or(closed);
    if out.is_json() {
        let error = match &stopped {
            Some(Failure::Told(told)) => Some(ErrorBody::from(told)),
            _ => None,
        };
        let archived = archive && stopped.is_none();
        out.document(&Body { tally: &tally, archived, error })?;
    }
    match stopped {
        Some(failure) => Err(failure),
        None if damage => Ok(Exit::Corrupt),
        None if !tally.is_whole() => Ok(Exit::Partial),
        None => Ok(Exit::Done),
    }
}

fn open_acks(path: &PathBuf) -> Run<File> {
    let mut options = OpenOptions::new();
    let opened = options.append(true).create(true).mode(0o600).open(path);
    opened.map_err(|e| Failure::io(format_args!("opening {}", path.display()), &e))
}

/// The sites that the plan needs; those that are missing are added, if that is wanted.
fn sites(store: &Store, plan: &Plan, args: &Args) -> Run<HashMap<SiteId, Site>> {
    let mut sites = HashMap::new();
    let mut missing = Vec::new();
    for id in plan.sites() {
        match store.site(&id) {
            Ok(site) => {
                sites.insert(id, site);
            }
            Err(Error::UnknownSite(_)) => missing.push(id),
            Err(e) => return Err(e.into()),
        }
    }
    missing.sort();
    if missing.is_empty() {
        return Ok(sites);
    }
    if !args.add_sites {
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        return Err(Failure::new(
            Exit::Failed,
            format!("not in this store: {}", names.join(", ")),
            "Nothing was imported. Add sites with: reelvault site add SITE, or let the import \
             add them with --add-sites",
        ));
    }
    let days = args.retention.days;
    for site in store.add_sites(missing.into_iter().map(|id| (id, days)))? {
        output::note(&format!(
            "added {}: sessions are kept {}",
            site.id(),
            of(days.into(), "day", "days")
        ));
        sites.insert(site.id().clone(), site);
    }
    Ok(sites)
}

fn archive(store: &Store) -> Run<()> {
    let spinner = progress::spinner("archiving");
    let archived = store.archive();
    spinner.finish_and_clear();
    Ok(archived?)
}

fn print(tally: &Tally, out: &mut Out) -> Run<()> {
    out.pairs([
        (
            "sessions",
            format!("{} from {}", count(tally.sessions), of(tally.files, "file", "files")),
        ),
        (
            "chunks",
            format!(
                "{} new, {}",
                count(tally.chunks),
                of(tally.duplicates, "duplicate", "duplicates")
            ),
        ),
        ("events", count(tally.events)),
        ("size", format!("{}, {} in journals", bytes(tally.raw_bytes), bytes(tally.stored_bytes))),
        ("refused", of(tally.refused_lines, "line", "lines")),
    ])?;
    if tally.skipped_files > 0 {
        let skipped = of(tally.skipped_files, "file", "files");
        out.line(format_args!("passed over {skipped} in directories that are no recordings"))?;
    }
    tally.refused.iter().try_for_each(|refusal| out.line(format_args!("  {refusal}")))
}
