//! What must be true of a store, kept as plainly as possible: which chunks of which session are acknowledged, and which
//! sessions may, must and must not be readable.
//!
//! The recorder whose view this is sends the chunks of a session in order, and after any error sends once more what was not
//! acknowledged, with the same numbers. So what is readable of a session is a beginning of what was sent, without a gap.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chance::Chance;
use crate::step::{Of, SESSIONS, SITES};

/// Whether a session, or a site, is to be readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    /// Its erasure was begun and not acknowledged.
    Going,
    /// Its last day has passed: it may go at any time.
    Ending,
    Gone,
}

/// Whether a session is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    No,
    Maybe,
    Yes,
}

/// A session.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Every chunk that was ever sent, by number.
    pub(crate) sent: Vec<Arc<[u8]>>,
    /// The number of the next chunk.
    pub(crate) next: usize,
    /// So many are acknowledged as durable.
    pub(crate) kept: usize,
    pub(crate) start_ms: u64,
    pub(crate) fate: Fate,
    pub(crate) held: Held,
    /// Whether it was erased, and not only expired: then its name is refused for ever.
    pub(crate) erased: bool,
}

/// A snapshot of a backup that was acknowledged: how many chunks of each session were acknowledged before it was begun.
#[derive(Debug, Clone)]
pub(crate) struct Snap {
    pub(crate) number: u64,
    pub(crate) kept: BTreeMap<Of, usize>,
}

/// All of a store.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) sessions: BTreeMap<Of, Told>,
    pub(crate) sites: [Fate; SITES.len()],
    pub(crate) snapshots: Vec<Snap>,
    /// A prune was begun: only the newest snapshot is sure to be there.
    pub(crate) pruned: bool,
}

const DAY_MS: u64 = 86_400_000;

/// The first day on which a session is no longer kept, as the format document defines it.
fn expiry_day(of: Of, told: &Told) -> u32 {
    (told.start_ms / DAY_MS) as u32 + SESSIONS[usize::from(of.1)].0 + 1
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            sessions: BTreeMap::new(),
            sites: [Fate::Kept; SITES.len()],
            snapshots: Vec::new(),
            pruned: false,
        }
    }

    /// The next chunk of a session, which begins with it if it is new: its number, its time and its bytes.
    pub(crate) fn send(&mut self, of: Of, bytes: u32, now_ms: u64) -> (usize, u64, Arc<[u8]>) {
        let told = self.sessions.entry(of).or_insert_with(|| Told {
            sent: Vec::new(),
            next: 0,
            kept: 0,
            start_ms: now_ms,
            fate: Fate::Kept,
            held: Held::No,
            erased: false,
        });
        let (seq, ms) = (told.next, told.start_ms + told.next as u64 * 1_000);
        if seq == told.sent.len() {
            told.sent.push(events(of, seq, ms, bytes).into());
        }
        (seq, ms, Arc::clone(&told.sent[seq]))
    }

    /// A chunk was appended.
    pub(crate) fn appended(&mut self, of: Of, seq: usize, durable: bool) {
        let Some(told) = self.sessions.get_mut(&of) else { return };
        told.next = seq + 1;
        if durable {
            // Those before it stand before it in the same journal, or in one that was finished.
            told.kept = told.kept.max(told.next);
        }
    }

    /// Everything that was appended is durable.
    pub(crate) fn synced(&mut self) {
        self.sessions.values_mut().for_each(|told| told.kept = told.next);
    }

    /// Something failed, or the machine died: what was not acknowledged is sent once more.
    pub(crate) fn resend(&mut self) {
        self.sessions.values_mut().for_each(|told| told.next = told.kept);
    }

    /// Sessions with something in them that are not deleted.
    pub(crate) fn is_kept(&self, of: Of) -> bool {
        let kept = |told: &Told| told.fate == Fate::Kept;
        self.sites[usize::from(of.0)] == Fate::Kept && self.sessions.get(&of).is_some_and(kept)
    }

    /// A deletion of these begins.
    pub(crate) fn going(&mut self, whose: impl Fn(Of) -> bool) {
        for (_, told) in self.sessions.iter_mut().filter(|(of, _)| whose(**of)) {
            if told.fate == Fate::Kept {
                told.fate = Fate::Going;
            }
        }
    }

    /// They were erased.
    pub(crate) fn erased(&mut self, whose: impl Fn(Of) -> bool) {
        for (_, told) in self.sessions.iter_mut().filter(|(of, _)| whose(**of)) {
            told.erased |= told.fate != Fate::Gone && told.kept > 0;
            told.fate = Fate::Gone;
            told.held = Held::No;
        }
    }

    /// It is this day: whose retention has ended may be deleted at any time.
    pub(crate) fn day_begins(&mut self, today: u32) {
        for (of, told) in &mut self.sessions {
            let over = expiry_day(*of, told) <= today;
            if over && told.held != Held::Yes && told.fate != Fate::Gone {
                told.fate = Fate::Ending;
            }
        }
    }

    /// Retention was run for this day and acknowledged.
    pub(crate) fn expired(&mut self, today: u32) {
        for (of, told) in &mut self.sessions {
            if expiry_day(*of, told) <= today && told.held == Held::No {
                told.fate = Fate::Gone;
            }
        }
    }

    /// Whether a session takes chunks: it was not deleted, and its last day has not passed.
    pub(crate) fn takes_chunks(&self, of: Of, today: u32) -> bool {
        let Some(told) = self.sessions.get(&of) else { return true };
        told.fate == Fate::Kept && expiry_day(of, told) > today
    }

    /// Whether its retention has ended.
    pub(crate) fn is_over(&self, of: Of, today: u32) -> bool {
        self.sessions.get(&of).is_some_and(|told| expiry_day(of, told) <= today)
    }

    /// What is acknowledged of each session that is kept, for a snapshot.
    pub(crate) fn floor(&self) -> BTreeMap<Of, usize> {
        let kept = self.sessions.iter().filter(|(of, _)| self.is_kept(**of));
        kept.map(|(of, told)| (*of, told.kept)).collect()
    }
}

/// Events of a chunk: they follow from whose they are, and compress badly, so that journals fill and units of one size
/// are many.
fn events(of: Of, seq: usize, ms: u64, bytes: u32) -> Vec<u8> {
    let mut chance =
        Chance::of(u64::from(of.0) << 8 | u64::from(of.1), (seq as u64) << 32 | u64::from(bytes));
    let mut events = Vec::with_capacity(bytes as usize + 160);
    while events.len() < bytes as usize {
        let head = format!("{{\"type\":3,\"timestamp\":{ms},\"data\":{{\"text\":\"");
        events.extend_from_slice(head.as_bytes());
        let wanted = (bytes as usize).saturating_sub(events.len()).clamp(16, 4_000);
        for _ in 0..wanted / 8 {
            let random = chance.next();
            events.extend((0..8).map(|n| b'0' + ((random >> (8 * n)) % 75) as u8).map(|b| {
                // Neither a quotation mark nor a backslash is in that range but the latter.
                if b == b'\\' { b'~' } else { b }
            }));
        }
        events.extend_from_slice(b"\"}}\n");
    }
    events
}
