//! What goes on over a connection, request by request: whether it is used, and whether its client takes what it asked for.
//!
//! Bytes alone do not tell that over HTTP/2: a client can answer pings for ever and give no window to any answer, and nothing is
//! written that could wait for it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::watched::Pace;

/// Bytes that pings and settings make while nothing is asked. Who is sent more is still being sent an answer.
const IDLE_BYTES_MAX: u64 = 1 << 10;

/// Why a connection should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nobody asks for anything.
    Idle,
    /// The client does not take what it asked for.
    Stalled,
}

/// What goes on over one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    pace: Pace,
    /// Bytes written to the client.
    written: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The requests that are not yet answered whole; of those whose client must take something, until when.
    open: HashMap<u64, Option<Instant>>,
    next: u64,
    /// Since when no request is open, and what was written until then.
    idle_since: Instant,
    written_then: u64,
}

/// A request, from its begin until its answer was handed to the connection.
#[derive(Debug)]
pub(crate) struct Asked {
    of: Arc<Activity>,
    id: u64,
    /// Whether pieces wait for the client one request at a time; otherwise the connection itself waits, which is seen there.
    multiplexed: bool,
    /// Bytes of the last piece.
    piece: u64,
}

impl Activity {
    pub(crate) fn new(pace: Pace) -> Arc<Self> {
        let state =
            State { open: HashMap::new(), next: 0, idle_since: Instant::now(), written_then: 0 };
        Arc::new(Self { pace, written: AtomicU64::new(0), state: Mutex::new(state) })
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    pub(crate) fn wrote(&self, bytes: u64) {
        self.written.fetch_add(bytes, Relaxed);
    }

    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>, multiplexed: bool) -> Asked {
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        state.open.insert(id, None);
        Asked { of: Arc::clone(self), id, multiplexed, piece: 0 }
    }

    /// Sets the clock of an unused connection anew.
    pub(crate) fn rest(&self) {
        let mut state = self.state.lock();
        (state.idle_since, state.written_then) = (Instant::now(), self.written.load(Relaxed));
    }

    /// Waits until the connection should end.
    pub(crate) async fn over(&self) -> Over {
        loop {
            match self.look() {
                ControlFlow::Break(over) => return over,
                ControlFlow::Continue(at) => tokio::time::sleep_until(at).await,
            }
        }
    }

    /// Why the connection should end, or when to look again.
    fn look(&self) -> ControlFlow<Over, Instant> {
        let now = Instant::now();
        // What begins after this look cannot be over before the shorter of the two times.
        let soon = now + self.pace.stall.min(self.pace.idle);
        let mut state = self.state.lock();
        if !state.open.is_empty() {
            return match state.open.values().flatten().min() {
                Some(until) if *until <= now => ControlFlow::Break(Over::Stalled),
                Some(until) => ControlFlow::Continue(soon.min(*until)),
                None => ControlFlow::Continue(soon),
            };
        }
        let end = state.idle_since + self.pace.idle;
        if now < end {
            return ControlFlow::Continue(soon.min(end));
        }
        // A slow client may still be taking what was handed over whole.
        let written = self.written.load(Relaxed);
        let share = u64::from(self.pace.bytes_per_second_min) * self.pace.idle.as_secs();
        if written - state.written_then < share.max(IDLE_BYTES_MAX) {
            return ControlFlow::Break(Over::Idle);
        }
        (state.idle_since, state.written_then) = (now, written);
        ControlFlow::Continue(soon)
    }
}

impl Asked {
    /// A piece was made: the client has its time to take the one before, which it must before this one can leave.
    pub(crate) fn gave(&mut self, bytes: usize) {
        if self.multiplexed {
            let pace = self.of.pace;
            let taking = self.piece.checked_div(pace.bytes_per_second_min.into()).unwrap_or(0);
            let until = Instant::now() + pace.stall + Duration::from_secs(taking);
            self.set(Some(until));
        }
        self.piece = bytes as u64;
    }

    /// All that was made has left: what comes next waits for the service.
    pub(crate) fn waits(&self) {
        if self.multiplexed {
            self.set(None);
        }
    }

    fn set(&self, until: Option<Instant>) {
        self.of.state.lock().open.insert(self.id, until);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut state = self.of.state.lock();
        state.open.remove(&self.id);
        if state.open.is_empty() {
            let written = self.of.written.load(Relaxed);
            (state.idle_since, state.written_then) = (Instant::now(), written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity() -> Arc<Activity> {
        let ms = Duration::from_millis;
        Activity::new(Pace { idle: ms(80), stall: ms(40), bytes_per_second_min: 1_000 })
    }

    /// Why it is over; a test that waits for nothing ends, too.
    async fn over(activity: &Activity) -> Over {
        tokio::time::timeout(Duration::from_secs(20), activity.over()).await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_on_which_only_pings_go_is_idle() {
        let activity = activity();
        drop(activity.begin(true));
        activity.wrote(IDLE_BYTES_MAX - 1);
        assert_eq!(over(&activity).await, Over::Idle);
        activity.rest();
        assert_eq!(over(&activity).await, Over::Idle);
    }

    #[tokio::test]
    async fn one_answer_that_is_not_taken_ends_the_connection_whatever_the_others_do() {
        let activity = activity();
        let mut waiting = activity.begin(true);
        waiting.gave(10);
        let (mut other, _at_work) = (activity.begin(true), activity.begin(true));
        let busy = async {
            loop {
                other.gave(1);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            over = over(&activity) => assert_eq!(over, Over::Stalled),
            () = busy => {}
        }
    }

    #[test]
    fn what_is_used_is_not_over() {
        let activity = activity();
        let later = |until: ControlFlow<Over, Instant>| until.continue_value().unwrap();
        // One that waits for the service, one that HTTP/1.1 watches, and one that takes a large piece at the least pace.
        let (mut ours, mut plain) = (activity.begin(true), activity.begin(false));
        ours.gave(10);
        ours.waits();
        plain.gave(10);
        assert_eq!(activity.state.lock().open.values().flatten().count(), 0);
        ours.gave(3_000);
        ours.gave(3_000);
        let until = *activity.state.lock().open.values().flatten().min().unwrap();
        assert!(until > Instant::now() + Duration::from_secs(2), "three seconds for the first");
        assert!(later(activity.look()) <= Instant::now() + activity.pace.stall);
        // Nothing is open, but what was handed over is still on its way.
        drop((ours, plain));
        activity.wrote(IDLE_BYTES_MAX);
        activity.state.lock().idle_since -= activity.pace.idle;
        later(activity.look());
        activity.state.lock().idle_since -= activity.pace.idle;
        assert_eq!(activity.look(), ControlFlow::Break(Over::Idle));
    }
}
