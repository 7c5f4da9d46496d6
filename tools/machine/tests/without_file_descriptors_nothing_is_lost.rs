//! No more files can be opened: from the start with a low limit, or for a while in the midst of everything. What fails is told as an error of
//! the system, what was acknowledged is there, and when files can be opened again the same process goes on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::time::Duration;

use common::writer::{How, Writer};
use common::{Campaign, Folder, rounds};

const TOLD: &[&str] = &["io", "unsure", "poisoned", "closed", "expired"];

#[test]
fn for_a_while() {
    let folder = Folder::new();
    let mut campaign = Campaign::new(folder.dir("home"), folder.path());
    campaign.make();
    let rounds = campaign.round + rounds(5);
    while campaign.round < rounds {
        let starve = format!("starve={}", 100 + campaign.random.below(400));
        let before = campaign.ledger.lock().unwrap().counts.done;
        let how = How::with(&["chunks=1500", &starve]);
        let ended = Writer::start(&mut campaign, &how).wait(Duration::from_secs(20));
        assert!(ended.in_order(), "it does not go on: {}", ended.status);
        assert!(campaign.ledger.lock().unwrap().counts.done > before);
        campaign.check();
        campaign.next();
    }
    campaign.summary("without files for a while");
    let ledger = campaign.ledger.lock().unwrap();
    assert!(ledger.failures_of("io") > 0, "nothing was refused: {:?}", ledger.failures);
    let unexpected = ledger.unexpected(TOLD);
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

#[test]
fn from_the_start() {
    let folder = Folder::new();
    let mut campaign = Campaign::new(folder.dir("home"), folder.path());
    campaign.make();
    let (mut opened, mut refused) = (0, 0);
    for n in 0..rounds(9) {
        // Three streams, and what a store has open: lock, journals, segments that are read, and two for a backup.
        let files = 4 + n % 9 * 3;
        let before = campaign.ledger.lock().unwrap().counts;
        let how = How::with(&["chunks=300", &format!("files={files}")]);
        let ended = Writer::start(&mut campaign, &how).wait(Duration::from_millis(1000));
        assert!(
            !ended.by_itself || ended.status.code().is_some(),
            "{} files: {}",
            files,
            ended.status
        );
        let after = campaign.ledger.lock().unwrap().counts;
        match after.opened > before.opened {
            true => opened += 1,
            false => refused += 1,
        }
        campaign.check();
        campaign.next();
    }
    campaign.summary("few files");
    println!("opened {opened} times, not for want of files {refused} times");
    assert!(opened > 0 && refused > 0, "{opened} {refused}");
    let unexpected = campaign.ledger.lock().unwrap().unexpected(TOLD);
    assert!(unexpected.is_empty(), "{unexpected:?}");
}
