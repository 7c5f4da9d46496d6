//! `verify`: checks that everything in the store is whole.

use reelvault::{Corruption, Depth, Error, Verification};
use serde::Serialize;

use crate::access::Access;
use crate::commands::deletions;
use crate::exit::{Exit, Run, tell};
use crate::human::{bytes, count};
use crate::output::{self, Out};
use crate::progress;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault verify
  reelvault verify --digests
  reelvault verify --json

It reads everything, decrypts it, decompresses it and compares it with its
index; the log of deletions too. It changes nothing, and the store can be in use
meanwhile. When it finds damage it reads around it, lists it and ends with 13.";

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only compare the files with their digests: quicker, and decrypts no recording
    #[arg(long)]
    digests: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    sound: bool,
    depth: &'static str,
    segments: u64,
    journals: u64,
    sessions: u64,
    chunks: u64,
    raw_bytes: u64,
    digested_bytes: u64,
    unreadable_sessions: u64,
    deletions: usize,
    damage: Vec<DamageBody<'a>>,
}

#[derive(Serialize)]
struct DamageBody<'a> {
    file: Option<String>,
    offset: Option<u64>,
    site: Option<&'a str>,
    message: String,
}

impl<'a> From<&'a Error> for DamageBody<'a> {
    fn from(error: &'a Error) -> Self {
        let place: Option<&Corruption> = match error {
            Error::Corrupt(c) => Some(c),
            _ => None,
        };
        Self {
            file: error.damaged_file(),
            offset: place.map(|c| c.offset),
            site: place.and_then(|c| c.site.as_ref()).map(|s| s.as_str()),
            message: tell(error).what,
        }
    }
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let (store, in_the_way) = access.read_around()?;
    let depth = if args.digests { Depth::Digests } else { Depth::Content };
    let bar = progress::bytes(0);
    bar.set_message("verifying");
    let found = store.verify(depth, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let mut found = found?;
    let listed = |e: &Error| found.damage.iter().any(|d| d.to_string() == e.to_string());
    // What stood in the way of opening the store is told even where digests alone do not show it.
    if let Some(e) = in_the_way.filter(|e| !listed(e)) {
        found.damage.insert(0, e);
    }
    let logged = deletions::read(&store)?;
    found.damage.extend(logged.damage);
    let deletions = logged.certificates.len();
    if out.is_json() {
        out.document(&body(&found, depth, deletions))?;
    } else {
        print(&found, depth, deletions, out)?;
    }
    if found.is_sound() {
        return Ok(Exit::Done);
    }
    out.flush()?;
    let told = crate::exit::Told {
        exit: Exit::Corrupt,
        what: format!("{} found", places(&found)),
        help:
            "Everything else can still be read, around damaged journals with --salvage. Copy the \
               store away before anything else, then restore the damaged files from a backup."
                .to_owned(),
    };
    output::complain(&told);
    Ok(Exit::Corrupt)
}

fn places(found: &Verification) -> String {
    crate::human::of(found.damage.len() as u64, "damaged place was", "damaged places were")
}

fn body(found: &Verification, depth: Depth, deletions: usize) -> Body<'_> {
    Body {
        sound: found.is_sound(),
        depth: if depth == Depth::Digests { "digests" } else { "content" },
        segments: found.segments,
        journals: found.journals,
        sessions: found.sessions,
        chunks: found.chunks,
        raw_bytes: found.raw_bytes,
        digested_bytes: found.digested_bytes,
        unreadable_sessions: found.unreadable,
        deletions,
        damage: found.damage.iter().map(DamageBody::from).collect(),
    }
}

fn print(found: &Verification, depth: Depth, deletions: usize, out: &mut Out) -> Run<()> {
    let mut pairs = vec![
        ("segments", format!("{}, {}", count(found.segments), bytes(found.digested_bytes))),
        ("journals", count(found.journals)),
    ];
    if depth == Depth::Content {
        pairs.extend([
            ("sessions", count(found.sessions)),
            ("chunks", count(found.chunks)),
            ("events", bytes(found.raw_bytes)),
        ]);
    }
    if found.unreadable > 0 {
        pairs.push(("erased or expired", count(found.unreadable)));
    }
    pairs.push(("deletions in the log", count(deletions as u64)));
    pairs.push(("result", if found.is_sound() { "sound" } else { "DAMAGED" }.to_owned()));
    out.pairs(pairs)?;
    found.damage.iter().try_for_each(|e| out.line(format_args!("  {}", tell(e).what)))
}
