//! A file system of the memory that is full: appends are refused as by a full disk, what was acknowledged is read, the store is opened while
//! it is full, and when there is room again the same process goes on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(clippy::disallowed_methods, reason = "the ballast is a file of the test's own")]

mod common;

use std::fs;
use std::time::Duration;

use common::mount::Mount;
use common::writer::{How, PATIENCE, Writer};
use common::{Campaign, Folder, rounds};

/// Small, and but for a few MiB filled by the test, so that a writer fills the rest in a second.
const DISK_BYTES: u64 = 40 << 20;

/// After so many rounds what is to stay, and what the keyring knows of what was erased, fill a disk of this size for good.
const ROUNDS_OF_A_DISK: u64 = 20;

#[test]
#[ignore = "needs root, to mount a tmpfs"]
fn again_and_again() {
    let mut left = rounds(5);
    while left > 0 {
        let now = left.min(ROUNDS_OF_A_DISK);
        on_one_disk(now);
        left -= now;
    }
}

fn on_one_disk(rounds: u64) {
    let folder = Folder::new();
    let disk = Mount::tmpfs(folder.dir("disk"), DISK_BYTES);
    let mut campaign = Campaign::new(disk.at().join("home"), folder.path());
    let ballast = disk.at().join("ballast");
    // A chunk that nobody waits for may be given up on a full disk, and a day that is passed by hand is no day of the clock: neither is
    // what this is about.
    let how = || How::with(&["defers=0", "days=0"]);
    campaign.make();
    for _ in 0..rounds {
        disk.resize(DISK_BYTES);
        let before = campaign.ledger.lock().unwrap().counts;
        let mut writer = Writer::start(&mut campaign, &how());
        // Until there are sessions to be read.
        assert!(writer.wait_until(PATIENCE, |l| l.counts.read > before.read), "nothing is read");
        let free = rustix::fs::statvfs(disk.at()).unwrap();
        let left = campaign.random.below(4 << 20);
        let ballast_bytes = (free.f_bavail * free.f_frsize).saturating_sub(left);
        // The writer may have filled the disk meanwhile.
        let _ = fs::write(&ballast, vec![1; ballast_bytes as usize]);
        let full = writer.wait_until(PATIENCE, |l| l.counts.refused >= before.refused + 20);
        assert!(full, "it never was full");
        // Reads go on.
        let read = campaign.ledger.lock().unwrap().counts.read;
        let reads = writer.wait_until(PATIENCE, |l| l.counts.read > read + 5);
        assert!(reads, "nothing is read while it is full");
        let opened = campaign.ledger.lock().unwrap().counts.opened;
        if campaign.random.one_in(2) {
            // Killed when it is full, and opened when it is full.
            writer.kill();
            campaign.check();
            campaign.next();
            writer = Writer::start(&mut campaign, &how());
            assert!(writer.wait_until(PATIENCE, |l| l.counts.opened > opened), "not opened");
        }
        // Somebody makes room: the same process goes on.
        fs::remove_file(&ballast).unwrap();
        disk.resize(DISK_BYTES * 2);
        assert!(
            writer.wait_for_chunks(200),
            "it does not go on: {:?}",
            campaign.ledger.lock().unwrap().failures
        );
        let opened_again = campaign.ledger.lock().unwrap().counts.opened - opened;
        assert!(opened_again <= 1, "it was opened {opened_again} times to go on");
        std::thread::sleep(campaign.a_while(0, 200));
        writer.kill();
        campaign.check();
        empty(&mut campaign);
    }
    campaign.summary("full tmpfs");
    let unexpected = campaign.ledger.lock().unwrap().unexpected(&["full", "expired"]);
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

/// Lets days pass and space be given back, so that the next round does not begin on a full disk.
fn empty(campaign: &mut Campaign) {
    let _ = fs::remove_dir_all(campaign.home().repository_dir());
    campaign.round += 8;
    campaign.ledger.lock().unwrap().forget_backup();
    let how = How::with(&["chunks=30", "defers=0", "backups=0"]);
    let ended = Writer::start(campaign, &how).wait(Duration::from_secs(20));
    assert!(ended.in_order(), "{}", ended.status);
    campaign.next();
}
