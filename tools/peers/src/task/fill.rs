//! Some days of sessions and a long one, in the state in which a peer is after its background work.

use super::{Work, ingest};
use crate::Result;
use crate::measure::{self, Figures};

pub(super) fn run(work: &Work<'_>) -> Result<Figures> {
    let engine = work.peer.open(&work.setup())?;
    let planned = work.sessions();
    ingest::record(work, &*engine, &planned)?;
    let long = work.long();
    ingest::record(work, &*engine, std::slice::from_ref(&long))?;
    engine.settle()?;
    engine.close()?;
    let raw: u64 = planned
        .iter()
        .chain([&long])
        .flat_map(|session| work.workload.rows(session))
        .map(|row| row.events.len() as u64)
        .sum();
    let stored = measure::disk_bytes(&work.amount.dir)? as f64;
    let mut figures = Figures::new();
    figures.insert("raw".to_owned(), raw as f64);
    figures.insert("sessions".to_owned(), planned.len() as f64 + 1.0);
    figures.insert("stored / raw".to_owned(), stored / raw as f64);
    Ok(figures)
}
