//! The tables: results.json with all that was measured, RESULTS.md with medians and how far the rounds lie apart.

use std::fmt::Write as _;
use std::path::Path;

use crate::engine::Track;
use crate::measure::median;
use crate::results::{Failure, Results};
use crate::{PeerError, Result, goals, plot};

const JSON: &str = "results.json";
const PAGE: &str = "RESULTS.md";

pub(crate) fn today() -> String {
    jiff::Timestamp::now().strftime("%F").to_string()
}

/// Writes everything.
pub(crate) fn write(results: &Results, out: &Path) -> Result<()> {
    let json = serde_json::to_vec_pretty(results).map_err(|e| PeerError::Peer(e.to_string()))?;
    put(&out.join(JSON), &json)?;
    write_page(results, out)
}

/// What was written there.
pub(crate) fn read(out: &Path) -> Result<Results> {
    let path = out.join(JSON);
    let json = std::fs::read(&path).map_err(|e| PeerError::Io(path, e))?;
    serde_json::from_slice(&json).map_err(|e| PeerError::Peer(e.to_string()))
}

/// Writes page and plots again.
pub(crate) fn rewrite(out: &Path) -> Result<()> {
    write_page(&read(out)?, out)
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, bytes)).map_err(|e| PeerError::Io(path.to_owned(), e))
}

fn write_page(results: &Results, out: &Path) -> Result<()> {
    let plots = plot::all(results, &out.join("plots"))?;
    put(&out.join(PAGE), page(results, &plots).as_bytes())
}

fn page(results: &Results, plots: &[(String, String)]) -> String {
    let mut page = String::new();
    let versions: Vec<_> = results.versions.iter().map(|(name, v)| format!("{name} {v}")).collect();
    let how =
        if results.quick { "quick run, which shows that it works and no more" } else { "full run" };
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "# reelvault beside its peers\n\n\
         {how}, {}, commit {}, seed {}, {} rounds. {}. {}.\n\n\
         Written by `reelvault-peers run`; README.md says how it is measured and how to read it. Cells are medians of the rounds; in brackets, how far the \
         rounds lie apart: (highest - lowest) / median.\n",
        results.date,
        results.commit,
        results.seed,
        results.rounds,
        results.machine,
        versions.join(", "),
    );
    let goals = goals::reached(results);
    if !goals.is_empty() {
        page.push_str("\n## Goals\n\nBeside the best peer in each line, all equally safe, or beside what the line says.\n\n");
        page.push_str(
            "| what | goal | reelvault | beside | | ratio | |\n|---|---|---:|---|---:|---:|---|\n",
        );
        for goal in goals {
            let reached = match goal.reached {
                None => "",
                Some(true) => "reached",
                Some(false) => "**missed**",
            };
            let (name, figure) =
                goal.beside.map_or_else(Default::default, |(name, figure)| (name, number(figure)));
            let _ = writeln!(
                page,
                "| {} | {} | {} | {name} | {figure} | {} | {reached} |",
                goal.what,
                goal.text,
                number(goal.ours),
                number(goal.ratio),
            );
        }
    }
    for (name, file) in plots {
        let _ = write!(page, "\n![{name}](plots/{file})\n");
    }
    if !results.failures.is_empty() {
        page.push_str("\n## What could not be done\n\nA peer's own error ended it; its line below lacks that round.\n\n");
        page.push_str("| round | track | peer | work | error |\n|---:|---|---|---|---|\n");
    }
    for Failure { track, peer, work, round, told } in &results.failures {
        let (round, track) = (round + 1, title(*track));
        let told = told.lines().next().unwrap_or_default().replace('|', "/");
        let _ = writeln!(page, "| {round} | {track} | {peer} | {work} | {told} |");
    }
    for track in [Track::EqualSecurity, Track::Native] {
        tables(results, track, title(track), &mut page);
    }
    page
}

fn title(track: Track) -> &'static str {
    match track {
        Track::EqualSecurity => "Equally safe",
        Track::Native => "As their manuals have it",
    }
}

fn tables(results: &Results, track: Track, title: &str, page: &mut String) {
    let works = results.works(track);
    if works.is_empty() {
        return;
    }
    let _ = writeln!(page, "\n## {title}");
    let all = results.peers(track);
    for (work, figures) in works {
        let took_part = |peer: &&String| {
            results.measured.iter().any(|m| m.track == track && m.work == work && m.peer == **peer)
        };
        let peers: Vec<&String> = all.iter().filter(took_part).collect();
        let _ = writeln!(page, "\n### {work}\n");
        let names: Vec<&str> = peers.iter().map(|peer| peer.as_str()).collect();
        let _ = writeln!(page, "| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(peers.len()));
        for figure in figures {
            let cells = peers.iter().map(|peer| cell(&results.rounds(track, peer, &work, &figure)));
            let _ = writeln!(page, "| {figure} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
}

/// The median, and how far the rounds lie apart.
fn cell(sorted: &[f64]) -> String {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return "–".to_owned();
    };
    let median = median(sorted).unwrap_or(f64::NAN);
    let apart = (last - first) / median.abs().max(f64::MIN_POSITIVE);
    if sorted.len() < 2 || *first == *last {
        number(median)
    } else {
        format!("{} ({:.0} %)", number(median), apart * 100.0)
    }
}

/// Three figures, as far as there are.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 {
        format!("{:.3}e6", value / 1e6)
    } else if size >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}
