//! The writer as a program: `machine-writer name=value…`, see [`reelvault_machine::writer::Work`].

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use reelvault_machine::home::Home;
use reelvault_machine::limit;
use reelvault_machine::writer::{Work, run};

/// No writer outlives this, whatever becomes of who started it.
const SECONDS_MAX: u64 = 60;

fn main() -> ExitCode {
    let given: HashMap<String, String> = std::env::args()
        .skip(1)
        .filter_map(|a| a.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())))
        .collect();
    let text = |name: &str| given.get(name).cloned().unwrap_or_default();
    let number = |name: &str, or: u64| given.get(name).and_then(|v| v.parse().ok()).unwrap_or(or);
    if text("dir").is_empty() || text("repository").is_empty() {
        eprintln!(
            "machine-writer dir=DIR repository=DIR base=MS [seed= round= threads= chunks= days= backups= defers= dies= starve= files= memory=]"
        );
        return ExitCode::from(2);
    }
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(SECONDS_MAX));
        std::process::exit(4);
    });
    let limited = [("files", limit::files as fn(u64) -> _), ("memory", limit::memory)];
    for (name, set) in limited {
        if let Some(limit) = given.get(name).and_then(|v| v.parse().ok())
            && let Err(e) = set(limit)
        {
            eprintln!("machine-writer: limit of {name}: {e}");
            return ExitCode::from(2);
        }
    }
    let work = Work {
        home: Home::new(text("dir"), text("repository")),
        seed: number("seed", 0),
        round: number("round", 0),
        base_ms: number("base", 0),
        threads: number("threads", 3),
        chunks: number("chunks", 1_000_000),
        days: number("days", 1) != 0,
        backups: number("backups", 1) != 0,
        defers: number("defers", 1) != 0,
        dies: number("dies", 0) != 0,
        starve_at: number("starve", 0),
    };
    match run(&work) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody listens any more.
        Err(_) => ExitCode::from(3),
    }
}
