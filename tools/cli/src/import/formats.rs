//! The formats of recordings, told by their content, and how each becomes chunks.
//!
//! - A chunk stream: a line `{"chunk":{...}}`, then as many lines of events as it says, again and again.
//! - Events: rrweb events, one a line, or the elements of one JSON array. One session, named by the file.
//! - Chat: messages, one a line, each with a `timestamp`, and a `session` and a `visitor` where they are known.

use std::borrow::Cow;
use std::io::{self, BufRead};

use reelvault::limits::{EVENT_AHEAD_MS_MAX, EVENT_MS_MIN};
use reelvault::{Chunk, InputError, Session, SessionId};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::cut::Cutter;
use super::feed::{Feed, Stop};
use super::split::{Elements, Lines, Piece};
use super::{chat, chunks};
use crate::when::now_ms;

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Chunks with header lines.
    Chunks,
    /// A JSON array of events.
    Array,
    /// Events, one a line.
    Events,
    /// Chat messages, one a line.
    Chat,
}

/// Lines looked at before a file counts as something else.
const PROBED_LINES: usize = 20;

#[derive(Deserialize)]
struct Probe {
    chunk: Option<IgnoredAny>,
    #[serde(rename = "type")]
    kind: Option<serde_json::Value>,
    timestamp: Option<serde_json::Number>,
    text: Option<IgnoredAny>,
    from: Option<IgnoredAny>,
    message: Option<IgnoredAny>,
}

/// Finds the format by the first line that tells it; `None` if it is no recording.
pub(super) fn detect(mut reader: impl BufRead) -> io::Result<Option<Format>> {
    loop {
        let head = reader.fill_buf()?;
        match head.iter().find(|b| !b.is_ascii_whitespace()) {
            Some(b'[') => return Ok(Some(Format::Array)),
            Some(_) => break,
            None if head.is_empty() => return Ok(None),
            None => {
                let len = head.len();
                reader.consume(len);
            }
        }
    }
    let mut lines = Lines::new(reader);
    let mut buf = Vec::new();
    for _ in 0..PROBED_LINES {
        match lines.next(&mut buf)? {
            None => break,
            Some(Piece::Whole(_)) if buf.starts_with(b"{") => {}
            Some(_) => continue,
        }
        let Ok(probe) = serde_json::from_slice::<Probe>(&buf) else { continue };
        let is_chat = probe.text.or(probe.from).or(probe.message).is_some();
        return Ok(match (probe.chunk, probe.timestamp, probe.kind) {
            (Some(_), ..) => Some(Format::Chunks),
            (None, Some(_), Some(serde_json::Value::Number(_))) => Some(Format::Events),
            (None, Some(_), _) if is_chat => Some(Format::Chat),
            _ => None,
        });
    }
    Ok(None)
}

/// Reads a file of a known format to its end.
pub(super) fn read(
    format: Format,
    reader: impl BufRead,
    name: &str,
    feed: &mut Feed<'_>,
) -> Result<(), Stop> {
    match format {
        Format::Chunks => chunks::read(reader, feed),
        Format::Array => {
            let mut elements = Elements::new(reader);
            events(name, feed, |buf| (elements.next(buf), elements.number()))
        }
        Format::Events => {
            let mut lines = Lines::new(reader);
            events(name, feed, |buf| (lines.next(buf), lines.number()))
        }
        Format::Chat => chat::read(reader, name, feed),
    }
}

/// Why a piece over the limit is refused.
pub(super) const TOO_LONG: &str = "it is over the limit of a chunk (16 MiB)";

/// The next piece that is whole, the others being refused; `None` at the end.
pub(super) fn whole(
    feed: &mut Feed<'_>,
    buf: &mut Vec<u8>,
    next: &mut impl FnMut(&mut Vec<u8>) -> (io::Result<Option<Piece>>, u64),
) -> Option<u64> {
    loop {
        let (piece, at) = next(buf);
        match piece {
            Ok(Some(Piece::Whole(line))) => return Some(line),
            Ok(Some(Piece::TooLong(line))) => feed.refuse(line, 1, TOO_LONG),
            Ok(Some(Piece::Wrong(line, why))) => feed.refuse(line, 1, why),
            Ok(None) => return None,
            Err(e) => {
                feed.refuse(at, 1, format!("the file cannot be read further: {e}"));
                return None;
            }
        }
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<u64>,
    timestamp: f64,
}

/// The latest time that the store would take now.
pub(super) fn ms_max() -> u64 {
    now_ms().saturating_add(EVENT_AHEAD_MS_MAX)
}

/// Why a line is no event, or its time and type.
fn event(line: &[u8], ms_max: u64) -> Result<(u64, Option<u64>), &'static str> {
    let event: Event = object(line)?;
    Ok((time(event.timestamp, ms_max)?, event.kind))
}

/// A line as a JSON object.
pub(super) fn object<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, &'static str> {
    const NONE: &str = "it is not a JSON object with a timestamp";
    // An array would be taken for the fields of the object in their order.
    if !line.starts_with(b"{") {
        return Err(NONE);
    }
    serde_json::from_slice(line).map_err(|_| NONE)
}

/// A timestamp in Unix milliseconds, if the store would take it.
pub(super) fn time(timestamp: f64, ms_max: u64) -> Result<u64, &'static str> {
    let ms = timestamp as u64;
    match ms {
        _ if ms < EVENT_MS_MIN => Err("its timestamp is before 2000-01-01"),
        _ if ms > ms_max => Err("its timestamp is more than a day ahead of this machine's clock"),
        _ => Ok(ms),
    }
}

/// Events without chunks: one session, named by the file.
fn events(
    name: &str,
    feed: &mut Feed<'_>,
    mut next: impl FnMut(&mut Vec<u8>) -> (io::Result<Option<Piece>>, u64),
) -> Result<(), Stop> {
    let Ok(id) = SessionId::new(name) else {
        feed.refuse(
            0,
            0,
            format!("the file's name gives no session id: {}", InputError::SessionId),
        );
        return Ok(());
    };
    let session = Session::new(id.clone());
    let ms_max = ms_max();
    let mut cutter = Cutter::new(0);
    let mut buf = Vec::new();
    let mut any = false;
    while let Some(line) = whole(feed, &mut buf, &mut next) {
        any = true;
        match event(&buf, ms_max) {
            Ok((ms, kind)) => {
                if cutter.ends_before(buf.len(), ms) {
                    append_events(&id, &session, &mut cutter, feed)?;
                }
                cutter.add(&buf, line, ms, kind);
            }
            Err(why) => feed.refuse(line, 1, why),
        }
    }
    append_events(&id, &session, &mut cutter, feed)?;
    if !any && feed.tally.is_whole() {
        feed.refuse(0, 0, "there are no events in it");
    }
    feed.compare()
}

fn append_events(
    id: &SessionId,
    session: &Session,
    cutter: &mut Cutter,
    feed: &mut Feed<'_>,
) -> Result<(), Stop> {
    if !cutter.is_empty() {
        match Chunk::from_events(cutter.seq, Cow::Borrowed(&cutter.events[..])) {
            Ok(chunk) => feed.append_cut(id, session, &chunk, cutter.first_line)?,
            Err(e) => feed.refuse(cutter.first_line, cutter.count() as u64, e.to_string()),
        }
        cutter.next();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(text: &str) -> Option<Format> {
        detect(text.as_bytes()).unwrap()
    }

    #[test]
    fn formats_are_told_by_content() {
        assert_eq!(detected(" \n [{}]"), Some(Format::Array));
        assert_eq!(detected("{\"chunk\":{\"session\":\"s\"}}\n"), Some(Format::Chunks));
        assert_eq!(detected("{\"type\":4,\"timestamp\":1}\n"), Some(Format::Events));
        assert_eq!(detected("{\"timestamp\":1,\"text\":\"x\"}"), Some(Format::Chat));
        assert_eq!(detected("oops\n{\"type\":4,\"timestamp\":1}\n"), Some(Format::Events));
        for other in ["", "\n \n", "hello", "{\"version\":1}", "{\n \"timestamp\": 1\n}"] {
            assert_eq!(detected(other), None, "{other}");
        }
    }

    #[test]
    fn an_event_is_an_object_with_a_time_that_can_be() {
        let max = 2_000_000_000_000;
        assert_eq!(
            event(b"{\"type\":3,\"timestamp\":1700000000000.5}", max),
            Ok((1_700_000_000_000, Some(3)))
        );
        for bad in [
            "[3,1700000000000]",
            "{\"type\":3}",
            "{",
            "{\"timestamp\":\"1\"}",
            "{\"timestamp\":-1}",
            "{\"timestamp\":1e300}",
            "{\"timestamp\":1700000000000} x",
        ] {
            assert!(event(bad.as_bytes(), max).is_err(), "{bad}");
        }
    }
}
