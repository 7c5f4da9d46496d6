//! `bench`: measures the engine on this machine, beside the machine's own limits.

use std::path::PathBuf;

use reelvault_bench::{BenchError, Config, PARTS, Report};
use serde::Serialize;

use crate::exit::{Exit, Failure, Run};
use crate::output::Out;
use crate::progress;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault bench --quick
  reelvault bench --only ingest --only replay
  reelvault bench --dir /mnt/disk-to-measure --json

Each figure stands beside its limit: the same work in a bare loop, or in memory,
in the same run. On a machine with other work, look at the ratios alone.";

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The recorded corpus, the folder with its corpus.json
    #[arg(long, value_name = "DIR", default_value = "tools/recorder/corpus")]
    corpus: PathBuf,
    /// A folder on the disk to measure; a new one is made in it and removed
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// A tenth of everything, for a first look
    #[arg(long)]
    quick: bool,
    /// Only this part; may be repeated: ingest, replay, list, open, space, delete, memory, kill, backup, serve. Beside restic,
    /// borg, nginx and wrk where they are installed
    #[arg(long, value_name = "PART", value_parser = PARTS)]
    only: Vec<String>,
    /// The work of a process that the benchmark starts for itself
    #[arg(long, hide = true)]
    child: Option<String>,
    #[arg(long, hide = true)]
    memory_bytes: Option<u64>,
    #[arg(long, hide = true)]
    journal_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Run {
    let make = if args.quick { Config::quick } else { Config::full };
    let work = match args.child {
        Some(_) => args.dir.clone(),
        None => args.dir.join(format!("reelvault-bench-{}", std::process::id())),
    };
    let mut config = make(args.corpus.clone(), work.clone());
    config.only.clone_from(&args.only);
    config.memory_raw_bytes = args.memory_bytes.unwrap_or(config.memory_raw_bytes);
    config.journal_bytes = args.journal_bytes.unwrap_or(config.journal_bytes);
    if let Some(child) = &args.child {
        reelvault_bench::run_child(child, &config).map_err(failure)?;
        return Ok(Exit::Done);
    }
    let spinner = progress::spinner("measuring");
    let report = reelvault_bench::run(&config, &|doing| spinner.set_message(doing.to_owned()));
    spinner.finish_and_clear();
    let _ = std::fs::remove_dir(&work);
    let report = report.map_err(failure)?;
    if out.is_json() {
        out.document(&Body { report: &report })?;
    } else {
        print(&report, out)?;
    }
    Ok(Exit::Done)
}

fn print(report: &Report, out: &mut Out) -> Run<()> {
    out.line(&report.machine)?;
    out.line(&report.corpus)?;
    for figure in &report.figures {
        let limit = figure.limit.map(|l| format!("  limit {}", number(l))).unwrap_or_default();
        let goal = match figure.reached {
            Some(true) => format!("  goal {} reached", figure.goal),
            Some(false) => format!("  goal {} MISSED", figure.goal),
            None => String::new(),
        };
        out.line("")?;
        out.line(format_args!(
            "{}: {} {}{limit}{goal}",
            figure.name,
            number(figure.value),
            figure.unit
        ))?;
        out.line(format_args!("  {}", figure.note))?;
    }
    Ok(())
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

fn failure(error: BenchError) -> Failure {
    match error {
        BenchError::Store(e) => e.into(),
        BenchError::Corpus | BenchError::Io(..) => Failure::new(
            Exit::Failed,
            error.to_string(),
            "name the recorded corpus with --corpus, and an existing folder with --dir",
        ),
        other => Failure::new(Exit::Failed, other.to_string(), ""),
    }
}
