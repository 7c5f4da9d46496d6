//! What is recorded: sessions made of the recorded corpus, by the distributions of a recording service, each following from the seed and
//! its number alone.

use std::f64::consts::TAU;
use std::sync::Arc;

use reelvault::Snapshot;
use reelvault_bench::corpus::{Corpus, Recorded};

use crate::engine::{DAY_MS, Of};

/// Sizes of sessions, raw: lognormal with this median and sigma.
const MEDIAN_BYTES: f64 = 0.65 * 1024.0 * 1024.0;
const SIGMA: f64 = 2.0;
/// Of a hundred chunks one comes after the next, of two hundred one comes twice.
const LATE: f64 = 0.01;
const TWICE: f64 = 0.005;
/// How sites differ in traffic: Zipf's exponent.
const SKEW: f64 = 1.0;
/// Between two recordings of which one session is made: the visitor goes to another page.
const BETWEEN_MS: u64 = 3_000;
const VISITORS: u64 = 10_000;

/// Where sessions come from.
pub(crate) struct Workload {
    corpus: Arc<Corpus>,
    seed: u64,
    /// Shares of the sites, summed up.
    sites: Vec<f64>,
    largest_bytes: u64,
}

/// One append.
pub(crate) struct Row<'a> {
    pub(crate) of: Of,
    pub(crate) seq: u32,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    /// When the first full snapshot in it was taken; the end of all times if it holds none.
    pub(crate) snapshot_ms: u64,
    /// The newest chunk before this one that holds a full snapshot.
    pub(crate) before_seq: u32,
    pub(crate) events: &'a [u8],
    pub(crate) snapshots: Vec<Snapshot>,
    /// The session as it is with this chunk.
    pub(crate) named: Named,
}

/// What a list shows of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) session: u64,
    pub(crate) start_ms: u64,
    pub(crate) end_ms: u64,
    pub(crate) chunks: u32,
    pub(crate) raw_bytes: u64,
    pub(crate) visitor: u64,
}

impl Named {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let numbers = [
            self.session,
            self.start_ms,
            self.end_ms,
            self.chunks.into(),
            self.raw_bytes,
            self.visitor,
        ];
        numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |n: usize| {
            let bytes = bytes.get(n * 8..)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes))
        };
        Some(Self {
            session: number(0)?,
            start_ms: number(1)?,
            end_ms: number(2)?,
            chunks: u32::try_from(number(3)?).ok()?,
            raw_bytes: number(4)?,
            visitor: number(5)?,
        })
    }
}

/// A session to be recorded.
pub(crate) struct Planned {
    pub(crate) of: Of,
    pub(crate) visitor: u64,
    bytes: u64,
    /// The recording with which it begins.
    first: usize,
    chance: fastrand::Rng,
}

impl Workload {
    pub(crate) fn new(corpus: Arc<Corpus>, seed: u64, sites: u32, largest_bytes: u64) -> Self {
        let mut sum = 0.0;
        let shares = (1..=sites).map(|rank| {
            sum += f64::from(rank).powf(-SKEW);
            sum
        });
        Self { corpus, seed, sites: shares.collect(), largest_bytes }
    }

    /// The session of this number, on this day.
    pub(crate) fn session(&self, number: u64, day: u32) -> Planned {
        let mut chance = fastrand::Rng::with_seed(self.seed ^ number.wrapping_mul(0x9e37_79b9));
        let all = self.sites.last().copied().unwrap_or(1.0);
        let drawn = chance.f64() * all;
        let site = self.sites.partition_point(|sum| *sum < drawn) as u32;
        // Box and Muller's transform, 1958.
        let normal = (-2.0 * (1.0 - chance.f64()).ln()).sqrt() * (TAU * chance.f64()).cos();
        let bytes = ((MEDIAN_BYTES * (SIGMA * normal).exp()) as u64).clamp(1, self.largest_bytes);
        let start_ms = u64::from(day) * DAY_MS + chance.u64(..DAY_MS / 2);
        Planned {
            of: Of { site, session: number, start_ms },
            visitor: chance.u64(..VISITORS),
            bytes,
            first: chance.usize(..self.corpus.sessions.len()),
            chance,
        }
    }

    /// One of this size, of the first site.
    pub(crate) fn long(&self, number: u64, day: u32, bytes: u64) -> Planned {
        let mut planned = self.session(number, day);
        planned.of.site = 0;
        planned.bytes = bytes;
        planned
    }

    /// The chunks of a session as they are to be read: in order, each once, however it came.
    pub(crate) fn in_order(&self, planned: &Planned) -> Vec<Row<'_>> {
        let mut rows = self.rows(planned);
        rows.sort_by_key(|row| row.seq);
        rows.dedup_by_key(|row| row.seq);
        rows
    }

    /// The raw bytes of a session that is read.
    pub(crate) fn raw_bytes(&self, planned: &Planned) -> u64 {
        self.in_order(planned).iter().map(|row| row.events.len() as u64).sum()
    }

    /// The chunks of a session in the order in which they arrive. Recordings follow one another until it has its size; none comes
    /// twice, for that would pack as no real session does, unless it is longer than all of them together.
    pub(crate) fn rows(&self, planned: &Planned) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        let recordings = self.corpus.sessions.iter().cycle().skip(planned.first);
        let mut named = Named {
            session: planned.of.session,
            start_ms: planned.of.start_ms,
            end_ms: planned.of.start_ms,
            chunks: 0,
            raw_bytes: 0,
            visitor: planned.visitor,
        };
        let mut before_seq = 0;
        'all: for recording in recordings {
            let base = if named.chunks == 0 { named.end_ms } else { named.end_ms + BETWEEN_MS };
            let began = recording.chunks.first().map_or(0, Recorded::first_ms);
            for chunk in &recording.chunks {
                let shift = |ms: u64| base + ms.saturating_sub(began);
                let snapshots: Vec<Snapshot> = chunk
                    .snapshots()
                    .iter()
                    .map(|s| Snapshot { offset: s.offset, ms: shift(s.ms) })
                    .collect();
                let snapshot_ms = snapshots.iter().map(|s| s.ms).min().unwrap_or(u64::MAX);
                let seq = named.chunks;
                named.chunks += 1;
                named.raw_bytes += chunk.events.len() as u64;
                named.end_ms = named.end_ms.max(shift(chunk.last_ms()));
                rows.push(Row {
                    of: planned.of,
                    seq,
                    first_ms: shift(chunk.first_ms()),
                    last_ms: shift(chunk.last_ms()),
                    snapshot_ms,
                    before_seq,
                    events: &chunk.events,
                    snapshots,
                    named,
                });
                if snapshot_ms < u64::MAX {
                    before_seq = seq;
                }
                if named.raw_bytes >= planned.bytes {
                    break 'all;
                }
            }
        }
        disturb(rows, planned.chance.clone())
    }
}

/// Lets some chunks come late, and some twice.
fn disturb<'a>(mut rows: Vec<Row<'a>>, mut chance: fastrand::Rng) -> Vec<Row<'a>> {
    let mut n = 1;
    while n + 1 < rows.len() {
        if chance.f64() < LATE {
            rows.swap(n, n + 1);
            // What is known of the session when a late chunk comes is what was known before.
            let known = rows[n].named;
            rows[n + 1].named = known;
        } else if chance.f64() < TWICE {
            let again = Row { snapshots: rows[n].snapshots.clone(), ..rows[n] };
            rows.insert(n + 1, again);
            n += 1;
        }
        n += 1;
    }
    rows
}
