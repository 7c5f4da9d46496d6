//! A clock that stands still until a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::env::Clock;

/// A clock that a test sets. A clone is the same clock.
#[derive(Debug, Clone)]
pub struct SimClock(Arc<Times>);

#[derive(Debug)]
struct Times {
    now_ms: AtomicU64,
    monotonic_ns: AtomicU64,
}

impl SimClock {
    /// A clock that shows this Unix time in milliseconds.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self(Arc::new(Times { now_ms: now_ms.into(), monotonic_ns: 0.into() }))
    }

    /// Lets time pass, on both clocks.
    pub fn advance_ms(&self, ms: u64) {
        self.0.now_ms.fetch_add(ms, Relaxed);
        self.0.monotonic_ns.fetch_add(ms.saturating_mul(1_000_000), Relaxed);
    }

    /// Sets the Unix time, forward or back, as an operator or a time server does; no time passes.
    pub fn set_ms(&self, now_ms: u64) {
        self.0.now_ms.store(now_ms, Relaxed);
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        self.0.now_ms.load(Relaxed)
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.monotonic_ns.load(Relaxed)
    }
}
