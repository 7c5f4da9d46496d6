//! `kill -9` while several threads append, erase, let days pass, archive and back up: at random moments, and at chosen system calls.
//!
//! The system's cache outlives a process, so this shows that every order of calls can be cut anywhere, not that what was synced is on a
//! disk: the power cuts show that.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::time::Duration;

use common::writer::{How, Writer};
use common::{Campaign, Folder, rounds};

#[test]
#[ignore = "slow: a third of a minute"]
fn at_random_moments() {
    let folder = Folder::new();
    let mut campaign = Campaign::new(folder.dir("home"), folder.path());
    let rounds = rounds(40);
    while campaign.round < rounds {
        let mut writer = Writer::start(&mut campaign, &How::default());
        // One in eight is killed while it opens the store, or makes it.
        match campaign.random.below(8) {
            0 if campaign.round > 0 => std::thread::sleep(campaign.a_while(0, 30)),
            _ => {
                assert!(writer.wait_for_chunks(1), "round {}: no chunk", campaign.round);
                std::thread::sleep(campaign.a_while(0, 400));
            }
        }
        let ended = writer.kill();
        assert!(!ended.by_itself, "it ended before it was killed: {}", ended.status);
        campaign.check();
        campaign.next();
    }
    campaign.summary("killed at random");
    let ledger = campaign.ledger.lock().unwrap();
    assert!(ledger.unexpected(&["expired"]).is_empty(), "{:?}", ledger.unexpected(&["expired"]));
    assert!(ledger.counts.acknowledged > rounds * 20, "{}", ledger.counts);
}

/// Calls by which files change, and the number of each at which a thread of the writer dies: before that call is done.
const CALLS: [&str; 8] =
    ["fdatasync", "fsync", "pwrite64", "rename", "renameat2", "unlink", "ftruncate", "openat"];

#[test]
#[ignore = "needs strace"]
fn at_chosen_system_calls() {
    let folder = Folder::new();
    let mut campaign = Campaign::new(folder.dir("home"), folder.path());
    campaign.make();
    let (mut reached, mut points) = (0, Vec::new());
    let counts: &[u64] = match rounds(0) {
        0 => &[1, 4, 19],
        _ => &[1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 25, 30, 40, 60, 90, 130, 200],
    };
    for call in CALLS {
        for count in counts {
            let inject = format!("{call}:signal=KILL:when={count}");
            let how = How { settings: Vec::new(), inject: Some(&inject) };
            let ended = Writer::start(&mut campaign, &how).wait(Duration::from_millis(2500));
            if ended.was_killed_at_the_call() {
                reached += 1;
            } else {
                points.push(format!("{call} {count}"));
            }
            campaign.check();
            campaign.next();
        }
    }
    campaign.summary("killed at chosen calls");
    println!("{reached} killed at the call; not reached in time: {}", points.join(", "));
    assert!(reached * 2 > campaign.round, "{reached} of {}", campaign.round);
}
