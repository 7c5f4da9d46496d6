//! `crossbeam::channel`, as far as the engine uses it, with time that the scheduler passes.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use crossbeam::channel::{RecvTimeoutError, TrySendError};
use shuttle::rand::{Rng, thread_rng};

use super::{Condvar, Mutex, MutexGuard, thread};

/// How often one receiver's time may run out in one run. Then it waits until it is woken: no work may depend on a tick
/// alone, so a thread that waits for one is told as a deadlock, and a run comes to an end.
const TICKS_MAX: u32 = 3;
/// How many steps a time-out takes at most.
const PATIENCE_MAX: u32 = 24;

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    queue: VecDeque<T>,
    room: usize,
    senders: usize,
    receives: bool,
}

pub(crate) struct Sender<T>(Arc<Shared<T>>);

pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    ticks: Cell<u32>,
}

/// A channel for `room` values. One for none is only ever closed.
pub(crate) fn bounded<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), room, senders: 1, receives: true };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
    let ticks = Cell::new(thread_rng().gen_range(0..=TICKS_MAX));
    (Sender(Arc::clone(&shared)), Receiver { shared, ticks })
}

impl<T> Sender<T> {
    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.state.lock();
        if !state.receives {
            return Err(TrySendError::Disconnected(value));
        }
        if state.queue.len() >= state.room {
            return Err(TrySendError::Full(value));
        }
        state.queue.push_back(value);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Receiver<T> {
    /// Whether the time runs out, and after how many steps of others, is the scheduler's choice.
    pub(crate) fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
        let times_out = self.ticks.get() > 0 && thread_rng().gen_bool(0.5);
        let mut patience = times_out.then(|| thread_rng().gen_range(0..PATIENCE_MAX));
        let mut state = self.shared.state.lock();
        loop {
            if let Some(value) = state.queue.pop_front() {
                return Ok(value);
            }
            if state.senders == 0 {
                return Err(RecvTimeoutError::Disconnected);
            }
            match &mut patience {
                None => self.shared.changed.wait(&mut state),
                Some(0) => {
                    self.ticks.set(self.ticks.get() - 1);
                    return Err(RecvTimeoutError::Timeout);
                }
                Some(left) => {
                    *left -= 1;
                    MutexGuard::unlocked(&mut state, thread::yield_now);
                }
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.state.lock().receives = false;
    }
}
