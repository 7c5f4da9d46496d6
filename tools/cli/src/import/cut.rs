//! Cutting a stream of events into chunks where the file has none: every five seconds of recording, or at 1 MiB.
//!
//! The cuts follow from the events alone, so that a file imported again gives the same chunks, and they are dropped as
//! duplicates.

use reelvault::limits::{CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX, CHUNK_SNAPSHOTS_MAX};

/// Milliseconds of recording in a chunk.
const CHUNK_MS: u64 = 5_000;
/// Bytes at which a chunk ends.
const CHUNK_BYTES: usize = 1 << 20;

/// rrweb's number for the Meta event, which a full snapshot follows.
const META: u64 = 4;
/// rrweb's number for a full snapshot.
const FULL_SNAPSHOT: u64 = 2;

/// Events gathered for the next chunk.
#[derive(Default)]
pub(super) struct Cutter {
    /// The chunk's number.
    pub(super) seq: u64,
    /// Its events, each with a line feed.
    pub(super) events: Vec<u8>,
    /// The line in which its first event began.
    pub(super) first_line: u64,
    /// Least and greatest time of its events.
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
    began_ms: u64,
    count: usize,
    snapshots: usize,
    after_meta: bool,
}

impl Cutter {
    /// A cutter whose next chunk has this number.
    pub(super) fn new(seq: u64) -> Self {
        Self { seq, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the chunk ends before an event of this many bytes and this time.
    pub(super) fn ends_before(&self, bytes: usize, ms: u64) -> bool {
        if self.is_empty() {
            return false;
        }
        let size = self.events.len() + bytes + 1;
        if size > CHUNK_BYTES_MAX
            || self.count == CHUNK_EVENTS_MAX
            || self.snapshots == CHUNK_SNAPSHOTS_MAX
        {
            return true;
        }
        // A Meta event and its snapshot stay together: there a replay can begin.
        !self.after_meta && (size > CHUNK_BYTES || ms >= self.began_ms.saturating_add(CHUNK_MS))
    }

    /// Adds an event.
    pub(super) fn add(&mut self, event: &[u8], line: u64, ms: u64, kind: Option<u64>) {
        if self.is_empty() {
            (self.first_line, self.began_ms) = (line, ms);
            (self.first_ms, self.last_ms) = (ms, ms);
        }
        self.events.extend_from_slice(event);
        self.events.push(b'\n');
        self.first_ms = self.first_ms.min(ms);
        self.last_ms = self.last_ms.max(ms);
        self.count += 1;
        self.after_meta = kind == Some(META);
        self.snapshots += usize::from(kind == Some(FULL_SNAPSHOT));
    }

    /// Begins the next chunk.
    pub(super) fn next(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        *self = Self { seq: self.seq + 1, events, ..Self::default() };
    }

    /// How many events are gathered.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_come_by_time_and_size_but_not_after_meta() {
        let mut cutter = Cutter::new(0);
        assert!(!cutter.ends_before(10, 0));
        cutter.add(b"{}", 1, 1000, Some(3));
        assert!(!cutter.ends_before(10, 5999));
        assert!(cutter.ends_before(10, 6000));
        assert!(cutter.ends_before(CHUNK_BYTES, 1000));
        cutter.add(b"{}", 2, 900, Some(META));
        assert!(!cutter.ends_before(CHUNK_BYTES, 9000));
        assert!(cutter.ends_before(CHUNK_BYTES_MAX, 1000));
        assert_eq!((cutter.first_ms, cutter.last_ms, cutter.first_line), (900, 1000, 1));
        cutter.next();
        assert!(cutter.is_empty());
        assert_eq!(cutter.seq, 1);
    }
}
