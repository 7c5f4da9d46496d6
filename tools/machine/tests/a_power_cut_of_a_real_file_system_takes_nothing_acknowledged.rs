//! The power is cut under ext4 and XFS: the file system is shut down by its own ioctl while the store is written, and what it had not written
//! to its device is gone. Then it is mended and mounted as at the start of a machine, and the store goes on with what is there.
//!
//! Whatever a reader saw counts like what was acknowledged: in some rounds the writer is killed first and its store is looked at, or
//! opened for writing, before the cut.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::time::Duration;

use common::mount::{Kind, Machine, Mount};
use common::writer::{How, Writer};
use common::{Campaign, Folder, rounds};

/// Images lie in memory: what a device keeps when its own power fails is not what is tested here.
const MEMORY_BYTES: u64 = 600 << 20;

/// Cuts the power again and again.
fn cut_again_and_again(kind: Kind, options: &'static str, rounds: u64) {
    let folder = Folder::new();
    let memory = Mount::tmpfs(folder.dir("memory"), MEMORY_BYTES);
    let mut machine = Machine::new(kind, options, memory.at(), folder.dir("mounted"));
    let mut campaign = Campaign::new(machine.at.join("home"), memory.at().join("restored"));
    while campaign.round < rounds {
        let mut writer = Writer::start(&mut campaign, &How::default());
        match campaign.random.below(10) {
            // While it opens the store.
            0 if campaign.round > 0 => std::thread::sleep(campaign.a_while(0, 30)),
            _ => {
                assert!(writer.wait_for_chunks(1), "round {}: no chunk", campaign.round);
                std::thread::sleep(campaign.a_while(0, 350));
            }
        }
        match campaign.random.below(4) {
            0 => {
                writer.kill();
                campaign.look();
                campaign.cut(&machine, false);
            }
            1 => {
                writer.kill();
                campaign.check();
                campaign.cut(&machine, false);
            }
            n => {
                campaign.cut(&machine, n == 3);
                // It goes on for a little, and must not be told that anything is durable.
                std::thread::sleep(Duration::from_millis(10));
                writer.kill();
            }
        }
        machine.restart();
        campaign.check();
        campaign.restarted();
        campaign.next();
    }
    campaign.summary(&format!("power cut of {kind:?} {options}"));
    let ledger = campaign.ledger.lock().unwrap();
    let unexpected = ledger.unexpected(&["expired", "io", "poisoned", "unsure"]);
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(ledger.counts.acknowledged > rounds * 5, "{}", ledger.counts);
}

#[test]
#[ignore = "needs root, loop devices and xfsprogs"]
fn of_ext4() {
    cut_again_and_again(Kind::Ext4, "", rounds(15));
}

#[test]
#[ignore = "needs root, loop devices and xfsprogs"]
fn of_xfs() {
    cut_again_and_again(Kind::Xfs, "", rounds(15));
}
