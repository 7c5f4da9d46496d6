//! `stats`: figures of the store.

use reelvault::Stats;
use serde::Serialize;

use crate::access::Access;
use crate::exit::{Exit, Run};
use crate::human::{bytes, count};
use crate::output::Out;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault stats
  reelvault stats --json";

/// Arguments of `stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Body<'a> {
    store: &'a std::path::Path,
    id: String,
    sites: u64,
    shards: u16,
    segments: u64,
    segment_bytes: u64,
    archived_sessions: u64,
    archived_raw_bytes: u64,
    journals: u64,
    journal_bytes: u64,
    live_sessions: u64,
    live_chunks: u64,
    backlog_bytes: u64,
    salvaged_bytes: u64,
    manifest_generation: u64,
    keyring_generation: u64,
}

pub(crate) fn run(access: &Access, _: &Args, out: &mut Out) -> Run {
    let store = access.read()?;
    let stats = store.stats()?;
    let id = store.id().to_string();
    if out.is_json() {
        out.document(&body(access, id, &stats))?;
        return Ok(Exit::Done);
    }
    let ratio = match stats.archived_raw_bytes {
        0 => String::new(),
        raw => {
            let part = 100.0 * stats.segment_bytes as f64 / raw as f64;
            format!(", {part:.1} % of {} raw", bytes(raw))
        }
    };
    let mut pairs = vec![
        ("store", access.dir.display().to_string()),
        ("id", id),
        ("sites", count(stats.sites)),
        ("segments", format!("{}, {}{ratio}", count(stats.segments), bytes(stats.segment_bytes))),
        ("archived sessions", count(stats.archived_sessions)),
        ("journals", format!("{}, {}", count(stats.journals), bytes(stats.journal_bytes))),
        (
            "sessions in journals",
            format!("{}, {} chunks", count(stats.live_sessions), count(stats.live_chunks)),
        ),
        ("to be archived", bytes(stats.backlog_bytes)),
        ("shards", stats.shards.to_string()),
        ("manifest", format!("generation {}", stats.manifest_generation)),
        ("keyring", format!("generation {}", stats.keyring_generation)),
    ];
    if stats.salvaged_bytes > 0 {
        pairs.push(("read around", bytes(stats.salvaged_bytes)));
    }
    out.pairs(pairs)?;
    Ok(Exit::Done)
}

fn body<'a>(access: &'a Access, id: String, stats: &Stats) -> Body<'a> {
    Body {
        store: &access.dir,
        id,
        sites: stats.sites,
        shards: stats.shards,
        segments: stats.segments,
        segment_bytes: stats.segment_bytes,
        archived_sessions: stats.archived_sessions,
        archived_raw_bytes: stats.archived_raw_bytes,
        journals: stats.journals,
        journal_bytes: stats.journal_bytes,
        live_sessions: stats.live_sessions,
        live_chunks: stats.live_chunks,
        backlog_bytes: stats.backlog_bytes,
        salvaged_bytes: stats.salvaged_bytes,
        manifest_generation: stats.manifest_generation,
        keyring_generation: stats.keyring_generation,
    }
}
