//! Deletion that reaches every copy: retention, erasure, holds, and what is written down of them.
#![doc = include_str!("DELETION.md")]

pub(crate) mod clock;
pub(crate) mod log;
pub(crate) mod record;

pub use clock::{CLOCK_OFFLINE_MAX_MS, CLOCK_STEP_MAX_MS, ClockDoubt};
pub use record::{Certificate, Deed, Receipt, Statement};
