//! Appending what was read, one chunk after the other, and counting what came of it.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use reelvault::{Chunk, Error, InputError, Session, SessionId, Site};
use serde::Serialize;

use super::tally::Tally;
use crate::exit::{Failure, tell};
use crate::interrupt;

/// Why reading a file ended early.
pub(super) enum Stop {
    /// The request to stop: at a chunk's boundary.
    Interrupted,
    /// Nothing can be written any more.
    Fatal(Failure),
    /// This file cannot be taken further; others can.
    File(Error),
}

/// What all writers of an import share.
pub(super) struct Shared<'a> {
    /// One hash for all, to count sessions by.
    pub(super) hasher: &'a RandomState,
    /// A line for each chunk that is durable.
    pub(super) acks: Option<&'a Mutex<File>>,
    /// Set when one of them cannot go on.
    pub(super) stop: &'a AtomicBool,
}

/// One file on its way into a site.
pub(super) struct Feed<'a> {
    pub(super) site: &'a Site,
    pub(super) path: &'a Path,
    pub(super) tally: Tally,
    shared: &'a Shared<'a>,
    /// Events that a file without chunks holds, by session, where some of it was there before.
    expected: HashMap<SessionId, Expected>,
}

#[derive(Default)]
struct Expected {
    events: u64,
    duplicates: u64,
}

#[derive(Serialize)]
struct Ack<'a> {
    site: &'a str,
    session: &'a str,
    seq: u64,
}

impl<'a> Feed<'a> {
    pub(super) fn new(site: &'a Site, path: &'a Path, shared: &'a Shared<'a>) -> Self {
        Self { site, path, tally: Tally::default(), shared, expected: HashMap::new() }
    }

    /// Appends a chunk whose events begin in a line; returns whether it is in the store.
    pub(super) fn append(
        &mut self,
        id: &SessionId,
        session: &Session,
        chunk: &Chunk<'_>,
        line: u64,
    ) -> Result<Option<Fate>, Stop> {
        if interrupt::is_set() || self.shared.stop.load(Relaxed) {
            return Err(Stop::Interrupted);
        }
        let events = chunk.events.iter().filter(|b| **b == b'\n').count() as u64;
        let appended = match self.site.append(session, chunk) {
            Ok(appended) => appended,
            Err(Error::Input(e)) => {
                let (line, lines) = match e {
                    InputError::NotNdjson { line: at, .. } => (line + at as u64 - 1, 1),
                    _ => (line, events),
                };
                self.refuse(line, lines, e.to_string());
                return Ok(None);
            }
            Err(e @ (Error::Expired { .. } | Error::Erased)) => {
                self.refuse(line, events, tell(&e).what);
                return Ok(None);
            }
            Err(e @ Error::Corrupt(_)) => return Err(Stop::File(e)),
            Err(e) => return Err(Stop::Fatal(e.into())),
        };
        self.tally.session(self.shared.hasher.hash_one((self.site.id(), id)));
        if appended.duplicate {
            self.tally.duplicates += 1;
            return Ok(Some(Fate { events, duplicate: true }));
        }
        self.tally.chunks += 1;
        self.tally.events += events;
        self.tally.raw_bytes += chunk.events.len() as u64;
        self.tally.stored_bytes += u64::from(appended.stored_bytes);
        self.acknowledge(id, chunk.seq).map_err(Stop::Fatal)?;
        Ok(Some(Fate { events, duplicate: false }))
    }

    /// The same, of a file that has no chunks of its own; see [`Self::compare`].
    pub(super) fn append_cut(
        &mut self,
        id: &SessionId,
        session: &Session,
        chunk: &Chunk<'_>,
        line: u64,
    ) -> Result<(), Stop> {
        if let Some(fate) = self.append(id, session, chunk, line)? {
            let expected = self.expected.entry(id.clone()).or_default();
            expected.events += fate.events;
            expected.duplicates += u64::from(fate.duplicate);
        }
        Ok(())
    }

    /// Finds sessions of which another version was there before: dropping its duplicates lost what had changed.
    pub(super) fn compare(&mut self) -> Result<(), Stop> {
        for (id, expected) in std::mem::take(&mut self.expected) {
            if expected.duplicates == 0 {
                continue;
            }
            let info = match self.site.session(&id) {
                Ok(info) => info,
                Err(e @ Error::Corrupt(_)) => return Err(Stop::File(e)),
                Err(e) => return Err(Stop::Fatal(e.into())),
            };
            if info.events != expected.events {
                let why = format!(
                    "the store holds {} events of this session and the file {}: the file has \
                     changed since it was first imported, and what was there was kept",
                    info.events, expected.events
                );
                self.refuse(0, 0, why);
            }
        }
        Ok(())
    }

    /// Notes that lines are refused.
    pub(super) fn refuse(&mut self, line: u64, lines: u64, why: impl Into<String>) {
        self.tally.refuse(self.path, line, lines, why.into());
    }

    fn acknowledge(&self, id: &SessionId, seq: u64) -> Result<(), Failure> {
        let Some(acks) = self.shared.acks else { return Ok(()) };
        let ack = Ack { site: self.site.id().as_str(), session: id.as_str(), seq };
        let written = serde_json::to_vec(&ack).map_err(io::Error::other).and_then(|mut line| {
            line.push(b'\n');
            let mut file = acks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            file.write_all(&line)
        });
        written.map_err(|e| Failure::io("writing the file of acknowledged chunks", &e))
    }
}

/// What became of a chunk.
pub(super) struct Fate {
    events: u64,
    duplicate: bool,
}
