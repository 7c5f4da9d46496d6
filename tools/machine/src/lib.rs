//! The engine on a real operating system: killed, cut off from power, on devices that fail, disks that are full, without files, with
//! little memory.
//!
//! The simulated disk (feature `sim` of the engine) stops at *every* operation and knows every order in which a disk may forget. What it
//! believes about Linux and its file systems is tested here, with the real thing.
//!
//! # How
//!
//! `machine-writer` opens a store and works on it with several threads: it appends (each chunk durable at once, or many with one sync),
//! reads back, erases, lets days pass, makes backups; journals are small, so that they are rotated, archived and recycled many times a second.
//! It [reports](report) what it begins and what was acknowledged, through a pipe: what is in the pipe survives the writer. The test keeps a
//! [ledger] of it and [checks](check) the store afterwards:
//!
//! * every acknowledged chunk of a session that was not deleted is there, byte for byte; each session is a prefix without a gap, and holds
//!   nothing that was not sent;
//! * what was seen once after an opening is there for ever after: no later crash takes back what a reader saw;
//! * an erased session cannot be read, is not listed, and takes no more; an erasure or a day that was under way is done or not done, whole;
//! * `verify` finds nothing; the last backup that was done restores with all that it owed.
//!
//! The next round goes on with the same store, so that damage would add up.
//!
//! # What each fault promises
//!
//! | test | the fault | what it does not show |
//! |---|---|---|
//! | `kill_9_takes_nothing_acknowledged` | `kill -9` at random, and by strace before the nth call of a kind in a thread | loss from the system's cache: it survives a kill |
//! | `a_power_cut_of_a_real_file_system_…` | ext4 and XFS are shut down by their own ioctl, with or without their journal flushed, unmounted, mended and mounted again: what they had not written is gone | a device that loses its own cache, or writes half a sector |
//! | `a_call_that_fails_is_told_and_loses_nothing` | strace makes calls fail: EIO and ENOSPC of syncs, writes, reads, renames | a sync that fails so leaves its pages to be written later; a real one forgets them, see the next |
//! | `block_errors_under_a_file_system_…` | a device without room for new blocks; blocks that cannot be read, or read as zeros | which blocks those are is up to chance |
//! | `a_full_tmpfs_…` | a small tmpfs, full and then not | quotas |
//! | `without_file_descriptors_…` | a low limit from the start; no new file for a while | |
//! | `under_a_memory_limit_it_works` | a limit of data in bytes; below it, allocations fail and the process aborts | the killer of the system, which is a kill |
//!
//! A power cut also ends the process, and whoever it told something a moment later was told nothing. Here the process lives on for a little; what it
//! tells after the cut began is not owed, but counted: a sync that is under way when ext4 is shut down may return as if it had been done (seen with
//! Linux 6.18; the transaction it waits for is dropped meanwhile).
//!
//! In the tests of block errors nothing that was *acknowledged* is lost, for a block that could not be written was never acknowledged. Of a
//! block that was lost later, the engine tells; it cannot bring it back.
//!
//! # How long
//!
//! The rounds are few, for `tools/test`. `MACHINE_ROUNDS=500 cargo nextest run -p reelvault-machine --run-ignored all` is a campaign;
//! `MACHINE_SEED` repeats the choices of a test, but not its moments; `MACHINE_KEEP` is a folder into which a store is copied that does not hold what it
//! owes.
//! Tests that need root or a tool are marked as ignored, with what they need; `tools/test` runs them where that is there, and names them where
//! it is not. Mounts lie in the temporary folder under `reelvault-machine-<process>`; what a killed test left is unmounted by the next one.

pub mod check;
pub mod content;
pub mod home;
pub mod ledger;
pub mod limit;
pub mod report;
pub mod writer;
