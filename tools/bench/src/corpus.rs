//! The recorded corpus, in memory, and sessions made of it under other names and at other times.

use std::borrow::Cow;
use std::path::Path;

use reelvault::{Chunk, Session, SessionId, Snapshot, VisitorId};
use serde::Deserialize;

use crate::{BenchError, Result};

/// One chunk, parsed once.
pub struct Recorded {
    /// Its NDJSON.
    pub events: Vec<u8>,
    first_ms: u64,
    last_ms: u64,
    snapshots: Vec<Snapshot>,
}

/// One recorded session.
pub struct RecordedSession {
    /// The site's place among all.
    pub site: usize,
    /// Whether it records a canvas, which packs badly.
    pub canvas: bool,
    /// Its chunks, in order.
    pub chunks: Vec<Recorded>,
}

/// All recorded sessions.
pub struct Corpus {
    /// The ids of its sites.
    pub sites: Vec<String>,
    /// Its sessions.
    pub sessions: Vec<RecordedSession>,
}

#[derive(Deserialize)]
struct Index {
    sessions: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    site: String,
    file: String,
    canvas: bool,
}

impl Corpus {
    /// Reads it from its folder.
    ///
    /// # Errors
    /// [`BenchError::Corpus`] if the folder holds something else, and errors of the system.
    pub fn load(dir: &Path) -> Result<Self> {
        let index = read(&dir.join("corpus.json"))?;
        let index: Index = serde_json::from_slice(&index).map_err(|_| BenchError::Corpus)?;
        let mut sites: Vec<String> = Vec::new();
        let mut sessions = Vec::new();
        for entry in index.sessions {
            let site = sites.iter().position(|s| *s == entry.site).unwrap_or_else(|| {
                sites.push(entry.site.clone());
                sites.len() - 1
            });
            let packed = read(&dir.join(&entry.file))?;
            let raw = zstd::stream::decode_all(&packed[..]).map_err(|_| BenchError::Corpus)?;
            sessions.push(RecordedSession { site, canvas: entry.canvas, chunks: split(&raw)? });
        }
        Ok(Self { sites, sessions })
    }

    /// Bytes of all its NDJSON.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.sessions.iter().map(RecordedSession::raw_bytes).sum()
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| BenchError::Io(path.to_owned(), e))
}

/// Splits a chunk stream: a header line, then the events of the chunk.
fn split(raw: &[u8]) -> Result<Vec<Recorded>> {
    let mut chunks = Vec::new();
    let mut events: Vec<u8> = Vec::new();
    for line in raw.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b"{\"chunk\":") {
            if !events.is_empty() {
                chunks.push(Recorded::new(std::mem::take(&mut events))?);
            }
        } else {
            events.extend_from_slice(line);
        }
    }
    if !events.is_empty() {
        chunks.push(Recorded::new(events)?);
    }
    Ok(chunks)
}

impl Recorded {
    fn new(events: Vec<u8>) -> Result<Self> {
        let chunk = Chunk::from_events(0, &events[..]).map_err(|_| BenchError::Corpus)?;
        let (first_ms, last_ms, snapshots) = (chunk.first_ms, chunk.last_ms, chunk.snapshots);
        Ok(Self { events, first_ms, last_ms, snapshots })
    }

    /// Time of its first event as it was recorded, Unix milliseconds.
    #[must_use]
    pub fn first_ms(&self) -> u64 {
        self.first_ms
    }

    /// Time of its last event as it was recorded, Unix milliseconds.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// Its full snapshots, with the times at which they were recorded.
    #[must_use]
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }
}

impl RecordedSession {
    /// Bytes of its NDJSON.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.chunks.iter().map(|c| c.events.len() as u64).sum()
    }

    /// The chunks as if the session had started at `start_ms`.
    pub(crate) fn at(&self, start_ms: u64) -> impl Iterator<Item = Chunk<'_>> {
        let recorded_ms = self.chunks.first().map_or(0, |c| c.first_ms);
        let shift = move |ms: u64| start_ms + ms.saturating_sub(recorded_ms);
        self.chunks.iter().zip(0..).map(move |(c, seq)| Chunk {
            seq,
            first_ms: shift(c.first_ms),
            last_ms: shift(c.last_ms),
            events: Cow::Borrowed(&c.events),
            snapshots: c
                .snapshots
                .iter()
                .map(|s| Snapshot { offset: s.offset, ms: shift(s.ms) })
                .collect(),
        })
    }
}

/// A session's id in a benchmark: the recorded one's number and a number of its own.
pub(crate) fn session_id(recorded: usize, copy: u64) -> String {
    format!("s-{recorded:04}-{copy:08}")
}

/// A session of that id.
pub(crate) fn session_name(recorded: usize, copy: u64) -> Result<Session> {
    let id = SessionId::new(session_id(recorded, copy))?;
    let visitor = VisitorId::new(format!("v-{}", copy % 1_000))?;
    Ok(Session::new(id).visitor(visitor))
}
