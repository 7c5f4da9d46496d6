//! Proof that a peer syncs before it acknowledges: its system calls are counted from outside, by strace.

use std::path::Path;
use std::process::Command;

use crate::Result;

/// What makes data durable.
const CALLS: &str = "trace=fsync,fdatasync,msync,sync_file_range,syncfs";

/// Whether strace is here and may trace.
pub(crate) fn can_be_counted() -> bool {
    let tried =
        Command::new("strace").args(["-f", "--seccomp-bpf", "-o", "/dev/null", "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// The same command, its syncs counted in a file.
pub(crate) fn counted(command: &Command, counts: &Path) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-c", "--seccomp-bpf", "-U", "calls,name", "-e", CALLS, "-o"]).arg(counts);
    traced.arg(command.get_program()).args(command.get_args());
    traced
}

/// How many there were: a table of counts and names.
pub(crate) fn sum(counts: &Path) -> Result<f64> {
    let table = std::fs::read_to_string(counts);
    let table = table.map_err(|e| crate::PeerError::Io(counts.to_owned(), e))?;
    let count = |line: &str| {
        let mut words = line.split_whitespace();
        let (count, name) = (words.next()?.parse::<f64>().ok()?, words.next()?);
        (name.contains("sync") && name != "sync_file_range").then_some(count)
    };
    Ok(table.lines().filter_map(count).sum())
}
