//! Reading what a chunk needs out of rrweb events and chat messages: times and full snapshots.

use std::borrow::Cow;

use serde::Deserialize;

use crate::chunk::{Chunk, Snapshot};
use crate::error::InputError;
use crate::limits::CHUNK_BYTES_MAX;

/// rrweb's number for a full snapshot.
const FULL_SNAPSHOT: u64 = 2;
/// rrweb's number for the Meta event that comes before one.
const META: u64 = 4;

#[derive(Deserialize)]
struct Event {
    /// Chat messages have none.
    #[serde(rename = "type")]
    kind: Option<u64>,
    timestamp: f64,
}

impl<'a> Chunk<'a> {
    /// Makes a chunk of rrweb events or chat messages, NDJSON, and reads its times and snapshots out of them.
    ///
    /// Each event is a JSON object with a `timestamp` in Unix milliseconds. A playable stretch begins at a Meta event
    /// (type 4) that a full snapshot (type 2) follows, or at a full snapshot without one.
    ///
    /// # Errors
    /// [`InputError::NotNdjson`] with the line that is no such object, [`InputError::ChunkEmpty`], [`InputError::ChunkTooLarge`].
    pub fn from_events(seq: u64, events: impl Into<Cow<'a, [u8]>>) -> Result<Self, InputError> {
        let events = events.into();
        if events.len() > CHUNK_BYTES_MAX {
            let bytes = events.len();
            return Err(InputError::ChunkTooLarge { bytes, limit: CHUNK_BYTES_MAX });
        }
        let (mut first_ms, mut last_ms) = (u64::MAX, 0);
        let mut snapshots = Vec::new();
        let mut meta: Option<Snapshot> = None;
        let mut offset = 0;
        for (line, text) in events.split_inclusive(|b| *b == b'\n').enumerate() {
            let why = "it is not a JSON object with a timestamp";
            let wrong = InputError::NotNdjson { line: line + 1, why };
            // An array of both values would be read as an event, too.
            if !text.starts_with(b"{") {
                return Err(wrong);
            }
            let event: Event = serde_json::from_slice(text).map_err(|_| wrong)?;
            // A negative or enormous time is refused with the chunk's times.
            let ms = event.timestamp as u64;
            first_ms = first_ms.min(ms);
            last_ms = last_ms.max(ms);
            let here = Snapshot { offset, ms };
            match event.kind {
                Some(META) => meta = Some(here),
                Some(FULL_SNAPSHOT) => snapshots.push(meta.take().unwrap_or(here)),
                _ => meta = None,
            }
            offset += text.len() as u32;
        }
        if first_ms > last_ms {
            return Err(InputError::ChunkEmpty);
        }
        Ok(Self { seq, first_ms, last_ms, events, snapshots })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_snapshots_are_found() {
        let events = concat!(
            "{\"type\":4,\"timestamp\":1000,\"data\":{}}\n",
            "{\"type\":2,\"timestamp\":1001.7,\"data\":{}}\n",
            "{\"type\":3,\"timestamp\":1500}\n",
            "{\"type\":2,\"timestamp\":1400}\n",
        );
        let chunk = Chunk::from_events(3, events.as_bytes()).unwrap();
        assert_eq!((chunk.seq, chunk.first_ms, chunk.last_ms), (3, 1000, 1500));
        let at = |line: usize| events.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
        let expected = [(at(0), 1000), (at(3), 1400)];
        let found: Vec<_> = chunk.snapshots.iter().map(|s| (s.offset as usize, s.ms)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_event_is_refused_by_line() {
        // An array of the two values was once taken for an event.
        for bad in ["{\"type\":3}\n", "not json\n", "[3,1]\n", " {\"timestamp\":1}\n"] {
            let bad = format!("{{\"timestamp\":1}}\n{bad}");
            let refused = Chunk::from_events(0, bad.as_bytes());
            assert!(matches!(refused, Err(InputError::NotNdjson { line: 2, .. })));
        }
        assert!(matches!(Chunk::from_events(0, &b""[..]), Err(InputError::ChunkEmpty)));
    }
}
