//! Chunk streams: what an uploader sends, each chunk behind a line that says whose it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::BufRead;

use reelvault::limits::CHUNK_BYTES_MAX;
use reelvault::{Chunk, InputError, Kind, Session, SessionId, VisitorId};
use serde::Deserialize;

use super::feed::{Feed, Stop};
use super::formats::{TOO_LONG, whole};
use super::split::Lines;

#[derive(Deserialize)]
struct HeaderLine {
    chunk: Header,
}

#[derive(Deserialize)]
struct Header {
    session: String,
    visitor: Option<String>,
    #[serde(default)]
    kind: HeaderKind,
    seq: u64,
    first_ms: Option<u64>,
    last_ms: Option<u64>,
    events: u64,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HeaderKind {
    #[default]
    Replay,
    Chat,
}

impl Header {
    fn session(&self) -> Result<(SessionId, Session), InputError> {
        let id = SessionId::new(&self.session)?;
        let mut session = Session::new(id.clone()).kind(match self.kind {
            HeaderKind::Replay => Kind::Replay,
            HeaderKind::Chat => Kind::Chat,
        });
        if let Some(visitor) = &self.visitor {
            session = session.visitor(VisitorId::new(visitor)?);
        }
        for (name, value) in &self.attributes {
            session = session.attribute(name, value)?;
        }
        Ok((id, session))
    }

    /// The chunk: its times are read out of its events, and those of a chat stand in the header.
    fn chunk<'a>(&self, events: &'a [u8]) -> Result<Chunk<'a>, InputError> {
        let times = self.first_ms.zip(self.last_ms);
        let Some((first_ms, last_ms)) = times.filter(|_| self.kind == HeaderKind::Chat) else {
            return Chunk::from_events(self.seq, events);
        };
        let events = Cow::Borrowed(events);
        Ok(Chunk { seq: self.seq, first_ms, last_ms, events, snapshots: Vec::new() })
    }
}

/// Reads a stream of chunks with header lines.
pub(super) fn read(reader: impl BufRead, feed: &mut Feed<'_>) -> Result<(), Stop> {
    ChunkStream::new(reader).read(feed)
}

/// Such a stream under way.
struct ChunkStream<R> {
    lines: Lines<R>,
    line: Vec<u8>,
    at: u64,
    /// Whether `line` holds a line that was read and not used.
    held: bool,
    events: Vec<u8>,
}

/// How a header line begins, and no event does.
const HEADER: &[u8] = b"{\"chunk\":";

impl<R: BufRead> ChunkStream<R> {
    fn new(reader: R) -> Self {
        let lines = Lines::new(reader);
        Self { lines, line: Vec::new(), at: 0, held: false, events: Vec::new() }
    }

    fn read(mut self, feed: &mut Feed<'_>) -> Result<(), Stop> {
        while self.next(feed) {
            let (at, line) = (self.at, &self.line[..]);
            if !line.starts_with(HEADER) {
                feed.refuse(at, 1, "a line {\"chunk\":{...}} is expected here");
                continue;
            }
            match serde_json::from_slice::<HeaderLine>(line) {
                Ok(header) => self.chunk(&header.chunk, at, feed)?,
                Err(e) => {
                    // The position in the line is all that is safe to repeat of it.
                    let why = format!("not a chunk's header (column {})", e.column());
                    feed.refuse(at, 1, why);
                }
            }
        }
        Ok(())
    }

    /// Brings the next line up; false at the end.
    fn next(&mut self, feed: &mut Feed<'_>) -> bool {
        if std::mem::take(&mut self.held) {
            return true;
        }
        let lines = &mut self.lines;
        let mut next = |buf: &mut Vec<u8>| (lines.next(buf), lines.number());
        match whole(feed, &mut self.line, &mut next) {
            Some(line) => {
                self.at = line;
                true
            }
            None => false,
        }
    }

    /// Reads the events of a chunk; returns their number, and whether they are within the limit.
    fn gather(&mut self, events: u64, feed: &mut Feed<'_>) -> (u64, bool) {
        self.events.clear();
        let (mut count, mut fits) = (0, true);
        while count < events && self.next(feed) {
            if self.line.starts_with(HEADER) {
                self.held = true;
                break;
            }
            count += 1;
            fits &= self.events.len() + self.line.len() < CHUNK_BYTES_MAX;
            if fits {
                self.events.extend_from_slice(&self.line);
                self.events.push(b'\n');
            }
        }
        (count, fits)
    }

    /// Takes a chunk, all of it or none: a part would stand in the place of the whole for ever.
    fn chunk(&mut self, header: &Header, at: u64, feed: &mut Feed<'_>) -> Result<(), Stop> {
        let refused_before = feed.tally.refused_lines;
        let (count, fits) = self.gather(header.events, feed);
        let mut refuse = |why: String| {
            feed.refuse(at, count + 1, why);
            Ok(())
        };
        if count < header.events {
            return refuse(format!("the header says {} events, and {count} follow", header.events));
        }
        if !fits {
            return refuse(format!("the chunk: {TOO_LONG}"));
        }
        let (id, session) = match header.session() {
            Ok(session) => session,
            Err(e) => return refuse(e.to_string()),
        };
        let chunk = match header.chunk(&self.events) {
            Ok(chunk) => chunk,
            Err(InputError::NotNdjson { line, why }) => {
                feed.refuse(at + line as u64, 1, why);
                feed.refuse(at, count, "the chunk is left out because of an event in it");
                return Ok(());
            }
            Err(e) => return refuse(e.to_string()),
        };
        if feed.tally.refused_lines > refused_before {
            feed.refuse(at, count + 1, "the chunk is left out because of a line in it");
            return Ok(());
        }
        feed.append(&id, &session, &chunk, at + 1).map(|_| ())
    }
}
