//! Backups: the first, the next one, and the way back.

use super::{Work, ingest};
use crate::engine::Setup;
use crate::measure::{self, Figures, timed};
use crate::{PeerError, Result};

/// Sessions that are recorded between the first backup and the next.
const BETWEEN: u64 = 20;
const BETWEEN_FROM: u64 = 1 << 41;

pub(super) fn run(work: &Work<'_>) -> Result<Figures> {
    let mut figures = Figures::new();
    let beside = |name: &str| work.amount.dir.join(name);
    let at = |name: &str| Setup { dir: beside(name), ..work.setup() };
    let (live, backup, restored) = (at("live"), beside("backup"), at("restored"));
    let engine = work.peer.open(&live)?;
    let planned = work.sessions();
    ingest::record(work, &*engine, &planned)?;
    engine.settle()?;
    // What is only held ahead while it is open is nothing that a copy would have to bring along.
    engine.close()?;
    rustix::fs::sync();
    let stored = measure::disk_bytes(&live.dir)? as f64;
    figures.insert("stored".to_owned(), stored);

    let copy = beside("copy");
    figures.insert("plain copy s".to_owned(), synced(|| measure::copy(&live.dir, &copy))?);
    std::fs::remove_dir_all(&copy).map_err(|e| PeerError::Io(copy, e))?;
    let engine = work.peer.open(&live)?;
    figures.insert("first backup s".to_owned(), synced(|| engine.back_up(&backup))?);
    figures.insert("backup / stored".to_owned(), measure::disk_bytes(&backup)? as f64 / stored);

    let more: Vec<_> =
        (0..BETWEEN).map(|n| work.workload.session(BETWEEN_FROM + n, work.today - 1)).collect();
    ingest::record(work, &*engine, &more)?;
    let written = measure::written_bytes(&work.amount.dir)?;
    figures.insert("next backup s".to_owned(), synced(|| engine.back_up(&backup))?);
    let written = measure::written_bytes(&work.amount.dir)? - written;
    figures.insert("written by the next".to_owned(), written);
    engine.close()?;

    figures
        .insert("restore s".to_owned(), synced(|| work.peer.restore(&live, &backup, &restored))?);
    let engine = work.peer.open(&restored)?;
    for session in planned.iter().chain(&more) {
        let wanted = work.workload.raw_bytes(session);
        let mut read = 0;
        engine.replay(session.of, &mut |events| read += events.len() as u64)?;
        if read != wanted {
            return Err(PeerError::Lost { peer: work.peer.name(), wanted, read });
        }
    }
    engine.close()?;
    Ok(figures)
}

/// Seconds of some work until what it wrote is on the disk.
fn synced(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    rustix::fs::sync();
    let (took, ()) = timed(|| {
        work()?;
        rustix::fs::sync();
        Ok(())
    })?;
    Ok(took.as_secs_f64())
}
