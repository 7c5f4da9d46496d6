//! Which day it is, for deletion: a clock that jumps must not delete early.
//!
//! Deletion cannot be taken back, and the clock of a machine can be wrong: set by hand, by a time server
//! gone mad, or by a battery that is empty. So the clock is believed only as far as it agrees with what was seen before:
//! while the store is open it may run ahead of the monotonic clock by no more than [`CLOCK_STEP_MAX_MS`], and
//! between two openings it may go on by no more than [`CLOCK_OFFLINE_MAX_MS`]. A clock that is further ahead is *doubted*: time goes on
//! from what was seen last, by the monotonic clock, and whoever runs the store is asked. A clock that goes back is
//! believed at once: it can only delete late.

use crate::env::Clock;
use crate::sync::Mutex;

/// How far the clock may step ahead while the store is open: more than any correction of a running time service.
pub const CLOCK_STEP_MAX_MS: u64 = 3_600_000;
/// How long a store may lie closed before its clock is doubted: a long weekend. A longer rest is confirmed by hand.
pub const CLOCK_OFFLINE_MAX_MS: u64 = 4 * 24 * 3_600_000;

/// The share of the time that passes by which small steps ahead are forgotten: a clock that runs fast by one part in this
/// many is far worse than any quartz.
const CREEP_FORGIVEN: u64 = 100;

/// A clock that is further ahead than what was seen of it explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockDoubt {
    /// What the clock says, Unix milliseconds.
    pub clock_ms: u64,
    /// What it should say at most, Unix milliseconds.
    pub expected_ms: u64,
}

/// What was seen of the clock.
pub(crate) struct Watch(Mutex<Seen>);

#[derive(Clone, Copy)]
struct Seen {
    /// The latest time that was believed, Unix milliseconds, and the monotonic clock then.
    at_ms: u64,
    at_ns: u64,
    /// How far the next look may find the clock ahead.
    step_max_ms: u64,
    /// How far it was found ahead lately, in small steps that add up.
    crept_ms: u64,
}

impl Watch {
    /// Goes on from the time that was believed last in an earlier process.
    pub(crate) fn new(seen_ms: u64, clock: &dyn Clock) -> Self {
        let at_ns = clock.monotonic_ns();
        let step_max_ms = CLOCK_OFFLINE_MAX_MS;
        Self(Mutex::new(Seen { at_ms: seen_ms, at_ns, step_max_ms, crept_ms: 0 }))
    }

    /// The time to delete by, Unix milliseconds, and the doubt if the clock says something later.
    pub(crate) fn now(&self, clock: &dyn Clock) -> (u64, Option<ClockDoubt>) {
        let mut seen = self.0.lock();
        let (clock_ms, ns) = (clock.now_ms(), clock.monotonic_ns());
        let elapsed_ms = ns.saturating_sub(seen.at_ns) / 1_000_000;
        let expected_ms = seen.at_ms.saturating_add(elapsed_ms);
        let ahead_ms = clock_ms.saturating_sub(expected_ms);
        let crept_ms = seen.crept_ms.saturating_sub(elapsed_ms / CREEP_FORGIVEN);
        if ahead_ms.saturating_add(crept_ms) > seen.step_max_ms {
            return (expected_ms, Some(ClockDoubt { clock_ms, expected_ms }));
        }
        let first = seen.step_max_ms > CLOCK_STEP_MAX_MS;
        seen.step_max_ms = CLOCK_STEP_MAX_MS;
        if clock_ms >= expected_ms {
            // What the clock was ahead at the opening is time in which the store lay closed.
            let crept_ms = if first { 0 } else { crept_ms + ahead_ms };
            *seen = Seen { at_ms: clock_ms, at_ns: ns, crept_ms, ..*seen };
        }
        (clock_ms, None)
    }

    /// Believes the clock as it is now: somebody has looked.
    pub(crate) fn believe(&self, clock: &dyn Clock) {
        let (at_ms, at_ns) = (clock.now_ms(), clock.monotonic_ns());
        *self.0.lock() = Seen { at_ms, at_ns, step_max_ms: CLOCK_STEP_MAX_MS, crept_ms: 0 };
    }

    /// The latest time that was believed, to be remembered for the next process.
    pub(crate) fn seen_ms(&self) -> u64 {
        self.0.lock().at_ms
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;
    use crate::limits::DAY_MS;

    const START: u64 = 1_800_000_000_000;

    #[derive(Default)]
    struct Hands {
        wall_ms: AtomicU64,
        mono_ms: AtomicU64,
    }

    impl Clock for Hands {
        fn now_ms(&self) -> u64 {
            self.wall_ms.load(Relaxed)
        }
        fn monotonic_ns(&self) -> u64 {
            self.mono_ms.load(Relaxed) * 1_000_000
        }
    }

    impl Hands {
        fn at(wall_ms: u64) -> Self {
            Self { wall_ms: wall_ms.into(), mono_ms: 0.into() }
        }
        fn pass(&self, ms: u64) {
            self.wall_ms.fetch_add(ms, Relaxed);
            self.mono_ms.fetch_add(ms, Relaxed);
        }
    }

    #[test]
    fn time_that_passes_is_believed() {
        let hands = Hands::at(START);
        let watch = Watch::new(START - DAY_MS, &hands);
        for _ in 0..100 {
            hands.pass(DAY_MS);
            assert_eq!(watch.now(&hands), (hands.now_ms(), None));
        }
        assert_eq!(watch.seen_ms(), hands.now_ms());
    }

    #[test]
    fn a_jump_ahead_is_doubted_until_it_is_confirmed_or_gone() {
        let hands = Hands::at(START);
        let watch = Watch::new(START, &hands);
        assert_eq!(watch.now(&hands), (START, None));
        hands.wall_ms.fetch_add(3650 * DAY_MS, Relaxed);
        hands.pass(5_000);
        for _ in 0..3 {
            let (now, doubt) = watch.now(&hands);
            assert_eq!(now, START + 5_000, "asking again does not wear the doubt out");
            assert_eq!(doubt.map(|d| d.clock_ms), Some(hands.now_ms()));
        }
        hands.wall_ms.fetch_sub(3650 * DAY_MS, Relaxed);
        assert_eq!(watch.now(&hands), (START + 5_000, None));
        hands.wall_ms.fetch_add(30 * DAY_MS, Relaxed);
        assert!(watch.now(&hands).1.is_some());
        watch.believe(&hands);
        assert_eq!(watch.now(&hands), (hands.now_ms(), None));
    }

    #[test]
    fn steps_that_are_small_by_themselves_add_up() {
        let hands = Hands::at(START);
        let watch = Watch::new(START, &hands);
        watch.now(&hands);
        let doubted = (0..100).any(|_| {
            hands.wall_ms.fetch_add(CLOCK_STEP_MAX_MS / 4, Relaxed);
            hands.pass(1_000);
            watch.now(&hands).1.is_some()
        });
        assert!(doubted);
        assert!(watch.seen_ms() < START + 2 * CLOCK_STEP_MAX_MS);
    }

    #[test]
    fn a_clock_that_was_behind_when_the_store_was_opened_may_not_jump_days_later() {
        let hands = Hands::at(START - CLOCK_STEP_MAX_MS);
        let watch = Watch::new(START, &hands);
        assert_eq!(watch.now(&hands).1, None);
        hands.wall_ms.fetch_add(CLOCK_OFFLINE_MAX_MS, Relaxed);
        assert!(watch.now(&hands).1.is_some());
    }

    #[test]
    fn a_step_back_is_believed_and_the_way_forward_again_too() {
        let hands = Hands::at(START);
        let watch = Watch::new(START, &hands);
        watch.now(&hands);
        hands.wall_ms.fetch_sub(DAY_MS, Relaxed);
        assert_eq!(watch.now(&hands), (START - DAY_MS, None));
        hands.wall_ms.fetch_add(DAY_MS, Relaxed);
        hands.pass(1_000);
        assert_eq!(watch.now(&hands), (START + 1_000, None));
    }

    #[test]
    fn a_store_that_lay_closed_is_believed_for_a_long_weekend() {
        let hands = Hands::at(START);
        assert_eq!(Watch::new(START - CLOCK_OFFLINE_MAX_MS, &hands).now(&hands), (START, None));
        let watch = Watch::new(START - CLOCK_OFFLINE_MAX_MS - 1, &hands);
        let (now, doubt) = watch.now(&hands);
        assert_eq!(now, START - CLOCK_OFFLINE_MAX_MS - 1);
        assert!(doubt.is_some());
    }
}
