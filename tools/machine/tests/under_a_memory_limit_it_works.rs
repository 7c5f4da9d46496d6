//! A limit of the memory for data: with as much as is stated here everything works; with less, the process ends at some allocation, which is
//! like a kill, and nothing acknowledged is lost.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::time::Duration;

use common::writer::{How, Writer};
use common::{Campaign, Folder, rounds};

/// What everything works with: three threads that append, one that makes backups, the two of the store, its cache of indexes of 16 MiB, and
/// the archiver's blocks and compressor. 48 MiB were measured to be enough on two processors, 40 MiB not; twice that leaves room for what an
/// allocator does elsewhere. A stack is 2 MiB of it for each thread, used or not.
const ENOUGH_BYTES: u64 = 96 << 20;
/// With less than this it is not expected to come to its end.
const TOO_LITTLE_BYTES: u64 = 44 << 20;

#[test]
fn with_enough_everything_and_with_less_nothing_acknowledged_is_lost() {
    let folder = Folder::new();
    let mut campaign = Campaign::new(folder.dir("home"), folder.path());
    campaign.make();
    let (mut ended_early, mut worked) = (0, 0);
    for n in 0..rounds(12) {
        let enough = n % 4 == 0;
        let bytes = match enough {
            true => ENOUGH_BYTES,
            false => TOO_LITTLE_BYTES - campaign.random.below(36) * (1 << 20),
        };
        let how = How::with(&["chunks=1500", &format!("memory={bytes}")]);
        let ended = Writer::start(&mut campaign, &how).wait(Duration::from_secs(20));
        assert!(ended.by_itself, "with {bytes} bytes it hangs");
        println!("{} MiB: {}", bytes >> 20, ended.status);
        match ended.in_order() {
            true => worked += 1,
            false => ended_early += 1,
        }
        assert!(!enough || ended.in_order(), "with {bytes} bytes: {}", ended.status);
        campaign.check();
        campaign.next();
    }
    campaign.summary("limited memory");
    println!("worked {worked} times, ended early {ended_early} times");
    assert!(ended_early > 0, "the limit is none");
}
