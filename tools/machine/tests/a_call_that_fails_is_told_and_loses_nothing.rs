//! A system call of the writer fails, once or again and again: the error is a typed one, what was acknowledged is there, and the writer
//! goes on, after opening the store again where nothing else helps.
//!
//! A call that is made to fail here does nothing at all. A sync that fails on a real disk also forgets what it should have written; so the
//! failing syncs are followed by a power cut.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::time::Duration;

use common::mount::{Kind, Machine, Mount};
use common::writer::{How, Writer};
use common::{Campaign, Folder, rounds};

/// A call and its error, at which of its numbers in each thread, and the kinds of errors that the writer may be told.
struct Fault {
    inject: &'static str,
    told: &'static [&'static str],
    /// The writer must have been told at least one of these.
    surely: &'static [&'static str],
}

const IO: &[&str] = &["io", "poisoned", "unsure", "expired", "closed"];
const FULL: &[&str] = &["full", "io", "poisoned", "unsure", "expired", "closed"];

const POISONED: &[&str] = &["poisoned"];

const FAULTS: [Fault; 11] = [
    // The first: a store in which there is much is opened by more readings than go well in a row.
    Fault { inject: "pread64:error=EIO:when=200+150", told: IO, surely: &["io", "unsure"] },
    // It fails once in each thread, and that may be in an erasure.
    Fault {
        inject: "fdatasync:error=EIO:when=40",
        told: IO,
        surely: &["poisoned", "io", "unsure"],
    },
    Fault { inject: "fdatasync:error=EIO:when=25+60", told: IO, surely: POISONED },
    Fault { inject: "fdatasync:error=ENOSPC:when=35+50", told: FULL, surely: POISONED },
    Fault { inject: "fsync:error=EIO:when=30+40", told: IO, surely: &["io", "unsure"] },
    Fault { inject: "pwrite64:error=EIO:when=30+90", told: IO, surely: POISONED },
    Fault { inject: "pwrite64:error=ENOSPC:when=20+35", told: FULL, surely: &["full"] },
    Fault { inject: "rename:error=EIO:when=25+30", told: IO, surely: &["io", "unsure"] },
    Fault { inject: "renameat2:error=EIO:when=1+3", told: IO, surely: &["io", "unsure"] },
    Fault { inject: "unlink:error=EIO:when=2+2", told: IO, surely: &[] },
    Fault { inject: "ftruncate:error=EIO:when=2+3", told: IO, surely: &[] },
];

/// Which threads erase, and so how often each makes some of the calls, follows from chance: once more where none has failed.
const ATTEMPTS: u32 = 4;

fn run(campaign: &mut Campaign, fault: &Fault) {
    campaign.ledger.lock().unwrap().failures.clear();
    let was_told = (0..ATTEMPTS).any(|attempt| {
        if attempt > 0 {
            campaign.check();
            campaign.next();
        }
        run_once(campaign, fault);
        let ledger = campaign.ledger.lock().unwrap();
        fault.surely.is_empty() || fault.surely.iter().any(|kind| ledger.failures_of(kind) > 0)
    });
    let ledger = campaign.ledger.lock().unwrap();
    assert!(was_told, "{}: {:?}", fault.inject, ledger.failures);
}

fn run_once(campaign: &mut Campaign, fault: &Fault) {
    // What is voided on a full disk is told by the next sync; until then a session has a gap.
    let how =
        How { settings: vec!["chunks=1500".into(), "defers=0".into()], inject: Some(fault.inject) };
    let mut writer = Writer::start(campaign, &how);
    writer.wait_for_chunks(1000);
    let ended = writer.wait(Duration::from_secs(4));
    assert!(!ended.by_itself || ended.in_order(), "{}: {}", fault.inject, ended.status);
    let ledger = campaign.ledger.lock().unwrap();
    let unexpected = ledger.unexpected(fault.told);
    assert!(unexpected.is_empty(), "{}: {unexpected:?}", fault.inject);
}

#[test]
#[ignore = "needs strace"]
fn and_the_writer_goes_on() {
    for _ in 0..rounds(1) {
        // What a round leaves is enough for the next calls to fail, and not so much that nothing is opened any more.
        let folder = Folder::new();
        let mut campaign = Campaign::new(folder.dir("home"), folder.path());
        campaign.make();
        for fault in &FAULTS {
            let before = campaign.ledger.lock().unwrap().counts;
            run(&mut campaign, fault);
            let after = campaign.ledger.lock().unwrap().counts;
            let acknowledged = after.acknowledged - before.acknowledged;
            let opened = after.opened - before.opened;
            println!("{}: {acknowledged} chunks acknowledged, opened {opened} times", fault.inject);
            assert!(acknowledged > 20, "{}", fault.inject);
            campaign.summary(fault.inject);
            campaign.check();
            campaign.next();
        }
    }
}

#[test]
#[ignore = "needs root, loop devices, xfsprogs and strace"]
fn and_a_power_cut_after_it_takes_nothing_either() {
    let folder = Folder::new();
    let memory = Mount::tmpfs(folder.dir("memory"), 600 << 20);
    let mut machine = Machine::new(Kind::Ext4, "", memory.at(), folder.dir("mounted"));
    let mut campaign = Campaign::new(machine.at.join("home"), memory.at().join("restored"));
    campaign.make();
    for _ in 0..rounds(6) {
        // The first syncs of a process are those of opening the store.
        let when = 10 + campaign.random.below(60);
        let inject = format!("fdatasync:error=EIO:when={when}+{}", 20 + when);
        let how = How { settings: vec!["chunks=1000".into()], inject: Some(&inject) };
        let mut writer = Writer::start(&mut campaign, &how);
        let opened = campaign.ledger.lock().unwrap().counts.opened;
        writer.wait_until(Duration::from_secs(5), |l| l.counts.opened >= opened + 3);
        std::thread::sleep(campaign.a_while(0, 200));
        campaign.cut(&machine, false);
        writer.kill();
        machine.restart();
        campaign.check();
        campaign.restarted();
        campaign.next();
    }
    campaign.summary("failed syncs and power cuts");
    let ledger = campaign.ledger.lock().unwrap();
    assert!(ledger.failures_of("poisoned") > 0, "{:?}", ledger.failures);
    let unexpected = ledger.unexpected(IO);
    assert!(unexpected.is_empty(), "{unexpected:?}");
}
