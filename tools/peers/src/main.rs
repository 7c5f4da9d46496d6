//! reelvault beside other ways to keep the same recordings: files, RocksDB, fjall, redb, SQLite, SQLCipher, SurrealKV.
//!
//! `reelvault-peers run` does all of it and writes the tables and plots; README.md says how to read them. Each piece of work is a
//! process of its own (`reelvault-peers work`), peers take turns within a round, and medians of the rounds are told.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures the real machine")]

mod engine;
mod goals;
mod how;
mod measure;
mod plot;
mod provenance;
mod report;
mod results;
mod run;
mod seal;
mod syncs;
mod task;
#[cfg(test)]
mod tests;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use engine::{Peer, Track};
use task::{Amount, Task};

/// Why it could not go on.
#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, std::io::Error),
    #[error("{0}")]
    Peer(String),
    #[error("no such session, or no such day")]
    NotThere,
    #[error("the harness: {0}")]
    Harness(&'static str),
    #[error("{peer} answered {read} bytes where {wanted} had been appended")]
    Lost { peer: &'static str, wanted: u64, read: u64 },
    #[error(transparent)]
    Bench(#[from] reelvault_bench::BenchError),
    #[error("{peer}, {task}: {told}")]
    Child { peer: &'static str, task: String, told: String },
}

type Result<T, E = PeerError> = std::result::Result<T, E>;

/// Compares reelvault with other ways to keep recordings.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, and writes results.json, RESULTS.md and plots.
    Run(how::How),
    /// Writes RESULTS.md and the plots again from results.json.
    Report {
        /// The folder with results.json.
        #[arg(long, default_value = "tools/peers")]
        out: PathBuf,
    },
    /// One piece of work with one peer, in this process: what `run` starts.
    Work {
        task: Task,
        #[arg(long)]
        peer: Peer,
        #[arg(long)]
        track: Track,
        #[command(flatten)]
        amount: Amount,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(how) => run::run(&how),
        Command::Report { out } => report::rewrite(&out),
        Command::Work { task, peer, track, amount } => work(task, peer, track, &amount),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("reelvault-peers: {e}");
            ExitCode::FAILURE
        }
    }
}

fn work(task: Task, peer: Peer, track: Track, amount: &Amount) -> Result<()> {
    let figures = task::run(task, peer, track, amount)?;
    let figures = serde_json::to_string(&figures).map_err(|e| PeerError::Peer(e.to_string()))?;
    println!("{figures}");
    Ok(())
}
