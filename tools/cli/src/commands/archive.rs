//! `archive`: moves everything from journals into segments.

use serde::Serialize;

use crate::access::Access;
use crate::exit::{Exit, Run};
use crate::human::{bytes, count};
use crate::output::Out;
use crate::progress;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault archive

A store in use archives by itself when a journal is full, an hour old, or of
yesterday. This is for a store that nothing writes to, before it is copied away
or measured. It may be interrupted at any point.";

/// Arguments of `archive`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Body {
    archived_journals: u64,
    segments: u64,
    segment_bytes: u64,
}

pub(crate) fn run(access: &Access, _: &Args, out: &mut Out) -> Run {
    let store = access.write()?;
    let spinner = progress::spinner("archiving");
    let archived = store.archive();
    spinner.finish_and_clear();
    archived?;
    let stats = store.stats()?;
    store.close()?;
    let body = Body {
        archived_journals: stats.archived_journals,
        segments: stats.segments,
        segment_bytes: stats.segment_bytes,
    };
    if out.is_json() {
        out.document(&body)?;
    } else {
        out.pairs([
            ("journals archived", count(body.archived_journals)),
            ("segments", format!("{}, {}", count(body.segments), bytes(body.segment_bytes))),
        ])?;
    }
    Ok(Exit::Done)
}
