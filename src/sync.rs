//! What threads share, taken from one place: locks, atomics, threads and channels.
//!
//! In production these are the primitives themselves. Under `--cfg reelvault_shuttle` the same names stand for those of
//! `shuttle`: every thread is then a step machine, and one seeded scheduler says which goes on, at each lock, atomic,
//! channel and operation of the simulated disk. `tools/interleavings` runs the engine so.
//!
//! What is not here, and why:
//!
//! * `Arc` and `Weak` are std's: they order nothing that a lock does not order already.
//! * Atomics are shuttle's, flags and counters too: a flag that is looked at between two locks must be able to change there.
//!   Shuttle runs them as `SeqCst`, so a wrong `Relaxed` is not found; that is what `ThreadSanitizer` looks for. The counts of
//!   `env::count` stay std's: nothing is decided by them.
//! * A `OnceLock` of something pure (`crypto`, `Site::derived`) stays std's: nobody can see who has made it.
//! * The pool of `zst`, the simulated disk, clock and randomness keep locks of the real kind, which outlive one run of the
//!   scheduler. None of them is held where it may switch: the disk calls [`point`] before it takes its own.

#[cfg(not(reelvault_shuttle))]
mod real {
    pub(crate) use std::sync::{OnceLock, atomic};
    pub(crate) use std::thread;

    pub(crate) use crossbeam::channel;
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

    /// Begins a thread of a scope; unlike `Scope::spawn` it answers an error where the system has none to give.
    pub(crate) fn spawn_scoped<'scope, T: Send + 'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> std::io::Result<thread::ScopedJoinHandle<'scope, T>> {
        thread::Builder::new().spawn_scoped(scope, work)
    }

    /// Where a scheduler may switch; there is none.
    #[cfg(feature = "sim")]
    #[inline]
    pub(crate) fn point() {}
}

#[cfg(not(reelvault_shuttle))]
pub(crate) use real::*;

#[cfg(reelvault_shuttle)]
mod scheduled;

#[cfg(reelvault_shuttle)]
pub(crate) use scheduled::*;
