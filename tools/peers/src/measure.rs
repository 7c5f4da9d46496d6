//! What a process sees of itself and of its disk: time, processors, memory, bytes written, and what lies there.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use reelvault_bench::machine;

use crate::{PeerError, Result};

/// Figures by name. Times in seconds unless the name says another unit, sizes in bytes.
pub(crate) type Figures = BTreeMap<String, f64>;

/// Bytes written to the device under a directory since the system started, once all that is in memory is there, too. What the kernel counts for a process
/// is no measure: a few bytes in a large folio of the cache count as the whole folio (Linux 6.16 and later).
pub(crate) fn written_bytes(dir: &Path) -> Result<f64> {
    let device = std::fs::metadata(dir).map_err(|e| PeerError::Io(dir.to_owned(), e))?.dev();
    rustix::fs::sync();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    // Sectors written are the seventh number, whatever the device's own sector is (the kernel's block/stat.rst).
    let stat = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"));
    let sectors = stat.unwrap_or_default().split_ascii_whitespace().nth(6).map(str::parse::<f64>);
    Ok(sectors.and_then(|n| n.ok()).map_or(f64::NAN, |sectors| sectors * 512.0))
}

/// Seconds of processors that this process has used.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold anything: user and system time are the 12th and 13th (proc(5)).
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = rest.split(' ').skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum::<f64>();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// KiB in memory now, and the most since [`forget_peak`].
pub(crate) fn memory_kib() -> (u64, u64) {
    (machine::status_kib("VmRSS"), machine::status_kib("VmHWM"))
}

/// Makes the kernel forget the peak so far, that of loading the corpus.
pub(crate) fn forget_peak() {
    // Where this is not allowed the peak is an overestimate, of all peers alike.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Bytes that a directory takes on the disk: blocks, not lengths.
pub(crate) fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    each_file(dir, &mut |path| {
        // A file may go while it is looked at.
        bytes += std::fs::metadata(path).map_or(0, |meta| meta.blocks() * 512);
    })?;
    Ok(bytes)
}

/// Lets the system forget what it holds of a directory's files in memory.
pub(crate) fn forget_cached(dir: &Path) -> Result<()> {
    rustix::fs::sync();
    each_file(dir, &mut |path| {
        if let Ok(file) = std::fs::File::open(path) {
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    })
}

/// Copies a file, or a directory with all that is in it, as it is.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = |e| PeerError::Io(from.to_owned(), e);
    if !from.is_dir() {
        return std::fs::copy(from, to).map(drop).map_err(failed);
    }
    std::fs::create_dir_all(to).map_err(failed)?;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// How many of these bytes stand in some file of a directory: each is looked for wherever its beginning, which many share, is found.
pub(crate) fn found_on_disk<const N: usize>(
    dir: &Path,
    wanted: &HashSet<[u8; N]>,
) -> Result<usize> {
    let beginnings: HashSet<&[u8]> = wanted.iter().map(|bytes| &bytes[..N / 3]).collect();
    let mut found = HashSet::new();
    each_file(dir, &mut |path| {
        // A file may go while it is looked at.
        let text = std::fs::read(path).unwrap_or_default();
        for beginning in &beginnings {
            let places = text.windows(N).filter(|window| window.starts_with(beginning));
            found.extend(places.filter_map(|window| wanted.get(window)).copied());
        }
    })?;
    Ok(found.len())
}

fn each_file(dir: &Path, visit: &mut dyn FnMut(&Path)) -> Result<()> {
    let failed = |e| PeerError::Io(dir.to_owned(), e);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => each_file(&entry.path(), visit)?,
            _ => visit(&entry.path()),
        }
    }
    Ok(())
}

/// Times, of which a share is asked for.
#[derive(Default)]
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took.as_nanos() as u64);
    }

    pub(crate) fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The longest under this name, in microseconds.
    pub(crate) fn tell_longest(&self, name: &str, figures: &mut Figures) {
        if let Some(ns) = self.0.iter().max() {
            figures.insert(format!("{name} longest µs"), *ns as f64 / 1e3);
        }
    }

    /// p50, p99 and p99.9 under these names, in microseconds: each only of so many that one and more lie beyond it.
    pub(crate) fn tell(mut self, name: &str, figures: &mut Figures) {
        self.0.sort_unstable();
        for (share, least, called) in [(0.5, 2, "p50"), (0.99, 100, "p99"), (0.999, 1_000, "p99.9")]
        {
            let at = (self.0.len() as f64 * share) as usize;
            if let Some(ns) = self.0.get(at).filter(|_| self.0.len() >= least) {
                figures.insert(format!("{name} {called} µs"), *ns as f64 / 1e3);
            }
        }
    }
}

/// Of an even number the mean of the two in the middle.
pub(crate) fn median(sorted: &[f64]) -> Option<f64> {
    let (upper, lower) = (sorted.len() / 2, sorted.len().checked_sub(1)? / 2);
    Some((sorted.get(lower)? + sorted.get(upper)?) / 2.0)
}

/// How long something takes, and what it answers.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let start = Instant::now();
    let answer = work()?;
    Ok((start.elapsed(), answer))
}
