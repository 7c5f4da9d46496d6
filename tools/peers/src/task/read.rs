//! Reading: what a player and a list of sessions wait for.

use std::time::{Duration, Instant};

use super::Work;
use crate::engine::{Engine, Of};
use crate::measure::{self, Figures, Latencies, timed};
use crate::seal::{Sealer, unpack};
use crate::workload::{Planned, Row};
use crate::{PeerError, Result};

/// Sessions that are replayed, in each way.
const REPLAYS: usize = 40;
/// They take a tenth of a second in all: whatever else the machine does meanwhile is as long. The median of so many passes tells.
const PASSES: usize = 5;
/// Their raw size: what is watched most.
const REPLAYED_BYTES: std::ops::Range<u64> = 300 << 10..6 << 20;
/// Jumps into the long session, and how much is played after each.
const JUMPS: u64 = 20;
const PLAYED_MS: u64 = 30_000;
/// A list takes microseconds: a moment in which the machine is slow must not be the median.
const LISTS: u32 = 1_000;
/// What reelvault archives with, by default, and the raw bytes after which it ends a block.
const ARCHIVE_LEVEL: i32 = 5;
const BLOCK_BYTES: usize = 4 << 20;

pub(super) fn run(work: &Work<'_>) -> Result<Figures> {
    let mut figures = Figures::new();
    measure::forget_cached(&work.amount.dir)?;
    let (opening, engine) = timed(|| work.peer.open(&work.setup()))?;
    figures.insert("open s".to_owned(), opening.as_secs_f64());
    let planned = work.sessions();
    let replayed = replayed(work, &planned);
    let engine = replay(work, engine, &replayed, ("cold", true), &mut figures)?;
    let engine = replay(work, engine, &replayed, ("warm", false), &mut figures)?;
    let engine = jump(work, engine, &mut figures)?;
    list(work, &*engine, &mut figures)?;
    engine.close()?;
    Ok(figures)
}

/// Opened anew, so that nothing is in its own cache that was read before.
fn anew(work: &Work<'_>, engine: Box<dyn Engine>) -> Result<Box<dyn Engine>> {
    engine.close()?;
    work.peer.open(&work.setup())
}

/// The sessions that are replayed, with their raw sizes.
fn replayed<'a>(work: &Work<'_>, planned: &'a [Planned]) -> Vec<(&'a Planned, u64)> {
    let wanted = planned.iter().map(|session| (session, work.workload.raw_bytes(session)));
    wanted.filter(|(_, bytes)| REPLAYED_BYTES.contains(bytes)).take(REPLAYS).collect()
}

/// The same sessions, opened and decompressed in memory by one thread: compressed as well as reelvault compresses what it archives, and
/// in blocks as large as its own.
pub(super) fn limit(work: &Work<'_>) -> Result<Figures> {
    let sealer = Sealer::new(ARCHIVE_LEVEL)?;
    let planned = work.sessions();
    let (mut sealed, mut raw_bytes) = (Vec::new(), 0);
    for (session, bytes) in replayed(work, &planned) {
        raw_bytes += bytes;
        let mut raw = Vec::new();
        for row in work.workload.in_order(session) {
            raw.extend_from_slice(row.events);
            if raw.len() >= BLOCK_BYTES {
                sealed.push(sealer.seal(0, b"", b"", &raw)?);
                raw.clear();
            }
        }
        sealed.push(sealer.seal(0, b"", b"", &raw)?);
    }
    let mut rates = Vec::new();
    for _ in 0..PASSES {
        // Blocks are opened in place.
        let mut sealed = sealed.clone();
        let (took, bytes) = timed(|| {
            let mut bytes = 0;
            for block in &mut sealed {
                let text = sealer.open(0, b"", block)?;
                bytes += unpack(&block[text], <[u8]>::len)? as u64;
            }
            Ok(bytes)
        })?;
        if bytes != raw_bytes {
            return Err(PeerError::Harness("a block in memory"));
        }
        rates.push(raw_bytes as f64 / 1e6 / took.as_secs_f64());
    }
    Ok(Figures::from([("warm replay raw MB/s".to_owned(), middle(rates))]))
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    measure::median(&rates).unwrap_or(f64::NAN)
}

/// Whole sessions: the time to the first byte and to the last.
fn replay(
    work: &Work<'_>,
    mut engine: Box<dyn Engine>,
    sessions: &[(&Planned, u64)],
    (name, cold): (&str, bool),
    figures: &mut Figures,
) -> Result<Box<dyn Engine>> {
    let (mut first, mut last) = (Latencies::default(), Latencies::default());
    let mut rates = Vec::new();
    for _ in 0..PASSES {
        let (mut bytes_read, mut seconds) = (0, 0.0);
        if cold {
            engine = anew(work, engine)?;
        }
        for (session, bytes) in sessions {
            if cold {
                measure::forget_cached(&work.amount.dir)?;
            }
            let (to_first, to_last, read) = play(&*engine, session.of)?;
            if read != *bytes {
                return Err(PeerError::Lost { peer: work.peer.name(), wanted: *bytes, read });
            }
            first.add(to_first);
            last.add(to_last);
            bytes_read += read;
            seconds += to_last.as_secs_f64();
        }
        rates.push(bytes_read as f64 / 1e6 / seconds);
    }
    figures.insert(format!("{name} replay raw MB/s"), middle(rates));
    first.tell(&format!("{name} replay, first byte"), figures);
    last.tell(&format!("{name} replay, last byte"), figures);
    Ok(engine)
}

fn play(engine: &dyn Engine, of: Of) -> Result<(Duration, Duration, u64)> {
    let start = Instant::now();
    let (mut first, mut bytes) = (None, 0);
    engine.replay(of, &mut |events| {
        first.get_or_insert_with(|| start.elapsed());
        bytes += events.len() as u64;
    })?;
    let last = start.elapsed();
    Ok((first.unwrap_or(last), last, bytes))
}

/// Jumps into the long session.
fn jump(
    work: &Work<'_>,
    engine: Box<dyn Engine>,
    figures: &mut Figures,
) -> Result<Box<dyn Engine>> {
    let long = work.long();
    let rows = work.workload.in_order(&long);
    let end_ms = rows.iter().map(|row| row.last_ms).max().unwrap_or_default();
    let length = end_ms - long.of.start_ms;
    let moments = (1..=JUMPS).map(|n| long.of.start_ms + length * n / (JUMPS + 1));
    let engine = anew(work, engine)?;
    for (name, cold) in [("cold", true), ("warm", false)] {
        let mut latencies = Latencies::default();
        for ms in moments.clone() {
            if cold {
                measure::forget_cached(&work.amount.dir)?;
            }
            let mut bytes = 0;
            let (took, ()) = timed(|| {
                engine.seek(long.of, ms, ms + PLAYED_MS, &mut |events| bytes += events.len())
            })?;
            if bytes == 0 {
                return Err(PeerError::Lost { peer: work.peer.name(), wanted: 1, read: 0 });
            }
            latencies.add(took);
        }
        latencies.tell(&format!("{name} jump into a long session"), figures);
    }
    // The same once more, looked at: that takes time, too.
    moments.into_iter().try_for_each(|ms| look(&*engine, (&long, &rows), ms))?;
    Ok(engine)
}

/// Looks whether what is played first is the chunk of the last full snapshot before a moment, from its beginning or from the snapshot.
fn look(engine: &dyn Engine, (session, rows): (&Planned, &[Row<'_>]), ms: u64) -> Result<()> {
    let snapshots = rows
        .iter()
        .flat_map(|row| row.snapshots.iter().map(move |s| (s.ms, row.seq, s.offset, row.events)));
    let newest = snapshots.filter(|(at, ..)| *at <= ms).max_by_key(|(ms, seq, ..)| (*ms, *seq));
    let first = rows.first().map(|row| (0, row.seq, 0, row.events));
    let (_, _, offset, chunk) = newest.or(first).ok_or(PeerError::Harness("a session's chunks"))?;
    let (mut is_first, mut is_right) = (true, false);
    engine.seek(session.of, ms, ms + PLAYED_MS, &mut |events| {
        if std::mem::take(&mut is_first) {
            let left_out = chunk.len().checked_sub(events.len());
            is_right = chunk.ends_with(events) && left_out.is_some_and(|n| n <= offset as usize);
        }
    })?;
    if is_right {
        Ok(())
    } else {
        let told = format!("a jump to {ms} ms does not begin with the snapshot before it");
        Err(PeerError::Peer(told))
    }
}

/// The newest ones of a site's day.
fn list(work: &Work<'_>, engine: &dyn Engine, figures: &mut Figures) -> Result<()> {
    let mut latencies = Latencies::default();
    let mut listed = 0;
    for n in 0..LISTS {
        let day = work.first_day() + n % work.amount.days;
        let (took, page) = timed(|| engine.list(0, day, work.amount.listed))?;
        listed += page.len();
        latencies.add(took);
    }
    figures.insert("sessions on a page".to_owned(), listed as f64 / f64::from(LISTS));
    latencies.tell("list", figures);
    Ok(())
}
