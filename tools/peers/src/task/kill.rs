//! A process that dies without a word, and the next one, which opens what it left.

use super::{Work, ingest};
use crate::measure::{self, Figures, timed};
use crate::{PeerError, Result};

/// Records, and is killed by itself: nothing is closed, nothing is told.
pub(super) fn leave(work: &Work<'_>) -> Result<Figures> {
    let engine = work.peer.open(&work.setup())?;
    ingest::record(work, &*engine, &work.sessions())?;
    let process = rustix::process::getpid();
    let killed = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    killed.map_err(|e| PeerError::Io(work.amount.dir.clone(), e.into()))?;
    Ok(Figures::new())
}

/// Opens it, and looks whether all that was acknowledged is there.
pub(super) fn reopen(work: &Work<'_>) -> Result<Figures> {
    measure::forget_cached(&work.amount.dir)?;
    let (took, engine) = timed(|| work.peer.open(&work.setup()))?;
    let planned = work.sessions();
    let mut lost = 0_u64;
    for session in &planned {
        let wanted = work.workload.raw_bytes(session);
        let mut read = 0;
        engine.replay(session.of, &mut |events| read += events.len() as u64)?;
        lost += u64::from(read != wanted);
    }
    engine.close()?;
    if lost > 0 {
        let told = format!("{lost} of {} sessions lost what was acknowledged", planned.len());
        return Err(PeerError::Peer(told));
    }
    let mut figures = Figures::new();
    figures.insert("reopen after kill s".to_owned(), took.as_secs_f64());
    figures.insert("sessions, all of them whole".to_owned(), planned.len() as f64);
    Ok(figures)
}
