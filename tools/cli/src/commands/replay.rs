//! `replay`: the events of a session to standard output.

use std::io::{self, Write};

use reelvault::{Replay, ReplayedChunk, SessionInfo, SiteId};
use serde::Serialize;

use crate::access::{self, Access};
use crate::exit::{Exit, Failure, Run};
use crate::info;
use crate::output::{Out, to_json};
use crate::when::When;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault replay shop.example s-5f3a > session.ndjson
  reelvault replay shop.example s-5f3a --from +90s --to +2m | head -1
  reelvault replay shop.example s-5f3a19 --start 2026-11-22
  reelvault replay shop.example s-5f3a --chunks | zstd > session.chunks.zst

The events come byte for byte as they were recorded, one JSON object a line,
with --json too. With --chunks a line {\"chunk\":{...}} stands before the events
of each chunk: that is what `reelvault import` reads.";

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site
    site: SiteId,
    /// The session's id, or the beginning of it
    #[arg(value_name = "SESSION")]
    session: String,
    /// The session of this id that started on the day (UTC) of this time; the id must be whole. Once that day has expired, the
    /// command ends with 15
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<When>,
    /// Begin with the last full snapshot at or before this time, or offset: +30s
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<When>,
    /// Leave out the chunks that begin after this time, or offset: +2m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<When>,
    /// Write a header line before the events of each chunk
    #[arg(long)]
    chunks: bool,
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let site = access::site(&access.read()?, &args.site)?;
    let info = info::find_at(&site, &args.session, args.start)?;
    let from = args.from.map(|when| when.within(info.first_ms));
    let to = args.to.map(|when| when.within(info.first_ms));
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(Failure::usage("--from is after --to", ""));
    }
    let mut replay = match from {
        Some(ms) => site.replay_listed_from(&info, ms)?,
        None => site.replay_listed(&info)?,
    };
    if let Some(ms) = to {
        replay = replay.until(ms);
    }
    write(&mut replay, args.chunks.then_some(&info), out.raw(), Failure::output)?;
    Ok(Exit::Done)
}

/// Writes a whole replay, with header lines if the session is given; `failed` names what could not be written.
pub(crate) fn write(
    replay: &mut Replay,
    headers: Option<&SessionInfo>,
    to: &mut dyn Write,
    failed: fn(&io::Error) -> Failure,
) -> Run<()> {
    while let Some(chunk) = replay.next_chunk()? {
        crate::interrupt::check()?;
        if let Some(info) = headers {
            let header = header(info, &chunk)?;
            writeln!(to, "{header}").map_err(|e| failed(&e))?;
        }
        to.write_all(chunk.events).map_err(|e| failed(&e))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Header<'a> {
    chunk: HeaderBody<'a>,
}

#[derive(Serialize)]
struct HeaderBody<'a> {
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    visitor: Option<&'a str>,
    kind: &'static str,
    seq: u64,
    first_ms: u64,
    last_ms: u64,
    events: usize,
    attributes: std::collections::BTreeMap<&'a str, &'a str>,
}

fn header(info: &SessionInfo, chunk: &ReplayedChunk<'_>) -> Run<String> {
    to_json(&Header {
        chunk: HeaderBody {
            session: info.id.as_str(),
            visitor: info.visitor.as_ref().map(|v| v.as_str()),
            kind: crate::output::kind_name(info.kind),
            seq: chunk.seq,
            first_ms: chunk.first_ms,
            last_ms: chunk.last_ms,
            events: chunk.events.iter().filter(|b| **b == b'\n').count(),
            attributes: info.attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
        },
    })
}
