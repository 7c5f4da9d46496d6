//! Deleting: a whole day in quiet, one session for good, and another day while others record.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::Work;
use crate::engine::Engine;
use crate::measure::{self, Figures, Latencies, timed};
use crate::workload::Planned;
use crate::{PeerError, Result, seal};

/// Sessions that are erased, one after the other.
const ERASED: usize = 5;
/// For how long nothing must change before a dropped day's space counts as given back, and how often that is looked at.
const QUIET: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(1);
/// Who compacts without an end is looked at no longer than this.
const WAIT: Duration = Duration::from_secs(60);
/// How much of a day's share must be gone, where sessions pack more or less well; and how much of what goes makes it given back.
const FREED: f64 = 0.5;
const BACK: f64 = 0.95;
/// For how long is recorded before and after what is done beside it: a drop alone may be shorter than an append.
const AROUND: Duration = Duration::from_millis(500);
/// What is recorded beside the dropping, and before it to compare with.
const BESIDE_FROM: u64 = 1 << 40;

pub(super) fn run(work: &Work<'_>) -> Result<Figures> {
    let mut figures = Figures::new();
    let engine = work.peer.open(&work.setup())?;
    let planned = work.sessions();
    let of_day = |n: u32| {
        let day = work.first_day() + n;
        planned.iter().filter(move |session| session.of.day() == day).collect::<Vec<_>>()
    };
    let bytes = |sessions: &mut dyn Iterator<Item = &Planned>| -> f64 {
        sessions.map(|session| work.workload.raw_bytes(session)).sum::<u64>() as f64
    };
    let all = bytes(&mut planned.iter().chain([&work.long()]));
    let share = bytes(&mut of_day(0).into_iter()) / all;
    drop_in_quiet(work, &*engine, (&of_day(0), share), &mut figures)?;

    let erased = of_day(1);
    erase(work, &*engine, erased.get(..ERASED).unwrap_or(&erased), &mut figures)?;

    let alone = beside(work, &*engine, 0, || Ok(()))?;
    alone.tell_longest("ack before dropping", &mut figures);
    alone.tell("ack before dropping", &mut figures);
    let acks = beside(work, &*engine, 1, || engine.drop_day(work.first_day() + 1))?;
    acks.tell_longest("ack while dropping", &mut figures);
    acks.tell("ack while dropping", &mut figures);
    engine.close()?;
    Ok(figures)
}

/// Erases sessions one after the other, and looks for what is left of them on the disk where the harness can tell: their rows, by their nonces.
fn erase(
    work: &Work<'_>,
    engine: &dyn Engine,
    sessions: &[&Planned],
    figures: &mut Figures,
) -> Result<()> {
    // A jump to its beginning reads a session's own row, where there is one.
    let rows = seal::opened_by(|| {
        sessions.iter().try_for_each(|session| {
            let (of, start) = (session.of, session.of.start_ms);
            engine.replay(of, &mut |_| ())?;
            engine.seek(of, start, start, &mut |_| ())
        })
    })?;
    let mut latencies = Latencies::default();
    let written = measure::written_bytes(&work.amount.dir)?;
    for session in sessions {
        let (took, ()) = timed(|| engine.erase(session.of))?;
        latencies.add(took);
        check_gone(work, engine, session)?;
    }
    let written = measure::written_bytes(&work.amount.dir)? - written;
    figures.insert("written an erasure".to_owned(), written / sessions.len() as f64);
    latencies.tell("erase a session", figures);
    if !rows.is_empty() {
        engine.settle()?;
        let found = measure::found_on_disk(&work.amount.dir, &rows)?;
        figures.insert("rows erased".to_owned(), rows.len() as f64);
        figures.insert("rows erased, still on disk".to_owned(), found as f64);
    }
    Ok(())
}

/// Drops the first day, which has that share of all that is stored.
fn drop_in_quiet(
    work: &Work<'_>,
    engine: &dyn Engine,
    (sessions, share): (&[&Planned], f64),
    figures: &mut Figures,
) -> Result<()> {
    let dir = &work.amount.dir;
    let (written, before) = (measure::written_bytes(dir)?, measure::disk_bytes(dir)? as f64);
    let start = Instant::now();
    let (took, ()) = timed(|| engine.drop_day(work.first_day()))?;
    // The size whenever it changed.
    let mut sizes = vec![(took, measure::disk_bytes(dir)? as f64)];
    while let Some((since, size)) = sizes.last()
        && start.elapsed() < WAIT.min(*since + QUIET)
    {
        std::thread::sleep(LOOK);
        let (now, at) = (measure::disk_bytes(dir)? as f64, start.elapsed());
        if now != *size {
            sizes.push((at, now));
        }
    }
    let freed = before - sizes.last().map_or(before, |(_, size)| *size);
    let back = sizes.iter().find(|(_, size)| before - size >= freed * BACK);
    figures.insert("drop a day s".to_owned(), took.as_secs_f64());
    figures.insert("freed of the day's share".to_owned(), freed / (before * share));
    if let Some((at, _)) = back
        && freed >= before * share * FREED
    {
        figures.insert("space back s".to_owned(), at.as_secs_f64());
    }
    let written = measure::written_bytes(dir)? - written;
    figures.insert("written while dropping".to_owned(), written);
    for session in sessions.iter().take(ERASED) {
        check_gone(work, engine, session)?;
    }
    Ok(())
}

/// Does something while one session after the other is recorded, from a while before to a while after: the appends meanwhile.
fn beside(
    work: &Work<'_>,
    engine: &dyn Engine,
    round: u64,
    does: impl FnOnce() -> Result<()>,
) -> Result<Latencies> {
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
        std::thread::sleep(AROUND);
        let done = does();
        std::thread::sleep(AROUND);
        over.store(true, Relaxed);
        let latencies = recorder.join().map_err(|_| PeerError::Harness("a recorder died"))??;
        done.map(|()| latencies)
    })
}

fn check_gone(work: &Work<'_>, engine: &dyn Engine, session: &Planned) -> Result<()> {
    let mut read = 0;
    let replayed = engine.replay(session.of, &mut |events| read += events.len() as u64);
    match replayed {
        Ok(()) | Err(PeerError::NotThere) if read == 0 => Ok(()),
        Ok(()) | Err(PeerError::NotThere) => {
            Err(PeerError::Lost { peer: work.peer.name(), wanted: 0, read })
        }
        Err(e) => Err(e),
    }
}
