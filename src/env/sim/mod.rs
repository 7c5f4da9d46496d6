//! A simulated world: disk, clock and randomness that a test controls and that repeat by seed.
//!
//! # What the disk promises, and what it does not
//!
//! | done by the program | durable | until then a power cut |
//! |---|---|---|
//! | bytes written | at the file's next sync | keeps or loses each unit of 512 bytes for itself, in any order |
//! | length grown or cut | at the file's next sync | keeps the lengths up to any point; grown without its data, it reads zeros or what removed files left there |
//! | name made, renamed or removed, directory made | at the next sync of the directory it is in | keeps or loses each whole; with the earlier ones of its directory, or of its name alone |
//!
//! A sync of a file says nothing of its name, and a sync of a directory nothing of the directory's own name.
//! A unit is never mixed of two versions. What is durable stays: this disk does not lie about
//! flushing and does not rot by itself. A failed sync loses the data, reads go on to show it, and later
//! syncs succeed without it, as on Linux.
//!
//! # Enumerating crashes
//!
//! ```
//! use reelvault::env::{Disk, Mode};
//! use reelvault::env::sim::{SimDisk, Survival};
//! use std::path::Path;
//!
//! fn workload(disk: &SimDisk) -> std::io::Result<()> {
//!     let file = disk.open(Path::new("/log"), Mode::Create)?;
//!     disk.sync_dir(Path::new("/"))?;
//!     file.write_at(b"acknowledged once this returns", 0)?;
//!     file.sync()
//! }
//!
//! let mut images = 0;
//! for crash_at in 0.. {
//!     let disk = SimDisk::new();
//!     disk.crash_at(crash_at);
//!     let acknowledged = workload(&disk).is_ok();
//!     for seed in 0..20 {
//!         let image = disk.crash_image(Survival::Random(seed));
//!         // Open the store on `image` here, and check what must hold.
//!         let bytes = image.file_bytes("/log").unwrap_or_default();
//!         assert!(!acknowledged || bytes == b"acknowledged once this returns");
//!         images += 1;
//!     }
//!     if !disk.crashed() {
//!         break;
//!     }
//! }
//! assert_eq!(images, 100);
//! ```

mod clock;
mod content;
mod control;
mod disk;
mod inode;
mod names;
mod random;
mod schedule;
mod survival;

#[cfg(test)]
mod tests;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use random::{SimRandom, SplitMix};
pub use schedule::{Fault, Kind, Operation, ReadFault, When};
pub use survival::Survival;

use super::Env;

/// Where the clock of [`env()`] starts: 2026-01-01 00:00 UTC.
pub const START_MS: u64 = 1_767_225_600_000;

/// A world with an empty disk, and the handles to control it.
#[must_use]
pub fn env(seed: u64) -> (Env, SimDisk, SimClock) {
    let (disk, clock) = (SimDisk::new(), SimClock::new(START_MS));
    (disk.env(&clock, seed), disk, clock)
}
