//! What was asked of a store and what it answered, and what must be there or must not for that.

use std::collections::BTreeMap;

use reelvault::limits::DAY_MS;
use reelvault::{Error, Site, Store};

use crate::{SITES, session_id, site_id};

/// Days that every session is kept.
pub const RETENTION_DAYS: u64 = 30;

/// A session: its site, its number, and the day on which it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub at: usize,
    pub n: u8,
    pub day: u64,
}

impl Name {
    pub fn text(self) -> String {
        format!("s-{}-{}", self.n, self.day)
    }

    /// The first day on which it is no longer kept.
    pub fn expiry_day(self) -> u64 {
        self.day + RETENTION_DAYS + 1
    }
}

/// What is known of something that may have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Known {
    #[default]
    No,
    /// It was asked for, and the answer was an error.
    Perhaps,
    Yes,
}

#[derive(Debug, Default)]
pub struct State {
    /// What was sent, by sequence number.
    pub sent: BTreeMap<u64, Vec<u8>>,
    pub erased: Known,
    pub held: Known,
}

#[derive(Default)]
pub struct Ledger {
    pub sessions: BTreeMap<Name, State>,
    /// Chunks that must be there, in the order in which that was learnt.
    pub acknowledged: Vec<(Name, u64)>,
    /// Chunks that no sync has covered yet.
    pub deferred: Vec<(Name, u64)>,
    /// Retention has answered that all days up to this one are gone.
    pub passed: u64,
}

impl Ledger {
    /// All that was deferred is durable.
    pub fn synced(&mut self) {
        self.acknowledged.append(&mut self.deferred);
    }

    pub fn has_acknowledged(&self, name: Name) -> bool {
        self.acknowledged.iter().any(|(of, _)| *of == name)
    }

    fn is_gone(&self, name: Name) -> bool {
        let state = &self.sessions[&name];
        let passed = name.expiry_day() <= self.passed && state.held == Known::No;
        state.erased == Known::Yes || passed
    }

    /// Compares a store with what must be in it: of the acknowledged chunks the first `count`, those that only a hold keeps
    /// if `holds`.
    ///
    /// # Panics
    /// If a chunk is missing, another one than was sent, or deleted.
    pub fn check(&self, store: &Store, now_ms: u64, count: usize, holds: bool) {
        let sites = [0, 1].map(|at| store.site(&site_id(at)).expect("a site"));
        let today = now_ms / DAY_MS;
        for (name, state) in &self.sessions {
            let there = read(&sites[name.at % SITES.len()], *name, state);
            assert!(there.is_empty() || !self.is_gone(*name), "{name:?} is deleted and read");
            let kept = name.expiry_day() > today || (holds && state.held == Known::Yes);
            if state.erased != Known::No || !kept {
                continue;
            }
            for (_, seq) in self.acknowledged[..count].iter().filter(|(of, _)| of == name) {
                assert!(there.contains(seq), "acknowledged chunk {seq} of {name:?} is lost");
            }
        }
    }
}

/// The chunks of a session that can be read.
fn read(site: &Site, name: Name, state: &State) -> Vec<u64> {
    let id = session_id(&name.text());
    let mut there = Vec::new();
    let info = site.session(&id);
    match site.replay(&id) {
        Ok(mut replay) => {
            while let Some(chunk) = replay.next_chunk().expect("readable") {
                assert_eq!(state.sent.get(&chunk.seq).map(Vec::as_slice), Some(chunk.events));
                there.push(chunk.seq);
            }
            assert_eq!(info.expect("told").chunks as usize, there.len());
        }
        Err(Error::UnknownSession | Error::Erased | Error::Expired { .. }) => {
            assert!(info.is_err(), "{name:?} is told and not read");
        }
        Err(e) => panic!("{name:?}: {e}"),
    }
    there
}
