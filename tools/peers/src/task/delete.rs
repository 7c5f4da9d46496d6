//! Deleting: one session for good, and a whole day while others record.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::Work;
use crate::engine::Engine;
use crate::measure::{self, Figures, Latencies, timed};
use crate::workload::Planned;
use crate::{PeerError, Result};

/// Sessions that are erased, one after the other.
const ERASED: usize = 5;
/// How long is waited until a dropped day's space is back.
const WAIT: Duration = Duration::from_secs(60);
/// What is recorded beside the dropping, and before it to compare with.
const BESIDE_FROM: u64 = 1 << 40;
/// How much of a day's share must be back: files that are kept ahead of use are no waste.
const BACK: f64 = 0.8;

pub(super) fn run(work: &Work<'_>) -> Result<Figures> {
    let mut figures = Figures::new();
    let engine = work.peer.open(&work.setup())?;
    let planned = work.sessions();
    // Of the second day: the first one is dropped whole.
    let second: Vec<_> =
        planned.iter().filter(|session| session.of.day() == work.first_day() + 1).collect();
    let mut latencies = Latencies::default();
    let written = measure::written_bytes(&work.amount.dir)?;
    for session in second.iter().take(ERASED) {
        let (took, ()) = timed(|| engine.erase(session.of))?;
        latencies.add(took);
        check_gone(work, &*engine, session)?;
    }
    let written = measure::written_bytes(&work.amount.dir)? - written;
    let erased = second.len().min(ERASED) as f64;
    figures.insert("written an erasure".to_owned(), written / erased);
    latencies.tell("erase a session", &mut figures);

    drop_day(work, &*engine, &planned, &mut figures)?;
    engine.close()?;
    Ok(figures)
}

fn drop_day(
    work: &Work<'_>,
    engine: &dyn Engine,
    planned: &[Planned],
    figures: &mut Figures,
) -> Result<()> {
    let day = work.first_day();
    let of_day: Vec<_> = planned.iter().filter(|session| session.of.day() == day).collect();
    let before = measure::disk_bytes(&work.amount.dir)? as f64;
    let share = of_day.len() as f64 / planned.len() as f64;
    let alone = beside(work, engine, 0, || {
        std::thread::sleep(Duration::from_secs(1));
        Ok(())
    })?;
    alone.1.tell("ack before dropping", figures);
    let written = measure::written_bytes(&work.amount.dir)?;
    let (took, acks) = beside(work, engine, 1, || engine.drop_day(day))?;
    figures.insert("drop a day s".to_owned(), took.as_secs_f64());
    let written = measure::written_bytes(&work.amount.dir)? - written;
    figures.insert("written while dropping".to_owned(), written);
    acks.tell("ack while dropping", figures);
    for session in of_day.iter().take(ERASED) {
        check_gone(work, engine, session)?;
    }
    // A day is about its share of all: of its bytes nothing better is known for all peers.
    let wanted = before * (1.0 - share * BACK);
    let start = Instant::now();
    let mut back = f64::NAN;
    while start.elapsed() < WAIT {
        if measure::disk_bytes(&work.amount.dir)? as f64 <= wanted {
            back = start.elapsed().as_secs_f64() + took.as_secs_f64();
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    figures.insert("space back s".to_owned(), back);
    Ok(())
}

/// Does something while one session after the other is recorded; how long it took, and the appends meanwhile.
fn beside(
    work: &Work<'_>,
    engine: &dyn Engine,
    round: u64,
    does: impl FnOnce() -> Result<()>,
) -> Result<(Duration, Latencies)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let recorder = scope.spawn(|| -> Result<Latencies> {
            let mut latencies = Latencies::default();
            for number in 0.. {
                let number = BESIDE_FROM + (round << 32) + number;
                let session = work.workload.session(number, work.today - 1);
                for row in work.workload.rows(&session) {
                    if over.load(Relaxed) {
                        return Ok(latencies);
                    }
                    let (took, _) = timed(|| engine.append(&row))?;
                    latencies.add(took);
                }
            }
            Ok(latencies)
        });
        let done = timed(does);
        over.store(true, Relaxed);
        let latencies = recorder.join().map_err(|_| PeerError::Harness("a recorder died"))??;
        Ok((done?.0, latencies))
    })
}

fn check_gone(work: &Work<'_>, engine: &dyn Engine, session: &Planned) -> Result<()> {
    let mut read = 0;
    // An error says that it is not there, as no bytes do.
    let _ = engine.replay(session.of, &mut |events| read += events.len() as u64);
    if read == 0 {
        Ok(())
    } else {
        Err(PeerError::Lost { peer: work.peer.name(), wanted: 0, read })
    }
}
