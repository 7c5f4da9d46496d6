//! What this machine is, in a line.

use std::fs::read_to_string;

/// Processor, cores and kernel.
#[must_use]
pub fn describe() -> String {
    let cpu = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, m)| m.trim()))
        .unwrap_or("unknown processor");
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// A line of `/proc/self/status` in KiB; 0 if there is none.
#[must_use]
pub fn status_kib(field: &str) -> u64 {
    status_kib_of(std::process::id(), field)
}

/// A line of another process's status in KiB; 0 if it has ended.
pub(crate) fn status_kib_of(process: u32, field: &str) -> u64 {
    let status = read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|l| l.strip_prefix(field)?.trim_start_matches(':').trim().strip_suffix("kB"))
        .and_then(|n| n.trim().parse().ok())
        .unwrap_or(0)
}
