//! What is told of a session without reading its events.

use std::fmt;
use std::ops::Range;

use crate::chunk::Kind;
use crate::error::{Damage, Error, Result};
use crate::format::header::unsupported;
use crate::format::identity::Unopened;
use crate::ids::{SessionId, SessionTag, VisitorId, day_of, expiry_day};
use crate::seqset::SeqSet;

use super::Site;
use super::find::{ArchivedPart, Parts, Started, part_file};

/// A session: who, when, how much, and what is missing.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// Its visitor, where one was named.
    pub visitor: Option<VisitorId>,
    /// Replay or chat.
    pub kind: Kind,
    /// The labels given when it started.
    pub attributes: Vec<(String, String)>,
    /// The time that was stamped on it when its first chunk arrived, Unix milliseconds: it decides the
    /// session's day and its place in listings.
    pub start_ms: u64,
    /// Time of its first event, Unix milliseconds. It is before the start only if an earlier chunk came late.
    pub first_ms: u64,
    /// Time of its last event, Unix milliseconds.
    pub last_ms: u64,
    /// Its retention class in days.
    pub retention_days: u32,
    /// The first day on which it is no longer kept, in days since 1970-01-01 UTC.
    pub expiry_day: u32,
    /// Chunks that are there.
    pub chunks: u32,
    /// Events that are there.
    pub events: u64,
    /// Bytes of its NDJSON.
    pub raw_bytes: u64,
    /// Bytes it takes on disk, compressed and sealed.
    pub stored_bytes: u64,
    /// Sequence numbers that are missing before the last one.
    pub gaps: Vec<Range<u64>>,
    /// Times of its full snapshots, Unix milliseconds, rising.
    pub snapshots: Vec<u64>,
    /// Whether part of it is still in a journal.
    pub live: bool,
    /// Whether it is held beyond its retention.
    pub held: bool,
    pub(crate) tag: SessionTag,
}

// Ids and attributes must not reach a log through `{:?}`.
impl fmt::Debug for SessionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionInfo")
            .field("kind", &self.kind)
            .field("chunks", &self.chunks)
            .field("events", &self.events)
            .field("raw_bytes", &self.raw_bytes)
            .finish_non_exhaustive()
    }
}

impl Site {
    /// What is known of one session.
    ///
    /// # Errors
    /// [`Error::UnknownSession`], [`Error::Erased`], [`Error::Expired`], and damage.
    pub fn session(&self, id: &SessionId) -> Result<SessionInfo> {
        self.describe(&self.find(id, Started::Last)?)
    }

    /// What is known of the session of this id that started on the day (UTC) of `start_ms`, Unix milliseconds: for whoever
    /// keeps both, as in a link to a recording. A session's id may be used again two days after its start.
    ///
    /// When a day has passed nothing is left that could tell which sessions it had, so the time is what tells an
    /// expired session from one that never was. What is not there counts as expired once sessions of the site's
    /// retention class are; one that was given a shorter class is unknown until then.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    pub fn session_at(&self, id: &SessionId, start_ms: u64) -> Result<SessionInfo> {
        match self.find(id, Started::On(day_of(start_ms))) {
            Err(Error::UnknownSession) => {
                let expiry_day = expiry_day(start_ms, self.site.retention_days());
                match self.inner.has_passed(expiry_day) {
                    true => Err(Error::Expired { expiry_day }),
                    false => Err(Error::UnknownSession),
                }
            }
            parts => self.describe(&parts?),
        }
    }

    /// Makes the public description of a session from its parts.
    pub(super) fn describe(&self, parts: &Parts) -> Result<SessionInfo> {
        let stamp = &parts.stamp;
        let keys = self.keys(parts)?;
        // Sessions of one id have one tag; the hold is of one of them.
        let hold = self.inner.keyring.hold_of(&self.site.handle(), &stamp.tag);
        let hold = hold.filter(|hold| hold.start_ms == stamp.start_ms);
        let retention_days = match (stamp.retention_days, &hold) {
            // The copy of a held session belongs to no class; its hold remembers the one it had.
            (0, Some(hold)) => hold.retention_days,
            (days, _) => days,
        };
        let identity = match &stamp.identity {
            None => None,
            Some(sealed) => {
                let identity = sealed.open(self.site.handle(), stamp.tag, keys.cipher());
                Some(identity.map_err(|why| {
                    let (file, at) = first_place(parts);
                    match why {
                        Unopened::Suite(n) => unsupported(&file, "cipher suite", n.into()),
                        Unopened::Broken => self.name(Error::corrupt(&file, at, Damage::Tampered)),
                    }
                })?)
            }
        };
        let (id, visitor, attributes) = match identity {
            Some(i) => (SessionId::read(i.session), i.visitor, i.attributes),
            None => Default::default(),
        };
        let mut seqs = SeqSet::default();
        let mut info = SessionInfo {
            id: id.unwrap_or_else(|| SessionId::lost(stamp.tag)),
            visitor: visitor.and_then(VisitorId::read),
            kind: stamp.kind,
            attributes: attributes.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
            start_ms: stamp.start_ms,
            first_ms: u64::MAX,
            last_ms: 0,
            retention_days,
            expiry_day: expiry_day(stamp.start_ms, retention_days),
            chunks: 0,
            events: 0,
            raw_bytes: 0,
            stored_bytes: 0,
            gaps: Vec::new(),
            snapshots: Vec::new(),
            live: parts.live.is_some(),
            held: hold.is_some(),
            tag: stamp.tag,
        };
        parts.archived.iter().for_each(|p| info.add_archived(p, &mut seqs));
        info.add_live(parts, &mut seqs);
        info.chunks = seqs.len();
        info.gaps = seqs.gaps().into_iter().map(|(s, e)| s.into()..e.into()).collect();
        info.snapshots.sort_unstable();
        Ok(info)
    }
}

impl SessionInfo {
    fn add_archived(&mut self, part: &ArchivedPart, seqs: &mut SeqSet) {
        let entry = part.entry();
        self.first_ms = self.first_ms.min(entry.first_ms);
        self.last_ms = self.last_ms.max(entry.last_ms);
        self.events += entry.events;
        self.raw_bytes += entry.raw_bytes();
        self.stored_bytes += entry.stored_bytes();
        for block in &entry.blocks {
            self.snapshots.extend(block.snapshots.iter().map(|s| s.ms));
        }
        seqs.extend(&entry.seqs);
    }

    fn add_live(&mut self, parts: &Parts, seqs: &mut SeqSet) {
        let Some(live) = &parts.live else { return };
        for frame in &live.frames {
            // In a salvaged store a frame can stand in a segment too.
            if seqs.insert(frame.seq) {
                self.first_ms = self.first_ms.min(frame.first_ms);
                self.last_ms = self.last_ms.max(frame.last_ms());
                self.events += u64::from(frame.events);
                self.raw_bytes += u64::from(frame.raw_bytes);
                self.stored_bytes += u64::from(frame.bytes);
            }
        }
        self.snapshots.extend(live.snapshots.iter().map(|(_, s)| s.ms));
    }
}

fn first_place(parts: &Parts) -> (String, u64) {
    match (parts.live.as_ref().and_then(|l| l.frames.first()), parts.archived.first()) {
        (Some(frame), _) => (frame.journal.name.clone(), frame.offset.into()),
        (None, Some(part)) => (part_file(part), part.entry().offset),
        (None, None) => (String::new(), 0),
    }
}
