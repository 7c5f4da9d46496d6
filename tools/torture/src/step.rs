//! What can be done to a store: the alphabet of all workloads.

use crate::chance::Chance;

/// Sites by number; the last one is there to be erased.
pub(crate) const SITES: [&str; 3] = ["shop.example", "help.example", "gone.example"];
/// Sessions of each site, by number: retention class in days and visitor.
pub(crate) const SESSIONS: [(u32, &str); 6] =
    [(30, "anna"), (90, "anna"), (90, "bert"), (2, "anna"), (2, "anna"), (30, "bert")];

/// A session by the numbers of its site and of its own.
pub(crate) type Of = (u8, u8);

/// One call, or what happens between calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Append {
        of: Of,
        bytes: u32,
        deferred: bool,
    },
    /// A chunk that was acknowledged comes once more.
    Again(Of),
    Sync,
    Maintain,
    Archive,
    Erase(Of),
    EraseVisitor(u8, &'static str),
    EraseSite(u8),
    Hold(Of),
    Release(Of),
    /// Time passes, and then retention is run by hand.
    Expire {
        hours: u64,
    },
    /// Time passes.
    Pass {
        hours: u64,
    },
    Rotate,
    Reclaim,
    Backup,
    Prune,
    Reopen,
    /// Everything is read.
    Look,
}

const SMALL: u32 = 300;
/// Three of them fill a journal.
const LARGE: u32 = 24_000;

/// The calls of which all short workloads are made, by the names under which they are told.
pub(crate) const CALLS: [(&str, Step); 16] = [
    ("append", Step::Append { of: (0, 0), bytes: SMALL, deferred: false }),
    ("append-archived", Step::Append { of: (0, 1), bytes: SMALL, deferred: false }),
    ("append-large", Step::Append { of: (0, 5), bytes: LARGE, deferred: false }),
    ("append-deferred", Step::Append { of: (0, 0), bytes: SMALL, deferred: true }),
    ("sync", Step::Sync),
    ("maintain", Step::Maintain),
    ("archive", Step::Archive),
    ("erase", Step::Erase((0, 0))),
    ("erase-visitor", Step::EraseVisitor(0, "bert")),
    ("erase-site", Step::EraseSite(2)),
    ("hold", Step::Hold((0, 4))),
    ("release", Step::Release((1, 4))),
    ("expire", Step::Expire { hours: 72 }),
    ("rotate", Step::Rotate),
    ("backup", Step::Backup),
    ("reopen", Step::Reopen),
];

/// A step of a long workload.
pub(crate) fn any(chance: &mut Chance) -> Step {
    let of = (chance.below(2) as u8, chance.below(SESSIONS.len() as u64) as u8);
    match chance.below(64) {
        27 => Step::Again(of),
        0..27 => {
            let bytes = match chance.below(8) {
                0..5 => SMALL + chance.below(2_000) as u32,
                5 | 6 => 9_000,
                _ => LARGE,
            };
            Step::Append { of, bytes, deferred: chance.one_in(4) }
        }
        28 | 29 => Step::Append { of: (2, of.1), bytes: SMALL, deferred: false },
        30..33 => Step::Sync,
        33..38 => Step::Maintain,
        38..42 => Step::Archive,
        42 | 43 => Step::Erase(of),
        44 => Step::EraseVisitor(of.0, chance.one(&["anna", "bert"])),
        45 if chance.one_in(4) => Step::EraseSite(2),
        45..48 => Step::Hold(of),
        48 => Step::Release(of),
        49 => Step::Expire { hours: chance.below(40) },
        50 | 51 => Step::Pass { hours: chance.below(30) },
        52 => Step::Rotate,
        53 => Step::Reclaim,
        54..57 => Step::Backup,
        57 => Step::Prune,
        58..61 => Step::Reopen,
        _ => Step::Look,
    }
}
