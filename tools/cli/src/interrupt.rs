//! Ctrl-C and the request to terminate.
//!
//! A store survives an end at any point, so most commands end at once. Those that hold something worth finishing take a
//! [`Guard`], look at [`check`] between two steps, and end by themselves; a second Ctrl-C ends them at once too.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use crate::exit::{Exit, Failure, Run};
use crate::output;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static GUARDS: AtomicUsize = AtomicUsize::new(0);

/// While it lives, the first interrupt is only noted.
pub(crate) struct Guard(());

impl Guard {
    pub(crate) fn new() -> Self {
        GUARDS.fetch_add(1, SeqCst);
        Self(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        GUARDS.fetch_sub(1, SeqCst);
    }
}

/// Begins to listen.
pub(crate) fn install() -> Run<()> {
    let handler = || {
        if INTERRUPTED.swap(true, SeqCst) || GUARDS.load(SeqCst) == 0 {
            output::note("interrupted");
            std::process::exit(Exit::Interrupted as i32);
        }
        output::note("stopping; once more to stop at once");
    };
    ctrlc::set_handler(handler)
        .map_err(|e| Failure::new(Exit::Failed, format!("listening for signals: {e}"), ""))
}

/// Whether to stop.
pub(crate) fn is_set() -> bool {
    INTERRUPTED.load(SeqCst)
}

/// An error if it is time to stop.
pub(crate) fn check() -> Run<()> {
    if is_set() { Err(Failure::Interrupted) } else { Ok(()) }
}
