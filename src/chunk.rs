//! What a recorder uploads at once, and what is said of a session when it starts.

use std::borrow::Cow;
use std::fmt;

use crate::error::InputError;
use crate::ids::{SessionId, VisitorId};
use crate::limits::{
    ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, CHUNK_BYTES_MAX,
    CHUNK_EVENTS_MAX, CHUNK_SNAPSHOTS_MAX, EVENT_AHEAD_MS_MAX, EVENT_MS_MIN, SEQUENCE_MAX,
};

/// Events of one session, uploaded at once.
///
/// The events are NDJSON: each line one JSON object, ended by a line feed. They are kept byte for byte. The engine
/// checks the shape of each line (valid UTF-8, `{` first, `}` last), not the grammar within.
#[derive(Clone)]
pub struct Chunk<'a> {
    /// The place of the chunk in its session, from 0. It makes appends idempotent: a second
    /// chunk with the same number is dropped.
    pub seq: u64,
    /// Time of the first event, Unix milliseconds.
    pub first_ms: u64,
    /// Time of the last event, Unix milliseconds.
    pub last_ms: u64,
    /// The events, NDJSON.
    pub events: Cow<'a, [u8]>,
    /// Where playable stretches begin, in order of their offsets.
    pub snapshots: Vec<Snapshot>,
}

// What visitors did and who they are must not reach a log through `{:?}`.
impl fmt::Debug for Chunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk {{ seq: {}, bytes: {} }}", self.seq, self.events.len())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session {{ kind: {:?}, attributes: {} }}", self.kind, self.attributes.len())
    }
}

/// The beginning of a playable stretch: of the Meta event that a full snapshot follows, or of the full snapshot itself where
/// no Meta event stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Its offset in the chunk's events in bytes, at the beginning of a line.
    pub offset: u32,
    /// Its time, Unix milliseconds.
    pub ms: u64,
}

impl Chunk<'_> {
    /// Checks every rule that a chunk must keep, at the time `now_ms`, and counts its events.
    pub(crate) fn check(&self, now_ms: u64) -> Result<u32, InputError> {
        if self.seq >= SEQUENCE_MAX {
            return Err(InputError::SequenceNumber { seq: self.seq, limit: SEQUENCE_MAX });
        }
        if self.events.len() > CHUNK_BYTES_MAX {
            let bytes = self.events.len();
            return Err(InputError::ChunkTooLarge { bytes, limit: CHUNK_BYTES_MAX });
        }
        let max = now_ms.saturating_add(EVENT_AHEAD_MS_MAX);
        for ms in [self.first_ms, self.last_ms] {
            if !(EVENT_MS_MIN..=max).contains(&ms) {
                return Err(InputError::TimeRange { ms, min: EVENT_MS_MIN, max });
            }
        }
        if self.first_ms > self.last_ms {
            return Err(InputError::TimesReversed { from: self.first_ms, to: self.last_ms });
        }
        let events = count_ndjson(&self.events)?;
        self.check_snapshots()?;
        Ok(events)
    }

    fn check_snapshots(&self) -> Result<(), InputError> {
        if self.snapshots.len() > CHUNK_SNAPSHOTS_MAX {
            let index = CHUNK_SNAPSHOTS_MAX;
            return Err(InputError::Snapshot { index, why: "there are more than 256" });
        }
        let mut after = 0;
        for (index, s) in self.snapshots.iter().enumerate() {
            let at = s.offset as usize;
            let why = if index > 0 && at <= after {
                "its offset does not rise"
            } else if at >= self.events.len() || (at > 0 && self.events[at - 1] != b'\n') {
                "its offset is not the beginning of a line"
            } else if !(self.first_ms..=self.last_ms).contains(&s.ms) {
                "its time is outside the chunk's"
            } else {
                after = at;
                continue;
            };
            return Err(InputError::Snapshot { index, why });
        }
        Ok(())
    }
}

/// Counts the lines of NDJSON and checks the shape of each.
fn count_ndjson(events: &[u8]) -> Result<u32, InputError> {
    if events.is_empty() {
        return Err(InputError::ChunkEmpty);
    }
    let wrong = |line, why| Err(InputError::NotNdjson { line, why });
    if let Err(e) = simdutf8::compat::from_utf8(events) {
        let line = 1 + memchr::memchr_iter(b'\n', &events[..e.valid_up_to()]).count();
        return wrong(line, "it is not UTF-8");
    }
    let mut lines = 0;
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', events) {
        lines += 1;
        let line = &events[start..end];
        start = end + 1;
        if line.is_empty() {
            return wrong(lines, "it is empty");
        }
        if line[0] != b'{' || line[line.len() - 1] != b'}' {
            return wrong(lines, "it is not a JSON object");
        }
        if lines > CHUNK_EVENTS_MAX {
            return Err(InputError::ChunkEvents { limit: CHUNK_EVENTS_MAX });
        }
    }
    if start != events.len() {
        return wrong(lines + 1, "it does not end in a line feed");
    }
    Ok(lines as u32)
}

/// What kind of recording a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Kind {
    /// A web session: rrweb events.
    #[default]
    Replay = 1,
    /// A chat transcript: messages.
    Chat = 2,
}

impl Kind {
    pub(crate) fn from_number(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::Replay),
            2 => Some(Self::Chat),
            _ => None,
        }
    }
}

/// A session as the recorder names it, given with every append; what it says is stamped when the first chunk arrives.
#[derive(Clone)]
pub struct Session {
    pub(crate) id: SessionId,
    pub(crate) visitor: Option<VisitorId>,
    pub(crate) kind: Kind,
    pub(crate) attributes: Vec<(Box<str>, Box<str>)>,
    pub(crate) retention_days: Option<u32>,
}

impl Session {
    /// A web session of this id.
    #[must_use]
    pub fn new(id: SessionId) -> Self {
        Self { id, visitor: None, kind: Kind::Replay, attributes: Vec::new(), retention_days: None }
    }

    /// Of this visitor.
    #[must_use]
    pub fn visitor(mut self, visitor: VisitorId) -> Self {
        self.visitor = Some(visitor);
        self
    }

    /// Of this kind.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// With an attribute: a short label such as the first page or the browser.
    ///
    /// # Errors
    /// [`InputError::Attributes`] beyond 16, or with a name that is empty or over 64 bytes, or a value over 1,024 bytes.
    pub fn attribute(mut self, name: &str, value: &str) -> Result<Self, InputError> {
        if self.attributes.len() == ATTRIBUTES_MAX
            || name.is_empty()
            || name.len() > ATTRIBUTE_NAME_BYTES_MAX
            || value.len() > ATTRIBUTE_VALUE_BYTES_MAX
        {
            return Err(InputError::Attributes);
        }
        self.attributes.push((name.into(), value.into()));
        Ok(self)
    }

    /// Kept for this many days in place of its site's retention class.
    ///
    /// # Errors
    /// [`InputError::RetentionClass`] unless 1 to 36,500.
    pub fn retention_days(mut self, days: u32) -> Result<Self, InputError> {
        crate::ids::check_retention(days)?;
        self.retention_days = Some(days);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn chunk(events: &str) -> Chunk<'_> {
        let events = Cow::Borrowed(events.as_bytes());
        Chunk { seq: 0, first_ms: NOW, last_ms: NOW + 5, events, snapshots: vec![] }
    }

    #[test]
    fn a_chunk_of_json_lines_is_counted() {
        assert_eq!(chunk("{}\n{\"a\":1}\n").check(NOW), Ok(2));
    }

    #[test]
    fn what_is_not_ndjson_is_refused_by_line() {
        let refuse = |s: &str, line, why| {
            assert_eq!(chunk(s).check(NOW), Err(InputError::NotNdjson { line, why }));
        };
        assert_eq!(chunk("").check(NOW), Err(InputError::ChunkEmpty));
        refuse("{}", 1, "it does not end in a line feed");
        refuse("{}\n\n", 2, "it is empty");
        refuse("[]\n", 1, "it is not a JSON object");
        refuse("{}\n{}\r\n", 2, "it is not a JSON object");
        let mut bad = chunk("{}\n");
        bad.events = Cow::Borrowed(b"{}\n{\xff}\n");
        assert_eq!(bad.check(NOW), Err(InputError::NotNdjson { line: 2, why: "it is not UTF-8" }));
    }

    #[test]
    fn limits_are_named() {
        let big = format!("{{{}}}\n", " ".repeat(CHUNK_BYTES_MAX));
        let too_large = Err(InputError::ChunkTooLarge { bytes: big.len(), limit: CHUNK_BYTES_MAX });
        assert_eq!(chunk(&big).check(NOW), too_large);
        assert_eq!(
            chunk(&"{}\n".repeat(CHUNK_EVENTS_MAX + 1)).check(NOW),
            Err(InputError::ChunkEvents { limit: CHUNK_EVENTS_MAX })
        );
        let seq = Chunk { seq: SEQUENCE_MAX, ..chunk("{}\n") };
        assert!(matches!(seq.check(NOW), Err(InputError::SequenceNumber { .. })));
    }

    #[test]
    fn times_are_checked() {
        let reversed = Chunk { last_ms: NOW - 1, ..chunk("{}\n") };
        assert!(matches!(reversed.check(NOW), Err(InputError::TimesReversed { .. })));
        for ms in [0, EVENT_MS_MIN - 1, NOW + EVENT_AHEAD_MS_MAX + 1, u64::MAX] {
            let off = Chunk { first_ms: ms, last_ms: ms, ..chunk("{}\n") };
            assert!(matches!(off.check(NOW), Err(InputError::TimeRange { .. })));
        }
    }

    #[test]
    fn snapshots_begin_lines_in_order() {
        let at = |offset, ms| Snapshot { offset, ms };
        let with = |snapshots| Chunk { snapshots, ..chunk("{}\n{}\n") }.check(NOW);
        assert_eq!(with(vec![at(0, NOW), at(3, NOW + 5)]), Ok(2));
        for bad in [
            vec![at(1, NOW)],
            vec![at(6, NOW)],
            vec![at(3, NOW), at(0, NOW)],
            vec![at(0, NOW), at(0, NOW)],
            vec![at(0, NOW + 6)],
        ] {
            assert!(matches!(with(bad), Err(InputError::Snapshot { .. })));
        }
    }
}
