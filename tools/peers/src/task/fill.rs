//! Some days of sessions and a long one, in the state in which a peer is after its background work.

use super::{Work, ingest};
use crate::Result;
use crate::measure::{self, Figures, timed};

pub(super) fn run(work: &Work<'_>) -> Result<Figures> {
    let engine = work.peer.open(&work.setup())?;
    let planned = work.sessions();
    let (took, latencies) = timed(|| ingest::record(work, &*engine, &planned))?;
    let (settling, ()) = timed(|| engine.settle())?;
    let long = work.long();
    ingest::record(work, &*engine, std::slice::from_ref(&long))?;
    engine.settle()?;
    let open = measure::disk_bytes(&work.amount.dir)? as f64;
    engine.close()?;
    let stored = measure::disk_bytes(&work.amount.dir)? as f64;
    let mut figures = Figures::new();
    let recorded: u64 = planned.iter().map(|session| work.workload.raw_bytes(session)).sum();
    let raw = recorded + work.workload.raw_bytes(&long);
    let rate = |seconds: f64| recorded as f64 / 1e6 / seconds;
    figures.insert("raw MB/s".to_owned(), rate(took.as_secs_f64()));
    figures.insert("raw MB/s, with settling".to_owned(), rate((took + settling).as_secs_f64()));
    latencies.tell("ack", &mut figures);
    figures.insert("raw".to_owned(), raw as f64);
    figures.insert("sessions".to_owned(), planned.len() as f64 + 1.0);
    figures.insert("stored, open / raw".to_owned(), open / raw as f64);
    figures.insert("stored / raw".to_owned(), stored / raw as f64);
    Ok(figures)
}
