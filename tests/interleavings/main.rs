//! The engine itself under a seeded scheduler, on the simulated disk: which thread goes on is drawn at every lock,
//! atomic, channel and operation of the disk. `tools/interleavings` builds and runs this; each model says what it holds.
//!
//! A failure prints its seed and the command that runs that one schedule again.
#![cfg(reelvault_shuttle)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

#[path = "../common/mod.rs"]
mod common;

mod backing_up;
mod closing;
mod erasing;
mod explore;
mod group_commit;
mod pinning;
mod publishing;
mod refreshing;
mod scene;
