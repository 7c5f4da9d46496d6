//! What a store owes: what its writers were told, and so what must be there, what must not, and what is open.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::content::Name;
use crate::report::Line;

/// What is known of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Chunks that were begun: no more than these can be there.
    pub begun: u64,
    /// Chunks that were acknowledged, or seen after an opening: no fewer than these must be there.
    pub owed: u64,
    /// Whether it is there.
    pub state: State,
    /// A chunk was begun after a sync of its shard had failed; nothing of it may be acknowledged before the store is opened again.
    begun_too_late: bool,
    /// Chunks that were acknowledged after the power was cut, as far as a process can be told anything then.
    pub told_late: u64,
    /// How often it was looked for since it is gone.
    pub looked_for: u32,
}

/// Whether a session is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// It must be there.
    #[default]
    Kept,
    /// Its erasure was begun and did not return: it is there whole, or gone.
    Erasing,
    /// It is gone, and must never be seen again.
    Gone,
}

/// How much happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Chunks acknowledged.
    pub acknowledged: u64,
    /// Appends refused.
    pub refused: u64,
    /// Sessions erased.
    pub erased: u64,
    /// Days that passed.
    pub expired: u64,
    /// Backups done.
    pub backups: u64,
    /// Sessions read by a writer and found right.
    pub read: u64,
    /// Times a store was opened by a writer.
    pub opened: u64,
    /// Writers that ended in order.
    pub done: u64,
    /// Sessions of which chunks were acknowledged after the power was cut, and those of them that were not there later.
    pub late: [u64; 2],
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} chunks acknowledged, {} refused, {} sessions erased, {} days expired, {} backups, {} sessions read, \
             opened {} times, {} ended in order; \
             acknowledged after the cut and not there: {} of {}",
            self.acknowledged,
            self.refused,
            self.erased,
            self.expired,
            self.backups,
            self.read,
            self.opened,
            self.done,
            self.late[1],
            self.late[0]
        )
    }
}

/// What a backup must hold: chunks by session.
pub type Owed = BTreeMap<Name, u64>;

/// All that was reported of one store.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// The time from which sessions count theirs, Unix milliseconds.
    pub base_ms: u64,
    /// Every session that was ever begun.
    pub sessions: BTreeMap<Name, Known>,
    /// What was to be kept until this day or an earlier one is gone.
    pub expired: u32,
    /// The same, begun and not returned.
    pub expiring: u32,
    /// The last backup that was done, and what was owed when it was begun.
    pub backup: Option<(u64, Owed)>,
    backing_up: Option<Owed>,
    /// Whether the power has been cut: what is told from here on is owed by nobody.
    cut: bool,
    /// Sites whose shard takes no more appends until the store is opened again.
    refusing: BTreeSet<String>,
    /// Errors by what was being done and their kind, with the words of the first.
    pub failures: BTreeMap<(String, String), (u64, String)>,
    /// How much happened.
    pub counts: Counts,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(base_ms: u64) -> Self {
        Self { base_ms, ..Self::default() }
    }

    /// Takes in a line.
    ///
    /// # Errors
    /// What was told must not be.
    pub fn note(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Opened => {
                self.counts.opened += 1;
                self.refusing.clear();
                self.sessions.values_mut().for_each(|known| known.begun_too_late = false);
            }
            Line::Begun(name, seq) => {
                let late = self.refusing.contains(&name.site);
                let known = self.sessions.entry(name).or_default();
                known.begun = known.begun.max(seq + 1);
                known.begun_too_late |= late;
            }
            Line::Acknowledged(name, seq) => {
                self.counts.acknowledged += 1;
                let known = self.sessions.entry(name.clone()).or_default();
                if known.begun_too_late {
                    return Err(format!(
                        "{name} {seq} was acknowledged by a shard whose sync had failed"
                    ));
                }
                if known.state == State::Gone {
                    return Err(format!("{name} {seq} was acknowledged after its erasure"));
                }
                match self.cut {
                    true => known.told_late = known.told_late.max(seq + 1),
                    false => known.owed = known.owed.max(seq + 1),
                }
            }
            Line::Refused(name, _, why) => {
                self.counts.refused += 1;
                if why == "poisoned" {
                    self.refusing.insert(name.site);
                }
                let count = self.failures.entry(("append".to_owned(), why)).or_default();
                count.0 += 1;
            }
            Line::Erasing(name) => self.sessions.entry(name).or_default().state = State::Erasing,
            // In doubt, like everything that is told then.
            Line::Erased(_) | Line::Expired(_) | Line::BackedUp(_) if self.cut => {}
            Line::Erased(name) => {
                self.counts.erased += 1;
                self.sessions.entry(name).or_default().state = State::Gone;
            }
            Line::Expiring(day) => self.expiring = self.expiring.max(day),
            Line::Expired(day) => {
                self.counts.expired += 1;
                self.expired = self.expired.max(day);
            }
            Line::BackingUp => self.backing_up = Some(self.owed()),
            Line::BackedUp(number) => {
                self.counts.backups += 1;
                self.backup = self.backing_up.take().map(|owed| (number, owed));
            }
            Line::Read(_) => self.counts.read += 1,
            Line::Failed(doing, kind, words) => {
                let count = self.failures.entry((doing, kind)).or_insert((0, words));
                count.0 += 1;
            }
            Line::Wrong(what) => return Err(format!("a reader was given something wrong: {what}")),
            Line::Done => self.counts.done += 1,
        }
        Ok(())
    }

    /// The power is being cut.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// The machine has started again, and its store was checked.
    pub fn restarted(&mut self) {
        self.cut = false;
        for known in self.sessions.values_mut().filter(|known| known.told_late > 0) {
            self.counts.late[0] += 1;
            let there = known.state != State::Kept || known.owed >= known.told_late;
            self.counts.late[1] += u64::from(!there);
            known.told_late = 0;
        }
    }

    /// Chunks by session, of those that must be there.
    #[must_use]
    pub fn owed(&self) -> Owed {
        let there = self.sessions.iter().filter(|(_, known)| known.state == State::Kept);
        there.map(|(name, known)| (name.clone(), known.owed)).collect()
    }

    /// Whether the days of a session have passed.
    #[must_use]
    pub fn has_expired(&self, name: &Name) -> bool {
        name.expiry_day(self.base_ms) <= self.expired
    }

    /// Errors of a kind that is none of these, in words.
    #[must_use]
    pub fn unexpected(&self, kinds: &[&str]) -> Vec<String> {
        let other = self.failures.iter().filter(|((_, kind), _)| !kinds.contains(&kind.as_str()));
        other
            .map(|((doing, kind), (n, words))| format!("{n} times {doing}: {kind} {words}"))
            .collect()
    }

    /// Times that an error of this kind was told.
    #[must_use]
    pub fn failures_of(&self, kind: &str) -> u64 {
        self.failures.iter().filter(|((_, k), _)| k == kind).map(|(_, (n, _))| n).sum()
    }

    /// Forgets the backup: its repository is given up.
    pub fn forget_backup(&mut self) {
        (self.backup, self.backing_up) = (None, None);
    }
}
